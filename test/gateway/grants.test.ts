import { describe, expect, test } from 'vitest'
import { type Grant, isPermitted } from '../../src/gateway/grants.ts'

const gateway = 'gateway.networking.k8s.io'
const from = { group: gateway, kind: 'HTTPRoute', namespace: 'shop' }
const to = { group: '', kind: 'Service', namespace: 'other', name: 'cart' }

function permits(grant: Partial<Grant>, namespace = 'other'): boolean {
  const complete = { from: [from], to: [{ group: '', kind: 'Service' }], ...grant }
  return isPermitted(new Map([[namespace, [complete]]]), from, to)
}

/* Gateway API ReferenceGrant (GEP-709) */
describe('isPermitted', () => {
  test('inside a namespace no grant is needed', () => {
    expect(isPermitted(new Map(), from, { ...to, namespace: 'shop' })).toBe(true)
  })

  test('without a grant nothing leads into another namespace', () => {
    expect(isPermitted(new Map(), from, to)).toBe(false)
  })

  test.each<[string, boolean, Partial<Grant>, string?]>([
    ['a grant without a name is for every object of the kind', true, {}],
    ['a grant with the name', true, { to: [{ group: '', kind: 'Service', name: 'cart' }] }],
    ['a grant with another name', false, { to: [{ group: '', kind: 'Service', name: 'order' }] }],
    ['a name is not a prefix', false, { to: [{ group: '', kind: 'Service', name: 'car' }] }],
    ['a star is a name like any other', false, { to: [{ group: '', kind: 'Service', name: '*' }] }],
    ['another kind as target', false, { to: [{ group: '', kind: 'Secret' }] }],
    ['another group as target', false, { to: [{ group: 'core', kind: 'Service' }] }],
    ['another kind as origin', false, { from: [{ ...from, kind: 'GRPCRoute' }] }],
    ['another group as origin', false, { from: [{ ...from, group: '' }] }],
    ['another namespace as origin', false, { from: [{ ...from, namespace: 'shop-2' }] }],
    ['one entry of many is enough', true, { from: [{ ...from, kind: 'GRPCRoute' }, from] }],
    ['a grant in the origin’s namespace grants nothing', false, {}, 'shop'],
    ['an entry from one grant and one from another make none', false, { from: [] }],
  ])('%s', (_, permitted, grant, namespace) => {
    expect(permits(grant, namespace)).toBe(permitted)
  })

  test('origin and target have to stand in the same grant', () => {
    const halves: Grant[] = [
      { from: [from], to: [{ group: '', kind: 'Secret' }] },
      { from: [{ ...from, namespace: 'third' }], to: [{ group: '', kind: 'Service' }] },
    ]
    expect(isPermitted(new Map([['other', halves]]), from, to)).toBe(false)
  })
})
