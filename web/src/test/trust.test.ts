/** What the owner says of publishers, and what the node may do without asking. */

import type { VueWrapper } from '@vue/test-utils'
import { describe, expect, it } from 'vitest'
import { expectAccessible, mockNetwork, mountPage, settle } from './mount'
import type { Reviewers } from '@/api/types/Reviewers'
import type { SearchResult } from '@/api/types/SearchResult'
import { PUBLISHERS } from '@/mocks/catalogue'

const app = (publisher: keyof typeof PUBLISHERS, slug: string) =>
  `/app/${encodeURIComponent(PUBLISHERS[publisher].did)}/${slug}`

/** Dialogs are at the end of the document, outside of the page. */
function anyButton(text: string): HTMLButtonElement {
  const found = [...document.querySelectorAll('button')].findLast((one) => one.textContent?.trim() === text)
  if (!found) throw new Error(`there is no button "${text}" in: ${document.body.textContent}`)
  return found
}

async function press(text: string) {
  anyButton(text).click()
  await settle()
}

function input(wrapper: VueWrapper, label: string) {
  const id = wrapper
    .findAll('label')
    .find((one) => one.text() === label)
    ?.attributes('for')
  return wrapper.get<HTMLInputElement>(`[id="${id}"]`)
}

describe('an update', () => {
  it('says what it would gain and lose, and why it waits', async () => {
    const wrapper = await mountPage(app('workshop', 'radicale'), mockNetwork())
    const panel = wrapper.get('[aria-label="Newer version"]')
    expect(panel.text()).toContain('Version 3.5.4 is available')
    expect(panel.findAll('li').map((row) => row.text())).toContain('newUses the graphics card (/dev/dri)')
    expect(panel.text()).toContain('goneMay change who owns files')
    expect(panel.text()).toContain('The new version may do 2 things that this one may not.')
    await expectAccessible()
    wrapper.unmount()
  })
})

describe('a publisher', () => {
  it('is pinned with one press, and blocked only when asked again', async () => {
    const world = mockNetwork()
    const wrapper = await mountPage(app('harbour', 'kiwix'), world)
    await press('Pin')
    expect(wrapper.text()).toContain('Pinned by you')
    await press('Block…')
    expect(world.calls).not.toContain('trust.block')
    await expectAccessible()
    await press('Cancel')
    expect(world.calls).not.toContain('trust.block')
    await press('Block…')
    await press('Block')
    expect(world.calls.filter((call) => call === 'trust.block')).toHaveLength(1)
    expect(wrapper.text()).toContain('Blocked by you')
    await press('Unblock')
    expect(wrapper.text()).not.toContain('Blocked by you')
    wrapper.unmount()
  })

  it('is vouched for and reported, to others only when asked to', async () => {
    const world = mockNetwork()
    const wrapper = await mountPage(app('harbour', 'kiwix'), world)
    await press('Vouch…')
    expect(document.body.textContent).toContain('What do you think of them?')
    await expectAccessible()
    await press('Say so')
    expect(world.calls).toContain('trust.vouch')
    expect(world.node.call('trust.reviewers', {})).toMatchObject({ own: null })
    await press('Report…')
    document.querySelector<HTMLButtonElement>('[role="switch"]')?.click()
    await settle()
    await press('Report')
    expect(world.calls).toContain('trust.report')
    expect(world.node.call('trust.reviewers', {})).toMatchObject({
      own: expect.stringMatching(/^[0-9a-f]{64}$/),
    })
    wrapper.unmount()
  })

  it('shows what stands against it whatever the score', async () => {
    const wrapper = await mountPage(app('twofaced', 'syncthing'), mockNetwork())
    expect(wrapper.text()).toContain('The publisher signed two different releases with number 7')
    wrapper.unmount()
  })

  it('has its evidence in words', async () => {
    const wrapper = await mountPage(app('workshop', 'radicale'), mockNetwork())
    await press('Why this score')
    expect(document.body.textContent).toContain('Seen by this node: syncthing: 118 days')
    await expectAccessible()
    wrapper.unmount()
  })
})

