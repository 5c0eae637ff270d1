/**
 * Everything that can be set, once: its flag, what it means, its default, and the names it has in the environment.
 *
 * A value comes from the flag, then from `HEADGATE_<OPTION>`, then from the predecessor's name, then from the reference
 * connector's, then from here.
 */
import type { z } from 'zod'
import {
  clampedShare,
  notTruthyWord,
  positiveDuration,
  truthyWord,
  unlessFalsyWord,
  type LenientReader,
} from './options/predecessor.ts'
import {
  addressBlock,
  bindAddress,
  bytes,
  dialPlace,
  duration,
  flag,
  httpUrl,
  listenAt,
  oneOf,
  path,
  regionName,
  share,
  text,
  token,
  wholeNumber,
} from './options/values.ts'

/** What the environment calls an option besides `HEADGATE_<OPTION>`. */
export interface PredecessorName {
  readonly name: string
  /** The reference connector's name for the same; read after the predecessor's, as the flag is. */
  readonly also?: string
  /** Absent: read as the flag is, and refused as the flag is. */
  readonly read?: LenientReader<unknown>
}

export interface OptionSpec<T = unknown> {
  /** Without the dashes. Absent: a secret, which only the environment may hold, since everybody can see a command line. */
  readonly flag?: string
  /** What the flag takes, for the help; absent for a switch. */
  readonly argument?: string
  /** Several values: the flag may be repeated, the environment separates them by commas. */
  readonly many?: true
  readonly help: string
  /** What `--no-<flag>` means, for a switch that is on or decides for itself. */
  readonly helpOff?: string
  /** Reads one value. */
  readonly read: z.ZodType<unknown, string>
  /** A word that is read as another one, with a warning. */
  readonly outdated?: { readonly word: string; readonly meant: string }
  /** `undefined` stands for "not set". */
  readonly fallback: T
  /** The default in words, where `fallback` does not say it. */
  readonly fallbackText?: string
  readonly predecessor?: PredecessorName
  readonly group: Group
}

export const groups = [
  'Configuration',
  'Tunnel',
  'Addresses',
  'Requests',
  'Backends',
  'Admin API',
  'Logs and metrics',
  'Process',
] as const
export type Group = (typeof groups)[number]

type Read<S> = S extends z.ZodType<infer T, string> ? T : never

function one<S extends z.ZodType<unknown, string>, const F extends Read<S> | undefined>(
  group: Group,
  spec: Omit<OptionSpec, 'read' | 'fallback' | 'many' | 'group'> & { read: S; fallback: F },
): OptionSpec<Read<S> | F> {
  return { ...spec, group }
}

function many<S extends z.ZodType<unknown, string>>(
  group: Group,
  spec: Omit<OptionSpec, 'read' | 'fallback' | 'many' | 'group'> & { read: S; fallback?: readonly Read<S>[] },
): OptionSpec<readonly Read<S>[]> {
  return { fallback: [], ...spec, group, many: true }
}

const second = 1000
const minute = 60 * second

