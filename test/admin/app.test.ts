import { describe, expect, test } from 'vitest'
import { createAdmin, type AdminOptions } from '../../src/admin/app.ts'
import type { AdminControl } from '../../src/admin/control.ts'
import { silentLog } from '../../src/telemetry.ts'

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

const applied: AdminControl = {
  readiness: () => ({ ready: true }),
  describe: () => ({ config: { version: 3 } }),
  version: () => 3,
  config: () => ({ version: 3, rules: [] }),
  refusesPushes: undefined,
  push: async () => ({ kind: 'applied', version: 4, diagnostics: [] }),
}

interface Setup extends Partial<Omit<AdminOptions, 'control'>> {
  readonly control?: Partial<AdminControl>
}

function adminOf({ control, ...options }: Setup = {}): (path: string, init?: RequestInit) => Promise<Response> {
  const admin = createAdmin({
    onLoopback: true,
    token: undefined,
    equalInConstantTime: equal,
    bodyLimitBytes: 1000,
    log: silentLog,
    control: { ...applied, ...control },
    ...options,
  })
  return async (path, init) => admin(new Request(new URL(path, 'http://127.0.0.1:8081'), init))
}

const json = { 'content-type': 'application/json' }
const put = (body: string, headers: Record<string, string> = json): RequestInit => ({ method: 'PUT', body, headers })

describe('GET', () => {
  test.each([
    ['/healthz is 200 while the process lives', '/healthz', { readiness: () => ({ ready: false }) }, 200, ''],
    ['/readyz is 200 when it is ready', '/readyz', {}, 200, ''],
    [
      '/readyz is 503 before the first config',
      '/readyz',
      { readiness: () => ({ ready: false, reason: 'no config loaded' }) },
      503,
      'not ready: no config loaded\n',
    ],
    [
      '/ready is 200 while a connection of the tunnel is registered, in the reference client’s words',
      '/ready',
      { connector: () => ({ readyConnections: 4, connectorId: 'f174e90a-fafe-4643-bbbc-4a0ed4fc8415' }) },
      200,
      '{"status":200,"readyConnections":4,"connectorId":"f174e90a-fafe-4643-bbbc-4a0ed4fc8415"}',
    ],
    [
      '/ready is 503 while none is, whatever /readyz says',
      '/ready',
      { connector: () => ({ readyConnections: 0, connectorId: 'f174e90a-fafe-4643-bbbc-4a0ed4fc8415' }) },
      503,
      '{"status":503,"readyConnections":0,"connectorId":"f174e90a-fafe-4643-bbbc-4a0ed4fc8415"}',
    ],
    [
      '/ready is 404 without a tunnel',
      '/ready',
      {},
      404,
      'there is no tunnel; /readyz says whether requests are served\n',
    ],
    ['/metrics is 404 when there are none', '/metrics', {}, 404, 'metrics are switched off\n'],
    ['anything else is 404', '/', {}, 404, 'not found\n'],
  ])('%s', async (_, path, control, status, text) => {
    const response = await adminOf({ control })(path)
    expect(response.status).toBe(status)
    expect(await response.text()).toBe(text)
  })

  test('/config tells version and readiness', async () => {
    expect(await (await adminOf()('/config')).json()).toEqual({ version: 3, ready: true })
  })

  test('/config?full shows the config as well', async () => {
    const answer = await (await adminOf()('/config?full')).json()
    expect(answer).toEqual({ version: 3, ready: true, config: { version: 3, rules: [] } })
  })

  test('/readyz?verbose describes, whatever the status', async () => {
    const response = await adminOf({ control: { readiness: () => ({ ready: false, reason: 'draining' }) } })(
      '/readyz?verbose',
    )
    expect(response.status).toBe(503)
    expect(await response.json()).toEqual({ ready: false, reason: 'draining', config: { version: 3 } })
  })

  test('/metrics answers as rendered', async () => {
    const admin = adminOf({ metrics: async () => ({ contentType: 'text/plain; version=0.0.4', text: 'up 1\n' }) })
    const response = await admin('/metrics')
    expect([response.headers.get('content-type'), await response.text()]).toEqual([
      'text/plain; version=0.0.4',
      'up 1\n',
    ])
  })

  test('HEAD is GET without its body', async () => {
    const response = await adminOf()('/config', { method: 'HEAD' })
    expect([response.status, await response.text()]).toEqual([200, ''])
  })

  test('nothing is cached or sniffed', async () => {
    const { headers } = await adminOf()('/config')
    expect([headers.get('cache-control'), headers.get('x-content-type-options')]).toEqual(['no-store', 'nosniff'])
  })
})

