import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { configDefaults, defineConfig } from 'vitest/config'

/*
 * Which test runs where is in its name:
 *   name.test.ts        on Node, Bun and Deno
 *   name.node.test.ts   on Node alone (likewise name.bun.test.ts, name.deno.test.ts)
 *   name.long.test.ts   in `npm run test:long` alone: soak, chaos, gigabytes
 */
const runtimes = ['node', 'bun', 'deno']
const runtime = 'Deno' in globalThis ? 'deno' : 'Bun' in globalThis ? 'bun' : 'node'
const elsewhere = runtimes.filter((name) => name !== runtime).map((name) => `test/**/*.${name}.test.ts`)

export default defineConfig(({ mode }) => {
  const long = mode === 'long'
  return {
    root: fileURLToPath(new URL('..', import.meta.url)),
    test: {
      include: [long ? 'test/**/*.long.test.ts' : 'test/**/*.test.ts'],
      exclude: [...configDefaults.exclude, ...elsewhere, ...(long ? [] : ['test/**/*.long.test.ts'])],
      // Many tests wait for time to pass, so that two at once are no load even where there are two cores.
      maxWorkers: Math.max(2, availableParallelism() - 1),
      // A machine that others use may stand still in the middle of a test. What fails twice has failed, and what failed
      // once is told as such.
      retry: process.env['CI'] === undefined ? 0 : 1,
      testTimeout: long ? 600_000 : 15_000,
      hookTimeout: long ? 60_000 : 15_000,
      expect: { requireAssertions: true },
    },
  }
})
