/** The text of a manifest file, YAML or JSON, as objects. Files are untrusted: what one can cost us is bounded here. */

import {
  Composer,
  type Document,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  Parser,
  type ParseOptions,
  type DocumentOptions,
  type Scalar,
  type SchemaOptions,
} from 'yaml'
import type { Diagnostic } from './diagnostics.ts'

/** An object as it came, not yet looked into, and where it came from. */
export interface Manifest {
  readonly value: unknown
  readonly file?: string
  /** The line, from 1, on which its document begins. */
  readonly line?: number
}

/** No kind of Kubernetes comes near this, and a parser that recurses deeper can take the process down with it. */
const deepestNesting = 200
/** An alias may stand for a list of aliases, and so on: ten lines can mean ten billion values. */
const mostAliases = 100
const mostErrors = 10
/** A cluster's worth of routes. More than that is not a manifest but a mistake, or an attack. */
const longestText = 32 * 1024 * 1024

const yamlOptions: ParseOptions & DocumentOptions & SchemaOptions = {
  version: '1.2',
  schema: 'core',
  // `<<` would be expanded without being counted as an alias.
  merge: false,
  resolveKnownTags: false,
  stringKeys: true,
  // The library compares every key with every other; `repeatedKeys` does it in one pass.
  uniqueKeys: false,
  strict: true,
  // A quotation of the line could be a Secret's value.
  prettyErrors: false,
  logLevel: 'silent',
}

/**
 * Reads a file of manifests: one YAML document or several, JSON, a `kind: List` or a typed list such as
 * `HTTPRouteList`. Empty documents are skipped.
 *
 * @returns the objects in the order of the file; or, if the text is not well-formed, no objects and at least one
 *   diagnostic with line and column. Such a file refuses the whole reload: half of it may be missing.
 */
export function parseManifests(text: string, fileName: string): { objects: Manifest[]; diagnostics: Diagnostic[] } {
  const lines = new LineCounter()
  const problems: Diagnostic[] = []
  const objects: Manifest[] = []

  const complain = (message: string, offset: number, fix?: string): void => {
    if (problems.length >= mostErrors) return
    const { line, col } = lines.linePos(offset)
    problems.push({ level: 'error', file: fileName, line, column: col, message, ...(fix === undefined ? {} : { fix }) })
  }

  if (text.length > longestText) {
    const message = `The file is longer than ${longestText} characters`
    return { objects, diagnostics: [{ level: 'error', file: fileName, line: 1, column: 1, message }] }
  }
  for (const document of documents(text, lines, complain)) {
    for (const { message, pos } of document.errors) complain(message, pos[0])
    // With these options a warning means a tag of somebody's own.
    for (const { message, pos } of document.warnings) complain(message, pos[0], 'Write the value without a tag')
    for (const { range } of repeatedKeys(document.contents))
      complain('Map keys must be unique', range?.[0] ?? 0, 'Keep one of them')
    if (problems.length > 0) continue
    const offset = document.contents?.range?.[0] ?? document.range[0]
    try {
      const value: unknown = document.toJS({ maxAliasCount: mostAliases })
      const { line } = lines.linePos(offset)
      if (value !== null && value !== undefined) objects.push(...unpackList({ value, file: fileName, line }))
    } catch (error) {
      complain(error instanceof Error ? error.message : 'The document cannot be read', offset)
    }
  }
  return problems.length > 0 ? { objects: [], diagnostics: problems } : { objects, diagnostics: [] }
}

function* documents(
  text: string,
  lines: LineCounter,
  complain: (message: string, offset: number) => void,
): Generator<Document.Parsed> {
  const lexer = new Lexer()
  const parser = new Parser(lines.addNewLine)
  const composer = new Composer(yamlOptions)
  lines.addNewLine(0)
  for (const lexeme of lexer.lex(text)) {
    for (const token of parser.next(lexeme)) yield* composer.next(token) as Generator<Document.Parsed>
    if (parser.stack.length > deepestNesting) {
      complain(`Values are nested more than ${deepestNesting} deep`, parser.offset)
      return
    }
  }
  for (const token of parser.end()) yield* composer.next(token) as Generator<Document.Parsed>
  yield* composer.end() as Generator<Document.Parsed>
}

/** Of two equal keys one would win silently, and which one depends on the reader. The nesting is bounded by now. */
function* repeatedKeys(node: unknown): Generator<Scalar> {
  if (isSeq(node)) for (const item of node.items) yield* repeatedKeys(item)
  if (!isMap(node)) return
  const seen = new Set<unknown>()
  for (const { key, value } of node.items) {
    if (isScalar(key)) {
      if (seen.has(key.value)) yield key
      seen.add(key.value)
    }
    yield* repeatedKeys(value)
  }
}

/** `kubectl get -o yaml` writes lists, whose items may leave out what the list's kind already says. */
function unpackList(manifest: Manifest): Manifest[] {
  const { value } = manifest
  if (!isRecord(value) || typeof value['kind'] !== 'string' || !value['kind'].endsWith('List')) return [manifest]
  const { kind, apiVersion, items } = value
  if (items === null || items === undefined) return []
  if (!Array.isArray(items)) return [manifest]
  const itemKind = kind === 'List' ? undefined : kind.slice(0, -'List'.length)
  return items.flatMap((item: unknown) => {
    const typed =
      isRecord(item) && itemKind !== undefined
        ? { ...item, kind: item['kind'] ?? itemKind, apiVersion: item['apiVersion'] ?? apiVersion }
        : item
    // No list holds lists, and following them would be a way to make us recurse.
    return [{ ...manifest, value: typed }]
  })
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
