import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const adapter = new URL('../../adapters/deno/quic.ts', import.meta.url).href
const print = `import { denoQuic } from '${adapter}'; console.log(Object.keys(denoQuic()).join())`

// `deno.json` has it for whoever works in this folder; of a package, nobody sees that.
test.each([
  ['with --unstable-net', ['--unstable-net'], 'connectQuic,listenQuic'],
  ['without', [], ''],
])('Deno %s', async (_, flags, functions) => {
  const { stdout } = await promisify(execFile)(process.execPath, ['eval', '--no-config', ...flags, '--ext=ts', print])
  expect(stdout.trim()).toBe(functions)
})
