/** One thing wrong with a config: where, what, and how to put it right. Holds no secret and no value of a credential. */
export interface ConfigIssue {
  /** JSON path from the config's root, as `rules[2].filters[0].type`; '' is the root itself. */
  readonly path: string
  readonly message: string
  readonly fix?: string
}

/** What one route's author can mend: it always says how. */
export type Fault = Required<ConfigIssue>

/** Joins a JSON path: `joinPath('rules', 2, 'name')` is `rules[2].name`. */
export function joinPath(...steps: readonly (string | number)[]): string {
  let path = ''
  for (const step of steps) {
    if (typeof step === 'number') path += `[${step}]`
    else if (path === '') path = step
    else path += `.${step}`
  }
  return path
}

/** What a value is, in words fit for an error; never the value, which may be a secret. */
export function describeKind(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'a list'
  switch (typeof value) {
    case 'object':
      return 'an object'
    case 'number':
      return Number.isInteger(value) ? 'a whole number' : 'a number'
    case 'boolean':
      return `${value}`
    default:
      return `a ${typeof value}`
  }
}
