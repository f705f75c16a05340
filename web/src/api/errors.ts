/** What can go wrong between this page and the node, always as a {@link Problem} that a person can act on. */

import type { Problem } from './types/Problem'

/** The node answered, and said no. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError'

  constructor(
    readonly problem: Problem,
    readonly status: number,
  ) {
    super(problem.message)
  }
}

/** The node did not answer. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError'
}

/** The session has ended; the router sends the person to log in. */
export class LockedError extends Error {
  override readonly name = 'LockedError'
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

/** Reads a problem out of whatever a reply carries; keeps the reply's own words where it has some. */
export function problemFrom(value: unknown, fallback: string): Problem {
  if (isRecord(value)) {
    if (typeof value.kind === 'string' && typeof value.message === 'string') {
      return {
        kind: value.kind,
        message: value.message,
        hint: typeof value.hint === 'string' ? value.hint : null,
        details: Array.isArray(value.details) ? value.details.map(String) : [],
      }
    }
    if (isRecord(value.problem)) return problemFrom(value.problem, fallback)
    if (isRecord(value.error)) return problemFrom(value.error, fallback)
    if (isRecord(value.data)) return problemFrom(value.data, String(value.message ?? fallback))
    if (typeof value.message === 'string') {
      return { kind: 'unknown', message: value.message, hint: null, details: [] }
    }
    if (typeof value.error === 'string') {
      return { kind: 'unknown', message: value.error, hint: null, details: [] }
    }
  }
  if (typeof value === 'string' && value.trim() !== '') {
    return { kind: 'unknown', message: value.trim(), hint: null, details: [] }
  }
  return { kind: 'unknown', message: fallback, hint: null, details: [] }
}

/** The problem in any error, for showing. */
export function problemOf(error: unknown): Problem {
  if (error instanceof ProblemError) return error.problem
  if (error instanceof Error) return { kind: 'unknown', message: error.message, hint: null, details: [] }
  return problemFrom(error, 'unknown')
}
