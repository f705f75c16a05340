//! Answers the API's methods from the parts of the daemon; each part may come up later than the API.

mod adopt;
mod backup;
mod metrics;
mod publish;
mod seeding;
mod settings;
mod storage;
mod store;
mod trust;
mod update;

use std::sync::Arc;

use archy_nostr::{RelayStatus, RelayUrl};
use archy_registry::release::Platform;
use archy_registry::store::CatalogQuery;
use archy_registry::{AppId, Blake3Hash, Slug, Store};
use archy_swarm::Swarm;
use jiff::Timestamp;
use tokio::sync::watch;

use self::backup::{Plans, failed_backup};
use crate::api::types::{
    AdoptParams, AdoptableList, AppPage, AppRef, BackupCreateParams, BackupListParams, BackupPage,
    BackupRemoveParams, BackupRestoreParams, BackupScheduleParams, BackupVerifyParams,
    BlobProvided, BlobsMissing, BlobsParams, BlockParams, ConfigureParams, FsckParams, Health,
    History, HistoryParams, InstallParams, Instance, InstanceList, InstanceParams, Job, JobKind,
    JobListParams, JobRef, Logs, LogsParams, MigrateParams, MigrationPlan, NodeStatus,
    OpinionGiven, PinParams, Policy, PolicyPage, Problem, PublishState, RegistryAddParams,
    RegistryList, RegistryMoveParams, RegistryRemoveParams, RegistryTest, RegistryTestParams,
    RelayInfo, ReportParams, ReviewerParams, Reviewers, RollbackParams, SearchParams, SearchResult,
    SeedingPage, SeedingPolicy, SettingsPage, StoragePage, TrustPage, TrustParams, UninstallParams,
    UpdateParams, VouchParams,
};
use crate::api::{AssetBody, Backend, BlobStream, ProvideError, problem};
use crate::components::Components;
use crate::follow::Follow;
use crate::jobs::{Jobs, Manner, SubmitError, Wish};
use crate::judge::Judge;
use crate::machine::{Installed, Machine, Observed};
use crate::problem as explain;
use crate::registries::Registries;
use crate::seeding::Seeding;
use crate::slot::Slot;
use crate::storage::Fscks;
use crate::view;
use crate::voice::Voice;

/// Log lines unless asked otherwise.
const LOG_LINES: u32 = 200;
/// Most log lines.
const LOG_LINES_MAX: u32 = 2000;
/// Jobs listed unless asked otherwise.
const JOBS: u32 = 50;
/// Most jobs listed.
const JOBS_MAX: u32 = 500;
/// Largest icon or screenshot that is served, in bytes.
const ASSET_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Refusals listed by `node.status`.
const REFUSED_LISTED: usize = 50;

/// Asks the follower how each relay is.
pub type RelayStatuses = Arc<dyn Fn() -> Vec<RelayStatus> + Send + Sync>;

/// All parts of a running daemon, as the API sees them.
#[derive(Clone)]
pub struct Node {
    /// Shown name.
    pub name: String,
    /// Whose images are installed.
    pub platform: Platform,
    /// What exists and who vouches for it.
    pub store: Store,
    /// Announcements and releases.
    pub follow: Arc<Follow>,
    /// Jobs.
    pub jobs: Slot<Jobs>,
    /// Blobs.
    pub swarm: Slot<Swarm>,
    /// Apps.
    pub machine: Slot<Arc<dyn Machine>>,
    /// Relays.
    pub relays: Slot<RelayStatuses>,
    /// Relays to publish on: the configured ones and this node's own.
    pub publish_on: watch::Receiver<Vec<RelayUrl>>,
    /// This node's own relay, once it runs.
    pub own_relay: Slot<RelayUrl>,
    /// Where apps and images are looked for besides.
    pub registries: Arc<Registries>,
    /// How the parts are.
    pub components: Components,
    /// What may be done with publishers' apps.
    pub judge: Judge,
    /// What the owner says to others.
    pub voice: Voice,
    /// Checks of what is stored.
    pub fsck: Fscks,
    /// What is given away to others.
    pub seeding: Seeding,
}

impl Node {
    pub(crate) fn observed(&self) -> Observed {
        match self.machine.now() {
            Some(machine) => machine.observed().borrow().clone(),
            None => Observed {
                stale: Some("the node is starting".to_owned()),
                ..Observed::default()
            },
        }
    }

