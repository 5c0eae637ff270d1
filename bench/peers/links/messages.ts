/** What the bench and the program that holds the connections say to each other. */
import type { Address, Field } from '../../../src/runtime.ts'

/** Without an address to dial: be an edge, and be dialled. */
export interface OpenLinks {
  connections: number
  /** Of every request, beside what makes it differ from the others. */
  fields: readonly Field[]
  to?: Address
  /** PEM, for TLS. */
  ca?: string
}

/** What a connector has to know of the edge. */
export interface LinksOpened {
  eyeballs: number
  servers: readonly string[]
  /** PEM. */
  certificate: string
  token: string
}

export interface LinkOrder {
  seconds: number
  connections: number
  /** At once on each connection. */
  streams: number
  host: string
  path: string
}
