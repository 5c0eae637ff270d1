import { describe, expect, test } from 'vitest'
import {
  createRemoteConfiguration,
  formatConfigurationAnswer,
  formatConfigurationPush,
  parseConfigurationAnswer,
  parseConfigurationPush,
} from '../../src/tunnel/remote-configuration.ts'

const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))

describe('pushed configurations are acknowledged, never applied', () => {
  test('versions lower than, equal to and higher than the one we have', () => {
    const told: number[] = []
    const configuration = createRemoteConfiguration((version) => told.push(version))
    expect(configuration.version).toBe(-1)
    const answers = [0, 3, 2, 3, 7].map((version) => configuration.update({ version, config: json({ ingress: [] }) }))
    expect(answers.map(({ latestAppliedVersion }) => latestAppliedVersion)).toEqual([0, 3, 3, 3, 7])
    expect(answers.every(({ error }) => error === '')).toBe(true)
    expect(told).toEqual([0, 3, 7])
  })

  test('services that we would never have are no reason to refuse', () => {
    const configuration = createRemoteConfiguration(() => {})
    const config = json({ ingress: [{ service: 'nonsense://x' }], 'warp-routing': { enabled: true } })
    expect(configuration.update({ version: 1, config })).toEqual({ latestAppliedVersion: 1, error: '' })
  })

  test.each(['', 'null', '[]', '{', '"x"'])('%j is no configuration, and changes nothing', (text) => {
    const configuration = createRemoteConfiguration(() => {})
    expect(() => configuration.update({ version: 1, config: new TextEncoder().encode(text) })).toThrow()
    expect(configuration.version).toBe(-1)
  })
})

test.each(['sesame', '{"version":1,"config":sesame', '{"sesame":1}', '["sesame"]', '"sesame"'])(
  'nothing of %j is in what is said about it',
  (text) => {
    const configuration = createRemoteConfiguration(() => {})
    const config = new TextEncoder().encode(text)
    const said = [() => parseConfigurationPush(text), () => configuration.update({ version: 1, config })].map(
      (read) => {
        try {
          read()
          return ''
        } catch (thrown) {
          return String(thrown)
        }
      },
    )
    expect(said.join()).not.toContain('sesame')
  },
)

describe('over HTTP/2', () => {
  test('a push has a version and a configuration', () => {
    const { version, config } = parseConfigurationPush(formatConfigurationPush(2, { ingress: [{ service: 'x' }] }))
    expect(version).toBe(2)
    expect(new TextDecoder().decode(config)).toBe('{"ingress":[{"service":"x"}]}')
  })

  test.each(['', '{}', '{"version":"2"}', '{"version":1.5}', '{"version":2147483648}', '[]'])('%j is none', (body) => {
    expect(() => parseConfigurationPush(body)).toThrow()
  })

  test("the answer is the reference client's, byte for byte", () => {
    expect(formatConfigurationAnswer({ latestAppliedVersion: 2, error: '' })).toBe(
      '{"lastAppliedVersion":2,"err":null}',
    )
  })

  test.each([
    ['{"lastAppliedVersion":2,"err":null}', ''],
    ['{"lastAppliedVersion":2}', ''],
    ['{"lastAppliedVersion":2,"err":"bad"}', 'bad'],
    ['{"lastAppliedVersion":2,"err":{}}', 'the configuration was refused'],
  ])('the edge reads %s', (body, error) => {
    expect(parseConfigurationAnswer(body)).toEqual({ latestAppliedVersion: 2, error })
  })
})
