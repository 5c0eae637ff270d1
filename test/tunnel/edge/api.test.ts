/** What the local edge can be asked over HTTP, on loopback, by whoever is on this machine and is no web page. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Edge } from '../../../src/tunnel/edge/edge.ts'
import { parseQuickTunnel } from '../../../src/tunnel/quick-tunnel.ts'
import { ask, type Answer, type AskOptions } from '../../support/raw-client.ts'
import { loopback, openScene, type Scene } from './scene.ts'

let scene: Scene
let edge: Edge
beforeAll(async () => {
  scene = await openScene({ protocol: 'http2', edge: { api: loopback, eyeballs: loopback } })
  await scene.registered()
  edge = scene.edge
})
afterAll(() => scene[Symbol.asyncDispose]())

function askApi(method: string, target: string, options: AskOptions = {}): Promise<Answer> {
  return ask(edge.api!, target, { method, host: `localhost:${edge.api!.port}`, ...options })
}

describe('POST /tunnel', () => {
  test('gives out a tunnel with a name of its own, whose requests come to whoever registers with it', async () => {
    const answer = await askApi('POST', '/tunnel')
    expect([answer.status, answer.header('content-type')]).toEqual([200, 'application/json'])
    const given = parseQuickTunnel(answer.text)
    if ('error' in given) throw new Error(given.error)
    const { credentials, hostname, url } = given
    expect(hostname).toMatch(/^[a-z]{12}\.localhost$/)
    expect(url).toBe(`http://${hostname}:${edge.eyeballs!.port}`)
    expect((await ask(edge.eyeballs!, '/', { host: hostname })).status).toBe(530)
    const quick = scene.join({ credentials, handler: () => new Response('quick') })
    await scene.eventually(() => quick.ready === 1)
    expect((await ask(edge.eyeballs!, '/', { host: hostname })).text).toBe('quick')
    expect((await ask(edge.eyeballs!, '/', { host: 'a.example' })).text).toBe('fine')
    quick.destroy()
  })

  test('gives each a tunnel of its own', async () => {
    const [one, other] = await Promise.all([askApi('POST', '/tunnel'), askApi('POST', '/tunnel')])
    expect(one.text).not.toBe(other.text)
  })
})

describe('PUT /configuration', () => {
  test('pushes it over every connection, and says what each of them made of it', async () => {
    const push = async (): Promise<unknown> => {
      const answer = await askApi('PUT', '/configuration', { body: '{"ingress":[]}' })
      expect(answer.status).toBe(200)
      return JSON.parse(answer.text)
    }
    const connection = scene.connection.id
    expect(await push()).toEqual([{ connection, connIndex: 0, latestAppliedVersion: 0, error: '' }])
    expect(await push()).toEqual([{ connection, connIndex: 0, latestAppliedVersion: 1, error: '' }])
  })

  test.each([
    ['no JSON', '{', 400],
    ['5 MB', `"${'x'.repeat(5_000_000)}"`, 413],
  ])('%s is none', async (_, body, status) => {
    expect((await askApi('PUT', '/configuration', { body })).status).toBe(status)
  })
})

test.each<[string, string, string, AskOptions, number]>([
  ['another method for tunnels', 'GET', '/tunnel', {}, 405],
  ['another method for configurations', 'POST', '/configuration', {}, 405],
  ['another path', 'GET', '/', {}, 404],
  ['a page from elsewhere', 'POST', '/tunnel', { headers: [['Origin', 'https://evil.example']] }, 403],
  ['a name from elsewhere that leads here', 'POST', '/tunnel', { host: 'evil.example' }, 403],
])('%s is refused', async (_, method, target, options, status) => {
  expect((await askApi(method, target, options)).status).toBe(status)
})
