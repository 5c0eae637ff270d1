import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface TestBackend {
  readonly port: number
  close(): Promise<void>
}

/** A backend that is not ours, on a port of the system's choice. By default it answers with a name and the target. */
export async function startBackend(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<TestBackend> {
  const server: Server = createServer(answer)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
