/** Options from where they are written: flags, environment, defaults. */
import { environmentName, optionTable, type OptionName, type Options, type OptionSpec } from '../options.ts'
import { withoutCounterpart } from './predecessor.ts'

/** What the command line said, by option name: text, several texts, or a switch turned on or off. */
export type FlagValues = Partial<Readonly<Record<OptionName, string | readonly string[] | boolean>>>

export type Environment = Readonly<Record<string, string | undefined>>

export type ReadOptions =
  | { readonly options: Options; readonly warnings: readonly string[]; readonly problems?: undefined }
  /** Each one sentence that names the option and the fix. */
  | { readonly problems: readonly string[]; readonly options?: undefined; readonly warnings?: undefined }

/**
 * Reads every option. A text that cannot be read refuses; an empty variable counts as not set, except for a token, which
 * somebody meant to set.
 */
export function readOptions(flags: FlagValues, environment: Environment): ReadOptions {
  const problems: string[] = []
  const warnings: string[] = []
  const options: Record<string, unknown> = {}
  for (const name of Object.keys(optionTable) as OptionName[]) {
    options[name] = readOne(name, flags[name], environment, problems, warnings)
  }
  const read = options as unknown as Options
  const ignored = withoutPortBesideTunnel(read, flags, environment)
  warnings.push(...ignored.warnings, ...warnAboutNames(environment), ...warnAboutUse(read))
  checkTogether(read, problems)
  return problems.length > 0 ? { problems } : { options: ignored.options, warnings }
}

/**
 * The predecessor listened on `PROXY_ADDR` without a tunnel only, and its chart sets it always: beside a tunnel, a port
 * that passes the edge by has to be asked for by our own name.
 */
function withoutPortBesideTunnel(
  options: Options,
  flags: FlagValues,
  environment: Environment,
): { readonly options: Options; readonly warnings: readonly string[] } {
  const spec: OptionSpec = optionTable.listen
  const ours = environmentName('listen')
  const theirs = spec.predecessor!.name
  const asked = flags.listen !== undefined || isGiven(spec, environment[ours]) || !isGiven(spec, environment[theirs])
  if (asked || !wantsTunnel(options)) return { options, warnings: [] }
  return {
    options: { ...options, listen: optionTable.listen.fallback },
    warnings: [
      `${theirs} is ignored beside a tunnel: requests come through the edge alone; --listen or ${ours} opens a port beside it.`,
    ],
  }
}

function readOne(
  name: OptionName,
  given: string | readonly string[] | boolean | undefined,
  environment: Environment,
  problems: string[],
  warnings: string[],
): unknown {
  const spec: OptionSpec = optionTable[name]
  const read = (texts: readonly string[], source: string): unknown => readTexts(spec, texts, source, problems, warnings)
  if (typeof given === 'boolean') return given
  if (given !== undefined) return read([given].flat(), `--${spec.flag}`)

  const ours = environmentName(name)
  const own = environment[ours]
  if (isGiven(spec, own)) return read(textsOf(spec, own), ours)

  const { predecessor } = spec
  const theirs = predecessor === undefined ? undefined : environment[predecessor.name]
  if (predecessor === undefined) return spec.fallback
  if (!isGiven(spec, theirs)) {
    const connectors = predecessor.also === undefined ? undefined : environment[predecessor.also]
    return isGiven(spec, connectors) ? read(textsOf(spec, connectors), predecessor.also!) : spec.fallback
  }
  if (!predecessor.read) return read(textsOf(spec, theirs), predecessor.name)
  const value = predecessor.read(theirs)
  if (value !== undefined) return value
  warnings.push(`${predecessor.name} cannot be read and is ignored; set ${ours} to ${expectedBy(spec)}.`)
  return spec.fallback
}

/** An empty variable is not set, but for a secret: whoever set it meant it to protect something. */
function isGiven(spec: OptionSpec, text: string | undefined): text is string {
  return text !== undefined && (text.trim() !== '' || spec.flag === undefined)
}

function textsOf(spec: OptionSpec, text: string): readonly string[] {
  return spec.many ? text.split(',').filter((part) => part.trim() !== '') : [text]
}

function readTexts(
  spec: OptionSpec,
  texts: readonly string[],
  source: string,
  problems: string[],
  warnings: string[],
): unknown {
  const values = texts.map((text) => {
    const { success, data, error } = spec.read.safeParse(withoutOutdated(spec, text, source, warnings))
    if (!success) problems.push(`${source} must be ${error.issues[0]!.message}, and is ${describeText(text)}.`)
    return data
  })
  return spec.many ? values : values.at(-1)
}

