/** Installed apps that change: to a newer version, back, or anew; and what was taken back. */

import { describe, expect, it } from 'vitest'
import { button, follow, page, pass, pressInDialog, status } from './act'
import { expectAccessible, mockNetwork, mountPage, mountPart, settle, type World } from './mount'
import { applyEvent } from '@/api/events'
import type { Instance } from '@/api/types/Instance'
import type { Job } from '@/api/types/Job'
import type { JobKind } from '@/api/types/JobKind'
import type { JobPhase } from '@/api/types/JobPhase'
import type { KeptSetting } from '@/api/types/KeptSetting'
import type { UpdateOffer } from '@/api/types/UpdateOffer'
import InstanceMenu from '@/components/InstanceMenu.vue'
import JobProgress from '@/components/JobProgress.vue'
import ReinstallDialog from '@/components/ReinstallDialog.vue'
import RollbackDialog from '@/components/RollbackDialog.vue'
import UpdatePanel from '@/components/UpdatePanel.vue'
import { PUBLISHERS } from '@/mocks/catalogue'

const newest = (world: World) => (world.node.call('job.list', {}) as Job[])[0]

const dialogText = () => document.querySelector('[role="dialog"]')?.textContent ?? ''

describe('an update', () => {
  it('says on its button that rights are gained, and goes through to the new version', async () => {
    const world = mockNetwork()
    follow(world)
    const wrapper = await mountPage(page('radicale'), world)
    const go = button(wrapper, 'Update and allow 2 new rights')
    expect(go.classes()).toContain('bg-button')
    expect(wrapper.text()).toContain('Its data is copied first.')
    await go.trigger('click')
    await settle()
    expect(status(world, 'radicale').state).toBe('changing')
    const seen = new Set<string>()
    for (let turn = 0; turn < 60 && newest(world)?.state === 'running'; turn++) {
      await pass(world, 200)
      seen.add(
        wrapper.find('[aria-current="step"]').exists() ? wrapper.get('[aria-current="step"]').text() : '',
      )
    }
    for (const step of ['Check', 'Fetch', 'Unpack', 'Set up', 'Copy', 'Answer'])
      expect([...seen]).toContain(step)
    await pass(world, 400)
    expect(status(world, 'radicale')).toMatchObject({
      version: '3.5.4',
      state: 'running',
      before: { version: '3.5.3', hasData: true },
    })
    expect(wrapper.text()).not.toContain('is available')
    await expectAccessible()
    wrapper.unmount()
  })

  it('asks for the release that was read about, with a copy unless told otherwise', async () => {
    const asked: unknown[] = []
    const world = mockNetwork()
    const call = world.node.call.bind(world.node)
    world.node.call = (method, params) => {
      if (method === 'package.update') asked.push(params)
      return call(method, params)
    }
    const wrapper = await mountPage(page('radicale'), world)
    expect(wrapper.text()).toContain('what it did to the data until then stays and cannot be taken back')
    await button(wrapper, 'Update without a copy').trigger('click')
    await settle()
    const offer = (
      call('store.show', { publisher: PUBLISHERS.workshop.did, slug: 'radicale' }) as {
        instance: Instance
      }
    ).instance.offer
    expect(asked).toEqual([{ slug: 'radicale', release: offer?.release, withoutCopy: true }])
    await pass(world, 60_000)
    expect(status(world, 'radicale').before).toMatchObject({ hasData: false })
    wrapper.unmount()
  })

  it('that failed is told before its button, and in the list of apps', async () => {
    const world = mockNetwork()
    follow(world)
    const wrapper = await mountPage(page('bitcoin'), world)
    const told = 'Version 30.1 was tried on Nov 19, 2026 and taken back'
    const panel = wrapper.get('section[aria-label="Newer version"]')
    expect(panel.text()).toContain(`${told}Container app exited with status 1 before it was healthy.`)
    expect(wrapper.text().split(told)).toHaveLength(2)
    const go = button(wrapper, 'Update to 30.1')
    expect(panel.html().indexOf(told)).toBeLessThan(panel.html().indexOf('Update to 30.1'))
    expect(go.classes()).not.toContain('bg-button')
    await go.trigger('click')
    await settle()
    await pass(world, 30_000)
    expect(newest(world)).toMatchObject({ kind: 'update', state: 'failed', problem: { kind: 'takenBack' } })
    expect(status(world, 'bitcoin')).toMatchObject({ version: '30.0', state: 'running' })
    expect(wrapper.text()).toContain('Version 30.1 was tried on Nov 21, 2026 and taken back')
    expect(wrapper.text()).toContain('Shutdown: done')
    expect(wrapper.text()).not.toContain('Could not update')
    await expectAccessible()
    wrapper.unmount()
    const list = await mountPage('/apps', world)
    expect(list.get('article[aria-label="Bitcoin Core"]').text()).toContain(
      'Version 30.1 was tried on Nov 21, 2026 and taken back',
    )
    list.unmount()
  })

  it('of another release, or another change, is told beside the app’s state', async () => {
    const world = mockNetwork()
    const call = world.node.call.bind(world.node)
    const failed = {
      version: '2.0.11',
      release: 'another',
      reason: 'it did not answer',
      at: '2026-11-20T08:00:00Z',
    }
    world.node.call = (method, params) => {
      const answer = call(method, params)
      if (method !== 'store.show') return answer
      const shown = answer as { instance: Instance }
      return { ...shown, instance: { ...shown.instance, failedUpdate: failed } }
    }
    const wrapper = await mountPage(page('syncthing'), world)
    expect(wrapper.text()).toContain('A change was tried on Nov 20, 2026 and taken back')
    wrapper.unmount()
  })

  it('that the node refused before it changed anything says why, and can be dismissed', async () => {
    const world = mockNetwork()
    const wrapper = await mountPage(page('radicale'), world)
    const [job] = world.node.call('job.list', {}) as Job[]
    const problem = { kind: 'diskFull', message: 'the disk has 3 MB free', hint: 'Make room', details: [] }
    applyEvent(world.client, {
      type: 'job',
      data: {
        ...(job as Job),
        id: 'job-full',
        kind: 'update',
        state: 'failed',
        app: { publisher: PUBLISHERS.workshop.did, slug: 'radicale' },
        name: 'Radicale',
        problem,
      },
    })
    await settle()
    expect(wrapper.text()).toContain('Could not update Radicale')
    expect(wrapper.text()).toContain('The disk has 3 MB free.')
    await button(wrapper, 'Dismiss').trigger('click')
    expect(wrapper.text()).not.toContain('Could not update Radicale')
    wrapper.unmount()
  })

  it('says what the owner set, and what the publisher says instead', async () => {
    const world = mockNetwork()
    const instance = status(world, 'radicale')
    const kept = (change: Partial<KeptSetting>): KeptSetting => ({
      container: 'app',
      kind: 'memory',
      name: null,
      yours: '64M',
      before: '96M',
      now: '96M',
      isUsed: true,
      ...change,
    })
    const offer: UpdateOffer = {
      version: '3.5.4',
      seq: 14,
      release: 'r',
      announced: '2026-11-20T08:00:00Z',
      diff: { gained: [], lost: [] },
      kept: [
        kept({ now: '128M' }),
        kept({ kind: 'cpus', yours: '0.5', before: null, now: '2' }),
        kept({ kind: 'pids', yours: '7', now: null }),
        kept({ kind: 'port', name: '80/tcp', yours: '4000', isUsed: false, now: null }),
        kept({ kind: 'variable', name: 'TZ', yours: 'Europe/Berlin', before: 'UTC', now: 'UTC' }),
        kept({ kind: 'variable', name: 'MOTD', yours: '', now: '' }),
      ],
      notices: ['The app Teller needs bank ^1, and this is 2.0.'],
      byItself: true,
      waits: [],
    }
    const wrapper = await mountPart(UpdatePanel, { instance, offer }, {}, world)
    const lines = wrapper.findAll('li').map((line) => line.text().replaceAll(/\s+/g, ' '))
    expect(lines).toEqual([
      'yoursMemory stays 64M. The publisher now says 128M, before 96M.',
      'yoursProcessors stays 0.5. The publisher now says 2.',
      'yoursProcesses stays 7. The publisher now sets none.',
      'yoursPort 80/tcp stays 4000. This version has no place for it; it is kept.',
      'yoursTZ stays Europe/Berlin.',
      'yoursMOTD stays empty. The publisher now leaves it empty.',
      'The app Teller needs bank ^1, and this is 2.0.',
    ])
    await expectAccessible()
    wrapper.unmount()
    const [container] = instance.containers
    const stack = { ...instance, containers: [container, container] }
    const other = await mountPart(UpdatePanel, { instance: stack, offer }, {}, world)
    expect(other.text()).toContain('Memory of container app stays 64M.')
    other.unmount()
  })

  it('has no button where the node would refuse it, and says so when it is refused', async () => {
    const world = mockNetwork()
    const instance = status(world, 'radicale')
    const offer: UpdateOffer = {
      version: '3.5.4',
      seq: 14,
      release: 'r',
      announced: '2026-11-20T08:00:00Z',
      diff: { gained: [], lost: [] },
      kept: [],
      notices: [],
      byItself: false,
      waits: [{ kind: 'policyScore', message: 'asks for 35 points', hint: null, details: [] }],
    }
    const shown = async (change: Partial<UpdateOffer>) => {
      const wrapper = await mountPart(UpdatePanel, { instance, offer: { ...offer, ...change } }, {}, world)
      return wrapper
    }
    for (const change of [
      { diff: null },
      { waits: [{ kind: 'blocked', message: 'you blocked them', hint: null, details: [] }] },
    ]) {
      const wrapper = await shown(change)
      expect(wrapper.findAll('button')).toEqual([])
      wrapper.unmount()
    }
    world.node.call('package.restart', { slug: 'radicale' })
    const wrapper = await shown({})
    await button(wrapper, 'Update to 3.5.4').trigger('click')
    await settle()
    expect(wrapper.text()).toContain('Not updated')
    expect(wrapper.text()).toContain('Another job works on Radicale.')
    wrapper.unmount()
  })
})

