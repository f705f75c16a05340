//! What the API needs behind it, in wire types.

use std::future::Future;
use std::pin::Pin;

use archy_registry::Blake3Hash;
use bytes::Bytes;
use futures_util::Stream;

use super::types::{
    AdoptParams, AdoptableList, AppPage, AppRef, BackupCreateParams, BackupListParams, BackupPage,
    BackupRemoveParams, BackupRestoreParams, BackupScheduleParams, BackupVerifyParams,
    BlobProvided, BlobsMissing, BlobsParams, BlockParams, ConfigureParams, FsckParams, Health,
    History, HistoryParams, InstallParams, Instance, InstanceList, InstanceParams, Job, JobKind,
    JobListParams, JobRef, Logs, LogsParams, MigrateParams, MigrationPlan, NodeStatus,
    OpinionGiven, PinParams, Policy, PolicyPage, Problem, PublishState, RegistryAddParams,
    RegistryList, RegistryMoveParams, RegistryRemoveParams, RegistryTest, RegistryTestParams,
    ReportParams, ReviewerParams, Reviewers, RollbackParams, SearchParams, SearchResult,
    SeedingPage, SeedingPolicy, SettingsPage, StoragePage, TrustPage, TrustParams, UninstallParams,
    UpdateParams, VouchParams,
};

/// Bytes of a blob as they arrive.
pub type BlobStream = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// An icon or screenshot.
#[derive(Debug, Clone)]
pub struct AssetBody {
    /// Media type that the release declares.
    pub media_type: String,
    /// The bytes.
    pub bytes: Bytes,
}

/// A blob was not taken.
#[derive(Debug, Clone)]
pub struct ProvideError {
    /// Whether the fault is the sender's.
    pub by_sender: bool,
    /// What is wrong.
    pub problem: Problem,
}

