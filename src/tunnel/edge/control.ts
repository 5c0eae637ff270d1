/** The edge's end of a control stream: it serves the registration interface, well or, when asked to, badly. */
import { createTimerEntry, type Timers } from '../../timers.ts'
import {
  type ConnectionResponse,
  registerConnection,
  type RegisterConnectionParams,
  unregisterConnection,
  updateLocalConfiguration,
} from '../registration.ts'
import { createRpcConnection } from '../rpc.ts'
import { describeRpcFailure, RpcError } from '../rpc-error.ts'
import { serveMethod } from '../rpc-method.ts'
import { type ConnectionFaults, garbage } from './faults.ts'
import { type EdgeControlStream, type ReportViolation } from './link.ts'
import { splitMessage } from './segmented.ts'

export interface ControlOptions {
  readonly timers: Timers
  readonly faults: ConnectionFaults
  /** Returns a number in [0, 1). */
  readonly random: () => number
  /** The parameters are ours to keep. */
  readonly onRegister: (params: RegisterConnectionParams) => ConnectionResponse
  readonly onConfiguration: (config: Uint8Array) => void
  readonly onUnregister: () => void
  readonly report: ReportViolation
  /** Called once. */
  readonly onClose: (reason: string) => void
}

export interface Control {
  /** Aborts the RPC connection and ends our half of the stream. */
  close(): void
  /** Ends the stream some other way. */
  lose(how: ControlLoss): void
}

/** `abort` says so over RPC first, `end` only ends our half, `reset` breaks the stream, `garbage` is said in place of RPC. */
export type ControlLoss = 'abort' | 'end' | 'reset' | 'garbage'

export function serveControl(stream: EdgeControlStream, options: ControlOptions): Control {
  const { faults, timers } = options
  const { segmented = false, rpcDelayMs = 0 } = faults
  const leave = (message: Uint8Array): void => stream.write(segmented ? splitMessage(message) : message)
  const delayed = createDelay(timers, rpcDelayMs)
  const rpc = createRpcConnection(
    {
      write: (message) => delayed(() => leave(message)),
      end: () => delayed(() => stream.end()),
    },
    {
      timers,
      // Not 0: a connector that takes that for granted is to fail here and not in production.
      exportId: 1 + Math.floor(options.random() * 0xffff_fffe),
      onClose(failure) {
        if (failure.kind === 'protocol') options.report(`rpc: ${failure.reason}`)
        options.onClose(describeRpcFailure(failure))
      },
      methods: [
        serveMethod(registerConnection, (params) => {
          const kept = structuredClone(params)
          const { registration } = faults
          switch (registration?.kind) {
            case 'never-answered':
              return new Promise<never>(() => {})
            case 'exception':
              throw exception(registration.reason)
            case 'abort':
              queueMicrotask(() => rpc.close())
              return new Promise<never>(() => {})
            case 'garbage':
              stream.write(garbage.slice())
              return new Promise<never>(() => {})
            case 'error':
              return { kind: 'error', error: registration.error }
            case 'close-after':
            case undefined:
              return options.onRegister(kept)
          }
        }),
        serveMethod(updateLocalConfiguration, (config) => {
          options.onConfiguration(config.slice())
          if (faults.localConfiguration === 'exception') throw exception('not wanted')
          return faults.localConfiguration === 'never-answered' ? new Promise<never>(() => {}) : undefined
        }),
        serveMethod(unregisterConnection, () => {
          // The local configuration's answer may be on its way still; those before it were waited for.
          const open = rpc.unfinished.filter((name) => name !== updateLocalConfiguration.name)
          if (open.length > 0) options.report(`rpc: answers never finished: ${open.join(', ')}`)
          if (faults.unregistration === 'exception') throw exception('not now')
          options.onUnregister()
          return faults.unregistration === 'never-answered' ? new Promise<never>(() => {}) : undefined
        }),
      ],
    },
  )
  stream.start({
    receive: (bytes, start, end) => rpc.receive(bytes, start, end),
    lost: (reason) => rpc.lost(reason),
  })
  return {
    close: () => rpc.close(),
    lose(how) {
      if (how === 'abort') rpc.close()
      else if (how === 'end') stream.end()
      else if (how === 'reset') stream.reset()
      else stream.write(garbage.slice())
    },
  }
}

function exception(reason: string): RpcError {
  return new RpcError({ kind: 'exception', exception: { type: 'failed', reason } })
}

/** Does things later, in order. */
function createDelay(timers: Timers, delayMs: number): (act: () => void) => void {
  if (delayMs === 0) return (act) => act()
  const waiting: (() => void)[] = []
  return (act) => {
    waiting.push(act)
    timers.arm(
      createTimerEntry(() => waiting.shift()?.()),
      delayMs,
    )
  }
}
