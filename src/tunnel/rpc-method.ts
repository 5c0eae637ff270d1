import { type StructReader } from './capnp-reader.ts'
import { type StructWriter } from './capnp-writer.ts'
import { type WriteContent } from './rpc-messages.ts'

/**
 * A method of an interface, declared once for both ends: the connector calls what the local edge serves and serves
 * what it calls. Writers put one struct behind pointer 0 of the payload.
 */
export interface RpcMethod<Params, Results> {
  /** As metrics label it, for instance `register_connection`. */
  readonly name: string
  /** The interface that declares the method, even when it is called on one that extends it. */
  readonly interfaceId: bigint
  readonly methodId: number
  writeParams(this: void, payload: StructWriter, params: Params): void
  readParams(this: void, content: StructReader): Params
  writeResults(this: void, payload: StructWriter, results: Results): void
  readResults(this: void, content: StructReader): Results
}

/** A method with what answers it. */
export interface ServedMethod {
  readonly interfaceId: bigint
  readonly methodId: number
  readonly name: string
  answer(this: void, content: StructReader): WriteContent | Promise<WriteContent>
}

/** @param handle may throw an RpcError of kind `exception`; anything else that it throws is answered as a failure */
export function serveMethod<Params, Results>(
  method: RpcMethod<Params, Results>,
  handle: (params: Params) => Results | Promise<Results>,
): ServedMethod {
  const write =
    (results: Results): WriteContent =>
    (payload) =>
      method.writeResults(payload, results)
  return {
    interfaceId: method.interfaceId,
    methodId: method.methodId,
    name: method.name,
    answer(content) {
      const results = handle(method.readParams(content))
      return results instanceof Promise ? results.then(write) : write(results)
    },
  }
}

/** The same method. `tell` hears of each call when it is over: whether it failed, and how long it took. */
export function observed(
  method: ServedMethod,
  now: () => number,
  tell: (method: string, failed: boolean, durationMs: number) => void,
): ServedMethod {
  return {
    ...method,
    answer(content) {
      const startedMs = now()
      const over = (failed: boolean): void => tell(method.name, failed, now() - startedMs)
      try {
        const results = method.answer(content)
        if (results instanceof Promise) {
          results.then(
            () => over(false),
            () => over(true),
          )
        } else over(false)
        return results
      } catch (thrown) {
        over(true)
        throw thrown
      }
    },
  }
}
