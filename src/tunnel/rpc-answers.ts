import { MalformedMessageError } from './capnp.ts'
import { RpcError } from './rpc-error.ts'
import {
  type Call,
  type MessageTarget,
  type RpcException,
  writeCanceledReturn,
  writeCapabilityResult,
  type WriteContent,
  writeExceptionReturn,
  writeResults,
} from './rpc-messages.ts'
import { type ServedMethod } from './rpc-method.ts'

/** The callee's half of an RPC connection: one bootstrap interface, and the answers that the peer still refers to. */
export interface Answers {
  bootstrap(questionId: number): void
  call(call: Call): void
  finish(questionId: number, releaseResultCaps: boolean): void
  release(id: number, referenceCount: number): void
  /** What was returned and never finished: method names, and `bootstrap`. */
  readonly unfinished: readonly string[]
  /** Whether a target names something of ours. */
  knows(target: MessageTarget): boolean
  /** Nothing is sent any more; what methods still answer is dropped. */
  stop(): void
}

export interface AnswerOptions {
  readonly send: (message: Uint8Array) => void
  /** What Bootstrap gives; absent at an end that serves nothing. */
  readonly methods: readonly ServedMethod[] | undefined
  /** The id of the bootstrap interface in the export table. Any number will do. */
  readonly exportId: number
  /** Answers kept until their Finish, and methods at work, of one peer. */
  readonly maxAnswers: number
  /** Is told what a method threw that was not meant for the peer. */
  readonly onFault: (error: unknown, method: string) => void
}

interface Answer {
  readonly isBootstrap: boolean
  name: string
  returned: boolean
}

export function createAnswers({ send, methods, exportId, maxAnswers, onFault }: AnswerOptions): Answers {
  const answers = new Map<number, Answer>()
  let references = 0
  let working = 0
  let stopped = false

  function begin(questionId: number, isBootstrap: boolean): Answer {
    if (answers.has(questionId)) throw new MalformedMessageError('a question id that is still in use')
    if (answers.size >= maxAnswers) throw new MalformedMessageError(`more than ${maxAnswers} questions without Finish`)
    const answer: Answer = { isBootstrap, name: isBootstrap ? 'bootstrap' : 'unknown', returned: false }
    answers.set(questionId, answer)
    return answer
  }

  function reply(questionId: number, answer: Answer, message: Uint8Array): void {
    // A question that was finished early has been returned as canceled by now, and its id may be in use again.
    if (stopped || answer.returned) return
    answer.returned = true
    send(message)
  }

  function raise(questionId: number, answer: Answer, exception: RpcException): void {
    reply(questionId, answer, writeExceptionReturn(questionId, exception))
  }

  function isOurs(target: MessageTarget): boolean {
    if (methods === undefined) return false
    if (target.kind === 'importedCap') return target.id === exportId && references > 0
    return answers.get(target.questionId)?.isBootstrap === true && target.path.length === 0
  }

  function dispatch(call: Call, answer: Answer): void {
    const { questionId, target, interfaceId, methodId } = call
    if (target === undefined || !isOurs(target)) {
      raise(questionId, answer, { type: 'failed', reason: 'the target of the call is not known here' })
      return
    }
    if (!call.resultsToCaller) {
      raise(questionId, answer, { type: 'unimplemented', reason: 'results go to the caller only' })
      return
    }
    const method = methods?.find((served) => served.interfaceId === interfaceId && served.methodId === methodId)
    if (method === undefined) {
      // The reference server's words, so that whoever knows them recognises them.
      const reason = `@0x${interfaceId.toString(16)}.@${methodId}: capnp: method not implemented`
      raise(questionId, answer, { type: 'failed', reason })
      return
    }
    answer.name = method.name
    if (working >= maxAnswers) {
      raise(questionId, answer, { type: 'overloaded', reason: 'too many calls at once' })
      return
    }
    const results = begun(method, call)
    if (typeof results === 'function') finishCall(questionId, answer, results, method.name)
    else if (results instanceof Promise) {
      working++
      void results
        .then((write) => finishCall(questionId, answer, write, method.name))
        .catch((error: unknown) => raise(questionId, answer, exceptionOf(error, method.name)))
        .finally(() => working--)
    } else raise(questionId, answer, results)
  }

  function begun(method: ServedMethod, call: Call): WriteContent | Promise<WriteContent> | RpcException {
    try {
      return method.answer(call.params.content)
    } catch (error) {
      if (error instanceof MalformedMessageError) throw error
      return exceptionOf(error, method.name)
    }
  }

  function finishCall(questionId: number, answer: Answer, write: WriteContent, method: string): void {
    if (answer.returned || stopped) return
    try {
      reply(questionId, answer, writeResults(questionId, write))
    } catch (error) {
      raise(questionId, answer, exceptionOf(error, method))
    }
  }

  function exceptionOf(error: unknown, method: string): RpcException {
    if (error instanceof RpcError && error.failure.kind === 'exception') return error.failure.exception
    onFault(error, method)
    return { type: 'failed', reason: 'internal error' }
  }

  function drop(count: number): void {
    if (count > references) throw new MalformedMessageError('more references released than were given')
    references -= count
  }

  return {
    bootstrap(questionId) {
      const answer = begin(questionId, methods !== undefined)
      if (methods === undefined) {
        raise(questionId, answer, { type: 'failed', reason: 'no bootstrap interface' })
        return
      }
      references++
      reply(questionId, answer, writeCapabilityResult(questionId, exportId))
    },
    call(call) {
      dispatch(call, begin(call.questionId, false))
    },
    finish(questionId, releaseResultCaps) {
      const answer = answers.get(questionId)
      if (answer === undefined) return
      if (answer.isBootstrap && releaseResultCaps) drop(1)
      if (!answer.returned) reply(questionId, answer, writeCanceledReturn(questionId))
      answers.delete(questionId)
    },
    release(id, referenceCount) {
      if (id === exportId && methods !== undefined) drop(referenceCount)
    },
    get unfinished() {
      return [...answers.values()].filter(({ returned }) => returned).map(({ name }) => name)
    },
    knows: isOurs,
    stop() {
      stopped = true
      answers.clear()
    },
  }
}
