import { describe, expect, test } from 'vitest'
import { parseProxyConfig } from '../../src/config/proxy-config.ts'
import type { Io } from '../../src/cli/io.ts'
import { run } from '../../src/cli/run.ts'
import type { Environment } from '../../src/options/read.ts'
import { formatToken } from '../../src/tunnel/credentials.ts'
import { createUuid } from '../../src/tunnel/uuid.ts'
import { createMemoryFiles, type MemoryFiles } from '../support/memory-files.ts'
import { createRecordedLog, type RecordedLog } from '../support/recorded-log.ts'
import { runtime } from '../support/service.ts'
import { until } from '../support/until.ts'

interface Ran {
  readonly exitCode: number
  readonly out: string
  readonly err: string
  readonly log: RecordedLog
}

interface Setup {
  readonly environment?: Environment
  readonly files?: Readonly<Record<string, string>> | MemoryFiles
  readonly stdin?: string
  /** Called once the command heeds signals, with a function that sends one. */
  readonly whileServing?: (signal: () => void, log: RecordedLog, out: () => string) => Promise<void>
}

async function runCommand(argv: readonly string[], setup: Setup = {}): Promise<Ran> {
  const log = createRecordedLog()
  let out = ''
  let err = ''
  let serving: Promise<void> | undefined
  const io: Io = {
    version: '1.2.3',
    out: (text) => void (out += text),
    err: (text) => void (err += text),
    readStdin: async () => setup.stdin ?? '',
    onStopSignal: (f) => (serving = setup.whileServing?.(f, log, () => out)),
    openHost: async () => ({
      runtime: { ...runtime, files: filesOf(setup) },
      companions: { log, accessLog: { write() {} }, version: '1.2.3' },
    }),
    examples: 'examples',
  }
  const exitCode = await run(argv, setup.environment ?? {}, io)
  await serving
  return { exitCode, out, err, log }
}

function filesOf({ files }: Setup): MemoryFiles {
  return files !== undefined && 'texts' in files ? (files as MemoryFiles) : createMemoryFiles(files)
}

describe('help', () => {
  test.each([
    ['headgate', ['--help']],
    ['run', ['run', '--help']],
    ['http', ['http', '--help']],
    ['convert', ['convert', '--help']],
    ['demo', ['demo', '--help']],
    ['edge', ['edge', '--help']],
  ])('of %s is as in test/golden/cli', async (name, argv) => {
    const { exitCode, out, err } = await runCommand(argv)
    expect([exitCode, err]).toEqual([0, ''])
    await expect(out).toMatchFileSnapshot(`../golden/cli/${name}.txt`)
  })

  test('the version is one line', async () => {
    expect(await runCommand(['--version'])).toMatchObject({ exitCode: 0, out: '1.2.3\n', err: '' })
  })
})

describe('a command line that is none of ours ends with 2 and says what is meant', () => {
  test.each<[string[], string]>([
    [[], 'Usage: headgate'],
    [['rnu'], "headgate: unknown command 'rnu'\n(Did you mean run?)"],
    [['run', '--lisen', ':80'], "headgate: unknown option '--lisen'\n(Did you mean --listen?)"],
    [['run', '--listen'], "headgate: option '--listen <ADDR...>' argument missing"],
    [['run', 'routes/'], 'headgate: too many arguments'],
    [['convert'], "headgate: missing required argument 'path'"],
    [['convert', 'a.yaml', '--output', 'xml'], 'Allowed choices are json, yaml.'],
    [['demo', '--manifests', 'x'], "headgate: unknown option '--manifests'"],
  ])('%j', async (argv, message) => {
    const { exitCode, out, err } = await runCommand(argv)
    expect([exitCode, out]).toEqual([2, ''])
    expect(err).toContain(message)
  })
})

