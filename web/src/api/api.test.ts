import { QueryClient } from '@tanstack/vue-query'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { watch } from 'vue'
import { createMemoryHistory } from 'vue-router'
import { fetchSession, login, logout, rpc } from './client'
import { LockedError, ProblemError, problemFrom, UnreachableError } from './errors'
import { applyEvent, eventData, followEvents, parseEvent, useConnection } from './events'
import { keys } from './keys'
import { mergeJob } from './queries/jobs'
import { keepSessionToken } from './token'
import type { Job } from './types/Job'
import { detour, makeRouter } from '@/router'
import { mockNetwork } from '@/test/mount'

const job = (change: Partial<Job> = {}): Job => ({
  id: 'a',
  kind: 'install',
  app: { publisher: 'did:key:z', slug: 'hello' },
  name: 'Hello',
  state: 'running',
  phase: 'fetching',
  percent: 40,
  message: '',
  transfer: null,
  problem: null,
  cancellable: true,
  created: '2026-11-21T10:00:00Z',
  updated: '2026-11-21T10:00:00Z',
  ...change,
})

describe('the client', () => {
  it('sends the session’s token and returns the result', async () => {
    const { calls } = mockNetwork()
    await fetchSession()
    expect(await rpc('node.status', {})).toMatchObject({ name: 'attic' })
    expect(calls).toEqual(['GET /session', 'node.status'])
  })

  it('turns a refusal into its problem', async () => {
    mockNetwork()
    await fetchSession()
    const refusal = await rpc('package.stop', { slug: 'nothing' }).catch((error: unknown) => error)
    expect(refusal).toBeInstanceOf(ProblemError)
    expect((refusal as ProblemError).problem.message).toBe('no app named nothing is installed')
  })

  it('tells a lost session from a lost node', async () => {
    const world = mockNetwork({ loggedIn: false })
    await expect(rpc('node.status', {})).rejects.toBeInstanceOf(LockedError)
    world.unplug()
    await expect(rpc('node.status', {})).rejects.toBeInstanceOf(UnreachableError)
  })

  it('fails loudly on a request that nobody mocked', async () => {
    await expect(rpc('node.status', {})).rejects.toHaveProperty('cause.message', 'unmocked request: /rpc/v1')
  })

  it.each([
    [{ kind: 'diskFull', message: 'full' }, 'full'],
    [{ problem: { kind: 'x', message: 'inner' } }, 'inner'],
    [{ code: -32_000, message: 'plain' }, 'plain'],
    [{ code: -32_000, message: 'outer', data: { kind: 'x', message: 'data' } }, 'data'],
    ['  text  ', 'text'],
    [null, 'fallback'],
  ])('reads a problem out of %j', (value, message) => {
    expect(problemFrom(value, 'fallback').message).toBe(message)
  })
})

describe('jobs', () => {
  it('never lets progress go back', () => {
    expect(mergeJob([job()], job({ percent: 30 }))[0]?.percent).toBe(40)
    expect(mergeJob([job()], job({ percent: 50 }))[0]?.percent).toBe(50)
  })

  it('never lets an ended job run again', () => {
    const done = job({ state: 'succeeded', percent: 100 })
    expect(mergeJob([done], job())).toEqual([done])
  })

  it('puts the newest first', () => {
    expect(mergeJob([job()], job({ id: 'b' })).map(({ id }) => id)).toEqual(['b', 'a'])
  })
})

