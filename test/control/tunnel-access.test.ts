import { afterAll, describe, expect, test } from 'vitest'
import { type StartRefusal } from '../../src/control/start-refusal.ts'
import { readTunnelAccess, type TunnelAccess } from '../../src/control/tunnel-access.ts'
import { defaultOptions, type Options } from '../../src/options.ts'
import { formatQuickTunnel } from '../../src/tunnel/quick-tunnel.ts'
import { formatToken, type TunnelCredentials } from '../../src/tunnel/credentials.ts'
import { formatUuid, parseUuid } from '../../src/tunnel/uuid.ts'
import { startBackend, type TestBackend } from '../support/backend.ts'
import { createMemoryFiles } from '../support/memory-files.ts'
import { createRecordedLog } from '../support/recorded-log.ts'

const credentials: TunnelCredentials = {
  accountTag: '0123456789abcdef0123456789abcdef',
  tunnelId: parseUuid('f174e90a-fafe-4643-bbbc-4a0ed4fc8415')!,
  tunnelSecret: new Uint8Array(32).fill(7),
  endpoint: undefined,
}
const token = formatToken(credentials)

function access(options: Partial<Options>, texts: Record<string, string> = {}): Promise<TunnelAccess | undefined> {
  const files = createMemoryFiles(texts)
  return readTunnelAccess({ ...defaultOptions(), ...options }, { files }, '1.2.3', createRecordedLog())
}

async function refusalOf(options: Partial<Options>, texts: Record<string, string> = {}): Promise<string> {
  const thrown = await access(options, texts).then(
    () => undefined,
    (error: StartRefusal) => error,
  )
  return thrown?.reasons.join('\n') ?? 'not refused'
}

test('no tunnel is asked for', async () => {
  expect(await access({})).toBeUndefined()
})

describe('credentials', () => {
  test.each<[string, Partial<Options>, Record<string, string>, string]>([
    ['a token', { tunnelToken: token }, {}, 'token'],
    ['a file with a token', { tunnelTokenFile: '/token' }, { '/token': `${token}\n` }, 'token-file'],
    ['a credentials file', { tunnelCredentialsFile: '/t.json' }, { '/t.json': credentialsFile() }, 'credentials'],
    ['the content of one', { tunnelCredentials: credentialsFile() }, {}, 'credentials'],
  ])('come from %s', async (_, options, texts, origin) => {
    const found = await access(options, texts)
    expect(found).toMatchObject({ origin, edgeCa: undefined })
    expect(formatUuid(found!.credentials.tunnelId)).toBe('f174e90a-fafe-4643-bbbc-4a0ed4fc8415')
  })

  test.each<[string, Partial<Options>, Record<string, string>, RegExp]>([
    ['a token that is none', { tunnelToken: 'c2VjcmV0' }, {}, /^TUNNEL_TOKEN: the token is not valid JSON\.$/],
    ['a file that is not there', { tunnelTokenFile: '/none' }, {}, /\/none\): the file cannot be read\.$/],
    [
      'QUIC where there is none',
      { tunnelToken: token, protocol: 'quic' },
      {},
      /^--protocol quic: this runtime has no QUIC/,
    ],
    ['roots that are not there', { tunnelToken: token, edgeCa: '/ca' }, {}, /^--edge-ca cannot be read: /],
    ['roots that are none', { tunnelToken: token, edgeCa: '/ca' }, { '/ca': 'x' }, /^--edge-ca: \/ca holds no cert/],
  ])('%s refuses to start, before anything is dialled', async (_, options, texts, reason) => {
    const text = await refusalOf(options, texts)
    expect(text).toMatch(reason)
    expect(text).not.toContain('c2VjcmV0')
  })
})

function credentialsFile(): string {
  const secret = btoa(String.fromCharCode(...credentials.tunnelSecret))
  return JSON.stringify({
    AccountTag: credentials.accountTag,
    TunnelSecret: secret,
    TunnelID: 'f174e90a-fafe-4643-bbbc-4a0ed4fc8415',
  })
}

describe('a quick tunnel', () => {
  const services: TestBackend[] = []
  afterAll(() => Promise.all(services.map((service) => service.close())))

  async function service(status: number, answer: string, seen: string[] = []): Promise<string> {
    const backend = await startBackend((request, response) => {
      seen.push(`${request.method} ${request.url} ${request.headers['user-agent']}`)
      response.writeHead(status).end(answer)
    })
    services.push(backend)
    return `http://127.0.0.1:${backend.port}/tunnel`
  }

  test('is asked for, and has a public address', async () => {
    const seen: string[] = []
    const quickService = await service(200, formatQuickTunnel(credentials, 'odd-words.example.com'), seen)
    const found = await access({ quick: true, quickService })
    expect(found).toMatchObject({ publicUrl: 'https://odd-words.example.com', origin: 'token' })
    expect(formatUuid(found!.credentials.tunnelId)).toBe('f174e90a-fafe-4643-bbbc-4a0ed4fc8415')
    expect(seen).toEqual(['POST /tunnel headgate/1.2.3'])
  })

  test.each([
    [
      'refuses',
      429,
      '{"success":false,"errors":[{"code":1015,"message":"slow down"}]}',
      /it answered 429; .*slow down/,
    ],
    ['talks nonsense', 200, '<html>', /did not answer with JSON/],
    ['talks without end', 200, 'x'.repeat(100_000), /its answer is too long/],
  ])('a service that %s is named', async (_, status, answer, reason) => {
    const refusal = await refusalOf({ quick: true, quickService: await service(status, answer) })
    expect(refusal).toMatch(/^No quick tunnel from 127\.0\.0\.1:\d+: /)
    expect(refusal).toMatch(reason)
  })

  test('a service that is not there is named', async () => {
    expect(await refusalOf({ quick: true, quickService: 'http://127.0.0.1:1/' })).toMatch(/^No quick tunnel from 127/)
  })
})
