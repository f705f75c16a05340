import { describe, expect, it, vi } from 'vitest'
import { button, follow, pass, press } from './act'
import { expectAccessible, mockNetwork, mountAt, mountPage, settle } from './mount'
import { keys } from '@/api/keys'
import { putJob } from '@/api/queries/jobs'
import { sessionQuery } from '@/api/queries/session'
import { forgetSessionToken, keepSessionToken } from '@/api/token'
import App from '@/App.vue'
import { CSRF } from '@/mocks/api'
import { PUBLISHERS } from '@/mocks/catalogue'

const app = (publisher: keyof typeof PUBLISHERS, slug: string) =>
  `/app/${encodeURIComponent(PUBLISHERS[publisher].did)}/${slug}`

describe('store', () => {
  it('shows rows, categories and all apps', async () => {
    const wrapper = await mountPage('/', mockNetwork())
    expect(wrapper.text()).toContain('New on your network')
    expect(wrapper.text()).toContain('26 apps, each checked on attic')
    expect(wrapper.findAll('a[data-grid-item]').length).toBeGreaterThan(26)
    await expectAccessible()
  })

  it('searches, and says when nothing fits', async () => {
    const world = mockNetwork()
    const found = await mountPage('/?q=calendars', world)
    expect(found.text()).toContain('1 app for “calendars”')
    found.unmount()
    const none = await mountPage('/?q=zzz', world)
    expect(none.text()).toContain('Nothing fits “zzz”')
    await expectAccessible()
  })

  it('filters by category from the address', async () => {
    const wrapper = await mountPage('/?category=bitcoin', mockNetwork())
    expect(wrapper.findAll('a[data-grid-item]')).toHaveLength(2)
    expect(wrapper.find('[aria-pressed="true"]').text()).toContain('Bitcoin')
  })

  it('has words for an empty catalogue and for a node that is gone', async () => {
    const empty = await mountPage('/', mockNetwork({ empty: true }))
    expect(empty.text()).toContain('No apps heard of yet')
    empty.unmount()
    const world = mockNetwork()
    await mountPage('/settings', world)
    world.unplug()
    const gone = await mountPage('/', world)
    expect(gone.text()).toContain('The store could not be read')
    expect(gone.text()).toContain('Try again')
  })
})

describe('an app', () => {
  it('shows its story, needs, rights and publisher', async () => {
    const wrapper = await mountPage(app('workshop', 'wordpress'), mockNetwork())
    for (const text of [
      'WordPress',
      'Can reach the internet',
      'Trusted',
      '264 of 412 MB',
      'What is new in 6.8.7',
    ]) {
      expect(wrapper.text()).toContain(text)
    }
    await expectAccessible()
  })

  it('installs with progress to the end and then opens', async () => {
    const world = mockNetwork()
    follow(world)
    const wrapper = await mountPage(app('workshop', 'hello'), world)
    await button(wrapper, 'Install').trigger('click')
    await settle()
    await pass(world, 1_200)
    expect(wrapper.text()).toMatch(/Fetching [\d.]+ of 2\.1 MB/)
    expect(wrapper.text()).toContain('Cancel')
    const half = Number(wrapper.find('[role="progressbar"]').attributes('aria-valuenow'))
    expect(half).toBeGreaterThan(5)
    await pass(world, 10_000)
    expect(wrapper.find('a[aria-label="Open Hello"]').attributes('href')).toBe('http://node.test:4481/hello/')
  })

  it('says why an install failed, and what to do', async () => {
    const world = mockNetwork()
    follow(world)
    const wrapper = await mountPage(app('lantern', 'photoprism'), world)
    await button(wrapper, 'Try again').trigger('click')
    await settle()
    await pass(world, 60_000)
    expect(wrapper.text()).toContain('Not installed. Nothing was left behind.')
    expect(wrapper.text()).toContain('A layer of the image is not what the publisher signed.')
    expect(wrapper.text()).toContain('Try again later: other peers may hold the right bytes.')
  })

  it('cancels', async () => {
    const world = mockNetwork()
    follow(world)
    const wrapper = await mountPage(app('workshop', 'wordpress'), world)
    await button(wrapper, 'Install').trigger('click')
    await settle()
    await pass(world, 2_000)
    await button(wrapper, 'Cancel').trigger('click')
    await settle()
    expect(wrapper.text()).toContain('Cancelled. Nothing was left behind.')
  })

  it('keeps progress where it was when older news arrives', async () => {
    const world = mockNetwork()
    follow(world)
    const wrapper = await mountPage(app('workshop', 'wordpress'), world)
    await button(wrapper, 'Install').trigger('click')
    await settle()
    await pass(world, 5_000)
    const [job] = world.node.call('job.list', {}) as Parameters<typeof putJob>[1][]
    if (!job) throw new Error('no job')
    const before = wrapper.find('[role="progressbar"]').attributes('aria-valuenow')
    putJob(world.client, { ...job, percent: 1 })
    await settle()
    expect(wrapper.find('[role="progressbar"]').attributes('aria-valuenow')).toBe(before)
  })

  it('offers no button for a refused publisher and points to the other one', async () => {
    const wrapper = await mountPage(app('twofaced', 'syncthing'), mockNetwork())
    expect(wrapper.text()).toContain('Cannot be installed now')
    expect(wrapper.text()).toContain('Show the one by z6Mkha…2doK')
    expect(wrapper.findAll('button').some((one) => one.text() === 'Install')).toBe(false)
    await expectAccessible()
  })

  it('waits for a release that is still on its way', async () => {
    const wrapper = await mountPage(app('newcomer', 'scrutiny'), mockNetwork())
    expect(button(wrapper, 'Install').attributes('disabled')).toBeDefined()
    expect(wrapper.text()).toContain('Its release is still being fetched')
  })
})

