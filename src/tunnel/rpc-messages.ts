import { copyPointer } from './capnp-copy.ts'
import {
  readBool,
  readPointer,
  readRoot,
  readStruct,
  readStructs,
  readText,
  readUint16,
  readUint32,
  readUint64,
  type StructReader,
} from './capnp-reader.ts'
import { type CapnpLimits } from './capnp.ts'
import { type Segments } from './capnp-framing.ts'
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
} from './capnp-writer.ts'

/**
 * The messages of Cap'n Proto RPC that either end of a tunnel sends or may receive, to and from bytes. Layouts are
 * written as `data words + pointer words`, `@n` is byte n of the data section, `#n` pointer n.
 *
 * @see https://github.com/capnproto/capnproto/blob/v2/c++/src/capnp/rpc.capnp
 */
export type RpcMessage =
  | { readonly kind: 'unimplemented'; readonly echoed: EchoedQuestion | undefined }
  | { readonly kind: 'abort'; readonly exception: RpcException }
  | { readonly kind: 'call'; readonly call: Call }
  | { readonly kind: 'return'; readonly answerId: number; readonly result: ReturnResult }
  | { readonly kind: 'finish'; readonly questionId: number; readonly releaseResultCaps: boolean }
  | { readonly kind: 'release'; readonly id: number; readonly referenceCount: number }
  | { readonly kind: 'bootstrap'; readonly questionId: number }
  | { readonly kind: 'disembargo'; readonly target: MessageTarget | undefined; readonly context: DisembargoContext }
  | { readonly kind: 'unsupported'; readonly tag: number }

/** A question of ours that the peer sent back because it does not know the message. */
export interface EchoedQuestion {
  readonly questionId: number
}

export interface Call {
  readonly questionId: number
  readonly interfaceId: bigint
  readonly methodId: number
  /** Absent when the target is of a kind that we do not know. */
  readonly target: MessageTarget | undefined
  /** False when the results are to go elsewhere, which nothing here offers. */
  readonly resultsToCaller: boolean
  readonly params: Payload
}

export type MessageTarget =
  | { readonly kind: 'importedCap'; readonly id: number }
  /** `path`: the pointer fields that lead from the answer's root to the capability; empty is the root itself. */
  | { readonly kind: 'promisedAnswer'; readonly questionId: number; readonly path: readonly number[] }

/** The content is a struct for every method that we know, and a capability only in the answer to Bootstrap. */
export interface Payload {
  readonly content: StructReader
  /** The capability that the content is, found in the payload's table. */
  readonly capability: CapDescriptor | undefined
  readonly capTable: readonly CapDescriptor[]
}

export type CapDescriptor =
  | { readonly kind: 'none' }
  /** Also a senderPromise, which is used the same way. */
  | { readonly kind: 'senderHosted'; readonly id: number }
  | { readonly kind: 'receiverHosted'; readonly id: number }
  | { readonly kind: 'other'; readonly tag: number }

export type ReturnResult =
  | { readonly kind: 'results'; readonly payload: Payload }
  | { readonly kind: 'exception'; readonly exception: RpcException }
  | { readonly kind: 'canceled' }
  | { readonly kind: 'unsupported'; readonly tag: number }

export const exceptionTypes = ['failed', 'overloaded', 'disconnected', 'unimplemented'] as const

export interface RpcException {
  readonly type: (typeof exceptionTypes)[number]
  readonly reason: string
}

export type DisembargoContext =
  | { readonly kind: 'senderLoopback'; readonly id: number }
  | { readonly kind: 'other'; readonly tag: number }

/** What a caller or a method puts into a payload: a struct of its own layout behind the pointer that it is given. */
export type WriteContent = (payload: StructWriter) => void

/** The tags of Message's union. */
const tags = {
  unimplemented: 0,
  abort: 1,
  call: 2,
  return: 3,
  finish: 4,
  release: 6,
  bootstrap: 8,
  disembargo: 13,
} as const

/** Reads one message. Only what is asked for is read of a payload, by whoever knows its layout. */
export function readRpcMessage(segments: Segments, limits: CapnpLimits): RpcMessage {
  const message = readRoot(segments, limits)
  const tag = readUint16(message, 0)
  const body = readStruct(message, 0)
  switch (tag) {
    case tags.unimplemented:
      return { kind: 'unimplemented', echoed: readEchoedQuestion(body) }
    case tags.abort:
      return { kind: 'abort', exception: readException(body) }
    case tags.call:
      return { kind: 'call', call: readCall(body) }
    case tags.return:
      return { kind: 'return', answerId: readUint32(body, 0), result: readReturnResult(body) }
    case tags.finish:
      return { kind: 'finish', questionId: readUint32(body, 0), releaseResultCaps: !readBool(body, 32) }
    case tags.release:
      return { kind: 'release', id: readUint32(body, 0), referenceCount: readUint32(body, 4) }
    case tags.bootstrap:
      return { kind: 'bootstrap', questionId: readUint32(body, 0) }
    case tags.disembargo:
      return { kind: 'disembargo', target: readTarget(readStruct(body, 0)), context: readDisembargoContext(body) }
    default:
      return { kind: 'unsupported', tag }
  }
}

