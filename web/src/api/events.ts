/** Follows `/events` and writes what it says into the query cache; knows whether the node is in reach. */

import type { QueryClient } from '@tanstack/vue-query'
import { readonly, ref } from 'vue'
import { openEvents } from './client'
import { keys } from './keys'
import type { Event as NodeEvent } from './types/Event'
import type { Job } from './types/Job'
import { putJob } from './queries/jobs'

export type Connection = 'connecting' | 'online' | 'lost'

/** Wait before a stream that broke off is opened again, in milliseconds. */
const RETRY_MS = 2_000
/** Longest wait between two attempts that the node refused, in milliseconds. */
const BACKOFF_MAX_MS = 15_000
/** A break shorter than this is not worth a person's attention, in milliseconds: the next attempt has its chance. */
const GRACE_MS = 2 * RETRY_MS
/**
 * A stream without a byte for so long has nobody at its other end, in milliseconds: a laptop that slept, a router that forgot.
 * The node sends a comment every 15 s (`node/src/api/events.rs`).
 */
const SILENCE_MS_MAX = 40_000

const connection = ref<Connection>('connecting')
const lastHeard = ref<number | null>(null)

export function useConnection() {
  return { connection: readonly(connection), lastHeard: readonly(lastHeard) }
}

export function parseEvent(data: string): NodeEvent | null {
  try {
    const value: unknown = JSON.parse(data)
    return typeof value === 'object' && value !== null && 'type' in value ? (value as NodeEvent) : null
  } catch {
    return null
  }
}

function ended(job: Job): boolean {
  return job.state === 'succeeded' || job.state === 'failed' || job.state === 'cancelled'
}

/** Applies one event to the cache. */
export function applyEvent(client: QueryClient, event: NodeEvent): void {
  switch (event.type) {
    case 'job':
      putJob(client, event.data)
      if (ended(event.data)) {
        void client.invalidateQueries({ queryKey: keys.instances })
        void client.invalidateQueries({ queryKey: keys.store })
        void client.invalidateQueries({ queryKey: keys.storage })
        void client.invalidateQueries({ queryKey: keys.backups })
      }
      break
    case 'instances':
      client.setQueryData(keys.instances, event.data)
      void client.invalidateQueries({ queryKey: keys.store })
      break
    case 'catalog':
      void client.invalidateQueries({ queryKey: keys.store })
      break
    case 'node':
      client.setQueryData(keys.node, event.data)
      break
    case 'refetch':
      void client.invalidateQueries()
      break
  }
}

/**
 * Gives the data of each server-sent event (HTML Standard §9.2.6) of a stream whose lines end in LF, as the node’s do.
 * Their names are in the data too. `arrived` is called for whatever arrives, comments too; the stream is let go at the end.
 */
export async function* eventData(
  stream: ReadableStream<Uint8Array>,
  arrived: () => void = () => {},
): AsyncGenerator<string> {
  const reader = stream.getReader()
  const decoder = new TextDecoder()
  let rest = ''
  let data: string[] = []
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      arrived()
      const lines = (rest + decoder.decode(value, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''))
        if (line !== '' || data.length === 0) continue
        yield data.join('\n')
        data = []
      }
    }
  } finally {
    // One that broke off has nothing left to let go.
    await reader.cancel().catch(() => {})
  }
}

function isEventStream(response: Response): boolean {
  return /^text\/event-stream\b/i.test(response.headers.get('Content-Type') ?? '')
}

function heard() {
  lastHeard.value = Date.now()
}

/** Follows the node until the returned function is called. `refused` tells that the node no longer knows us. */
export function followEvents(client: QueryClient, refused: () => void): () => void {
  let stopped = false
  let stream = new AbortController()
  let silence: ReturnType<typeof setTimeout> | undefined
  let retry: ReturnType<typeof setTimeout> | undefined
  let grace: ReturnType<typeof setTimeout> | undefined
  let attempts = 0

  function opened() {
    const wasLost = connection.value === 'lost' || attempts > 0
    attempts = 0
    clearTimeout(grace)
    grace = undefined
    connection.value = 'online'
    heard()
    if (wasLost) void client.invalidateQueries()
  }

  function expectMore() {
    clearTimeout(silence)
    silence = setTimeout(() => stream.abort(), SILENCE_MS_MAX)
  }

  /** Follows one stream to its end; `false` when the node did not open it. */
  async function listen(): Promise<boolean> {
    stream = new AbortController()
    expectMore()
    const response = await openEvents(stream.signal)
    if (stopped) return true
    if (!response.ok || response.body === null) return false
    // Somebody else's answer, as a proxy's whose node is away.
    if (!isEventStream(response)) {
      stream.abort()
      return true
    }
    opened()
    const arrived = () => {
      expectMore()
      heard()
    }
    for await (const data of eventData(response.body, arrived)) {
      if (stopped) break
      const event = parseEvent(data)
      if (event) applyEvent(client, event)
    }
    return true
  }

  async function connect() {
    // A stream that breaks off, or cannot be asked for, is silence: no word of the node's.
    const silent = await listen().catch(() => true)
    clearTimeout(silence)
    if (stopped) return
    attempts += 1
    grace ??= setTimeout(() => {
      connection.value = 'lost'
    }, GRACE_MS)
    if (!silent) refused()
    const wait = silent ? RETRY_MS : Math.min(BACKOFF_MAX_MS, 500 * 2 ** Math.min(attempts, 6))
    retry = setTimeout(() => void connect(), wait)
  }

  void connect()
  return () => {
    stopped = true
    stream.abort()
    clearTimeout(silence)
    clearTimeout(retry)
    clearTimeout(grace)
    connection.value = 'connecting'
  }
}
