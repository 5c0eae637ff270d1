import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'

import { expect, test } from 'vitest'

import { connectionCounts, cpuTime, openFiles, processTree, residentKib } from '../../bench/procfs.ts'

test.runIf(process.platform === 'linux')(
  'a process is charged with its children, the ended ones included',
  async () => {
    const burn = 'for (const end = Date.now() + 150; Date.now() < end; );'
    // The parent lets one child burn and end, keeps another, and says so.
    const parent = spawn(process.execPath, [
      '-e',
      `const { spawn, spawnSync } = require('node:child_process')
     spawnSync(process.execPath, ['-e', ${JSON.stringify(burn)}])
     spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: ['pipe', 'ignore', 'ignore'] })
     process.stdin.resume()
     console.log('ready')`,
    ])
    try {
      await once(parent.stdout, 'data')
      const pid = parent.pid ?? 0
      expect(processTree(pid)).toHaveLength(2)
      const { userUs, kernelUs } = cpuTime(pid)
      expect(userUs + kernelUs).toBeGreaterThan(100_000)
      expect(residentKib(pid)).toBeGreaterThan(10_000)
      expect(openFiles(pid)).toBeGreaterThan(6)
    } finally {
      parent.kill()
      await once(parent, 'exit')
    }
  },
)

test.runIf(process.platform === 'linux')('a connection counts once on either side, a listener not at all', async () => {
  const server = createServer((socket) => socket.resume()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  expect(connectionCounts().local.get(port)).toBeUndefined()
  const client = connect(port, '127.0.0.1')
  await Promise.all([once(client, 'connect'), once(server, 'connection')])
  const counts = connectionCounts()
  expect([counts.local.get(port), counts.remote.get(port)]).toEqual([1, 1])
  client.end()
  server.close()
})
