import { describe, expect, test } from 'vitest'
import { updateConfiguration } from '../../../src/tunnel/configuration-manager.ts'
import { RpcError } from '../../../src/tunnel/rpc-error.ts'
import { serveMethod } from '../../../src/tunnel/rpc-method.ts'
import { createRpcConnection } from '../../../src/tunnel/rpc.ts'
import { unregisterConnection } from '../../../src/tunnel/registration.ts'
import { createManualTimers } from '../manual-timers.ts'
import { type CapnpEsEnd, createCapnpEsEnd, type Update } from './capnp-es.ts'

const text = (value: string): Uint8Array => new TextEncoder().encode(value)

/** Ours and theirs, joined by a stream that delivers whole messages, or single bytes. */
function join(pieceBytes: number, serve: { ours?: Update; theirs?: Update }) {
  const toPieces = (bytes: Uint8Array, deliver: (piece: Uint8Array) => void): void => {
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      const piece = bytes.slice(at, at + pieceBytes)
      queueMicrotask(() => deliver(piece))
    }
  }
  const { ours: update } = serve
  const methods = update && [
    serveMethod(updateConfiguration, async ({ version, config }) => {
      const answer = await update(version, new TextDecoder().decode(config))
      return { latestAppliedVersion: answer.version, error: answer.error }
    }),
  ]
  const failures: unknown[] = []
  const ours = createRpcConnection(
    { write: (message) => toPieces(message, (piece) => theirs.receive(piece)), end() {} },
    {
      timers: createManualTimers(),
      exportId: 3,
      onClose: (failure) => failures.push(failure),
      onFault: (error) => failures.push(error),
      ...(methods && { methods }),
    },
  )
  const theirs: CapnpEsEnd = createCapnpEsEnd(
    (message) => toPieces(message, (piece) => ours.receive(piece, 0, piece.length)),
    serve.theirs,
  )
  return { ours, theirs, failures }
}

const answer: Update = async (version, config) => {
  await Promise.resolve()
  return { version: version + 1, error: config === 'bad' ? 'rejected: ü' : '' }
}

describe.each([1, 13, 100_000])('with capnp-es at the other end, in pieces of %i bytes', (pieceBytes) => {
  test('it serves, we call: one, two hundred in a row, twenty at once', async () => {
    const { ours, theirs, failures } = join(pieceBytes, { theirs: answer })
    const call = (version: number, config: string) =>
      ours.call(updateConfiguration, { version, config: text(config) }, 5000)
    expect(await call(-2, 'bad')).toEqual({ latestAppliedVersion: -1, error: 'rejected: ü' })
    for (let version = 0; version < 200; version++) {
      expect(await call(version, '')).toEqual({ latestAppliedVersion: version + 1, error: '' })
    }
    const many = await Promise.all(Array.from({ length: 20 }, (_, version) => call(version, 'x'.repeat(version * 100))))
    expect(many.map(({ latestAppliedVersion }) => latestAppliedVersion)).toEqual(many.map((_, version) => version + 1))
    expect([...failures, ...theirs.errors]).toEqual([])
  })

  test('we serve, it calls: one, two hundred in a row, twenty at once', async () => {
    const { theirs, failures } = join(pieceBytes, { ours: answer })
    const client = theirs.connect()
    expect(await client.update(-2, 'bad')).toEqual({ version: -1, error: 'rejected: ü' })
    for (let version = 0; version < 200; version++) {
      expect(await client.update(version, '')).toEqual({ version: version + 1, error: '' })
    }
    const calls = Array.from({ length: 20 }, (_, version) => client.update(version, 'x'.repeat(version * 100)))
    expect((await Promise.all(calls)).map(({ version }) => version)).toEqual(calls.map((_, version) => version + 1))
    expect([...failures, ...theirs.errors]).toEqual([])
  })

  test('our exceptions reach it, those of unknown methods too', async () => {
    const { theirs, failures } = join(pieceBytes, {
      ours: () => {
        throw new RpcError({ kind: 'exception', exception: { type: 'failed', reason: 'not today' } })
      },
    })
    const client = theirs.connect()
    await expect(client.update(1, '')).rejects.toThrow('not today')
    await expect(client.callMissing()).rejects.toThrow('method not implemented')
    expect([...failures, ...theirs.errors]).toEqual([])
  })

  test('a method that it does not know fails our call', async () => {
    const { ours } = join(pieceBytes, { theirs: answer })
    const call = ours.call(unregisterConnection, undefined, 5000)
    await expect(call).rejects.toMatchObject({ failure: { kind: 'exception', exception: { type: 'unimplemented' } } })
  })
})
