//! A backend with fixed answers, and an API over real sockets in front of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use archy_registry::Blake3Hash;
use archyd::api::types::*;
use archyd::api::{self, Api, AssetBody, Backend, BlobStream, Hosts, Hub, ProvideError};
use archyd::auth::Auth;
use futures_util::TryStreamExt;
use tokio::net::{TcpListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::{Request, Response};

pub(crate) const PASSWORD: &str = "correct horse battery";
pub(crate) const SVG: &[u8] =
    b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";

/// Answers everything the same way each time.
pub(crate) struct Fixed;

fn backups() -> BackupPage {
    BackupPage {
        backups: Vec::new(),
        plans: Vec::new(),
        listed: None,
        repository: "/backups/restic".to_owned(),
        password_file: "/keys/backups.password".to_owned(),
        unreadable: None,
    }
}

fn job() -> Job {
    Job {
        id: "0011223344556677".to_owned(),
        kind: JobKind::Install,
        app: app(),
        name: "Notes".to_owned(),
        state: JobState::Running,
        phase: JobPhase::Fetching,
        percent: 42.5,
        message: "Fetching 38 of 412 MB".to_owned(),
        transfer: Some(Transfer {
            done_bytes: 38_000_000,
            total_bytes: 412_000_000,
            bytes_per_second: 9_000_000,
            seconds_left: Some(42),
            whole_bytes: 512_000_000,
            reused_bytes: 112_000_000,
            providers: vec![ProviderShare {
                id: "ab".repeat(32),
                kind: "lan".to_owned(),
                bytes: 38_000_000,
            }],
        }),
        problem: None,
        cancellable: true,
        created: "2026-11-21T10:00:00Z".to_owned(),
        updated: "2026-11-21T10:00:01Z".to_owned(),
    }
}

fn app() -> AppRef {
    AppRef {
        publisher: "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK".to_owned(),
        slug: "notes".to_owned(),
    }
}

fn no_such(what: &str) -> Problem {
    api::not_found(
        format!("There is no {what}"),
        "Look it up with `archy store`",
    )
}

impl Backend for Fixed {
    async fn search(&self, params: SearchParams) -> Result<SearchResult, Problem> {
        Ok(SearchResult {
            apps: Vec::new(),
            total: params.offset,
            hidden: 0,
            total_is_at_least: false,
            corrected: None,
            categories: vec![CategoryCount {
                category: params.query,
                apps: 1,
            }],
        })
    }
    async fn show(&self, _: AppRef) -> Result<AppPage, Problem> {
        Err(no_such("such app"))
    }
    async fn install(&self, _: InstallParams) -> Result<JobRef, Problem> {
        Ok(JobRef { job: job().id })
    }
    async fn uninstall(&self, _: UninstallParams) -> Result<JobRef, Problem> {
        Ok(JobRef { job: job().id })
    }
    async fn update(&self, params: UpdateParams) -> Result<JobRef, Problem> {
        Ok(JobRef { job: params.slug })
    }
    async fn roll_back(&self, params: RollbackParams) -> Result<JobRef, Problem> {
        Ok(JobRef { job: params.slug })
    }
    async fn create_backup(&self, params: BackupCreateParams) -> Result<JobRef, Problem> {
        Ok(JobRef { job: params.slug })
    }
    async fn backups(&self, _: BackupListParams) -> Result<BackupPage, Problem> {
        Ok(backups())
    }
    async fn restore(&self, params: BackupRestoreParams) -> Result<JobRef, Problem> {
        Ok(JobRef { job: params.backup })
    }
    async fn verify(&self, params: BackupVerifyParams) -> Result<JobRef, Problem> {
        Ok(JobRef {
            job: params.backup.or(params.slug).unwrap_or_default(),
        })
    }
    async fn remove_backup(&self, _: BackupRemoveParams) -> Result<BackupPage, Problem> {
        Ok(backups())
    }
    async fn schedule(&self, _: BackupScheduleParams) -> Result<BackupPage, Problem> {
        Ok(backups())
    }
    async fn configure(&self, params: ConfigureParams) -> Result<JobRef, Problem> {
        Ok(JobRef { job: params.slug })
    }
    async fn adoptable(&self) -> Result<AdoptableList, Problem> {
        Ok(AdoptableList {
            containers: Vec::new(),
            candidates: Vec::new(),
        })
    }
    async fn adopt(&self, params: AdoptParams) -> Result<JobRef, Problem> {
        Ok(JobRef {
            job: params.app.slug,
        })
    }
    async fn migration(&self, params: InstanceParams) -> Result<MigrationPlan, Problem> {
        Ok(MigrationPlan {
            slug: params.slug,
            version: "1.0.0".to_owned(),
            items: Vec::new(),
        })
    }
    async fn migrate(&self, params: MigrateParams) -> Result<JobRef, Problem> {
        Ok(JobRef { job: params.slug })
    }
    async fn settings(&self, _: InstanceParams) -> Result<SettingsPage, Problem> {
        Ok(SettingsPage {
            ports: Vec::new(),
            containers: Vec::new(),
        })
    }
    async fn operate(&self, kind: JobKind, params: InstanceParams) -> Result<JobRef, Problem> {
        Ok(JobRef {
            job: format!("{kind:?} {}", params.slug),
        })
    }
    async fn instances(&self) -> Result<InstanceList, Problem> {
        Ok(InstanceList {
            instances: Vec::new(),
            observed: "2026-11-21T10:00:00Z".to_owned(),
            stale: true,
        })
    }
    async fn instance(&self, _: InstanceParams) -> Result<Instance, Problem> {
        Err(no_such("app of that name"))
    }
    async fn health(&self, _: InstanceParams) -> Result<Health, Problem> {
        Err(no_such("app of that name"))
    }
    async fn logs(&self, _: LogsParams) -> Result<Logs, Problem> {
        Ok(Logs { lines: Vec::new() })
    }
    async fn jobs(&self, _: JobListParams) -> Result<Vec<Job>, Problem> {
        Ok(vec![job()])
    }
    async fn job(&self, _: String) -> Result<Job, Problem> {
        Ok(job())
    }
    async fn cancel(&self, _: String) -> Result<Job, Problem> {
        Err(api::problem("notCancellable", "It has ended", ""))
    }
    async fn status(&self) -> Result<NodeStatus, Problem> {
        Err(api::problem(
            "starting",
            "The node is starting",
            "Try again in a moment",
        ))
    }
    async fn publish_state(&self, _: AppRef) -> Result<PublishState, Problem> {
        Ok(PublishState {
            highest_seq: Some(7),
            release: None,
            relays: vec!["ws://127.0.0.1:8490/".to_owned()],
            endpoint: EndpointInfo {
                id: "ab".repeat(32),
                addresses: vec!["10.0.0.1:8481".to_owned()],
                relays: Vec::new(),
            },
        })
    }
    async fn missing(&self, params: BlobsParams) -> Result<BlobsMissing, Problem> {
        Ok(BlobsMissing {
            missing: params.blobs,
        })
    }
    async fn registries(&self) -> Result<RegistryList, Problem> {
        Ok(RegistryList {
            registries: Vec::new(),
            oci: vec![OciRegistryInfo {
                name: "hub".to_owned(),
                place: "docker.io".to_owned(),
                credentials: true,
            }],
        })
    }
    async fn add_registry(&self, params: RegistryAddParams) -> Result<RegistryList, Problem> {
        Err(api::problem("invalid", format!("not {}", params.url), ""))
    }
    async fn remove_registry(&self, _: RegistryRemoveParams) -> Result<RegistryList, Problem> {
        Err(no_such("registry of that name"))
    }
    async fn move_registry(&self, _: RegistryMoveParams) -> Result<RegistryList, Problem> {
        Err(no_such("registry of that name"))
    }
    async fn test_registry(&self, _: RegistryTestParams) -> Result<RegistryTest, Problem> {
        Err(no_such("registry of that name"))
    }
    async fn trust(&self, _: TrustParams) -> Result<TrustPage, Problem> {
        Err(no_such("such publisher"))
    }
    async fn history(&self, _: HistoryParams) -> Result<History, Problem> {
        Err(no_such("such publisher"))
    }
    async fn pin(&self, _: PinParams) -> Result<TrustPage, Problem> {
        Err(no_such("such publisher"))
    }
    async fn block(&self, _: BlockParams) -> Result<TrustPage, Problem> {
        Err(no_such("such publisher"))
    }
    async fn report(&self, _: ReportParams) -> Result<OpinionGiven, Problem> {
        Err(no_such("such publisher"))
    }
    async fn vouch(&self, _: VouchParams) -> Result<OpinionGiven, Problem> {
        Err(no_such("such publisher"))
    }
    async fn reviewers(&self) -> Result<Reviewers, Problem> {
        Err(no_such("reviewer"))
    }
    async fn reviewer(&self, _: ReviewerParams) -> Result<Reviewers, Problem> {
        Err(no_such("reviewer"))
    }
    async fn storage(&self) -> Result<StoragePage, Problem> {
        Err(no_such("storage"))
    }
    async fn fsck(&self, _: FsckParams) -> Result<StoragePage, Problem> {
        Err(no_such("storage"))
    }
    async fn seeding(&self) -> Result<SeedingPage, Problem> {
        Err(no_such("seeding"))
    }
    async fn set_seeding(&self, _: SeedingPolicy) -> Result<SeedingPage, Problem> {
        Err(no_such("seeding"))
    }
    async fn policy(&self) -> Result<PolicyPage, Problem> {
        Err(no_such("policy"))
    }
    async fn set_policy(&self, _: Policy) -> Result<PolicyPage, Problem> {
        Err(no_such("policy"))
    }
    async fn asset(&self, hash: Blake3Hash) -> Option<AssetBody> {
        let asset = |media_type: &str| AssetBody {
            media_type: media_type.to_owned(),
            bytes: SVG.into(),
        };
        [("svg", "image/svg+xml"), ("html", "text/html")]
            .iter()
            .find(|(name, _)| Blake3Hash::of(name.as_bytes()) == hash)
            .map(|(_, media_type)| asset(media_type))
    }
    async fn provide(
        &self,
        hash: Blake3Hash,
        tag: String,
        body: BlobStream,
    ) -> Result<BlobProvided, ProvideError> {
        let bytes: Vec<u8> = body
            .try_fold(Vec::new(), |mut all, chunk| async move {
                all.extend_from_slice(&chunk);
                Ok(all)
            })
            .await
            .unwrap();
        if Blake3Hash::of(&bytes) != hash {
            return Err(ProvideError {
                by_sender: true,
                problem: api::problem("content", format!("not {hash} for {tag}"), ""),
            });
        }
        Ok(BlobProvided {
            hash: hash.to_string(),
            size_bytes: bytes.len() as u64,
        })
    }
    fn metrics(&self) -> String {
        "archy_jobs_active 1\n".to_owned()
    }
}

/// A running API.
pub(crate) struct Bed {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) api: Arc<Api<Fixed>>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// A session of the owner.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) cookie: String,
    pub(crate) csrf: String,
}

