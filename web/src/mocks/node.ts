/**
 * A pretended node: the API's methods over the mock catalogue, with a clock that the caller turns.
 * Shares the wire types with the real one. Knows no HTTP.
 */

import type { AdoptableList } from '../api/types/AdoptableList'
import type { AppCard } from '../api/types/AppCard'
import type { AppPage } from '../api/types/AppPage'
import type { BackupSchedule } from '../api/types/BackupSchedule'
import type { ConfigureParams } from '../api/types/ConfigureParams'
import type { Event } from '../api/types/Event'
import type { Instance } from '../api/types/Instance'
import type { InstanceList } from '../api/types/InstanceList'
import type { InstanceState } from '../api/types/InstanceState'
import type { InterfaceInfo } from '../api/types/InterfaceInfo'
import type { Job } from '../api/types/Job'
import type { JobKind } from '../api/types/JobKind'
import type { JobPhase } from '../api/types/JobPhase'
import type { LogLine } from '../api/types/LogLine'
import type { NodeStatus } from '../api/types/NodeStatus'
import type { Problem } from '../api/types/Problem'
import type { PublisherCard } from '../api/types/PublisherCard'
import type { SearchResult } from '../api/types/SearchResult'
import type { SearchSort } from '../api/types/SearchSort'
import type { StorageSet } from '../api/types/StorageSet'
import type { UpdateOffer } from '../api/types/UpdateOffer'
import { adoptable, migrationPlan } from './adopt.ts'
import { MockBackups } from './backups.ts'
import { MockOpinions, MockRefusal, UNPROVEN } from './opinions.ts'
import { MockSeeding } from './seeding.ts'
import { MockSettings } from './settings.ts'
import { MockStorage } from './storage.ts'
import { APPS, type MockApp, type MockPublisher, PUBLISHERS, RIGHTS } from './catalogue.ts'

const MB = 1_000_000
const DAY_MS = 86_400_000
const GONE_MS = 60_000
const RELEASE = 'b3a1f0c95d27e84461bb0e6f1d9c3a7752e0488f6ad913c20b7f5e1846d9a03c'
const RELEASE_BEFORE = '07d4e9b2c1583fa6e0a7749c2b6d8f315e90a4c7b8d2613f5a9ce074b1d8362e'

/** How an app is changed that is all here already. */
const ANEW: [JobPhase, number, number, string][] = [
  ['checking', 500, 20, 'Checking what the publisher signed'],
  ['preparing', 500, 40, 'Checking its units'],
  ['waiting', 1500, 100, 'Starting; waiting until it answers'],
]

/** Phases of a job: milliseconds, and the percent at which the phase ends. `fetching` takes as long as its bytes. */
const SCRIPTS: Record<JobKind, [JobPhase, number, number, string][]> = {
  install: [
    ['checking', 700, 5, 'Checking the publisher’s signature and this node'],
    ['fetching', 0, 78, 'Fetching from peers'],
    ['loading', 900, 86, 'Handing the image to podman'],
    ['preparing', 500, 89, 'Writing units'],
    ['starting', 600, 93, 'Starting containers'],
    ['waiting', 1200, 100, 'Waiting until the app answers'],
  ],
  uninstall: [
    ['stopping', 700, 60, 'Stopping containers'],
    ['removing', 500, 100, 'Removing units and containers'],
  ],
  purge: [
    ['stopping', 700, 50, 'Stopping containers'],
    ['removing', 900, 100, 'Removing units, containers and data'],
  ],
  start: [
    ['starting', 600, 50, 'Starting containers'],
    ['waiting', 700, 100, 'Waiting until the app answers'],
  ],
  stop: [['stopping', 800, 100, 'Stopping containers']],
  restart: [
    ['stopping', 600, 40, 'Stopping containers'],
    ['starting', 500, 70, 'Starting containers'],
    ['waiting', 600, 100, 'Waiting until the app answers'],
  ],
  update: [
    ['checking', 700, 5, 'Checking what the publisher signed'],
    ['fetching', 0, 50, 'Fetching from peers'],
    ['loading', 900, 65, 'Handing the image to podman'],
    ['preparing', 400, 68, 'Checking its units'],
    ['copying', 1200, 80, 'Copying its data, so that all can be taken back'],
    ['stopping', 500, 85, 'Stopping the version that runs'],
    ['waiting', 1500, 100, 'Starting; waiting until it answers'],
  ],
  rollback: ANEW,
  reinstall: ANEW,
  configure: ANEW,
  adopt: [
    ['checking', 500, 50, 'Checking what the publisher signed'],
    ['preparing', 300, 100, 'Claiming what runs here, as it is'],
  ],
  migrate: ANEW,
  unmigrate: ANEW,
  finish: [['checking', 400, 100, 'Removing the containers from before']],
  backup: [
    ['checking', 400, 5, 'Opening the repository'],
    ['copying', 900, 35, 'Copying its data while it runs'],
    ['stopping', 300, 40, 'Stopping it for a moment, to copy what changed'],
    ['waiting', 600, 50, 'Starting it again; waiting until it answers'],
    ['storing', 1500, 100, 'Storing the copy; the app runs'],
  ],
  restore: [
    ['checking', 500, 5, 'Checking what the publisher signed'],
    ['restoring', 1200, 75, 'Reading the backup'],
    ['waiting', 1200, 100, 'Starting; waiting until it answers'],
  ],
  verify: [
    ['checking', 800, 10, 'Checking that the repository is whole'],
    ['restoring', 900, 70, 'Reading the backup'],
    ['waiting', 1200, 100, 'Starting the backup apart; waiting until it answers'],
  ],
}

