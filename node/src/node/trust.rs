//! What the node knows of publishers and what its owner says of them: `trust.*` and `policy.*`.

use std::collections::{BTreeMap, BTreeSet};

use archy_nostr::{Draft, DraftError, Label, Pubkey};
use archy_registry::store::{CatalogQuery, HISTORY_LIMIT_MAX, LogCursor};
use archy_registry::trust::opinion::{Rater, WORDS_BYTES_MAX};
use archy_registry::trust::{Event, Evidence};
use archy_registry::{Did, Slug};
use jiff::Timestamp;

use super::{Node, invalid, parse_slug};
use crate::api::problem;
use crate::api::types::{
    BlockParams, Event as Changed, History, HistoryParams, OpinionGiven, OpinionPublished,
    PinParams, Policy, PolicyPage, Problem, PublisherMark, ReportKind, ReportParams,
    ReviewerParams, Reviewers, TrustCap, TrustPage, VouchOpinion, VouchParams,
};
use crate::policy::{Action, WARN_POINTS};
use crate::problem as explain;
use crate::{observations, view};

/// Rows of one answer unless asked otherwise.
const ROWS: u32 = 100;
/// Apps by which a publisher is recognised.
const APPS: u32 = 3;

impl Node {
    pub(super) async fn trust_page(&self, publisher: &str) -> Result<TrustPage, Problem> {
        self.trust_of(&parse_did(publisher)?).await
    }

    async fn trust_of(&self, publisher: &Did) -> Result<TrustPage, Problem> {
        let now = Timestamp::now();
        let reputation = self.judge.reputation(publisher, now).await?;
        let keys = self.store.key_history(publisher).await;
        let keys = keys.map_err(|error| explain::of_store(&error))?;
        let named: BTreeMap<String, _> = reputation
            .score
            .reasons
            .iter()
            .flat_map(|reason| &reason.evidence)
            .map(|reference| (reference.to_string(), reference))
            .collect();
        let observations = named
            .into_values()
            .filter_map(|reference| observations::explain(&reputation.evidence, reference));
        Ok(TrustPage {
            observations: observations.collect(),
            publisher: view::publisher(&reputation, &keys, now),
            cap: reputation.score.cap.as_ref().map(|cap| TrustCap {
                points: view::points(cap.micro_points),
                text: cap.text.clone(),
            }),
            refusal: self.judge.decide(Action::Install, &reputation, None).err(),
            apps: self.apps_of(publisher).await?,
        })
    }

    /// Names some apps of a publisher.
    async fn apps_of(&self, publisher: &Did) -> Result<Vec<String>, Problem> {
        let query = CatalogQuery {
            publisher: Some(*publisher),
            limit: APPS,
            ..CatalogQuery::default()
        };
        let page = self.store.catalog(&query, Timestamp::now()).await;
        let page = page.map_err(|error| explain::of_store(&error))?;
        let names = page.entries.iter();
        Ok(names
            .map(|entry| entry.announcement.card.name.clone())
            .collect())
    }

    pub(super) async fn trust_history(&self, params: HistoryParams) -> Result<History, Problem> {
        let publisher = parse_did(&params.publisher)?;
        let limit = params.limit.unwrap_or(ROWS).clamp(1, HISTORY_LIMIT_MAX);
        let before: Option<LogCursor> = match params.before.as_deref().map(str::parse) {
            None => None,
            Some(Ok(cursor)) => Some(cursor),
            Some(Err(error)) => return Err(invalid(&error)),
        };
        let rows = self.store.history(&publisher, limit, before.as_ref()).await;
        let rows = rows.map_err(|error| explain::of_store(&error))?;
        let is_full = rows.len() == limit as usize;
        Ok(History {
            observations: rows.iter().map(observations::of_row).collect(),
            next: rows
                .last()
                .filter(|_| is_full)
                .map(|row| row.cursor.to_string()),
        })
    }

    pub(super) async fn reviewer_list(&self) -> Result<Reviewers, Problem> {
        let seeds = self.store.seeds().await;
        let seeds = seeds.map_err(|error| explain::of_store(&error))?;
        Ok(Reviewers {
            reviewers: seeds.iter().map(ToString::to_string).collect(),
            own: self.voice.pubkey()?,
            published: None,
        })
    }

