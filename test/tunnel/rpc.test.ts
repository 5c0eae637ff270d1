import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { frameMessage } from '../../src/tunnel/capnp-framing.ts'
import { readPointer, readRoot, readStruct, readUint16, readUint32 } from '../../src/tunnel/capnp-reader.ts'
import {
  createMessage,
  finishMessage,
  type StructWriter,
  writeBool,
  writeCapability,
  writeRoot,
  writeStruct,
  writeStructs,
  writeText,
  writeUint16,
  writeUint32,
  writeUint64,
} from '../../src/tunnel/capnp-writer.ts'
import { updateConfiguration } from '../../src/tunnel/configuration-manager.ts'
import { type ConnectionResponse, registerConnection, unregisterConnection } from '../../src/tunnel/registration.ts'
import {
  type MessageTarget,
  writeBootstrap,
  writeCall,
  writeFinish,
  writeRelease,
} from '../../src/tunnel/rpc-messages.ts'
import { serveMethod } from '../../src/tunnel/rpc-method.ts'
import { rpcMessagesOf, segmentsOf } from './messages.ts'
import { createRecordedEnd, createRpcPair, type RecordedEnd } from './rpc-pair.ts'
import { toHex, vectors } from './vectors.ts'

const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const push = { version: 3, config: text('{}') }
const applied = { latestAppliedVersion: 3, error: '' }

function kindsOf(end: RecordedEnd): string[] {
  return end.sent.map((bytes) => rpcMessagesOf(bytes)[0]!.kind)
}

/** A message with any tag and body. */
function raw(tag: number, dataWords: number, pointerCount: number, fill: (body: StructWriter) => void): Uint8Array {
  const message = createMessage()
  const root = writeRoot(message, 1, 1)
  writeUint16(root, 0, tag)
  fill(writeStruct(root, 0, dataWords, pointerCount))
  return finishMessage(message)
}

/** A Return with the union tag given; `fill` writes its payload. */
function rawReturn(answerId: number, tag: number, fill: (payload: StructWriter) => void = () => {}): Uint8Array {
  return raw(3, 2, 1, (body) => {
    writeUint32(body, 0, answerId)
    writeUint16(body, 6, tag)
    fill(writeStruct(body, 0, 1, 2))
  })
}

/** A Return to Bootstrap whose capability is described as the tag says. */
function bootstrapReturn(exportId: number, descriptorTag = 1): Uint8Array {
  return raw(3, 2, 1, (body) => {
    const payload = writeStruct(body, 0, 0, 2)
    writeCapability(payload, 0, 0)
    const [descriptor] = writeStructs(payload, 1, 1, 1, 1)
    writeUint16(descriptor!, 0, descriptorTag)
    writeUint32(descriptor!, 4, exportId)
  })
}

function rawCall(questionId: number, target: MessageTarget): Uint8Array {
  const { interfaceId, methodId } = updateConfiguration
  return writeCall({ questionId, interfaceId, methodId, target }, (payload) =>
    updateConfiguration.writeParams(payload, push),
  )
}

const rootOfQuestion0: MessageTarget = { kind: 'promisedAnswer', questionId: 0, path: [] }

