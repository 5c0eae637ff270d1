import { describe, expect, test } from 'vitest'
import { createConfigFileSource } from '../../src/sources/config-file.ts'
import { createManifestSource } from '../../src/sources/manifests.ts'
import type { Loaded, Source } from '../../src/sources/source.ts'
import { followSource } from '../../src/sources/follow.ts'
import { createMemoryFiles, type MemoryFiles } from '../support/memory-files.ts'

const gateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { namespace: shop, name: web }
spec:
  gatewayClassName: headgate
  listeners: [{ name: http, protocol: HTTP, port: 80 }]
`
const route = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { namespace: shop, name: cart }
spec:
  parentRefs: [{ name: web }]
  rules: [{ filters: [{ type: RequestRedirect, requestRedirect: { scheme: https } }] }]
`

describe('manifests', () => {
  test('of several files and folders become one config, each file once', async () => {
    const files = createMemoryFiles({ 'a/gateway.yaml': gateway, 'a/notes.txt': '\t: &', 'b/route.yml': route })
    const source = createManifestSource(files, ['a', 'b', 'b/route.yml'], {})
    const { config, findings, problems } = await source.load()
    expect([problems, findings, config?.rules.length, config?.listeners?.length]).toEqual([undefined, [], 1, 1])
  })

  test('each change has the next version, and a load without one is the last one again', async () => {
    const files = createMemoryFiles({ 'a.yaml': gateway })
    const source = createManifestSource(files, ['a.yaml'], {})
    const first = await source.load()
    expect(await source.load()).toBe(first)
    files.texts.set('a.yaml', `${gateway}# edited\n`)
    const second = await source.load()
    expect([first.config?.version, second.config?.version]).toEqual([1, 2])
  })

  test('a file that has become empty may be in the middle of being written: what it held is not given up', async () => {
    const files = createMemoryFiles({ 'd/a.yaml': gateway, 'd/b.yaml': route, 'd/c.yaml': '' })
    const source = createManifestSource(files, ['d'], {})
    expect((await source.load()).config?.rules).toHaveLength(1)
    files.texts.set('d/b.yaml', '')
    expect(await source.load()).toEqual({
      problems: ['d/b.yaml has become empty; delete it if nothing of it is to be served.'],
    })
    files.texts.set('d/b.yaml', `${route}# again\n`)
    expect((await source.load()).config?.rules).toHaveLength(1)
    files.texts.delete('d/b.yaml')
    expect((await source.load()).config?.rules).toEqual([])
  })

  test('a bad object is a finding; the rest is served', async () => {
    const files = createMemoryFiles({ 'a.yaml': `${gateway}---\nkind: HTTPRoute\n---${route}` })
    const { config, findings } = await createManifestSource(files, ['a.yaml'], {}).load()
    expect(config?.rules).toHaveLength(1)
    expect(findings).toEqual([{ level: 'error', text: expect.stringMatching(/^a\.yaml:\d+: /) }])
  })

  test.each([
    ['a syntax error', { 'a.yaml': gateway, 'b.yaml': 'a: [1' }, ['a.yaml', 'b.yaml'], /^b\.yaml:1:\d+: /],
    [
      'a path that is not there',
      { 'a.yaml': gateway },
      ['a.yaml', 'c.yaml'],
      /^The manifests cannot be read: .*c\.yaml/,
    ],
    ['a folder without manifests', { 'd/readme.md': '' }, ['d'], /^There is no \.yaml, \.yml, \.json file in d\.$/],
  ])('%s refuses them all', async (_, texts, paths, problem) => {
    const { config, problems } = await createManifestSource(createMemoryFiles(texts), paths, {}).load()
    expect(config).toBeUndefined()
    expect(problems![0]).toMatch(problem)
  })

  test('only the Gateways of one class, where one is named', async () => {
    const files = createMemoryFiles({ 'a.yaml': `${gateway}---${route}` })
    const { config } = await createManifestSource(files, ['a.yaml'], { gatewayClass: 'other' }).load()
    expect(config?.rules).toEqual([])
  })
})