    fn machine(&self) -> Result<Arc<dyn Machine>, Problem> {
        self.machine.now().ok_or_else(|| starting("apps"))
    }

    fn jobs_ready(&self) -> Result<Jobs, Problem> {
        self.jobs.now().ok_or_else(|| starting("jobs"))
    }

    fn swarm_ready(&self) -> Result<Swarm, Problem> {
        self.swarm.now().ok_or_else(|| starting("transfers"))
    }

    /// Submits a job that changes an installed app.
    async fn change(
        &self,
        slug: &str,
        kind: JobKind,
        release: Option<Blake3Hash>,
        manner: Manner,
    ) -> Result<JobRef, Problem> {
        let (_, installed) = self.installed(slug)?;
        let name = self.display_name(&installed.app).await;
        self.submit(Wish {
            kind,
            app: installed.app,
            name,
            release,
            manner,
        })
        .await
    }

    async fn submit(&self, wish: Wish) -> Result<JobRef, Problem> {
        let submitted = self.jobs_ready()?.submit(wish).await;
        submitted
            .map(|job| JobRef { job: job.id })
            .map_err(|error| of_submit(&error))
    }

    /// Finds the app that a slug names among those installed.
    fn installed(&self, slug: &str) -> Result<(Slug, crate::machine::Installed), Problem> {
        let slug = parse_slug(slug)?;
        let observed = self.observed();
        let Some(installed) = observed.find(&slug) else {
            return Err(match self.machine.now() {
                Some(_) => not_installed(&slug),
                None => starting("apps"),
            });
        };
        Ok((slug, installed.clone()))
    }

    pub(crate) async fn display_name(&self, app: &AppId) -> String {
        let entry = self.store.app(app, Timestamp::now()).await;
        entry.ok().flatten().map_or_else(
            || app.slug.to_string(),
            |entry| entry.announcement.card.name.clone(),
        )
    }

    /// Lists installed apps as the API shows them.
    pub async fn instance_list(&self) -> InstanceList {
        let observed = self.observed();
        let plans = self.backup_plans();
        let mut instances = Vec::with_capacity(observed.apps.len());
        for installed in &observed.apps {
            instances.push(self.instance_view(installed, &plans).await);
        }
        instances.sort_by_key(|instance| instance.name.to_lowercase());
        InstanceList {
            instances,
            observed: observed.at.unwrap_or(Timestamp::UNIX_EPOCH).to_string(),
            stale: observed.stale.is_some(),
        }
    }

    async fn instance_view(&self, installed: &Installed, plans: &Plans) -> Instance {
        let entry = self.store.app(&installed.app, Timestamp::now()).await;
        let entry = entry.ok().flatten();
        let has_icon = match &entry {
            Some(entry) => self.has_icon(&entry.announcement).await,
            None => false,
        };
        let job = self
            .jobs
            .now()
            .and_then(|jobs| jobs.on(&installed.app.slug));
        let mut instance =
            view::instance(installed, entry.as_ref(), has_icon, job.map(|job| job.id));
        instance.failed_backup = plans.get(&installed.app).and_then(failed_backup);
        if instance.problem.is_none() {
            // What runs goes on running; its owner should know whose key it rests on.
            let standing = self
                .store
                .release_standing(&installed.release, Timestamp::now())
                .await;
            instance.problem = standing.ok().flatten().and_then(explain::of_standing);
        }
        instance
    }

    /// Describes the node.
    pub async fn node_status(&self) -> NodeStatus {
        let statuses = self.relays.now().map(|relays| relays()).unwrap_or_default();
        let one = CatalogQuery {
            limit: 1,
            ..CatalogQuery::default()
        };
        let catalog = self.store.catalog(&one, Timestamp::now()).await;
        let swarm = self.swarm.now();
        NodeStatus {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            architecture: self.platform.architecture.clone(),
            endpoint: swarm.as_ref().map_or_else(
                || crate::api::types::EndpointInfo {
                    id: String::new(),
                    addresses: Vec::new(),
                    relays: Vec::new(),
                },
                |swarm| view::endpoint(&swarm.endpoint()),
            ),
            relays: statuses.iter().map(relay_info).collect(),
            own_relay: self.own_relay.now().map(|url| url.to_string()),
            lan_peers: swarm.map_or(0, |swarm| {
                u32::try_from(swarm.lan_peers().len()).unwrap_or(u32::MAX)
            }),
            components: self.components.list(),
            catalog_apps: catalog.map_or(0, |page| page.total),
            refused: self.follow.refusals.list(REFUSED_LISTED),
            disk_free_bytes: self
                .machine
                .now()
                .and_then(|machine| machine.disk_free_bytes()),
        }
    }
}