describe('the steps of a job', () => {
  it.each<[JobKind, JobPhase, string | null]>([
    ['install', 'starting', 'Start'],
    ['update', 'stopping', 'Copy'],
    ['update', 'waiting', 'Answer'],
    ['rollback', 'copying', 'Set up'],
    ['configure', 'fetching', 'Check'],
    ['reinstall', 'waiting', 'Answer'],
    ['stop', 'stopping', null],
  ])('%s in %s is at %s', async (kind, phase, step) => {
    const world = mockNetwork()
    const [past] = world.node.call('job.list', {}) as Job[]
    const job = { ...past, kind, phase, state: 'running' }
    const wrapper = await mountPart(JobProgress, { job, steps: true }, {}, world)
    const current = wrapper.find('[aria-current="step"]')
    expect(current.exists() ? current.text() : null).toBe(step)
    wrapper.unmount()
  })
})

describe('the menu of an app', () => {
  async function entries(world: World, slug: string, change: Partial<Instance> = {}) {
    const instance = { ...status(world, slug), ...change }
    const wrapper = await mountPart(InstanceMenu, { instance }, {}, world)
    await wrapper.get('button').trigger('keydown', { key: 'Enter' })
    await settle()
    const items = [...document.querySelectorAll<HTMLElement>('[role="menuitem"]')].map((one) => ({
      label: one.textContent?.trim(),
      disabled: one.hasAttribute('data-disabled'),
      pick: () => one.click(),
    }))
    return { wrapper, items }
  }

  it('offers the version before where there is one', async () => {
    const world = mockNetwork()
    const first = await entries(world, 'syncthing')
    expect(first.items.map(({ label }) => label)).toEqual([
      'Stop',
      'Restart',
      'Logs',
      'Store page',
      'Settings…',
      'Back to 2.0.10…',
      'Reinstall…',
      'Uninstall…',
    ])
    await expectAccessible()
    first.wrapper.unmount()
    document.body.innerHTML = ''
    const second = await entries(world, 'radicale')
    expect(second.items.some(({ label }) => label?.startsWith('Back to'))).toBe(false)
    second.wrapper.unmount()
  })

  it('changes nothing while something changes it', async () => {
    const { wrapper, items } = await entries(mockNetwork(), 'syncthing', { state: 'changing' })
    const open = items.filter(({ disabled }) => !disabled).map(({ label }) => label)
    expect(open).toEqual(['Logs', 'Store page'])
    wrapper.unmount()
  })

  it.each([
    ['Settings…', 'Settings of Syncthing'],
    ['Back to 2.0.10…', 'Back to version 2.0.10 of Syncthing?'],
    ['Reinstall…', 'Reinstall Syncthing?'],
  ])('opens %s', async (label, title) => {
    const { wrapper, items } = await entries(mockNetwork(), 'syncthing')
    items.find((one) => one.label === label)?.pick()
    await settle()
    expect(dialogText()).toContain(title)
    wrapper.unmount()
  })
})

