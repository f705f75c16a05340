/** Every part of the UI, in the states that matter, has no barrier. A part that is missing here fails. */

import { Package } from '@lucide/vue'
import { describe, expect, it } from 'vitest'
import type { Component } from 'vue'
import type { AppPage } from '@/api/types/AppPage'
import type { BackupPage } from '@/api/types/BackupPage'
import type { BadBlob } from '@/api/types/BadBlob'
import type { Instance } from '@/api/types/Instance'
import type { InstanceList } from '@/api/types/InstanceList'
import type { Job } from '@/api/types/Job'
import type { Problem } from '@/api/types/Problem'
import type { FailedUpdate } from '@/api/types/FailedUpdate'
import type { SearchResult } from '@/api/types/SearchResult'
import type { SeedingPage } from '@/api/types/SeedingPage'
import type { SettingsPage } from '@/api/types/SettingsPage'
import type { StoragePage } from '@/api/types/StoragePage'
import { NO_FILTERS } from '@/lib/filters'
import { addVariable, typedOf, wrongOf } from '@/lib/settings'
import { PUBLISHERS } from '@/mocks/catalogue'
import { MockNode } from '@/mocks/node'
import { expectAccessible, mountPart, NOW } from './mount'

const files = import.meta.glob<{ default: Component }>('../components/**/*.vue', { eager: true })
const parts = new Map(
  Object.entries(files).map(([path, file]) => [path.replace(/^.*\/(\w+)\.vue$/, '$1'), file.default]),
)

const node = new MockNode({ now: NOW })
const show = (publisher: keyof typeof PUBLISHERS, slug: string) =>
  node.call('store.show', { publisher: PUBLISHERS[publisher].did, slug }) as AppPage
const page = show('workshop', 'wordpress')
const refused = show('twofaced', 'syncthing')
const cards = (node.call('store.search', {}) as SearchResult).apps
const seeding = node.call('seeding.show', {}) as SeedingPage
const storage = node.call('storage.show', {}) as StoragePage
const damaged: BadBlob = {
  blob: 'a',
  sizeBytes: 18_000_000,
  wrong: 'damaged',
  sets: ['app/x/1'],
  apps: ['Notes'],
  mended: false,
  hint: 'check again later',
}
const damagedProblem: Problem = {
  kind: 'internal',
  message: 'the disk does not answer',
  hint: null,
  details: ['os error 5'],
}
const backedUp = (node.call('backup.list', {}) as BackupPage).backups[0]?.app
if (!backedUp) throw new Error('the mock lacks a backup')
const backups = node.call('backup.schedule', {
  slug: backedUp.slug,
  schedule: {
    every: 'weekly',
    at: '22:00',
    rehearse: 'each',
    keep: { last: 1, daily: 2, weekly: 3, monthly: 4 },
  },
}) as BackupPage
const { instances } = node.call('package.list', {}) as InstanceList
const past = node.call('job.list', {}) as Job[]
const [first] = past
const sick = instances.find((instance) => instance.state === 'unhealthy')
const service = instances.find((instance) => instance.state === 'failed')
const well = instances.find((instance) => instance.state === 'running')
const updatable = show('workshop', 'radicale').instance
const offer = updatable?.offer
if (!offer) throw new Error('the mock lacks an update')
const failing = show('workshop', 'bitcoin').instance
const failed: FailedUpdate | null | undefined = failing?.failedUpdate
if (!failing?.offer || !failed) throw new Error('the mock lacks an update that was taken back')
const earlier = instances.find((instance) => instance.before !== null)
if (!earlier?.before) throw new Error('the mock lacks a version before')
const typed = typedOf(node.call('package.settings', { slug: 'radicale' }) as SettingsPage)
for (const container of typed.containers) addVariable(container)
const broken = typedOf(node.call('package.settings', { slug: 'jellyfin' }) as SettingsPage)
for (const port of broken.ports) port.text = 'http'
if (!first || !sick || !service || !well) throw new Error('the mock lacks a state')
const claimed: Instance = { ...well, adoption: { migrated: false, containers: { web: 'old' } } }
const migrated: Instance = { ...well, adoption: { migrated: true, containers: { web: 'old' } } }