impl Owner {
    pub(crate) fn sign(&self, request: Request) -> Request {
        request
            .header("Cookie", &self.cookie)
            .header("X-Archy-CSRF", &self.csrf)
    }

    /// The cookie's token.
    pub(crate) fn token(&self) -> &str {
        self.cookie.split_once('=').unwrap().1
    }

    /// Signs as a browser does that logged in at another name or port of this node.
    pub(crate) fn sign_at(&self, host: &str, request: Request) -> Request {
        let name = match host.rsplit_once(':') {
            Some((_, port)) => format!("archy_session_{port}"),
            None => "archy_session".to_owned(),
        };
        request
            .header("Host", host)
            .header("Cookie", &format!("{name}={}", self.token()))
            .header("X-Archy-CSRF", &self.csrf)
    }
}

impl Bed {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pool = archyd::database::open(&dir.path().join("node.db"))
            .await
            .unwrap();
        let auth = Auth::open(&dir.path().join("keys"), pool, Duration::from_secs(3600)).unwrap();
        let stop = CancellationToken::new();
        let api = Api::new(
            Fixed,
            auth,
            Hosts::new(["node.local".to_owned()]),
            Hub::default(),
            "test node".to_owned(),
            stop.clone(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = TaskTracker::new();
        tasks.spawn(api::serve_tcp(
            listener,
            api::tcp_router(&api),
            64,
            stop.clone(),
        ));
        let socket = api::bind_unix(&dir.path().join("run/archyd.sock"))
            .await
            .unwrap();
        tasks.spawn(api::serve_unix(
            socket,
            api::unix_router(&api),
            stop.clone(),
        ));
        Self {
            dir,
            address,
            api,
            stop,
            tasks,
        }
    }

    pub(crate) async fn send(&self, request: Request) -> Response {
        request.send(self.address).await
    }

    pub(crate) async fn unix(&self, request: Request) -> Response {
        let path = self.dir.path().join("run/archyd.sock");
        let stream = UnixStream::connect(path).await.unwrap();
        request.exchange(stream, "archyd").await
    }

    pub(crate) async fn claim(&self) -> Owner {
        let code = self.api.auth.claim_code().unwrap().unwrap().code;
        let body = serde_json::json!({"code": code, "password": PASSWORD});
        let answer = self.send(Request::post("/session/claim", &body)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        Owner {
            cookie: answer.cookie(),
            csrf: answer.json()["csrf"].as_str().unwrap().to_owned(),
        }
    }
}
