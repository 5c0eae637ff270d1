import { describe, expect, test } from 'vitest'
import { HpackDecoder } from '../../src/http2/hpack-decoder.ts'
import { HpackEncoder } from '../../src/http2/hpack-encoder.ts'
import { decodeHuffman } from '../../src/http2/huffman.ts'
import { latin1 } from '../../adapters/portable/net-socket.ts'

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/[0-9a-f]{2}/g) ?? [], (pair) => Number.parseInt(pair, 16))
}

/** Decodes blocks in order, over one table. */
function decodeAll(
  blocks: readonly string[],
  tableSize = 4096,
): { fields: string[][]; sizes: number[]; fault?: string } {
  const decoder = new HpackDecoder(tableSize, latin1)
  const fields: string[][] = []
  const sizes: number[] = []
  for (const block of blocks) {
    const bytes = bytesOf(block)
    const found: string[] = []
    const fault = decoder.decode(bytes, 0, bytes.length, {
      add: ({ name, value }) => found.push(`${name.text}: ${value}`),
    })
    if (fault !== undefined) return { fields, sizes, fault }
    fields.push(found)
    sizes.push(decoder.tableSize)
  }
  return { fields, sizes }
}

const request = [':method: GET', ':scheme: http', ':path: /', ':authority: www.example.com']
const requests = [
  request,
  [...request, 'cache-control: no-cache'],
  [':method: GET', ':scheme: https', ':path: /index.html', ':authority: www.example.com', 'custom-key: custom-value'],
]
const responses = [
  [
    ':status: 302',
    'cache-control: private',
    'date: Mon, 21 Oct 2013 20:13:21 GMT',
    'location: https://www.example.com',
  ],
  [
    ':status: 307',
    'cache-control: private',
    'date: Mon, 21 Oct 2013 20:13:21 GMT',
    'location: https://www.example.com',
  ],
  [
    ':status: 200',
    'cache-control: private',
    'date: Mon, 21 Oct 2013 20:13:22 GMT',
    'location: https://www.example.com',
    'content-encoding: gzip',
    'set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1',
  ],
]

describe('RFC 7541 appendix C, decoded', () => {
  test.each([
    [
      'C.2.1 literal with indexing',
      '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572',
      'custom-key: custom-header',
      55,
    ],
    ['C.2.2 literal without indexing', '040c 2f73 616d 706c 652f 7061 7468', ':path: /sample/path', 0],
    ['C.2.3 literal never indexed', '1008 7061 7373 776f 7264 0673 6563 7265 74', 'password: secret', 0],
    ['C.2.4 indexed', '82', ':method: GET', 0],
  ])('%s', (_name, block, field, size) => {
    expect(decodeAll([block])).toEqual({ fields: [[field]], sizes: [size] })
  })

  test('C.3 requests without Huffman coding', () => {
    expect(
      decodeAll([
        '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
        '8286 84be 5808 6e6f 2d63 6163 6865',
        '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
      ]),
    ).toEqual({ fields: requests, sizes: [57, 110, 164] })
  })

  test('C.4 requests with Huffman coding', () => {
    expect(
      decodeAll([
        '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
        '8286 84be 5886 a8eb 1064 9cbf',
        '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
      ]),
    ).toEqual({ fields: requests, sizes: [57, 110, 164] })
  })

  test('C.5 responses without Huffman coding, in a table of 256', () => {
    expect(
      decodeAll(
        [
          '4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
          '4803 3330 37c1 c0bf',
          '88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31',
        ],
        256,
      ),
    ).toEqual({ fields: responses, sizes: [222, 222, 215] })
  })

  test('C.6 responses with Huffman coding, in a table of 256', () => {
    expect(
      decodeAll(
        [
          '4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
          '4883 640e ffc1 c0bf',
          '88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07',
        ],
        256,
      ),
    ).toEqual({ fields: responses, sizes: [222, 222, 215] })
  })
})

