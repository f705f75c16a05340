/** What a person types about seeding, read and written. */

import type { SeedingDay } from '../api/types/SeedingDay'
import type { SeedingHours } from '../api/types/SeedingHours'
import type { SeedingPolicy } from '../api/types/SeedingPolicy'

export const DAYS = [
  'monday',
  'tuesday',
  'wednesday',
  'thursday',
  'friday',
  'saturday',
  'sunday',
] as const satisfies SeedingDay[]

export const MB = 1_000_000
export const GB = 1_000_000_000
/** As many bytes as a number holds exactly. */
const BYTES_MAX = 2 ** 53 - 1

/** What stands in the fields: numbers as they are typed, an empty one for no limit. */
export interface Typed {
  rate: string
  peerRate: string
  budget: string
  ratio: string
  metered: SeedingPolicy['metered']
  meteredRate: string
  treatAsMetered: boolean
  hours: TypedHours[]
}

export interface TypedHours {
  rule: SeedingHours['rule']
  days: SeedingDay[]
  from: string
  to: string
  rate: string
}

export const NUMBERS = ['rate', 'peerRate', 'budget', 'ratio'] as const

/** Reads a number that is more than nothing; `undefined` when it is none. An empty text is `null`. */
export function amount(text: string, unit: number): number | null | undefined {
  const trimmed = text.trim().replace(',', '.')
  if (trimmed === '') return null
  if (!/^\d{1,12}(\.\d{1,6})?$/.test(trimmed)) return undefined
  const value = Number(trimmed) * unit
  return value > 0 && value <= BYTES_MAX ? value : undefined
}

function bytesOf(text: string, unit: number): number | null | undefined {
  const value = amount(text, unit)
  const whole = typeof value === 'number' ? Math.round(value) : value
  return whole === 0 ? undefined : whole
}

function written(value: number | null, unit: number): string {
  return value === null ? '' : String(Number((value / unit).toFixed(6)))
}

export function typedOf(policy: SeedingPolicy): Typed {
  return {
    rate: written(policy.bytesPerSecond, MB),
    peerRate: written(policy.peerBytesPerSecond, MB),
    budget: written(policy.monthBytesMax, GB),
    ratio: written(policy.ratioMax, 1),
    metered: policy.metered,
    meteredRate: written(policy.meteredBytesPerSecond, MB),
    treatAsMetered: policy.treatAsMetered,
    hours: policy.hours.map(({ rule, days, from, to, bytesPerSecond }) => ({
      rule,
      days: [...days],
      from,
      to,
      rate: written(bytesPerSecond, MB),
    })),
  }
}

/** Whether hours have a day, two times, and a rate where they need one. */
export function hoursOf({ rule, days, from, to, rate }: TypedHours): SeedingHours | null {
  const bytesPerSecond = rule === 'slow' ? bytesOf(rate, MB) : null
  const clock = /^([01]\d|2[0-3]):[0-5]\d$/
  if (days.length === 0 || !clock.test(from) || !clock.test(to)) return null
  if (bytesPerSecond === undefined || (rule === 'slow' && bytesPerSecond === null)) return null
  return { rule, days: DAYS.filter((day) => days.includes(day)), from, to, bytesPerSecond }
}

export type Wrong = (typeof NUMBERS)[number] | 'meteredRate'

/** What cannot be read of the numbers. */
export function wrongOf(typed: Typed): Wrong[] {
  const wrong: Wrong[] = NUMBERS.filter((field) => {
    if (field === 'ratio')
      return (amount(typed.ratio, 1) ?? 1) > 10_000 || amount(typed.ratio, 1) === undefined
    return bytesOf(typed[field], field === 'budget' ? GB : MB) === undefined
  })
  const metered = bytesOf(typed.meteredRate, MB)
  const isMissing = metered === undefined || (typed.metered === 'limited' && metered === null)
  return isMissing ? [...wrong, 'meteredRate'] : wrong
}

/** The policy with what was typed; `null` while some of it makes no sense. */
export function policyOf(typed: Typed, before: SeedingPolicy): SeedingPolicy | null {
  const hours = typed.hours.map(hoursOf)
  if (wrongOf(typed).length > 0 || hours.some((one) => one === null)) return null
  return {
    ...before,
    bytesPerSecond: bytesOf(typed.rate, MB) ?? null,
    peerBytesPerSecond: bytesOf(typed.peerRate, MB) ?? null,
    monthBytesMax: bytesOf(typed.budget, GB) ?? null,
    ratioMax: amount(typed.ratio, 1) ?? null,
    metered: typed.metered,
    meteredBytesPerSecond: bytesOf(typed.meteredRate, MB) ?? null,
    treatAsMetered: typed.treatAsMetered,
    hours: hours.filter((one) => one !== null),
  }
}
