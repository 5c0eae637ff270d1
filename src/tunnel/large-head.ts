/**
 * A head of many fields, as the edge may send: a head's text has an end, and what does not fit becomes an addition to
 * it. A field that the gateway acts upon must stand in the text, where it is found by its kind.
 */
import { classify, type Head, headOf, kind, maxHeadText } from '../http/head.ts'
import { type Field } from '../runtime.ts'

/** For the few fields that are added to what came. */
const reservedText = 1_024
const maxText = maxHeadText - reservedText

/** Whether {@link largeHeadOf} can be had of these fields. */
export function fitsHead(fields: readonly Field[]): boolean {
  return sizeOf(fields.filter(isActedUpon)) <= maxText
}

export function largeHeadOf(fields: readonly Field[]): Head {
  if (sizeOf(fields) <= maxText) return headOf(fields)
  const added = fields.filter((field) => !isActedUpon(field))
  return headOf(fields.filter(isActedUpon)).edit({ removed: [], added })
}

function isActedUpon([name]: Field): boolean {
  return classify(name, 0, name.length) !== kind.other
}

/** As lines. */
function sizeOf(fields: readonly Field[]): number {
  return fields.reduce((sum, [name, value]) => sum + name.length + value.length + 4, 0)
}
