/** Containers that run on the mock's machine without it. */

import type { AdoptableList } from '../api/types/AdoptableList'
import type { ForeignContainer } from '../api/types/ForeignContainer'
import type { MigrationPlan } from '../api/types/MigrationPlan'

function container(name: string, change: Partial<ForeignContainer>): ForeignContainer {
  return {
    id: name.padEnd(64, '0'),
    name,
    image: `docker.io/library/${name}:latest`,
    state: 'running',
    since: '2026-11-01T08:00:00Z',
    origin: 'run',
    originName: null,
    originFile: null,
    restart: 'always',
    ports: ['8080:80/tcp'],
    mounts: [{ kind: 'volume', source: `${name}-data`, target: '/data', writable: true }],
    unclaimed: null,
    ...change,
  }
}

/** `publisher` and `slug` name the app that can be claimed, unless it is claimed already. */
export function adoptable(publisher: string, slug: string, name: string, claimed: boolean): AdoptableList {
  const unknown = 'No known app has a container of this name'
  const others = [
    container('old-cache', { origin: 'compose', originName: 'attic', unclaimed: unknown }),
    container('mirror', { origin: 'unit', originName: 'mirror.service', unclaimed: unknown }),
  ]
  if (claimed) return { containers: others, candidates: [] }
  return {
    containers: [container(slug, {}), ...others],
    candidates: [{ app: { publisher, slug }, name, containers: { web: slug }, missing: {}, hindrance: null }],
  }
}

export function migrationPlan(slug: string): MigrationPlan {
  return {
    slug,
    version: '1.0.0',
    items: [
      {
        id: 'web.right.NET_ADMIN',
        container: 'web',
        topic: 'right',
        effect: 'loses',
        words: 'it has the capability NET_ADMIN, which the app does not ask for',
      },
      {
        id: 'web.image.other',
        container: 'web',
        topic: 'image',
        effect: 'changes',
        words: 'the image that the app’s publisher signed runs instead',
      },
      {
        id: 'web.data./data',
        container: 'web',
        topic: 'data',
        effect: 'keeps',
        words: 'what is in /data is copied from the volume, which stays as it is',
      },
    ],
  }
}
