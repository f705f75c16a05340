/** Mounts parts and pages with everything around them, over a mock node instead of the network. */

import { QueryClient, VueQueryPlugin } from '@tanstack/vue-query'
import { flushPromises, mount, type VueWrapper } from '@vue/test-utils'
import axe from 'axe-core'
import { expect, vi } from 'vitest'
import { type Component, defineComponent, h } from 'vue'
import { createMemoryHistory, RouterView } from 'vue-router'
import { forgetSessionToken, keepSessionToken } from '@/api/token'
import { i18n } from '@/i18n'
import { answer, CSRF } from '@/mocks/api'
import { MockNode, type MockOptions } from '@/mocks/node'
import { makeRouter } from '@/router'

/** A fixed time, so that ages in the mock do not move. */
export const NOW = Date.parse('2026-11-21T12:00:00Z')

export interface World {
  node: MockNode
  client: QueryClient
  /** Requests in order, as `store.search` or `POST /session/login`. */
  calls: string[]
  /** Makes every request fail as if the node were gone. */
  unplug: () => void
}

/** Answers requests from a mock node. Anything that it does not know fails the test. */
export function mockNetwork(
  options: MockOptions & { loggedIn?: boolean; blocksCookies?: boolean } = {},
): World {
  const node = new MockNode({ now: NOW, ...options })
  let loggedIn = options.loggedIn ?? true
  if (loggedIn) keepSessionToken(CSRF)
  else forgetSessionToken()
  let gone = false
  const calls: string[] = []
  vi.stubGlobal('fetch', async (path: string, init: RequestInit = {}) => {
    if (gone) throw new TypeError('failed to fetch')
    const method = init.method ?? 'GET'
    const body = typeof init.body === 'string' ? init.body : ''
    calls.push(path === '/rpc/v1' ? (JSON.parse(body) as { method: string }).method : `${method} ${path}`)
    const csrf = new Headers(init.headers).get('X-Archy-CSRF')
    const reply = answer(node, { method, path, body, csrf, loggedIn }, (open) => {
      loggedIn = open && options.blocksCookies !== true
    })
    if (!reply) throw new Error(`unmocked request: ${method} ${path}`)
    return new Response(reply.body, { status: reply.status, headers: { 'Content-Type': reply.type } })
  })
  const client = new QueryClient({
    defaultOptions: { queries: { retry: false, staleTime: Infinity, networkMode: 'always' } },
  })
  return {
    node,
    client,
    calls,
    unplug: () => {
      gone = true
    },
  }
}

/** Mounts a part that has the router's pages in it, as the shell. */
export async function mountAt(root: Component, path: string, world: World): Promise<VueWrapper> {
  const { router } = makeRouter(world.client, createMemoryHistory())
  await router.push(path)
  const wrapper = mount(root, {
    attachTo: document.body,
    global: { plugins: [i18n, router, [VueQueryPlugin, { queryClient: world.client }]] },
  })
  await settle()
  return wrapper
}

/** Waits until no promise is on its way. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await flushPromises()
}

/** Mounts a page by its address. */
export async function mountPage(path: string, world: World): Promise<VueWrapper> {
  return mountAt(
    defineComponent(() => () => h('div', [h(RouterView)])),
    path,
    world,
  )
}

/** Mounts one part with its props and slots. */
export async function mountPart(
  part: Component,
  props: Record<string, unknown> = {},
  slots: Record<string, () => unknown> = {},
  world: World = mockNetwork(),
): Promise<VueWrapper> {
  return mountAt(
    defineComponent(() => () => h('div', [h(part, props, slots)])),
    '/nowhere/here',
    world,
  )
}

/** Fails with axe's own words if the document has a barrier. Colours need a real browser and are checked there. */
export async function expectAccessible(): Promise<void> {
  const { violations } = await axe.run(document.body, {
    rules: {
      'color-contrast': { enabled: false },
      region: { enabled: false },
      'landmark-one-main': { enabled: false },
    },
  })
  expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' | ')}`)).toEqual(
    [],
  )
}