describe('events', () => {
  let client: QueryClient
  beforeEach(() => {
    client = new QueryClient()
  })

  it('writes into the cache', () => {
    applyEvent(client, { type: 'job', data: job() })
    expect(client.getQueryData(keys.jobs)).toEqual([job()])
    const list = { instances: [], observed: '2026-11-21T10:00:00Z', stale: false }
    applyEvent(client, { type: 'instances', data: list })
    expect(client.getQueryData(keys.instances)).toEqual(list)
  })

  it('asks anew for what only the node knows', () => {
    const asked = vi.spyOn(client, 'invalidateQueries')
    applyEvent(client, { type: 'catalog' })
    expect(asked).toHaveBeenCalledWith({ queryKey: keys.store })
    applyEvent(client, { type: 'refetch' })
    expect(asked).toHaveBeenLastCalledWith()
    applyEvent(client, { type: 'job', data: job({ state: 'failed' }) })
    expect(asked).toHaveBeenCalledWith({ queryKey: keys.instances })
  })

  it('ignores what it does not understand', () => {
    expect(parseEvent('{')).toBeNull()
    expect(parseEvent('"text"')).toBeNull()
    expect(parseEvent('{"type":"catalog"}')).toEqual({ type: 'catalog' })
  })

  it('are read however they are cut up', async () => {
    const bytes = new TextEncoder().encode(
      ': connected\nretry: 2000\n\nevent: node\ndata: {"name":"Dachgeschoß"}\n\ndata:a\ndata: b\n\ndata: unfinished',
    )
    for (const size of [1, 7, bytes.length]) {
      const stream = new ReadableStream<Uint8Array>({
        start(controller) {
          for (let at = 0; at < bytes.length; at += size) controller.enqueue(bytes.slice(at, at + size))
          controller.close()
        },
      })
      const read: string[] = []
      for await (const data of eventData(stream)) read.push(data)
      expect(read).toEqual(['{"name":"Dachgeschoß"}', 'a\nb'])
    }
  })

  it('come to who shows the token; says when the node is lost and when it is back, and then asks for everything', async () => {
    vi.useFakeTimers()
    keepSessionToken('token')
    const asked: { path: string; token: string | null; signal: AbortSignal | null | undefined }[] = []
    const streams: ReadableStreamDefaultController<Uint8Array>[] = []
    let status = 200
    vi.stubGlobal('fetch', async (path: string, init: RequestInit) => {
      asked.push({ path, token: new Headers(init.headers).get('X-Archy-CSRF'), signal: init.signal })
      if (status !== 200) return new Response(null, { status })
      return new Response(
        new ReadableStream({
          start: (controller) => {
            streams.push(controller)
          },
        }),
        { headers: { 'Content-Type': 'text/event-stream' } },
      )
    })
    const refused = vi.fn<() => void>()
    const invalidated = vi.spyOn(client, 'invalidateQueries')
    const { connection } = useConnection()
    const stop = followEvents(client, refused)

    await vi.advanceTimersByTimeAsync(0)
    expect(connection.value).toBe('online')
    expect(asked).toMatchObject([{ path: '/events', token: 'token' }])
    expect(invalidated).not.toHaveBeenCalled()
    streams[0]?.enqueue(new TextEncoder().encode(`data: ${JSON.stringify({ type: 'job', data: job() })}\n\n`))
    await vi.advanceTimersByTimeAsync(0)
    expect(client.getQueryData(keys.jobs)).toEqual([job()])

    // A break is mended without a word.
    const said: string[] = []
    const unwatch = watch(connection, (now) => said.push(now), { flush: 'sync' })
    streams[0]?.close()
    await vi.advanceTimersByTimeAsync(2_000)
    expect(asked).toHaveLength(2)
    expect(invalidated).toHaveBeenLastCalledWith()
    await vi.advanceTimersByTimeAsync(10_000)
    expect(said).toEqual([])
    unwatch()

    streams[1]?.close()
    await vi.advanceTimersByTimeAsync(1_000)
    expect(refused).not.toHaveBeenCalled()
    status = 401
    await vi.advanceTimersByTimeAsync(1_000)
    expect(refused).toHaveBeenCalledOnce()
    expect(connection.value).toBe('online')
    await vi.advanceTimersByTimeAsync(2_500)
    expect(connection.value).toBe('lost')
    status = 200
    await vi.advanceTimersByTimeAsync(4_000)
    expect(connection.value).toBe('online')
    const soFar = asked.length
    stop()
    expect(asked.at(-1)?.signal?.aborted).toBe(true)
    await vi.advanceTimersByTimeAsync(60_000)
    expect(asked).toHaveLength(soFar)
    vi.useRealTimers()
  })

  /** A node whose streams end when they are given up, as a browser's do. */
  function streaming(type = 'text/event-stream') {
    const streams: { bytes: ReadableStreamDefaultController<Uint8Array>; signal: AbortSignal | null }[] = []
    vi.stubGlobal('fetch', async (_: string, { signal }: { signal: AbortSignal }) => {
      const start = (bytes: ReadableStreamDefaultController<Uint8Array>) => {
        streams.push({ bytes, signal })
        signal.addEventListener('abort', () => bytes.error(signal.reason))
      }
      return new Response(new ReadableStream({ start }), { headers: { 'Content-Type': type } })
    })
    return streams
  }

  it('are asked for anew when nothing is heard, not even the node’s comments', async () => {
    vi.useFakeTimers()
    const streams = streaming()
    const refused = vi.fn<() => void>()
    const invalidated = vi.spyOn(client, 'invalidateQueries')
    const stop = followEvents(client, refused)
    for (let comments = 0; comments < 5; comments++) {
      await vi.advanceTimersByTimeAsync(15_000)
      streams[0]?.bytes.enqueue(new TextEncoder().encode(':\n\n'))
    }
    await vi.advanceTimersByTimeAsync(39_000)
    expect(streams.map(({ signal }) => signal?.aborted)).toEqual([false])
    await vi.advanceTimersByTimeAsync(1_000)
    expect(streams.map(({ signal }) => signal?.aborted)).toEqual([true])
    expect(invalidated).not.toHaveBeenCalled()
    await vi.advanceTimersByTimeAsync(2_000)
    expect(streams.map(({ signal }) => signal?.aborted)).toEqual([true, false])
    expect(invalidated).toHaveBeenCalledOnce()
    expect(refused).not.toHaveBeenCalled()
    stop()
    expect(streams.map(({ signal }) => signal?.aborted)).toEqual([true, true])
    vi.useRealTimers()
  })

  it('are not what another server answers in the node’s place', async () => {
    vi.useFakeTimers()
    const streams = streaming('text/html; charset=utf-8')
    const refused = vi.fn<() => void>()
    const invalidated = vi.spyOn(client, 'invalidateQueries')
    const { connection } = useConnection()
    const stop = followEvents(client, refused)
    await vi.advanceTimersByTimeAsync(6_000)
    expect(connection.value).toBe('lost')
    expect(streams.length).toBeGreaterThan(2)
    expect(streams.at(-1)?.signal?.aborted).toBe(true)
    expect(refused).not.toHaveBeenCalled()
    expect(invalidated).not.toHaveBeenCalled()
    stop()
    vi.useRealTimers()
  })

  it('let their stream go when nobody reads on', async () => {
    const cancel = vi.fn<() => void>()
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(new TextEncoder().encode('data: a\n\ndata: b\n\n')),
      cancel,
    })
    for await (const data of eventData(stream)) {
      expect(data).toBe('a')
      break
    }
    expect(cancel).toHaveBeenCalledOnce()
  })
})

