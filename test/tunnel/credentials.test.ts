import { describe, expect, test } from 'vitest'
import { formatToken, parseCredentialsFile, parseToken } from '../../src/tunnel/credentials.ts'
import { formatQuickTunnel, parseQuickTunnel } from '../../src/tunnel/quick-tunnel.ts'
import { type CredentialSources, loadCredentials } from '../../src/tunnel/token.ts'
import { createUuid, formatUuid, parseUuid } from '../../src/tunnel/uuid.ts'

const accountTag = '0123456789abcdef0123456789abcdef'
const tunnel = 'f174e90a-fafe-4643-bbbc-4a0ed4fc8415'
const secret = 'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8='
const token =
  'eyJhIjoiMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYiLCJzIjoiQUFFQ0F3UUZCZ2NJQ1FvTERBME9EeEFSRWhNVUZSWVhHQmthR3h3ZEhoOD0iLCJ0IjoiZjE3NGU5MGEtZmFmZS00NjQzLWJiYmMtNGEwZWQ0ZmM4NDE1In0='

const credentials = {
  accountTag,
  tunnelId: parseUuid(tunnel)!,
  tunnelSecret: Uint8Array.from({ length: 32 }, (_, index) => index),
  endpoint: undefined,
}

const encode = (value: unknown): string => btoa(JSON.stringify(value))

describe('a token', () => {
  test('is Base64 of JSON with account tag, secret and tunnel ID', () => {
    expect(parseToken(token)).toEqual({ credentials, warnings: [] })
  })

  test('is written the way it is read', () => {
    expect(formatToken(credentials)).toBe(token)
    const bound = { ...credentials, endpoint: 'fed' }
    expect(parseToken(formatToken(bound))).toEqual({ credentials: bound, warnings: [] })
  })

  test.each([
    ['line breaks inside the Base64', token.replaceAll(/.{40}/g, '$&\r\n')],
    ['unknown keys', encode({ a: accountTag, s: secret, t: tunnel, x: { y: 1 } })],
    ['keys in another case', encode({ A: accountTag, S: secret, T: tunnel })],
    ['a tunnel ID of 32 digits', encode({ a: accountTag, s: secret, t: tunnel.replaceAll('-', '') })],
    ['a tunnel ID in braces', encode({ a: accountTag, s: secret, t: `{${tunnel}}` })],
    ['a tunnel ID as URN, in capitals', encode({ a: accountTag, s: secret, t: `urn:uuid:${tunnel.toUpperCase()}` })],
    ['an empty endpoint', encode({ a: accountTag, s: secret, t: tunnel, e: '' })],
  ])('may have %s', (_, text) => {
    expect(parseToken(text)).toEqual({ credentials, warnings: [] })
  })

  test.each([
    ['nothing', '', 'the token is empty'],
    ['white space', '  \n', 'the token is empty'],
    ['text that is no Base64', 'not a token!', 'the token is not valid Base64'],
    ['Base64 without its padding', token.replace(/=$/, ''), 'the token is not valid Base64'],
    [
      'Base64 in the alphabet of URLs',
      btoa('\u00fb\u00ff').replaceAll('+', '-').replaceAll('/', '_'),
      'the token is not valid Base64',
    ],
    ['Base64 of something else', 'aabc', 'the token is not valid JSON'],
    ['a JSON array', encode([1]), 'the token is not valid JSON'],
    ['JSON null', encode(null), 'the token is not valid JSON'],
    ['no account tag', encode({ s: secret, t: tunnel }), 'the token has no account tag'],
    ['an account tag that is a number', encode({ a: 5, s: secret, t: tunnel }), 'the token has no account tag'],
    ['no tunnel ID', encode({ a: accountTag, s: secret }), 'the token has no valid tunnel ID'],
    ['a tunnel ID that is none', encode({ a: accountTag, s: secret, t: 'x' }), 'the token has no valid tunnel ID'],
    ['the nil tunnel ID', encode({ a: accountTag, s: secret, t: '0'.repeat(32) }), 'the token has no valid tunnel ID'],
    ['no secret', encode({ a: accountTag, t: tunnel }), 'the token has no tunnel secret'],
    ['an empty secret', encode({ a: accountTag, s: '', t: tunnel }), 'the token has no tunnel secret'],
    ['a secret that is no Base64', encode({ a: accountTag, s: '?', t: tunnel }), 'the token has no tunnel secret'],
    [
      'an endpoint that is a list',
      encode({ a: accountTag, s: secret, t: tunnel, e: [] }),
      'the token has an endpoint that is no text',
    ],
    ['a megabyte', 'A'.repeat(1_000_000), 'the token is too long to be one'],
  ])('with %s is refused', (_, text, error) => {
    expect(parseToken(text)).toEqual({ error })
  })

  test('with a short secret is taken with a warning', () => {
    expect(parseToken(encode({ a: accountTag, s: btoa('short'), t: tunnel }))).toMatchObject({
      credentials: { tunnelSecret: new TextEncoder().encode('short') },
      warnings: ['the token has a tunnel secret of fewer than 32 bytes'],
    })
  })
})

