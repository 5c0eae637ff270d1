/** What is measured with what: one entry per table. */
import type { BodyPath } from './backend.ts'
import type { Door, RuleSet } from './variant.ts'

interface Common {
  name: string
  title: string
  connections: number
  /** What each variant is measured with; more than one makes several rows of it. Peers only ever serve one rule. */
  ruleSets: readonly RuleSet[]
  /** Leaves out peers and control. */
  oursOnly?: boolean
}

/** Requests as fast as they are answered: by wrk over HTTP/1.1, by h2load over HTTP/2. */
export interface LoadScenario extends Common {
  kind: 'load'
  door: Door
  /** On each connection at once; absent: 1. */
  streams?: number
  path: BodyPath
  method: 'GET' | 'POST'
  /** Bytes of request body. */
  sendBytes: number
  browserHead: boolean
  /** Adds a `traceparent` that differs from request to request, so that no two heads of a connection are equal. */
  traced?: boolean
}

/** Connections that have made one request each and then stay open. */
export interface IdleScenario extends Common {
  kind: 'idle'
}

export type Scenario = LoadScenario | IdleScenario

const oneRule: RuleSet = { count: 1, spread: 'hosts' }

const get1k: LoadScenario = {
  kind: 'load',
  door: 'http1',
  name: 'get-1k',
  title: 'GET 1 KiB, 64 connections, minimal request head',
  connections: 64,
  path: '/1k',
  method: 'GET',
  sendBytes: 0,
  browserHead: false,
  ruleSets: [oneRule],
}

export const scenarios: readonly Scenario[] = [
  get1k,
  {
    ...get1k,
    name: 'get-1k-browser',
    title: 'GET 1 KiB, 64 connections, browser-like request head',
    browserHead: true,
  },
  {
    ...get1k,
    name: 'get-1k-traced',
    title: 'GET 1 KiB, 64 connections, browser-like request head that differs with every request',
    browserHead: true,
    traced: true,
  },
  {
    ...get1k,
    name: 'post-10k',
    title: 'POST 10 KiB, 64 connections',
    path: '/post',
    method: 'POST',
    sendBytes: 10_240,
  },
  { ...get1k, name: 'get-64k', title: 'GET 64 KiB, 32 connections', path: '/64k', connections: 32 },
  { ...get1k, name: 'get-1m', title: 'GET 1 MiB, 8 connections', path: '/1m', connections: 8 },
  { ...get1k, name: 'c256', title: 'GET 1 KiB, 256 connections, minimal request head', connections: 256 },
  {
    ...get1k,
    name: 'rules',
    title: 'GET 1 KiB, 64 connections, 10 rules against 10,000',
    oursOnly: true,
    ruleSets: [
      { count: 10, spread: 'hosts' },
      { count: 10_000, spread: 'hosts' },
      { count: 10, spread: 'paths' },
      { count: 10_000, spread: 'paths' },
    ],
  },
  {
    ...get1k,
    name: 'h2c-get-1k',
    title: 'GET 1 KiB, cleartext HTTP/2, 8 connections of 16 streams, browser-like request head',
    door: 'h2c',
    connections: 8,
    streams: 16,
    browserHead: true,
  },
  {
    ...get1k,
    name: 'tunnel-get-1k',
    title: 'GET 1 KiB, 4 connections of 16 streams, browser-like request head that differs: through a tunnel, and not',
    door: 'links',
    connections: 4,
    streams: 16,
    browserHead: true,
    traced: true,
  },
  {
    kind: 'idle',
    name: 'idle',
    title: 'Memory of an idle client connection, 2,000 connections',
    connections: 2_000,
    ruleSets: [oneRule],
  },
]

/** What a desktop browser adds to Host, some 800 bytes of it. */
export const browserHead: Readonly<Record<string, string>> = {
  'User-Agent': 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36',
  Accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8',
  'Accept-Language': 'en-GB,en;q=0.9,de-DE;q=0.8,de;q=0.7,fr;q=0.6',
  'Accept-Encoding': 'gzip, deflate, br, zstd',
  'Cache-Control': 'no-cache',
  Cookie:
    'session=6f1c0f0e9b2b4b7f8a4b9f0d5a2c7e11; theme=dark; consent=analytics%3Dfalse%26marketing%3Dfalse; ' +
    '_visit=1763941380.17.1763944980; locale=en-GB; cart=8f14e45fceea167a5a36dedd4bea2543',
  Referer: 'https://bench.example.com/shop/category/garden-tools?page=3&sort=price',
  'Sec-Fetch-Dest': 'document',
  'Sec-Fetch-Mode': 'navigate',
  'Sec-Fetch-Site': 'same-origin',
  'Upgrade-Insecure-Requests': '1',
}
