/** Why there is no service: each text a sentence for the operator. */
export class StartRefusal extends Error {
  readonly reasons: readonly string[]
  constructor(reasons: readonly string[]) {
    super(reasons.join('\n'))
    this.name = 'StartRefusal'
    this.reasons = reasons
  }
}
