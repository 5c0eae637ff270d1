/** A request body that may be hostile: read with a limit, while it streams. */
import { parseJsonText, type ParsedJson } from '../config/json-text.ts'

/** @returns `undefined` as soon as there is more than `limitBytes`; the rest is not read. Rejects when the client leaves. */
export async function readBody(request: Request, limitBytes: number): Promise<Uint8Array | undefined> {
  if (Number(request.headers.get('content-length') ?? 0) > limitBytes) return undefined
  if (!request.body) return new Uint8Array(0)
  const reader = request.body.getReader()
  const chunks: Uint8Array[] = []
  let size = 0
  for (;;) {
    const { done, value } = await reader.read()
    if (done) break
    size += value.length
    if (size > limitBytes) {
      await reader.cancel()
      return undefined
    }
    chunks.push(value)
  }
  const whole = new Uint8Array(size)
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.length
  }
  return whole
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false })

export function parseBody(bytes: Uint8Array): ParsedJson {
  let text: string
  try {
    text = decoder.decode(bytes)
  } catch {
    return { fault: 'the body is not UTF-8' }
  }
  return text.trim() === '' ? { fault: 'the body is empty' } : parseJsonText(text)
}
