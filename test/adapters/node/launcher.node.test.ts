import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const launcher = fileURLToPath(new URL('../../../adapters/node/headgate.js', import.meta.url))

/** Runs the launcher in a Node that says it is another version. */
function launchAs(version: string, ...args: readonly string[]): { status: number | null; stderr: string } {
  const pretend = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } })`
  const preload = `data:text/javascript,${encodeURIComponent(pretend)}`
  return spawnSync(process.execPath, ['--import', preload, launcher, ...args], { encoding: 'utf8' })
}

test.each(['14.21.3', '20.20.2', '23.11.1'])('Node %s is told what is needed, with exit code 1', (version) => {
  const { status, stderr } = launchAs(version, '--version')
  expect(stderr).toContain(`headgate needs Node 24 or newer, and this is Node ${version} (`)
  expect(status).toBe(1)
})

test.each(['24.0.0', '26.10.0'])('Node %s goes on to the command', (version) => {
  const { status, stderr } = launchAs(version, '--version')
  expect(stderr).toBe('')
  expect(status).toBe(0)
})
