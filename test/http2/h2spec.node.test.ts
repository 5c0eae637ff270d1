/**
 * h2spec, where the machine has it: `HEADGATE_TEST_H2SPEC` names the program, or it is in PATH.
 *
 * @see https://github.com/summerwind/h2spec
 */
import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { createResponse } from '../../src/http/response.ts'
import { startHttp2 } from './rig.ts'

const program = process.env['HEADGATE_TEST_H2SPEC'] ?? 'h2spec'
const isThere = spawnSync(program, ['--version']).status === 0

test.skipIf(!isThere)(
  `h2spec passes in full${isThere ? '' : ' (skipped: no h2spec in PATH, nor in HEADGATE_TEST_H2SPEC)'}`,
  async () => {
    await using rig = await startHttp2(async (request) => {
      await request.arrayBuffer()
      return createResponse(200, [['Content-Type', 'text/plain']], 'hello, h2spec\n')
    })
    const { stdout } = await promisify(execFile)(program, [
      '--host',
      '127.0.0.1',
      '--port',
      String(rig.port),
      '--timeout',
      '2',
      '--strict',
    ]).catch((failed: { stdout: string }) => failed)
    expect(stdout.slice(Math.max(stdout.lastIndexOf('Failures:'), 0))).toMatch(
      /(\d+) tests, \1 passed, 0 skipped, 0 failed/,
    )
  },
  120_000,
)
