/** What is stored: as a map that adds up, by app and version, and checked when its owner asks. */

import type { VueWrapper } from '@vue/test-utils'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import StorageCheck from '@/components/StorageCheck.vue'
import { expectAccessible, mockNetwork, mountPage, mountPart, NOW, settle, type World } from './mount'
import { keys } from '@/api/keys'
import type { BadBlob } from '@/api/types/BadBlob'
import type { FsckReport } from '@/api/types/FsckReport'
import type { StoragePage } from '@/api/types/StoragePage'
import { bytes } from '@/lib/format'
import { mapOf } from '@/lib/storage'
import { MockRefusal } from '@/mocks/opinions'

const shown = (world: World) => world.node.call('storage.show', {}) as StoragePage

beforeEach(() => void vi.useFakeTimers({ now: NOW, toFake: ['Date'] }))
afterEach(() => void vi.useRealTimers())

function section(wrapper: VueWrapper, name: string) {
  return wrapper.get(`section[aria-label="${name}"]`)
}

async function press(wrapper: VueWrapper, text: string) {
  const found = wrapper.findAll('button').find((one) => one.text() === text)
  if (!found) throw new Error(`there is no button "${text}" in: ${wrapper.text()}`)
  await found.trigger('click')
  await settle()
}

/** Lets the node work and the page ask again. */
async function pass(world: World, ms: number) {
  world.node.advance(ms)
  await world.client.refetchQueries({ queryKey: keys.storage })
  await settle()
}

describe('the map', () => {
  const usual = shown(mockNetwork())
  const GB = 1_000_000_000
  const page = (change: Partial<StoragePage>): StoragePage => ({
    ...usual,
    classes: [
      { class: 'installed', sets: 1, blobs: 1, sizeBytes: 3 * GB },
      { class: 'cache', sets: 1, blobs: 1, sizeBytes: GB },
    ],
    usedBytes: 5 * GB,
    reservedBytes: GB,
    quotaBytes: 20 * GB,
    freeBytes: 100 * GB,
    keptBytes: 10 * GB,
    ...change,
  })

  it('adds up to what bounds it', () => {
    const cases: [string, Partial<StoragePage>, { incoming: number; free: number }, string][] = [
      ['the quota', {}, { incoming: GB, free: 15 * GB }, 'quota'],
      ['the disk', { freeBytes: 13 * GB }, { incoming: GB, free: 2 * GB }, 'disk'],
      ['no quota', { quotaBytes: null }, { incoming: GB, free: 89 * GB }, 'disk'],
      ['a full disk', { freeBytes: 9 * GB }, { incoming: GB, free: 0 }, 'full'],
      ['more than the quota', { quotaBytes: 4 * GB }, { incoming: GB, free: 0 }, 'over'],
      ['exactly the quota', { quotaBytes: 5 * GB }, { incoming: GB, free: 0 }, 'quota'],
      [
        'nothing on its way',
        { usedBytes: 4 * GB, reservedBytes: 0 },
        { incoming: 0, free: 16 * GB },
        'quota',
      ],
      [
        'less used than is listed',
        { usedBytes: 3 * GB, reservedBytes: 0 },
        { incoming: 0, free: 17 * GB },
        'quota',
      ],
    ]
    for (const [name, change, expected, bound] of cases) {
      const map = mapOf(page(change))
      const of = (kind: string) => map.parts.find((part) => part.kind === kind)?.bytes
      expect({ incoming: of('incoming'), free: of('free') }, name).toEqual(expected)
      expect([of('installed'), of('publishing'), of('cache')], name).toEqual([3 * GB, 0, GB])
      expect(map.bound, name).toBe(bound)
      const sum = map.parts.reduce((shares, part) => shares + part.share, 0)
      expect(sum, name).toBeCloseTo(1)
    }
  })

  it('has no shares of nothing', () => {
    const map = mapOf(page({ classes: [], usedBytes: 0, reservedBytes: 0, quotaBytes: 0 }))
    expect(map.wholeBytes).toBe(0)
    expect(map.parts.every((part) => part.share === 0)).toBe(true)
  })

  it('says in a table and in words what the bar shows', async () => {
    const world = mockNetwork()
    const wrapper = await mountPage('/network', world)
    const { usedBytes, freeableBytes } = shown(world)
    const rows = wrapper.findAll('tbody tr').map((row) => row.text())
    expect(rows).toHaveLength(6)
    const { parts } = mapOf(shown(world))
    for (const [index, part] of parts.entries()) expect(rows[index]).toContain(bytes(part.bytes))
    expect(wrapper.get('caption').text()).toBe('What takes room')
    expect(wrapper.text()).toContain(`${bytes(usedBytes)} of the 20 GB for downloads are taken.`)
    expect(wrapper.text()).toContain(`${bytes(freeableBytes)} of that go by themselves when room is needed.`)
    expect(wrapper.text()).toContain(
      'The disk has 118 GB free, of which 10 GB stay free for everything else.',
    )
    await expectAccessible()
    wrapper.unmount()
  })

  it.each([
    [{ freeBytes: 13 * GB }, 'that leaves less room than the quota'],
    [{ freeBytes: 9 * GB }, 'nothing more can be fetched until there is more'],
    [{ quotaBytes: 4 * GB }, 'Uninstall something, or raise “quota”'],
    [{ quotaBytes: null }, '5.0 GB are taken by downloads; there is no quota.'],
  ])('says what bounds it: %o', async (change, text) => {
    const world = mockNetwork()
    const wrapper = await mountPage('/network', world)
    world.client.setQueryData(keys.storage, page(change))
    await settle()
    expect(wrapper.text()).toContain(text)
    wrapper.unmount()
  })
})

