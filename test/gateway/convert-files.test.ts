import { describe, expect, test } from 'vitest'
import { convertFiles } from '../../src/gateway/convert-files.ts'
import { formatDiagnostic } from '../../src/gateway/diagnostics.ts'

const gateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: web }
spec: { gatewayClassName: headgate, listeners: [{ name: http, port: 80, protocol: HTTP }] }
`
const route = (host: string): string => `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: shop }
spec:
  parentRefs: [{ name: web }]
  hostnames: [${host}]
  rules: [{ filters: [{ type: RequestRedirect, requestRedirect: {} }] }]
`
const hostnames = (...texts: string[]) =>
  convertFiles(texts.map((text, i) => ({ name: `${i}.yaml`, text }))).config?.rules.map((rule) => rule.hostnames)

describe('convertFiles', () => {
  test('an object in one file may refer to an object in another, before or after it', () => {
    expect(hostnames(route('a.example.com'), gateway)).toEqual([['a.example.com']])
    expect(hostnames(gateway, route('a.example.com'))).toEqual([['a.example.com']])
  })

  test('of an object in two files the last one counts, as with kubectl apply, and it is said', () => {
    expect(hostnames(gateway, route('a.example.com'), route('b.example.com'))).toEqual([['b.example.com']])
    const files = [gateway, route('a.example.com'), route('b.example.com')]
    const { diagnostics } = convertFiles(files.map((text, i) => ({ name: `${i}.yaml`, text })))
    expect(diagnostics.map(formatDiagnostic)).toEqual([
      '2.yaml:2: HTTPRoute default/shop: It also stands in 1.yaml:2; the last one counts, as with kubectl apply. Keep one of them.',
    ])
  })

  test('one file that is not well-formed refuses them all, and every such file is named', () => {
    const { config, diagnostics } = convertFiles([
      { name: 'good.yaml', text: gateway },
      { name: 'bad.yaml', text: 'a: [' },
      { name: 'worse.json', text: '{"a": 1, "a": 2}' },
    ])
    expect(config).toBeUndefined()
    expect(diagnostics.map(({ file }) => file)).toEqual(expect.arrayContaining(['bad.yaml', 'worse.json']))
    expect(diagnostics.every(({ level }) => level === 'error')).toBe(true)
  })

  test('no files are an empty config', () => {
    expect(convertFiles([], { version: 3 })).toEqual({
      config: { version: 3, listeners: [], rules: [] },
      diagnostics: [],
    })
  })
})
