/** Field lines of a file server's answer with 1 KiB of body. */
export const responseHeaders: string = [
  'Server: nginx',
  'Date: Tue, 24 Nov 2026 01:00:00 GMT',
  'Content-Type: text/plain',
  'Content-Length: 1024',
  'Last-Modified: Tue, 24 Nov 2026 00:00:00 GMT',
  'Connection: keep-alive',
  'ETag: "6b04da2b-400"',
  'Accept-Ranges: bytes',
]
  .map((line) => `${line}\r\n`)
  .join('')