describe('what is stored', () => {
  it('is named by app and version, with what each is kept for', async () => {
    const world = mockNetwork()
    const wrapper = await mountPage('/network', world)
    const list = section(wrapper, 'What is here')
    const { sets } = shown(world)
    const items = list.findAll('li').map((item) => item.text())
    expect(items).toHaveLength(sets.length)
    expect(list.findAll(':scope > ul > li')).toHaveLength(8)
    for (const [index, set] of sets.entries()) {
      const item = items[index] ?? ''
      expect(item).toContain(bytes(set.sizeBytes))
      if (set.kind === 'app') expect(item).toContain(`${set.name}Version ${set.version}`)
      expect(item.includes('not all of it is here')).toBe(!set.complete)
    }
    const first = sets.find((set) => set.kind === 'app')
    const links = list.findAll('a').map((link) => link.attributes('href'))
    expect(links).toContain(`/app/${first?.app?.publisher}/${first?.app?.slug}`)
    for (const words of ['Installed', 'The version before', 'Published from here', 'Icon and pictures of'])
      expect(list.text()).toContain(words)
    wrapper.unmount()
  })

  it('may be nothing, and more than is listed', async () => {
    const wrapper = await mountPage('/network', mockNetwork({ empty: true }))
    expect(section(wrapper, 'What is here').text()).toContain('Nothing was fetched or published yet.')
    expect(section(wrapper, 'Check').text()).toContain('Nothing was checked since this node started.')
    await expectAccessible()
    wrapper.unmount()
    const world = mockNetwork()
    const full = await mountPage('/network', world)
    world.client.setQueryData(keys.storage, { ...shown(world), setsMore: 412 })
    await settle()
    expect(full.text()).toContain('and 412 smaller ones')
    full.unmount()
  })
})

