//! What the store's pages show, made from catalog entries, scores and installed apps. Pure.

use archy_registry::Did;
use archy_registry::announcement::Announcement;
use archy_registry::key_state::{KeyHistory, Standing};
use archy_registry::manifest::Manifest;
use archy_registry::release::Platform;
use archy_registry::store::{CatalogEntry, Hit};
use archy_registry::trust::{Band, Event, Evidence, POINT, Reason, ReasonCode, Score};
use jiff::Timestamp;

use crate::api::problem;
use crate::api::types::{
    AppCard, AppPage, AppRef, EarlierVersion, EndpointInfo, FailedUpdate, Instance, InterfaceInfo,
    Needs, Problem, PublisherCard, ReleaseInfo, Right, TrustBadge, TrustBand, TrustReason,
    VersionSeen,
};
use crate::machine::Installed;
use crate::markdown;
use crate::policy::Reputation;
use crate::problem as explain;

/// What a page needs beside the catalog entry.
pub(crate) struct Surroundings<'a> {
    /// How the publisher stands.
    pub(crate) reputation: &'a Reputation,
    /// The installed instance of this very app.
    pub(crate) installed: Option<&'a Installed>,
    /// Whether the icon is here.
    pub(crate) has_icon: bool,
    /// Now.
    pub(crate) now: Timestamp,
}

/// What a card shows of an app.
pub(crate) struct Offered<'a> {
    announcement: &'a Announcement,
    same_name_as: &'a [Did],
    first_seen: Timestamp,
    announced: Timestamp,
}

impl<'a> From<&'a CatalogEntry> for Offered<'a> {
    fn from(entry: &'a CatalogEntry) -> Self {
        Self {
            announcement: &entry.announcement,
            same_name_as: &entry.same_name_as,
            first_seen: entry.first_seen,
            announced: entry.announced,
        }
    }
}

impl<'a> From<&'a Hit> for Offered<'a> {
    fn from(hit: &'a Hit) -> Self {
        Self {
            announcement: &hit.announcement,
            same_name_as: &hit.same_name_as,
            first_seen: hit.first_seen,
            announced: hit.announced,
        }
    }
}

/// Makes the card of an app.
pub(crate) fn card<'a>(offered: impl Into<Offered<'a>>, around: &Surroundings<'_>) -> AppCard {
    let offered = offered.into();
    let announcement = offered.announcement;
    let card = &announcement.card;
    AppCard {
        app: AppRef {
            publisher: announcement.publisher.to_string(),
            slug: announcement.slug.to_string(),
        },
        name: card.name.clone(),
        tagline: card.tagline.clone(),
        category: card.category.clone(),
        version: announcement.version.clone(),
        icon: card
            .icon
            .as_ref()
            .filter(|_| around.has_icon)
            .map(|icon| format!("/assets/{}", icon.blake3)),
        download_size_bytes: card.download_size_bytes,
        architectures: card.architectures.clone(),
        trust: badge(&around.reputation.score),
        installed: around.installed.map(|installed| installed.state),
        same_name_as: offered
            .same_name_as
            .iter()
            .map(ToString::to_string)
            .collect(),
        first_seen: offered.first_seen.to_string(),
        announced: offered.announced.to_string(),
        stale: announcement.expires <= around.now,
    }
}

/// Everything of an app's page that needs a question to another part.
pub(crate) struct PageParts {
    /// Why it cannot be installed.
    pub(crate) problem: Option<Problem>,
    /// What to know before it is.
    pub(crate) warning: Option<Problem>,
    /// Paths of pictures that are here.
    pub(crate) screenshots: Vec<String>,
    /// From the rendered units.
    pub(crate) rights: Vec<Right>,
    /// Bytes that are not here yet.
    pub(crate) missing_size_bytes: u64,
    /// Free bytes where data goes.
    pub(crate) disk_free_bytes: Option<u64>,
    /// The instance as the list shows it.
    pub(crate) instance: Option<Instance>,
}