impl Backend for Node {
    async fn search(&self, params: SearchParams) -> Result<SearchResult, Problem> {
        self.search_store(params).await
    }

    async fn show(&self, app: AppRef) -> Result<AppPage, Problem> {
        self.show_app(&parse_app(&app)?).await
    }

    async fn install(&self, params: InstallParams) -> Result<JobRef, Problem> {
        let app = parse_app(&params.app)?;
        let release = parse_release(params.release.as_deref())?;
        let name = self.display_name(&app).await;
        let kind = JobKind::Install;
        self.submit(Wish {
            kind,
            app,
            name,
            release,
            manner: Manner::default(),
        })
        .await
    }

    async fn create_backup(&self, params: BackupCreateParams) -> Result<JobRef, Problem> {
        self.change(&params.slug, JobKind::Backup, None, Manner::default())
            .await
    }

    async fn backups(&self, params: BackupListParams) -> Result<BackupPage, Problem> {
        self.backup_page(&params).await
    }

    async fn restore(&self, params: BackupRestoreParams) -> Result<JobRef, Problem> {
        self.restore_backup(&params.backup).await
    }

    async fn verify(&self, params: BackupVerifyParams) -> Result<JobRef, Problem> {
        self.verify_backup(&params).await
    }

    async fn remove_backup(&self, params: BackupRemoveParams) -> Result<BackupPage, Problem> {
        self.remove_kept(&params.backup).await
    }

    async fn schedule(&self, params: BackupScheduleParams) -> Result<BackupPage, Problem> {
        self.schedule_backups(&params)
    }

    async fn uninstall(&self, params: UninstallParams) -> Result<JobRef, Problem> {
        let slug = parse_slug(&params.slug)?;
        let machine = self.machine()?;
        let installed = machine
            .observed()
            .borrow()
            .find(&slug)
            .map(|app| app.app.clone());
        let app = installed
            .or_else(|| {
                let mut kept = machine.kept().into_iter();
                kept.find(|kept| params.purge && kept.slug == slug)
            })
            .ok_or_else(|| not_installed(&slug))?;
        let needed_by = machine.dependents(&slug);
        if !params.force && !needed_by.is_empty() {
            let names: Vec<&str> = needed_by.iter().map(Slug::as_str).collect();
            return Err(problem(
                "needed",
                format!("{slug} is needed by {}", names.join(", ")),
                "Uninstall those first, or uninstall with force: they then find nobody where it was",
            ));
        }
        let kind = if params.purge {
            JobKind::Purge
        } else {
            JobKind::Uninstall
        };
        let name = self.display_name(&app).await;
        self.submit(Wish {
            kind,
            app,
            name,
            release: None,
            manner: Manner::default(),
        })
        .await
    }

    async fn operate(&self, kind: JobKind, params: InstanceParams) -> Result<JobRef, Problem> {
        let (slug, installed) = self.installed(&params.slug)?;
        let is_of_adoption = matches!(kind, JobKind::Unmigrate | JobKind::Finish);
        if is_of_adoption && installed.adoption.is_none() {
            return Err(problem(
                "notAdopted",
                format!("{slug} has no containers from before archy"),
                "`archy adopt list` shows what runs here without archy",
            ));
        }
        let name = self.display_name(&installed.app).await;
        self.submit(Wish {
            kind,
            app: installed.app,
            name,
            release: None,
            manner: Manner::default(),
        })
        .await
    }

    async fn update(&self, params: UpdateParams) -> Result<JobRef, Problem> {
        let release = parse_release(params.release.as_deref())?;
        let manner = Manner {
            without_copy: params.without_copy,
            ..Manner::default()
        };
        self.change(&params.slug, JobKind::Update, release, manner)
            .await
    }

    async fn roll_back(&self, params: RollbackParams) -> Result<JobRef, Problem> {
        let manner = Manner {
            keep_data: params.keep_data,
            ..Manner::default()
        };
        let (_, installed) = self.installed(&params.slug)?;
        // Named now: once it is done, the version before is the one that was left.
        let to = installed.before.map(|before| before.release);
        self.change(&params.slug, JobKind::Rollback, to, manner)
            .await
    }

