//! The contract between archyd and everything that talks to it: the web UI, `archy`, other programs.
//!
//! Plain data. The TypeScript the UI uses is generated from these types and a test fails when it drifts.
//! Field names are camelCase on the wire. Sizes are bytes, rates bytes per second, times RFC 3339.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

macro_rules! wire {
    ($($(#[$meta:meta])* pub $kind:ident $name:ident { $($body:tt)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
            #[serde(rename_all = "camelCase")]
            #[ts(export_to = "./")]
            pub $kind $name { $($body)* }
        )*
    };
}

wire! {
    /// Names an app: the publisher's DID and its slug.
    #[derive(Eq, Hash)]
    pub struct AppRef {
        /// Origin DID.
        pub publisher: String,
        /// Slug.
        pub slug: String,
    }

    /// Parameters of `store.search`.
    #[derive(Default)]
    pub struct SearchParams {
        /// Words to look for; empty lists everything.
        #[serde(default)]
        pub query: String,
        /// Only this category.
        #[serde(default)]
        pub category: Option<String>,
        /// Only apps with images for this OCI architecture, such as `arm64`.
        #[serde(default)]
        pub architecture: Option<String>,
        /// Only publishers with at least this many points, 0–100.
        #[serde(default)]
        pub points_min: u8,
        /// Only apps that need no right of these kinds, such as `device`; leaves out those whose rights are unknown.
        #[serde(default)]
        pub without_rights: Vec<String>,
        /// In which order.
        #[serde(default)]
        pub sort: SearchSort,
        /// Skip this many.
        #[serde(default)]
        pub offset: u32,
        /// Return at most this many, 1–100. Default 48.
        #[serde(default)]
        pub limit: Option<u32>,
    }

    /// Answer of `store.search`.
    pub struct SearchResult {
        /// The page of apps, best first.
        pub apps: Vec<AppCard>,
        /// How many there are in all.
        pub total: u32,
        /// Whether there may be more than `total`, because the words are very common.
        #[serde(default)]
        pub total_is_at_least: bool,
        /// Categories with at least one such app, whichever category was asked for, and how many.
        pub categories: Vec<CategoryCount>,
        /// The words that were looked for instead, when those that were asked for are found nowhere.
        #[serde(default)]
        pub corrected: Option<String>,
    }

    /// An order of apps.
    #[derive(Copy, Default, Eq)]
    pub enum SearchSort {
        /// Best match first; by name when there are no words.
        #[default]
        Relevance,
        /// By name.
        Name,
        /// The latest announced first.
        Newest,
        /// The highest score first.
        Score,
    }

    /// A category and how many apps it holds.
    pub struct CategoryCount {
        /// Category, as in the manifest.
        pub category: String,
        /// Number of apps.
        pub apps: u32,
    }

    /// An app as the store grid shows it.
    pub struct AppCard {
        /// Which app.
        pub app: AppRef,
        /// Display name.
        pub name: String,
        /// One line.
        pub tagline: String,
        /// Category.
        pub category: String,
        /// Newest version.
        pub version: String,
        /// Path of the icon on this node, if it has been fetched.
        pub icon: Option<String>,
        /// Bytes to fetch on a machine that has none of them.
        pub download_size_bytes: u64,
        /// OCI architectures.
        pub architectures: Vec<String>,
        /// What this node thinks of the publisher.
        pub trust: TrustBadge,
        /// State of the installed instance, if there is one.
        pub installed: Option<InstanceState>,
        /// Other publishers with the same slug.
        pub same_name_as: Vec<String>,
        /// When this node first heard of the app.
        pub first_seen: String,
        /// When the newest release was announced.
        pub announced: String,
        /// Whether the announcement is past its expiry ("no news since").
        pub stale: bool,
    }

    /// A score in short.
    pub struct TrustBadge {
        /// 0–100.
        pub points: f64,
        /// Band of the score.
        pub band: TrustBand,
    }

    /// Band of a trust score.
    #[derive(Copy, Eq)]
    pub enum TrustBand {
        /// Must not be installed.
        Refused,
        /// Below 15.
        New,
        /// Below 35.
        Unproven,
        /// Below 65.
        SomeTrust,
        /// From 65.
        Trusted,
    }

    /// Answer of `store.show`.
    pub struct AppPage {
        /// The card.
        pub card: AppCard,
        /// Markdown turned into safe HTML.
        pub description_html: String,
        /// Markdown turned into safe HTML.
        pub release_notes_html: Option<String>,
        /// `https://…`
        pub website: Option<String>,
        /// `https://…`
        pub source: Option<String>,
        /// SPDX expression.
        pub license: Option<String>,
        /// Paths of screenshots on this node.
        pub screenshots: Vec<String>,
        /// What the app may do, from the rendered units.
        pub rights: Vec<Right>,
        /// What it takes.
        pub needs: Needs,
        /// Who publishes it.
        pub publisher: PublisherCard,
        /// What can be opened once it runs.
        pub interfaces: Vec<InterfaceInfo>,
        /// The verified release; absent while it is being fetched.
        pub release: Option<ReleaseInfo>,
        /// Why it cannot be installed now, if so.
        pub problem: Option<Problem>,
        /// Versions seen by this node, newest first.
        pub versions: Vec<VersionSeen>,
        /// The installed instance.
        pub instance: Option<Instance>,
    }

    /// One right in plain words.
    pub struct Right {
        /// Stable name, e.g. `internet`, `port`, `data`, `capability`, `device`, `hostNetwork`.
        pub kind: String,
        /// The sentence.
        pub text: String,
        /// How much attention it deserves.
        pub weight: RightWeight,
    }

    /// How much attention a right deserves.
    #[derive(Copy, Eq)]
    pub enum RightWeight {
        /// Every app has it.
        Usual,
        /// Worth reading.
        Notable,
        /// Reaches beyond the app.
        Far,
    }

    /// What an app takes.
    pub struct Needs {
        /// Bytes of all images.
        pub download_size_bytes: u64,
        /// Bytes this node still lacks.
        pub missing_size_bytes: u64,
        /// Sum of declared memory limits.
        pub memory_bytes: Option<u64>,
        /// Free bytes where the data goes.
        pub disk_free_bytes: Option<u64>,
    }

    /// Who publishes an app and what this node knows of them.
    pub struct PublisherCard {
        /// Origin DID.
        pub did: String,
        /// Points and band.
        pub trust: TrustBadge,
        /// Every reason; their points add up to the score.
        pub reasons: Vec<TrustReason>,
        /// What would change the score.
        pub would_change: Vec<String>,
        /// When this node first heard of them.
        pub first_seen: Option<String>,
        /// Whether a Nostr key is bound both ways.
        pub linked: bool,
        /// Whether the owner pinned them.
        pub pinned: bool,
        /// Whether the owner blocked them.
        pub blocked: bool,
    }

    /// One reason of a trust score.
    pub struct TrustReason {
        /// Stable name.
        pub code: String,
        /// The sentence.
        pub text: String,
        /// Points, may be negative.
        pub points: f64,
        /// What it rests on: evidence rows of this node.
        pub evidence: Vec<String>,
    }

    /// Something to open.
    pub struct InterfaceInfo {
        /// Shown name.
        pub name: String,
        /// `ui` or `api`.
        pub kind: String,
        /// Port on the node, once assigned.
        pub port: Option<u16>,
        /// First page.
        pub path: String,
    }

    /// A verified release.
    pub struct ReleaseInfo {
        /// Version.
        pub version: String,
        /// Counter.
        pub seq: u64,
        /// BLAKE3 of the release.
        pub hash: String,
        /// When it was signed.
        pub created: String,
    }

    /// A version that this node has seen.
    pub struct VersionSeen {
        /// Version.
        pub version: String,
        /// Counter.
        pub seq: u64,
        /// When.
        pub seen: String,
    }

    /// Something wrong, in words that tell a person what to do.
    #[derive(Eq)]
    pub struct Problem {
        /// Stable name, e.g. `signature`, `rollback`, `wrongPublisher`, `slugTaken`, `content`, `noProvider`, `diskFull`, `neverHealthy`, `cancelled`, `interrupted`.
        pub kind: String,
        /// One sentence.
        pub message: String,
        /// What to do next.
        pub hint: Option<String>,
        /// Hashes, log lines and the like.
        pub details: Vec<String>,
    }

    /// Parameters of `package.install`.
    pub struct InstallParams {
        /// Which app.
        pub app: AppRef,
        /// A certain release by its hash instead of the newest.
        #[serde(default)]
        pub release: Option<String>,
    }

    /// Parameters of `package.uninstall`.
    pub struct UninstallParams {
        /// Slug of the instance.
        pub slug: String,
        /// Whether to remove its data for good as well.
        #[serde(default)]
        pub purge: bool,
    }

    /// Parameters of `package.start|stop|restart|status|health`.
    pub struct InstanceParams {
        /// Slug of the instance.
        pub slug: String,
    }

    /// Parameters of `package.logs`.
    pub struct LogsParams {
        /// Slug of the instance.
        pub slug: String,
        /// Only this container.
        #[serde(default)]
        pub container: Option<String>,
        /// Last so many lines, at most 2000. Default 200.
        #[serde(default)]
        pub lines: Option<u32>,
    }

    /// Answer of `package.logs`.
    pub struct Logs {
        /// Oldest first.
        pub lines: Vec<LogLine>,
    }

    /// One line of an app's log.
    pub struct LogLine {
        /// When.
        pub at: String,
        /// Which container.
        pub container: String,
        /// The text.
        pub text: String,
    }

    /// Answer of `package.list`.
    pub struct InstanceList {
        /// Installed apps by name.
        pub instances: Vec<Instance>,
        /// When this was observed.
        pub observed: String,
        /// Whether podman or systemd did not answer and this is the last known state.
        pub stale: bool,
    }

    /// An installed app.
    pub struct Instance {
        /// Which app.
        pub app: AppRef,
        /// Display name.
        pub name: String,
        /// Installed version.
        pub version: String,
        /// Path of the icon on this node.
        pub icon: Option<String>,
        /// How it is.
        pub state: InstanceState,
        /// Why it is not well, if so.
        pub problem: Option<Problem>,
        /// Its containers.
        pub containers: Vec<ContainerInfo>,
        /// What can be opened.
        pub interfaces: Vec<InterfaceInfo>,
        /// When it was installed.
        pub installed: String,
        /// A newer version that the catalog holds.
        pub update: Option<String>,
        /// The job that works on it now.
        pub job: Option<String>,
        /// Where its data is on the node.
        pub data_dir: String,
    }

    /// How an instance is.
    #[derive(Copy, Eq)]
    pub enum InstanceState {
        /// Being installed.
        Installing,
        /// On its way up.
        Starting,
        /// Running and healthy (or without a health check).
        Running,
        /// Running, but its health check fails.
        Unhealthy,
        /// On its way down.
        Stopping,
        /// Stopped by the owner.
        Stopped,
        /// Should run and does not.
        Failed,
        /// Being removed.
        Removing,
    }

    /// A container of an instance.
    pub struct ContainerInfo {
        /// Name within the app.
        pub name: String,
        /// How it is.
        pub state: InstanceState,
        /// Health in podman's word, if it has a check.
        pub health: Option<String>,
        /// How often systemd restarted it.
        pub restarts: u32,
        /// Running since.
        pub since: Option<String>,
    }

    /// Answer of `package.health`.
    pub struct Health {
        /// How the instance is.
        pub state: InstanceState,
        /// Why it is not well, if so.
        pub problem: Option<Problem>,
        /// Its containers.
        pub containers: Vec<ContainerInfo>,
        /// When this was observed.
        pub observed: String,
        /// Whether podman or systemd did not answer and this is the last known state.
        pub stale: bool,
    }

    /// Answer of everything that starts a job.
    pub struct JobRef {
        /// The job's id.
        pub job: String,
    }

    /// Parameters of `job.list`.
    #[derive(Default)]
    pub struct JobListParams {
        /// Only jobs that have not ended.
        #[serde(default)]
        pub active: bool,
        /// At most this many, newest first. Default 50.
        #[serde(default)]
        pub limit: Option<u32>,
    }

    /// Parameters of `job.show|cancel`.
    pub struct JobParams {
        /// The job's id.
        pub job: String,
    }

    /// A job.
    pub struct Job {
        /// Id.
        pub id: String,
        /// What it does.
        pub kind: JobKind,
        /// On which app.
        pub app: AppRef,
        /// Display name of the app.
        pub name: String,
        /// Whether it has ended, and how.
        pub state: JobState,
        /// Where it is.
        pub phase: JobPhase,
        /// 0–100, weighted by phase, never goes back.
        pub percent: f64,
        /// What happens now, in plain words.
        pub message: String,
        /// Bytes, while it fetches; afterwards what it fetched and from whom.
        pub transfer: Option<Transfer>,
        /// Why it failed.
        pub problem: Option<Problem>,
        /// Whether it can still be cancelled.
        pub cancellable: bool,
        /// When it began.
        pub created: String,
        /// When this changed last.
        pub updated: String,
    }

    /// What a job does.
    #[derive(Copy, Eq)]
    pub enum JobKind {
        /// Installs an app.
        Install,
        /// Removes an app, keeping its data.
        Uninstall,
        /// Removes an app and its data.
        Purge,
        /// Starts an app.
        Start,
        /// Stops an app.
        Stop,
        /// Restarts an app.
        Restart,
    }

    /// Whether a job has ended, and how.
    #[derive(Copy, Eq)]
    pub enum JobState {
        /// Waits for its turn.
        Queued,
        /// At work.
        Running,
        /// Done.
        Succeeded,
        /// Ended without success; nothing was left behind.
        Failed,
        /// The owner cancelled it; nothing was left behind.
        Cancelled,
    }

    /// Where a job is.
    #[derive(Copy, Eq)]
    pub enum JobPhase {
        /// Waits for its turn.
        Queued,
        /// Fetches and verifies the release, checks the node.
        Checking,
        /// Fetches images from peers.
        Fetching,
        /// Hands images to podman.
        Loading,
        /// Writes units.
        Preparing,
        /// Starts them.
        Starting,
        /// Waits until the app is healthy.
        Waiting,
        /// Stops containers.
        Stopping,
        /// Removes units, containers or data.
        Removing,
        /// Ended.
        Done,
    }

    /// Bytes on their way.
    pub struct Transfer {
        /// Verified bytes here.
        pub done_bytes: u64,
        /// All bytes.
        pub total_bytes: u64,
        /// Rate now.
        pub bytes_per_second: u64,
        /// Time left at that rate.
        pub seconds_left: Option<u32>,
        /// Who sends.
        pub providers: Vec<ProviderShare>,
    }

    /// What one provider sent.
    pub struct ProviderShare {
        /// Endpoint id.
        pub id: String,
        /// `origin`, `lan` or `peer`.
        pub kind: String,
        /// Bytes.
        pub bytes: u64,
    }

    /// Answer of `publish.state`: what a publisher needs to know of this node.
    pub struct PublishState {
        /// Highest `seq` of the app that this node has seen announced or released.
        pub highest_seq: Option<u64>,
        /// The newest release it knows, by its hash.
        pub release: Option<String>,
        /// Relays to publish on, this node's own included.
        pub relays: Vec<String>,
        /// This node's iroh endpoint, for the release's origin.
        pub endpoint: EndpointInfo,
    }

    /// Parameters of `publish.missing`.
    pub struct BlobsParams {
        /// BLAKE3 hashes, at most 1000.
        pub blobs: Vec<String>,
    }

    /// Answer of `publish.missing`.
    pub struct BlobsMissing {
        /// Those that this node does not hold.
        pub missing: Vec<String>,
    }

    /// Answer of `PUT /blobs/<blake3>` on the Unix socket.
    pub struct BlobProvided {
        /// BLAKE3 of what arrived.
        pub hash: String,
        /// Its length.
        pub size_bytes: u64,
    }

    /// Answer of `node.status`.
    pub struct NodeStatus {
        /// The node's name.
        pub name: String,
        /// archyd's version.
        pub version: String,
        /// OCI architecture.
        pub architecture: String,
        /// This node's own iroh endpoint, for origins and peers.
        pub endpoint: EndpointInfo,
        /// Relays it follows.
        pub relays: Vec<RelayInfo>,
        /// Its own relay's URL, if it runs one.
        pub own_relay: Option<String>,
        /// Peers on the LAN that it knows.
        pub lan_peers: u32,
        /// Parts of the daemon.
        pub components: Vec<ComponentInfo>,
        /// Apps in the catalog.
        pub catalog_apps: u32,
        /// Statements heard and refused since the start, by relay and author, most first; at most 50.
        pub refused: Vec<RefusedInfo>,
        /// Free bytes where data goes.
        pub disk_free_bytes: Option<u64>,
    }

    /// Statements of one author that came over one relay and were refused.
    pub struct RefusedInfo {
        /// The relay.
        pub relay: String,
        /// The Nostr key that signed the events.
        pub pubkey: String,
        /// How many.
        pub statements: u64,
        /// When the last one came.
        pub last: String,
        /// Why it was refused.
        pub problem: Problem,
    }

    /// An iroh endpoint.
    pub struct EndpointInfo {
        /// Endpoint id.
        pub id: String,
        /// `ip:port`.
        pub addresses: Vec<String>,
        /// iroh relay URLs.
        pub relays: Vec<String>,
    }

    /// A relay that this node follows.
    pub struct RelayInfo {
        /// `ws://…` or `wss://…`
        pub url: String,
        /// Whether it is connected.
        pub connected: bool,
        /// When it last sent a valid event.
        pub last_event: Option<String>,
        /// Why it is not connected.
        pub last_error: Option<String>,
    }

    /// A part of the daemon.
    pub struct ComponentInfo {
        /// Name.
        pub name: String,
        /// `running`, `degraded`, `stopped`.
        pub state: String,
        /// Last error in words.
        pub last_error: Option<String>,
    }

    /// Answer of `GET /session`.
    pub struct Session {
        /// Whether a person must claim the node, log in, or is in.
        pub state: SessionState,
        /// Token to send as `X-Archy-CSRF` with everything that changes something.
        pub csrf: Option<String>,
        /// The node's name.
        pub node: String,
    }

    /// Whether a person must claim the node, log in, or is in.
    #[derive(Copy, Eq)]
    pub enum SessionState {
        /// No password yet: claim it with the code from the daemon's log or `archyd claim`.
        Unclaimed,
        /// Log in.
        Locked,
        /// Logged in.
        Open,
    }

    /// Body of `POST /session/claim`.
    pub struct ClaimParams {
        /// The claim code.
        pub code: String,
        /// The new password, 10–200 characters.
        pub password: String,
    }

    /// Body of `POST /session/login`.
    pub struct LoginParams {
        /// The password.
        pub password: String,
    }
}

/// One message of `GET /events` (server-sent events; the SSE `event` field repeats `type`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "type", content = "data", rename_all = "camelCase")]
#[ts(export_to = "./")]
pub enum Event {
    /// A job changed.
    Job(Job),
    /// An instance changed; the new list.
    Instances(InstanceList),
    /// The catalog changed; refetch.
    Catalog,
    /// The node's status changed.
    Node(NodeStatus),
    /// This client was too slow and missed messages: refetch everything. The stream ends here.
    Refetch,
}
