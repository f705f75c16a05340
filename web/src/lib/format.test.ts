import { describe, expect, it } from 'vitest'
import { bytes, bytesOf, percent, rate, signedPoints, span } from './format'

describe('sizes', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1_000, '1.0 kB'],
    [2_100_000, '2.1 MB'],
    [412_000_000, '412 MB'],
    [999_950, '1.0 MB'],
    [184_000_000_000, '184 GB'],
    [9_007_199_254_740_991, '9.0 PB'],
  ])('%i bytes are %s', (size, text) => {
    expect(bytes(size)).toBe(text)
  })

  it('keeps two sizes in one unit', () => {
    expect(bytesOf(38_000_000, 412_000_000)).toEqual({ done: '38', total: '412 MB' })
    expect(bytesOf(0, 2_100_000)).toEqual({ done: '0', total: '2.1 MB' })
  })

  it('gives rates by the second', () => {
    expect(rate(12_400_000)).toBe('12 MB/s')
  })
})

describe('figures', () => {
  it('never shows 100 % before the end', () => {
    expect(percent(99.9)).toBe('99 %')
    expect(percent(-1)).toBe('0 %')
    expect(percent(140)).toBe('100 %')
  })

  it('signs points', () => {
    expect(signedPoints(12.5)).toBe('+12.5')
    expect(signedPoints(-4)).toBe('−4')
    expect(signedPoints(0)).toBe('0')
  })

  it.each([
    [-5, { unit: 'seconds', count: 0 }],
    [59, { unit: 'seconds', count: 59 }],
    [90, { unit: 'minutes', count: 2 }],
    [7_200, { unit: 'hours', count: 2 }],
    [200_000, { unit: 'days', count: 2 }],
  ])('%i seconds', (seconds, expected) => {
    expect(span(seconds)).toEqual(expected)
  })
})