describe('the calling end', () => {
  test('a call made after the bootstrap has come goes to the capability, whatever its id, and uses id 0 again', () => {
    const client = createRecordedEnd()
    void client.rpc.call(unregisterConnection, undefined, 5000)
    client.receive(bootstrapReturn(77), rawReturn(1, 0))
    client.sent.length = 0
    void client.rpc.call(unregisterConnection, undefined, 5000)
    void client.rpc.call(unregisterConnection, undefined, 5000)
    const calls = client.sent.flatMap(rpcMessagesOf)
    expect(calls).toMatchObject([
      { call: { questionId: 1, target: { kind: 'importedCap', id: 77 } } },
      { call: { questionId: 0, target: { kind: 'importedCap', id: 77 } } },
    ])
  })

  test('a promise is used the way a capability is', () => {
    const client = createRecordedEnd()
    void client.rpc.call(unregisterConnection, undefined, 5000)
    client.receive(bootstrapReturn(5, 2))
    void client.rpc.call(unregisterConnection, undefined, 5000)
    expect(client.sent.flatMap(rpcMessagesOf).at(-1)).toMatchObject({
      call: { target: { kind: 'importedCap', id: 5 } },
    })
  })

  test.each([
    ['nothing', rawReturn(0, 0)],
    ['a capability of our own', bootstrapReturn(0, 3)],
    ['a capability that is none', bootstrapReturn(0, 0)],
  ])('a bootstrap that is %s fails the calls made on it', async (_, message) => {
    const client = createRecordedEnd()
    const call = client.rpc.call(unregisterConnection, undefined, 5000)
    client.receive(message)
    await expect(call).rejects.toMatchObject({ failure: { kind: 'protocol' } })
    expect(kindsOf(client)).toEqual(['bootstrap', 'call', 'finish', 'finish'])
  })

  test('the loss of the connection rejects what is open, and all that comes after', async () => {
    const client = createRecordedEnd()
    const open = client.rpc.call(unregisterConnection, undefined, 5000)
    client.rpc.lost('the peer ended it')
    const failure = { kind: 'lost', reason: 'the peer ended it' }
    await expect(open).rejects.toMatchObject({ failure })
    await expect(client.rpc.call(unregisterConnection, undefined, 5000)).rejects.toMatchObject({ failure })
    expect(client.closedBy).toEqual(failure)
    expect(client.ended).toBe(true)
    client.rpc.lost('again')
    client.rpc.close()
  })

  test('a stream that ends inside a message says so', () => {
    const client = createRecordedEnd()
    client.receive(vectors.bootstrapReturn.subarray(0, 20))
    client.rpc.lost('the peer ended it')
    expect(client.closedBy).toEqual({ kind: 'lost', reason: 'the peer ended it, inside a message' })
  })

  test('a call without answer fails in time; it is finished, and a late Return is noise that frees the id', async () => {
    const client = createRecordedEnd()
    const call = client.rpc.call(unregisterConnection, undefined, 5000)
    client.receive(bootstrapReturn(0))
    client.sent.length = 0
    const rejected = call.catch((error: unknown) => error)
    client.timers.advance(4900)
    expect(client.sent).toHaveLength(0)
    client.timers.advance(200)
    expect(await rejected).toMatchObject({ failure: { kind: 'timeout', timeoutMs: 5000 } })
    expect(client.sent.flatMap(rpcMessagesOf)).toEqual([{ kind: 'finish', questionId: 1, releaseResultCaps: true }])

    client.sent.length = 0
    void client.rpc.call(unregisterConnection, undefined, 5000)
    expect(client.sent.flatMap(rpcMessagesOf)).toMatchObject([{ call: { questionId: 0 } }])
    client.receive(rawReturn(1, 0))
    expect(client.sent).toHaveLength(1)
    void client.rpc.call(unregisterConnection, undefined, 5000)
    expect(client.sent.flatMap(rpcMessagesOf)).toMatchObject([{}, { call: { questionId: 1 } }])
  })

  test('an answer in time disarms the limit', async () => {
    const client = createRecordedEnd()
    const call = client.rpc.call(unregisterConnection, undefined, 5000)
    client.receive(bootstrapReturn(0), rawReturn(1, 0))
    await call
    client.sent.length = 0
    client.timers.advance(10_000)
    expect(client.sent).toHaveLength(0)
  })

  test('results are finished with their capabilities kept, an exception with them released', async () => {
    const client = createRecordedEnd()
    const call = client.rpc.call(unregisterConnection, undefined, 5000)
    client.receive(bootstrapReturn(0))
    const exception = raw(3, 2, 1, (body) => {
      writeUint32(body, 0, 1)
      writeUint16(body, 6, 1)
      const reason = writeStruct(body, 0, 1, 1)
      writeUint16(reason, 4, 1)
      writeText(reason, 0, 'too busy')
    })
    client.receive(exception)
    const failure = { kind: 'exception', exception: { type: 'overloaded', reason: 'too busy' } }
    await expect(call).rejects.toMatchObject({ failure })
    expect(client.sent.slice(2).flatMap(rpcMessagesOf)).toEqual([
      { kind: 'finish', questionId: 0, releaseResultCaps: false },
      { kind: 'finish', questionId: 1, releaseResultCaps: true },
    ])
  })

  test('capabilities in results, which nobody asked for, are given back', async () => {
    const client = createRecordedEnd()
    const call = client.rpc.call(unregisterConnection, undefined, 5000)
    client.receive(
      bootstrapReturn(0),
      rawReturn(1, 0, (payload) => {
        const [descriptor] = writeStructs(payload, 1, 1, 1, 1)
        writeUint16(descriptor!, 0, 1)
      }),
    )
    await call
    expect(rpcMessagesOf(client.sent.at(-1)!)).toEqual([{ kind: 'finish', questionId: 1, releaseResultCaps: true }])
  })

  test.each([
    ['canceled', 2],
    ['resultsSentElsewhere', 3],
    ['takeFromOtherQuestion', 4],
    ['acceptFromThirdParty', 5],
    ['a kind from the future', 6],
  ])('a Return that is %s fails the call', async (_, tag) => {
    const client = createRecordedEnd()
    const call = client.rpc.call(unregisterConnection, undefined, 5000)
    client.receive(bootstrapReturn(0), rawReturn(1, tag))
    await expect(call).rejects.toMatchObject({ failure: { kind: 'protocol' } })
    expect(client.closedBy).toBeUndefined()
  })

  test('a Return to nothing that was asked is ignored', () => {
    const client = createRecordedEnd()
    client.receive(rawReturn(9, 0))
    expect(client.sent).toHaveLength(0)
    expect(client.closedBy).toBeUndefined()
  })

  test('results that are malformed fail the call and end the connection', async () => {
    const client = createRecordedEnd()
    const response: Promise<ConnectionResponse> = client.rpc.call(
      registerConnection,
      {
        auth: { accountTag: 'a', tunnelSecret: text('s') },
        tunnelId: new Uint8Array(16),
        connIndex: 0,
        options: {
          client: { clientId: new Uint8Array(16), features: [], version: '', arch: '' },
          originLocalIp: new Uint8Array(0),
          replaceExisting: false,
          compressionQuality: 0,
          numPreviousAttempts: 0,
        },
      },
      5000,
    )
    const unknownKind = rawReturn(1, 0, (payload) => {
      writeUint16(writeStruct(writeStruct(payload, 0, 0, 1), 0, 1, 1), 0, 7)
    })
    client.receive(bootstrapReturn(0), unknownKind)
    await expect(response).rejects.toMatchObject({ failure: { kind: 'protocol' } })
    expect(client.closedBy).toMatchObject({ kind: 'protocol' })
    expect(kindsOf(client).at(-1)).toBe('abort')
  })

  test('the peer aborts: open calls are rejected with its reason, and nothing is sent any more', async () => {
    const client = createRecordedEnd()
    const call = client.rpc.call(unregisterConnection, undefined, 5000)
    client.sent.length = 0
    client.receive(vectors.abort, vectors.bootstrapReturn)
    await expect(call).rejects.toMatchObject({ failure: { kind: 'aborted', reason: 'rpc: shutdown' } })
    expect(client.sent).toHaveLength(0)
    expect(client.ended).toBe(true)
  })

  test('a call that the peer sends back as unknown fails at once', async () => {
    const client = createRecordedEnd()
    const call = client.rpc.call(unregisterConnection, undefined, 5000)
    const asked = readRoot(segmentsOf(client.sent[1]!)[0]!)
    client.receive(
      raw(0, 1, 1, (echo) => {
        writeUint16(echo, 0, readUint16(asked, 0))
        writeUint32(writeStruct(echo, 0, 3, 3), 0, 1)
      }),
    )
    await expect(call).rejects.toMatchObject({ failure: { kind: 'exception', exception: { type: 'unimplemented' } } })
  })

  test('more open calls than the peer could ever have to answer are refused here', async () => {
    const client = createRecordedEnd()
    const calls = Array.from({ length: 100 }, () => client.rpc.call(unregisterConnection, undefined, 5000))
    const settled = Promise.allSettled(calls)
    expect(client.sent.length).toBeLessThanOrEqual(64)
    client.rpc.close()
    const kinds = (await settled).map((result) =>
      result.status === 'rejected' ? result.reason.failure.kind : 'answered',
    )
    expect(new Set(kinds)).toEqual(new Set(['closed', 'busy']))
  })

  test('closing gives the capability back, says so and ends our half, once', () => {
    const client = createRecordedEnd()
    void client.rpc.call(unregisterConnection, undefined, 5000)
    client.receive(bootstrapReturn(9), rawReturn(1, 0))
    client.sent.length = 0
    client.rpc.close()
    client.rpc.close()
    expect(client.sent.flatMap(rpcMessagesOf)).toEqual([
      { kind: 'release', id: 9, referenceCount: 1 },
      { kind: 'abort', exception: { type: 'failed', reason: 'rpc: shutdown' } },
    ])
    expect(client.closedBy).toEqual({ kind: 'closed' })
    client.receive(vectors.bootstrap)
    expect(client.sent).toHaveLength(2)
  })

  test('parameters that cannot be written ask nothing', async () => {
    const client = createRecordedEnd()
    const broken = {
      ...unregisterConnection,
      writeParams() {
        throw new Error('no such parameters')
      },
    }
    await expect(client.rpc.call(broken, undefined, 5000)).rejects.toThrow('no such parameters')
    expect(kindsOf(client)).toEqual(['bootstrap'])
  })
})

