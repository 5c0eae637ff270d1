import { fileURLToPath } from 'node:url'
import { configDefaults, defineConfig } from 'vitest/config'

/*
 * Which test runs where is in its name:
 *   name.test.ts        on Node, Bun and Deno
 *   name.node.test.ts   on Node only (likewise name.bun.test.ts, name.deno.test.ts)
 *   name.long.test.ts   only in `npm run test:long`: soak, chaos, gigabytes
 */
const runtimes = ['node', 'bun', 'deno'] as const
const runtime = 'Deno' in globalThis ? 'deno' : 'Bun' in globalThis ? 'bun' : 'node'
const elsewhere = runtimes.filter((name) => name !== runtime)
const long = process.env['HEADGATE_TEST_LONG'] === '1'

export default defineConfig({
  root: fileURLToPath(new URL('..', import.meta.url)),
  test: {
    include: long ? ['test/**/*.long.test.ts'] : ['test/**/*.test.ts'],
    exclude: [
      ...configDefaults.exclude,
      ...elsewhere.map((name) => `test/**/*.${name}.test.ts`),
      ...(long ? [] : ['test/**/*.long.test.ts']),
    ],
    testTimeout: long ? 600_000 : 15_000,
    hookTimeout: long ? 60_000 : 15_000,
    expect: { requireAssertions: true },
  },
})