/** Bootstrap, 1+1: questionId u32@0, deprecatedObjectId #0. */
export function writeBootstrap(questionId: number): Uint8Array {
  const { message, body } = begin(tags.bootstrap, 1, 1)
  writeUint32(body, 0, questionId)
  return finishMessage(message)
}

/**
 * Call, 3+3: questionId u32@0, methodId u16@4, sendResultsTo u16@6 (0 caller), interfaceId u64@8,
 * allowThirdPartyTailCall bit 128, target #0, params #1, thirdParty #2.
 */
export function writeCall(
  call: { questionId: number; interfaceId: bigint; methodId: number; target: MessageTarget },
  content: WriteContent,
): Uint8Array {
  const { message, body } = begin(tags.call, 3, 3)
  writeUint32(body, 0, call.questionId)
  writeUint16(body, 4, call.methodId)
  writeUint64(body, 8, call.interfaceId)
  writeTarget(body, 0, call.target)
  writePayload(body, 1, content)
  return finishMessage(message)
}

/**
 * Return, 2+1: answerId u32@0, releaseParamCaps bit 32 (stored inverted), tag u16@6 (0 results, 1 exception,
 * 2 canceled), #0.
 */
export function writeResults(answerId: number, content: WriteContent): Uint8Array {
  const { message, body } = beginReturn(answerId, 0)
  writePayload(body, 0, content)
  return finishMessage(message)
}

/** A Return whose results are one capability, hosted by us. */
export function writeCapabilityResult(answerId: number, exportId: number): Uint8Array {
  const { message, body } = beginReturn(answerId, 0)
  const payload = writeStruct(body, 0, 0, 2)
  writeCapability(payload, 0, 0)
  const [descriptor] = writeStructs(payload, 1, 1, 1, 1)
  writeUint16(descriptor!, 0, 1)
  writeUint32(descriptor!, 4, exportId)
  return finishMessage(message)
}

export function writeExceptionReturn(answerId: number, exception: RpcException): Uint8Array {
  const { message, body } = beginReturn(answerId, 1)
  writeException(writeStruct(body, 0, 1, 1), exception)
  return finishMessage(message)
}

export function writeCanceledReturn(answerId: number): Uint8Array {
  return finishMessage(beginReturn(answerId, 2).message)
}

/** Finish, 1+0: questionId u32@0, releaseResultCaps bit 32 (stored inverted). */
export function writeFinish(questionId: number, releaseResultCaps: boolean): Uint8Array {
  const { message, body } = begin(tags.finish, 1, 0)
  writeUint32(body, 0, questionId)
  writeBool(body, 32, !releaseResultCaps)
  return finishMessage(message)
}

/** Release, 1+0: id u32@0, referenceCount u32@4. */
export function writeRelease(id: number, referenceCount: number): Uint8Array {
  const { message, body } = begin(tags.release, 1, 0)
  writeUint32(body, 0, id)
  writeUint32(body, 4, referenceCount)
  return finishMessage(message)
}

export function writeAbort(exception: RpcException): Uint8Array {
  const { message, body } = begin(tags.abort, 1, 1)
  writeException(body, exception)
  return finishMessage(message)
}

/** Unimplemented: the message that we do not know, sent back whole. */
export function writeUnimplemented(unknown: Segments, limits: CapnpLimits): Uint8Array {
  const message = createMessage()
  const root = writeRoot(message, 1, 1)
  writeUint16(root, 0, tags.unimplemented)
  const from = readRoot(unknown, limits)
  const copy = writeStruct(root, 0, 1, 1)
  writeUint64(copy, 0, readUint64(from, 0))
  copyPointer(from, 0, copy, 0)
  return finishMessage(message)
}

/** Disembargo, 1+1: target #0, context u16@4 (0 senderLoopback, 1 receiverLoopback), its id u32@0. */
export function writeReceiverLoopback(target: MessageTarget, id: number): Uint8Array {
  const { message, body } = begin(tags.disembargo, 1, 1)
  writeUint32(body, 0, id)
  writeUint16(body, 4, 1)
  writeTarget(body, 0, target)
  return finishMessage(message)
}

/** Message, 1+1: tag u16@0, its struct #0. */
function begin(tag: number, dataWords: number, pointerCount: number) {
  const message = createMessage()
  const root = writeRoot(message, 1, 1)
  writeUint16(root, 0, tag)
  return { message, body: writeStruct(root, 0, dataWords, pointerCount) }
}

