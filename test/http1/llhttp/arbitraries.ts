/** Messages at the edge of HTTP: right ones, odd ones, and both with a few bytes changed. */
import fc from 'fast-check'

const names = [
  'Host',
  'Content-Length',
  'content-length',
  'Transfer-Encoding',
  'transfer-encoding',
  'Connection',
  'Expect',
  'Upgrade',
  'TE',
  'Trailer',
  'X-A',
  'Cookie',
  'Content-Length ',
  ' Content-Length',
  'Content-Length\t',
  'Content_Length',
  'Transfer-Encoding\0',
  'Transfer-Encoding\x0b',
  'X-Content-Length',
  'Keep-Alive',
  'Proxy-Connection',
  '',
]
const lengths = ['0', '3', '5', '+3', '-1', '0x3', '3,3', '3, 3', '3 3', ' 3', '3\t', '1e1', '03', '3;', '٣', '']
const codings = [
  'chunked',
  'Chunked',
  'chunked ',
  ' chunked',
  'xchunked',
  'chunked, chunked',
  'gzip, chunked',
  'chunked, gzip',
  'identity',
  'chunked;x=1',
  '"chunked"',
  'chunked\x0b',
  ',chunked',
  '',
]
const others = [
  'a.example',
  'a.example:80',
  'a, b',
  'close',
  'keep-alive',
  'Upgrade',
  'Content-Length',
  'transfer-encoding, x-a',
  'te, trailers',
  '100-continue',
  'websocket',
  'a\rb',
  'a\0b',
  '\x80\xff',
  'a\tb',
  '',
]
const lineBreak = fc.oneof(
  { weight: 60, arbitrary: fc.constant('\r\n') },
  { weight: 1, arbitrary: fc.constantFrom('\n', '\r', '\r\r\n', '\n\r', '\r\n ', '\r\n\t', '\r\n\r\n') },
)

const field = fc
  .tuple(
    fc.constantFrom(...names),
    fc.oneof(
      { weight: 9, arbitrary: fc.constant(': ') },
      { weight: 1, arbitrary: fc.constantFrom(':', ' :', '', '=', ':\t', '::', ': \r\n ') },
    ),
    fc.oneof(fc.constantFrom(...lengths), fc.constantFrom(...codings), fc.constantFrom(...others)),
    lineBreak,
  )
  .map((parts) => parts.join(''))

/** Framing fields and a body that fit each other, most of the time. */
const framed = fc.oneof(
  { weight: 3, arbitrary: fc.constant(['', '']) },
  { weight: 3, arbitrary: fc.constantFrom(['Content-Length: 3\r\n', 'abc'], ['content-length:5\r\n', 'ab\r\nc']) },
  {
    weight: 4,
    arbitrary: fc
      .array(
        fc.oneof(
          { weight: 8, arbitrary: fc.constantFrom('3\r\nabc\r\n', '0A\r\n0123456789\r\n', '1;a=b\r\nx\r\n') },
          {
            weight: 1,
            arbitrary: fc.constantFrom(
              '3\nabc\n',
              '3 \r\nabc\r\n',
              '3;\n\r\nabc\r\n',
              '3\r\nabcd\r\n',
              '+3\r\nabc\r\n',
              '0x3\r\nabc\r\n',
              '3\r\nabc',
              '-3\r\nabc\r\n',
              'g\r\n',
              '3;a="\r\n"\r\nabc\r\n',
              '10000000000000003\r\nabc\r\n',
              '\r\n',
            ),
          },
        ),
        { maxLength: 3 },
      )
      .chain((chunks) =>
        fc
          .constantFrom(
            '0\r\n\r\n',
            '0\r\n\r\n',
            '00\r\nX-T: 1\r\n\r\n',
            '0\r\nContent-Length: 9\r\n\r\n',
            '0\n\n',
            '0\r\n',
            '',
          )
          .map((last) => ['Transfer-Encoding: chunked\r\n', chunks.join('') + last]),
      ),
  },
)

