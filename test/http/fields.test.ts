import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isAuthority, isFieldValue, isTarget, isToken } from '../../src/http/fields.ts'
import { checkField, headOf } from '../../src/http/head.ts'
import { createRequest, withUrl } from '../../src/http/request.ts'
import { createResponse, responseOf } from '../../src/http/response.ts'
import { engineRequestOf } from './messages.ts'

describe('the gate: what may go out in a start line or a field', () => {
  test.each([
    ['a method', 'GET', true],
    ['every special character of a token', "!#$%&'*+-.^_`|~", true],
    ['nothing', '', false],
    ['a space', 'X Y', false],
    ['a colon', 'X:', false],
    ['a line break', 'X\r\nY', false],
    ['a letter beyond ASCII', 'é', false],
    ['a code unit that becomes LF when cut to a byte', 'X\u010a', false],
  ])('token: %s', (_, text, expected) => expect(isToken(text)).toBe(expected))

  test.each([
    ['nothing', '', true],
    ['words', 'a b', true],
    ['a tab inside', 'a\tb', true],
    ['obs-text', 'caf\u00e9', true],
    ['a leading space', ' a', false],
    ['a trailing tab', 'a\t', false],
    ['CR', 'a\rb', false],
    ['LF', 'a\nb', false],
    ['NUL', 'a\0b', false],
    ['DEL', 'a\x7fb', false],
    ['code units that become CR LF when cut to bytes', 'a\u010d\u010ab', false],
  ])('field value: %s', (_, text, expected) => expect(isFieldValue(text)).toBe(expected))

  test.each([
    ['a path', '/a%2Fb', true],
    ['a path and a query', '/a?b=c?d', true],
    ['two slashes', '//a', true],
    ['obs-text', '/caf\u00e9', true],
    ['the asterisk', '*', true],
    ['nothing', '', false],
    ['a path without slash, which would join the host', 'a', false],
    ['userinfo, likewise', '@evil.example', false],
    ['a port, likewise', ':80/', false],
    ['more than the asterisk', '*/', false],
    ['a space', '/a b', false],
    ['a line break', '/a\r\nX:', false],
    ['a fragment', '/a#b', false],
    ['DEL', '/\x7f', false],
    ['a code unit above 0xFF', '/\u0120', false],
  ])('request target: %s', (_, text, expected) => expect(isTarget(text)).toBe(expected))

  test.each([
    ['a name', 'a.example', true],
    ['an upper-case name', 'A.Example', true],
    ['a name and a port', 'a.example:8080', true],
    ['an underscore', 'my_service', true],
    ['an IPv4 address', '127.0.0.1:80', true],
    ['an IPv6 address', '[::1]', true],
    ['an IPv6 address and a port', '[::1]:65535', true],
    ['nothing', '', false],
    ['a port alone', ':80', false],
    ['a port too high', 'a:65536', false],
    ['a port with letters', 'a:8x', false],
    ['userinfo', 'user@a', false],
    ['a path', 'a/b', false],
    ['a space', 'a b', false],
    ['an open bracket', '[::1', false],
    ['something behind the bracket', '[::1]x', false],
    ['a zone', '[fe80::1%25eth0]', false],
    ['a comma', 'a,b', false],
    ['percent-encoding', 'a%2eb', false],
  ])('authority: %s', (_, text, expected) => expect(isAuthority(text)).toBe(expected))

  test('nothing that passes can end a line or a word', () => {
    const units = fc.string({
      unit: fc.integer({ min: 0, max: 0x2ff }).map((c) => String.fromCharCode(c)),
      maxLength: 12,
    })
    const bytes = (text: string): number[] => Array.from(text, (c) => c.charCodeAt(0) & 0xff)
    fc.assert(
      fc.property(units, (text) => {
        const accepted = [isToken, isTarget, isAuthority].some((accepts) => accepts(text))
        const cut = isFieldValue(text) || accepted ? bytes(text) : []
        expect(cut.filter((byte) => byte === 0 || byte === 10 || byte === 13)).toEqual([])
        expect(accepted && cut.includes(32)).toBe(false)
      }),
      { numRuns: 2000 },
    )
  })
})

describe('whoever makes a message is held to the gate', () => {
  const parts = {
    method: 'GET',
    target: '/',
    authority: 'a.example',
    scheme: 'http',
    head: headOf([]),
    body: undefined,
    exchange: undefined,
  } as const

  test.each<[string, () => unknown]>([
    ['a target', () => createRequest({ ...parts, target: '/\r\nX: y' })],
    ['an authority', () => createRequest({ ...parts, authority: 'a b' })],
    ['another target', () => withUrl(engineRequestOf({ url: 'http://a.example/' }), { target: '@b.example/' })],
    ['another authority', () => withUrl(engineRequestOf({ url: 'http://a.example/' }), { authority: 'b.example/c' })],
    ["another target of a platform's request", () => withUrl(new Request('http://a.example/'), { target: 'x' })],
    ['a field name', () => headOf([['a b', 'c']])],
    ['a field value', () => headOf([['a', 'b\nc']])],
    ['a response field', () => createResponse(200, [['a', 'b\u010ac']])],
    ['a status', () => responseOf(99, '', headOf([]), undefined)],
    ['a reason phrase', () => responseOf(200, 'O\nK', headOf([]), undefined)],
  ])('%s', (_, make) => expect(make).toThrow(TypeError))

  test('the error names the field and not its value, which may be a secret', () => {
    expect(() => checkField('authorization', 'Bearer s3cret\n')).toThrow(/^(?!.*s3cret).*authorization/s)
  })
})
