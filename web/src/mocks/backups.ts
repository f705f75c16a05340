/** The pretended node's backups: an app has an older one that was proven, and whatever is made meanwhile. */

import type { AppRef } from '../api/types/AppRef'
import type { BackupInfo } from '../api/types/BackupInfo'
import type { BackupPage } from '../api/types/BackupPage'
import type { BackupPlan } from '../api/types/BackupPlan'
import type { BackupSchedule } from '../api/types/BackupSchedule'

const DAY_MS = 86_400_000
const SIZE_BYTES = 48_300_000

export class MockBackups {
  private backups: BackupInfo[] = []
  private plans: BackupPlan[] = []

  /** Puts a backup on the shelf. */
  add(app: AppRef, version: string, taken: number): void {
    const id = (this.backups.length + 10).toString(16).padStart(8, 'c').padEnd(64, '4')
    const proof = null
    const backup = { id, app, version, taken: new Date(taken).toISOString(), sizeBytes: SIZE_BYTES, proof }
    this.backups = [backup, ...this.backups]
  }

  prove(id: string, at: number, failure: string | null = null): void {
    const proof = {
      at: new Date(at).toISOString(),
      seconds: 4.2,
      failure,
      proven: failure === null ? new Date(at).toISOString() : null,
    }
    this.backups = this.backups.map((backup) => (backup.id === id ? { ...backup, proof } : backup))
  }

  remove(id: string): BackupPage {
    const slug = this.find(id)?.app.slug ?? null
    this.backups = this.backups.filter((backup) => backup.id !== id)
    return this.page(slug)
  }

  find(id: string): BackupInfo | undefined {
    return this.backups.find((backup) => backup.id === id)
  }

  page(slug: string | null): BackupPage {
    const wanted = ({ app }: { app: AppRef }) => slug === null || app.slug === slug
    return {
      backups: this.backups.filter(wanted),
      plans: this.plans.filter(wanted),
      listed: null,
      repository: '/home/archy/.local/share/archy/backups/restic',
      passwordFile: '/home/archy/.local/share/archy/keys/backups.password',
      unreadable: null,
    }
  }

  schedule(app: AppRef, schedule: BackupSchedule | null, now: number): BackupPage {
    this.plans = this.plans.filter((plan) => plan.app.slug !== app.slug)
    if (schedule) {
      const next = new Date(now + DAY_MS).toISOString()
      this.plans = [...this.plans, { app, schedule, next, tried: null, failure: null, unrehearsed: null }]
    }
    return this.page(app.slug)
  }
}
