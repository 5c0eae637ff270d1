/**
 * The streams of a connection by their numbers.
 *
 * Not a Map: V8's make themselves anew after so many deletions, and the old table, which refers to the new one and to
 * all streams of its time, is garbage that keeps them alive until the next full collection. Numbers only grow, so open
 * addressing finds nearly every stream where it looks first.
 */
import type { Stream } from './stream.ts'

const smallest = 16
/** A connection without streams keeps no larger one. */
const largestKept = 64

export class StreamTable {
  size = 0
  private slots: (Stream | undefined)[] = []

  get(id: number): Stream | undefined {
    const { slots } = this
    if (this.size === 0) return undefined
    for (let at = this.home(id); ; at = this.after(at)) {
      const stream = slots[at]
      if (stream === undefined || stream.id === id) return stream
    }
  }

  /** @param stream whose number is not in the table */
  add(stream: Stream): void {
    if ((this.size + 1) * 2 > this.slots.length) this.grow()
    this.size++
    this.place(stream)
  }

  delete(id: number): void {
    const { slots } = this
    if (this.size === 0) return
    let at = this.home(id)
    while (slots[at] !== undefined && slots[at]!.id !== id) at = this.after(at)
    if (slots[at] === undefined) return
    this.size--
    slots[at] = undefined
    if (this.size === 0 && slots.length > largestKept) {
      this.slots = []
      return
    }
    // Whoever stands behind the gap may have been pushed there by it.
    for (let next = this.after(at); slots[next] !== undefined; next = this.after(next)) {
      const moved = slots[next]!
      slots[next] = undefined
      this.place(moved)
    }
  }

  /** Those that are there now, oldest first; whatever happens to them meanwhile. */
  all(): Stream[] {
    return this.slots.filter((stream) => stream !== undefined).sort((a, b) => a.id - b.id)
  }

  private place(stream: Stream): void {
    let at = this.home(stream.id)
    while (this.slots[at] !== undefined) at = this.after(at)
    this.slots[at] = stream
  }

  private grow(): void {
    const before = this.slots
    this.slots = Array.from<undefined>({ length: Math.max(before.length * 2, smallest) })
    for (const stream of before) if (stream) this.place(stream)
  }

  /** The numbers of one end are all odd, or all even. */
  private home(id: number): number {
    return (id >>> 1) & (this.slots.length - 1)
  }

  private after(at: number): number {
    return (at + 1) & (this.slots.length - 1)
  }
}
