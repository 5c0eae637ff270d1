/**
 * A message in two segments: the first is nothing but a far pointer to the second. The word that it points to, the
 * landing pad, is the message's own root pointer, so that nothing inside has to move.
 *
 * @see https://capnproto.org/encoding.html#inter-segment-pointers
 */
const wordBytes = 8

/** @param message in the stream framing, of one segment; any other is handed back */
export function splitMessage(message: Uint8Array): Uint8Array {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength)
  if (view.getUint32(0, true) !== 0) return message
  const words = view.getUint32(4, true)
  // Frame: two segments, their sizes, padding; then the far pointer.
  const head = new DataView(new ArrayBuffer(3 * wordBytes))
  head.setUint32(0, 1, true)
  head.setUint32(4, 1, true)
  head.setUint32(8, words, true)
  head.setUint32(16, 2, true) // a far pointer, one word of landing pad, at offset 0
  head.setUint32(20, 1, true) // of segment 1
  const split = new Uint8Array(head.byteLength + words * wordBytes)
  split.set(new Uint8Array(head.buffer))
  split.set(message.subarray(wordBytes, wordBytes + words * wordBytes), head.byteLength)
  return split
}
