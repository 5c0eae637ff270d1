/** Is it a proxy, and the same one as the others? Asked before a variant is measured, so that nobody wins by doing less. */
import { bodies, type BodyPath } from './backend.ts'
import type { get } from './client.ts'
import type { RuleTarget } from './rules.ts'

interface Question {
  port: number
  ask: typeof get
  control: boolean
  target: RuleTarget
  path: BodyPath
  method: 'GET' | 'POST'
  sendBytes: number
}

function same(what: string, got: unknown, expected: unknown): void {
  if (got !== expected) throw new Error(`${what} is ${String(got)}, expected ${String(expected)}`)
}

/** @throws naming the first thing that is not as the scenario wants it: status, body, header edits, forwarded-for, routing */
export async function verify(question: Question): Promise<void> {
  const { port, ask, target, path, method } = question
  const url = `http://127.0.0.1:${port}${target.prefix}`
  const answer = await ask(url + path, {
    host: target.host,
    method,
    ...(question.sendBytes > 0 && { body: Buffer.alloc(question.sendBytes, 'x') }),
  })
  same('the status', answer.status, 200)
  // Behind a rule's path prefix the backend knows one body only.
  const expected = bodies[target.prefix === '' ? path : '/1k']
  if (!answer.body.equals(expected)) throw new Error(`the body differs: ${answer.body.length} bytes`)
  if (question.control) return
  same('the response header x-bench', answer.headers['x-bench'], '1')

  if (target.prefix === '') {
    const [edited, forwardedFor, host] = (await ask(`${url}/seen`, { host: target.host })).body.toString().split('|')
    same('the request header x-bench', edited, '1')
    same('x-forwarded-for', forwardedFor, '127.0.0.1')
    same('the host', host, target.host)
  }
  const elsewhere = await ask(`${url}/1k`, { host: 'elsewhere.example.net' })
  same('the status for another host', elsewhere.status, 404)
}
