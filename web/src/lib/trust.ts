/** How a trust score is shown. */

import type { Problem } from '@/api/types/Problem'
import type { TrustBand } from '@/api/types/TrustBand'
import type { TrustReason } from '@/api/types/TrustReason'
import type { Tone } from './health'

const TONES: Record<TrustBand, Tone> = {
  refused: 'bad',
  new: 'quiet',
  unproven: 'warn',
  someTrust: 'accent',
  trusted: 'good',
}

export function trustTone(band: TrustBand): Tone {
  return TONES[band]
}

/** The reasons that move the score most, in either direction. */
export function strongestReasons(reasons: readonly TrustReason[], count: number): TrustReason[] {
  return reasons
    .filter((reason) => reason.points !== 0)
    .toSorted((a, b) => Math.abs(b.points) - Math.abs(a.points))
    .slice(0, count)
}

/** Keys that were replaced are worth knowing; everything else that must be known of a publisher is bad. */
export function noticeTone({ kind }: Problem): 'warn' | 'bad' {
  return kind === 'keysReplaced' || kind === 'recovered' ? 'warn' : 'bad'
}
