/** The names of everything in the query cache. */

import type { AppRef } from './types/AppRef'
import type { Filters } from '@/lib/filters'

export const keys = {
  session: ['session'] as const,
  search: ['store', 'search'] as const,
  searchFor: (query: string, category: string | null, filters: Filters) =>
    ['store', 'search', query, category, filters] as const,
  shelf: ['store', 'shelf'] as const,
  apps: ['store', 'app'] as const,
  app: (app: AppRef) => ['store', 'app', app.publisher, app.slug] as const,
  store: ['store'] as const,
  instances: ['instances'] as const,
  adoptable: ['adoptable'] as const,
  migration: (slug: string) => ['migration', slug] as const,
  settings: (slug: string) => ['settings', slug] as const,
  jobs: ['jobs'] as const,
  node: ['node'] as const,
  trusts: ['trust'] as const,
  trust: (publisher: string) => ['trust', publisher] as const,
  policy: ['policy'] as const,
  reviewers: ['reviewers'] as const,
  seeding: ['seeding'] as const,
  storage: ['storage'] as const,
  backups: ['backups'] as const,
  backupsOf: (slug: string) => ['backups', slug] as const,
}
