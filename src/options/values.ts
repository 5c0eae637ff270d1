/** How an option's text is read. A message says what the text must be, never what it was: it may be a secret. */
import { z } from 'zod'
import { parseGoDuration } from '../config/go-duration.ts'
import { parseAddressBlock, parseBindAddress, parseListen } from './address.ts'

/** A schema over text whose refusal is one sentence: what to write instead. */
function readable<T>(read: (text: string) => T | undefined, expected: string): z.ZodType<T, string> {
  return z.string().transform((text, context) => {
    const value = read(text.trim())
    if (value !== undefined) return value
    context.addIssue({ code: 'custom', message: expected })
    return z.NEVER
  })
}

const truthy = ['1', 'true', 'yes', 'on']
const falsy = ['0', 'false', 'no', 'off']

export const flag = readable<boolean>((text) => {
  const word = text.toLowerCase()
  return truthy.includes(word) ? true : falsy.includes(word) ? false : undefined
}, 'true or false')

export const text = readable<string>((value) => (value === '' ? undefined : value), 'some text')

export const path = readable<string>((value) => (value === '' ? undefined : value), 'a path')

export function oneOf<const T extends string>(...words: readonly T[]): z.ZodType<T, string> {
  const expected = `one of ${words.join(', ')}`
  return readable<T>((text) => words.find((word) => word === text.toLowerCase()), expected)
}

/** Milliseconds. `none` is allowed where `orNone` says so, and is `Infinity`. */
export function duration(shortestMs: number, orNone?: 'or none'): z.ZodType<number, string> {
  const expected = `a duration such as 30s, 1m30s or 500ms, of ${shortestMs} ms or more${orNone ? ', or none' : ''}`
  return readable((text) => {
    if (orNone && text.toLowerCase() === 'none') return Infinity
    const durationMs = parseGoDuration(text)
    return durationMs === undefined || durationMs < shortestMs ? undefined : durationMs
  }, expected)
}

const unitBytes: Readonly<Record<string, number>> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 }

export function bytes(fewest: number, most: number): z.ZodType<number, string> {
  const expected = `a number of bytes from ${fewest} to ${most}, such as 65536, 64k or 16m`
  return readable((text) => {
    const found = /^(\d{1,15})\s*([kmg]?)(?:ib|b)?$/i.exec(text)
    const size = found ? Number(found[1]) * unitBytes[found[2]!.toLowerCase()]! : NaN
    return size >= fewest && size <= most ? size : undefined
  }, expected)
}

export function wholeNumber(smallest: number, largest: number): z.ZodType<number, string> {
  return readable((text) => {
    const number = /^\d{1,15}$/.test(text) ? Number(text) : NaN
    return number >= smallest && number <= largest ? number : undefined
  }, `a whole number from ${smallest} to ${largest}`)
}

export const share = readable<number>((text) => {
  const number = /^(?:\d+\.?\d*|\.\d+)$/.test(text) ? Number(text) : NaN
  return number >= 0 && number <= 1 ? number : undefined
}, 'a number from 0 to 1')

export const bindAddress = readable(
  parseBindAddress,
  'HOST:PORT, :PORT for every address, or [IPV6]:PORT, such as 127.0.0.1:8081',
)

export const listenAt = readable(
  parseListen,
  'an address such as 127.0.0.1:8080 or :8080, optionally after "PORT=" or "NAMESPACE/GATEWAY:PORT="',
)

export const addressBlock = readable(parseAddressBlock, 'an address or a block such as 10.0.0.0/8 or fd00::/8')

/** What can stand in an `Authorization: Bearer` field as one word. */
export const token = readable<string>(
  (value) => (/^[\x21-\x7e]+$/.test(value) ? value : undefined),
  'printable ASCII without spaces',
)

export const httpUrl = readable<string>((value) => {
  const url = URL.canParse(value) ? new URL(value) : undefined
  const isOurs = url !== undefined && /^https?:$/.test(url.protocol) && url.username === '' && url.password === ''
  return isOurs && url.hash === '' ? value : undefined
}, 'an http:// or https:// URL without credentials, such as http://localhost:3000')

export const dialPlace = readable<string>(
  (value) => (/^(?:\[[0-9a-f:.]+\]|[^:[\]\s/]+):(?!0+$)\d{1,5}$/i.test(value) ? value : undefined),
  'HOST:PORT or [IPV6]:PORT, such as 198.51.100.7:7844',
)

/** A DNS label's beginning: it goes into the name that is looked up. */
export const regionName = readable<string>(
  (value) => (/^[a-z0-9-]{1,32}$/i.test(value) ? value.toLowerCase() : undefined),
  'letters, digits and dashes, such as us',
)