describe('a check', () => {
  it('goes on through a reload, and says what it found and what to do', async () => {
    const world = mockNetwork()
    let wrapper = await mountPage('/network', world)
    expect(section(wrapper, 'Check').text()).toContain('All 214 blobs were right, 3 days ago.')
    await press(wrapper, 'Check everything now')
    await pass(world, 1_000)
    const { fsck } = shown(world)
    expect(fsck?.blobsDone).toBeGreaterThan(0)
    expect(section(wrapper, 'Check').text()).toContain(`${fsck?.blobsDone} of 214 blobs`)
    await expectAccessible()
    wrapper.unmount()

    wrapper = await mountPage('/network', world)
    expect(section(wrapper, 'Check').get('[role="status"]').text()).toBe('Checking')
    expect(section(wrapper, 'Check').find('[role="progressbar"]').exists()).toBe(true)
    await pass(world, 600_000)
    const text = section(wrapper, 'Check').text()
    expect(text).toContain('2 of 214 blobs were bad')
    expect(text).toContain('Fetched again; it is right now.')
    expect(text).toContain('You publish this, and others may not have it: run archy publish again.')
    expect(text).toContain('24 MB are of files that nothing needs')
    expect(section(wrapper, 'Check').find('[role="progressbar"]').exists()).toBe(false)
    await expectAccessible()
    wrapper.unmount()
  })

  it('is stopped', async () => {
    const world = mockNetwork()
    const wrapper = await mountPage('/network', world)
    await press(wrapper, 'Check everything now')
    await pass(world, 1_000)
    await press(wrapper, 'Stop')
    expect(shown(world).fsck?.running).toBe(false)
    const done = shown(world).fsck?.blobsDone
    expect(section(wrapper, 'Check').text()).toContain(`Stopped after ${done} of 214 blobs, just now`)
    wrapper.unmount()
  })

  it('that is refused says why and what to do', async () => {
    const world = mockNetwork()
    const wrapper = await mountPage('/network', world)
    vi.spyOn(world.node.storage, 'check').mockImplementation(() => {
      throw new MockRefusal({
        kind: 'starting',
        message: 'the node is starting; its transfers are not ready',
        hint: 'Try again in a moment',
        details: [],
      })
    })
    const { useToasts } = await import('@/composables/useToasts')
    await press(wrapper, 'Check everything now')
    const toasts = JSON.stringify(useToasts().toasts.value)
    expect(toasts).toContain('its transfers are not ready')
    expect(toasts).toContain('Try again in a moment')
    wrapper.unmount()
  })

  const ok = shown(mockNetwork()).fsck
  if (!ok) throw new Error('the mock lacks a check')
  const bad: BadBlob = {
    blob: 'ab'.repeat(32),
    sizeBytes: 18_000_000,
    wrong: 'damaged',
    sets: ['app/x/1'],
    apps: ['Notes'],
    mended: false,
    hint: null,
  }
  const problem = { kind: 'internal', message: 'the disk fails', hint: 'look at the log', details: [] }
  const cases: [string, Partial<FsckReport>, string[]][] = [
    ['one blob', { blobsDone: 1, blobsTotal: 1 }, ['The one blob was right']],
    ['nothing', { blobsDone: 0, blobsTotal: 0 }, ['There was nothing to check']],
    [
      'bad cache',
      { bad: [bad] },
      ['1 of 214 blobs were bad', 'Notes, 18 MB', 'fetched again when it is needed'],
    ],
    [
      'bad of nobody',
      { bad: [{ ...bad, apps: [], wrong: 'missing' }] },
      ['Missing', 'What no app needs, 18 MB'],
    ],
    ['stopped', { blobsDone: 12, bad: [bad] }, ['Stopped after 12 of 214 blobs', '1 of those were bad']],
    ['failed', { problem }, ['The last check failed', 'The disk fails.', 'Look at the log.']],
    ['beginning', { running: true, blobsDone: 0, blobsTotal: 0 }, ['Beginning to check', 'Stop']],
    ['mending', { running: true, bad: [bad] }, ['fetching again what was bad', 'Stop']],
    ['many', { bad: Array.from({ length: 60 }, (_, n) => ({ ...bad, blob: String(n) })) }, ['and 10 more']],
  ]
  it.each(cases)('of %s is told', async (_, change, texts) => {
    const wrapper = await mountPart(StorageCheck, { report: { ...ok, ...change } })
    for (const text of texts) expect(wrapper.text()).toContain(text)
    wrapper.unmount()
  })
})

it('that cannot be read says why, and is asked for again', async () => {
  const world = mockNetwork()
  const page = vi.spyOn(world.node.storage, 'page').mockImplementationOnce(() => {
    throw new MockRefusal({
      kind: 'starting',
      message: 'the node is starting',
      hint: 'try again in a moment',
      details: [],
    })
  })
  const wrapper = await mountPage('/network', world)
  expect(wrapper.text()).toContain('What is stored could not be read')
  expect(wrapper.text()).toContain('The node is starting.')
  expect(wrapper.text()).toContain('Try again in a moment.')
  await expectAccessible()
  await press(wrapper, 'Try again')
  expect(page).toHaveBeenCalledTimes(2)
  expect(wrapper.get('caption').text()).toBe('What takes room')
  wrapper.unmount()
})