describe('my apps', () => {
  it('shows health in words, problems, and the quiet ones below', async () => {
    const wrapper = await mountPage('/apps', mockNetwork())
    for (const text of [
      'Not well',
      'Its page has not answered for 3 minutes.',
      'Stopped',
      '3.5.4 available',
    ]) {
      expect(wrapper.text()).toContain(text)
    }
    expect(wrapper.text()).toContain('Running in the background')
    await expectAccessible()
  })

  it('says how old a stale list is, and keeps it', async () => {
    const world = mockNetwork()
    world.node.stale = true
    const wrapper = await mountPage('/apps', world)
    expect(wrapper.text()).toContain('podman or systemd does not answer just now')
    expect(wrapper.findAll('article').length).toBeGreaterThan(3)
  })

  it('does not call it empty when the node has not seen its apps yet', async () => {
    const world = mockNetwork({ empty: true, now: 4 * 60_000 })
    world.node.stale = true
    const wrapper = await mountPage('/apps', world)
    expect(wrapper.text()).toContain('Your apps show up here as soon as it does.')
    expect(wrapper.text()).not.toContain('Nothing installed yet')
  })

  it('has words for nothing installed', async () => {
    const wrapper = await mountPage('/apps', mockNetwork({ empty: true }))
    expect(wrapper.text()).toContain('Nothing installed yet')
    await expectAccessible()
  })

  it('starts a stopped app', async () => {
    const world = mockNetwork()
    follow(world)
    const wrapper = await mountPage('/apps', world)
    await button(wrapper, 'Start').trigger('click')
    await pass(world, 3_000)
    expect(world.calls).toContain('package.start')
    expect(wrapper.find('a[aria-label="Open Paperless"]').exists()).toBe(true)
  })
})