function beginReturn(answerId: number, tag: number) {
  const started = begin(tags.return, 2, 1)
  writeUint32(started.body, 0, answerId)
  writeBool(started.body, 32, true)
  writeUint16(started.body, 6, tag)
  return started
}

function readEchoedQuestion(echo: StructReader): EchoedQuestion | undefined {
  const tag = readUint16(echo, 0)
  if (tag !== tags.call && tag !== tags.bootstrap) return undefined
  return { questionId: readUint32(readStruct(echo, 0), 0) }
}

function readCall(call: StructReader): Call {
  return {
    questionId: readUint32(call, 0),
    methodId: readUint16(call, 4),
    resultsToCaller: readUint16(call, 6) === 0,
    interfaceId: readUint64(call, 8),
    target: readTarget(readStruct(call, 0)),
    params: readPayload(readStruct(call, 1)),
  }
}

function readReturnResult(body: StructReader): ReturnResult {
  const tag = readUint16(body, 6)
  switch (tag) {
    case 0:
      return { kind: 'results', payload: readPayload(readStruct(body, 0)) }
    case 1:
      return { kind: 'exception', exception: readException(readStruct(body, 0)) }
    case 2:
      return { kind: 'canceled' }
    default:
      return { kind: 'unsupported', tag }
  }
}

/**
 * MessageTarget, 1+1: tag u16@4 (0 importedCap u32@0, 1 promisedAnswer #0).
 * PromisedAnswer, 1+1: questionId u32@0, transform #0, a list of Op, 1+0: tag u16@0 (0 noop, 1 getPointerField u16@2).
 */
function readTarget(target: StructReader): MessageTarget | undefined {
  const tag = readUint16(target, 4)
  if (tag === 0) return { kind: 'importedCap', id: readUint32(target, 0) }
  if (tag !== 1) return undefined
  const answer = readStruct(target, 0)
  const path: number[] = []
  for (const operation of readStructs(answer, 0)) {
    const operationTag = readUint16(operation, 0)
    if (operationTag > 1) return undefined
    if (operationTag === 1) path.push(readUint16(operation, 2))
  }
  return { kind: 'promisedAnswer', questionId: readUint32(answer, 0), path }
}

function writeTarget(struct: StructWriter, index: number, target: MessageTarget): void {
  const writer = writeStruct(struct, index, 1, 1)
  if (target.kind === 'importedCap') {
    writeUint32(writer, 0, target.id)
    return
  }
  writeUint16(writer, 4, 1)
  const answer = writeStruct(writer, 0, 1, 1)
  writeUint32(answer, 0, target.questionId)
  const operations = writeStructs(answer, 0, target.path.length, 1, 0)
  for (const [step, operation] of operations.entries()) {
    writeUint16(operation, 0, 1)
    writeUint16(operation, 2, target.path[step]!)
  }
}

/**
 * Payload, 0+2: content #0, capTable #1, a list of CapDescriptor, 1+1: tag u16@0 (0 none, 1 senderHosted,
 * 2 senderPromise, 3 receiverHosted: u32@4), #0.
 */
function readPayload(payload: StructReader): Payload {
  const capTable = readStructs(payload, 1).map(readCapDescriptor)
  const content = readPointer(payload, 0)
  if (content.kind === 'capability') {
    return {
      content: { ...payload, pointerCount: 0 },
      capability: capTable[content.index] ?? { kind: 'none' },
      capTable,
    }
  }
  return { content: readStruct(payload, 0), capability: undefined, capTable }
}

function readCapDescriptor(descriptor: StructReader): CapDescriptor {
  const tag = readUint16(descriptor, 0)
  if (tag === 0) return { kind: 'none' }
  if (tag === 1 || tag === 2) return { kind: 'senderHosted', id: readUint32(descriptor, 4) }
  if (tag === 3) return { kind: 'receiverHosted', id: readUint32(descriptor, 4) }
  return { kind: 'other', tag }
}

function writePayload(struct: StructWriter, index: number, content: WriteContent): void {
  const payload = writeStruct(struct, index, 0, 2)
  content(payload)
  writeStructs(payload, 1, 0, 1, 1)
}

function readDisembargoContext(body: StructReader): DisembargoContext {
  const tag = readUint16(body, 4)
  return tag === 0 ? { kind: 'senderLoopback', id: readUint32(body, 0) } : { kind: 'other', tag }
}

/** Exception, 1+1: reason text #0, obsoleteIsCallersFault bit 0, obsoleteDurability u16@2, type u16@4. */
function readException(exception: StructReader): RpcException {
  return {
    // A type from a newer schema says no more than that the call failed.
    type: exceptionTypes[readUint16(exception, 4)] ?? 'failed',
    reason: readText(exception, 0),
  }
}

function writeException(writer: StructWriter, { type, reason }: RpcException): void {
  writeUint16(writer, 4, exceptionTypes.indexOf(type))
  writeText(writer, 0, reason)
}
