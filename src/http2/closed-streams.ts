/** How the last streams ended: what still comes for them is no fault of the peer's, a small one, or a large one. */

const remembered = 128

type How = 'ended' | 'reset' | 'left'

/** A ring each for streams that we reset and for the others, made when the first one ends. */
export class ClosedStreams {
  private ids: Uint32Array | undefined
  private hows: How[] = []
  private count = 0
  private resetIds: Uint32Array | undefined
  private resets = 0

  /** @param how by END_STREAM both ways; by our reset; by the peer's, or with the connection */
  add(id: number, how: How): void {
    if (how === 'reset') {
      this.resetIds ??= new Uint32Array(remembered)
      this.resetIds[this.resets++ % remembered] = id
      return
    }
    this.ids ??= new Uint32Array(remembered)
    this.ids[this.count % remembered] = id
    this.hows[this.count++ % remembered] = how
  }

  /** True when we reset it; also when so many were reset that nobody knows. */
  wasReset(id: number): boolean {
    return this.find(id) === 'reset'
  }

  find(id: number): How | undefined {
    if (this.resetIds?.includes(id)) return 'reset'
    const at = this.ids?.indexOf(id) ?? -1
    if (at >= 0) return this.hows[at]
    return this.resets > remembered ? 'reset' : undefined
  }
}
