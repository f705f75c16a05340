/** What jsdom lacks, and a network that answers only what a test has mocked. */

import { enableAutoUnmount } from '@vue/test-utils'
import { afterEach, beforeEach, expect, vi } from 'vitest'

class ResizeObserverStub {
  observe() {}
  unobserve() {}
  disconnect() {}
}
vi.stubGlobal('ResizeObserver', ResizeObserverStub)
Element.prototype.scrollIntoView = () => {}
vi.stubGlobal('scrollTo', () => {})
HTMLCanvasElement.prototype.getContext = () => null
Element.prototype.hasPointerCapture = () => false
Element.prototype.setPointerCapture = () => {}
Element.prototype.releasePointerCapture = () => {}

let warnings: string[] = []

beforeEach(() => {
  warnings = []
  vi.spyOn(console, 'warn').mockImplementation((...words: unknown[]) => {
    warnings.push(words.map(String).join(' ').split('\n')[0] ?? '')
  })
  vi.stubGlobal('fetch', (input: unknown) => {
    throw new Error(`unmocked request: ${String(input)}`)
  })
})

afterEach(() => {
  document.body.innerHTML = ''
  localStorage.clear()
  // What Vue, the router or the catalogue warn of is a mistake in a part.
  expect(warnings).toEqual([])
})

// A page that stays asks its questions again in the middle of the next test. Runs before what is above.
enableAutoUnmount(afterEach)