describe('going back', () => {
  async function dialog(change: Partial<Instance['before']> = {}) {
    const world = mockNetwork()
    const instance = status(world, 'syncthing')
    const before = { ...instance.before, ...change }
    const wrapper = await mountPart(RollbackDialog, { instance, before, open: true }, {}, world)
    return { world, wrapper }
  }

  it('takes the data of that time, and says what becomes of the rest', async () => {
    const { world, wrapper } = await dialog()
    expect(dialogText()).toContain('What was written since is set aside on this node, not deleted.')
    await pressInDialog('Go back to 2.0.10')
    await pass(world, 10_000)
    expect(status(world, 'syncthing')).toMatchObject({
      version: '2.0.10',
      update: '2.0.11',
      before: { version: '2.0.11', hasData: true },
    })
    wrapper.unmount()
  })

  it('leaves the data as it is when told so', async () => {
    const { world, wrapper } = await dialog()
    await pressInDialog('With the data as it is')
    await pressInDialog('Go back to 2.0.10')
    await pass(world, 10_000)
    expect(status(world, 'syncthing').before).toMatchObject({ hasData: false })
    wrapper.unmount()
  })

  it('has no choice where there is no copy', async () => {
    const { world, wrapper } = await dialog({ hasData: false })
    expect(dialogText()).toContain('There is no copy of its data from that time')
    expect(document.querySelectorAll('[role="radio"]')).toHaveLength(0)
    await pressInDialog('Go back to 2.0.10')
    await pass(world, 10_000)
    expect(status(world, 'syncthing').before).toMatchObject({ hasData: false })
    wrapper.unmount()
  })

  it('stays open with the reason when the node refuses', async () => {
    const { world, wrapper } = await dialog()
    world.node.call('package.restart', { slug: 'syncthing' })
    await pressInDialog('Go back to 2.0.10')
    expect(dialogText()).toContain('Nothing was changed')
    expect(dialogText()).toContain('Another job works on Syncthing.')
    await expectAccessible()
    wrapper.unmount()
  })
})

describe('reinstalling', () => {
  it('says what stays, and begins', async () => {
    const world = mockNetwork()
    const instance = status(world, 'paperless')
    const wrapper = await mountPart(ReinstallDialog, { instance, open: true }, {}, world)
    expect(dialogText()).toContain('Its data, its settings and its secrets stay.')
    await pressInDialog('Reinstall')
    expect(newest(world)).toMatchObject({ kind: 'reinstall', name: 'Paperless' })
    await pass(world, 10_000)
    expect(status(world, 'paperless').state).toBe('stopped')
    wrapper.unmount()
  })
})