    pub(super) async fn set_reviewer(&self, params: ReviewerParams) -> Result<Reviewers, Problem> {
        let rater = parse_rater(&params.pubkey)?;
        let set = self
            .store
            .set_seed(&rater, params.trusted, Timestamp::now());
        set.await.map_err(|error| explain::of_store(&error))?;
        self.follow.hub().send(Changed::Catalog);
        let published = if params.public {
            Some(self.publish_reviewers().await?)
        } else {
            None
        };
        Ok(Reviewers {
            published,
            ..self.reviewer_list().await?
        })
    }

    /// Tells others whom the owner trusts as reviewers now; what was told before no longer counts then.
    async fn publish_reviewers(&self) -> Result<OpinionPublished, Problem> {
        let seeds = self.store.seeds().await;
        let seeds = seeds.map_err(|error| explain::of_store(&error))?;
        let pubkeys: Vec<Pubkey> = seeds
            .iter()
            .map(|rater| Pubkey::from_bytes(*rater.as_bytes()))
            .collect();
        let draft = Draft::reviewers(&pubkeys).map_err(|error| of_draft(&error))?;
        self.publish_opinion(&draft).await
    }

    pub(super) async fn set_pin(&self, params: PinParams) -> Result<TrustPage, Problem> {
        let event = if params.pinned {
            Event::Pinned
        } else {
            Event::Unpinned
        };
        self.say(&parse_did(&params.publisher)?, &event).await
    }

    pub(super) async fn set_block(&self, params: BlockParams) -> Result<TrustPage, Problem> {
        let event = if params.blocked {
            Event::Blocked
        } else {
            Event::Unblocked
        };
        self.say(&parse_did(&params.publisher)?, &event).await
    }

    /// Writes down the owner's word and returns what it changed.
    async fn say(&self, publisher: &Did, event: &Event) -> Result<TrustPage, Problem> {
        let recorded = self.store.record(publisher, event, Timestamp::now()).await;
        recorded.map_err(|error| explain::of_store(&error))?;
        self.follow.hub().send(Changed::Catalog);
        self.trust_of(publisher).await
    }

    pub(super) async fn give_report(&self, params: ReportParams) -> Result<OpinionGiven, Problem> {
        let publisher = parse_did(&params.publisher)?;
        check_words(&params.text)?;
        let named = params.app.as_deref().map(parse_slug).transpose()?;
        let app = self.complained_app(&publisher, named.clone()).await?;
        let what = match params.kind {
            ReportKind::Malware => "malware",
            ReportKind::Broken => "broken",
            ReportKind::Spam => "not what it says",
            ReportKind::Other => "",
        };
        let words = [what, params.text.trim()];
        let words: Vec<&str> = words.into_iter().filter(|text| !text.is_empty()).collect();
        let words = words.join(": ");
        let draft = if params.public {
            let evidence = self.store.evidence(&publisher).await;
            let evidence = evidence.map_err(|error| explain::of_store(&error))?;
            Some(public_report(
                &evidence,
                named.as_ref(),
                params.kind,
                &words,
            )?)
        } else {
            None
        };
        let complaint = Event::Complaint { app, text: words };
        let page = self.say(&publisher, &complaint).await?;
        let published = match draft {
            None => None,
            Some((draft, note)) => Some(OpinionPublished {
                note,
                ..self.publish_opinion(&draft).await?
            }),
        };
        Ok(OpinionGiven { page, published })
    }

    pub(super) async fn give_vouch(&self, params: VouchParams) -> Result<OpinionGiven, Problem> {
        let publisher = parse_did(&params.publisher)?;
        check_words(&params.text)?;
        let (event, label) = match params.opinion {
            VouchOpinion::Recommend => (Event::Pinned, Label::Recommend),
            VouchOpinion::Withdrawn => (Event::Unpinned, Label::Withdrawn),
            VouchOpinion::Caution => {
                let complaint = Event::Complaint {
                    app: self.complained_app(&publisher, None).await?,
                    text: params.text.trim().to_owned(),
                };
                (complaint, Label::Caution)
            }
        };
        let draft = Draft::vote(publisher, None, label, params.text.trim());
        let draft = draft.map_err(|error| of_draft(&error))?;
        let page = self.say(&publisher, &event).await?;
        let published = if params.public {
            Some(self.publish_opinion(&draft).await?)
        } else {
            None
        };
        Ok(OpinionGiven { page, published })
    }