describe('a config file', () => {
  const load = (text: string): Promise<Loaded> =>
    createConfigFileSource(createMemoryFiles({ 'c.json': text }), 'c.json').load()

  test('is served with its own version, and with warnings', async () => {
    const { config, findings } = await load('{"version": 12, "rules": null, "flavour": 1}')
    expect(config?.version).toBe(12)
    expect(findings).toEqual([{ level: 'warning', text: expect.stringMatching(/^c\.json: flavour .*ignored/) }])
  })

  test.each([
    ['{"key": hunter2', 'c.json is not one JSON value: unexpected text at line 1, column 9.'],
    ['{"rules": 1}', 'c.json: rules must be a list, got a whole number.'],
  ])('%s is refused, and not quoted', async (text, problem) => {
    expect((await load(text)).problems).toEqual([problem])
  })

  test('that is not there', async () => {
    const { problems } = await createConfigFileSource(createMemoryFiles(), 'c.json').load()
    expect(problems).toEqual([expect.stringMatching(/^The config cannot be read: .*c\.json/)])
  })
})

describe('watching', () => {
  /** A source whose loads end when the test says so. */
  function createSlowSource(): Source & { finish(text: string): Promise<void>; readonly loads: () => number } {
    const waiting: ((loaded: Loaded) => void)[] = []
    let loads = 0
    return {
      kind: 'config',
      paths: ['c.json'],
      loads: () => loads,
      load() {
        loads++
        return new Promise((resolve) => waiting.push(resolve))
      },
      async finish(text) {
        waiting.shift()!({ problems: [text] })
        await new Promise((resolve) => setTimeout(resolve))
      },
    }
  }

  test('a change before the first load is over makes one more, and only what was read last counts', async () => {
    const files = createMemoryFiles()
    const source = createSlowSource()
    const { first } = followSource(files, source, () => {})
    expect(files.watched).toEqual([['c.json']])
    files.touch()
    await source.finish('old')
    await source.finish('new')
    expect([source.loads(), await first]).toEqual([2, { problems: ['new'] }])
  })

  test('so does a change during a later load', async () => {
    const files = createMemoryFiles()
    const source = createSlowSource()
    const seen: unknown[] = []
    followSource(files, source, ({ problems }) => seen.push(...problems!))
    await source.finish('first')
    files.touch()
    files.touch()
    files.touch()
    expect(source.loads()).toBe(2)
    await source.finish('old')
    expect([source.loads(), seen]).toEqual([3, []])
    await source.finish('new')
    expect([source.loads(), seen]).toEqual([3, ['new']])
    files.touch()
    await source.finish('newer')
    expect([source.loads(), seen]).toEqual([4, ['new', 'newer']])
  })

  test.each([
    ['manifests', gateway, (files: MemoryFiles) => createManifestSource(files, ['m'], {})],
    ['a config file', '{"version": 1, "rules": []}', (files: MemoryFiles) => createConfigFileSource(files, 'm/a.yaml')],
  ])('%s: a folder that stirs without a change, as of a log in it, is no change', async (_, text, createSource) => {
    const files = createMemoryFiles({ 'm/a.yaml': text })
    const seen: unknown[] = []
    const { first } = followSource(files, createSource(files), (loaded) => seen.push(loaded))
    await first
    const stir = async (): Promise<void> => {
      files.touch()
      await new Promise((resolve) => setTimeout(resolve))
    }
    await stir()
    expect(seen).toEqual([])
    files.texts.set('m/a.yaml', '{')
    await stir()
    await stir()
    files.texts.set('m/a.yaml', text)
    await stir()
    expect(seen).toMatchObject([{ problems: [expect.any(String)] }, { config: expect.any(Object) }])
  })

  test('what is read after the end is forgotten', async () => {
    const files = createMemoryFiles()
    const source = createSlowSource()
    const seen: unknown[] = []
    const follower = followSource(files, source, (loaded) => seen.push(loaded))
    await source.finish('first')
    files.touch()
    follower.close()
    await source.finish('late')
    files.touch()
    expect([source.loads(), seen]).toEqual([2, []])
  })
})
