/** What the node gives away: shown with its reason, stopped and limited by its owner. */

import type { VueWrapper } from '@vue/test-utils'
import { describe, expect, it } from 'vitest'
import { button, press } from './act'
import { expectAccessible, mockNetwork, mountPage, settle, type World } from './mount'
import { putJob } from '@/api/queries/jobs'
import type { Job } from '@/api/types/Job'
import type { SeedingPage } from '@/api/types/SeedingPage'
import { amount, DAYS, hoursOf, policyOf, typedOf, wrongOf } from '@/lib/seeding'

const shown = (world: World) => world.node.call('seeding.show', {}) as SeedingPage

function field(wrapper: VueWrapper, label: string) {
  const labels = wrapper.findAll('label').filter((one) => one.text() === label)
  return wrapper.get<HTMLInputElement>(`[id="${labels[0]?.attributes('for')}"]`)
}

describe('what is typed', () => {
  const usual = shown(mockNetwork()).usual

  it('becomes numbers, or is said to be none', () => {
    const cases: [string, number | null | undefined][] = [
      ['', null],
      [' 2.5 ', 2_500_000],
      ['2,5', 2_500_000],
      ['0', undefined],
      ['-1', undefined],
      ['1e9', undefined],
      ['fast', undefined],
      ['999999999999', undefined],
    ]
    for (const [text, expected] of cases) expect(amount(text, 1_000_000), text).toBe(expected)
  })

  it('comes back as it was', () => {
    const policy = {
      ...usual,
      bytesPerSecond: 2_500_000,
      monthBytesMax: 200_000_000_000,
      ratioMax: 1.5,
      hours: [
        {
          rule: 'slow' as const,
          days: [...DAYS],
          from: '22:00',
          to: '07:00',
          bytesPerSecond: 200_000,
        },
      ],
    }
    expect(policyOf(typedOf(policy), usual)).toEqual(policy)
  })

  it('is kept back while it makes no sense', () => {
    const typed = typedOf(usual)
    expect(wrongOf({ ...typed, rate: '0', ratio: '20000' })).toEqual(['rate', 'ratio'])
    expect(wrongOf({ ...typed, metered: 'limited' })).toEqual(['meteredRate'])
    expect(policyOf({ ...typed, budget: 'much' }, usual)).toBeNull()
    const hours = { rule: 'only' as const, days: [...DAYS], from: '22:00', to: '07:00', rate: '' }
    expect(hoursOf(hours)).toMatchObject({ bytesPerSecond: null })
    expect(hoursOf({ ...hours, days: [] })).toBeNull()
    expect(hoursOf({ ...hours, to: '24:00' })).toBeNull()
    expect(hoursOf({ ...hours, rule: 'slow' })).toBeNull()
    expect(policyOf({ ...typed, hours: [{ ...hours, from: '' }] }, usual)).toBeNull()
  })
})

describe('seeding', () => {
  it('says what holds and why, pauses and goes on', async () => {
    const world = mockNetwork()
    const wrapper = await mountPage('/network', world)
    expect(wrapper.text()).toContain('Giving apps away as fast as the link allows')
    expect(wrapper.text()).toContain('124 GB of 200 GB given away this month')
    await press(wrapper, 'Pause')
    expect(wrapper.text()).toContain('Not giving apps away')
    expect(wrapper.text()).toContain('Paused until you resume it.')
    expect(wrapper.text()).toContain('What you publish from this node is given away all the same')
    expect(shown(world).policy).toMatchObject({ paused: true, pausedUntil: null })
    await expectAccessible()
    await press(wrapper, 'Resume')
    expect(shown(world).policy).toMatchObject({ paused: false, pausedUntil: null })
    await field(wrapper, 'For how long').setValue('hour')
    await press(wrapper, 'Pause')
    expect(Date.parse(shown(world).policy.pausedUntil ?? '')).toBeGreaterThan(Date.now())
    wrapper.unmount()
  })

  it('is limited by a form that says what is wrong', async () => {
    const world = mockNetwork()
    const wrapper = await mountPage('/network', world)
    const save = () => button(wrapper, 'Save').attributes('disabled')
    expect(save()).toBeDefined()
    await field(wrapper, 'At most, in MB/s').setValue('quick')
    expect(wrapper.text()).toContain('Write a number above 0.')
    expect(save()).toBeDefined()
    await field(wrapper, 'At most, in MB/s').setValue('2.5')
    await field(wrapper, 'In a month at most, in GB').setValue('100')
    await press(wrapper, 'Add hours')
    await wrapper.get('[aria-label="Sunday"]').trigger('click')
    expect(wrapper.get('[aria-label="Sunday"]').attributes('aria-pressed')).toBe('false')
    await expectAccessible()
    await wrapper.get('form').trigger('submit')
    await settle()
    expect(shown(world).policy).toMatchObject({
      bytesPerSecond: 2_500_000,
      monthBytesMax: 100_000_000_000,
      hours: [{ rule: 'only', days: DAYS.slice(0, 6), from: '22:00', to: '07:00', bytesPerSecond: null }],
    })
    expect(wrapper.text()).toContain('Monthly budget of 100 GB used up; seeding goes on on 1 December.')
    expect(save()).toBeDefined()
    await press(wrapper, 'Remove these hours')
    await wrapper.get('form').trigger('submit')
    await settle()
    expect(shown(world).policy.hours).toEqual([])
    wrapper.unmount()
  })

  it('leaves out the apps that are switched off', async () => {
    const world = mockNetwork()
    const wrapper = await mountPage('/network', world)
    const [first] = shown(world).apps
    if (!first) throw new Error('the mock lacks an app')
    await field(wrapper, first.name).trigger('click')
    await settle()
    expect(shown(world).policy.appsOff).toEqual([first.app])
    await field(wrapper, first.name).trigger('click')
    await settle()
    expect(shown(world).policy.appsOff).toEqual([])
    wrapper.unmount()
  })
})

describe('a download', () => {
  it('says what was here already and what others bore', async () => {
    const world = mockNetwork()
    const wrapper = await mountPage('/activity', world)
    const told = '73 MB, of which 15 MB were here already; 69 % from other nodes'
    expect(wrapper.text()).toContain(told)
    const job = (world.node.call('job.list', {}) as Job[]).find((one) => one.transfer)
    if (!job?.transfer) throw new Error('the mock lacks a download')
    putJob(world.client, {
      ...job,
      id: 'job-now',
      state: 'running',
      phase: 'fetching',
      transfer: { ...job.transfer, wholeBytes: 412_000_000, reusedBytes: 398_000_000 },
    })
    await settle()
    expect(wrapper.text()).toContain('412 MB, of which 398 MB were here already')
    expect(wrapper.text()).toContain('69 % from other nodes')
    wrapper.unmount()
  })
})
