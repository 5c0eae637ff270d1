#!/usr/bin/env node
/*
 * The command. Plain JavaScript that Node 14 can already read, so that a Node too old for the rest is told so
 * instead of failing on its syntax. In the repository it runs main.ts as it is; a published package carries
 * the built file, since Node strips no types below node_modules.
 */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const oldest = 24
const version = process.versions.node

if (Number(version.split('.')[0]) < oldest) {
  process.stderr.write(
    'headgate needs Node ' +
      oldest +
      ' or newer, and this is Node ' +
      version +
      ' (' +
      process.execPath +
      ').\n' +
      'Install a newer Node; or, in a checkout of headgate, run "npm ci" and then "npm run headgate --" or "npm start",\n' +
      'which use the Node that comes with it.\n',
  )
  process.exitCode = 1
} else {
  const source = new URL('main.ts', import.meta.url)
  const built = new URL('../../dist/adapters/node/main.js', import.meta.url)
  const inCheckout = existsSync(source)
  import('node:module')
    .then(({ enableCompileCache }) => {
      // Half of the time to start is spent on taking the types off and compiling; in a folder that is ours alone,
      // since what is cached is run. Without the right to write there, nothing is cached.
      if (inCheckout) enableCompileCache(fileURLToPath(new URL('../../node_modules/.cache/headgate', import.meta.url)))
      return import(inCheckout ? source.href : built.href)
    })
    .catch((error) => {
      process.exitCode = 1
      console.error(error)
    })
}