    async fn configure(&self, params: ConfigureParams) -> Result<JobRef, Problem> {
        let manner = Manner {
            edit: Some(settings::edit(&params)?),
            ..Manner::default()
        };
        self.change(&params.slug, JobKind::Configure, None, manner)
            .await
    }

    async fn settings(&self, params: InstanceParams) -> Result<SettingsPage, Problem> {
        let (_, installed) = self.installed(&params.slug)?;
        let release = self.store.release_as_admitted(&installed.release).await;
        let release = release.map_err(|error| explain::of_store(&error))?;
        let manifest = release.as_ref().map(|release| &release.manifest);
        Ok(settings::page(&installed.settings, manifest))
    }

    async fn adoptable(&self) -> Result<AdoptableList, Problem> {
        self.adoptable_list().await
    }

    async fn adopt(&self, params: AdoptParams) -> Result<JobRef, Problem> {
        self.submit_adopt(params).await
    }

    async fn migration(&self, params: InstanceParams) -> Result<MigrationPlan, Problem> {
        self.migration_of(&params.slug).await
    }

    async fn migrate(&self, params: MigrateParams) -> Result<JobRef, Problem> {
        self.submit_migrate(params).await
    }

    async fn instances(&self) -> Result<InstanceList, Problem> {
        Ok(self.instance_list().await)
    }

    async fn instance(&self, params: InstanceParams) -> Result<Instance, Problem> {
        let (_, installed) = self.installed(&params.slug)?;
        let mut instance = self.instance_view(&installed, &self.backup_plans()).await;
        instance.offer = self.offer(&installed).await?;
        Ok(instance)
    }

    async fn health(&self, params: InstanceParams) -> Result<Health, Problem> {
        let (_, installed) = self.installed(&params.slug)?;
        let observed = self.observed();
        Ok(Health {
            state: installed.state,
            problem: installed.problem,
            containers: installed.containers,
            observed: observed.at.unwrap_or(Timestamp::UNIX_EPOCH).to_string(),
            stale: observed.stale.is_some(),
        })
    }

    async fn logs(&self, params: LogsParams) -> Result<Logs, Problem> {
        let (slug, _) = self.installed(&params.slug)?;
        let container = params.container.as_deref().map(parse_slug).transpose()?;
        let lines = params.lines.unwrap_or(LOG_LINES).clamp(1, LOG_LINES_MAX);
        let machine = self.machine()?;
        let lines = machine.logs(&slug, container.as_ref(), lines).await?;
        Ok(Logs { lines })
    }

    async fn jobs(&self, params: JobListParams) -> Result<Vec<Job>, Problem> {
        let limit = params.limit.unwrap_or(JOBS).clamp(1, JOBS_MAX);
        let jobs = self.jobs_ready()?.list(params.active, limit).await;
        jobs.map_err(|error| explain::internal("list jobs", &error))
    }

    async fn job(&self, id: String) -> Result<Job, Problem> {
        let job = self.jobs_ready()?.show(&id).await;
        job.map_err(|error| of_submit(&error))
    }

    async fn cancel(&self, id: String) -> Result<Job, Problem> {
        let job = self.jobs_ready()?.cancel(&id).await;
        job.map_err(|error| of_submit(&error))
    }

    async fn status(&self) -> Result<NodeStatus, Problem> {
        Ok(self.node_status().await)
    }

    async fn publish_state(&self, app: AppRef) -> Result<PublishState, Problem> {
        self.publish_state_of(&parse_app(&app)?).await
    }

    async fn missing(&self, params: BlobsParams) -> Result<BlobsMissing, Problem> {
        self.missing_blobs(params).await
    }

    async fn registries(&self) -> Result<RegistryList, Problem> {
        Ok(self.registries.list())
    }

    async fn add_registry(&self, params: RegistryAddParams) -> Result<RegistryList, Problem> {
        self.registries.add(params).await
    }

    async fn remove_registry(&self, params: RegistryRemoveParams) -> Result<RegistryList, Problem> {
        self.registries.remove(params).await
    }

    async fn move_registry(&self, params: RegistryMoveParams) -> Result<RegistryList, Problem> {
        self.registries.move_to(&params)
    }

    async fn test_registry(&self, params: RegistryTestParams) -> Result<RegistryTest, Problem> {
        self.registries.test(params).await
    }

