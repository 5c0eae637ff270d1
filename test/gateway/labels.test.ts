import { expect, test } from 'vitest'
import { selects } from '../../src/gateway/labels.ts'
import type { LabelSelector } from '../../src/gateway/manifests.ts'

const labels = new Map([
  ['team', 'shop'],
  ['stage', 'live'],
])

/* Kubernetes LabelSelector */
test.each<[string, Partial<LabelSelector>, boolean]>([
  ['an empty selector selects everything', {}, true],
  ['a label that is there', { matchLabels: { team: 'shop' } }, true],
  ['every label has to be there', { matchLabels: { team: 'shop', stage: 'test' } }, false],
  ['what every object inherits in JavaScript is no label', { matchLabels: { constructor: 'shop' } }, false],
  ['In', { matchExpressions: [{ key: 'stage', operator: 'In', values: ['test', 'live'] }] }, true],
  ['In without the label', { matchExpressions: [{ key: 'none', operator: 'In', values: ['test'] }] }, false],
  ['NotIn', { matchExpressions: [{ key: 'stage', operator: 'NotIn', values: ['live'] }] }, false],
  ['NotIn without the label', { matchExpressions: [{ key: 'none', operator: 'NotIn', values: ['live'] }] }, true],
  ['Exists', { matchExpressions: [{ key: 'team', operator: 'Exists', values: [] }] }, true],
  ['Exists without the label', { matchExpressions: [{ key: 'toString', operator: 'Exists', values: [] }] }, false],
  ['DoesNotExist', { matchExpressions: [{ key: 'team', operator: 'DoesNotExist', values: [] }] }, false],
  [
    'labels and expressions together',
    { matchLabels: { team: 'shop' }, matchExpressions: [{ key: 'stage', operator: 'In', values: ['test'] }] },
    false,
  ],
])('%s', (_, selector, selected) => {
  expect(selects({ matchLabels: {}, matchExpressions: [], ...selector }, labels)).toBe(selected)
})