describe('what no encoder may make', () => {
  test.each([
    ['index 0', '80'],
    ['an index behind the table', 'be'],
    ['an index that is cut short', 'ff'],
    ['an integer without end', 'ffffffffffffffff7f'],
    ['a string longer than its block', '40056162'],
    ['a table larger than agreed', '3fe21f'],
    ['a change of the table behind a field', '8220'],
    ['Huffman: EOS in a string', '400084ffffffff'],
    ['Huffman: padding of more than seven bits', '40008407ffffff'],
    ['Huffman: padding that is not of ones', '40008100'],
  ])('%s', (_name, block) => {
    expect(decodeAll([block]).fault).toBeTypeOf('string')
  })

  test('RFC 7541 section 4.4: an entry larger than the table empties it', () => {
    const large = `4001617f00${'62'.repeat(127)}`
    expect(decodeAll(['400161 0162', large], 64).sizes).toEqual([34, 0])
  })
})

describe('Huffman code', () => {
  test('appendix B: the shortest code words, the longest, and some between', () => {
    const rows: readonly [hex: string, text: string][] = [
      ['07', '0'],
      ['f1e3c2e5f23a6ba0ab90f4ff', 'www.example.com'],
      ['ffc7', '\0'],
      ['fffffff3', '\n'],
      ['ffffffbf', '\u001f'],
      ['fffffbbf', 'ÿ'],
    ]
    for (const [hex, text] of rows) {
      const out = new Uint8Array(64)
      const bytes = bytesOf(hex)
      expect(latin1(out, 0, decodeHuffman(bytes, 0, bytes.length, out, 0))).toBe(text)
    }
  })
})

describe('the encoder', () => {
  /** What our decoder makes of what our encoder makes. */
  function roundTrip(texts: readonly string[], limit = 4096): { decoded: string[]; sizes: number[] } {
    const encoder = new HpackEncoder()
    const decoder = new HpackDecoder(4096, latin1)
    if (limit !== 4096) encoder.limit(limit)
    const sizes: number[] = []
    const decoded = texts.map((text) => {
      const out = new Uint8Array(HpackEncoder.bound(text))
      const end = encoder.fields(text, out, encoder.begin(out, 0))
      sizes.push(end)
      let back = ''
      const fault = decoder.decode(out, 0, end, { add: ({ name, value }) => (back += `${name.text}: ${value}\r\n`) })
      return fault ?? back
    })
    return { decoded, sizes }
  }

  test('what repeats costs an octet; names go out in lower case', () => {
    const { decoded, sizes } = roundTrip(Array.from({ length: 4 }, () => 'X-Long-Name: a value of some length\r\n'))
    expect(decoded).toEqual(Array.from({ length: 4 }, () => 'x-long-name: a value of some length\r\n'))
    expect(sizes.slice(2)).toEqual([1, 1])
  })

  test.each(['authorization', 'cookie', 'set-cookie', 'proxy-authorization', 'x-api-key'])(
    'RFC 7541 section 7.1.3: %s never enters a table',
    (name) => {
      const encoder = new HpackEncoder()
      for (let i = 0; i < 4; i++) {
        const out = new Uint8Array(256)
        encoder.fields(`${name}: secret\r\n`, out, 0)
        expect(out[0]! & 0xf0).toBe(0x10)
      }
    },
  )

  test.each([0, 64, 200, 4096])('a table of %s octets stays the same on both ends', (limit) => {
    const texts = Array.from({ length: 400 }, (_, i) => `a-${i % 7}: ${'v'.repeat(i % 50)}\r\nb: ${i % 11}\r\nc: \r\n`)
    expect(roundTrip(texts, limit).decoded).toEqual(texts)
  })

  test('a block never takes more than its bound', () => {
    for (const n of [0, 1, 126, 127, 128, 254, 255, 16_500, 100_000]) {
      for (const text of [`${'n'.repeat(n + 1)}: v\r\n`, `n: ${'v'.repeat(n)}\r\n`, 'n: \r\n'.repeat(n % 1_000)]) {
        const out = new Uint8Array(HpackEncoder.bound(text) * 2)
        expect(new HpackEncoder().fields(text, out, 0)).toBeLessThanOrEqual(HpackEncoder.bound(text))
      }
    }
  })
})