    async fn trust(&self, params: TrustParams) -> Result<TrustPage, Problem> {
        self.trust_page(&params.publisher).await
    }

    async fn history(&self, params: HistoryParams) -> Result<History, Problem> {
        self.trust_history(params).await
    }

    async fn pin(&self, params: PinParams) -> Result<TrustPage, Problem> {
        self.set_pin(params).await
    }

    async fn block(&self, params: BlockParams) -> Result<TrustPage, Problem> {
        self.set_block(params).await
    }

    async fn report(&self, params: ReportParams) -> Result<OpinionGiven, Problem> {
        self.give_report(params).await
    }

    async fn vouch(&self, params: VouchParams) -> Result<OpinionGiven, Problem> {
        self.give_vouch(params).await
    }

    async fn reviewers(&self) -> Result<Reviewers, Problem> {
        self.reviewer_list().await
    }

    async fn reviewer(&self, params: ReviewerParams) -> Result<Reviewers, Problem> {
        self.set_reviewer(params).await
    }

    async fn storage(&self) -> Result<StoragePage, Problem> {
        self.storage_page().await
    }

    async fn fsck(&self, params: FsckParams) -> Result<StoragePage, Problem> {
        self.swarm_ready()?;
        if params.stop {
            self.fsck.stop();
        } else {
            self.fsck.begin();
        }
        self.storage_page().await
    }

    async fn seeding(&self) -> Result<SeedingPage, Problem> {
        self.seeding_page().await
    }

    async fn set_seeding(&self, policy: SeedingPolicy) -> Result<SeedingPage, Problem> {
        self.change_seeding(policy).await
    }

    async fn policy(&self) -> Result<PolicyPage, Problem> {
        self.policy_page().await
    }

    async fn set_policy(&self, policy: Policy) -> Result<PolicyPage, Problem> {
        self.change_policy(policy).await
    }

    async fn asset(&self, hash: Blake3Hash) -> Option<AssetBody> {
        let asset = self.follow.asset(&hash)?;
        let bytes = self.swarm.now()?.read(hash, ASSET_BYTES_MAX).await.ok()?;
        Some(AssetBody {
            media_type: asset.media_type,
            bytes,
        })
    }

    async fn provide(
        &self,
        hash: Blake3Hash,
        tag: String,
        body: BlobStream,
    ) -> Result<BlobProvided, ProvideError> {
        self.provide_blob(hash, &tag, body).await
    }

    fn metrics(&self) -> String {
        self.metrics_text()
    }
}

fn relay_info(status: &RelayStatus) -> RelayInfo {
    RelayInfo {
        url: status.relay.to_string(),
        connected: status.is_connected(),
        last_event: status.last_event.map(|at| at.to_string()),
        last_error: status.last_error.as_ref().map(|(_, text)| text.clone()),
    }
}

fn of_submit(error: &SubmitError) -> Problem {
    let (kind, hint) = match error {
        SubmitError::Full => ("busy", "Wait until some have ended"),
        SubmitError::Stopping => ("stopping", "Try again in a moment"),
        SubmitError::Unknown(_) => ("notFound", "`archy status` lists recent jobs"),
        SubmitError::NotCancellable(_) => ("notCancellable", ""),
        SubmitError::Store(error) => return explain::internal("store the job", error),
    };
    problem(kind, error.to_string(), hint)
}

fn starting(what: &str) -> Problem {
    problem(
        "starting",
        format!("The node is starting; {what} are not up yet"),
        "Try again in a moment",
    )
}

fn not_installed(slug: &Slug) -> Problem {
    problem(
        "notInstalled",
        format!("{slug} is not installed"),
        "`archy status` lists what is",
    )
}

fn invalid(error: &dyn std::error::Error) -> Problem {
    problem("invalid", error.to_string(), "")
}

fn parse_release(text: Option<&str>) -> Result<Option<Blake3Hash>, Problem> {
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|error: archy_registry::id::IdError| invalid(&error))
}

fn parse_slug(text: &str) -> Result<Slug, Problem> {
    text.parse()
        .map_err(|error: archy_registry::id::IdError| invalid(&error))
}

fn parse_app(app: &AppRef) -> Result<AppId, Problem> {
    let publisher = app.publisher.parse();
    let publisher = publisher.map_err(|error: archy_registry::did::DidError| invalid(&error))?;
    Ok(AppId {
        publisher,
        slug: parse_slug(&app.slug)?,
    })
}