const ON_THE_WAY: Record<JobKind, InstanceState> = {
  install: 'installing',
  uninstall: 'removing',
  purge: 'removing',
  start: 'starting',
  stop: 'stopping',
  restart: 'starting',
  update: 'changing',
  rollback: 'changing',
  reinstall: 'changing',
  configure: 'changing',
  adopt: 'changing',
  migrate: 'changing',
  unmigrate: 'changing',
  finish: 'changing',
  backup: 'running',
  restore: 'changing',
  verify: 'running',
}

/** What an offer says of rights: the one waits for its owner, the other for nobody. */
const GAINING: Pick<UpdateOffer, 'diff' | 'kept' | 'notices' | 'byItself' | 'waits'> = {
  diff: { gained: [RIGHTS.device, RIGHTS.internet], lost: [RIGHTS.capability] },
  kept: [
    {
      container: 'app',
      kind: 'variable',
      name: 'TZ',
      yours: 'Europe/Berlin',
      before: 'Etc/UTC',
      now: 'Etc/UTC',
      isUsed: true,
    },
  ],
  notices: [],
  byItself: false,
  waits: [
    {
      kind: 'rightsGained',
      message: 'The new version may do 2 things that this one may not',
      hint: 'Read what it would gain, then decide yourself',
      details: [RIGHTS.device.text, RIGHTS.internet.text],
    },
  ],
}
const HARMLESS: typeof GAINING = {
  diff: { gained: [], lost: [] },
  kept: [],
  notices: [],
  byItself: true,
  waits: [],
}

function isChange(kind: JobKind): boolean {
  return ON_THE_WAY[kind] === 'changing' || kind === 'backup' || kind === 'verify'
}

function refuse(kind: string, message: string, hint: string | null = null): never {
  throw new MockRefusal({ kind, message, hint, details: [] })
}

interface RunningJob {
  job: Job
  app: MockApp
  step: number
  elapsedMs: number
  /** How the app was. */
  before: InstanceState
  /** What becomes of the app when the job succeeds. */
  change: (instance: Instance) => Instance
  /** Why the job fails in its last phase. */
  fails: Problem | null
}

export interface MockOptions {
  now?: number
  claimed?: boolean
  empty?: boolean
  /** The port on which installed apps answer. */
  appsPort?: number
  bytesPerSecond?: number
}

export class MockNode {
  readonly name = 'attic'
  readonly code = 'ACRE-LIME-4821'
  now: number
  claimed: boolean
  password = 'correct horse battery'
  /** Pretends that podman does not answer. */
  stale = false
  private readonly apps: MockApp[]
  private readonly instances = new Map<string, Instance>()
  private jobs: Job[] = []
  private readonly running: RunningJob[] = []
  private readonly opinions: MockOpinions
  private readonly seeding: MockSeeding
  private readonly settings = new MockSettings()
  readonly storage: MockStorage
  readonly backups = new MockBackups()
  private readonly listeners = new Set<(event: Event) => void>()
  private nextJob = 1
  private readonly appsPort: number
  private readonly bytesPerSecond: number

  constructor(options: MockOptions = {}) {
    this.now = options.now ?? Date.now()
    this.claimed = options.claimed ?? true
    this.appsPort = options.appsPort ?? 4481
    this.bytesPerSecond = options.bytesPerSecond ?? 14 * MB
    this.apps = options.empty ? [] : APPS
    this.opinions = new MockOpinions(this.now, (publisher) => this.publisherCard(publisher))
    this.seeding = new MockSeeding(() =>
      [...this.instances.values()].map(({ app, name }, index) => {
        const mb = this.apps.find((one) => one.slug === app.slug)?.mb ?? 0
        const sizeBytes = Math.round(mb * MB)
        const uploadedBytes = Math.round(sizeBytes * (index % 4) * 0.7)
        return { app, name, published: false, sizeBytes, uploadedBytes }
      }),
    )
    for (const app of this.apps) if (app.installed) this.instances.set(app.slug, this.seedInstance(app))
    this.storage = new MockStorage(() => this.stored(), this.now)
    const first = [...this.instances.values()][0]
    if (first) this.backups.add(first.app, first.version, this.now - DAY_MS)
    if (!options.empty) this.seedJobs()
  }

