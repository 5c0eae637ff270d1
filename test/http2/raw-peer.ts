/** Frames by hand. */
import { latin1 } from '../../adapters/portable/net-socket.ts'
import { frameType, preface, readUint24, readUint32, writeFrameHeader } from '../../src/http2/frames.ts'
import { HpackDecoder } from '../../src/http2/hpack-decoder.ts'
import type { Socket } from '../../src/runtime.ts'
import { until } from '../support/until.ts'

export interface Frame {
  readonly type: number
  readonly flags: number
  readonly streamId: number
  readonly payload: Uint8Array
}

/** A client that speaks frames as it is told. */
export class RawPeer {
  readonly frames: Frame[] = []
  ended = false
  private readonly socket: Socket
  private received = new Uint8Array(0)
  private readonly decoder = new HpackDecoder(4096, latin1)

  constructor(socket: Socket, settings: Uint8Array = new Uint8Array(0)) {
    this.socket = socket
    socket.attach({
      data: (bytes, start, end) => {
        const all = new Uint8Array(this.received.length + end - start)
        all.set(this.received)
        all.set(bytes.subarray(start, end), this.received.length)
        this.received = all
        this.split()
        return true
      },
      drain() {},
      end: () => (this.ended = true),
      close: () => (this.ended = true),
    })
    socket.write(preface)
    this.send(frameType.settings, 0, 0, settings)
  }

  send(type: number, flags: number, streamId: number, payload: Uint8Array = new Uint8Array(0)): void {
    this.sendMany([[type, flags, streamId, payload]])
  }

  /** In one write. */
  sendMany(frames: readonly (readonly [type: number, flags: number, streamId: number, payload: Uint8Array])[]): void {
    const all = new Uint8Array(frames.reduce((sum, [, , , payload]) => sum + 9 + payload.length, 0))
    let at = 0
    for (const [type, flags, streamId, payload] of frames) {
      writeFrameHeader(all, at, payload.length, type, flags, streamId)
      all.set(payload, at + 9)
      at += 9 + payload.length
    }
    this.socket.write('', all, 0, all.length)
  }

  /** The first frame of a type on a stream, as soon as there is one. */
  async frame(type: number, streamId: number): Promise<Frame> {
    const found = (): Frame | undefined =>
      this.frames.find((frame) => frame.type === type && frame.streamId === streamId)
    await until(() => found() !== undefined)
    return found()!
  }

  /** Fields of the first header block on a stream; call it once, and in the order in which blocks come. */
  async fields(streamId: number): Promise<readonly string[]> {
    const { payload } = await this.frame(frameType.headers, streamId)
    const fields: string[] = []
    this.decoder.decode(payload, 0, payload.length, {
      add: ({ name, value }) => fields.push(`${name.text}: ${value}`),
    })
    return fields
  }

  /** Body bytes of a stream as text, so far. */
  text(streamId: number): string {
    return this.frames
      .filter((frame) => frame.type === frameType.data && frame.streamId === streamId)
      .map(({ payload }) => new TextDecoder().decode(payload))
      .join('')
  }

  /** The code of the GOAWAY that ends the connection. */
  async goaway(): Promise<number> {
    const found = (): Frame | undefined => this.frames.find((frame) => frame.type === frameType.goaway)
    await until(() => found() !== undefined && this.ended)
    return readUint32(found()!.payload, 4)
  }

  destroy(): void {
    this.socket.destroy()
  }

  private split(): void {
    let at = 0
    while (this.received.length - at >= 9) {
      const length = readUint24(this.received, at)
      if (this.received.length - at < 9 + length) break
      this.frames.push({
        type: this.received[at + 3]!,
        flags: this.received[at + 4]!,
        streamId: readUint32(this.received, at + 5),
        payload: this.received.slice(at + 9, at + 9 + length),
      })
      at += 9 + length
    }
    this.received = this.received.slice(at)
  }
}

/** A header block of literals, without a table: any names, in any order. RFC 7541 section 6.2.2 */
export function literalBlock(fields: readonly (readonly [name: string, value: string])[]): Uint8Array {
  const bytes: number[] = []
  const text = (value: string): void => {
    if (value.length > 126) throw new RangeError('longer than one octet can say')
    bytes.push(value.length, ...new TextEncoder().encode(value))
  }
  for (const [name, value] of fields) {
    bytes.push(0)
    text(name)
    text(value)
  }
  return Uint8Array.from(bytes)
}
