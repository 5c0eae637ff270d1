import { joinPath, type Fault } from './issues.ts'
import type { Match, ValueMatch } from './proxy-config.ts'
import { isFieldValue, isToken } from '../http/fields.ts'
import { findPatternFault } from './regex.ts'
import { hasDotSegment, isPath } from './syntax.ts'

/**
 * Why a match cannot be compiled.
 *
 * @param path the match's JSON path
 * @see Gateway API HTTPPathMatch, HTTPHeaderMatch, HTTPQueryParamMatch, HTTPMethod
 */
export function findMatchFault(match: Match, path: string): Fault | undefined {
  if (match.method !== undefined && !isToken(match.method)) {
    return { path: `${path}.method`, message: 'is no HTTP method', fix: 'write it as GET or POST are, in upper case' }
  }
  return (
    findPathFault(match, path) ??
    findValueFault(match.headers, path, 'headers') ??
    findValueFault(match.queryParams, path, 'queryParams')
  )
}

function findPathFault(match: Match, path: string): Fault | undefined {
  if (match.path === undefined) return undefined
  const { type, value } = match.path
  switch (type) {
    case 'Exact':
    case 'PathPrefix':
      break
    case 'RegularExpression':
      return value === ''
        ? { path: `${path}.path.value`, message: 'must not be empty', fix: 'leave the path out to match every path' }
        : patternIssue(value, `${path}.path.value`)
    default:
      return {
        path: `${path}.path.type`,
        message: 'is no type of path match',
        fix: 'use Exact, PathPrefix or RegularExpression',
      }
  }
  if (!isPath(value)) {
    return {
      path: `${path}.path.value`,
      message: 'is no absolute path as a request carries it',
      fix: 'start it with "/" and percent-encode what RFC 3986 section 3.3 does not allow; a query belongs in queryParams',
    }
  }
  if (hasDotSegment(value)) {
    return {
      path: `${path}.path.value`,
      message: 'has a "." or ".." segment, which no request has when it is matched',
      fix: 'write the path that the segments lead to',
    }
  }
  return undefined
}

function findValueFault(
  conditions: readonly ValueMatch[] | undefined,
  path: string,
  field: 'headers' | 'queryParams',
): Fault | undefined {
  for (const [index, { type, name, value }] of conditions?.entries() ?? []) {
    const at = joinPath(path, field, index)
    if (type !== 'Exact' && type !== 'RegularExpression') {
      return { path: `${at}.type`, message: 'is no type of match', fix: 'use Exact or RegularExpression' }
    }
    if (name === '') {
      const what = field === 'headers' ? 'header' : 'query parameter'
      return { path: `${at}.name`, message: 'must not be empty', fix: `name the ${what} to compare` }
    }
    const fault = type === 'RegularExpression' ? patternIssue(value, `${at}.value`) : undefined
    if (fault !== undefined) return fault
    if (field === 'queryParams') continue
    if (!isToken(name)) {
      return { path: `${at}.name`, message: 'is no header name', fix: 'use letters, digits and "-"' }
    }
    if (type === 'Exact' && !isFieldValue(value)) {
      return {
        path: `${at}.value`,
        message: 'is nothing a header can hold',
        fix: 'remove line breaks, other controls, and blanks at either end',
      }
    }
  }
  return undefined
}

function patternIssue(pattern: string, path: string): Fault | undefined {
  const fault = findPatternFault(pattern)
  return fault === undefined
    ? undefined
    : {
        path,
        message: `is no usable regular expression: ${fault}`,
        fix: 'use RE2 syntax: no look-around, no back-references',
      }
}
