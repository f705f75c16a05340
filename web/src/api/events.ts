/** Follows `/events` and writes what it says into the query cache; knows whether the node is in reach. */

import type { QueryClient } from '@tanstack/vue-query'
import { readonly, ref } from 'vue'
import { keys } from './keys'
import type { Event as NodeEvent } from './types/Event'
import type { Job } from './types/Job'
import { putJob } from './queries/jobs'

export type Connection = 'connecting' | 'online' | 'lost'

/** Longest wait between two attempts, in milliseconds. */
const BACKOFF_MAX_MS = 15_000
/** A break shorter than this is not worth a person's attention, in milliseconds. */
const GRACE_MS = 1_500

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

function heard() {
  lastHeard.value = Date.now()
}

/** Follows the node until the returned function is called. `refused` tells that the node no longer knows us. */
export function followEvents(client: QueryClient, refused: () => void): () => void {
  let source: EventSource | null = null
  let retry: ReturnType<typeof setTimeout> | undefined
  let grace: ReturnType<typeof setTimeout> | undefined
  let attempts = 0
  let stopped = false

  function connect() {
    source = new EventSource('/events')
    source.addEventListener('open', () => {
      const wasLost = connection.value === 'lost' || attempts > 0
      attempts = 0
      clearTimeout(grace)
      grace = undefined
      connection.value = 'online'
      heard()
      if (wasLost) void client.invalidateQueries()
    })
    for (const type of ['job', 'instances', 'catalog', 'node', 'refetch'] as const) {
      source.addEventListener(type, (message) => {
        heard()
        const event = parseEvent(String(message.data))
        if (event) applyEvent(client, event)
      })
    }
    source.addEventListener('error', () => {
      attempts += 1
      grace ??= setTimeout(() => {
        connection.value = 'lost'
      }, GRACE_MS)
      if (source?.readyState !== EventSource.CLOSED || stopped) return
      refused()
      retry = setTimeout(connect, Math.min(BACKOFF_MAX_MS, 500 * 2 ** Math.min(attempts, 6)))
    })
  }

  connect()
  return () => {
    stopped = true
    clearTimeout(retry)
    clearTimeout(grace)
    source?.close()
    connection.value = 'connecting'
  }
}
