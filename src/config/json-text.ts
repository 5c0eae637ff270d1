/** JSON as somebody wrote it, and where it stops being JSON. Never quotes the text, which may hold a private key. */

export type ParsedJson = { readonly value: unknown; readonly fault?: undefined } | { readonly fault: string }

/** @returns the fault as "unexpected text at line 3, column 14": the runtimes' own words differ, and quote the text */
export function parseJsonText(text: string): ParsedJson {
  try {
    return { value: JSON.parse(text) }
  } catch {
    const at = findFault(text)
    if (at === undefined) return { fault: `unexpected text or end behind the first ${MAX_TOKENS} tokens` }
    const before = text.slice(0, at).split('\n')
    const what = at === text.length ? 'end' : 'text'
    return { fault: `unexpected ${what} at line ${before.length}, column ${before.at(-1)!.length + 1}` }
  }
}

const BLANKS = /[ \t\n\r]*/y
const WORD = /[{}[\]:,]|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y
// oxlint-disable-next-line no-control-regex
const STRING_PIECE = /[^"\\\u0000-\u001f]+|\\(?:["\\/bfnrt]|u[\dA-Fa-f]{4})/y

/** What may come next, by the first characters of tokens; "0" stands for every number and literal. */
const VALUE = '{["0'

/** Looking further would keep requests waiting. */
const MAX_TOKENS = 500_000

/** @returns where the text first has what cannot stand there; its length where only more is missing */
function findFault(text: string): number | undefined {
  const open: string[] = []
  let expected = VALUE
  let at = 0
  for (let count = 0; count < MAX_TOKENS; count++) {
    at = endOf(BLANKS, text, at)!
    const first = text.charAt(at)
    if (!expected.includes('{}[]:,"'.includes(first) ? first : '0')) return at
    let end = endOf(WORD, text, at)
    if (first === '"') {
      const quote = skipString(text, at + 1)
      if (text[quote] !== '"') return quote
      end = quote + 1
    }
    if (end === undefined) return at
    const isKey = first === '"' && !expected.includes('0')
    if (first === '{' || first === '[') open.push(first)
    if (first === '}' || first === ']') open.pop()
    const inside = open.at(-1)
    if (first === '{') expected = '"}'
    else if (first === '[') expected = `${VALUE}]`
    else if (first === ',') expected = inside === '{' ? '"' : VALUE
    else if (first === ':') expected = VALUE
    else if (isKey) expected = ':'
    else expected = inside === undefined ? '' : inside === '{' ? ',}' : ',]'
    at = end
  }
  return undefined
}

/** @returns where the string's closing quote is, or what cannot stand before one */
function skipString(text: string, from: number): number {
  let at = from
  for (;;) {
    const end = endOf(STRING_PIECE, text, at)
    if (end === undefined) return at
    at = end
  }
}

function endOf(pattern: RegExp, text: string, at: number): number | undefined {
  pattern.lastIndex = at
  return pattern.test(text) ? pattern.lastIndex : undefined
}
