import { createTimerEntry, type Timers } from '../timers.ts'
import { RpcError, type RpcFailure } from './rpc-error.ts'
import {
  type CapDescriptor,
  type MessageTarget,
  type Payload,
  type ReturnResult,
  writeBootstrap,
  writeCall,
  writeFinish,
  writeRelease,
} from './rpc-messages.ts'
import { type RpcMethod } from './rpc-method.ts'

/**
 * The caller's half of an RPC connection: questions asked, and the one capability they are asked of, the peer's
 * bootstrap interface. A call does not wait for that: it is sent at once, aimed at the answer to come.
 */
export interface Questions {
  /** Asks; rejects with an {@link RpcError}. */
  ask<Params, Results>(method: RpcMethod<Params, Results>, params: Params, timeoutMs: number): Promise<Results>
  returned(answerId: number, result: ReturnResult): void
  /** The peer does not know the message that asked this. */
  notUnderstood(questionId: number): void
  /** Gives the bootstrap capability back, before the connection ends in order. */
  release(): void
  /** Rejects all that is open; nothing is sent any more. */
  fail(failure: RpcFailure): void
}

export interface QuestionOptions {
  readonly send: (message: Uint8Array) => void
  readonly timers: Timers
  /** Questions that may be open; the bootstrap and those we gave up on count until the peer returns them. */
  readonly maxQuestions: number
}

interface Question {
  /** Sent while the bootstrap was still open, hence lost with it. */
  readonly pipelined: boolean
  /** Absent once the caller has its answer or was told that there is none. */
  settle: ((result: ReturnResult | RpcFailure) => void) | undefined
}

type Bootstrap =
  | { readonly kind: 'none' }
  | { readonly kind: 'asked'; readonly questionId: number }
  | { readonly kind: 'held'; readonly importId: number }
  | { readonly kind: 'failed'; readonly failure: RpcFailure }

export function createQuestions({ send, timers, maxQuestions }: QuestionOptions): Questions {
  const open = new Map<number, Question>()
  // The id freed last is used first, as the reference client does: ids stay small.
  const freeIds: number[] = []
  let nextId = 0
  let bootstrap: Bootstrap = { kind: 'none' }

  function begin(question: Question): number {
    const id = freeIds.pop() ?? nextId++
    open.set(id, question)
    return id
  }

  function forget(id: number): void {
    open.delete(id)
    freeIds.push(id)
  }

  /** Where the next call goes, after asking for the bootstrap interface if nobody has. */
  function targetOfCalls(): MessageTarget {
    if (bootstrap.kind === 'none') {
      const questionId = begin({ pipelined: false, settle: bootstrapReturned })
      bootstrap = { kind: 'asked', questionId }
      send(writeBootstrap(questionId))
    }
    if (bootstrap.kind === 'held') return { kind: 'importedCap', id: bootstrap.importId }
    if (bootstrap.kind === 'asked') return { kind: 'promisedAnswer', questionId: bootstrap.questionId, path: [] }
    throw new RpcError(bootstrap.failure)
  }

  function bootstrapReturned(result: ReturnResult | RpcFailure): void {
    const capability = result.kind === 'results' ? result.payload.capability : undefined
    if (capability?.kind === 'senderHosted') {
      bootstrap = { kind: 'held', importId: capability.id }
      return
    }
    const failure = isFailure(result)
      ? result
      : ({ kind: 'protocol', reason: 'the answer to Bootstrap is no capability' } as const)
    bootstrap = { kind: 'failed', failure }
    for (const [id, question] of open) {
      if (question.pipelined) giveUp(id, question, failure)
    }
  }

  /** Tells the caller, and the peer that we no longer wait. The id stays taken until the peer's Return. */
  function giveUp(id: number, question: Question, failure: RpcFailure): void {
    const { settle } = question
    if (settle === undefined) return
    question.settle = undefined
    send(writeFinish(id, true))
    settle(failure)
  }

  return {
    ask(method, params, timeoutMs) {
      return new Promise((resolve, reject) => {
        // The bootstrap may need a place too.
        if (open.size + 2 > maxQuestions) throw new RpcError({ kind: 'busy' })
        const target = targetOfCalls()
        const timer = createTimerEntry(() => giveUp(id, question, { kind: 'timeout', timeoutMs }))
        const question: Question = {
          pipelined: target.kind === 'promisedAnswer',
          settle(result) {
            timers.disarm(timer)
            if (result.kind !== 'results') {
              reject(new RpcError(toFailure(result)))
              return
            }
            try {
              resolve(method.readResults(result.payload.content))
            } catch (error) {
              const reason = error instanceof Error ? error.message : 'unreadable results'
              reject(new RpcError({ kind: 'protocol', reason }))
              throw error
            }
          },
        }
        const id = begin(question)
        try {
          const { interfaceId, methodId } = method
          const call = { questionId: id, interfaceId, methodId, target }
          send(writeCall(call, (payload) => method.writeParams(payload, params)))
        } catch (error) {
          // Parameters of ours that cannot be written: nothing was asked.
          forget(id)
          throw error
        }
        timers.arm(timer, timeoutMs)
      })
    },
    returned(answerId, result) {
      const question = open.get(answerId)
      // Unknown ids are noise: an edge that returned twice did its work once.
      if (question === undefined) return
      forget(answerId)
      const { settle } = question
      if (settle === undefined) return
      question.settle = undefined
      // The bootstrap's capability is kept. No method answers with others: what comes anyway is given back.
      const keeps = settle === bootstrapReturned || (result.kind === 'results' && !hasCapabilities(result.payload))
      send(writeFinish(answerId, !keeps || result.kind !== 'results'))
      settle(result.kind === 'exception' ? { kind: 'exception', exception: result.exception } : result)
    },
    notUnderstood(questionId) {
      const question = open.get(questionId)
      if (question === undefined) return
      forget(questionId)
      const reason = 'the peer does not know this message'
      question.settle?.({ kind: 'exception', exception: { type: 'unimplemented', reason } })
    },
    release() {
      if (bootstrap.kind === 'held') send(writeRelease(bootstrap.importId, 1))
    },
    fail(failure) {
      bootstrap = { kind: 'failed', failure }
      const left = [...open.values()]
      open.clear()
      for (const question of left) question.settle?.(failure)
    },
  }
}

function hasCapabilities(payload: Payload): boolean {
  return payload.capTable.some((descriptor: CapDescriptor) => descriptor.kind !== 'none')
}

function isFailure(result: ReturnResult | RpcFailure): result is RpcFailure {
  return result.kind !== 'results' && result.kind !== 'canceled' && result.kind !== 'unsupported'
}

function toFailure(result: Exclude<ReturnResult, { kind: 'results' }> | RpcFailure): RpcFailure {
  if (isFailure(result)) return result
  return { kind: 'protocol', reason: `a Return of a kind that answers nothing here (${result.kind})` }
}
