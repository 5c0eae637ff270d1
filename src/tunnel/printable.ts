const maxPrintedLength = 500

/** Someone else's text as part of one line of a log: no control characters, no end of its own. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what this is about
  const clean = text.slice(0, maxPrintedLength).replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ')
  return text.length > maxPrintedLength ? `${clean}…` : clean
}
