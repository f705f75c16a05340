/** The five places of the main navigation. */

import { Activity, LayoutGrid, Network, Settings, Store } from '@lucide/vue'

export const NAV = [
  { name: 'store', icon: Store },
  { name: 'apps', icon: LayoutGrid },
  { name: 'activity', icon: Activity },
  { name: 'network', icon: Network },
  { name: 'settings', icon: Settings },
] as const