/// Makes an app's page.
pub(crate) fn page(
    entry: &CatalogEntry,
    keys: &KeyHistory,
    platform: &Platform,
    around: &Surroundings<'_>,
    parts: PageParts,
) -> AppPage {
    let release = entry.release.as_deref();
    let manifest = release.map(|release| &release.manifest);
    let app = manifest.map(|manifest| &manifest.app);
    let download = release.map_or(entry.announcement.card.download_size_bytes, |release| {
        release.blobs(platform).map(|blob| blob.size_bytes).sum()
    });
    AppPage {
        card: card(entry, around),
        description_html: app
            .map(|app| markdown::to_safe_html(&app.description))
            .unwrap_or_default(),
        release_notes_html: app
            .and_then(|app| app.release_notes.as_deref())
            .map(markdown::to_safe_html),
        website: app.and_then(|app| https(app.website.as_deref())),
        source: app.and_then(|app| https(app.source.as_deref())),
        license: app.and_then(|app| app.license.clone()),
        screenshots: parts.screenshots,
        rights: parts.rights,
        needs: Needs {
            download_size_bytes: download,
            missing_size_bytes: parts.missing_size_bytes,
            memory_bytes: manifest.and_then(memory_bytes),
            disk_free_bytes: parts.disk_free_bytes,
        },
        publisher: publisher(around.reputation, keys, around.now),
        interfaces: around.installed.map_or_else(
            || manifest.map(interfaces).unwrap_or_default(),
            |installed| installed.interfaces.clone(),
        ),
        release: entry.release.as_ref().map(|release| ReleaseInfo {
            version: release.manifest.app.version.clone(),
            seq: release.seq,
            hash: release.hash().to_string(),
            created: release.created.to_string(),
        }),
        problem: parts.problem,
        warning: parts.warning,
        versions: versions(entry, &around.reputation.evidence),
        instance: parts.instance,
    }
}

/// Makes an installed app's entry.
pub(crate) fn instance(
    installed: &Installed,
    entry: Option<&CatalogEntry>,
    has_icon: bool,
    job: Option<String>,
) -> Instance {
    let card = entry.map(|entry| &entry.announcement.card);
    let update = entry
        .filter(|entry| entry.announcement.release.blake3 != installed.release)
        .map(|entry| entry.announcement.version.clone());
    Instance {
        app: AppRef {
            publisher: installed.app.publisher.to_string(),
            slug: installed.app.slug.to_string(),
        },
        name: card.map_or_else(|| installed.app.slug.to_string(), |card| card.name.clone()),
        version: installed.version.clone(),
        icon: card
            .and_then(|card| card.icon.as_ref())
            .filter(|_| has_icon)
            .map(|icon| format!("/assets/{}", icon.blake3)),
        state: installed.state,
        problem: installed.problem.clone(),
        containers: installed.containers.clone(),
        interfaces: installed.interfaces.clone(),
        installed: installed.installed.to_string(),
        update,
        offer: None,
        job,
        data_dir: installed.data_dir.display().to_string(),
        before: installed.before.as_ref().map(|before| EarlierVersion {
            version: before.version.clone(),
            release: before.release.to_string(),
            has_data: before.has_data,
        }),
        failed_update: installed.failed.as_ref().map(|failed| FailedUpdate {
            version: failed.version.clone(),
            release: failed.release.to_string(),
            reason: failed.reason.clone(),
            at: failed.at.to_string(),
        }),
        failed_backup: None,
        adoption: installed.adoption.clone(),
    }
}

/// Makes an endpoint's entry.
pub(crate) fn endpoint(endpoint: &archy_registry::release::Endpoint) -> EndpointInfo {
    EndpointInfo {
        id: endpoint.id.to_string(),
        addresses: endpoint.addresses.iter().map(ToString::to_string).collect(),
        relays: endpoint.relays.clone(),
    }
}

/// Makes a publisher's card.
pub(crate) fn publisher(
    reputation: &Reputation,
    keys: &KeyHistory,
    now: Timestamp,
) -> PublisherCard {
    let Reputation {
        evidence, score, ..
    } = reputation;
    let reasons = score.reasons.iter().map(|reason| TrustReason {
        code: reason.code.as_str().to_owned(),
        text: reason.text.clone(),
        points: points(reason.micro_points),
        evidence: reason.evidence.iter().map(ToString::to_string).collect(),
    });
    PublisherCard {
        did: evidence.publisher.to_string(),
        trust: badge(score),
        reasons: reasons.collect(),
        would_change: score.would_change.clone(),
        first_seen: evidence
            .sightings
            .iter()
            .map(|sighting| sighting.at)
            .min()
            .map(|at| at.to_string()),
        linked: evidence
            .events
            .iter()
            .any(|recorded| matches!(recorded.event, Event::NostrLinked { .. })),
        pinned: reputation.pinned,
        blocked: reputation.blocked,
        notices: notices(score)
            .into_iter()
            .chain(of_keys(keys, now))
            .collect(),
    }
}

