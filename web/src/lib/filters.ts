/** What the store's search leaves out and in which order it answers, and how that stands in the address. */

import type { SearchSort } from '@/api/types/SearchSort'

export interface Filters {
  /** OCI architecture that there must be images for. */
  architecture: string | null
  /** Points that the publisher needs. */
  pointsMin: number
  /** Kinds of rights that the app must not need. */
  withoutRights: string[]
  sort: SearchSort
}

export const SORTS: readonly SearchSort[] = ['relevance', 'name', 'newest', 'score']
export const ARCHITECTURES = ['amd64', 'arm64', 'arm', 'riscv64'] as const
/** From how many points on a publisher is more than new: the bands of the score. */
export const BANDS = { any: 0, unproven: 15, someTrust: 35, trusted: 65 } as const
/** Kinds that an app may do without; all others every app has in some measure. */
export const RIGHTS = ['network', 'device', 'capability'] as const

export const NO_FILTERS: Filters = { architecture: null, pointsMin: 0, withoutRights: [], sort: 'relevance' }

/** Reads filters from an address; what makes no sense there counts as not said. */
export function readFilters(query: Record<string, unknown>): Filters {
  const text = (name: string) => (typeof query[name] === 'string' ? query[name] : '')
  const points = Number(text('trust'))
  const unwanted = text('without').split(',')
  return {
    architecture: ARCHITECTURES.find((known) => known === text('arch')) ?? null,
    pointsMin: Object.values(BANDS).find((known) => known === points) ?? 0,
    withoutRights: RIGHTS.filter((kind) => unwanted.includes(kind)),
    sort: SORTS.find((known) => known === text('sort')) ?? 'relevance',
  }
}

/** Writes filters as members of an address; those that leave out nothing are not written. */
export function writeFilters(filters: Filters): Record<string, string | undefined> {
  return {
    arch: filters.architecture ?? undefined,
    trust: filters.pointsMin > 0 ? String(filters.pointsMin) : undefined,
    without: filters.withoutRights.length > 0 ? filters.withoutRights.join(',') : undefined,
    sort: filters.sort === 'relevance' ? undefined : filters.sort,
  }
}

/** How many filters leave something out. */
export function countFilters({ architecture, pointsMin, withoutRights }: Filters): number {
  return (architecture === null ? 0 : 1) + (pointsMin > 0 ? 1 : 0) + withoutRights.length
}
