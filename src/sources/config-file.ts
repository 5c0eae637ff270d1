/** A ProxyConfig in a JSON file: the body of a PUT /config. */
import type { ConfigIssue } from '../config/issues.ts'
import { parseJsonText } from '../config/json-text.ts'
import { parseProxyConfig } from '../config/proxy-config.ts'
import type { Files } from '../runtime.ts'
import { rememberLast, type Loaded, type Source } from './source.ts'

export function createConfigFileSource(files: Files, path: string): Source {
  const unlessSame = rememberLast()
  return {
    kind: 'config',
    paths: [path],
    async load(): Promise<Loaded> {
      try {
        const text = await files.read(path)
        return unlessSame(text, () => readConfigText(text, path))
      } catch (error) {
        const problem = `The config cannot be read: ${(error as Error).message}`
        return unlessSame(problem, () => ({ problems: [problem] }))
      }
    },
  }
}

/** @param name of the file, for the messages */
export function readConfigText(text: string, name: string): Loaded {
  const json = parseJsonText(text)
  if (json.fault !== undefined) return { problems: [`${name} is not one JSON value: ${json.fault}.`] }
  const { config, issues, warnings } = parseProxyConfig(json.value)
  if (config === undefined) return { problems: issues.map((issue) => describeIssue(issue, name)) }
  return { config, findings: warnings.map((issue) => ({ level: 'warning', text: describeIssue(issue, name) })) }
}

function describeIssue({ path, message, fix }: ConfigIssue, name: string): string {
  return `${name}: ${path === '' ? 'the config' : path} ${message}${fix === undefined ? '' : `; ${fix}`}.`
}
