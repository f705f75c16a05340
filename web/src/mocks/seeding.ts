/** What the pretended node gives away, and what its owner wants of it. Its clock knows a pause and a budget, no hours. */

import type { SeedingApp } from '../api/types/SeedingApp'
import type { SeedingPage } from '../api/types/SeedingPage'
import type { SeedingPolicy } from '../api/types/SeedingPolicy'
import type { SeedingReason } from '../api/types/SeedingReason'
import { MockRefusal } from './opinions.ts'

const USUAL: SeedingPolicy = {
  paused: false,
  pausedUntil: null,
  bytesPerSecond: null,
  peerBytesPerSecond: null,
  ratioMax: null,
  monthBytesMax: null,
  hours: [],
  metered: 'never',
  meteredBytesPerSecond: null,
  treatAsMetered: false,
  appsOff: [],
}

export class MockSeeding {
  private policy: SeedingPolicy = { ...USUAL, monthBytesMax: 200_000_000_000 }
  private readonly monthBytes = 124_300_000_000

  constructor(private readonly apps: () => Omit<SeedingApp, 'on' | 'ratioReached'>[]) {}

  set(params: Record<string, unknown>): SeedingPage {
    // As the page sends it; the real node checks the same.
    const policy = params as unknown as SeedingPolicy
    if (policy.ratioMax !== null && policy.ratioMax <= 0) {
      throw new MockRefusal({
        kind: 'invalid',
        message: 'ratioMax is 0; it is more than 0 and at most 10000',
        hint: '1 gives each version away once; leave it out for no bound',
        details: [],
      })
    }
    this.policy = policy
    return this.page()
  }

  page(): SeedingPage {
    const { policy } = this
    const stops = this.stops()
    const rate = policy.bytesPerSecond
    const slow: SeedingReason[] =
      rate === null
        ? []
        : [{ kind: 'rate', text: `at most ${rate / 1_000_000} MB/s as you set`, until: null }]
    return {
      policy,
      usual: USUAL,
      bytesPerSecondMax: null,
      peerBytesPerSecondMax: null,
      state: {
        mode: stops.length > 0 ? 'stopped' : rate === null ? 'unlimited' : 'limited',
        reasons: stops.length > 0 ? stops : slow,
        bytesPerSecond: rate,
        peerBytesPerSecond: policy.peerBytesPerSecond,
      },
      networkMetered: false,
      monthBytes: this.monthBytes,
      monthEnds: '2026-12-01T00:00:00Z',
      apps: this.apps().map((app) => ({
        ...app,
        on: !policy.appsOff.some((off) => off.publisher === app.app.publisher && off.slug === app.app.slug),
        ratioReached: policy.ratioMax !== null && app.uploadedBytes >= policy.ratioMax * app.sizeBytes,
      })),
    }
  }

  private stops(): SeedingReason[] {
    const { paused, pausedUntil, monthBytesMax, treatAsMetered, metered } = this.policy
    const stops: SeedingReason[] = []
    if (paused)
      stops.push({
        kind: 'paused',
        text:
          pausedUntil === null ? 'paused until you resume it' : `paused until ${pausedUntil.slice(11, 16)}`,
        until: pausedUntil,
      })
    if (monthBytesMax !== null && this.monthBytes >= monthBytesMax)
      stops.push({
        kind: 'budget',
        text: `monthly budget of ${monthBytesMax / 1_000_000_000} GB used up; seeding goes on on 1 December`,
        until: '2026-12-01T00:00:00Z',
      })
    if (treatAsMetered && metered === 'never')
      stops.push({ kind: 'metered', text: 'this connection counts as metered, as you said', until: null })
    return stops
  }
}
