/** An app's settings: what is sent of them, and what is said when they are refused. */

import { describe, expect, it } from 'vitest'
import { expectAccessible, mockNetwork, mountPart, settle, type World } from './mount'
import { applyEvent } from '@/api/events'
import type { ContainerSetting } from '@/api/types/ContainerSetting'
import type { Instance } from '@/api/types/Instance'
import type { Job } from '@/api/types/Job'
import type { Problem } from '@/api/types/Problem'
import type { SettingsPage } from '@/api/types/SettingsPage'
import AppSettingsDialog from '@/components/AppSettingsDialog.vue'
import {
  addVariable,
  editOf,
  enter,
  placeOf,
  restore,
  type TypedContainer,
  typedOf,
  wrongOf,
} from '@/lib/settings'

const NOTHING: ContainerSetting = { environment: {}, memory: null, cpus: null, pids: null }
const PAGE: SettingsPage = {
  ports: [
    { container: 'web', port: 8080, protocol: 'tcp', hostPort: 20_000 },
    { container: 'web', port: 53, protocol: 'udp', hostPort: 20_001 },
    { container: 'web', port: 53, protocol: 'tcp', hostPort: 20_002 },
  ],
  containers: [
    {
      name: 'web',
      set: { ...NOTHING, environment: { TZ: 'Europe/Berlin', EXTRA: '1' }, memory: '1G' },
      published: { environment: { TZ: 'Etc/UTC', MOTD: '' }, memory: '512M', cpus: null, pids: 100 },
    },
    { name: 'db', set: NOTHING, published: NOTHING },
  ],
}

function first(containers: TypedContainer[]): TypedContainer {
  const [container] = containers
  if (!container) throw new Error('no container')
  return container
}

function variable(container: TypedContainer, name: string) {
  const found = container.variables.find((one) => one.name === name)
  if (!found) throw new Error(`no ${name}`)
  return found
}

describe('what is typed', () => {
  it('is nothing to send while nothing is otherwise', () => {
    const typed = typedOf(PAGE)
    expect(editOf(typed)).toBeNull()
    const web = first(typed.containers)
    expect(variable(web, 'TZ')).toMatchObject({ text: 'Europe/Berlin', yours: true, published: 'Etc/UTC' })
    expect(variable(web, 'MOTD')).toMatchObject({ text: '', yours: false, published: '' })
    expect(web.limits.pids).toMatchObject({ text: '100', yours: false })
    enter(variable(web, 'MOTD'), 'hello', 'variable')
    enter(variable(web, 'MOTD'), '', 'variable')
    addVariable(web)
    expect(editOf(typed)).toBeNull()
  })

  it('is sent for the ports and containers that change, with all that is set of those', () => {
    const typed = typedOf(PAGE)
    const web = first(typed.containers)
    const [port] = typed.ports
    if (port) port.text = ' 9000 '
    enter(variable(web, 'MOTD'), 'hello', 'variable')
    enter(web.limits.pids, '200', 'pids')
    expect(editOf(typed)).toEqual({
      ports: [{ container: 'web', port: 8080, protocol: 'tcp', hostPort: 9000 }],
      containers: {
        web: {
          environment: { EXTRA: '1', MOTD: 'hello', TZ: 'Europe/Berlin' },
          memory: '1G',
          cpus: null,
          pids: 200,
        },
      },
    })
  })

  it('returns to what the publisher says', () => {
    const typed = typedOf(PAGE)
    const web = first(typed.containers)
    restore(variable(web, 'TZ'))
    web.variables = web.variables.filter(({ name }) => name !== 'EXTRA')
    enter(web.limits.memory, '', 'memory')
    expect(editOf(typed)).toEqual({ ports: [], containers: { web: NOTHING } })
    enter(web.limits.memory, '512M', 'memory')
    expect(web.limits.memory.yours).toBe(false)
  })

  it('is kept back while some of it makes no sense', () => {
    const limits: [keyof TypedContainer['limits'], string, boolean][] = [
      ['memory', '2G', true],
      ['memory', '2 G', false],
      ['memory', '2GB', false],
      ['cpus', '1.5', true],
      ['cpus', '0', false],
      ['cpus', '1,5', false],
      ['cpus', '1.2345', false],
      ['pids', '1', true],
      ['pids', '0', false],
      ['pids', '4194305', false],
    ]
    for (const [limit, text, fits] of limits) {
      const typed = typedOf(PAGE)
      enter(first(typed.containers).limits[limit], text, limit)
      expect([...wrongOf(typed)], `${limit} ${text}`).toEqual(fits ? [] : [[`web/${limit}`, limit]])
      expect(editOf(typed) !== null, `${limit} ${text}`).toBe(fits)
    }
    const names: [string, string | undefined][] = [
      ['LOG_LEVEL', undefined],
      ['1ST', 'name'],
      ['', 'name'],
      ['TZ', 'nameTwice'],
    ]
    for (const [name, wrong] of names) {
      const typed = typedOf(PAGE)
      const web = first(typed.containers)
      addVariable(web)
      const added = web.variables.at(-1)
      if (!added) throw new Error('nothing was added')
      Object.assign(added, { name, text: 'x' })
      expect(wrongOf(typed).get(added.place), name).toBe(wrong)
    }
    const ports: [string, string[]][] = [
      ['20001', []],
      ['20002', ['portTwice', 'portTwice']],
      ['0', ['port']],
      ['65536', ['port']],
      ['http', ['port']],
    ]
    for (const [text, wrong] of ports) {
      const typed = typedOf(PAGE)
      const [port] = typed.ports
      if (port) port.text = text
      expect([...wrongOf(typed).values()], text).toEqual(wrong)
    }
  })

  it('is found again in what the node says of it', () => {
    const typed = typedOf(PAGE)
    const web = first(typed.containers)
    const [port] = typed.ports
    if (port) port.text = '9000'
    enter(web.limits.cpus, '900', 'cpus')
    const cases: [string, string | null][] = [
      ['port 9000 is in use; choose another', 'web/8080/tcp'],
      ['port 90001 is in use; choose another', null],
      ['port 20001 is in use; choose another', null],
      ['"900" is not a number of CPUs', 'web/cpus'],
      ['TZ of container web is a secret that this node made; it cannot be set', 'web/environment/TZ'],
      ['TZ of container db is a secret that this node made; it cannot be set', null],
      ['the disk has 3 MB free', null],
    ]
    for (const [message, place] of cases) {
      const problem: Problem = { kind: 'invalid', message, hint: null, details: [] }
      expect(placeOf(problem, typed), message).toBe(place)
    }
  })
})

