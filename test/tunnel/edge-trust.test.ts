import { describe, expect, test } from 'vitest'
import { decodeBase64 } from '../../src/tunnel/base64.ts'
import { edgeRoots } from '../../src/tunnel/edge-roots.ts'
import { originIpBytes } from '../../src/tunnel/origin-ip.ts'
import { toHex } from './vectors.ts'

describe("Cloudflare's roots", () => {
  test.each([
    [0, 'AA:63:69:7A:22:76:4B:67:B2:13:4C:E1:4C:B5:69:0E:A3:36:94:0B:93:98:61:13:F4:95:45:91:78:32:D8:0D'],
    [1, 'D3:C7:E8:5C:91:70:7F:C0:A1:2A:BC:5D:88:26:67:47:AA:4F:A8:E7:B1:62:F6:33:FF:B3:C9:D9:89:94:76:20'],
    [2, '9A:1A:C2:B4:BE:15:F9:F2:7E:EE:20:A7:34:CB:A4:E9:89:8F:61:00:1B:3B:D7:C8:4B:69:B5:6A:3E:25:A2:B9'],
  ])('certificate %i has its published SHA-256 fingerprint', async (index, fingerprint) => {
    const base64 = edgeRoots[index]!.replaceAll(/-----(?:BEGIN|END) CERTIFICATE-----/g, '').trim()
    const digest = await crypto.subtle.digest('SHA-256', decodeBase64(base64)!)
    expect(toHex(new Uint8Array(digest))).toBe(fingerprint.replaceAll(':', '').toLowerCase())
  })

  test('there are three', () => {
    expect(edgeRoots).toHaveLength(3)
  })
})

describe('the local address in a registration', () => {
  test.each([
    ['192.168.1.1', '00000000000000000000ffffc0a80101'],
    ['::1', '00000000000000000000000000000001'],
    ['2001:db8::ff00:42:8329', '20010db8000000000000ff0000428329'],
    ['fe80::1%eth0', 'fe800000000000000000000000000001'],
    ['::ffff:192.168.1.1', '00000000000000000000ffffc0a80101'],
    ['', ''],
    ['localhost', ''],
    ['1.2.3', ''],
    ['1::2::3', ''],
  ])('%j is %s', (address, hex) => {
    expect(toHex(originIpBytes(address))).toBe(hex)
  })
})
