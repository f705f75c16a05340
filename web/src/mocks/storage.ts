/** What the pretended node has stored, and its check, which goes on with the clock and finds a damaged blob. */

import type { BadBlob } from '../api/types/BadBlob'
import type { FsckReport } from '../api/types/FsckReport'
import type { StorageClass } from '../api/types/StorageClass'
import type { StoragePage } from '../api/types/StoragePage'
import type { StorageSet } from '../api/types/StorageSet'

const GB = 1_000_000_000
/** Bytes that a check reads in a second. */
const READ_BYTES_PER_SECOND = 400_000_000
const BLOBS = 214

function badOf(set: StorageSet, change: Partial<BadBlob>): BadBlob {
  return {
    blob: set.set.length.toString(16).padEnd(64, '7'),
    sizeBytes: Math.round(set.sizeBytes / 4),
    wrong: 'damaged',
    sets: [set.set],
    apps: set.name === null ? [] : [set.name],
    mended: false,
    hint: null,
    ...change,
  }
}

export class MockStorage {
  fsck: FsckReport | null = null

  constructor(
    private readonly sets: () => StorageSet[],
    private now: number,
  ) {
    if (sets().length === 0) return
    const began = new Date(now - 3 * 86_400_000).toISOString()
    this.fsck = this.report(began, { running: false, ended: began })
    this.count(this.fsck, this.fsck.bytesTotal)
  }

  check(params: Record<string, unknown>): StoragePage {
    const running = this.fsck?.running === true
    if (params.stop === true && running) this.end([])
    if (params.stop !== true && !running)
      this.fsck = this.report(new Date(this.now).toISOString(), { running: true })
    return this.page()
  }

  /** Lets time pass. */
  advance(ms: number): void {
    this.now += ms
    if (!this.fsck?.running) return
    this.count(this.fsck, this.fsck.bytesDone + (ms / 1000) * READ_BYTES_PER_SECOND)
    if (this.fsck.bytesDone < this.fsck.bytesTotal) return
    const ofClass = (name: string) => this.sets().filter((set) => set.class === name)
    this.end([
      ...ofClass('installed')
        .slice(0, 1)
        .map((set) => badOf(set, { mended: true })),
      ...ofClass('publishing').map((set) =>
        badOf(set, {
          wrong: 'missing',
          hint: 'You publish this, and others may not have it: run archy publish again',
        }),
      ),
    ])
  }

  page(): StoragePage {
    const sets = [...this.sets()].sort((a, b) => b.sizeBytes - a.sizeBytes)
    const classes: StorageClass[] = ['installed', 'publishing', 'previous', 'cache'].map((name) => {
      const of = sets.filter((set) => set.class === name)
      const sizeBytes = of.reduce((sum, set) => sum + set.sizeBytes, 0)
      return {
        class: name,
        sets: of.length,
        blobs: of.reduce((sum, set) => sum + set.blobs, 0),
        // A version before shares most of its layers with the one that is installed.
        sizeBytes: name === 'previous' ? Math.round(sizeBytes * 0.3) : sizeBytes,
      }
    })
    const here = classes.reduce((sum, one) => sum + one.sizeBytes, 0)
    const reserved = sets.length === 0 ? 0 : 380_000_000
    return {
      usedBytes: here + reserved,
      reservedBytes: reserved,
      freeableBytes: classes.slice(2).reduce((sum, one) => sum + one.sizeBytes, 0),
      quotaBytes: 20 * GB,
      freeBytes: 118 * GB,
      keptBytes: 10 * GB,
      classes,
      sets: sets.slice(0, 100),
      setsMore: Math.max(0, sets.length - 100),
      fsck: this.fsck === null ? null : { ...this.fsck },
    }
  }

  private report(began: string, change: Partial<FsckReport>): FsckReport {
    return {
      running: true,
      began,
      ended: null,
      blobsDone: 0,
      blobsTotal: BLOBS,
      bytesDone: 0,
      bytesTotal: this.sets().reduce((sum, set) => sum + set.sizeBytes, 0),
      bad: [],
      unheldBytes: 0,
      problem: null,
      ...change,
    }
  }

  private count(report: FsckReport, bytesDone: number): void {
    report.bytesDone = Math.min(report.bytesTotal, Math.round(bytesDone))
    report.blobsDone = Math.floor((BLOBS * report.bytesDone) / Math.max(1, report.bytesTotal))
  }

  private end(bad: BadBlob[]): void {
    if (!this.fsck) return
    const ended = new Date(this.now).toISOString()
    this.fsck = { ...this.fsck, running: false, ended, bad, unheldBytes: 24_000_000 }
  }
}