/// Answers the API's methods. A failure is always a [`Problem`] that tells a person what to do.
pub trait Backend: Send + Sync + 'static {
    /// `store.search`.
    fn search(
        &self,
        params: SearchParams,
    ) -> impl Future<Output = Result<SearchResult, Problem>> + Send;
    /// `store.show`.
    fn show(&self, app: AppRef) -> impl Future<Output = Result<AppPage, Problem>> + Send;
    /// `package.install`.
    fn install(
        &self,
        params: InstallParams,
    ) -> impl Future<Output = Result<JobRef, Problem>> + Send;
    /// `package.uninstall`.
    fn uninstall(
        &self,
        params: UninstallParams,
    ) -> impl Future<Output = Result<JobRef, Problem>> + Send;
    /// `package.update`.
    fn update(&self, params: UpdateParams) -> impl Future<Output = Result<JobRef, Problem>> + Send;
    /// `package.rollback`.
    fn roll_back(
        &self,
        params: RollbackParams,
    ) -> impl Future<Output = Result<JobRef, Problem>> + Send;
    /// `backup.create`.
    fn create_backup(
        &self,
        params: BackupCreateParams,
    ) -> impl Future<Output = Result<JobRef, Problem>> + Send;
    /// `backup.list`.
    fn backups(
        &self,
        params: BackupListParams,
    ) -> impl Future<Output = Result<BackupPage, Problem>> + Send;
    /// `backup.restore`.
    fn restore(
        &self,
        params: BackupRestoreParams,
    ) -> impl Future<Output = Result<JobRef, Problem>> + Send;
    /// `backup.verify`.
    fn verify(
        &self,
        params: BackupVerifyParams,
    ) -> impl Future<Output = Result<JobRef, Problem>> + Send;
    /// `backup.remove`.
    fn remove_backup(
        &self,
        params: BackupRemoveParams,
    ) -> impl Future<Output = Result<BackupPage, Problem>> + Send;
    /// `backup.schedule`.
    fn schedule(
        &self,
        params: BackupScheduleParams,
    ) -> impl Future<Output = Result<BackupPage, Problem>> + Send;
    /// `package.configure`.
    fn configure(
        &self,
        params: ConfigureParams,
    ) -> impl Future<Output = Result<JobRef, Problem>> + Send;
    /// `package.settings`.
    fn settings(
        &self,
        params: InstanceParams,
    ) -> impl Future<Output = Result<SettingsPage, Problem>> + Send;
    /// `package.adoptable`.
    fn adoptable(&self) -> impl Future<Output = Result<AdoptableList, Problem>> + Send;
    /// `package.adopt`.
    fn adopt(&self, params: AdoptParams) -> impl Future<Output = Result<JobRef, Problem>> + Send;
    /// `package.migration`.
    fn migration(
        &self,
        params: InstanceParams,
    ) -> impl Future<Output = Result<MigrationPlan, Problem>> + Send;
    /// `package.migrate`.
    fn migrate(
        &self,
        params: MigrateParams,
    ) -> impl Future<Output = Result<JobRef, Problem>> + Send;
    /// `package.start`, `package.stop`, `package.restart`, `package.reinstall`, `package.unmigrate`, `package.finish`.
    fn operate(
        &self,
        kind: JobKind,
        params: InstanceParams,
    ) -> impl Future<Output = Result<JobRef, Problem>> + Send;
    /// `package.list`.
    fn instances(&self) -> impl Future<Output = Result<InstanceList, Problem>> + Send;
    /// `package.status`.
    fn instance(
        &self,
        params: InstanceParams,
    ) -> impl Future<Output = Result<Instance, Problem>> + Send;
    /// `package.health`.
    fn health(
        &self,
        params: InstanceParams,
    ) -> impl Future<Output = Result<Health, Problem>> + Send;
    /// `package.logs`.
    fn logs(&self, params: LogsParams) -> impl Future<Output = Result<Logs, Problem>> + Send;
    /// `job.list`.
    fn jobs(&self, params: JobListParams)
    -> impl Future<Output = Result<Vec<Job>, Problem>> + Send;
    /// `job.show`.
    fn job(&self, id: String) -> impl Future<Output = Result<Job, Problem>> + Send;
    /// `job.cancel`.
    fn cancel(&self, id: String) -> impl Future<Output = Result<Job, Problem>> + Send;
    /// `node.status`.
    fn status(&self) -> impl Future<Output = Result<NodeStatus, Problem>> + Send;
    /// `publish.state`.
    fn publish_state(
        &self,
        app: AppRef,
    ) -> impl Future<Output = Result<PublishState, Problem>> + Send;
    /// `publish.missing`.
    fn missing(
        &self,
        params: BlobsParams,
    ) -> impl Future<Output = Result<BlobsMissing, Problem>> + Send;
    /// `registry.list`.
    fn registries(&self) -> impl Future<Output = Result<RegistryList, Problem>> + Send;
    /// `registry.add`.
    fn add_registry(
        &self,
        params: RegistryAddParams,
    ) -> impl Future<Output = Result<RegistryList, Problem>> + Send;
    /// `registry.remove`.
    fn remove_registry(
        &self,
        params: RegistryRemoveParams,
    ) -> impl Future<Output = Result<RegistryList, Problem>> + Send;
    /// `registry.move`.
    fn move_registry(
        &self,
        params: RegistryMoveParams,
    ) -> impl Future<Output = Result<RegistryList, Problem>> + Send;
    /// `registry.test`.
    fn test_registry(
        &self,
        params: RegistryTestParams,
    ) -> impl Future<Output = Result<RegistryTest, Problem>> + Send;
    /// `trust.show`.
    fn trust(&self, params: TrustParams)
    -> impl Future<Output = Result<TrustPage, Problem>> + Send;
    /// `trust.history`.
    fn history(
        &self,
        params: HistoryParams,
    ) -> impl Future<Output = Result<History, Problem>> + Send;
    /// `trust.pin`.
    fn pin(&self, params: PinParams) -> impl Future<Output = Result<TrustPage, Problem>> + Send;
    /// `trust.block`.
    fn block(&self, params: BlockParams)
    -> impl Future<Output = Result<TrustPage, Problem>> + Send;
    /// `trust.report`.
    fn report(
        &self,
        params: ReportParams,
    ) -> impl Future<Output = Result<OpinionGiven, Problem>> + Send;
    /// `trust.vouch`.
    fn vouch(
        &self,
        params: VouchParams,
    ) -> impl Future<Output = Result<OpinionGiven, Problem>> + Send;
    /// `trust.reviewers`.
    fn reviewers(&self) -> impl Future<Output = Result<Reviewers, Problem>> + Send;
    /// `trust.reviewer`.
    fn reviewer(
        &self,
        params: ReviewerParams,
    ) -> impl Future<Output = Result<Reviewers, Problem>> + Send;
    /// `storage.show`.
    fn storage(&self) -> impl Future<Output = Result<StoragePage, Problem>> + Send;
    /// `storage.fsck`.
    fn fsck(&self, params: FsckParams)
    -> impl Future<Output = Result<StoragePage, Problem>> + Send;
    /// `seeding.show`.
    fn seeding(&self) -> impl Future<Output = Result<SeedingPage, Problem>> + Send;
    /// `seeding.set`.
    fn set_seeding(
        &self,
        policy: SeedingPolicy,
    ) -> impl Future<Output = Result<SeedingPage, Problem>> + Send;
    /// `policy.show`.
    fn policy(&self) -> impl Future<Output = Result<PolicyPage, Problem>> + Send;
    /// `policy.set`.
    fn set_policy(
        &self,
        policy: Policy,
    ) -> impl Future<Output = Result<PolicyPage, Problem>> + Send;
    /// `GET /assets/<blake3>`; only what a verified release or announcement names.
    fn asset(&self, hash: Blake3Hash) -> impl Future<Output = Option<AssetBody>> + Send;
    /// `PUT /blobs/<blake3>`.
    fn provide(
        &self,
        hash: Blake3Hash,
        tag: String,
        body: BlobStream,
    ) -> impl Future<Output = Result<BlobProvided, ProvideError>> + Send;
    /// Further lines for `GET /metrics`, Prometheus text format.
    fn metrics(&self) -> String;
}
