/**
 * The wire form of a ProxyConfig: JSON as Go's encoding/json reads and writes it.
 *
 * Reading follows its rules: a key matches a field in any letter case, the later of two such keys wins, `null` leaves
 * the field at its zero value, unknown keys are ignored. The shapes come from the schema itself, so that no list of
 * fields exists twice.
 */
import { joinPath, type ConfigIssue } from './issues.ts'

/** As much of a Valibot schema as the walk needs. */
interface Schema {
  readonly type: string
}
interface ListSchema extends Schema {
  readonly item: Schema
}
interface ObjectSchema extends Schema {
  readonly entries: Readonly<Record<string, Schema>>
}

const MAX_WARNINGS = 100
const MAX_MISFITS = 50

export interface Canonical {
  /** The same JSON with the schema's own key spelling, without nulls and without unknown keys. */
  readonly value: unknown
  readonly warnings: readonly ConfigIssue[]
  /** Lists where objects should be: Valibot would take them for objects without entries. */
  readonly misfits: readonly ConfigIssue[]
  /** How many JSON values there are. */
  readonly count: number
}

/** Respells JSON to a schema's shape. What differs from it in kind is left as it is, for the schema to refuse. */
export function canonicalize(schema: Schema, json: unknown): Canonical {
  const warnings: ConfigIssue[] = []
  const misfits: ConfigIssue[] = []
  const spellings = new Map<Schema, ReadonlyMap<string, string>>()
  const steps: (string | number)[] = []
  let unknownKeys = 0
  let count = 0

  const visit = (declared: Schema, value: unknown): unknown => {
    count++
    if (typeof value !== 'object' || value === null) return value
    const schema = innermost(declared)
    if (!Array.isArray(value)) {
      return schema.type === 'object' ? visitObject(schema as ObjectSchema, value as Record<string, unknown>) : value
    }
    if (schema.type === 'array') return visitList((schema as ListSchema).item, value)
    if (schema.type === 'object' && misfits.length < MAX_MISFITS) {
      misfits.push({ path: joinPath(...steps), message: 'must be an object, got a list' })
    }
    return value
  }

  const visitList = (item: Schema, list: readonly unknown[]): unknown[] => {
    const depth = steps.length
    const visited = list.map((value, index) => {
      steps[depth] = index
      return visit(item, value)
    })
    steps.length = depth
    return visited
  }

  const visitObject = (schema: ObjectSchema, object: Readonly<Record<string, unknown>>): unknown => {
    const depth = steps.length
    const visited: Record<string, unknown> = {}
    for (const key of Object.keys(object)) {
      const field = Object.hasOwn(schema.entries, key) ? key : spellingOf(schema, key)
      if (field === undefined) {
        unknownKeys++
        if (warnings.length < MAX_WARNINGS) {
          warnings.push({
            path: joinPath(...steps.slice(0, depth), shorten(key)),
            message: 'is not a field we know; it is ignored',
            fix: 'check its spelling, or remove it',
          })
        }
        continue
      }
      if (object[key] === null) continue
      steps[depth] = field
      visited[field] = visit(schema.entries[field]!, object[key])
    }
    steps.length = depth
    return visited
  }

  const spellingOf = (schema: ObjectSchema, key: string): string | undefined => {
    let fields = spellings.get(schema)
    if (fields === undefined) {
      fields = new Map(Object.keys(schema.entries).map((field) => [field.toLowerCase(), field]))
      spellings.set(schema, fields)
    }
    return fields.get(key.toLowerCase())
  }

  const value = visit(schema, json)
  if (unknownKeys > MAX_WARNINGS) {
    warnings.push({ path: '', message: `${unknownKeys - MAX_WARNINGS} more unknown fields are ignored` })
  }
  return { value, warnings, misfits, count }
}

/** What an `optional(pipe(object(…), …))` holds. */
function innermost(schema: Schema): Schema {
  const { wrapped, pipe } = schema as Schema & { wrapped?: Schema; pipe?: readonly [Schema] }
  if (wrapped !== undefined) return innermost(wrapped)
  return pipe === undefined || pipe[0] === schema ? schema : innermost(pipe[0])
}

function shorten(key: string): string {
  return key.length > 64 ? `${key.slice(0, 64)}…` : key
}