const requestLine = fc
  .tuple(
    fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom('GET', 'POST', 'PUT', 'HEAD', 'OPTIONS', 'DELETE', 'PATCH') },
      { weight: 1, arbitrary: fc.constantFrom('get', 'CONNECT', 'TRACE', 'PRI', 'G(T', '') },
    ),
    fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom('/', '/a?b=c', '//a', '/a%2Fb', '/%00', '/;a') },
      {
        weight: 1,
        arbitrary: fc.constantFrom(
          '*',
          'http://b.example/x',
          'http://b.example',
          'a',
          '/a b',
          '/#a',
          '/\x80',
          '',
          '\\',
          '?a',
        ),
      },
    ),
    fc.oneof(
      { weight: 12, arbitrary: fc.constantFrom('HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0') },
      {
        weight: 1,
        arbitrary: fc.constantFrom('HTTP/1.2', 'HTTP/2.0', 'HTTP/0.9', 'http/1.1', 'HTTP/1.10', 'HTTP/01.1', ''),
      },
    ),
  )
  .map((parts) => parts.join(' '))

const statusLine = fc
  .tuple(
    fc.constantFrom('HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/1.2', 'http/1.1'),
    fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom('200', '201', '404', '503', '204', '304', '200', '200') },
      { weight: 1, arbitrary: fc.constantFrom('100', '103', '20', '2000', '000', '-1', '') },
    ),
    fc.constantFrom('OK', '', 'Not Found', 'a\tb', '\xe9'),
  )
  .map((parts) => parts.join(' '))

const head = (line: fc.Arbitrary<string>, host: string): fc.Arbitrary<string> =>
  fc
    .tuple(line, lineBreak, fc.array(field, { maxLength: 2 }), framed, fc.array(field, { maxLength: 1 }), lineBreak)
    .map(([start, first, before, [framing, body], after, last]) =>
      [start, first, host, ...before, framing, ...after, last, body].join(''),
    )

const nasty = [
  '\r',
  '\n',
  '\0',
  ' ',
  '\t',
  ':',
  ';',
  ',',
  '0',
  'a',
  '_',
  '\r\n',
  '\n\n',
  '\x0b',
  '\x7f',
  '\x80',
  '\xff',
  '\r\n\r\n',
]

/** Up to two bytes changed, left out or put in. */
const changed = (text: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc
    .tuple(
      text,
      fc.oneof(
        { weight: 2, arbitrary: fc.constant([]) },
        {
          weight: 1,
          arbitrary: fc.array(
            fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(0, 1), fc.constantFrom('', ...nasty)),
            { maxLength: 2 },
          ),
        },
      ),
    )
    .map(([start, edits]) =>
      edits.reduce((now, [where, gone, put]) => {
        const at = Math.floor(where * now.length)
        return now.slice(0, at) + put + now.slice(at + gone)
      }, start),
    )

/** One to three requests on one connection. */
export const requestBytes: fc.Arbitrary<string> = changed(
  fc.array(head(requestLine, 'Host: a.example\r\n'), { minLength: 1, maxLength: 3 }).map((all) => all.join('')),
)

export const responseBytes: fc.Arbitrary<string> = changed(
  fc
    .tuple(
      fc.oneof(
        { weight: 4, arbitrary: fc.constant('') },
        { weight: 1, arbitrary: fc.constant('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n') },
      ),
      head(statusLine, ''),
    )
    .map((parts) => parts.join('')),
)

/** The same bytes as they may arrive. */
export const inPieces = (text: string, cuts: readonly number[]): string[] => {
  const at = [...new Set(cuts.map((cut) => Math.floor(cut * text.length)))].sort((a, b) => a - b)
  return [0, ...at].map((from, i) => text.slice(from, at[i] ?? text.length)).filter((piece) => piece !== '')
}

export const cuts: fc.Arbitrary<number[]> = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 4 })
