/** Everything the bench knows how to measure, in the order of its tables. */
import { caddy } from './peers/caddy.ts'
import { direct } from './peers/direct.ts'
import { go } from './peers/go.ts'
import { haproxy, haproxyBig } from './peers/haproxy.ts'
import { headgate, headgateNet } from './peers/headgate.ts'
import { ownH2c, ownH2Tls, tunnel } from './peers/links.ts'
import { nginx } from './peers/nginx.ts'
import { nodeHttp } from './peers/node-http.ts'
import type { Variant } from './variant.ts'

export const variants: readonly Variant[] = [
  direct,
  nginx,
  haproxy,
  haproxyBig,
  caddy,
  go,
  nodeHttp,
  headgate,
  headgateNet,
  tunnel,
  ownH2Tls,
  ownH2c,
]
