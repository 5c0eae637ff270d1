/** Every way a manifest can be less than fully served, as data: for logs, `convert`'s output and, later, status conditions. */

/**
 * - `error`: something that was written is not served, or is answered with an error
 * - `warning`: it is served, but not quite as written, or a cluster would refuse it
 * - `info`: worth knowing, nothing to do
 */
export type DiagnosticLevel = 'error' | 'warning' | 'info'

export interface ObjectName {
  readonly kind: string
  /** Absent for cluster-scoped kinds. */
  readonly namespace?: string
  readonly name: string
}

/** A status condition that this finding makes untrue (or, for `Conflicted` and the like, true). */
export interface Condition {
  readonly type: string
  readonly reason: string
}

export interface Finding {
  readonly level: DiagnosticLevel
  /** Index of the route's rule, from 0 as in a field path. */
  readonly rule?: number
  /** As `kubectl` writes it: `spec.rules[2].backendRefs[0].port`. */
  readonly field?: string
  /** What is wrong and what follows from it, as a sentence without its full stop. Never holds a secret's value. */
  readonly message: string
  /** What to write instead, as a sentence without its full stop. */
  readonly fix?: string
  readonly condition?: Condition
}

export interface Diagnostic extends Finding {
  /** Absent when a file as a whole is meant. */
  readonly object?: ObjectName
  readonly file?: string
  /** From 1. The object's first line, or the place of a syntax error. */
  readonly line?: number
  readonly column?: number
}

/** Takes note of a finding. The object and the file it belongs to are already known to the function. */
export type Report = (finding: Finding) => void

/** Where findings about one object belong. */
export type Place = Pick<Diagnostic, 'object' | 'file' | 'line'>

/** Nobody reads the hundred-and-first finding of a kind, and a hostile object could have us make a million. */
const mostFindings = 100

export function reporter(place: Place, diagnostics: Diagnostic[]): Report {
  const counts = { error: 0, warning: 0, info: 0 }
  return (finding) => {
    const { level } = finding
    const count = ++counts[level]
    if (count <= mostFindings) diagnostics.push({ ...place, ...finding })
    else if (count === mostFindings + 1) diagnostics.push({ ...place, level, message: 'More like this is not listed' })
  }
}

/** Reports about one rule of a route: the rule's index and its place in field paths are filled in. */
export function ruleReporter(report: Report, rule: number): Report {
  return (finding) => report({ ...finding, rule })
}

/**
 * One line for people: `cart.yaml:12: HTTPRoute shop/cart, rule 2: Service shop/cart has no port 8081; it has 8080.`
 * The level is not part of it, since every place that prints it has its own way to show levels.
 */
export function formatDiagnostic(diagnostic: Diagnostic): string {
  const { file, line, column, object, rule, field, message, fix } = diagnostic
  const place = file === undefined ? '' : [file, line, column].filter((part) => part !== undefined).join(':') + ': '
  const subject =
    object === undefined ? '' : describeObject(object) + (rule === undefined ? '' : `, rule ${rule}`) + ': '
  const advice = fix === undefined ? '' : ` ${fix}.`
  const path = field === undefined || field === '' ? '' : ` (${field})`
  return `${place}${subject}${message}.${advice}${path}`
}

export function describeObject({ kind, namespace, name }: ObjectName): string {
  return namespace === undefined ? `${kind} ${name}` : `${kind} ${namespace}/${name}`
}