export const optionTable = {
  manifests: many('Configuration', {
    flag: 'manifests',
    argument: 'PATH',
    help: 'Serve Gateway API manifests from these files and folders (.yaml, .yml, .json); they are watched.',
    read: path,
  }),
  config: one('Configuration', {
    flag: 'config',
    argument: 'FILE',
    help: 'Serve a ProxyConfig from this JSON file; it is watched. Without --manifests and --config the config comes through PUT /config.',
    read: path,
    fallback: undefined,
  }),
  gatewayClass: one('Configuration', {
    flag: 'gateway-class',
    argument: 'NAME',
    help: 'Serve only the Gateways of this class.',
    read: text,
    fallback: undefined,
    fallbackText: 'every Gateway in the manifests',
  }),
  clusterDomain: one('Configuration', {
    flag: 'cluster-domain',
    argument: 'DOMAIN',
    help: 'The DNS domain below which Services have their names.',
    read: text,
    fallback: 'cluster.local',
  }),
  stateDir: one('Configuration', {
    flag: 'state-dir',
    argument: 'DIR',
    help: 'Keep the last pushed config here and serve it after a restart. The folder becomes private (0700).',
    read: path,
    fallback: undefined,
    fallbackText: 'a pushed config is kept in memory only',
  }),
  stateMaxAgeMs: one('Configuration', {
    flag: 'state-max-age',
    argument: 'DURATION',
    help: 'Do not serve a kept config that is older than this.',
    read: duration(second, 'or none'),
    fallback: Infinity,
    fallbackText: 'none',
  }),

  tunnelToken: one('Tunnel', {
    help: 'Connect to the Cloudflare Tunnel of this token. Requests then come through it; set but empty refuses to start.',
    read: text,
    fallback: undefined,
    fallbackText: 'no tunnel',
    predecessor: { name: 'TUNNEL_TOKEN' },
  }),
  tunnelTokenFile: one('Tunnel', {
    flag: 'tunnel-token-file',
    argument: 'FILE',
    help: "Read the tunnel's token from this file.",
    read: path,
    fallback: undefined,
    fallbackText: 'HEADGATE_TUNNEL_TOKEN',
    predecessor: { name: 'TUNNEL_TOKEN_FILE' },
  }),
  tunnelCredentialsFile: one('Tunnel', {
    flag: 'tunnel-credentials-file',
    argument: 'FILE',
    help: 'Connect to the tunnel of this credentials file (<tunnel ID>.json) instead of a token.',
    read: path,
    fallback: undefined,
    predecessor: { name: 'TUNNEL_CRED_FILE' },
  }),
  tunnelCredentials: one('Tunnel', {
    help: 'The content of a credentials file.',
    read: text,
    fallback: undefined,
    predecessor: { name: 'TUNNEL_CRED_CONTENTS' },
  }),
  quick: one('Tunnel', {
    flag: 'quick',
    help: 'Ask for an anonymous quick tunnel and print its public address.',
    read: flag,
    fallback: false,
  }),
  quickService: one('Tunnel', {
    flag: 'quick-service',
    argument: 'URL',
    help: 'Where --quick asks.',
    read: httpUrl,
    fallback: 'https://api.trycloudflare.com/tunnel',
  }),
  origin: one('Tunnel', {
    flag: 'origin',
    argument: 'URL',
    help: 'Forward every request to this HTTP server, instead of serving a config.',
    read: httpUrl,
    fallback: undefined,
    fallbackText: 'the config is served',
  }),
  protocol: one('Tunnel', {
    flag: 'protocol',
    argument: 'NAME',
    help: 'What carries the tunnel: quic, http2, or auto. gRPC needs http2, which auto takes into account.',
    read: oneOf('auto', 'quic', 'http2'),
    outdated: { word: 'h2mux', meant: 'http2' },
    fallback: 'auto',
    predecessor: { name: 'PROXY_TUNNEL_PROTOCOL', also: 'TUNNEL_TRANSPORT_PROTOCOL' },
  }),
  connections: one('Tunnel', {
    flag: 'connections',
    argument: 'NUMBER',
    help: 'How many connections to the edge to keep.',
    read: wholeNumber(1, 16),
    fallback: 4,
  }),
  region: one('Tunnel', {
    flag: 'region',
    argument: 'NAME',
    help: 'Connect to the edge in this region, such as us.',
    read: regionName,
    fallback: undefined,
    fallbackText: 'the whole world',
    predecessor: { name: 'TUNNEL_REGION' },
  }),
  edge: many('Tunnel', {
    flag: 'edge',
    argument: 'HOST:PORT',
    help: 'Connect to the edge at this address, instead of looking for it in DNS; repeatable.',
    read: dialPlace,
    fallbackText: 'found in DNS',
    predecessor: { name: 'TUNNEL_EDGE' },
  }),
  edgeIpVersion: one('Tunnel', {
    flag: 'edge-ip-version',
    argument: 'VERSION',
    help: 'The IP version towards the edge: auto, 4 or 6.',
    read: oneOf('auto', '4', '6'),
    fallback: 'auto',
    predecessor: { name: 'TUNNEL_EDGE_IP_VERSION' },
  }),
  edgeCa: one('Tunnel', {
    flag: 'edge-ca',
    argument: 'FILE',
    help: "Trust the certificates of this file (PEM) for the edge, instead of the system's and Cloudflare's.",
    read: path,
    fallback: undefined,
    fallbackText: "the system's and Cloudflare's",
    predecessor: { name: 'TUNNEL_CACERT' },
  }),
  serveEmpty: one('Tunnel', {
    flag: 'serve-empty',
    help: 'Connect to the tunnel before there is a config, and answer 503 until there is one.',
    read: flag,
    fallback: false,
  }),

  listen: many('Addresses', {
    flag: 'listen',
    argument: 'ADDR',
    help: "Serve on this address, written [[NAMESPACE/GATEWAY:]PORT=]ADDR; repeatable. A bare ADDR stands for every HTTP listener of the config, PORT= for the listeners of that port, NAMESPACE/GATEWAY: for that Gateway's. With a tunnel there is none unless this flag or HEADGATE_LISTEN is given.",
    read: listenAt,
    fallback: [{ address: { host: '127.0.0.1', port: 8080 } }],
    fallbackText: '127.0.0.1:8080',
    predecessor: { name: 'PROXY_ADDR' },
  }),
  admin: one('Addresses', {
    flag: 'admin',
    argument: 'ADDR',
    help: 'Where the admin API listens: /config, /healthz, /readyz, /ready, /metrics.',
    read: bindAddress,
    fallback: { host: '127.0.0.1', port: 8081 },
    fallbackText: '127.0.0.1:8081',
    predecessor: { name: 'PROXY_CONFIG_ADDR', also: 'TUNNEL_METRICS' },
  }),
  trustedProxies: many('Addresses', {
    flag: 'trusted-proxies',
    argument: 'CIDR',
    help: 'Believe the Forwarded, X-Forwarded-* and X-Real-IP fields of these peers; repeatable.',
    read: addressBlock,
    fallbackText: 'nobody',
  }),

  pathNormalization: one('Requests', {
    flag: 'path-normalization',
    argument: 'HOW',
    help: 'What becomes of "." and ".." segments before a path is matched and forwarded: resolve, reject (400) or off.',
    read: oneOf('resolve', 'reject', 'off'),
    fallback: 'resolve',
  }),
  maxHeadBytes: one('Requests', {
    flag: 'max-head-size',
    argument: 'BYTES',
    help: 'The largest request head; a larger one is answered 431.',
    read: bytes(8192, 1024 ** 2),
    fallback: 65_536,
    fallbackText: '64k',
  }),
  maxFieldLines: one('Requests', {
    flag: 'max-header-lines',
    argument: 'NUMBER',
    help: 'The most header lines of a request; more are answered 431.',
    read: wholeNumber(16, 10_000),
    fallback: 200,
  }),
  headTimeoutMs: one('Requests', {
    flag: 'head-timeout',
    argument: 'DURATION',
    help: 'The longest a request head may take to arrive; later is answered 408.',
    read: duration(50),
    fallback: 10 * second,
    fallbackText: '10s',
  }),
  idleTimeoutMs: one('Requests', {
    flag: 'idle-timeout',
    argument: 'DURATION',
    help: 'How long a connection without a request is kept open.',
    read: duration(50),
    fallback: 75 * second,
    fallbackText: '75s',
  }),
  stallTimeoutMs: one('Requests', {
    flag: 'stall-timeout',
    argument: 'DURATION',
    help: 'How long a body may stand still in either direction while one side waits for the other.',
    read: duration(50),
    fallback: minute,
    fallbackText: '1m',
  }),
  halfClosedTimeoutMs: one('Requests', {
    flag: 'half-close-timeout',
    argument: 'DURATION',
    help: 'How long a client that has ended its side behind a whole HTTP/1.1 request, and to which there is nothing to send, is waited for before it counts as gone.',
    read: duration(50),
    fallback: second,
    fallbackText: '1s',
  }),
  upgradeTimeoutMs: one('Requests', {
    flag: 'upgrade-timeout',
    argument: 'DURATION',
    help: 'How long a backend may take to answer a request for an upgrade, such as a WebSocket.',
    read: duration(10),
    fallback: 30 * second,
    fallbackText: '30s',
    predecessor: { name: 'PROXY_WS_HANDSHAKE_TIMEOUT', read: positiveDuration() },
  }),
  upgradeIdleTimeoutMs: one('Requests', {
    flag: 'upgrade-idle-timeout',
    argument: 'DURATION',
    help: 'How long a WebSocket or another upgraded connection may be silent in both directions.',
    read: duration(second, 'or none'),
    fallback: Infinity,
    fallbackText: 'none',
    predecessor: { name: 'PROXY_WS_IDLE_TIMEOUT', read: positiveDuration() },
  }),

  allowLoopbackBackends: one('Backends', {
    flag: 'allow-loopback-backends',
    help: 'Let routes lead to loopback addresses.',
    helpOff: 'Refuse to dial loopback addresses, whatever the source of the config.',
    read: flag,
    fallback: undefined,
    fallbackText: 'yes for --manifests and --config, and for pushed configs while the admin API is on loopback',
  }),
  connectTimeoutMs: one('Backends', {
    flag: 'backend-connect-timeout',
    argument: 'DURATION',
    help: 'The longest a connection to a backend may take to come about, TLS included.',
    read: duration(10),
    fallback: 5 * second,
    fallbackText: '5s',
    predecessor: { name: 'PROXY_WS_DIAL_TIMEOUT', read: positiveDuration() },
  }),
  backendIdleTimeoutMs: one('Backends', {
    flag: 'backend-idle-timeout',
    argument: 'DURATION',
    help: 'How long an unused connection to a backend is kept open.',
    read: duration(second),
    fallback: minute,
    fallbackText: '1m',
  }),
  backendMaxConnections: one('Backends', {
    flag: 'backend-max-connections',
    argument: 'NUMBER',
    help: 'The most connections to one endpoint of a backend.',
    read: wholeNumber(1, 65_535),
    fallback: 1024,
  }),
  backendMaxWaiting: one('Backends', {
    flag: 'backend-max-waiting',
    argument: 'NUMBER',
    help: 'The most requests that wait for a connection to one endpoint; one more is answered 503.',
    read: wholeNumber(0, 1_000_000),
    fallback: 1024,
  }),

  authToken: one('Admin API', {
    help: 'The token that /config asks for. Set but empty refuses to start.',
    read: token,
    fallback: undefined,
    fallbackText: 'no token',
    predecessor: { name: 'PROXY_AUTH_TOKEN' },
  }),
  authTokenFile: one('Admin API', {
    flag: 'auth-token-file',
    argument: 'FILE',
    help: 'Read the token that /config asks for from this file.',
    read: path,
    fallback: undefined,
    fallbackText: 'HEADGATE_AUTH_TOKEN',
  }),
  adminTlsCert: one('Admin API', {
    flag: 'admin-tls-cert',
    argument: 'FILE',
    help: 'Serve the admin API over TLS with this certificate chain (PEM); needs --admin-tls-key.',
    read: path,
    fallback: undefined,
    fallbackText: 'plain HTTP',
    predecessor: { name: 'PROXY_CONFIG_TLS_CERT_FILE' },
  }),
  adminTlsKey: one('Admin API', {
    flag: 'admin-tls-key',
    argument: 'FILE',
    help: 'The private key for --admin-tls-cert (PEM).',
    read: path,
    fallback: undefined,
    predecessor: { name: 'PROXY_CONFIG_TLS_KEY_FILE' },
  }),
  adminBodyLimitBytes: one('Admin API', {
    flag: 'admin-body-limit',
    argument: 'BYTES',
    help: 'The largest config that PUT /config takes; a larger one is answered 413.',
    read: bytes(1024, 1024 ** 3),
    fallback: 16 * 1024 ** 2,
    fallbackText: '16m',
  }),

  logLevel: one('Logs and metrics', {
    flag: 'log-level',
    argument: 'LEVEL',
    help: 'The least that is logged: debug, info, warn or error.',
    read: oneOf('debug', 'info', 'warn', 'error'),
    fallback: 'info',
  }),
  accessLog: one('Logs and metrics', {
    flag: 'access-log',
    help: 'Write one JSON line for each finished request.',
    read: flag,
    fallback: false,
    predecessor: { name: 'PROXY_ACCESS_LOG_ENABLED', read: truthyWord },
  }),
  accessLogSampling: one('Logs and metrics', {
    flag: 'access-log-sampling',
    argument: 'RATE',
    help: 'The share of requests that is logged, from 0 to 1; those answered 5xx, or cut off by us, always are.',
    read: share,
    fallback: 1,
    predecessor: { name: 'PROXY_ACCESS_LOG_SAMPLING_RATE', read: clampedShare },
  }),
  accessLogQuery: one('Logs and metrics', {
    flag: 'access-log-query',
    help: 'Put query strings, which may hold secrets, into the access log.',
    read: flag,
    fallback: false,
    predecessor: { name: 'PROXY_ACCESS_LOG_STRIP_QUERY', read: notTruthyWord },
  }),
  metrics: one('Logs and metrics', {
    flag: 'metrics',
    help: 'Count requests and serve /metrics.',
    helpOff: 'Do not count requests; /metrics is then 404.',
    read: flag,
    fallback: true,
    predecessor: { name: 'PROXY_METRICS_ENABLED', read: unlessFalsyWord },
  }),

  gracePeriodMs: one('Process', {
    flag: 'grace-period',
    argument: 'DURATION',
    help: 'How long requests in flight may take to finish after the first SIGTERM or SIGINT; a second one ends them.',
    read: duration(0),
    fallback: 30 * second,
    fallbackText: '30s',
    predecessor: { name: 'PROXY_GRACE_PERIOD', also: 'TUNNEL_GRACE_PERIOD', read: positiveDuration(3 * minute) },
  }),
  fastSockets: one('Process', {
    flag: 'fast-sockets',
    help: "Use the runtime's own socket handles where a self-test at start finds that they work.",
    helpOff: 'Use public socket APIs alone.',
    read: flag,
    fallback: true,
  }),
} satisfies Record<string, OptionSpec>

export type OptionName = keyof typeof optionTable

export type Options = {
  readonly [Name in OptionName]: (typeof optionTable)[Name] extends OptionSpec<infer T> ? T : never
}

/** Every option at its default. */
export function defaultOptions(): Options {
  return Object.fromEntries(
    Object.entries(optionTable).map(([name, { fallback }]) => [name, fallback]),
  ) as unknown as Options
}

/** The environment's own name for an option: `HEADGATE_GRACE_PERIOD` for `--grace-period`. */
export function environmentName(name: OptionName): string {
  const spec: OptionSpec = optionTable[name]
  return `HEADGATE_${(spec.flag ?? secretNames[name] ?? name).replaceAll('-', '_').toUpperCase()}`
}

const secretNames: Partial<Record<OptionName, string>> = {
  authToken: 'auth-token',
  tunnelToken: 'tunnel-token',
  tunnelCredentials: 'tunnel-credentials',
}
