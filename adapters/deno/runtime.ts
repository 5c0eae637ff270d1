/** What Deno lends us. */
import type { OpenedRuntime } from '../portable/program.ts'
import { createRuntime } from '../portable/runtime.ts'

export async function openRuntime(): Promise<OpenedRuntime> {
  return { runtime: createRuntime('deno', Deno.version.deno) }
}
