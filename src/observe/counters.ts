/**
 * Numbers by key, a row for each. A row's numbers lie side by side, so that counting touches little memory: under load,
 * ten thousand rules are cold whenever they are asked.
 */
import type { MetricSample } from '../telemetry.ts'

type Labels = MetricSample['labels']

export class CounterRows {
  /** All rows; those who count add to it at the offset of a row. Another one after a row was made. */
  values: Float64Array
  private readonly width: number
  private readonly offsets = new Map<string, number>()
  private readonly labels: Labels[] = []

  /** @param width how many numbers a row has */
  constructor(width: number) {
    this.width = width
    this.values = new Float64Array(width * 8)
  }

  /** Where the row of a key is, which is made of zeros where there is none. */
  offset(key: string, labels: (key: string) => Labels): number {
    return this.offsets.get(key) ?? this.make(key, labels(key))
  }

  private make(key: string, labels: Labels): number {
    const offset = this.labels.length * this.width
    if (offset + this.width > this.values.length) {
      const larger = new Float64Array(this.values.length * 2)
      larger.set(this.values)
      this.values = larger
    }
    this.offsets.set(key, offset)
    this.labels.push(labels)
    return offset
  }

  /**
   * The same rows, without those of other keys; offsets are others then.
   *
   * @param inUse asked only where there is something to forget
   */
  kept(inUse: () => Iterable<string>): CounterRows {
    if (this.labels.length === 0) return this
    const keys = new Set(inUse())
    const rest = new CounterRows(this.width)
    for (const [key, offset] of this.offsets) {
      if (!keys.has(key)) continue
      const place = rest.make(key, this.labels[offset / this.width]!)
      rest.values.set(this.values.subarray(offset, offset + this.width), place)
    }
    return rest
  }

  /** In the order in which they were made. */
  *rows(): Generator<{ readonly labels: Labels; readonly values: Float64Array }> {
    for (const [row, labels] of this.labels.entries()) {
      const offset = row * this.width
      yield { labels, values: this.values.subarray(offset, offset + this.width) }
    }
  }
}
