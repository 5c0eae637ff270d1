import { parsePercentages, percentagesName, percentagesValidMs, type ProtocolPercentages } from './protocol.ts'

/** The percentages in DNS, asked for at most once an hour, when somebody wants to know. */
export interface PercentageSource {
  /** `undefined` while no answer was ever good. A failure keeps the last good one, and the next call asks again. */
  get(): Promise<ProtocolPercentages | undefined>
}

export interface PercentageSourceOptions {
  /** The TXT records of a name, the strings of each joined. */
  readonly txt: (name: string) => Promise<readonly string[]>
  /** Monotonic milliseconds. */
  readonly now: () => number
}

/** @see cloudflared, edgediscovery/protocol.go */
export function createPercentageSource({ txt, now }: PercentageSourceOptions): PercentageSource {
  let known: ProtocolPercentages | undefined
  let validUntilMs = -Infinity
  let asking: Promise<ProtocolPercentages | undefined> | undefined

  async function ask(): Promise<ProtocolPercentages | undefined> {
    const [record] = await txt(percentagesName).catch((): readonly string[] => [])
    const percentages = record === undefined ? undefined : parsePercentages(record)
    if (percentages !== undefined) {
      known = percentages
      validUntilMs = now() + percentagesValidMs
    }
    asking = undefined
    return known
  }

  return {
    get() {
      if (now() < validUntilMs) return Promise.resolve(known)
      asking ??= ask()
      return asking
    },
  }
}
