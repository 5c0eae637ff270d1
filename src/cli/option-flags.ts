/** Options as flags of a command. */
import { Option, type Command } from 'commander'
import { groups, optionTable, type OptionName, type OptionSpec } from '../options.ts'
import type { FlagValues } from '../options/read.ts'

/** What a command says of an option in its own words. */
export type OptionWords = Partial<Readonly<Record<OptionName, Partial<Pick<OptionSpec, 'help' | 'fallbackText'>>>>>

/** Adds the flags of some options, under the headings of their groups. */
export function addOptionFlags(command: Command, names: readonly OptionName[], words: OptionWords = {}): Command {
  for (const group of groups) {
    for (const name of names) {
      const spec: OptionSpec = { ...optionTable[name], ...words[name] }
      if (spec.group !== group || spec.flag === undefined) continue
      for (const flags of flagsOf(spec)) {
        const option = new Option(flags, describe(flags, spec)).helpGroup(`${group}:`)
        command.addOption(option)
      }
    }
  }
  return command
}

/** What the command line said about some options; nothing for those that it left out. */
export function readOptionFlags(command: Command, names: readonly OptionName[]): FlagValues {
  const values: Partial<Record<OptionName, string | readonly string[] | boolean>> = {}
  for (const name of names) {
    const spec: OptionSpec = optionTable[name]
    if (spec.flag === undefined) continue
    const attribute = spec.flag.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
    if (command.getOptionValueSource(attribute) === 'cli') values[name] = command.getOptionValue(attribute)
  }
  return values
}

/** A switch that is on can be switched off; one that decides for itself can be told either. */
function flagsOf({ flag = '', argument, many, fallback }: OptionSpec): readonly string[] {
  if (argument !== undefined) return [`--${flag} <${argument}${many ? '...' : ''}>`]
  if (fallback === undefined) return [`--${flag}`, `--no-${flag}`]
  return [fallback === true ? `--no-${flag}` : `--${flag}`]
}

function describe(flags: string, spec: OptionSpec): string {
  if (flags.startsWith('--no-')) return spec.helpOff ?? spec.help
  return spec.argument === undefined && spec.fallback === false
    ? spec.help
    : `${spec.help} Default: ${defaultInWords(spec)}.`
}

export function defaultInWords({ fallback, fallbackText }: OptionSpec): string {
  if (fallbackText !== undefined) return fallbackText
  switch (typeof fallback) {
    case 'boolean':
      return fallback ? 'on' : 'off'
    case 'string':
    case 'number':
      return String(fallback)
    default:
      return 'none'
  }
}