describe('the policy', () => {
  it('is saved when it makes sense and differs', async () => {
    const world = mockNetwork()
    const wrapper = await mountPage('/settings', world)
    const save = () => anyButton('Save')
    expect(save().disabled).toBe(true)
    await input(wrapper, 'Install from').setValue('101')
    expect(wrapper.text()).toContain('Write a number from 0 to 100.')
    expect(save().disabled).toBe(true)
    await input(wrapper, 'Install from').setValue('20')
    await wrapper.findAll('form')[0]?.trigger('submit')
    await settle()
    expect(world.node.call('policy.show', {})).toMatchObject({
      policy: { installPointsMin: 20, showPointsMin: 0 },
    })
    expect(save().disabled).toBe(true)
    await expectAccessible()
    wrapper.unmount()
  })

  it('takes reviewers by their keys', async () => {
    const world = mockNetwork()
    const wrapper = await mountPage('/settings', world)
    await input(wrapper, 'Nostr pubkey').setValue('npub1abc')
    expect(wrapper.text()).toContain('A pubkey has 64 digits')
    expect(anyButton('Add reviewer').disabled).toBe(true)
    const pubkey = 'ab'.repeat(32)
    await input(wrapper, 'Nostr pubkey').setValue(pubkey)
    await wrapper.findAll('form')[1]?.trigger('submit')
    await settle()
    expect(wrapper.text()).toContain(pubkey)
    await wrapper.get('[aria-label="Remove reviewer abababab"]').trigger('click')
    await settle()
    expect(wrapper.text()).not.toContain(pubkey)
    wrapper.unmount()
  })
})

describe('the store', () => {
  it('leaves out and orders as the address says, and writes there what is chosen', async () => {
    const world = mockNetwork()
    const wrapper = await mountPage('/?trust=35&without=device&sort=score', world)
    expect(wrapper.text()).toContain('Filter and sort: 2 filters')
    const asked = { pointsMin: 35, withoutRights: ['device'], sort: 'score' }
    const expected = (world.node.call('store.search', asked) as SearchResult).total
    const all = (world.node.call('store.search', {}) as SearchResult).total
    expect(expected).toBeGreaterThan(0)
    expect(expected).toBeLessThan(all)
    expect(wrapper.text()).toContain(`${expected} apps`)
    await expectAccessible()
    await press('Clear filters')
    expect(wrapper.text()).not.toContain('Clear filters')
    expect(wrapper.text()).toContain('Filter and sort')
    wrapper.unmount()
  })

  it('offers no filter that makes no sense', async () => {
    const wrapper = await mountPage('/?trust=36&without=air&sort=luck&arch=vax', mockNetwork())
    expect(wrapper.text()).not.toContain('Clear filters')
    const button = wrapper.findAll('button').find((one) => one.text() === 'Filter and sort')
    expect(button?.attributes('aria-expanded')).toBe('false')
    await button?.trigger('click')
    expect(button?.attributes('aria-expanded')).toBe('true')
    await expectAccessible()
    wrapper.unmount()
  })
})

describe('reviewers', () => {
  it('are told to others only when asked to', async () => {
    const world = mockNetwork()
    const wrapper = await mountPage('/settings', world)
    const own = () => (world.node.call('trust.reviewers', {}) as Reviewers).own
    await wrapper.get('[aria-label^="Remove reviewer"]').trigger('click')
    await settle()
    expect(own()).toBeNull()
    const label = wrapper.findAll('label').find((one) => one.text() === 'Tell others the whole list')
    await wrapper.get(`[id="${label?.attributes('for')}"]`).trigger('click')
    await input(wrapper, 'Nostr pubkey').setValue('ab'.repeat(32))
    await press('Add reviewer')
    expect(own()).toMatch(/^[0-9a-f]{64}$/)
    wrapper.unmount()
  })
})