describe('a credentials file', () => {
  const file = { AccountTag: accountTag, TunnelSecret: secret, TunnelID: tunnel, Endpoint: '' }

  test('has the fields by their long names', () => {
    expect(parseCredentialsFile(JSON.stringify(file))).toEqual({ credentials, warnings: [] })
  })

  test('names a region', () => {
    expect(parseCredentialsFile(JSON.stringify({ ...file, Endpoint: 'fed' }))).toMatchObject({
      credentials: { endpoint: 'fed' },
    })
  })

  test('so old that it has no tunnel ID gets the one that the user wrote', () => {
    const { TunnelID: _, ...old } = file
    expect(parseCredentialsFile(JSON.stringify(old), tunnel)).toEqual({ credentials, warnings: [] })
    expect(parseCredentialsFile(JSON.stringify(old))).toEqual({ error: 'the credentials file has no valid tunnel ID' })
  })

  test.each([
    ['that is no JSON', '{', 'the credentials file is not valid JSON'],
    [
      'that is the account certificate',
      '-----BEGIN ARGO TUNNEL TOKEN-----\nabc',
      'the credentials file is a certificate; the file to give is <tunnel ID>.json',
    ],
  ])('%s is refused', (_, text, error) => {
    expect(parseCredentialsFile(text)).toEqual({ error })
  })
})

describe('where credentials come from', () => {
  const files: Record<string, string> = {
    '/token': `\n ${token}\n`,
    '/credentials': JSON.stringify({ AccountTag: accountTag, TunnelSecret: secret, TunnelID: tunnel, Endpoint: 'fed' }),
    '/broken': 'SECRET CONTENT',
  }
  const readFile = (path: string): Promise<string> =>
    path in files ? Promise.resolve(files[path]!) : Promise.reject(new Error(`ENOENT ${path}`))
  const load = (sources: CredentialSources) => loadCredentials(sources, readFile)

  test('nothing set: no tunnel', async () => {
    expect(await load({})).toBeUndefined()
  })

  test.each<[string, CredentialSources, object]>([
    ['the token comes first', { token, tokenFile: '/broken', credentialsFile: '/broken' }, { origin: 'token' }],
    ['then its file, trimmed', { tokenFile: '/token', credentialsFile: '/broken' }, { origin: 'token-file' }],
    [
      'then inline credentials',
      { credentialsContents: files['/credentials'], credentialsFile: '/broken' },
      { origin: 'credentials' },
    ],
    ['then their file', { credentialsFile: '/credentials' }, { origin: 'credentials', region: 'fed' }],
    ['a region of the user', { token, region: 'us' }, { region: 'us' }],
    ['an empty region is none', { token, region: '' }, { region: undefined }],
  ])('%s', async (_, sources, expected) => {
    expect(await load(sources)).toMatchObject(expected)
  })

  test.each<[string, CredentialSources, string]>([
    ['an empty token', { token: '' }, 'TUNNEL_TOKEN: the token is empty'],
    ['a token file that is not there', { tokenFile: '/none' }, 'TUNNEL_TOKEN_FILE (/none): the file cannot be read'],
    [
      'a token file with something else',
      { tokenFile: '/broken' },
      'TUNNEL_TOKEN_FILE (/broken): the token is not valid Base64',
    ],
    [
      'broken inline credentials',
      { credentialsContents: '{' },
      'TUNNEL_CRED_CONTENTS: the credentials file is not valid JSON',
    ],
    [
      'a broken credentials file',
      { credentialsFile: '/broken' },
      'TUNNEL_CRED_FILE (/broken): the credentials file is not valid JSON',
    ],
    [
      'a region beside one in the credentials',
      { credentialsFile: '/credentials', region: 'us' },
      'TUNNEL_CRED_FILE (/credentials): the tunnel is bound to a region of its own; remove TUNNEL_REGION',
    ],
  ])('%s: the error names the source and echoes nothing', async (_, sources, error) => {
    const loaded = await load(sources)
    expect(loaded).toEqual({ error })
    expect(JSON.stringify(loaded)).not.toContain('SECRET')
  })
})

