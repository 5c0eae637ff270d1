import { createRpcConnection, type RpcConnection, type RpcOptions } from '../../src/tunnel/rpc.ts'
import { type RpcFailure } from '../../src/tunnel/rpc-error.ts'
import { concat } from './messages.ts'
import { createManualTimers, type ManualTimers } from './manual-timers.ts'

/** One end of an RPC connection, and all that it sent. */
export interface RecordedEnd {
  readonly rpc: RpcConnection
  readonly sent: Uint8Array[]
  readonly timers: ManualTimers
  readonly faults: unknown[]
  closedBy: RpcFailure | undefined
  ended: boolean
  receive(...messages: readonly Uint8Array[]): void
}

export function createRecordedEnd(options: Partial<RpcOptions> = {}): RecordedEnd {
  const timers = createManualTimers()
  const sent: Uint8Array[] = []
  const faults: unknown[] = []
  const stream = {
    write(message: Uint8Array) {
      sent.push(message.slice())
    },
    end() {
      if (end.ended) throw new Error('ended twice')
      end.ended = true
    },
  }
  const rpc = createRpcConnection(stream, {
    timers,
    onClose: (failure) => {
      if (end.closedBy !== undefined) throw new Error('closed twice')
      end.closedBy = failure
    },
    onFault: (error) => faults.push(error),
    ...options,
  })
  const end: RecordedEnd = {
    rpc,
    sent,
    timers,
    faults,
    closedBy: undefined,
    ended: false,
    receive(...messages) {
      const bytes = concat(...messages)
      rpc.receive(bytes, 0, bytes.length)
    },
  }
  return end
}

/** Two ends joined by a stream that cuts what it carries into pieces of `pieceBytes`. */
export function createRpcPair(
  client: Partial<RpcOptions>,
  server: Partial<RpcOptions>,
  pieceBytes = Infinity,
): { client: RpcConnection; server: RpcConnection; timers: ManualTimers; settle(): Promise<void> } {
  const timers = createManualTimers()
  const queues: { bytes: Uint8Array; to: 'client' | 'server' }[] = []
  const ends: { client: RpcConnection; server: RpcConnection } = {
    client: createRpcConnection(streamTo('server'), { timers, ...client }),
    server: createRpcConnection(streamTo('client'), { timers, ...server }),
  }
  function streamTo(to: 'client' | 'server') {
    return {
      write(bytes: Uint8Array) {
        queues.push({ bytes, to })
      },
      end() {},
    }
  }
  return {
    ...ends,
    timers,
    async settle() {
      for (let quiet = 0; quiet < 5;) {
        const next = queues.shift()
        if (next === undefined) {
          quiet++
          await Promise.resolve()
          continue
        }
        quiet = 0
        for (let at = 0; at < next.bytes.length; at += pieceBytes) {
          const piece = next.bytes.slice(at, at + pieceBytes)
          ends[next.to].receive(piece, 0, piece.length)
          piece.fill(0xff)
        }
      }
    },
  }
}