const fetching: Job = {
  ...first,
  kind: 'install',
  state: 'running',
  phase: 'fetching',
  percent: 42,
  cancellable: true,
  transfer: {
    doneBytes: 38_000_000,
    totalBytes: 412_000_000,
    bytesPerSecond: 12_000_000,
    secondsLeft: 31,
    wholeBytes: 412_000_000,
    reusedBytes: 14_000_000,
    providers: [{ id: '3f9a1c7be20d44c05d', kind: 'lan', bytes: 38_000_000 }],
  },
}
const choices = [
  { value: 'one', label: 'One', hint: 'The first' },
  { value: 'two', label: 'Two', hint: 'The second' },
]
const text = { default: () => 'Some text' }

type Case = { props?: Record<string, unknown>; slots?: Record<string, () => unknown> }
const CASES: Record<string, Case[]> = {
  AdoptSection: [{}],
  AppCardLink: [{ props: { card: cards[0] } }],
  AppCardMark: cards.slice(0, 6).map((card) => ({ props: { card } })),
  AppSettingsDialog: [{ props: { instance: updatable, open: true } }],
  AppSettingsField: [
    { props: { label: 'TZ', kind: 'variable', value: { text: 'a', yours: true, published: 'b' } } },
    { props: { label: 'TZ', kind: 'variable', value: { text: 'a', yours: true, published: null } } },
    {
      props: {
        label: 'Memory',
        kind: 'memory',
        value: { text: 'much', yours: true, published: '1G' },
        error: 'No',
      },
    },
  ],
  AppSettingsForm: [
    { props: { modelValue: typed, wrong: new Map() } },
    { props: { modelValue: broken, wrong: wrongOf(broken) } },
  ],
  AppGrid: [{ props: { cards } }, { props: { cards: [], loading: true } }],
  AppIcon: [{ props: { icon: null, name: 'Home Assistant', publisher: 'did:key:z6Mk', size: 64 } }],
  BackupScheduleForm: [
    { props: { slug: backedUp.slug, plan: null } },
    { props: { slug: backedUp.slug, plan: backups.plans[0] } },
  ],
  BackupsPanel: [
    { props: { app: backedUp, name: 'Radicale', installed: true } },
    { props: { app: backedUp, name: 'Radicale', installed: false } },
  ],
  BlockDialog: [{ props: { publisher: page.publisher, open: true } }],
  BrandMark: [{ props: { word: true } }],
  CategoryFilter: [{ props: { categories: [{ category: 'media', apps: 2 }], modelValue: 'media' } }],
  ConfirmDialog: (['primary', 'danger'] as const).map((variant) => ({
    props: {
      title: 'Remove it?',
      lead: 'It cannot be had back.',
      submit: 'Remove',
      failed: 'Not removed',
      act: () => Promise.resolve(),
      variant,
      open: true,
    },
  })),
  ConnectionBanner: [{ props: { node: 'attic' } }],
  EntryLayout: [{ props: { title: 'Welcome', lead: 'Log in.' }, slots: text }],
  FailedNote: [{ props: { title: 'Not read', error: new Error('gone'), busy: false } }],
  FailedUpdateNote: [
    { props: { instance: failing, failed } },
    { props: { instance: failing, failed: { ...failed, version: failing.version } } },
  ],
  InstallPanel: [
    { props: { page: show('workshop', 'bitcoin') } },
    { props: { page } },
    { props: { page: refused } },
    { props: { page: show('harbour', 'jellyfin') } },
  ],
  InstanceCard: [
    { props: { instance: sick, job: null } },
    { props: { instance: service, job: null, compact: true } },
    { props: { instance: well, job: fetching } },
    { props: { instance: failing, job: null, compact: true } },
    { props: { instance: claimed, job: null } },
    { props: { instance: migrated, job: null } },
  ],
  InstanceMenu: [
    { props: { instance: well } },
    { props: { instance: earlier } },
    { props: { instance: claimed } },
    { props: { instance: migrated } },
  ],
  JobProgress: [
    { props: { job: fetching, steps: true } },
    { props: { job: { ...fetching, kind: 'update', phase: 'copying' }, steps: true } },
    { props: { job: { ...fetching, cancellable: false } } },
  ],
  JobRow: past.map((job) => ({ props: { job, icon: null, now: NOW } })),
  LogLines: [
    {
      props: {
        lines: [{ at: '2026-11-21T10:00:00Z', container: 'web', text: 'ready' }],
        wrap: true,
        showContainer: true,
      },
    },
  ],
  MigrateDialog: [{ props: { instance: claimed, open: true } }],
  MigrationEndDialog: (['unmigrate', 'finish'] as const).map((how) => ({
    props: { instance: migrated, how, open: true },
  })),
  NavRail: [{ props: { node: 'attic' } }],
  NeedsList: [{ props: { needs: page.needs } }],
  NodeHealth: [{ props: { name: 'attic' } }, { props: { name: 'attic', compact: true } }],
  OpenButton: [{ props: { instance: well } }],
  OpinionDialog: (['vouch', 'report'] as const).map((mode) => ({
    props: { publisher: page.publisher, mode, open: true },
  })),
  PageHeader: [{ props: { title: 'Network', lead: 'Whom this node hears' } }],
  PolicySettings: [{}],
  ProblemNote: [
    { props: { problem: refused.problem } },
    { props: { problem: refused.problem, title: 'No' } },
  ],
  PublisherActions: [
    { props: { publisher: page.publisher } },
    { props: { publisher: { ...page.publisher, pinned: true, blocked: true } } },
  ],
  PublisherHtml: [{ props: { html: page.descriptionHtml } }],
  PublisherName: [{ props: { did: page.publisher.did } }],
  PublisherPanel: [
    {
      props: {
        publisher: { ...page.publisher, notices: [{ ...refused.publisher.notices[0], kind: 'recovered' }] },
      },
    },
    { props: { publisher: page.publisher } },
    { props: { publisher: refused.publisher } },
  ],
  ReinstallDialog: [{ props: { instance: well, open: true } }],
  ReviewerSettings: [{}],
  RemoveBackupDialog: [{ props: { backup: backups.backups[0], open: true } }],
  RestoreDialog: [
    { props: { backup: backups.backups[0], name: 'Radicale', installed: true, open: true } },
    { props: { backup: backups.backups[0], name: 'Radicale', installed: false, open: true } },
  ],
  RightsList: [{ props: { rights: refused.rights } }, { props: { rights: [] } }],
  RollbackDialog: [
    { props: { instance: earlier, before: earlier.before, open: true } },
    { props: { instance: earlier, before: { ...earlier.before, hasData: false }, open: true } },
  ],
  ScreenshotStrip: [{ props: { screenshots: page.screenshots, name: 'WordPress' } }],
  SearchField: [{ props: { modelValue: '' } }, { props: { modelValue: 'photo' } }],
  SeedingApps: [
    { props: { page: seeding } },
    { props: { page: { ...seeding, apps: [] } } },
    { props: { page: { ...seeding, apps: seeding.apps.map((app) => ({ ...app, published: true })) } } },
  ],
  SeedingHoursField: [
    {
      props: {
        number: 1,
        modelValue: { rule: 'slow', days: ['monday'], from: '22:00', to: '07:00', rate: '' },
      },
    },
  ],
  SeedingLimits: [
    { props: { page: seeding } },
    { props: { page: { ...seeding, networkMetered: null, bytesPerSecondMax: 2_000_000 } } },
  ],
  SeedingPanel: [{}],
  StorageCheck: [
    { props: { report: null } },
    { props: { report: storage.fsck } },
    { props: { report: { ...storage.fsck, running: true, ended: null, blobsDone: 80 } } },
    { props: { report: { ...storage.fsck, bad: [damaged, { ...damaged, blob: 'b', mended: true }] } } },
    { props: { report: { ...storage.fsck, problem: damagedProblem } } },
  ],
  StorageMap: [{ props: { page: storage } }, { props: { page: { ...storage, quotaBytes: null } } }],
  StoragePanel: [{}],
  StorageSetList: [{ props: { sets: storage.sets } }],
  StorageSets: [{ props: { page: storage } }, { props: { page: { ...storage, sets: [] } } }],
  StoreFilters: [
    { props: { modelValue: NO_FILTERS } },
    { props: { modelValue: { ...NO_FILTERS, pointsMin: 35, withoutRights: ['device'] } } },
  ],
  ToastHost: [{}],
  TrustDialog: [{ props: { publisher: page.publisher, open: true } }],
  TrustReasons: [{ props: { reasons: page.publisher.reasons } }],
  TrustRing: [{ props: { trust: page.publisher.trust } }, { props: { trust: refused.publisher.trust } }],
  TrustWord: [{ props: { trust: page.publisher.trust } }],
  UiBadge: [{ slots: text }],
  UiBanner: [{ props: { icon: Package, title: 'Careful', hint: 'Read this', tone: 'warn' } }],
  UiButton: [
    { slots: text },
    { props: { busy: true }, slots: text },
    { props: { href: '/x' }, slots: text },
    { props: { wrap: true }, slots: text },
  ],
  UiCard: [{ slots: text }],
  UiChoices: [{ props: { label: 'Choose', options: choices, modelValue: 'one' } }],
  UiCopy: [{ props: { text: 'abc', label: 'Copy', doneLabel: 'Copied' } }],
  UiDialog: [
    { props: { title: 'Sure?', description: 'Think', closeLabel: 'Close', open: true }, slots: text },
    { props: { title: 'Sure?', closeLabel: 'Close', open: true }, slots: text },
  ],
  UiDisclosure: [{ props: { label: 'Details' }, slots: text }],
  UiEmpty: [{ props: { icon: Package, title: 'Nothing', hint: 'Yet' } }],
  UiField: [
    { props: { label: 'Code', modelValue: '', hint: 'In the log' } },
    {
      props: {
        label: 'Key',
        modelValue: 'x',
        type: 'password',
        error: 'Too short',
        showLabel: 'Show',
        hideLabel: 'Hide',
      },
    },
  ],
  UiMenu: [{ props: { label: 'More', entries: [{ key: 'a', label: 'A', icon: Package }] } }],
  UiProgress: [{ props: { value: 42, label: 'Progress' } }],
  UiSection: [{ props: { title: 'About' }, slots: text }],
  UiSegmented: [{ props: { label: 'Theme', options: choices, modelValue: 'one' } }],
  UiSelect: [
    {
      props: {
        label: 'Order',
        options: [
          { value: 'a', label: 'A' },
          { value: 'b', label: 'B' },
        ],
        modelValue: 'b',
      },
    },
  ],
  UiSkeleton: [{}],
  UiStatus: [{ props: { tone: 'good' }, slots: text }],
  UiSwitch: [{ props: { label: 'Follow', modelValue: true } }],
  UninstallDialog: [{ props: { instance: well, open: true } }],
  UpdatePanel: [
    { props: { offer, instance: updatable } },
    { props: { offer: { ...offer, diff: null }, instance: updatable } },
    { props: { offer: failing.offer, instance: failing } },
  ],
  VersionList: [{ props: { versions: page.versions, installed: page.card.version } }],
}

describe('every component', () => {
  it('is tested here', () => {
    expect(Object.keys(CASES).toSorted()).toEqual([...parts.keys()].toSorted())
  })

  for (const [name, cases] of Object.entries(CASES)) {
    it.each(cases.map((one, index) => [index + 1, one] as const))(
      `${name} has no barrier (%i)`,
      async (_, one) => {
        const part = parts.get(name)
        if (!part) throw new Error(`there is no ${name}.vue`)
        const wrapper = await mountPart(part, one.props, one.slots)
        await expectAccessible()
        wrapper.unmount()
      },
    )
  }
})
