import { type Timers } from '../timers.ts'
import { createMessageFramer, type Segments } from './capnp-framing.ts'
import { defaultCapnpLimits, MalformedMessageError } from './capnp.ts'
import { createAnswers } from './rpc-answers.ts'
import { RpcError, type RpcFailure } from './rpc-error.ts'
import {
  readRpcMessage,
  type RpcMessage,
  writeAbort,
  writeReceiverLoopback,
  writeUnimplemented,
} from './rpc-messages.ts'
import { type RpcMethod, type ServedMethod } from './rpc-method.ts'
import { createQuestions } from './rpc-questions.ts'

/** Where our messages go. */
export interface RpcStream {
  /** Sends one whole message, at once: nobody will say `flush` later. */
  write(message: Uint8Array): void
  /** Ends our half. Called once, also when the stream is already gone. */
  end(): void
}

export interface RpcOptions {
  readonly timers: Timers
  /** What Bootstrap gives the peer; absent at an end that only calls. */
  readonly methods?: readonly ServedMethod[]
  /** The bootstrap interface's id in our export table; any number from 0 to 2^32 - 1. Default 0. */
  readonly exportId?: number
  /** Called once when the connection has ended, for whatever reason. */
  readonly onClose?: (failure: RpcFailure) => void
  /** Is told what a served method threw that was not meant for the peer. */
  readonly onFault?: (error: unknown, method: string) => void
}

/**
 * One Cap'n Proto RPC connection over a byte stream, the same at both ends: each may call and each may serve one
 * bootstrap interface. Capabilities inside parameters and results, promises to be resolved and third parties do not
 * occur in the tunnel's interfaces; messages about them are answered Unimplemented, as the protocol provides.
 *
 * @see https://github.com/capnproto/capnproto/blob/v2/c++/src/capnp/rpc.capnp
 */
export interface RpcConnection {
  /** Takes what the peer sent, cut anywhere. The bytes may be reused after the call. */
  receive(bytes: Uint8Array, start: number, end: number): void
  /** The peer's half has ended, or the stream is gone. Open calls are rejected. */
  lost(reason: string): void
  /** Calls a method of the peer's bootstrap interface. Rejects with an {@link RpcError}. */
  call<Params, Results>(method: RpcMethod<Params, Results>, params: Params, timeoutMs: number): Promise<Results>
  /** What the peer was given an answer to and has not finished: names of methods, and `bootstrap`. */
  readonly unfinished: readonly string[]
  /** Ends in order: gives the peer's capability back, says so, ends our half. */
  close(): void
}

/** Calls and answers that may be open at a time, of each end. The tunnel's sequences need fewer than ten. */
const maxOpen = 64
/** Unknown messages that are sent back before the peer is given up, and how large they may be. */
const maxUnimplemented = 32
const maxUnimplementedBytes = 64 * 1024

export function createRpcConnection(stream: RpcStream, options: RpcOptions): RpcConnection {
  const limits = defaultCapnpLimits
  const framer = createMessageFramer(limits)
  let closed: RpcFailure | undefined
  let unimplemented = 0

  const send = (message: Uint8Array): void => {
    if (closed === undefined) stream.write(message)
  }
  const questions = createQuestions({ send, timers: options.timers, maxQuestions: maxOpen })
  const answers = createAnswers({
    send,
    methods: options.methods,
    exportId: options.exportId ?? 0,
    maxAnswers: maxOpen,
    onFault: options.onFault ?? (() => {}),
  })

  function end(failure: RpcFailure): void {
    if (closed !== undefined) return
    closed = failure
    answers.stop()
    questions.fail(failure)
    stream.end()
    options.onClose?.(failure)
  }

  function abort(failure: RpcFailure, reason: string): void {
    send(writeAbort({ type: 'failed', reason }))
    end(failure)
  }

  function handle(message: RpcMessage, segments: Segments): void {
    switch (message.kind) {
      case 'bootstrap':
        return answers.bootstrap(message.questionId)
      case 'call':
        return answers.call(message.call)
      case 'finish':
        return answers.finish(message.questionId, message.releaseResultCaps)
      case 'release':
        return answers.release(message.id, message.referenceCount)
      case 'return':
        return questions.returned(message.answerId, message.result)
      case 'unimplemented':
        if (message.echoed !== undefined) questions.notUnderstood(message.echoed.questionId)
        return
      case 'abort':
        return end({ kind: 'aborted', reason: message.exception.reason })
      case 'disembargo':
        return disembargo(message, segments)
      case 'unsupported':
        return sendBack(segments)
    }
  }

  /** Every capability of ours answers calls in order, so a loop-back can be confirmed at once. */
  function disembargo({ target, context }: RpcMessage & { kind: 'disembargo' }, segments: Segments): void {
    if (context.kind !== 'senderLoopback') return sendBack(segments)
    if (target === undefined || !answers.knows(target)) {
      throw new MalformedMessageError('a Disembargo of something that is not known here')
    }
    send(writeReceiverLoopback(target, context.id))
  }

  function sendBack(segments: Segments): void {
    let bytes = 0
    for (const segment of segments) bytes += segment.length
    if (++unimplemented > maxUnimplemented || bytes > maxUnimplementedBytes) {
      throw new MalformedMessageError('too many or too large messages of unknown kinds')
    }
    send(writeUnimplemented(segments, limits))
  }

  return {
    receive(bytes, start, until) {
      try {
        let at = start
        while (at < until) {
          if (closed !== undefined) return
          at += framer.push(bytes, at, until)
          const segments = framer.take()
          if (segments !== undefined) handle(readRpcMessage(segments, limits), segments)
        }
      } catch (error) {
        // Whatever a peer's bytes make us throw ends this connection and nothing else.
        if (!(error instanceof MalformedMessageError)) options.onFault?.(error, 'receive')
        const reason = error instanceof MalformedMessageError ? error.message : 'internal error'
        abort({ kind: 'protocol', reason }, reason)
      }
    },
    lost(reason) {
      end({ kind: 'lost', reason: framer.betweenMessages ? reason : `${reason}, inside a message` })
    },
    call(method, params, timeoutMs) {
      return closed === undefined ? questions.ask(method, params, timeoutMs) : Promise.reject(new RpcError(closed))
    },
    get unfinished() {
      return answers.unfinished
    },
    close() {
      if (closed !== undefined) return
      questions.release()
      abort({ kind: 'closed' }, 'rpc: shutdown')
    },
  }
}
