/** The methods of `/rpc/v1`: what each takes and gives. */

import type { AppPage } from './types/AppPage'
import type { AppRef } from './types/AppRef'
import type { BlockParams } from './types/BlockParams'
import type { ConfigureParams } from './types/ConfigureParams'
import type { FsckParams } from './types/FsckParams'
import type { History } from './types/History'
import type { HistoryParams } from './types/HistoryParams'
import type { InstallParams } from './types/InstallParams'
import type { Instance } from './types/Instance'
import type { InstanceList } from './types/InstanceList'
import type { InstanceParams } from './types/InstanceParams'
import type { Job } from './types/Job'
import type { JobListParams } from './types/JobListParams'
import type { JobParams } from './types/JobParams'
import type { JobRef } from './types/JobRef'
import type { Logs } from './types/Logs'
import type { LogsParams } from './types/LogsParams'
import type { NodeStatus } from './types/NodeStatus'
import type { OpinionGiven } from './types/OpinionGiven'
import type { PinParams } from './types/PinParams'
import type { Policy } from './types/Policy'
import type { PolicyPage } from './types/PolicyPage'
import type { ReportParams } from './types/ReportParams'
import type { ReviewerParams } from './types/ReviewerParams'
import type { Reviewers } from './types/Reviewers'
import type { RollbackParams } from './types/RollbackParams'
import type { SearchParams } from './types/SearchParams'
import type { SearchResult } from './types/SearchResult'
import type { SeedingPage } from './types/SeedingPage'
import type { SeedingPolicy } from './types/SeedingPolicy'
import type { SettingsPage } from './types/SettingsPage'
import type { StoragePage } from './types/StoragePage'
import type { TrustPage } from './types/TrustPage'
import type { TrustParams } from './types/TrustParams'
import type { UninstallParams } from './types/UninstallParams'
import type { UpdateParams } from './types/UpdateParams'
import type { VouchParams } from './types/VouchParams'

type Nothing = Record<string, never>

export interface Methods {
  'store.search': { params: SearchParams; result: SearchResult }
  'store.show': { params: AppRef; result: AppPage }
  'package.install': { params: InstallParams; result: JobRef }
  'package.uninstall': { params: UninstallParams; result: JobRef }
  'package.update': { params: UpdateParams; result: JobRef }
  'package.rollback': { params: RollbackParams; result: JobRef }
  'package.reinstall': { params: InstanceParams; result: JobRef }
  'package.configure': { params: ConfigureParams; result: JobRef }
  'package.settings': { params: InstanceParams; result: SettingsPage }
  'package.start': { params: InstanceParams; result: JobRef }
  'package.stop': { params: InstanceParams; result: JobRef }
  'package.restart': { params: InstanceParams; result: JobRef }
  'package.status': { params: InstanceParams; result: Instance }
  'package.list': { params: Nothing; result: InstanceList }
  'package.logs': { params: LogsParams; result: Logs }
  'job.list': { params: JobListParams; result: Job[] }
  'job.show': { params: JobParams; result: Job }
  'job.cancel': { params: JobParams; result: unknown }
  'trust.show': { params: TrustParams; result: TrustPage }
  'trust.history': { params: HistoryParams; result: History }
  'trust.pin': { params: PinParams; result: TrustPage }
  'trust.block': { params: BlockParams; result: TrustPage }
  'trust.report': { params: ReportParams; result: OpinionGiven }
  'trust.vouch': { params: VouchParams; result: OpinionGiven }
  'trust.reviewers': { params: Nothing; result: Reviewers }
  'trust.reviewer': { params: ReviewerParams; result: Reviewers }
  'policy.show': { params: Nothing; result: PolicyPage }
  'policy.set': { params: Policy; result: PolicyPage }
  'seeding.show': { params: Nothing; result: SeedingPage }
  'seeding.set': { params: SeedingPolicy; result: SeedingPage }
  'storage.show': { params: Nothing; result: StoragePage }
  'storage.fsck': { params: FsckParams; result: StoragePage }
  'node.status': { params: Nothing; result: NodeStatus }
}

export type Method = keyof Methods
