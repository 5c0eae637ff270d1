/** Tables for people, in Markdown so that docs/ can hold them as they are printed. */
import type { FloorResult } from './floors.ts'
import type { IdleRow, LoadRow, Row } from './summary.ts'

function table(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map((column, i) => Math.max(column.length, ...rows.map((row) => row[i]?.length ?? 0)))
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join(' | ')} |`
  const rule = `|${widths.map((width, i) => (i === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`
  return [line(columns), rule, ...rows.map(line)].join('\n')
}

const number = (value: number | undefined, digits: number): string => value?.toFixed(digits) ?? '–'
const percent = (share: number | undefined): string => (share === undefined ? '–' : `${Math.round(share * 100)} %`)

function loadTable(rows: readonly LoadRow[], references: readonly string[]): string {
  const shown = references.filter((reference) => rows.some((row) => row.ratios[reference] !== undefined))
  return table(
    [
      'variant',
      'CPU µs/req',
      'min',
      'max',
      'kernel',
      'req/s (best)',
      'p50 ms',
      'p99 ms',
      'RSS MiB idle',
      'loaded',
      'core used',
      'disturbed',
      ...shown.map((reference) => `vs ${reference}`),
    ],
    rows.map((row) => [
      row.lane,
      number(row.cpuUs?.median, 1),
      number(row.cpuUs?.min, 1),
      number(row.cpuUs?.max, 1),
      percent(row.kernelShare),
      number(row.bestRequestsPerSecond, 0),
      number(row.p50Ms, 2),
      number(row.p99Ms, 2),
      number(row.idleMib, 0),
      number(row.loadedMib, 0),
      percent(row.coreShare),
      percent(row.disturbance),
      ...shown.map((reference) => (row.ratios[reference] === undefined ? '–' : `${number(row.ratios[reference], 2)}×`)),
    ]),
  )
}

function idleTable(rows: readonly IdleRow[]): string {
  return table(
    ['variant', 'KiB/connection', 'min', 'max', 'RSS MiB before', 'after'],
    rows.map((row) => [
      row.lane,
      number(row.kibPerConnection.median, 1),
      number(row.kibPerConnection.min, 1),
      number(row.kibPerConnection.max, 1),
      number(row.beforeMib, 1),
      number(row.afterMib, 1),
    ]),
  )
}

export function renderRows(title: string, rows: readonly Row[], references: readonly string[]): string {
  const loads = rows.filter((row) => row.kind === 'load')
  const idles = rows.filter((row) => row.kind === 'idle')
  return [
    `### ${title}`,
    ...(loads.length > 0 ? [loadTable(loads, references)] : []),
    ...(idles.length > 0 ? [idleTable(idles)] : []),
  ].join('\n\n')
}

export function renderFloors(results: readonly FloorResult[]): string {
  return table(
    ['floor', 'against', 'measured', 'at least', 'holds'],
    results.map((each) => [
      `${each.scenario}: ${each.lane}`,
      each.against,
      `${number(each.measured, 2)}×`,
      `${number(each.atLeast, 2)}×`,
      each.holds ? 'yes' : 'NO',
    ]),
  )
}
