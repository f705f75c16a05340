import { QueryClient } from '@tanstack/vue-query'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { fetchSession, rpc } from './client'
import { LockedError, ProblemError, problemFrom, UnreachableError } from './errors'
import { applyEvent, followEvents, parseEvent, useConnection } from './events'
import { keys } from './keys'
import { mergeJob } from './queries/jobs'
import type { Job } from './types/Job'
import { detour } from '@/router'
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

  it('says when the node is lost and when it is back, and then asks for everything', () => {
    vi.useFakeTimers()
    class Source extends EventTarget {
      static readonly CLOSED = 2
      static last: Source | null = null
      readyState = 0
      constructor() {
        super()
        Source.last = this
      }
      close() {}
    }
    vi.stubGlobal('EventSource', Source)
    const refused = vi.fn<() => void>()
    const asked = vi.spyOn(client, 'invalidateQueries')
    const { connection } = useConnection()
    const stop = followEvents(client, refused)

    Source.last?.dispatchEvent(new Event('open'))
    expect(connection.value).toBe('online')
    expect(asked).not.toHaveBeenCalled()

    const first = Source.last
    if (first) first.readyState = Source.CLOSED
    first?.dispatchEvent(new Event('error'))
    expect(connection.value).toBe('online')
    expect(refused).toHaveBeenCalledOnce()
    vi.advanceTimersByTime(3_000)
    expect(connection.value).toBe('lost')
    expect(Source.last).not.toBe(first)

    Source.last?.dispatchEvent(new Event('open'))
    expect(connection.value).toBe('online')
    expect(asked).toHaveBeenCalledOnce()
    stop()
    vi.useRealTimers()
  })
})

describe('the way in', () => {
  const session = (state: 'unclaimed' | 'locked' | 'open') => ({ state, csrf: null, node: 'attic' })
  const to = (name: string, fullPath = '/', hash = '') => ({ name, fullPath, hash })

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
})