test.each([
  ['POST', '/config', 'GET, HEAD, PUT'],
  ['DELETE', '/config', 'GET, HEAD, PUT'],
  ['POST', '/readyz', 'GET, HEAD'],
  ['POST', '/ready', 'GET, HEAD'],
])('%s %s is 405 and says what is allowed', async (method, path, allow) => {
  const response = await adminOf()(path, { method })
  expect([response.status, response.headers.get('allow')]).toEqual([405, allow])
})

describe('PUT /config answers', () => {
  const issues = [{ path: 'rules[0].matches', message: 'must be a list', fix: 'use []' }]
  test.each<[string, Setup, RequestInit, number, string]>([
    ['415 for another content type', {}, put('{}', { 'content-type': 'text/json' }), 415, 'unsupported content type'],
    ['415 without one', {}, { method: 'PUT', body: new TextEncoder().encode('{}') }, 415, 'unsupported content type'],
    ['415 for a coded body', {}, put('{}', { ...json, 'content-encoding': 'gzip' }), 415, 'unsupported content type'],
    ['413 above the limit', {}, put(`"${'x'.repeat(1000)}"`), 413, 'config body exceeds maximum size of 1000 bytes'],
    ['400 for broken JSON', {}, put('{"version": x'), 400, 'invalid JSON: unexpected text at line 1, column 13'],
    ['400 for no JSON', {}, put(' '), 400, 'invalid JSON: the body is empty'],
    ['400 for more than one value', {}, put('{} {}'), 400, 'invalid JSON: unexpected text at line 1, column 4'],
    [
      '400 with the reasons for what is no config',
      { control: { push: async () => ({ kind: 'invalid', issues }) } },
      put('{}'),
      400,
      'invalid config\nrules[0].matches: must be a list; use []\n',
    ],
    [
      '409 for an older version',
      { control: { push: async () => ({ kind: 'stale', version: 2, current: 3 }) } },
      put('{}'),
      409,
      'stale config version: 2 is older than 3',
    ],
    [
      '409 when the config comes from files',
      { control: { refusesPushes: 'this config comes from files' } },
      put('{}'),
      409,
      'this config comes from files\n',
    ],
  ])('%s', async (_, setup, init, status, text) => {
    const response = await adminOf(setup)('/config', init)
    expect(response.status).toBe(status)
    expect(await response.text()).toContain(text)
    expect(response.headers.get('content-type')).toBe('text/plain; charset=utf-8')
  })

  test('200 with version and diagnostics', async () => {
    const response = await adminOf()(
      '/config',
      put('{"version":4}', { 'content-type': 'application/json; charset=utf-8' }),
    )
    expect([response.status, await response.json()]).toEqual([200, { version: 4, diagnostics: [] }])
  })

  test.each([
    ['/config', false],
    ['/config?force=true', true],
  ])('%s forces: %s', async (path, forced) => {
    const seen: unknown[] = []
    const push: AdminControl['push'] = async (value, force) => {
      seen.push([value, force])
      return { kind: 'applied', version: 1, diagnostics: [] }
    }
    await adminOf({ control: { push } })(path, put('{"version":1}'))
    expect(seen).toEqual([[{ version: 1 }, forced]])
  })

  test.each(['', '=', '=1', '=True', '=maybe', '=false', '=true&force=false'])(
    '400 for ?force%s: to pass a check by takes its exact word',
    async (value) => {
      const seen: unknown[] = []
      const push: AdminControl['push'] = async (...given) => {
        seen.push(given)
        return { kind: 'applied', version: 1, diagnostics: [] }
      }
      const response = await adminOf({ control: { push } })(`/config?force${value}`, put('{"version":1}'))
      expect([response.status, seen]).toEqual([400, []])
      expect(await response.text()).toBe('force can only be "true": PUT /config?force=true, or PUT /config\n')
    },
  )

  test('no word of the body in an error about it', async () => {
    const response = await adminOf()('/config', put('{"clientKeyPem": hunter2}'))
    expect(await response.text()).not.toContain('hunter2')
  })

  test('what cannot be decoded as UTF-8 is 400', async () => {
    const response = await adminOf()('/config', {
      method: 'PUT',
      body: new Uint8Array([0x22, 0xff, 0x22]),
      headers: json,
    })
    expect([response.status, await response.text()]).toEqual([400, 'invalid JSON: the body is not UTF-8\n'])
  })

  test('a body without a length is cut off at the limit, however long it goes on', async () => {
    let pulled = 0
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        pulled++
        controller.enqueue(new Uint8Array(400).fill(0x20))
      },
    })
    const init = { method: 'PUT', headers: json, body, duplex: 'half' } as RequestInit
    expect((await adminOf()('/config', init)).status).toBe(413)
    expect(pulled).toBeLessThan(10)
  })
})

