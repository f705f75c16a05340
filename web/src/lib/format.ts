/** Figures as people read them. Units are decimal, as on the box of a disk. */

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const

function scale(size: number): number {
  if (size < 1000) return 0
  return Math.min(UNITS.length - 1, Math.floor(Math.log10(size) / 3))
}

function figure(size: number, unit: number): string {
  const value = size / 1000 ** unit
  const digits = unit === 0 || value >= 10 || value === 0 ? 0 : 1
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

/** `412 MB`. */
export function bytes(size: number): string {
  let unit = scale(size)
  // 999 950 bytes round up to the next unit rather than to "1,000 kB".
  if (unit > 0 && unit < UNITS.length - 1 && Math.round(size / 1000 ** unit) >= 1000) unit += 1
  return `${figure(size, unit)} ${UNITS[unit]}`
}

/** `38` and `412 MB`: two sizes in the unit of the larger. */
export function bytesOf(done: number, total: number): { done: string; total: string } {
  const whole = bytes(total)
  const unit = UNITS.indexOf(whole.slice(whole.lastIndexOf(' ') + 1) as (typeof UNITS)[number])
  return { done: figure(done, Math.max(0, unit)), total: whole }
}

export function rate(bytesPerSecond: number): string {
  return `${bytes(bytesPerSecond)}/s`
}

export function percent(value: number): string {
  return `${Math.floor(Math.min(100, Math.max(0, value)))} %`
}

/** Trust points: whole where they are whole, else one digit. */
export function points(value: number): string {
  return value.toLocaleString('en', { maximumFractionDigits: 1, minimumFractionDigits: 0 })
}

export function signedPoints(value: number): string {
  if (value > 0) return `+${points(value)}`
  return value < 0 ? `−${points(-value)}` : '0'
}

export type Span = { unit: 'seconds' | 'minutes' | 'hours' | 'days'; count: number }

/** A span of time in its largest fitting unit. */
export function span(seconds: number): Span {
  const s = Math.max(0, Math.round(seconds))
  if (s < 60) return { unit: 'seconds', count: s }
  if (s < 3_600) return { unit: 'minutes', count: Math.round(s / 60) }
  if (s < 86_400) return { unit: 'hours', count: Math.round(s / 3_600) }
  return { unit: 'days', count: Math.round(s / 86_400) }
}

export function date(time: string): string {
  return new Date(time).toLocaleDateString('en', { day: 'numeric', month: 'short', year: 'numeric' })
}

export function dateTime(time: string): string {
  return new Date(time).toLocaleString('en', { dateStyle: 'medium', timeStyle: 'short', hourCycle: 'h23' })
}

export function clock(time: string): string {
  return new Date(time).toLocaleTimeString('en', { hourCycle: 'h23' })
}
