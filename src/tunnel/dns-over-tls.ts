import { type ConnectOptions, type Runtime, type ServiceRecord, type Socket } from '../runtime.ts'
import { createTimerEntry, type Timers } from '../timers.ts'

/**
 * One question to Cloudflare's public resolver over TLS, for networks whose own resolver does not do SRV records. It
 * is asked only when the system's resolver has failed.
 *
 * The few lines of DNS that this needs are here because the usual library stands on Node's Buffer.
 *
 * @see RFC 7858 (DNS over TLS), RFC 1035 section 4 (messages), RFC 2782 (SRV)
 * @see cloudflared, edgediscovery/allregions/discovery.go
 */
export const dnsOverTlsServer = { host: '1.1.1.1', port: 853 } as const
const serverName = 'cloudflare-dns.com'
/** For dialling, and again for question and answer. */
const timeoutMs = 15_000

const srvType = 33
const internetClass = 1

export interface DnsOverTlsOptions {
  readonly connect: Runtime['connect']
  /** Random numbers below 65536, for message ids. */
  readonly randomId: () => number
  readonly timers: Timers
}

/** Rejects when the server can't be reached, answers with an error, or answers nonsense. */
export async function querySrvOverTls(name: string, options: DnsOverTlsOptions): Promise<readonly ServiceRecord[]> {
  const connectOptions: ConnectOptions = { timeoutMs, tls: { servername: serverName } }
  const socket = await options.connect(dnsOverTlsServer, connectOptions)
  const id = options.randomId()
  try {
    return readSrvAnswer(await exchange(socket, writeSrvQuestion(id, name), options), id)
  } finally {
    socket.destroy()
  }
}

/** Over a stream, each message follows its length in two bytes. RFC 1035 section 4.2.2. */
function exchange(socket: Socket, question: Uint8Array, { timers }: DnsOverTlsOptions): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const answer = new Uint8Array(2 + 65_535)
    let filled = 0
    const timer = createTimerEntry(() => reject(new Error('the DNS server did not answer in time')))
    timers.arm(timer, timeoutMs)
    socket.attach({
      data(bytes, start, end) {
        const taken = Math.min(end - start, answer.length - filled)
        answer.set(bytes.subarray(start, start + taken), filled)
        filled += taken
        const length = filled < 2 ? Infinity : (answer[0]! << 8) | answer[1]!
        if (filled >= 2 + length) {
          timers.disarm(timer)
          resolve(answer.subarray(2, 2 + length))
        }
        return true
      },
      drain() {},
      end() {
        socket.end()
      },
      close(error) {
        timers.disarm(timer)
        reject(new Error(`the DNS server closed the connection${error === undefined ? '' : ` (${error.code})`}`))
      },
    })
    const framed = new Uint8Array(2 + question.length)
    framed.set([question.length >> 8, question.length & 0xff])
    framed.set(question, 2)
    socket.write('', framed, 0, framed.length)
  })
}

/** A question with recursion wanted. */
export function writeSrvQuestion(id: number, name: string): Uint8Array {
  const labels = name.split('.').map((label) => new TextEncoder().encode(label))
  if (labels.some((label) => label.length === 0 || label.length > 63)) throw new Error('not a DNS name')
  // Flags: recursion desired. One question, no records.
  const header = [id >> 8, id & 0xff, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]
  const question = labels.flatMap((label) => [label.length, ...label])
  return Uint8Array.from([...header, ...question, 0, 0, srvType, 0, internetClass])
}

/** The SRV records among a message's answers. Throws on anything malformed. */
export function readSrvAnswer(message: Uint8Array, id: number): readonly ServiceRecord[] {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength)
  const flags = view.getUint16(2)
  if (view.getUint16(0) !== id || (flags & 0x8000) === 0) throw new Error('an answer to another question')
  if ((flags & 0x020f) !== 0) throw new Error(`the DNS server answered with code ${flags & 0xf}, or in part`)
  const questions = view.getUint16(4)
  const answers = view.getUint16(6)
  let at = 12
  for (let index = 0; index < questions; index++) at = readName(view, at).end + 4
  const records: ServiceRecord[] = []
  for (let index = 0; index < answers; index++) {
    at = readName(view, at).end
    const type = view.getUint16(at)
    const length = view.getUint16(at + 8)
    const data = at + 10
    if (type === srvType && view.getUint16(at + 2) === internetClass) {
      const { name } = readName(view, data + 6)
      const [priority, weight, port] = [view.getUint16(data), view.getUint16(data + 2), view.getUint16(data + 4)]
      records.push({ name, port, priority, weight })
    }
    at = data + length
    if (at > message.length) throw new Error('a DNS record out of bounds')
  }
  return records
}

/** A name, with its compression undone. RFC 1035 section 4.1.4. */
function readName(view: DataView, start: number): { name: string; end: number } {
  const labels: string[] = []
  let at = start
  let end: number | undefined
  let length = 0
  for (;;) {
    const size = view.getUint8(at)
    if (size === 0) return { name: labels.join('.'), end: end ?? at + 1 }
    if (size >= 0xc0) {
      const to = view.getUint16(at) & 0x3fff
      end ??= at + 2
      // Backwards only: a name cannot chase itself.
      if (to >= at) throw new Error('a DNS name that points forwards')
      at = to
      continue
    }
    if (size > 63) throw new Error('a DNS label of an unknown kind')
    length += size + 1
    if (length > 255) throw new Error('a DNS name that is too long')
    let label = ''
    for (let index = 1; index <= size; index++) label += String.fromCharCode(view.getUint8(at + index))
    if (!/^[A-Za-z0-9_-]+$/.test(label)) throw new Error('a DNS name with characters that no host has')
    labels.push(label)
    at += size + 1
  }
}
