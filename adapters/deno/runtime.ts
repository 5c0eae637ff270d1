/** What Deno lends us. */
import type { OpenedRuntime } from '../portable/program.ts'
import { createRuntime } from '../portable/runtime.ts'
import { denoQuic } from './quic.ts'

export async function openRuntime(): Promise<OpenedRuntime> {
  return { runtime: { ...createRuntime('deno', Deno.version.deno), ...denoQuic() } }
}