describe('the dialog', () => {
  const shown = (world: World, slug: string) => world.node.call('package.settings', { slug }) as SettingsPage
  const text = () => document.querySelector('[role="dialog"]')?.textContent ?? ''

  function field(label: string): HTMLInputElement {
    const found = [...document.querySelectorAll('label')].find((one) => one.textContent === label)
    const input = document.getElementById(found?.getAttribute('for') ?? '')
    if (!(input instanceof HTMLInputElement)) throw new Error(`there is no field "${label}"`)
    return input
  }

  async function write(label: string, value: string) {
    const input = field(label)
    input.value = value
    input.dispatchEvent(new Event('input'))
    await settle()
  }

  function button(name: string): HTMLButtonElement {
    const all = [...document.querySelectorAll<HTMLButtonElement>('[role="dialog"] button')]
    const found = all.find((one) => (one.getAttribute('aria-label') ?? one.textContent?.trim()) === name)
    if (!found) throw new Error(`there is no button "${name}"`)
    return found
  }

  async function press(name: string) {
    button(name).click()
    await settle()
  }

  /** What a field says below itself. */
  function note(label: string): string | undefined {
    return (
      document.getElementById(field(label).getAttribute('aria-describedby') ?? '')?.textContent ?? undefined
    )
  }

  async function pass(world: World, ms: number) {
    for (let done = 0; done < ms; done += 200) world.node.advance(200)
    await settle()
  }

  async function dialog(slug: string, said: (open: boolean) => void = () => {}) {
    const world = mockNetwork()
    world.node.listen((event) => applyEvent(world.client, event))
    const instance = world.node.call('package.status', { slug }) as Instance
    const props = { instance, open: true, 'onUpdate:open': said }
    const wrapper = await mountPart(AppSettingsDialog, props, {}, world)
    return { world, wrapper }
  }

  it('marks what is yours, shows the publisher’s value, and sends what changed', async () => {
    const closed: boolean[] = []
    const { world, wrapper } = await dialog('radicale', (open) => closed.push(open))
    expect(text()).toContain('Saving restarts the app.')
    expect(field('TZ').value).toBe('Europe/Berlin')
    expect(note('TZ')).toBe('The publisher says “Etc/UTC”.')
    expect(note('LOG_LEVEL')).toBeUndefined()
    expect(text().split('Yours')).toHaveLength(2)
    expect(button('Save and restart').disabled).toBe(true)
    await press('Back to the publisher’s value of TZ')
    expect(text()).not.toContain('Yours')
    await write('Memory', '1G')
    expect(note('Memory')).toBe('The publisher says “256M”.')
    await press('Add a variable')
    await write('Name', 'EXTRA')
    await write('Value', 'one two')
    await expectAccessible()
    await press('Save and restart')
    expect((world.node.call('job.list', {}) as Job[])[0]).toMatchObject({
      kind: 'configure',
      state: 'running',
    })
    await pass(world, 200)
    expect(text()).toContain('Checking signatures')
    await pass(world, 5_000)
    expect(closed).toEqual([false])
    expect(shown(world, 'radicale').containers[0]?.set).toEqual({
      environment: { EXTRA: 'one two' },
      memory: '1G',
      cpus: null,
      pids: null,
    })
    wrapper.unmount()
  })

  it('shows at its place what the node cannot read', async () => {
    const { world, wrapper } = await dialog('radicale')
    await write('Memory', 'much')
    expect(note('Memory')).toBe('Write a whole number and K, M, G or T, as in 512M.')
    expect(button('Save and restart').disabled).toBe(true)
    // What the page takes for a size and the node does not.
    await write('Memory', '9999999T')
    await press('Save and restart')
    expect(note('Memory')).toContain('"9999999T" is not a size')
    expect(document.activeElement).toBe(field('Memory'))
    expect(text()).not.toContain('Not saved')
    await expectAccessible()
    await write('Memory', '1G')
    expect(note('Memory')).toBe('The publisher says “256M”.')
    expect(world.calls.filter((call) => call === 'package.configure')).toHaveLength(1)
    wrapper.unmount()
  })

  it('shows at its place what the job found wrong', async () => {
    const { world, wrapper } = await dialog('radicale')
    await write('app: 8080/tcp', '8480')
    await press('Save and restart')
    await pass(world, 5_000)
    expect(note('app: 8080/tcp')).toBe(
      'Port 8480 is in use; choose another. Stop what uses the port, then try again.',
    )
    expect(field('app: 8080/tcp').getAttribute('aria-invalid')).toBe('true')
    await write('app: 8080/tcp', '9000')
    await press('Save and restart')
    await pass(world, 5_000)
    expect(shown(world, 'radicale').ports[0]?.hostPort).toBe(9000)
    expect(world.node.call('package.status', { slug: 'radicale' })).toMatchObject({
      interfaces: [{ port: 9000 }],
    })
    wrapper.unmount()
  })

  it('says below the form what belongs to no field', async () => {
    const { world, wrapper } = await dialog('radicale')
    world.node.call('package.restart', { slug: 'radicale' })
    await write('LOG_LEVEL', 'debug')
    await press('Save and restart')
    expect(text()).toContain('Not saved')
    expect(text()).toContain('Another job works on Radicale.')
    wrapper.unmount()
  })

  it('says that a stopped app stays so', async () => {
    const { wrapper } = await dialog('paperless')
    expect(text()).toContain('The app is stopped and stays so.')
    expect(button('Save').disabled).toBe(true)
    wrapper.unmount()
  })

  it('has words for settings that cannot be read, and for none', async () => {
    const world = mockNetwork()
    const instance = world.node.call('package.status', { slug: 'radicale' }) as Instance
    const call = world.node.call.bind(world.node)
    world.node.call = (method, params) =>
      method === 'package.settings' ? { ports: [], containers: [] } : call(method, params)
    const empty = await mountPart(AppSettingsDialog, { instance, open: true }, {}, world)
    expect(text()).toContain('This app has nothing to set.')
    empty.unmount()
    world.node.call = call
    world.node.call('package.uninstall', { slug: 'radicale' })
    await pass(world, 5_000)
    const gone = await mountPart(AppSettingsDialog, { instance, open: true }, {}, world)
    expect(text()).toContain('Its settings could not be read')
    await expectAccessible()
    gone.unmount()
  })
})