test.each([
  ['--token', 'TUNNEL_TOKEN'],
  ['--tunnel-token', 'TUNNEL_TOKEN'],
  ['--auth-token', 'HEADGATE_AUTH_TOKEN'],
])('a secret on the command line (%s) is refused, named and not echoed', async (flag, instead) => {
  const { exitCode, out, err } = await runCommand(['run', flag, 'hunter2'])
  expect([exitCode, out]).toEqual([2, ''])
  expect(err).toContain(`headgate: ${flag}: every user of this machine can read a command line; use ${instead}`)
  expect(err).not.toContain('hunter2')
})

test('headgate http calls its argument by the name that its help has', async () => {
  const { exitCode, err } = await runCommand(['http', 'localhost:3000'])
  expect([exitCode, err]).toEqual([1, expect.stringMatching(/^headgate: URL must be an http:/)])
})

test.each([
  [['http', 'http://localhost:3000', '--protocol', 'smoke']],
  [['http://localhost:3000', '--protocol', 'smoke']],
  [['HTTPS://localhost:3000', '--protocol', 'smoke']],
])('%j shows a server to the world', async (argv) => {
  const { exitCode, err } = await runCommand(argv)
  expect(exitCode).toBe(1)
  expect(err).toMatch(/^headgate: --protocol must be one of/) // refused as an option of that command, before anything is asked
})

describe('headgate edge', () => {
  const anywhere = ['--listen', '127.0.0.1:0', '--api', '127.0.0.1:0', '--connectors', '127.0.0.1:0']

  test.each([
    ['--listen', '0.0.0.0:80'],
    ['--connectors', ':7844'],
    ['--api', 'here'],
  ])('is for this machine alone: %s %s is refused', async (flag, text) => {
    const { exitCode, out, err } = await runCommand(['edge', flag, text])
    expect([exitCode, out]).toEqual([1, ''])
    expect(err).toBe(
      `headgate: ${flag} must be a loopback address, such as 127.0.0.1:8000: a local edge is for this machine.\n`,
    )
  })

  test.each(['--listen', '--connectors', '--api'])('names the flag when the address of %s is taken', async (flag) => {
    const listener = await runtime.listen({ host: '127.0.0.1', port: 0 }, {}, (socket) => socket.destroy())
    const taken = `127.0.0.1:${listener.address.port}`
    const { exitCode, out, err } = await runCommand(['edge', ...anywhere, flag, taken])
    await listener.close()
    expect([exitCode, out]).toEqual([1, ''])
    expect(err).toBe(
      `headgate: ${taken} is in use by another program: end that, or choose another address with ${flag}.\n`,
    )
  })

  test('a connector that does what it says is connected; a signal ends it with 0', async () => {
    const files = createMemoryFiles()
    let connected: Ran | undefined
    const { exitCode, err } = await runCommand(['edge', ...anywhere, '--directory', 'd'], {
      files,
      whileServing: async (signal, _, out) => {
        await until(() => out().includes('Ctrl-C'))
        const words = /^ +headgate (run .*) --manifests DIR$/m.exec(out())![1]!.split(' ')
        files.texts.set('c.json', '{"version": 1, "rules": []}')
        connected = await runCommand([...words, '--config', 'c.json', '--admin', '127.0.0.1:0'], {
          files,
          whileServing: async (stop, log) => {
            await until(() => log.lines.includes('info: edge connection registered'))
            stop()
          },
        })
        signal()
      },
    })
    expect([exitCode, err]).toEqual([0, ''])
    expect(connected!.exitCode).toBe(0)
    expect(connected!.log.lines.filter((line) => !line.startsWith('info'))).toEqual([])
  })
})

