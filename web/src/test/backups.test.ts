/** An app's backups: made, proven, put back, and made by themselves. */

import type { VueWrapper } from '@vue/test-utils'
import { describe, expect, it } from 'vitest'
import { expectAccessible, mockNetwork, mountPage, settle, type World } from './mount'
import { applyEvent } from '@/api/events'
import type { BackupPage } from '@/api/types/BackupPage'
import { PUBLISHERS } from '@/mocks/catalogue'

const page = (slug: string) => `/app/${encodeURIComponent(PUBLISHERS.workshop.did)}/${slug}`
const shelf = (world: World, slug: string) => world.node.call('backup.list', { slug }) as BackupPage

function follow(world: World) {
  world.node.listen((event) => applyEvent(world.client, event))
}

/** Lets the mock's clock turn with its events reaching the cache. */
async function pass(world: World, ms: number) {
  for (let done = 0; done < ms; done += 200) world.node.advance(200)
  await settle()
}

function button(wrapper: VueWrapper, text: string) {
  const found = wrapper.findAll('button').find((one) => one.text() === text)
  if (!found) throw new Error(`there is no button "${text}" in: ${wrapper.text()}`)
  return found
}

async function pressInDialog(text: string) {
  const found = [...document.querySelectorAll<HTMLElement>('[role="dialog"] button')].find(
    (one) => one.textContent?.trim() === text,
  )
  if (!found) throw new Error(`there is no button "${text}" in the dialog`)
  found.click()
  await settle()
}

async function madeOne(world: World) {
  const wrapper = await mountPage(page('radicale'), world)
  await button(wrapper, 'Back up now').trigger('click')
  await settle()
  await pass(world, 5_000)
  return wrapper
}

describe('backups', () => {
  it('are made at once, told as a story, and listed', async () => {
    const world = mockNetwork()
    follow(world)
    const before = shelf(world, 'radicale').backups.length
    const wrapper = await mountPage(page('radicale'), world)
    await button(wrapper, 'Back up now').trigger('click')
    await settle()
    const steps = wrapper.findAll('ol[aria-label="Steps"] li').map((step) => step.text())
    expect(steps).toEqual(['Check', 'Copy', 'Answer', 'Store'])
    expect(button(wrapper, 'Back up now').attributes('disabled')).toBeDefined()
    await pass(world, 5_000)
    expect(shelf(world, 'radicale').backups).toHaveLength(before + 1)
    expect(wrapper.get('[aria-label="Backups, the newest first"]').text()).toContain('Not proven yet')
    await expectAccessible()
    wrapper.unmount()
  })

  it('are proven, and say why when they are not', async () => {
    const world = mockNetwork()
    follow(world)
    const wrapper = await madeOne(world)
    await button(wrapper, 'Prove').trigger('click')
    await settle()
    await pass(world, 5_000)
    expect(wrapper.text()).toContain('Proven to come up')
    const newest = shelf(world, 'radicale').backups[0]?.id ?? ''
    world.node.backups.prove(newest, world.node.now, 'container web never became healthy')
    await world.client.invalidateQueries()
    await settle()
    expect(wrapper.text()).toContain('Did not come up: Container web never became healthy')
    wrapper.unmount()
  })

  it('are put back once that is confirmed', async () => {
    const world = mockNetwork()
    follow(world)
    const wrapper = await madeOne(world)
    await button(wrapper, 'Restore…').trigger('click')
    await settle()
    expect(document.querySelector('[role="dialog"]')?.textContent).toContain('set aside')
    await expectAccessible()
    expect(world.calls).not.toContain('backup.restore')
    await pressInDialog('Restore')
    expect(world.calls).toContain('backup.restore')
    wrapper.unmount()
  })

  it('are made by themselves when their owner wants that', async () => {
    const world = mockNetwork()
    follow(world)
    const wrapper = await mountPage(page('radicale'), world)
    await wrapper.get('form select').setValue('daily')
    const time = wrapper.get('form input')
    await time.setValue('25:00')
    expect(button(wrapper, 'Save schedule').attributes('disabled')).toBeDefined()
    await time.setValue('04:15')
    await wrapper.get('form').trigger('submit')
    await settle()
    expect(shelf(world, 'radicale').plans[0]?.schedule).toMatchObject({ every: 'daily', at: '04:15' })
    expect(wrapper.text()).toContain('The next one begins on')
    wrapper.unmount()
  })
})
