import { parseAst } from 'vitest/node'

/** Where one file looks: each module it names, types included, in the order written. */
export interface ImportsOfFile {
  /** Path from the repository's root, with `/`. */
  readonly file: string
  /** What the file asks for, as written: `./head.ts`, `node:net`, `zod`. */
  readonly specifiers: readonly string[]
}

/**
 * Reads every import of a file: static, re-exporting, dynamic, `import('…')` in a type, and `/// <reference>`.
 *
 * @throws when a dynamic import's specifier is not a plain string: nobody could check it
 */
export function readImports(file: string, source: string): ImportsOfFile {
  const specifiers: string[] = []
  const visit = (node: unknown): void => {
    if (Array.isArray(node)) {
      node.forEach(visit)
    } else if (isNode(node)) {
      const specifier = specifierNode(node)
      if (specifier !== undefined) specifiers.push(literal(specifier, file))
      Object.values(node).forEach(visit)
    }
  }
  visit(parseAst(source, { lang: file.endsWith('.ts') ? 'ts' : 'js' }))
  for (const [, name] of source.matchAll(/^\s*\/\/\/\s*<reference\s+(?:types|lib|path)\s*=\s*["']([^"']+)["']/gm)) {
    specifiers.push(`reference:${name}`)
  }
  return { file, specifiers }
}

type Node = Record<string, unknown> & { readonly type: string }

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string'
}

function specifierNode(node: Node): unknown {
  switch (node.type) {
    case 'ImportDeclaration':
    case 'ExportAllDeclaration':
    case 'ImportExpression':
    case 'TSImportType':
      return node['source']
    case 'ExportNamedDeclaration':
      return node['source'] ?? undefined
    case 'TSExternalModuleReference':
      return node['expression']
    default:
      return undefined
  }
}

function literal(node: unknown, file: string): string {
  if (isNode(node) && node.type === 'Literal' && typeof node['value'] === 'string') return node['value']
  throw new Error(`${file}: an import() whose module is computed cannot be checked; write the name out`)
}