describe('the checks come in this order', () => {
  const wrong = { 'content-type': 'text/plain' }
  test.each<[string, Setup, RequestInit, number]>([
    ['credentials before content type', { token: 'T' }, put('{', wrong), 401],
    ['content type before the source', { control: { refusesPushes: 'files' } }, put('{', wrong), 415],
    ['the source before the body', { control: { refusesPushes: 'files' } }, put('{'), 409],
    ['the size before the JSON', {}, put(`{${'x'.repeat(2000)}`), 413],
  ])('%s', async (_, setup, init, status) => {
    expect((await adminOf(setup)('/config', init)).status).toBe(status)
  })
})

describe('a token', () => {
  const withToken = { token: 's3cr3t' }
  test.each([
    ['is missing', undefined, 401],
    ['is wrong', 'Bearer s3cr3', 401],
    ['is wrong, and longer', 'Bearer s3cr3tt', 401],
    ['is empty', 'Bearer ', 401],
    ['comes by another scheme', 'Basic s3cr3t', 401],
    ['is right', 'Bearer s3cr3t', 200],
    ['is right, the scheme in other letters', 'bEARER s3cr3t', 200],
  ])('that %s', async (_, authorization, status) => {
    const headers: Record<string, string> = authorization === undefined ? {} : { authorization }
    for (const path of ['/config', '/config?full', '/readyz?verbose']) {
      const response = await adminOf(withToken)(path, { headers })
      expect(response.status).toBe(status)
      expect(response.headers.get('www-authenticate')).toBe(status === 401 ? 'Bearer' : null)
    }
    expect((await adminOf(withToken)('/config', put('{}', { ...json, ...headers }))).status).toBe(status)
  })

  test.each(['/healthz', '/readyz', '/metrics'])('is not asked for by %s', async (path) => {
    const metrics = async (): Promise<{ contentType: string; text: string }> => ({
      contentType: 'text/plain',
      text: '',
    })
    expect((await adminOf({ ...withToken, metrics })(path)).status).toBe(200)
  })
})

describe('on an address that others reach, without a token', () => {
  test.each([
    ['/config', 403],
    ['/config?full', 403],
    ['/readyz?verbose', 403],
    ['/healthz', 200],
    ['/readyz', 200],
  ])('%s is %i', async (path, status) => {
    expect((await adminOf({ onLoopback: false })(path)).status).toBe(status)
  })

  test('PUT /config is 403, whatever it brings', async () => {
    const init = put('{}', { ...json, authorization: 'Bearer guess' })
    expect((await adminOf({ onLoopback: false })('/config', init)).status).toBe(403)
  })
})

describe('on loopback without a token, a web page must not reach it', () => {
  test.each([
    ['http://127.0.0.1:8081', 200],
    ['http://127.0.0.2:8081', 200],
    ['http://localhost:8081', 200],
    ['http://[::1]:8081', 200],
    ['http://attacker.example:8081', 403],
    ['http://127.0.0.1.attacker.example:8081', 403],
    ['http://localhost.attacker.example:8081', 403],
    ['http://10.0.0.1:8081', 403],
    ['http://0.0.0.0:8081', 403],
  ])('with the Host of %s: %i', async (host, status) => {
    expect((await adminOf()(`${host}/config`)).status).toBe(status)
  })

  test.each(['null', 'http://127.0.0.1:8081', 'https://attacker.example'])('with Origin %s: 403', async (origin) => {
    expect((await adminOf()('/config', { headers: { origin } })).status).toBe(403)
  })

  test('with a token, which no page has, any Host will do', async () => {
    const headers = { authorization: 'Bearer T' }
    expect((await adminOf({ token: 'T' })('http://admin.example/config', { headers })).status).toBe(200)
  })
})

test('a failure of ours is 500, logged, and says nothing to the client', async () => {
  const said: string[] = []
  const push = async (): Promise<never> => Promise.reject(new Error('disk on fire'))
  const admin = adminOf({
    control: { push },
    log: { ...silentLog, error: (_, fields) => said.push(String(fields?.['error'])) },
  })
  const response = await admin('/config', put('{}'))
  expect([response.status, await response.text()]).toEqual([500, 'internal server error\n'])
  expect(said).toEqual(['disk on fire'])
})
