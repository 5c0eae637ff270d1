/** Bytes that wait for a consumer count against their connection, so those that will never be taken must not. */
import { describe, expect, test } from 'vitest'
import { engineRequest } from '../../src/http/request.ts'
import { createResponse } from '../../src/http/response.ts'
import { clientOn, patternBody, pushBody, requestFor, startHttp2 } from './rig.ts'

/** So narrow that a few forgotten bodies would close it. */
const narrow = { streamWindowBytes: 65_535, connectionWindowBytes: 65_535, maxBufferedBytes: 65_536 }

describe('the connection window outlives', () => {
  test('bodies that came whole and were never read', async () => {
    let go = (): void => {}
    await using rig = await startHttp2(async (request) => {
      if (request.url.endsWith('/go')) go()
      else if (request.url.endsWith('/read')) return createResponse(200, [], String((await request.bytes()).length))
      else await new Promise<void>((resolve) => (go = resolve)) // until the body is here, and the next request behind it
      return createResponse(204, [])
    }, narrow)
    const client = await rig.connect()
    for (let i = 0; i < 20; i++) {
      const unread = client.send(requestFor('/unread', { body: new Uint8Array(10_000) }), {})
      await client.send(requestFor('/go'), {})
      expect((await unread).status).toBe(204)
    }
    const read = await client.send(requestFor('/read', { body: patternBody(500_000) }), {})
    expect(await read.text()).toBe('500000')
  })

  test('bodies whose consumer was keeping bytes when the peer broke them off', async () => {
    let kept = (): void => {}
    await using rig = await startHttp2(async (request) => {
      if (request.url.endsWith('/read')) return createResponse(200, [], String((await request.bytes()).length))
      const body = engineRequest(request)!.holder.take()!
      return new Promise<Response>((_, reject) => {
        body.start({
          data() {
            kept()
            return false
          },
          end() {},
          fail: () => reject(new Error('the client left')),
        })
      })
    }, narrow)
    const client = await rig.connect()
    for (let i = 0; i < 20; i++) {
      const body = pushBody()
      const holds = new Promise<void>((resolve) => (kept = resolve))
      const leave = new AbortController()
      const sent = client.send(requestFor('/kept', { body }), { signal: leave.signal })
      body.push('x'.repeat(10_000))
      await holds
      leave.abort()
      await expect(sent).rejects.toThrow('client left')
    }
    const read = await client.send(requestFor('/read', { body: patternBody(500_000) }), {})
    expect(await read.text()).toBe('500000')
  })

  test('answers whose reader stopped without a word', async () => {
    await using rig = await startHttp2((request) =>
      createResponse(200, [], request.url.endsWith('/unread') ? 'x'.repeat(10_000) : 'y'.repeat(500_000)),
    )
    const client = clientOn(await rig.dial(), rig.timers, narrow)
    const unread: Response[] = []
    for (let i = 0; i < 20; i++) unread.push(await client.send(requestFor('/unread'), {}))
    await client.send(requestFor('/read'), {}).then(async (read) => expect((await read.bytes()).length).toBe(500_000))
    expect(unread).toHaveLength(20)
    client.destroy()
  })
})
