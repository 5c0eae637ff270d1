import { createRuntime } from '../../adapters/portable/runtime.ts'
import type { Runtime } from '../../src/runtime.ts'

/** The runtime that the tests run in, over the sockets that all three have. */
export const runtime: Runtime = createRuntime(
  'Bun' in globalThis ? 'bun' : 'Deno' in globalThis ? 'deno' : 'node',
  'test',
)