describe('headgate run', () => {
  const files = { 'c.json': '{"version": 1, "rules": []}' }
  const free = ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0']

  test.each<[string, string[], Environment, string]>([
    ['a mistyped flag', ['run', '--listen', 'here'], {}, 'headgate: --listen must be'],
    ['a mistyped variable', ['run'], { HEADGATE_GRACE_PERIOD: 'soon' }, 'headgate: HEADGATE_GRACE_PERIOD must be'],
    ['an empty token', ['run'], { PROXY_AUTH_TOKEN: '' }, 'headgate: PROXY_AUTH_TOKEN must be'],
    [
      'two sources',
      ['run', '--config', 'c.json', '--manifests', 'm'],
      {},
      'headgate: --manifests and --config are both',
    ],
    [
      'a config that is none',
      ['run', '--config', 'bad.json', ...free],
      {},
      'headgate: bad.json is not one JSON value: unexpected end at line 1, column 2.',
    ],
    ['a file that is not there', ['run', '--config', 'no.json', ...free], {}, 'headgate: The config cannot be read'],
  ])('is refused with 1 for %s', async (_, argv, environment, message) => {
    const { exitCode, out, err } = await runCommand(argv, { environment, files: { ...files, 'bad.json': '{' } })
    expect([exitCode, out]).toEqual([1, ''])
    expect(err).toContain(message)
  })

  test('serves until a signal, says what and where, drains, and ends with 0', async () => {
    const { exitCode, err, log } = await runCommand(['run', '--config', 'c.json', ...free], {
      files,
      whileServing: async (signal, log) => {
        await until(() => log.lines.includes('info: serving'))
        signal()
      },
    })
    expect([exitCode, err]).toEqual([0, ''])
    expect(log.lines).toEqual(['info: config applied', 'info: serving', 'info: draining', 'info: stopped'])
    expect(log.fields[1]).toMatchObject({
      version: '1.2.3',
      listen: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
      admin: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
    })
  })

  test('a second signal ends it with 1', async () => {
    const { exitCode } = await runCommand(['run', '--config', 'c.json', ...free], {
      files,
      whileServing: async (signal, log) => {
        await until(() => log.lines.includes('info: serving'))
        signal()
        signal()
      },
    })
    expect(exitCode).toBe(1)
  })

  test('a signal in the middle of a start ends it with 0', async () => {
    const { exitCode, log } = await runCommand(['run', '--config', 'c.json', ...free], {
      files,
      whileServing: async (signal) => signal(),
    })
    expect(exitCode).toBe(0)
    expect(log.lines).not.toContain('info: serving')
  })

  test('runs from the environment alone, as a container does', async () => {
    const { exitCode, log } = await runCommand(['run'], {
      environment: { PROXY_ADDR: '127.0.0.1:0', PROXY_CONFIG_ADDR: '127.0.0.1:0', PROXY_TRACING_ENABLED: 'true' },
      whileServing: async (signal, log) => {
        await until(() => log.lines.includes('info: serving'))
        signal()
      },
    })
    expect(exitCode).toBe(0)
    expect(log.lines[0]).toContain('warn: PROXY_TRACING_ENABLED is set and has no effect')
  })

  test.each<[string, string[], unknown]>([
    ['opens no port for PROXY_ADDR', [], undefined],
    ['opens the one of --listen', ['--listen', '127.0.0.1:0'], expect.stringMatching(/^127\.0\.0\.1:\d+$/)],
  ])('beside a tunnel %s', async (_, argv, listen) => {
    const tunnelToken = formatToken({
      accountTag: '0123456789abcdef0123456789abcdef',
      tunnelId: createUuid(),
      tunnelSecret: new Uint8Array(32),
      endpoint: undefined,
    })
    const { exitCode, log } = await runCommand(['run', '--edge', '127.0.0.1:1', ...argv], {
      environment: { TUNNEL_TOKEN: tunnelToken, PROXY_ADDR: '127.0.0.1:0', PROXY_CONFIG_ADDR: '127.0.0.1:0' },
      whileServing: async (signal, log) => {
        await until(() => log.lines.includes('info: serving'))
        signal()
      },
    })
    expect(exitCode).toBe(0)
    expect(log.fields[log.lines.indexOf('info: serving')]!['listen']).toEqual(listen)
    expect(log.lines.filter((line) => line.startsWith('warn: PROXY_ADDR'))).toHaveLength(listen === undefined ? 1 : 0)
  })
})

