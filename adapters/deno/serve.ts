/** Headgate as a library on Deno. */
import type { Service } from '../../src/start.ts'
import { serveOn, type ServeOptions } from '../portable/serve.ts'
import { openRuntime } from './runtime.ts'

/**
 * Serves, as `headgate run` does. Options have the shapes of src/options.ts, not the texts of the command line.
 *
 * @returns rejects with a StartRefusal whose `reasons` are for the operator
 */
export function serve(options: ServeOptions): Promise<Service> {
  return serveOn(openRuntime, options)
}
