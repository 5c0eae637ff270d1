/** The listeners to something that happens once: mostly one or two, for each of very many exchanges. */
export type Listeners<T> = ((value: T) => void) | ((value: T) => void)[] | undefined

/** @returns what to keep instead of `listeners`, which may be the same list */
export function added<T>(listeners: Listeners<T>, listener: (value: T) => void): Listeners<T> {
  if (listeners === undefined) return listener
  if (typeof listeners === 'function') return [listeners, listener]
  listeners.push(listener)
  return listeners
}

export function call<T>(listeners: Listeners<T>, value: T): void {
  if (typeof listeners === 'function') listeners(value)
  else if (listeners) for (const listener of listeners) listener(value)
}