describe('the serving end', () => {
  const methods = [serveMethod(updateConfiguration, () => applied)]

  test('the export id is what the options say', () => {
    const server = createRecordedEnd({ methods, exportId: 4_000_000_001 })
    server.receive(writeBootstrap(0), rawCall(1, { kind: 'importedCap', id: 4_000_000_001 }))
    expect(server.sent.flatMap(rpcMessagesOf)).toMatchObject([
      { result: { payload: { capability: { kind: 'senderHosted', id: 4_000_000_001 } } } },
      { result: { kind: 'results' } },
    ])
  })

  test('an end that serves nothing says so to Bootstrap, and to calls', () => {
    const client = createRecordedEnd()
    client.receive(writeBootstrap(0), rawCall(1, rootOfQuestion0))
    expect(client.sent.flatMap(rpcMessagesOf)).toMatchObject([
      { result: { exception: { type: 'failed', reason: 'no bootstrap interface' } } },
      { result: { kind: 'exception' } },
    ])
    expect(client.closedBy).toBeUndefined()
  })

  test.each<[string, MessageTarget]>([
    ['an answer that was never asked for', { kind: 'promisedAnswer', questionId: 8, path: [] }],
    ['a field of the bootstrap interface', { kind: 'promisedAnswer', questionId: 0, path: [0] }],
    ['a capability that was never given', { kind: 'importedCap', id: 3 }],
  ])('a call to %s gets an exception', (_, target) => {
    const server = createRecordedEnd({ methods })
    server.receive(writeBootstrap(0), rawCall(1, target))
    expect(rpcMessagesOf(server.sent[1]!)).toMatchObject([{ answerId: 1, result: { kind: 'exception' } }])
    expect(server.closedBy).toBeUndefined()
  })

  test('a capability given back is known no more, unless Bootstrap gave it again', () => {
    const server = createRecordedEnd({ methods })
    const call = (id: number) => rawCall(id, { kind: 'importedCap', id: 0 })
    server.receive(writeBootstrap(0), writeBootstrap(1), writeFinish(0, false), writeFinish(1, false))
    server.receive(writeRelease(0, 1), call(2), writeRelease(0, 1), call(3))
    const answers = server.sent.flatMap(rpcMessagesOf)
    expect(answers.slice(2)).toMatchObject([{ result: { kind: 'results' } }, { result: { kind: 'exception' } }])
  })

  test('a Finish that releases results gives the capability back too', () => {
    const server = createRecordedEnd({ methods })
    server.receive(writeBootstrap(0), writeFinish(0, true), rawCall(1, { kind: 'importedCap', id: 0 }))
    expect(rpcMessagesOf(server.sent[1]!)).toMatchObject([{ result: { kind: 'exception' } }])
  })

  test('results for somebody else are not to be had', () => {
    const server = createRecordedEnd({ methods })
    const call = raw(2, 3, 3, (body) => {
      writeUint32(body, 0, 1)
      writeUint16(body, 6, 1)
      writeUint64(body, 8, updateConfiguration.interfaceId)
      writeStruct(body, 0, 1, 1)
    })
    server.receive(writeBootstrap(0), call)
    expect(rpcMessagesOf(server.sent[1]!)).toMatchObject([{ result: { exception: { type: 'unimplemented' } } }])
  })

  test('a target of an unknown kind gets an exception', () => {
    const server = createRecordedEnd({ methods })
    const call = raw(2, 3, 3, (body) => {
      writeUint64(body, 8, updateConfiguration.interfaceId)
      writeUint16(writeStruct(body, 0, 1, 1), 4, 9)
    })
    server.receive(call)
    expect(rpcMessagesOf(server.sent[0]!)).toMatchObject([{ result: { kind: 'exception' } }])
  })

  test('a slow method does not hold up the next', async () => {
    let finishSlow = (_: typeof applied): void => {}
    const slow = new Promise<typeof applied>((resolve) => (finishSlow = resolve))
    let calls = 0
    const server = createRecordedEnd({
      methods: [serveMethod(updateConfiguration, () => (calls++ === 0 ? slow : applied))],
    })
    server.receive(writeBootstrap(0), rawCall(1, rootOfQuestion0), rawCall(2, rootOfQuestion0))
    expect(server.sent.flatMap(rpcMessagesOf)).toMatchObject([{ answerId: 0 }, { answerId: 2 }])
    finishSlow(applied)
    await vi.waitFor(() => expect(server.sent).toHaveLength(3))
    expect(rpcMessagesOf(server.sent[2]!)).toMatchObject([{ answerId: 1, result: { kind: 'results' } }])
  })

  test('a call finished early is returned as canceled; its id is free, and what comes late is dropped', async () => {
    let finishSlow = (_: typeof applied): void => {}
    const slow = new Promise<typeof applied>((resolve) => (finishSlow = resolve))
    const server = createRecordedEnd({ methods: [serveMethod(updateConfiguration, () => slow)] })
    server.receive(writeBootstrap(0), rawCall(1, rootOfQuestion0), writeFinish(1, true), rawCall(1, rootOfQuestion0))
    expect(rpcMessagesOf(server.sent[1]!)).toMatchObject([{ answerId: 1, result: { kind: 'canceled' } }])
    finishSlow(applied)
    await vi.waitFor(() => expect(server.sent).toHaveLength(3))
    await Promise.resolve()
    expect(server.sent).toHaveLength(3)
  })

  test.each([
    [
      'throws',
      (): Promise<never> => {
        throw new Error('secret detail')
      },
    ],
    ['rejects', () => Promise.reject(new Error('secret detail'))],
  ])('a method that %s answers without telling why, and we are told', async (_, handle: () => Promise<never>) => {
    const server = createRecordedEnd({ methods: [serveMethod(updateConfiguration, handle)] })
    server.receive(writeBootstrap(0), rawCall(1, rootOfQuestion0))
    await vi.waitFor(() => expect(server.sent).toHaveLength(2))
    expect(rpcMessagesOf(server.sent[1]!)).toMatchObject([{ result: { exception: { reason: 'internal error' } } }])
    expect(server.faults).toMatchObject([{ message: 'secret detail' }])
  })

  test('an answer that is ready after the end goes nowhere', async () => {
    let finishSlow = (_: typeof applied): void => {}
    const slow = new Promise<typeof applied>((resolve) => (finishSlow = resolve))
    const server = createRecordedEnd({ methods: [serveMethod(updateConfiguration, () => slow)] })
    server.receive(writeBootstrap(0), rawCall(1, rootOfQuestion0))
    server.rpc.lost('gone')
    finishSlow(applied)
    await slow
    await Promise.resolve()
    expect(server.sent).toHaveLength(1)
  })

  test.each<[string, Uint8Array[]]>([
    ['a question id still in use', [writeBootstrap(0), writeBootstrap(0)]],
    ['more questions than anybody needs, none finished', Array.from({ length: 100 }, (_, id) => writeBootstrap(id))],
    ['more references released than were given', [writeBootstrap(0), writeRelease(0, 2)]],
    ['a Disembargo of nothing that we know', [raw(13, 1, 1, (body) => writeStruct(body, 0, 1, 1))]],
  ])('aborts on %s', (_, messages) => {
    const server = createRecordedEnd({ methods })
    server.receive(...messages)
    expect(server.closedBy).toMatchObject({ kind: 'protocol' })
    expect(kindsOf(server).at(-1)).toBe('abort')
    expect(server.ended).toBe(true)
  })

  test('parameters that are malformed end the connection', () => {
    const server = createRecordedEnd({ methods })
    const call = raw(2, 3, 3, (body) => {
      writeUint32(body, 0, 1)
      writeUint64(body, 8, updateConfiguration.interfaceId)
      const target = writeStruct(body, 0, 1, 1)
      writeUint16(target, 4, 1)
      writeStruct(target, 0, 1, 1)
      // A struct where the configuration's bytes belong.
      writeStruct(writeStruct(writeStruct(body, 1, 0, 2), 0, 1, 1), 0, 1, 0)
    })
    server.receive(writeBootstrap(0), call)
    expect(server.closedBy).toMatchObject({ kind: 'protocol', reason: 'a struct where a list belongs' })
  })

  test('a sender loop-back is confirmed for a target that we know', () => {
    const server = createRecordedEnd({ methods })
    const disembargo = raw(13, 1, 1, (body) => {
      writeUint32(body, 0, 1234)
      const target = writeStruct(body, 0, 1, 1)
      writeUint16(target, 4, 1)
      writeStruct(target, 0, 1, 1)
    })
    server.receive(writeBootstrap(0), disembargo)
    const body = readStruct(readRoot(segmentsOf(server.sent[1]!)[0]!), 0)
    expect([readUint32(body, 0), readUint16(body, 4)]).toEqual([1234, 1])
    expect(readUint16(readStruct(body, 0), 4)).toBe(1)
  })
})