function withoutOutdated({ outdated }: OptionSpec, text: string, source: string, warnings: string[]): string {
  if (outdated === undefined || text.trim().toLowerCase() !== outdated.word) return text
  const { word, meant } = outdated
  warnings.push(`${source}: ${word} is out of date, and read as ${meant}; write ${meant}.`)
  return meant
}

function expectedBy(spec: OptionSpec): string {
  return spec.read.safeParse('').error?.issues[0]?.message ?? 'another value'
}

/** What kind of text it was; never the text. */
function describeText(text: string): string {
  const trimmed = text.trim()
  if (trimmed === '') return 'empty'
  if (/^-?\d+(\.\d+)?$/.test(trimmed)) return 'a bare number'
  return `another text of ${trimmed.length} characters`
}

function checkTogether(options: Options, problems: string[]): void {
  if (options.config !== undefined && options.manifests.length > 0) {
    problems.push('--manifests and --config are both given; a config has one source, so leave one of them out.')
  }
  if (options.origin !== undefined && (options.config !== undefined || options.manifests.length > 0)) {
    problems.push('--origin forwards every request to one server, so leave out --manifests and --config.')
  }
  if (options.quick && hasCredentials(options)) {
    problems.push('--quick asks for a tunnel of its own, so leave out the token or credentials of another.')
  }
  if ((options.adminTlsCert === undefined) !== (options.adminTlsKey === undefined)) {
    problems.push('--admin-tls-cert and --admin-tls-key go together; give the one that is missing.')
  }
}

function hasCredentials(options: Options): boolean {
  const { tunnelToken, tunnelTokenFile, tunnelCredentials, tunnelCredentialsFile } = options
  return [tunnelToken, tunnelTokenFile, tunnelCredentials, tunnelCredentialsFile].some((given) => given !== undefined)
}

function wantsTunnel(options: Options): boolean {
  return options.quick || hasCredentials(options)
}

/** Options that have no effect beside others. */
function warnAboutUse(options: Options): string[] {
  const warnings: string[] = []
  if (options.stateDir !== undefined && (options.config !== undefined || options.manifests.length > 0)) {
    warnings.push('--state-dir has no effect: it keeps pushed configs, and this one comes from files.')
  }
  if ((options.edge.length > 0 || options.edgeCa !== undefined) && !wantsTunnel(options)) {
    warnings.push('--edge and --edge-ca have no effect without a tunnel: give its token in TUNNEL_TOKEN, or --quick.')
  }
  return warnings
}

/** Names that do nothing: those of others that we have no use for or do not know, and ours misspelt. */
function warnAboutNames(environment: Environment): string[] {
  const warnings: string[] = []
  const known = (Object.keys(optionTable) as OptionName[]).map(environmentName)
  const theirs = Object.values<OptionSpec>(optionTable).map(({ predecessor }) => predecessor?.name)
  for (const name of Object.keys(environment).sort()) {
    if (theirs.includes(name) || isServiceLink(name, environment)) continue
    const why = Object.hasOwn(withoutCounterpart, name) ? withoutCounterpart[name] : undefined
    if (why !== undefined) {
      if (asksForSomething(environment[name])) warnings.push(`${name} is set and has no effect: ${why}.`)
    } else if (name.startsWith('PROXY_')) {
      if (environment[name] !== '') warnings.push(`${name} is set and has no effect: no option reads it.`)
    } else if (name.startsWith('HEADGATE_') && !known.includes(name)) {
      const near = known.find((other) => isNear(name, other))
      if (near !== undefined) warnings.push(`${name} is set and has no effect; did you mean ${near}?`)
    }
  }
  return warnings
}

function asksForSomething(text = ''): boolean {
  return !['', 'false'].includes(text.trim().toLowerCase())
}

/** Kubernetes tells every container where each Service is: `PROXY_PORT` and more for one that is named proxy. */
function isServiceLink(name: string, environment: Environment): boolean {
  const [, service] = /^(.+?)_(?:SERVICE_(?:HOST|PORT)|PORT)(?:_|$)/.exec(name) ?? []
  return service !== undefined && environment[`${service}_SERVICE_HOST`] !== undefined
}

/** At most two letters inserted, left out or exchanged (Levenshtein distance). */
function isNear(a: string, b: string): boolean {
  if (Math.abs(a.length - b.length) > 2) return false
  let row = Array.from({ length: b.length + 1 }, (_, at) => at)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[b.length]! <= 2
}
