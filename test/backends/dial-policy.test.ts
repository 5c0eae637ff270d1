import { expect, test } from 'vitest'
import { createDialPolicy } from '../../src/backends/dial-policy.ts'
import { createProxy } from '../../src/proxy/proxy.ts'
import { echo, startBackend } from '../support/test-backend.ts'
import { configOf, startProxy, toBackend } from '../support/proxy.ts'
import { ask } from '../support/raw-client.ts'
import { runtime } from '../support/runtime.ts'

const strict = createDialPolicy({ allowLoopback: false, ownListeners: [] })
const local = createDialPolicy({ allowLoopback: true, ownListeners: [] })

test.each([
  ['link-local', '169.254.169.254'],
  ['link-local', '169.254.0.1'],
  ['link-local IPv6', 'fe80::1'],
  ['link-local IPv6', 'febf::1'],
  ['link-local with zone', 'fe80::1%eth0'],
  ['any address with zone', 'fd00::1%eth0'],
  ['metadata of AWS', 'fd00:ec2::254'],
  ['the same, written out', 'FD00:0EC2:0000:0000:0000:0000:0000:0254'],
  ['metadata of Google', 'fd20:ce::254'],
  ['metadata of Alibaba', '100.100.100.200'],
  ['metadata of Oracle', '192.0.0.192'],
  ['metadata of Azure', '168.63.129.16'],
  ['IPv4-mapped link-local', '::ffff:169.254.169.254'],
  ['IPv4-mapped, in hexadecimal', '::ffff:a9fe:a9fe'],
  ['link-local behind NAT64', '64:ff9b::a9fe:a9fe'],
  ['link-local behind 6to4', '2002:a9fe:a9fe::1'],
  ['IPv4-compatible link-local', '::169.254.169.254'],
  ['unspecified', '0.0.0.0'],
  ['this network', '0.1.2.3'],
  ['unspecified IPv6', '::'],
  ['IPv4-mapped unspecified', '::ffff:0.0.0.0'],
  ['broadcast', '255.255.255.255'],
  ['multicast', '224.0.0.1'],
  ['multicast IPv6', 'ff02::1'],
  ['a name', 'localhost'],
  ['an octal address', '0251.0376.0251.0376'],
  ['a number', '2852039166'],
  ['a short address', '127.1'],
  ['nothing', ''],
])('%s (%s) is never dialled', (_, host) => {
  expect(local.refusal({ host, port: 80 })).toBeTruthy()
  expect(strict.refusal({ host, port: 80 })).toBeTruthy()
})

test.each([
  ['loopback', '127.0.0.1'],
  ['all of loopback', '127.255.255.254'],
  ['loopback IPv6', '::1'],
  ['IPv4-mapped loopback', '::ffff:127.0.0.1'],
  ['IPv4-mapped, in hexadecimal', '::ffff:7f00:1'],
  ['loopback behind NAT64', '64:ff9b::127.0.0.1'],
])('%s (%s) is dialled only where that is allowed', (_, host) => {
  expect(local.refusal({ host, port: 80 })).toBeUndefined()
  expect(strict.refusal({ host, port: 80 })).toContain('--allow-loopback-backends')
})

test.each([
  '10.0.0.1',
  '172.16.0.1',
  '192.168.0.1',
  '100.64.0.1',
  '192.0.2.1',
  'fd00::1',
  '2001:db8::1',
  '64:ff9b::10.0.0.1',
  '2002:0a00:0001::1',
])('%s is dialled: backends live in private networks', (host) =>
  expect(strict.refusal({ host, port: 80 })).toBeUndefined(),
)

const own = createDialPolicy({
  allowLoopback: true,
  ownListeners: [
    { host: '127.0.0.1', port: 8081 },
    { host: '0.0.0.0', port: 8080 },
    { host: '::', port: 8090 },
    { host: '10.0.0.5', port: 443 },
    { host: '', port: 1 },
  ],
})

test.each([
  ['the very address', '127.0.0.1', 8081, true],
  ['the same, IPv4-mapped', '::ffff:127.0.0.1', 8081, true],
  ['another port', '127.0.0.1', 8082, false],
  ['another loopback address', '127.0.0.2', 8081, false],
  ['loopback, listening on 0.0.0.0', '127.0.0.1', 8080, true],
  ['all of loopback, listening on 0.0.0.0', '127.9.9.9', 8080, true],
  ['loopback, listening on ::', '::1', 8090, true],
  ['IPv4 loopback, listening on ::', '127.0.0.1', 8090, true],
  ['an address of the host, listening there', '10.0.0.5', 443, true],
  ['somebody else with our port', '10.0.0.6', 8080, false],
])('our own listener, %s', (_, host, port, refused) => {
  expect(own.refusal({ host, port }) !== undefined).toBe(refused)
})

test('an address of the host is seen to be ours by the connection: it comes from that very address', () => {
  expect(own.refusalOfOpen({ host: '10.0.0.7', port: 40_000 }, { host: '10.0.0.7', port: 8080 })).toContain(
    'our own listener',
  )
  expect(own.refusalOfOpen({ host: '10.0.0.7', port: 40_000 }, { host: '10.0.0.8', port: 8080 })).toBeUndefined()
  expect(own.refusalOfOpen({ host: '10.0.0.7', port: 40_000 }, { host: '10.0.0.7', port: 9090 })).toBeUndefined()
})

const resolving = (address: string): typeof runtime => ({
  ...runtime,
  resolver: { ...runtime.resolver, lookup: async () => ({ addresses: [{ address, family: 4 }] }) },
})

test.each([
  ['loopback', '127.0.0.1'],
  ['link-local', '169.254.169.254'],
  ['IPv4-mapped loopback', '::ffff:127.0.0.1'],
])('a name that resolves to %s is refused after DNS', async (_, address) => {
  await using backend = await startBackend(echo())
  await using rig = await startProxy(toBackend(`http://innocent.example:${backend.port}`), {
    runtime: resolving(address),
    allowLoopbackBackends: false,
  })
  const answer = await ask(rig.address, '/')
  expect(answer.status).toBe(503)
  expect(answer.text).not.toContain(address)
  expect(rig.records[0]?.error).toMatchObject({ kind: 'upstream', phase: 'connect', cause: 'forbidden' })
  expect(backend.accepted).toBe(0)
})

test('what is allowed may change while we serve', async () => {
  await using backend = await startBackend(echo())
  await using rig = await startProxy(toBackend(backend.url), { allowLoopbackBackends: false })
  expect((await ask(rig.address, '/')).status).toBe(503)
  rig.proxy.setAllowLoopbackBackends(true)
  expect((await ask(rig.address, '/')).status).toBe(200)
  rig.apply(toBackend(`http://127.0.0.2:${backend.port}`))
  rig.proxy.setOwnListeners([{ host: '0.0.0.0', port: backend.port }])
  expect((await ask(rig.address, '/')).status).toBe(503)
})

test('mirrors are held to the same rules', async () => {
  await using mirror = await startBackend(echo())
  const proxy = createProxy({ runtime })
  const filters = [{ type: 'RequestMirror', requestMirror: { backendUrl: mirror.url } }]
  proxy.apply(configOf([{ filters, backends: [] }]))
  expect((await proxy.fetch(new Request('http://a.example/'))).status).toBe(500)
  await expect.poll(() => proxy.stats.mirrors.failed).toBe(1)
  expect(mirror.accepted).toBe(0)
})