  listen(listener: (event: Event) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Answers one method. Throws {@link MockRefusal} for what the node would refuse, an error for what is not mocked. */
  call(method: string, params: Record<string, unknown>): unknown {
    switch (method) {
      case 'store.search':
        return this.search(params)
      case 'store.show':
        return this.show(String(params.publisher), String(params.slug))
      case 'package.install': {
        const app = params.app as { publisher: string; slug: string }
        return this.install(app.publisher, app.slug)
      }
      case 'package.uninstall':
        return this.operate(params.purge === true ? 'purge' : 'uninstall', String(params.slug))
      case 'package.update':
        return this.update(String(params.slug), params.withoutCopy === true)
      case 'package.rollback':
        return this.rollback(String(params.slug), params.keepData === true)
      case 'package.reinstall':
        return this.operate('reinstall', String(params.slug))
      case 'package.configure':
        // As the page sends it.
        return this.configure(params as unknown as ConfigureParams)
      case 'package.settings':
        return this.settingsOf(String(params.slug))
      case 'package.adoptable':
        return this.adoptable()
      case 'package.adopt': {
        const app = params.app as { publisher: string; slug: string }
        return this.adopt(app.publisher, app.slug)
      }
      case 'package.migration':
        return migrationPlan(String(params.slug))
      case 'package.migrate':
        return this.migrate('migrate', String(params.slug), true)
      case 'package.unmigrate':
        return this.migrate('unmigrate', String(params.slug), false)
      case 'package.finish':
        return this.migrate('finish', String(params.slug), null)
      case 'package.start':
      case 'package.stop':
      case 'package.restart':
        return this.operate(method.slice('package.'.length) as JobKind, String(params.slug))
      case 'package.list':
        return this.list()
      case 'package.status':
        return this.instance(String(params.slug))
      case 'package.logs':
        return { lines: this.logs(String(params.slug), params.container as string | null) }
      case 'job.list':
        return this.jobs
      case 'job.show':
        return this.jobs.find((job) => job.id === params.job) ?? refuse('notFound', 'There is no such job')
      case 'job.cancel':
        return this.cancel(String(params.job))
      case 'backup.list':
        return this.backups.page(typeof params.slug === 'string' ? params.slug : null)
      case 'backup.create':
        return this.backUp(String(params.slug))
      case 'backup.restore':
      case 'backup.verify':
        return this.ofBackup(method === 'backup.restore' ? 'restore' : 'verify', String(params.backup))
      case 'backup.remove':
        return this.backups.remove(String(params.backup))
      case 'backup.schedule': {
        const { app } = this.instance(String(params.slug))
        return this.backups.schedule(app, params.schedule as BackupSchedule | null, this.now)
      }
      case 'seeding.show':
        return this.seeding.page()
      case 'seeding.set':
        return this.seeding.set(params)
      case 'storage.show':
        return this.storage.page()
      case 'storage.fsck':
        return this.storage.check(params)
      case 'node.status':
        return this.status()
      default:
        return this.opinions.call(method, params)
    }
  }

  /** Lets time pass. */
  advance(ms: number): void {
    this.now += ms
    this.storage.advance(ms)
    for (const running of this.running.slice()) this.work(running, ms)
  }

  /** Sets of blobs: what is installed, the versions before, one that is published from here, and the store's pictures. */
  private stored(): StorageSet[] {
    const set = (app: MockApp, change: Partial<StorageSet>): StorageSet => {
      const publisher = this.publisher(app).did
      const { kind = 'app', version = app.version } = change
      return {
        set: `${kind}/${publisher}/${app.slug}/${version}`,
        kind,
        class: 'cache',
        app: { publisher, slug: app.slug },
        name: app.name,
        version,
        blobs: 9,
        sizeBytes: Math.round(app.mb * MB),
        complete: true,
        ...change,
      }
    }
    return this.apps.flatMap((app, index) => {
      const sets = [
        set(app, { kind: 'card', blobs: 3, sizeBytes: 40_000 + 7_000 * index, version: app.version }),
      ]
      const instance = this.instances.get(app.slug)
      if (instance?.app.publisher === this.publisher(app).did) {
        sets.push(set(app, { class: 'installed', version: instance.version }))
        if (index % 3 === 0) sets.push(set(app, { class: 'previous', version: '0.9.1' }))
        if (app.installedVersion) sets.push(set(app, { complete: false }))
      }
      if (index === 4) sets.push(set(app, { kind: 'release', class: 'publishing' }))
      return sets
    })
  }

  private ago(days: number): string {
    return new Date(this.now - days * DAY_MS).toISOString()
  }

  private publisher(app: MockApp): MockPublisher {
    return PUBLISHERS[app.publisher]
  }

  private key(app: MockApp): boolean {
    return this.instances.get(app.slug)?.app.publisher === this.publisher(app).did
  }

  private card(app: MockApp): AppCard {
    const publisher = this.publisher(app)
    return {
      app: { publisher: publisher.did, slug: app.slug },
      name: app.name,
      tagline: app.tagline,
      category: app.category,
      version: app.version,
      icon: app.art ? `/assets/${app.art}-${app.hue ?? 200}.svg` : null,
      downloadSizeBytes: Math.round(app.mb * MB),
      architectures: this.architectures(app),
      trust: this.trust(publisher),
      installed: this.key(app) ? (this.instances.get(app.slug)?.state ?? null) : null,
      sameNameAs: this.apps
        .filter((other) => other.slug === app.slug && other.publisher !== app.publisher)
        .map((other) => this.publisher(other).did),
      firstSeen: this.ago(app.firstSeenDays),
      announced: this.ago(app.announcedDays),
      stale: app.stale ?? false,
    }
  }

  private publisherCard(publisher: MockPublisher): PublisherCard {
    const { knownDays, notices, ...known } = publisher
    return {
      ...known,
      ...this.opinions.marks(publisher),
      trust: this.trust(publisher),
      firstSeen: this.ago(knownDays),
      notices: notices ?? [],
    }
  }

  private trust(publisher: MockPublisher) {
    return { points: publisher.reasons.reduce((sum, { points }) => sum + points, 0), band: publisher.band }
  }

  private search(params: Record<string, unknown>): SearchResult {
    const words = String(params.query ?? '')
      .toLowerCase()
      .split(/\s+/)
      .filter(Boolean)
    const found = this.apps.filter((app) => {
      const text = `${app.name} ${app.slug} ${app.tagline} ${app.category}`.toLowerCase()
      const rights = (app.rights ?? []).filter(({ weight }) => weight !== 'usual').map(({ kind }) => kind)
      const unwanted = (params.withoutRights ?? []) as string[]
      return (
        words.every((word) => text.includes(word)) &&
        this.trust(this.publisher(app)).points >= Number(params.pointsMin ?? 0) &&
        !unwanted.some((kind) => rights.includes(kind)) &&
        (!params.architecture || this.architectures(app).includes(String(params.architecture)))
      )
    })
    const inCategory = this.sorted(
      found.filter((app) => !params.category || app.category === params.category),
      params.sort as SearchSort | undefined,
    )
    const offset = Number(params.offset ?? 0)
    const counts = new Map<string, number>()
    for (const app of found) counts.set(app.category, (counts.get(app.category) ?? 0) + 1)
    return {
      apps: inCategory.slice(offset, offset + Number(params.limit ?? 48)).map((app) => this.card(app)),
      total: inCategory.length,
      totalIsAtLeast: false,
      hidden: 0,
      corrected: null,
      categories: [...counts]
        .map(([category, apps]) => ({ category, apps }))
        .sort((a, b) => a.category.localeCompare(b.category)),
    }
  }

  private architectures(app: MockApp): string[] {
    return app.mb > 300 ? ['amd64'] : ['amd64', 'arm64']
  }

  private sorted(apps: MockApp[], sort: SearchSort | undefined): MockApp[] {
    if (sort === 'name') return apps.toSorted((a, b) => a.name.localeCompare(b.name))
    if (sort === 'newest') return apps.toSorted((a, b) => a.announcedDays - b.announcedDays)
    const points = (app: MockApp) => this.trust(this.publisher(app)).points
    return sort === 'score' ? apps.toSorted((a, b) => points(b) - points(a)) : apps
  }

  private find(publisher: string, slug: string): MockApp {
    return (
      this.apps.find((app) => app.slug === slug && this.publisher(app).did === publisher) ??
      refuse(
        'notFound',
        'this node does not know that app',
        'It may have been withdrawn; look through the store',
      )
    )
  }

  private show(publisherDid: string, slug: string): AppPage {
    const app = this.find(publisherDid, slug)
    const publisher = this.publisher(app)
    const card = this.publisherCard(publisher)
    const mine = this.key(app)
    const present = mine ? 1 : app.mb > 300 ? 0.36 : 0
    return {
      card: this.card(app),
      descriptionHtml: `<p>${app.tagline}. Runs on your own machine, in a box of its own, and keeps what you put into it in one folder that you can back up.</p><h2>What you get</h2><ul><li>A page you open from My apps, on your own network</li><li>Updates as signed releases of this app</li><li>No account anywhere else</li></ul><p>See the <a href="https://example.org/manual">manual</a> for the first steps. Log in with <code>admin</code> and the password that the first start shows in the logs.</p>`,
      releaseNotesHtml: `<ul><li>Starts in half the time</li><li>Fixes a fault that kept large uploads from ending</li></ul>`,
      website: 'https://example.org',
      source: `https://example.org/source/${app.slug}`,
      license: 'MIT OR Apache-2.0',
      screenshots: Array.from(
        { length: app.screenshots ?? 0 },
        (_, n) => `/assets/shot-${app.hue ?? 200}-${n + 1}.svg`,
      ),
      rights: app.rights ?? [RIGHTS.data],
      needs: {
        downloadSizeBytes: Math.round(app.mb * MB),
        missingSizeBytes: Math.round(app.mb * MB * (1 - present)),
        memoryBytes: app.memoryMb * MB,
        diskFreeBytes: 184_000 * MB,
      },
      publisher: card,
      interfaces: this.interfaces(app, mine),
      release: app.unfetched
        ? null
        : {
            version: app.version,
            seq: 14,
            hash: RELEASE,
            created: this.ago(app.announcedDays),
          },
      problem: app.problem ?? null,
      warning: mine || publisher.pinned || this.trust(publisher).points >= 35 ? null : UNPROVEN,
      versions: [
        { version: app.version, seq: 14, seen: this.ago(app.announcedDays) },
        ...(app.installedVersion ? [{ version: app.installedVersion, seq: 13, seen: this.ago(40) }] : []),
        ...(app.firstSeenDays > 60 ? [{ version: `${app.version}-rc1`, seq: 12, seen: this.ago(58) }] : []),
      ],
      instance: mine ? this.withOffer(app, this.instances.get(app.slug) ?? null) : null,
    }
  }

  private withOffer(app: MockApp, instance: Instance | null): Instance | null {
    if (!instance?.update) return instance
    return {
      ...instance,
      offer: {
        version: app.version,
        seq: 14,
        release: RELEASE,
        announced: this.ago(app.announcedDays),
        ...(app.updateFails ? HARMLESS : GAINING),
      },
    }
  }

  private interfaces(app: MockApp, installed: boolean): InterfaceInfo[] {
    if (app.service) return [{ name: 'RPC', kind: 'api', port: installed ? 8332 : null, path: '/' }]
    return [{ name: app.name, kind: 'ui', port: installed ? this.appsPort : null, path: `/${app.slug}/` }]
  }

  private seedInstance(app: MockApp): Instance {
    const state = app.installed ?? 'running'
    const problems: Partial<Record<InstanceState, Problem>> = {
      unhealthy: {
        kind: 'unhealthy',
        message: 'its page has not answered for 3 minutes',
        hint: 'Look at its logs; a restart often helps',
        details: ['GET http://127.0.0.1:8096/health: connection timed out (5 of 5 tries)'],
      },
      failed: {
        kind: 'failed',
        message: 'it stopped by itself and did not come back after 5 tries',
        hint: 'Start Bitcoin Core first, then start this app again',
        details: ['exit status 1', 'Error: failed to connect to daemon RPC at 10.89.0.4:8332'],
      },
    }
    return {
      app: { publisher: this.publisher(app).did, slug: app.slug },
      name: app.name,
      version: app.installedVersion ?? app.version,
      icon: app.art ? `/assets/${app.art}-${app.hue ?? 200}.svg` : null,
      state,
      problem: problems[state] ?? null,
      containers: (app.containers ?? ['app']).map((name) => ({
        name,
        state,
        health: state === 'running' ? 'healthy' : null,
        restarts: state === 'failed' ? 5 : 0,
        since: state === 'running' ? this.ago(6) : null,
      })),
      interfaces: this.interfaces(app, true),
      installed: this.ago(Math.min(30, app.firstSeenDays)),
      update: app.installedVersion ? app.version : null,
      offer: null,
      job: null,
      before: app.versionBefore
        ? { version: app.versionBefore, release: RELEASE_BEFORE, hasData: true }
        : null,
      adoption: null,
      failedBackup: null,
      failedUpdate: app.updateFails
        ? { version: app.version, release: RELEASE, reason: app.updateFails.reason, at: this.ago(2) }
        : null,
      dataDir: `/home/archy/.local/share/archy/apps/${app.slug}/data`,
    }
  }

  private seedJobs(): void {
    const past = (
      minutes: number,
      seconds: number,
      slug: string,
      kind: JobKind,
      change: Partial<Job> = {},
    ) => {
      const app = this.apps.find((one) => one.slug === slug)
      if (!app) return
      const created = this.now - minutes * 60_000
      this.jobs.push({
        ...this.newJob(app, kind),
        state: 'succeeded',
        phase: 'done',
        percent: 100,
        message: '',
        cancellable: false,
        created: new Date(created).toISOString(),
        updated: new Date(created + seconds * 1000).toISOString(),
        ...change,
      })
    }
    const photos = this.apps.find((app) => app.slug === 'photoprism')
    past(14, 21, 'paperless', 'stop')
    past(62, 48, 'photoprism', 'install', {
      state: 'failed',
      percent: 41,
      problem: photos?.failsWith ?? null,
    })
    past(180, 9, 'jellyfin', 'restart')
    past(1_500, 73, 'radicale', 'install', { transfer: this.transfer(58 * MB, 1, 4000) })
    past(1_700, 12, 'immich', 'install', { state: 'cancelled', percent: 18 })
    past(4_400, 66, 'syncthing', 'install')
  }

  private newJob(app: MockApp, kind: JobKind): Job {
    const time = new Date(this.now).toISOString()
    return {
      id: `job-${this.nextJob++}`,
      kind,
      app: { publisher: this.publisher(app).did, slug: app.slug },
      name: app.name,
      state: 'running',
      phase: 'queued',
      percent: 0,
      message: 'Waiting for its turn',
      transfer: null,
      problem: null,
      cancellable: kind === 'install' || isChange(kind),
      created: time,
      updated: time,
    }
  }

  private begin(
    app: MockApp,
    kind: JobKind,
    { change = (instance: Instance) => instance, fails = null as Problem | null } = {},
  ): { job: string } {
    if (this.running.some((running) => running.app.slug === app.slug)) {
      refuse('busy', `another job works on ${app.name}`, 'Wait until it has ended, or cancel it')
    }
    const job = this.newJob(app, kind)
    this.jobs = [job, ...this.jobs]
    const before = this.instances.get(app.slug)?.state ?? 'running'
    this.running.push({ job, app, step: 0, elapsedMs: 0, before, change, fails })
    this.setState(app.slug, ON_THE_WAY[kind], job.id)
    this.tell({ type: 'job', data: job })
    return { job: job.id }
  }

  private install(publisher: string, slug: string): { job: string } {
    const app = this.find(publisher, slug)
    if (app.problem) throw new MockRefusal(app.problem)
    if (this.instances.has(slug)) refuse('slugTaken', `an app named ${slug} is installed already`)
    return this.begin(app, 'install')
  }

  private operate(kind: JobKind, slug: string): { job: string } {
    const instance = this.instance(slug)
    return this.begin(this.find(instance.app.publisher, slug), kind)
  }

  private update(slug: string, withoutCopy: boolean): { job: string } {
    const { app: ref, update, version } = this.instance(slug)
    const app = this.find(ref.publisher, slug)
    const { updateFails } = app
    return this.begin(app, 'update', {
      fails: updateFails
        ? {
            kind: 'takenBack',
            message: `version ${app.version} of ${slug} did not come up, so ${version} is back, with its data: ${updateFails.reason}`,
            hint: 'It runs as before; its last log lines are in the details, for the publisher',
            details: updateFails.log,
          }
        : null,
      change: (instance) => ({
        ...instance,
        version: update ?? version,
        update: null,
        before: { version, release: RELEASE_BEFORE, hasData: !withoutCopy },
        failedUpdate: null,
      }),
    })
  }

  private rollback(slug: string, keepData: boolean): { job: string } {
    const { app: ref, before, version } = this.instance(slug)
    const app = this.find(ref.publisher, slug)
    if (!before) refuse('noEarlier', 'There is no earlier version on this node to go back to')
    return this.begin(app, 'rollback', {
      change: (instance) => ({
        ...instance,
        version: before.version,
        update: before.version === app.version ? null : app.version,
        before: { version, release: RELEASE, hasData: !keepData },
        failedUpdate: null,
      }),
    })
  }

  private backUp(slug: string): { job: string } {
    const { app, version } = this.instance(slug)
    return this.begin(this.find(app.publisher, slug), 'backup', {
      change: (instance) => {
        this.backups.add(app, version, this.now)
        return instance
      },
    })
  }

  private ofBackup(kind: 'restore' | 'verify', id: string): { job: string } {
    const backup = this.backups.find(id) ?? refuse('notFound', `there is no backup ${id}`)
    const app = this.find(backup.app.publisher, backup.app.slug)
    return this.begin(app, kind, {
      change: (instance) => {
        if (kind === 'verify') this.backups.prove(id, this.now)
        return kind === 'restore' ? { ...instance, version: backup.version } : instance
      },
    })
  }

  private settingsOf(slug: string) {
    const { app, interfaces } = this.instance(slug)
    return this.settings.page(this.find(app.publisher, slug), interfaces[0]?.port ?? this.appsPort)
  }

  private configure(params: ConfigureParams): { job: string } {
    const { app } = this.instance(params.slug)
    this.settings.read(params)
    return this.begin(this.find(app.publisher, params.slug), 'configure', {
      fails: this.settings.conflict(params),
      change: (instance) => {
        this.settings.apply(params)
        const [moved] = params.ports
        const interfaces = instance.interfaces.map((one) => ({ ...one, port: moved?.hostPort ?? one.port }))
        return { ...instance, interfaces, failedUpdate: null }
      },
    })
  }

  /** An app that is neither installed nor refused; it runs here as somebody else made it. */
  private adoptee(): MockApp | undefined {
    return this.apps.find((app) => !app.installed && !app.problem && !app.unfetched)
  }

  private adoptable(): AdoptableList {
    const app = this.adoptee()
    if (!app) return { containers: [], candidates: [] }
    return adoptable(this.publisher(app).did, app.slug, app.name, this.instances.has(app.slug))
  }

  private adopt(publisher: string, slug: string): { job: string } {
    const app = this.find(publisher, slug)
    const adoption = { migrated: false, containers: { web: slug } }
    this.instances.set(slug, { ...this.seedInstance(app), adoption })
    return this.begin(app, 'adopt')
  }

  private migrate(kind: JobKind, slug: string, migrated: boolean | null): { job: string } {
    const { app } = this.instance(slug)
    return this.begin(this.find(app.publisher, slug), kind, {
      change: (instance) => ({
        ...instance,
        adoption: migrated === null || !instance.adoption ? null : { ...instance.adoption, migrated },
      }),
    })
  }

  private instance(slug: string): Instance {
    return this.instances.get(slug) ?? refuse('notFound', `no app named ${slug} is installed`)
  }

  private cancel(id: string): unknown {
    const running = this.running.find(({ job }) => job.id === id)
    if (!running) refuse('ended', 'that job has ended')
    if (!running.job.cancellable) refuse('tooLate', 'this step must finish')
    this.finish(running, 'cancelled')
    return running.job
  }

  private setState(slug: string, state: InstanceState, job: string | null): void {
    const instance = this.instances.get(slug)
    if (!instance) return
    const containers = instance.containers.map((container) => ({ ...container, state }))
    this.instances.set(slug, { ...instance, state, job, containers, problem: null })
    this.tell({ type: 'instances', data: this.list() })
  }

  private work(running: RunningJob, ms: number): void {
    const script = SCRIPTS[running.job.kind]
    const step = script[running.step]
    if (!step) return
    const [phase, fixedMs, end, message] = step
    const bytes = Math.round(running.app.mb * MB)
    const lengthMs = phase === 'fetching' ? Math.max(1500, (bytes / this.bytesPerSecond) * 1000) : fixedMs
    running.elapsedMs = Math.min(lengthMs, running.elapsedMs + ms)
    const share = running.elapsedMs / lengthMs
    const start = running.step === 0 ? 0 : (script[running.step - 1]?.[2] ?? 0)
    Object.assign(running.job, {
      phase,
      message,
      percent: start + (end - start) * share,
      transfer: phase === 'fetching' ? this.transfer(bytes, share, lengthMs) : running.job.transfer,
      cancellable: isChange(running.job.kind) || (running.job.kind === 'install' && running.step < 4),
      updated: new Date(this.now).toISOString(),
    })
    const { failsWith } = running.app
    if (failsWith && phase === 'fetching' && share > 0.5) return this.finish(running, 'failed', failsWith)
    if (running.fails && running.step === script.length - 1 && share > 0.5) {
      return this.finish(running, 'failed', running.fails)
    }
    if (share >= 1) {
      running.step += 1
      running.elapsedMs = 0
      if (running.step >= script.length) return this.finish(running, 'succeeded')
    }
    this.tell({ type: 'job', data: { ...running.job } })
  }

  private transfer(bytes: number, share: number, lengthMs: number): Job['transfer'] {
    const done = Math.round(bytes * share)
    const split = [0.46, 0.31, 0.15, 0.08].map((part) => Math.round(done * part))
    const providers = ['lan', 'origin', 'peer', 'peer'].map((kind, index) => ({
      id: ['3f9a1c7be20d44', 'c05d77ab91e2f8', '7f3c9a52d81b06', 'e19b4402ac7d35'][index] ?? '',
      kind,
      bytes: split[index] ?? 0,
    }))
    return {
      doneBytes: done,
      totalBytes: bytes,
      bytesPerSecond: Math.round((bytes / lengthMs) * 1000),
      secondsLeft: Math.ceil(((1 - share) * lengthMs) / 1000),
      wholeBytes: bytes + Math.round(bytes / 4),
      reusedBytes: Math.round(bytes / 4),
      providers,
    }
  }

  private finish(
    running: RunningJob,
    state: 'succeeded' | 'failed' | 'cancelled',
    problem: Problem | null = null,
  ): void {
    const { job, app } = running
    this.running.splice(this.running.indexOf(running), 1)
    Object.assign(job, {
      state,
      problem,
      phase: 'done',
      cancellable: false,
      transfer: job.transfer && { ...job.transfer, bytesPerSecond: 0, secondsLeft: null },
      percent: state === 'succeeded' ? 100 : job.percent,
      updated: new Date(this.now).toISOString(),
    })
    if (state === 'succeeded') {
      if (job.kind === 'install')
        this.instances.set(app.slug, this.seedInstance({ ...app, installed: 'running' }))
      if (job.kind === 'uninstall' || job.kind === 'purge') this.instances.delete(app.slug)
      if (job.kind === 'stop') this.setState(app.slug, 'stopped', null)
      if (isChange(job.kind)) this.settle(running)
      if (job.kind === 'start' || job.kind === 'restart') this.setState(app.slug, 'running', null)
    }
    if (state !== 'succeeded' && isChange(job.kind)) this.putBack(running, problem)
    this.tell({ type: 'job', data: { ...job } })
    this.tell({ type: 'instances', data: this.list() })
  }

  private settle({ app, before, change }: RunningJob): void {
    const instance = this.instances.get(app.slug)
    if (instance) this.instances.set(app.slug, change(instance))
    // A stopped app stays stopped.
    this.setState(app.slug, before === 'stopped' ? 'stopped' : 'running', null)
  }

  private putBack({ app, before }: RunningJob, problem: Problem | null): void {
    const instance = this.instances.get(app.slug)
    if (instance && problem?.kind === 'takenBack' && app.updateFails) {
      const failedUpdate = {
        version: app.version,
        release: RELEASE,
        reason: app.updateFails.reason,
        at: new Date(this.now).toISOString(),
      }
      this.instances.set(app.slug, { ...instance, failedUpdate })
    }
    this.setState(app.slug, before, null)
  }

  private list(): InstanceList {
    return {
      instances: [...this.instances.values()].sort((a, b) => a.name.localeCompare(b.name)),
      observed: new Date(this.stale ? this.now - 4 * GONE_MS : this.now).toISOString(),
      stale: this.stale,
    }
  }

  private logs(slug: string, container: string | null): LogLine[] {
    const instance = this.instance(slug)
    const texts = [
      'starting',
      'listening on 0.0.0.0:8080',
      'migrations: nothing to do',
      'GET / 200 3 ms',
      'GET /static/app.css 200 1 ms',
      'scheduled cleanup: removed 14 entries, 38 kB freed, next run in 3600 s',
      'WARN slow request: GET /search took 812 ms',
    ]
    return Array.from({ length: 60 }, (_, index) => ({
      at: new Date(this.now - (60 - index) * 7_300).toISOString(),
      container: instance.containers[index % instance.containers.length]?.name ?? 'app',
      text: texts[index % texts.length] ?? '',
    })).filter((line) => !container || line.container === container)
  }

  private status(): NodeStatus {
    return {
      name: this.name,
      version: '0.1.0',
      architecture: 'amd64',
      endpoint: {
        id: '3f9a1c7be20d44c05d77ab91e2f87f3c9a52d81b06e19b4402ac7d3589017bfe',
        addresses: ['192.168.1.20:11204', '[fd00::20]:11204'],
        relays: [],
      },
      relays: [
        {
          url: 'ws://192.168.1.4:8490',
          connected: true,
          lastEvent: new Date(this.now - 95_000).toISOString(),
          lastError: null,
        },
        { url: 'wss://relay.example.org', connected: true, lastEvent: this.ago(0.2), lastError: null },
        {
          url: 'wss://relay.example.net',
          connected: false,
          lastEvent: this.ago(3),
          lastError: 'connection refused; next try in 40 s',
        },
      ],
      ownRelay: null,
      lanPeers: 3,
      components: [
        { name: 'orchestrator', state: 'running', lastError: null },
        { name: 'swarm', state: 'running', lastError: null },
        { name: 'nostr', state: 'running', lastError: null },
        { name: 'catalog', state: 'running', lastError: null },
      ],
      catalogApps: this.apps.length,
      refused: [],
      diskFreeBytes: 184_000 * MB,
    }
  }

  private tell(event: Event): void {
    for (const listener of this.listeners) listener(event)
  }
}