describe('the other pages', () => {
  it.each([
    ['/apps/syncthing/logs', 'Logs of Syncthing', 'listening on 0.0.0.0:8080'],
    ['/activity', 'Activity', 'Could not install PhotoPrism'],
    ['/network', 'Network', 'connection refused; next try in 40 s'],
    ['/settings', 'Settings', 'You are logged in to attic.'],
    ['/no/such/page', 'There is nothing here', 'Go to the store'],
  ])('%s shows what it should', async (path, title, text) => {
    const wrapper = await mountPage(path, mockNetwork())
    expect(wrapper.text()).toContain(title)
    expect(wrapper.text()).toContain(text)
    await expectAccessible()
    wrapper.unmount()
  })

  it('claims a node', async () => {
    const world = mockNetwork({ claimed: false, loggedIn: false })
    const wrapper = await mountPage('/', world)
    expect(wrapper.text()).toContain('Make this node yours')
    const [code, password, repeat] = wrapper.findAll('input')
    await code?.setValue('WRONG-CODE')
    await password?.setValue('short')
    await wrapper.find('form').trigger('submit')
    expect(wrapper.text()).toContain('5 more characters to go.')
    await password?.setValue('a long enough password')
    await repeat?.setValue('another password')
    expect(wrapper.text()).toContain('The two passwords differ.')
    await repeat?.setValue('a long enough password')
    await wrapper.find('form').trigger('submit')
    await settle()
    expect(wrapper.text()).toContain('That is not right.')
    await expectAccessible()
    await code?.setValue(world.node.code)
    await wrapper.find('form').trigger('submit')
    // The page is code that is loaded first.
    await vi.waitFor(() => expect(wrapper.text()).toContain('Find something good to run'))
    await settle()
    wrapper.unmount()
  })

  it('logs in and goes where one was going', async () => {
    const world = mockNetwork({ loggedIn: false })
    const wrapper = await mountPage('/activity', world)
    expect(wrapper.text()).toContain('Welcome back')
    await wrapper.find('input').setValue('wrong')
    await wrapper.find('form').trigger('submit')
    await settle()
    expect(wrapper.find('[role="alert"]').text()).toContain('That is not right.')
    await wrapper.find('input').setValue(world.node.password)
    await wrapper.find('form').trigger('submit')
    // The page is code that is loaded first.
    await vi.waitFor(() => expect(wrapper.text()).toContain('What this node does and did for you'))
    await settle()
    wrapper.unmount()
  })

  it.each([
    ['log-in', true],
    ['claim', false],
  ])('says what to do when the browser keeps no cookie of a %s', async (_, claimed) => {
    const world = mockNetwork({ claimed, loggedIn: false, blocksCookies: true })
    const wrapper = await mountPage('/', world)
    const typed = claimed
      ? [world.node.password]
      : [world.node.code, ...Array<string>(2).fill('a long password')]
    for (const [index, text] of typed.entries()) await wrapper.findAll('input')[index]?.setValue(text)
    await wrapper.find('form').trigger('submit')
    await settle()
    const alert = wrapper.find('[role="alert"]').text()
    expect(alert).toContain('your browser does not send the node’s cookie')
    expect(alert).toContain('Allow cookies for this address')
    expect(localStorage).toHaveLength(0)
    wrapper.unmount()
  })

  it('keeps a log-in that an older answer comes after', async () => {
    const world = mockNetwork({ loggedIn: false })
    const wrapper = await mountPage('/activity', world)
    const node = fetch
    let late: ((answer: Response) => void) | undefined
    vi.stubGlobal('fetch', (path: string, init: RequestInit) => {
      if (path !== '/session' || late) return node(path, init)
      return new Promise((resolve) => {
        late = resolve
      })
    })
    const asked = world.client.fetchQuery({ ...sessionQuery, staleTime: 0 }).catch(() => null)
    await wrapper.find('input').setValue(world.node.password)
    await wrapper.find('form').trigger('submit')
    await vi.waitFor(() => expect(wrapper.text()).toContain('What this node does and did for you'))
    late?.(new Response('{"state":"locked","csrf":null,"node":"attic"}'))
    await asked
    await settle()
    expect(world.client.getQueryData(keys.session)).toMatchObject({ state: 'open' })
    wrapper.unmount()
  })

  it('hears no more events once it is logged out, and forgets what it knew', async () => {
    const world = mockNetwork()
    const node = fetch
    const streams: (AbortSignal | null | undefined)[] = []
    vi.stubGlobal('fetch', async (path: string, init: RequestInit) => {
      if (path !== '/events') return node(path, init)
      streams.push(init.signal)
      return new Response(new ReadableStream(), { headers: { 'Content-Type': 'text/event-stream' } })
    })
    const wrapper = await mountAt(App, '/settings', world)
    expect(streams.map((signal) => signal?.aborted)).toEqual([false])
    expect(world.client.getQueryData(keys.node)).toBeDefined()
    await press(wrapper, 'Log out')
    await vi.waitFor(() => expect(wrapper.text()).toContain('Welcome back'))
    expect(streams.map((signal) => signal?.aborted)).toEqual([true])
    expect(
      world.client
        .getQueryCache()
        .getAll()
        .map(({ queryKey }) => queryKey),
    ).toEqual([keys.session])
    wrapper.unmount()
  })

  it('asks to log in again where the token is gone, though the cookie is there', async () => {
    const world = mockNetwork()
    localStorage.clear()
    const wrapper = await mountPage('/apps', world)
    expect(wrapper.text()).toContain('Welcome back')
    expect(world.calls).toEqual(['GET /session'])
    wrapper.unmount()
  })

  it('goes in and out with the other tabs', async () => {
    const world = mockNetwork()
    localStorage.clear()
    const wrapper = await mountPage('/nowhere', world)
    expect(wrapper.text()).toContain('Welcome back')
    keepSessionToken(CSRF)
    const key = localStorage.key(0)
    window.dispatchEvent(new StorageEvent('storage', { key }))
    // The page is code that is loaded first.
    await vi.waitFor(() => expect(wrapper.text()).toContain('There is nothing here'))
    window.dispatchEvent(new StorageEvent('storage', { key: 'archy.theme' }))
    forgetSessionToken()
    window.dispatchEvent(new StorageEvent('storage', { key }))
    await vi.waitFor(() => expect(wrapper.text()).toContain('Welcome back'))
    await settle()
    wrapper.unmount()
  })
})
