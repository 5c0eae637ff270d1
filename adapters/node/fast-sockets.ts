/** Whether fast sockets can be had on this Node, and how. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket as NodeSocket } from 'node:net'
import type { DialOptions } from '../portable/sockets.ts'
import type { Socket } from '../../src/runtime.ts'
import { FastSocket, type StreamBinding, type StreamHandle } from './fast-socket.ts'
import { createReadBuffers } from './read-buffers.ts'

const selfTestMs = 2_000

/** Clients say little; backends answer with all they have. */
const downstreamBytes = [2_048, 65_536] as const
const upstreamBytes = [65_536, 262_144] as const

/**
 * Looks for what fast sockets need, and tries it out on a pair of loopback sockets.
 *
 * @returns how to wrap sockets, or why that cannot be done
 */
export async function fastSockets(): Promise<{ readonly dial: DialOptions } | { readonly reason: string }> {
  const binding = streamBinding()
  if (!binding) return { reason: 'this Node has no stream_wrap binding as we know it' }
  const accepted = createReadBuffers(...downstreamBytes)
  const dialled = createReadBuffers(...upstreamBytes)
  const wrap = (socket: NodeSocket, side: 'accepted' | 'dialled'): Socket | undefined => {
    const handle = handleOf(socket)
    return handle && new FastSocket(socket, handle, binding, side === 'accepted' ? accepted : dialled)
  }
  const fault = await selfTest(wrap)
  return fault === undefined ? { dial: { wrap } } : { reason: fault }
}

function streamBinding(): StreamBinding | undefined {
  try {
    const { binding } = process as unknown as { binding?: (name: string) => Partial<StreamBinding> }
    const found = binding?.call(process, 'stream_wrap')
    const complete =
      typeof found?.WriteWrap === 'function' &&
      found.streamBaseState !== undefined &&
      typeof found.kReadBytesOrError === 'number' &&
      typeof found.kLastWriteWasAsync === 'number'
    return complete ? (found as StreamBinding) : undefined
  } catch {
    return undefined
  }
}

const methods = ['readStart', 'readStop', 'useUserBuffer', 'writeLatin1String', 'writeBuffer', 'writev'] as const

function handleOf(socket: NodeSocket): StreamHandle | undefined {
  const { _handle: handle } = socket as unknown as { _handle?: Partial<StreamHandle> | null }
  return handle && methods.every((name) => typeof handle[name] === 'function') ? (handle as StreamHandle) : undefined
}

/** Sends more than a socket buffer holds, each kind of write, both ways, and both ends. */
async function selfTest(
  wrap: (socket: NodeSocket, side: 'accepted' | 'dialled') => Socket | undefined,
): Promise<string | undefined> {
  const server = createServer({ allowHalfOpen: true })
  let timer: NodeJS.Timeout | undefined
  const ends: NodeSocket[] = []
  try {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const late = new Promise<string>(
      (resolve) => (timer = setTimeout(() => resolve('the self-test did not end'), selfTestMs)),
    )
    const arrived = once(server, 'connection')
    const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    ends.push(client)
    await once(client, 'connect')
    const [peer] = (await arrived) as [NodeSocket]
    ends.push(peer)
    const a = wrap(client, 'dialled')
    const b = wrap(peer, 'accepted')
    if (!a || !b) return 'sockets of this Node have no handle as we know it'
    return await Promise.race([exchange(a, b), late])
  } catch (error) {
    return `the self-test failed: ${String(error)}`
  } finally {
    clearTimeout(timer)
    for (const end of ends) end.destroy()
    server.close()
  }
}

function exchange(a: Socket, b: Socket): Promise<string | undefined> {
  const body = new Uint8Array(1 << 20).map((_, i) => (i * 31) & 0xff)
  const sums = { sent: 0, echoed: 0, bytes: 0 }
  for (const byte of body) sums.sent = (sums.sent * 33 + byte) >>> 0
  const expected = body.length
  return new Promise((resolve) => {
    b.attach({
      data(bytes, start, end) {
        return b.write('', bytes, start, end) // false keeps the bytes until the drain below
      },
      drain: () => b.resume(),
      end: () => b.end(),
      close() {},
    })
    a.attach({
      data(bytes, start, end) {
        for (let i = start; i < end; i++) sums.echoed = (sums.echoed * 33 + bytes[i]!) >>> 0
        sums.bytes += end - start
        return true
      },
      drain() {},
      end: () =>
        resolve(
          sums.bytes === expected && sums.echoed === sums.sent
            ? undefined
            : 'the self-test read other bytes than it wrote',
        ),
      close: () => resolve('the self-test lost its connection'),
    })
    const head = a.latin1(body, 0, 1000)
    const cut = 1000 + 20_000
    a.write(head, body, 1000, cut, a.latin1(body, cut, cut + 500)) // writev
    a.write('', body, cut + 500, cut + 1500) // a string
    a.write('', body, cut + 1500, expected) // a buffer, too large for the system to take at once
    a.end()
  })
}
