/** Which apps stand in the rows above the grid. */

import type { AppCard } from '@/api/types/AppCard'

const DAY_MS = 86_400_000
/** How long an app counts as new or as updated. */
const NEWS_MS = 21 * DAY_MS
/** An announcement this much later than the first is an update. */
const UPDATE_MS = DAY_MS / 2

function age(time: string, now: number): number {
  return now - Date.parse(time)
}

export function freshApps(apps: readonly AppCard[], now: number): AppCard[] {
  return apps
    .filter((card) => !card.stale && card.installed === null && age(card.firstSeen, now) < NEWS_MS)
    .toSorted((a, b) => b.firstSeen.localeCompare(a.firstSeen))
}

export function updatedApps(apps: readonly AppCard[], now: number): AppCard[] {
  return apps
    .filter(
      (card) =>
        !card.stale &&
        age(card.announced, now) < NEWS_MS &&
        Date.parse(card.announced) - Date.parse(card.firstSeen) > UPDATE_MS,
    )
    .toSorted((a, b) => b.announced.localeCompare(a.announced))
}