/// Says what the owner must know of a publisher whatever the points are.
fn notices(score: &Score) -> Vec<Problem> {
    let notice = |reason: &Reason| {
        let (kind, hint) = match reason.code {
            ReasonCode::Contradiction => (
                "frozen",
                "Nothing new of the publisher is installed; what runs goes on running. Ask them which statement is theirs",
            ),
            ReasonCode::Revoked => (
                "revoked",
                "Nothing new of the publisher is installed; what runs goes on running. Look for news of them",
            ),
            ReasonCode::MalwareReports => (
                "malware",
                "Read who says so below before you install or keep anything of the publisher",
            ),
            ReasonCode::Linked
            | ReasonCode::Domain
            | ReasonCode::NextKeys
            | ReasonCode::KnownFor
            | ReasonCode::Releases
            | ReasonCode::Network
            | ReasonCode::NetworkComplaints
            | ReasonCode::OwnUse
            | ReasonCode::OwnComplaints
            | ReasonCode::Floor
            | ReasonCode::Pinned
            | ReasonCode::Cap
            | ReasonCode::Blocked => return None,
        };
        Some(problem(kind, reason.text.clone(), hint))
    };
    score.reasons.iter().filter_map(notice).collect()
}

/// Says what became of a publisher's keys; a revocation is a reason of its score already.
fn of_keys(keys: &KeyHistory, now: Timestamp) -> Option<Problem> {
    let newest = keys.newest();
    if newest.is_revoked() {
        return None;
    }
    if newest.expires <= now {
        let since = newest.expires;
        return explain::of_standing(Standing::KeysExpired { since });
    }
    let mut speaking = vec![keys.publisher()];
    let mut replaced = None;
    for state in keys.counted_states() {
        if state.keys != speaking {
            speaking.clone_from(&state.keys);
            replaced = Some(state);
        }
    }
    let state = replaced?;
    let date = explain::day(state.created);
    Some(if state.floors.is_empty() {
        problem(
            "keysReplaced",
            format!("The publisher replaced its keys on {date}, as it had prepared before"),
            "Nothing to do: what the old keys signed and this node had not seen by then is refused",
        )
    } else {
        problem(
            "recovered",
            format!(
                "The publisher took its name back on {date} after its keys had got into other hands"
            ),
            "Nothing to do: what was signed meanwhile is refused. Look at what you installed shortly before that day",
        )
    })
}

fn versions(entry: &CatalogEntry, evidence: &Evidence) -> Vec<VersionSeen> {
    let mut seen: Vec<VersionSeen> = evidence
        .sightings
        .iter()
        .filter(|sighting| sighting.app == entry.announcement.slug)
        .map(|sighting| VersionSeen {
            version: if sighting.seq == entry.announcement.seq {
                entry.announcement.version.clone()
            } else {
                format!("release {}", sighting.seq)
            },
            seq: sighting.seq,
            seen: sighting.at.to_string(),
        })
        .collect();
    seen.sort_by_key(|version| std::cmp::Reverse(version.seq));
    seen
}

fn badge(score: &Score) -> TrustBadge {
    TrustBadge {
        points: points(score.micro_points),
        band: match score.band {
            Band::Refused => TrustBand::Refused,
            Band::New => TrustBand::New,
            Band::Unproven => TrustBand::Unproven,
            Band::SomeTrust => TrustBand::SomeTrust,
            Band::Trusted => TrustBand::Trusted,
        },
    }
}

/// Six decimals are exact: the reasons still add up.
pub(crate) fn points(micro_points: i64) -> f64 {
    micro_points as f64 / POINT as f64
}

fn https(url: Option<&str>) -> Option<String> {
    url.filter(|url| url.starts_with("https://"))
        .map(str::to_owned)
}

/// The sum of the containers' limits, when every container has one.
fn memory_bytes(manifest: &Manifest) -> Option<u64> {
    let limits = manifest.containers.iter();
    limits
        .map(|container| container.resources.memory.map(|limit| limit.bytes()))
        .sum()
}

fn interfaces(manifest: &Manifest) -> Vec<InterfaceInfo> {
    let interfaces = manifest.interfaces.iter();
    interfaces
        .map(|interface| InterfaceInfo {
            name: interface.name.clone(),
            kind: crate::machine::interface_kind(interface.kind).to_owned(),
            port: None,
            path: interface.path.clone().unwrap_or_else(|| "/".to_owned()),
        })
        .collect()
}
