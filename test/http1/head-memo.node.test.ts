import { Buffer } from 'node:buffer'
import { expect, test } from 'vitest'
import { HeadMemo } from '../../src/http1/head-memo.ts'
import { equalBytes } from '../../adapters/portable/net-socket.ts'

test('what is remembered stays when the buffer that it was read into is read into again', () => {
  const socket = { equal: equalBytes }
  const memo = new HeadMemo()
  // A Buffer, as sockets read into: its slice() is a view of the same memory.
  const buffer = Buffer.from('Content-Length: 1\r\n\r\n')
  memo.remember(socket, buffer, 0, buffer.length)
  memo.remember(socket, buffer, 0, buffer.length)
  expect(memo.match(socket, buffer, 0, buffer.length)).toBe(buffer.length)
  buffer.write('Content-Length: 2\r\n\r\n')
  expect(memo.match(socket, buffer, 0, buffer.length)).toBe(0)
})
