/** An app's backups: made, proven, put back, and made by themselves. */

import { describe, expect, it } from 'vitest'
import { button, follow, page, pass, pressInDialog, status } from './act'
import { expectAccessible, mockNetwork, mountPage, mountPart, settle, type World } from './mount'
import { keys } from '@/api/keys'
import type { BackupPage } from '@/api/types/BackupPage'
import InstanceCard from '@/components/InstanceCard.vue'

const shelf = (world: World, slug: string) => world.node.call('backup.list', { slug }) as BackupPage

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

  it('are removed once that is confirmed', async () => {
    const world = mockNetwork()
    follow(world)
    const wrapper = await madeOne(world)
    const before = shelf(world, 'radicale').backups
    await button(wrapper, 'Remove…').trigger('click')
    await settle()
    expect(document.querySelector('[role="dialog"]')?.textContent).toContain('cannot be had back')
    await expectAccessible()
    expect(shelf(world, 'radicale').backups).toEqual(before)
    await pressInDialog('Remove')
    expect(shelf(world, 'radicale').backups).toEqual(before.slice(1))
    const listed = wrapper.findAll('[aria-label="Backups, the newest first"] li')
    expect(listed).toHaveLength(before.length - 1)
    wrapper.unmount()
  })

  it('say what is lost, what could not be tried, and what they once came up to', async () => {
    const world = mockNetwork()
    follow(world)
    const wrapper = await madeOne(world)
    await wrapper.get('form select').setValue('daily')
    await wrapper.get('form').trigger('submit')
    await settle()
    const before = shelf(world, 'radicale')
    const newest = before.backups.slice(0, 1)
    const proof = {
      at: '2026-03-02T02:30:00Z',
      seconds: 3,
      failure: 'web never became healthy',
      proven: '2026-03-01T02:30:00Z',
    }
    const told = {
      ...before,
      backups: newest.map((backup) => ({ ...backup, proof })),
      plans: before.plans.map((plan) => ({ ...plan, unrehearsed: 'no network' })),
      unreadable: '/data/backups.unreadable.json',
    }
    world.client.setQueryData(keys.backupsOf('radicale'), told)
    await settle()
    expect(wrapper.text()).toContain('The last proof could not be tried: No network.')
    expect(wrapper.text()).toContain('/data/backups.unreadable.json could not be read')
    expect(wrapper.text()).toContain('Did not come up: Web never became healthy. It had come up')
    await expectAccessible()
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

  it('that failed by themselves are told of among the installed apps', async () => {
    const world = mockNetwork()
    const failedBackup = { reason: 'there is no room on /mnt/backups', at: '2026-03-01T02:30:00Z' }
    const instance = { ...status(world, 'radicale'), failedBackup }
    const wrapper = await mountPart(InstanceCard, { instance, job: null }, {}, world)
    expect(wrapper.text()).toContain('The last backup failed: There is no room on /mnt/backups.')
    await expectAccessible()
    wrapper.unmount()
  })
})
