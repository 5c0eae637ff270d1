import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'

import { expect, test } from 'vitest'

const soak = fileURLToPath(new URL('../../bench/soak.ts', import.meta.url))

test.each(['headgate', 'headgate-net'])(
  'ten minutes of mixed traffic with aborts and reloads: nothing grows, nobody gets a wrong answer (%s)',
  { timeout: 15 * 60_000 },
  async (variant) => {
    const told = await new Promise<string>((resolve) => {
      execFile(process.execPath, [soak, '--minutes', '10', '--variant', variant], (_, stdout, stderr) =>
        resolve(stdout || stderr),
      )
    })
    expect(told).toContain('Nothing grew, and every exchange went as it must.')
  },
)
