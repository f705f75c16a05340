import { describe, expect, it } from 'vitest'
import { monogram, publisherHue, shortDid } from './did'
import { interfaceUrl, isWebLink, mainInterface, nextPath } from './links'
import { strongestReasons } from './trust'
import { sentence } from './words'
import { isSearchKey } from '@/composables/useHotkeys'
import { nextInGrid } from '@/composables/useGridKeys'
import { stickyTop } from '@/composables/useStickyTop'

describe('publishers', () => {
  it('shortens an identity to its ends', () => {
    expect(shortDid('did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK')).toBe('z6Mkha…2doK')
    expect(shortDid('did:key:short')).toBe('short')
  })

  it('gives every publisher a lasting hue', () => {
    expect(publisherHue('did:key:a')).toBe(publisherHue('did:key:a'))
    expect(publisherHue('did:key:a')).not.toBe(publisherHue('did:key:b'))
  })

  it.each([
    ['Home Assistant', 'HA'],
    ['ghost', 'G'],
    ['nostr-relay', 'NR'],
    ['Émile & Co', 'ÉC'],
    ['', '?'],
  ])('the letters of "%s" are %s', (name, letters) => {
    expect(monogram(name)).toBe(letters)
  })
})

describe('links', () => {
  const info = { name: 'Web', kind: 'ui', port: 8384, path: '/' }

  it('opens an app on the host name of this page', () => {
    expect(interfaceUrl(info, 'attic.lan')).toBe('http://attic.lan:8384/')
    expect(interfaceUrl({ ...info, path: 'admin' }, 'attic.lan')).toBe('http://attic.lan:8384/admin')
    expect(interfaceUrl({ ...info, port: null }, 'attic.lan')).toBeNull()
  })

  it('means the first page with a port by "Open"', () => {
    expect(mainInterface([{ ...info, kind: 'api' }, info])).toBe(info)
    expect(mainInterface([{ ...info, kind: 'api' }])).toBeNull()
  })

  it.each([
    ['/apps', '/apps'],
    ['/?q=a#b', '/?q=a#b'],
    ['//evil.example', null],
    ['/\\evil.example', null],
    ['https://evil.example', null],
    ['', null],
    [['/apps'], null],
    [null, null],
    [undefined, null],
  ])('goes on to %j only within this site', (next, path) => {
    expect(nextPath({ next })).toBe(path)
  })

  it('follows links to the web only', () => {
    expect(isWebLink('https://example.org')).toBe(true)
    for (const url of ['javascript:alert(1)', 'data:text/html,x', '//example.org', null]) {
      expect(isWebLink(url)).toBe(false)
    }
  })
})

describe('words', () => {
  it('makes sentences of messages', () => {
    expect(sentence('the disk is full')).toBe('The disk is full.')
    expect(sentence('Really?')).toBe('Really?')
    expect(sentence('')).toBe('')
  })

  it('names the strongest reasons first, in either direction', () => {
    const reason = (points: number) => ({ code: String(points), text: '', points, evidence: [] })
    const sorted = strongestReasons([reason(2), reason(0), reason(-9), reason(5)], 3)
    expect(sorted.map(({ points }) => points)).toEqual([-9, 5, 2])
  })
})

describe('keys', () => {
  const places = [0, 1, 2, 3, 4].map((n) => ({ left: (n % 3) * 100, top: Math.floor(n / 3) * 100 }))

  it.each([
    ['ArrowRight', 0, 1],
    ['ArrowLeft', 0, null],
    ['ArrowDown', 1, 4],
    ['ArrowDown', 2, 4],
    ['ArrowDown', 3, null],
    ['ArrowUp', 4, 1],
    ['ArrowUp', 0, null],
    ['End', 0, 4],
    ['Home', 4, 0],
    ['a', 1, null],
  ])('%s from %i leads to %s', (key, from, to) => {
    expect(nextInGrid(key, from, places)).toBe(to)
  })

  it('knows the keys of the search', () => {
    const press = (key: string, init: KeyboardEventInit = {}) =>
      new KeyboardEvent('keydown', { key, ...init })
    expect(isSearchKey(press('/'))).toBe(true)
    expect(isSearchKey(press('k', { ctrlKey: true }))).toBe(true)
    expect(isSearchKey(press('k'))).toBe(false)
    const input = document.body.appendChild(document.createElement('input'))
    let inField: boolean | null = null
    input.addEventListener('keydown', (event) => {
      inField = isSearchKey(event)
    })
    input.dispatchEvent(press('/'))
    expect(inField).toBe(false)
  })
})

describe('the panel', () => {
  it('sticks to the top if it fits, else to its end', () => {
    expect(stickyTop(400, 900)).toBe(32)
    expect(stickyTop(1_200, 900)).toBe(-332)
  })
})