describe('messages that we do not know', () => {
  const strange = (tag: number): Uint8Array =>
    raw(tag, 2, 2, (body) => {
      writeUint32(body, 0, 4711)
      writeBool(body, 70, true)
      writeText(body, 0, 'whatever')
      for (const element of writeStructs(body, 1, 2, 1, 1)) writeText(element, 0, 'deep')
    })

  test.each([
    ['Resolve', 5],
    ['the obsolete Save', 7],
    ['the obsolete Delete', 9],
    ['Provide', 10],
    ['Accept', 11],
    ['Join', 12],
    ['one from the future', 99],
  ])('%s is sent back whole, as Unimplemented', (_, tag) => {
    const end = createRecordedEnd()
    end.receive(strange(tag))
    const echo = readRoot(segmentsOf(end.sent[0]!)[0]!)
    expect(readUint16(echo, 0)).toBe(0)
    const again = createMessage()
    const root = writeRoot(again, 1, 1)
    const copy = readStruct(echo, 0)
    writeUint16(root, 0, readUint16(copy, 0))
    expect(readUint16(copy, 0)).toBe(tag)
    expect(readPointer(copy, 0)).toMatchObject({ kind: 'struct', dataWords: 2, pointerCount: 2 })
    // The copy, framed on its own, is the message that came.
    const [segment] = segmentsOf(end.sent[0]!)[0]!
    expect(toHex(frameMessage([segment!.subarray(16)]))).toBe(toHex(strange(tag)))
  })

  test('Unimplemented itself is never answered', () => {
    const end = createRecordedEnd()
    end.receive(raw(0, 1, 1, (echo) => writeUint16(echo, 0, 99)))
    expect(end.sent).toHaveLength(0)
    expect(end.closedBy).toBeUndefined()
  })

  test.each([
    ['too many of them', Array.from({ length: 40 }, () => strange(5))],
    ['a very large one', [raw(5, 1, 1, (body) => writeText(body, 0, 'x'.repeat(100_000)))]],
  ])('%s end the connection, so that they cannot fill our memory', (_, messages) => {
    const end = createRecordedEnd()
    end.receive(...messages)
    expect(end.closedBy).toMatchObject({ kind: 'protocol' })
    expect(end.sent.length).toBeLessThanOrEqual(33)
  })
})