    async fn publish_opinion(&self, draft: &Draft) -> Result<OpinionPublished, Problem> {
        let relays = self.publish_on.borrow().clone();
        self.voice.say(draft, &relays).await
    }

    /// Finds the app that a complaint is about: the one named, else the installed one, else the catalog's first.
    async fn complained_app(&self, publisher: &Did, named: Option<Slug>) -> Result<Slug, Problem> {
        if let Some(named) = named {
            return Ok(named);
        }
        let observed = self.observed();
        let installed = observed.apps.iter().map(|known| &known.app);
        let mut own = installed.filter(|app| app.publisher == *publisher);
        if let Some(app) = own.next() {
            return Ok(app.slug.clone());
        }
        let query = CatalogQuery {
            publisher: Some(*publisher),
            limit: 1,
            ..CatalogQuery::default()
        };
        let page = self.store.catalog(&query, Timestamp::now()).await;
        let page = page.map_err(|error| explain::of_store(&error))?;
        let entry = page.entries.first();
        entry
            .map(|entry| entry.announcement.slug.clone())
            .ok_or_else(|| {
                problem(
                    "notFound",
                    "This node knows no app of that publisher to complain about",
                    "Name the app, or block the publisher instead",
                )
            })
    }

    pub(super) async fn policy_page(&self) -> Result<PolicyPage, Problem> {
        let marks = self.store.marks().await;
        let marks = marks.map_err(|error| explain::of_store(&error))?;
        Ok(PolicyPage {
            policy: self.judge.policy(),
            usual: Policy::default(),
            warn_points: WARN_POINTS,
            pinned: self.marked(&marks.pinned).await?,
            blocked: self.marked(&marks.blocked).await?,
        })
    }

    async fn marked(
        &self,
        publishers: &BTreeMap<Did, Timestamp>,
    ) -> Result<Vec<PublisherMark>, Problem> {
        let mut marks = Vec::with_capacity(publishers.len());
        for (publisher, since) in publishers {
            marks.push(PublisherMark {
                publisher: publisher.to_string(),
                since: since.to_string(),
                apps: self.apps_of(publisher).await?,
            });
        }
        Ok(marks)
    }

    pub(super) async fn change_policy(&self, policy: Policy) -> Result<PolicyPage, Problem> {
        self.judge.policies.set(policy)?;
        self.follow.hub().send(Changed::Catalog);
        self.policy_page().await
    }
}

/// Drafts what others hear of a report, and says where that differs from what was asked for.
fn public_report(
    evidence: &Evidence,
    app: Option<&Slug>,
    kind: ReportKind,
    words: &str,
) -> Result<(Draft, Option<String>), Problem> {
    let publisher = evidence.publisher;
    let caution = |note: Option<&str>| {
        let draft = Draft::vote(publisher, app, Label::Caution, words);
        let draft = draft.map_err(|error| of_draft(&error))?;
        Ok((draft, note.map(str::to_owned)))
    };
    if kind != ReportKind::Malware {
        return caution(None);
    }
    let bound: BTreeSet<&String> = evidence.nostr.iter().map(|(pubkey, _)| pubkey).collect();
    let pubkey = bound
        .into_iter()
        .find_map(|text| text.parse::<Pubkey>().ok());
    match pubkey {
        Some(pubkey) => {
            let draft = Draft::malware_report(publisher, app, &pubkey, words);
            Ok((draft.map_err(|error| of_draft(&error))?, None))
        }
        None => caution(Some(
            "Sent as a caution: a report of malware must name a Nostr account of the publisher, and none is known",
        )),
    }
}

fn check_words(words: &str) -> Result<(), Problem> {
    if words.len() <= WORDS_BYTES_MAX {
        return Ok(());
    }
    Err(problem(
        "invalid",
        format!(
            "the text has {} bytes, at most {WORDS_BYTES_MAX} are read",
            words.len()
        ),
        "Shorten it",
    ))
}

fn of_draft(error: &DraftError) -> Problem {
    invalid(error)
}

fn parse_did(text: &str) -> Result<Did, Problem> {
    text.parse()
        .map_err(|error: archy_registry::did::DidError| invalid(&error))
}

fn parse_rater(text: &str) -> Result<Rater, Problem> {
    text.parse()
        .map_err(|error: archy_registry::trust::opinion::RaterError| invalid(&error))
}
