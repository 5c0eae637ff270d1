/** How requests come to the demo's gateway: through a tunnel whose other end is here too, or straight to an address. */
import { explainBindError } from '../../control/doors.ts'
import { StartRefusal } from '../../control/start-refusal.ts'
import { formatAddress } from '../../options/address.ts'
import type { Options } from '../../options.ts'
import type { Address, Clock } from '../../runtime.ts'
import type { Source } from '../../sources/source.ts'
import { start, type Service } from '../../start.ts'
import { createTimers } from '../../timers.ts'
import { EdgeAddressFailure, startEdge } from '../../tunnel/edge/edge.ts'
import type { Host } from '../io.ts'
import type { Stoppable } from '../serve.ts'

export interface DemoEntrance extends Stoppable {
  /** Where requests come in. */
  readonly address: Address
  readonly admin: Address
}

/**
 * The local edge, our connector and the gateway in one process; what is between them is the real protocol.
 *
 * @param options `listen` is where the edge takes requests: one address
 */
export async function startThroughEdge(options: Options, host: Host, source: Source): Promise<DemoEntrance> {
  const { runtime, companions } = host
  const eyeballs = options.listen[0]!.address
  const timers = createTimers(runtime.clock)
  const edge = await startEdge({ runtime, timers, log: companions.log, eyeballs }).catch((error: unknown) => {
    if (!(error instanceof EdgeAddressFailure) || error.address !== eyeballs) throw error
    throw new StartRefusal([explainBindError(error.error, eyeballs, '--listen')])
  })
  let service: Service
  try {
    service = await start(
      { ...options, listen: [], edge: edge.servers.map(({ address }) => formatAddress(address)) },
      runtime,
      {
        ...companions,
        source,
        tunnel: {
          credentials: edge.mint().credentials,
          origin: 'token',
          region: undefined,
          edgeCa: edge.certificate,
        },
      },
    )
  } catch (error) {
    await edge.close()
    throw error
  }
  const entrance: DemoEntrance = {
    address: edge.eyeballs!,
    admin: service.admin,
    async stop() {
      // The edge has the answers of what is in flight when the connector has left, and passes them on.
      await service.stop()
      await edge.close(options.gracePeriodMs)
    },
    abort() {
      service.abort()
      void edge.close()
    },
  }
  if (await comesUp(service, runtime.clock)) return entrance
  const reason = service.tunnel!.reports[0]?.lastFailure ?? 'no answer'
  await service.stop()
  await edge.close()
  throw new StartRefusal([`The demo's tunnel does not come up: ${reason}. --direct leaves it out.`])
}

/** No tunnel: the gateway listens itself. */
export async function startDirectly(options: Options, host: Host, source: Source): Promise<DemoEntrance> {
  const service = await start(options, host.runtime, { ...host.companions, source })
  return {
    address: service.entries[0]!.address,
    admin: service.admin,
    stop: () => service.stop(),
    abort: () => service.abort(),
  }
}

const comeUpTimeoutMs = 10_000
const lookMs = 5

/** @returns false when no connection has registered in time */
function comesUp({ tunnel }: Service, clock: Clock): Promise<boolean> {
  const endMs = clock.now() + comeUpTimeoutMs
  return new Promise((resolve) => {
    const stopLooking = clock.every(lookMs, () => {
      const up = tunnel!.ready > 0
      if (!up && clock.now() < endMs) return
      stopLooking()
      resolve(up)
    })
  })
}
