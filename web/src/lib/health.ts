/** How an instance is, as a tone; the word is in the catalogue. */

import type { InstanceState } from '@/api/types/InstanceState'

export type Tone = 'good' | 'warn' | 'bad' | 'accent' | 'quiet'

const TONES: Record<InstanceState, Tone> = {
  unknown: 'quiet',
  installing: 'accent',
  changing: 'accent',
  starting: 'accent',
  running: 'good',
  unhealthy: 'warn',
  stopping: 'accent',
  stopped: 'quiet',
  failed: 'bad',
  removing: 'accent',
}

export function healthTone(state: InstanceState): Tone {
  return TONES[state]
}

/** On its way from one state to another. */
export function isMoving(state: InstanceState): boolean {
  return TONES[state] === 'accent'
}

/** Whether its pages can be expected to answer. */
export function isUp(state: InstanceState): boolean {
  return state === 'running' || state === 'unhealthy'
}
