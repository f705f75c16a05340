/** What takes room, as parts of one whole, and what bounds it. */

import type { StoragePage } from '../api/types/StoragePage'

export const PARTS = ['installed', 'publishing', 'previous', 'cache', 'incoming', 'free'] as const
export type PartKind = (typeof PARTS)[number]

export interface Part {
  kind: PartKind
  bytes: number
  /** Of the whole, 0 to 1. */
  share: number
}

export interface StorageMap {
  /** All parts, empty ones too, in the order of {@link PARTS}. */
  parts: Part[]
  /** What the parts add up to. */
  wholeBytes: number
  /** What ends the room: the quota, the disk although the quota has more, or nothing is left at all. */
  bound: 'quota' | 'disk' | 'full' | 'over'
}

export function mapOf(page: StoragePage): StorageMap {
  const ofClass = (name: string) => page.classes.find((one) => one.class === name)?.sizeBytes ?? 0
  const bytes: Record<PartKind, number> = {
    installed: ofClass('installed'),
    publishing: ofClass('publishing'),
    previous: ofClass('previous'),
    cache: ofClass('cache'),
    incoming: 0,
    free: 0,
  }
  const here = Object.values(bytes).reduce((sum, size) => sum + size, 0)
  // What is reserved and what is being written belongs to no class yet.
  bytes.incoming = Math.max(0, page.usedBytes - here)
  const inQuota = page.quotaBytes === null ? Infinity : page.quotaBytes - page.usedBytes
  const onDisk = page.freeBytes - page.keptBytes - page.reservedBytes
  bytes.free = Math.max(0, Math.min(inQuota, onDisk))
  const wholeBytes = Object.values(bytes).reduce((sum, size) => sum + size, 0)
  const share = (size: number) => (wholeBytes === 0 ? 0 : size / wholeBytes)
  return {
    parts: PARTS.map((kind) => ({ kind, bytes: bytes[kind], share: share(bytes[kind]) })),
    wholeBytes,
    bound: inQuota < 0 ? 'over' : onDisk <= 0 ? 'full' : onDisk < inQuota ? 'disk' : 'quota',
  }
}
