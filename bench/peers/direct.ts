/** The control: no proxy at all. What it shows is the most that client, backend and loopback can do. */
import type { Variant } from '../variant.ts'

export const direct: Variant = {
  name: 'direct',
  role: 'control',
  summary: 'the client talks to the backend itself',
  doors: ['http1', 'h2c'],
  async available() {
    return {}
  },
  async start(setup) {
    return { port: setup.door === 'h2c' ? setup.backendH2cPort : setup.backendPort, stop: async () => undefined }
  },
}