test.each([
  ['two addresses', ['127.0.0.1:0', '127.0.0.2:0']],
  ['an address for one port of the config', ['80=127.0.0.1:0']],
])('headgate demo refuses %s where the tunnel has one door', async (_, addresses) => {
  const { exitCode, out, err } = await runCommand(['demo', '--listen', ...addresses, '--admin', '127.0.0.1:0'])
  expect([exitCode, out]).toEqual([1, ''])
  expect(err).toMatch(/^headgate: --listen takes one address .* need --direct\.\n$/)
})

describe('headgate convert', () => {
  const gateway = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { namespace: shop, name: web }
spec: { gatewayClassName: headgate, listeners: [{ name: http, protocol: HTTP, port: 80 }] }
`
  const route = (backend: string): string => `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { namespace: shop, name: cart }
spec:
  parentRefs: [{ name: web }]
  rules: [{ backendRefs: [{ name: ${backend}, port: 80 }] }]
---
apiVersion: v1
kind: Service
metadata: { namespace: shop, name: cart }
spec: { ports: [{ port: 80 }] }
`
  const files = { 'good.yaml': gateway + route('cart'), 'bad.yaml': gateway + route('chart'), 'broken.yaml': 'a: [' }

  test('prints a config that the proxy reads', async () => {
    const { exitCode, out } = await runCommand(['convert', 'good.yaml'], { files })
    expect(exitCode).toBe(0)
    expect(parseProxyConfig(JSON.parse(out))).toMatchObject({ config: { version: 1 }, warnings: [] })
  })

  test('as YAML, the same', async () => {
    const { out } = await runCommand(['convert', 'good.yaml', '--output', 'yaml'], { files })
    expect(out).toContain('version: 1\n')
    expect(out).toContain('name: shop/cart:80\n')
  })

  test('reads the standard input for -', async () => {
    const { exitCode, out } = await runCommand(['convert', '-'], { stdin: files['good.yaml'] })
    expect([exitCode, out]).toEqual([0, (await runCommand(['convert', 'good.yaml'], { files })).out])
  })

  test.each([
    ['without --strict', [], 0],
    ['with --strict', ['--strict'], 1],
  ])('says on the error output what is not served as written; %s it ends accordingly', async (_, flags, code) => {
    const { exitCode, out, err } = await runCommand(['convert', 'bad.yaml', ...flags], { files })
    expect(exitCode).toBe(code)
    expect(err).toMatch(/^error: bad\.yaml:\d+: HTTPRoute shop\/cart, rule 0: .*chart/m)
    expect(JSON.parse(out)).toMatchObject({ version: 1 })
  })

  test.each([
    ['YAML that is none', 'broken.yaml', /^error: broken\.yaml:1:\d+: /],
    ['a file that is not there', 'no.yaml', /^headgate: The manifests cannot be read: /],
  ])('ends with 1, and no config, for %s', async (_, path, message) => {
    const { exitCode, out, err } = await runCommand(['convert', path], { files })
    expect([exitCode, out]).toEqual([1, ''])
    expect(err).toMatch(message)
  })

  test('says that a folder has no manifests: a warning, which --strict lets pass', async () => {
    const { exitCode, out, err } = await runCommand(['convert', 'empty', '--strict'], {
      files: { 'empty/notes.txt': '' },
    })
    expect([exitCode, err]).toEqual([0, 'warning: There is no .yaml, .yml, .json file in empty.\n'])
    expect(JSON.parse(out)).toMatchObject({ rules: [] })
  })

  test('only the Gateways of a class, where one is named', async () => {
    const { out } = await runCommand(['convert', 'good.yaml', '--gateway-class', 'other'], { files })
    expect(JSON.parse(out)).toMatchObject({ rules: [] })
  })
})
