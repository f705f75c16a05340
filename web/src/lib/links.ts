/** Where things are opened. */

import type { AppRef } from '@/api/types/AppRef'
import type { InterfaceInfo } from '@/api/types/InterfaceInfo'

/** An app's interface answers on the host name under which this page was reached. */
export function interfaceUrl(info: InterfaceInfo, hostname: string = location.hostname): string | null {
  if (info.port === null) return null
  const path = info.path.startsWith('/') ? info.path : `/${info.path}`
  return `http://${hostname}:${info.port}${path}`
}

/** The interface that "Open" means: the first page for people that has a port. */
export function mainInterface(interfaces: readonly InterfaceInfo[]): InterfaceInfo | null {
  return interfaces.find((info) => info.kind === 'ui' && info.port !== null) ?? null
}

export function hasPage(interfaces: readonly InterfaceInfo[]): boolean {
  return interfaces.some((info) => info.kind === 'ui')
}

export function appRoute(app: AppRef) {
  return { name: 'app', params: { publisher: app.publisher, slug: app.slug } }
}

/** Where the person was going before they had to log in, from an address's `next`: only a path within this site. */
export function nextPath(query: Readonly<Record<string, unknown>>): string | null {
  const { next } = query
  return typeof next === 'string' && /^\/(?![/\\])/.test(next) ? next : null
}

/** Whether a publisher's link may be followed: only the web, never a script. */
export function isWebLink(url: string | null): url is string {
  return url !== null && /^https?:\/\//i.test(url)
}