describe('both ends together', () => {
  test.each([1, 7, 8, 64, Infinity])('calls both ways at once, in pieces of %d bytes', async (pieceBytes) => {
    const versions: number[] = []
    const serve = (offset: number) => [
      serveMethod(updateConfiguration, async ({ version }) => {
        versions.push(version)
        await Promise.resolve()
        return { latestAppliedVersion: version + offset, error: version % 3 === 0 ? 'third' : '' }
      }),
    ]
    const pair = createRpcPair({ methods: serve(1000) }, { methods: serve(2000), exportId: 99 }, pieceBytes)
    const calls: Promise<unknown>[] = []
    for (let version = 0; version < 20; version++) {
      calls.push(pair.client.call(updateConfiguration, { version, config: text('{}') }, 5000))
      calls.push(pair.server.call(updateConfiguration, { version, config: text('{}') }, 5000))
    }
    const all = Promise.all(calls)
    await pair.settle()
    const answers = await all
    expect(answers).toHaveLength(40)
    for (const [index, answer] of answers.entries()) {
      const version = index >> 1
      const error = version % 3 === 0 ? 'third' : ''
      expect(answer).toEqual({ latestAppliedVersion: version + (index % 2 === 0 ? 2000 : 1000), error })
    }
    expect(versions).toHaveLength(40)
  })

  test('a thousand calls one after the other: tables do not grow', async () => {
    const pair = createRpcPair({}, { methods: [serveMethod(updateConfiguration, () => applied)] })
    for (let turn = 0; turn < 1000; turn++) {
      const call = pair.client.call(updateConfiguration, push, 5000)
      await pair.settle()
      await expect(call).resolves.toEqual(applied)
    }
  })
})

