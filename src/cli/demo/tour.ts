/** What the demo says: what there is to see, and what to type. */

export interface TourPlace {
  /** `http://127.0.0.1:8080` and the like; the examples' hosts are put in front of the port. */
  readonly port: number
  /** Of the admin API. */
  readonly admin: string
  /** Nothing is between the address and the gateway. */
  readonly direct: boolean
}

interface Stop {
  readonly title: string
  readonly example: string
  readonly lines: (at: (host: string) => string) => readonly string[]
}

const stops: readonly Stop[] = [
  {
    title: 'an exact path: /hello leads to a backend, /hello/there to none (404)',
    example: 'exact-path',
    lines: (at) => [`curl -i ${at('exact-path')}/hello`, `curl -i ${at('exact-path')}/hello/there`],
  },
  {
    title: 'a header match: the beta backend for those who ask for it',
    example: 'header-match',
    lines: (at) => [`curl ${at('header-match')}/`, `curl -H 'X-Release: beta' ${at('header-match')}/`],
  },
  {
    title: 'a canary: about 10 of 100 requests reach the new version',
    example: 'canary',
    lines: (at) => [`for i in $(seq 100); do curl -s ${at('canary')}/; done | grep backend | sort | uniq -c`],
  },
  {
    title: 'a rewrite: the prefix /old becomes /new on its way, and so does the host',
    example: 'rewrite',
    lines: (at) => [`curl ${at('rewrite')}/old/page?id=7`],
  },
  {
    title: 'a redirect: 301 to https and another host',
    example: 'redirect',
    lines: (at) => [`curl -i ${at('redirect')}/some/page`],
  },
  {
    title: 'a mirror: a copy goes to "shadow", which tells so in this window',
    example: 'mirror',
    lines: (at) => [`curl -d 'an order' ${at('mirror')}/orders`],
  },
  {
    title: 'server-sent events: they come one by one, nothing is held back',
    example: 'server-sent-events',
    lines: (at) => [`curl -N ${at('server-sent-events')}/events`],
  },
  {
    title: 'a WebSocket: the handshake and a greeting by curl, an echo by Node',
    example: 'websocket',
    lines: (at) => [
      `curl -i -N --max-time 2 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: aGVhZGdhdGUgZGVtby4uLg==' --output - ${at('websocket')}/echo`,
      `npx node -e "const s = new WebSocket('${at('').replace('http:', 'ws:')}/echo'); let n = 0; s.onopen = () => s.send('hello'); s.onmessage = (m) => { console.log(m.data); if (++n === 2) s.close() }"`,
    ],
  },
]

/** The folders of examples that the tour leads through. */
export const exampleNames: readonly string[] = stops.map(({ example }) => example)

export function describeTour({ port, admin, direct }: TourPlace): string {
  // Every resolver that curl uses knows that names below .localhost are this machine. RFC 6761 section 6.3.
  const at = (host: string): string => `http://${host === '' ? '127.0.0.1' : `${host}.localhost`}:${port}`
  const parts = stops.map(
    ({ title, example, lines }) =>
      `${title}  (examples/${example})\n${lines(at)
        .map((line) => `  ${line}\n`)
        .join('')}`,
  )
  return [
    direct
      ? `Headgate serves the examples on ${at('')}, and its admin API on ${admin}.\n`
      : `Headgate serves the examples on ${at('')}, and its admin API on ${admin}.\n` +
        'That address is a local edge: what comes in there reaches the gateway through a tunnel, over connections that the\n' +
        'gateway dialled. (--direct leaves the tunnel out.)\n',
    ...parts,
    `what it serves, whether it is ready${direct ? '' : ' and what its tunnel does'}, and its metrics\n  curl '${admin}/config?full'\n  curl '${admin}/readyz?verbose'\n  curl ${admin}/metrics\n`,
    'Edit a file in examples/ and it is served at once. Ctrl-C ends the demo.\n',
  ].join('\n')
}