describe('the session’s token', () => {
  const PASSWORD = 'correct horse battery'

  /** The client of a page that has just been loaded. */
  async function reloaded() {
    vi.resetModules()
    return await import('./client')
  }

  it('outlives a reload', async () => {
    mockNetwork({ loggedIn: false })
    expect((await fetchSession()).state).toBe('locked')
    await login({ password: PASSWORD })
    const client = await reloaded()
    expect((await client.fetchSession()).state).toBe('open')
    expect(await client.rpc('node.status', {})).toMatchObject({ name: 'attic' })
    await client.logout()
    expect(localStorage).toHaveLength(0)
    expect((await client.fetchSession()).state).toBe('locked')
  })

  it('lasts as long as the page where nothing can be stored', async () => {
    mockNetwork({ loggedIn: false })
    for (const method of ['getItem', 'setItem', 'removeItem'] as const) {
      vi.spyOn(Storage.prototype, method).mockImplementation(() => {
        throw new DOMException('denied', 'SecurityError')
      })
    }
    await login({ password: PASSWORD })
    expect((await fetchSession()).state).toBe('open')
    const client = await reloaded()
    expect((await client.fetchSession()).state).toBe('locked')
    await logout()
    expect((await fetchSession()).state).toBe('locked')
  })

  it('is that of the last log-in in any tab', async () => {
    const sent: (string | null)[] = []
    keepSessionToken('first')
    vi.stubGlobal('fetch', async (_: string, init: RequestInit) => {
      sent.push(new Headers(init.headers).get('X-Archy-CSRF'))
      return new Response('{"state":"open","csrf":null,"node":"attic"}')
    })
    await fetchSession()
    expect(localStorage).toHaveLength(1)
    localStorage.setItem(localStorage.key(0) ?? '', 'second')
    await fetchSession()
    expect(sent).toEqual(['first', 'second'])
  })
})

describe('the way in', () => {
  const session = (state: 'unclaimed' | 'locked' | 'open') => ({ state, csrf: null, node: 'attic' })
  const to = (name: string, fullPath = '/', hash = '', query = {}) => ({ name, fullPath, hash, query })

  it('leads to claim, to login and away from both', () => {
    expect(detour(session('unclaimed'), to('store', '/', '#code=x'))).toEqual({
      name: 'claim',
      hash: '#code=x',
    })
    expect(detour(session('unclaimed'), to('claim'))).toBeNull()
    expect(detour(session('locked'), to('apps', '/apps'))).toEqual({
      name: 'login',
      query: { next: '/apps' },
    })
    expect(detour(session('locked'), to('login', '/login'))).toBeNull()
    expect(detour(session('open'), to('login', '/login'))).toEqual({ name: 'store' })
    expect(detour(session('open'), to('apps', '/apps'))).toBeNull()
  })

  it('leads on to where one was, whichever tab logs in', () => {
    const loginFor = (next: string) => to('login', `/login?next=${next}`, '', { next })
    expect(detour(session('open'), loginFor('/apps'))).toBe('/apps')
    expect(detour(session('open'), loginFor('//evil.example'))).toEqual({ name: 'store' })
  })

  it('asks again when something happened while it asked', async () => {
    const answers: ((state: 'locked' | 'open') => void)[] = []
    vi.stubGlobal(
      'fetch',
      () =>
        new Promise((resolve) => {
          answers.push((state) => resolve(new Response(JSON.stringify(session(state)))))
        }),
    )
    const client = new QueryClient()
    client.setQueryData(keys.session, session('open'))
    const { router, reconsider } = makeRouter(client, createMemoryHistory())
    await router.push('/nowhere')
    const asked = reconsider()
    void reconsider()
    void reconsider()
    answers[0]?.('open')
    await vi.waitFor(() => expect(answers).toHaveLength(2))
    answers[1]?.('locked')
    await asked
    expect(router.currentRoute.value.fullPath).toBe('/login?next=/nowhere')
    expect(answers).toHaveLength(2)
  })
})