describe('fuzz: a hostile peer ends its own connection and nothing else', () => {
  const conversation = Object.values(vectors)

  test('messages in any order, with bytes changed: every call is settled, and answers stay in proportion', async () => {
    const message = fc
      .tuple(
        fc.constantFrom(...conversation),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 3 }),
      )
      .map(([bytes, changes]) => {
        const changed = bytes.slice()
        for (const [at, byte] of changes) changed[at % changed.length] = byte
        return changed
      })
    let closed = 0
    await fc.assert(
      fc.asyncProperty(fc.array(message, { maxLength: 12 }), fc.boolean(), async (messages, serves) => {
        const end = createRecordedEnd(serves ? { methods: [serveMethod(updateConfiguration, () => applied)] } : {})
        const call = end.rpc.call(unregisterConnection, undefined, 5000)
        const settled = call.then(
          () => 'answered',
          () => 'rejected',
        )
        end.receive(...messages)
        end.timers.advance(6000)
        end.rpc.lost('over')
        if (end.closedBy?.kind === 'protocol') closed++
        expect(end.faults).toEqual([])
        expect(end.ended).toBe(true)
        const received = messages.reduce((total, bytes) => total + bytes.length, 0)
        const sent = end.sent.reduce((total, bytes) => total + bytes.length, 0)
        expect(sent).toBeLessThan(2000 + 4 * received)
        expect(await settled).toMatch(/answered|rejected/)
      }),
      { numRuns: 3000 },
    )
    expect(closed).toBeGreaterThan(300)
  })
})
