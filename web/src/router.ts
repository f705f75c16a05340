import type { QueryClient } from '@tanstack/vue-query'
import {
  createRouter,
  createWebHistory,
  type RouteLocationNormalizedLoaded,
  type RouteRecordRaw,
  type RouterHistory,
} from 'vue-router'
import { LockedError } from './api/errors'
import { sessionQuery } from './api/queries/session'
import { onSessionElsewhere } from './api/token'
import type { Session } from './api/types/Session'
import { nextPath } from './lib/links'

declare module 'vue-router' {
  interface RouteMeta {
    /** Reachable without being logged in. */
    open?: boolean
    /** Which item of the navigation this page belongs to, when not its own. */
    nav?: string
  }
}

export const routes: RouteRecordRaw[] = [
  { path: '/', name: 'store', component: () => import('./pages/StorePage.vue') },
  {
    path: '/app/:publisher/:slug',
    name: 'app',
    component: () => import('./pages/AppPage.vue'),
    props: true,
    meta: { nav: 'store' },
  },
  { path: '/apps', name: 'apps', component: () => import('./pages/AppsPage.vue') },
  {
    path: '/apps/:slug/logs',
    name: 'logs',
    component: () => import('./pages/LogsPage.vue'),
    props: true,
    meta: { nav: 'apps' },
  },
  { path: '/activity', name: 'activity', component: () => import('./pages/ActivityPage.vue') },
  { path: '/network', name: 'network', component: () => import('./pages/NetworkPage.vue') },
  { path: '/settings', name: 'settings', component: () => import('./pages/SettingsPage.vue') },
  { path: '/claim', name: 'claim', component: () => import('./pages/ClaimPage.vue'), meta: { open: true } },
  { path: '/login', name: 'login', component: () => import('./pages/LoginPage.vue'), meta: { open: true } },
  { path: '/:rest(.*)*', name: 'notFound', component: () => import('./pages/NotFoundPage.vue') },
]

/** Where someone in this state must go instead of `to`; `null` when `to` is right. */
export function detour(
  session: Session,
  to: Pick<RouteLocationNormalizedLoaded, 'name' | 'fullPath' | 'hash' | 'query'>,
) {
  if (session.state === 'unclaimed') return to.name === 'claim' ? null : { name: 'claim', hash: to.hash }
  if (session.state === 'locked') {
    if (to.name === 'login') return null
    const next = to.name === 'claim' || to.fullPath === '/' ? undefined : to.fullPath
    return { name: 'login', query: { next } }
  }
  if (to.name === 'login') return nextPath(to.query) ?? { name: 'store' }
  return to.name === 'claim' ? { name: 'store' } : null
}

export function makeRouter(client: QueryClient, history: RouterHistory = createWebHistory()) {
  const router = createRouter({
    history,
    routes,
    scrollBehavior: (to, from, saved) => saved ?? (to.path === from.path ? false : { top: 0 }),
  })
  router.beforeEach(async (to) => {
    let session: Session
    try {
      session = await client.ensureQueryData(sessionQuery)
    } catch {
      // The shell shows that the node does not answer, and asks again.
      return true
    }
    return detour(session, to) ?? true
  })
  // A session that ended anywhere shows up as a locked answer to some question.
  client.getQueryCache().subscribe(({ type, query }) => {
    if (type !== 'updated' || !(query.state.error instanceof LockedError)) return
    if (query.queryKey[0] === 'session') return
    void reconsider()
  })

  onSessionElsewhere(() => void reconsider())

  async function askAndGo() {
    try {
      const session = await client.fetchQuery({ ...sessionQuery, staleTime: 0 })
      const where = detour(session, router.currentRoute.value)
      if (where) await router.replace(where)
    } catch {
      // Out of reach is shown by the shell.
    }
  }

  let asking = false
  /** There is a cause that the answer on its way may be older than. */
  let askAgain = false
  async function reconsider() {
    askAgain = true
    if (asking) return
    asking = true
    while (askAgain) {
      askAgain = false
      await askAndGo()
    }
    asking = false
  }

  return { router, reconsider }
}
