/** Containers that run here already: claimed from the page, migrated after the plan was read, given back or let go. */

import { describe, expect, it } from 'vitest'
import { inDialog, pass, status } from './act'
import { expectAccessible, mockNetwork, mountPage, mountPart, settle, type World } from './mount'
import type { Instance } from '@/api/types/Instance'
import type { InstanceList } from '@/api/types/InstanceList'
import type { AdoptableList } from '@/api/types/AdoptableList'
import InstanceMenu from '@/components/InstanceMenu.vue'
import MigrateDialog from '@/components/MigrateDialog.vue'
import MigrationEndDialog from '@/components/MigrationEndDialog.vue'

const adoptable = (world: World) => world.node.call('package.adoptable', {}) as AdoptableList

async function claim(world: World): Promise<Instance> {
  const [candidate] = adoptable(world).candidates
  if (!candidate) throw new Error('the mock lacks what could be claimed')
  world.node.call('package.adopt', { app: candidate.app, containers: {} })
  await pass(world, 20_000)
  return status(world, candidate.app.slug)
}

describe('what runs here already', () => {
  it('is listed with who can claim it, and claimed from the page', async () => {
    const world = mockNetwork()
    const wrapper = await mountPage('/apps', world)
    expect(wrapper.text()).toContain('Already running here')
    const [candidate] = adoptable(world).candidates
    const claimIt = wrapper.findAll('button').find((one) => one.text() === `Claim ${candidate?.name}`)
    await claimIt?.trigger('click')
    await settle()
    expect(world.calls).toContain('package.adopt')
    await pass(world, 20_000)
    expect(status(world, candidate?.app.slug ?? '').adoption).toMatchObject({ migrated: false })
    await expectAccessible()
    wrapper.unmount()
  })

  it('is not mentioned where there is nothing', async () => {
    const world = mockNetwork({ empty: true })
    const wrapper = await mountPage('/apps', world)
    expect(wrapper.text()).not.toContain('Already running here')
    wrapper.unmount()
  })
})

describe('a migration', () => {
  it('begins only once everything that is lost was accepted', async () => {
    const world = mockNetwork()
    const instance = await claim(world)
    const wrapper = await mountPart(MigrateDialog, { instance, open: true }, {}, world)
    const text = document.querySelector('[role="dialog"]')?.textContent ?? ''
    expect(text).toContain('NET_ADMIN')
    expect(text).toContain('Lost; tick what you accept')
    expect(inDialog('Migrate').disabled).toBe(true)
    document.querySelector<HTMLInputElement>('[role="dialog"] input[type="checkbox"]')?.click()
    await settle()
    expect(inDialog('Migrate').disabled).toBe(false)
    inDialog('Migrate').click()
    await settle()
    await pass(world, 20_000)
    expect(status(world, instance.app.slug).adoption).toMatchObject({ migrated: true })
    wrapper.unmount()
  })

  it.each([
    ['unmigrate', 'Undo migration', { migrated: false }],
    ['finish', 'Finish migration', null],
  ] as const)('ends with %s', async (how, label, adoption) => {
    const world = mockNetwork()
    const instance = await claim(world)
    world.node.call('package.migrate', { slug: instance.app.slug })
    await pass(world, 20_000)
    const wrapper = await mountPart(MigrationEndDialog, { instance, how, open: true }, {}, world)
    inDialog(label).click()
    await settle()
    await pass(world, 20_000)
    const ended = status(world, instance.app.slug).adoption
    if (adoption) expect(ended).toMatchObject(adoption)
    else expect(ended).toBeNull()
    wrapper.unmount()
  })

  it('is offered in the menu of what was claimed, and of nothing else', async () => {
    const world = mockNetwork()
    const instance = await claim(world)
    const { instances } = world.node.call('package.list', {}) as InstanceList
    const other = instances.find((one) => one.adoption === null)
    for (const [shown, offered] of [
      [instance, true],
      [other, false],
    ] as const) {
      const wrapper = await mountPart(InstanceMenu, { instance: shown }, {}, world)
      await wrapper.get('button').trigger('click')
      await settle()
      expect(document.body.textContent?.includes('Migrate…')).toBe(offered)
      wrapper.unmount()
      document.body.innerHTML = ''
    }
  })
})