describe('a quick tunnel', () => {
  test('answers with credentials and a hostname', () => {
    const text = formatQuickTunnel(credentials, 'a-b-c.trycloudflare.com')
    const url = 'https://a-b-c.trycloudflare.com'
    expect(parseQuickTunnel(text)).toEqual({ credentials, hostname: 'a-b-c.trycloudflare.com', url })
  })

  test('of a local edge says at which port it is reached', () => {
    const text = formatQuickTunnel(credentials, 'abc.localhost', 8000)
    expect(parseQuickTunnel(text)).toMatchObject({ url: 'http://abc.localhost:8000' })
  })

  test.each(['http://evil.example:80', 'http://abc.localhost:80/x', 'http://abc.localhost:80@evil.example', 7])(
    'any other address (%s) is not taken for its own',
    (url) => {
      const answer = JSON.parse(formatQuickTunnel(credentials, 'abc.localhost')) as { result: object }
      const text = JSON.stringify({ ...answer, result: { ...answer.result, url } })
      expect(parseQuickTunnel(text)).toMatchObject({ url: 'https://abc.localhost' })
    },
  )

  test.each([
    ['no JSON', '<html>', 'the quick-tunnel service did not answer with JSON'],
    [
      'no success',
      '{"success":false,"errors":[{"code":1015,"message":"slow\\ndown"}]}',
      'the quick-tunnel service refused: slow down (1015)',
    ],
    ['no reason', '{}', 'the quick-tunnel service refused: no reason given'],
    ['no hostname', '{"success":true,"result":{}}', 'the quick-tunnel service answered without a hostname'],
    [
      'no secret',
      '{"success":true,"result":{"hostname":"x.example"}}',
      'the quick-tunnel service answered without complete credentials',
    ],
  ])('with %s is refused', (_, text, error) => {
    expect(parseQuickTunnel(text)).toEqual({ error })
  })
})

describe('UUIDs', () => {
  test('bytes are in the order of the text', () => {
    expect(formatUuid(parseUuid(tunnel)!)).toBe(tunnel)
    expect([...parseUuid(tunnel)!.subarray(0, 4)]).toEqual([0xf1, 0x74, 0xe9, 0x0a])
  })

  test.each(['', 'x', tunnel.slice(1), `${tunnel}0`, `{${tunnel}`, tunnel.replace('-', ''), `urn:uuid:{${tunnel}}`])(
    '%j is none',
    (text) => {
      expect(parseUuid(text)).toBeUndefined()
    },
  )

  test('ours are random ones, version 4', () => {
    const ids = Array.from({ length: 100 }, () => formatUuid(createUuid()))
    expect(new Set(ids).size).toBe(100)
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  })
})
