//! Events on their way to the relays: what is to be signed, and which earlier events it replaces.

use archy_registry::announcement::Announcement;
use archy_registry::trust::opinion::{REVIEWERS_MAX, WORDS_BYTES_MAX};
use archy_registry::{AppId, Did, Slug, Verified};
use jiff::Timestamp;

use crate::event::Pubkey;
use crate::filter::Filter;
use crate::opinion::{
    D_REVIEWERS, KIND_LABEL, KIND_REPORT, KIND_REVIEWERS, LABEL_NAMESPACE, Label, REPORT_TYPE,
};
use crate::sdk::Unsigned;
use crate::statement::{KIND, Subject};
use crate::topic::TOPIC;

/// An event on its way to the relays: all but its author and date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    kind: u16,
    tags: Vec<Vec<String>>,
    content: String,
    replaces: Replaces,
}

/// Which earlier events of its author it replaces, so that it must be dated after them.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Replaces {
    /// The one with this `d` tag.
    Slot(String),
    /// Votes on this publisher.
    Votes(Did),
    /// None.
    Nothing,
}

/// Something that no event can carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// Larger than followers read.
    #[error("the statement has {size_bytes} bytes, followers read at most {max}")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
        /// What is read.
        max: usize,
    },
    /// Not text.
    #[error("the statement is not UTF-8 text")]
    NotText,
    /// More words than a vote has.
    #[error("the words have {0} bytes, a vote has at most {WORDS_BYTES_MAX}; shorten them")]
    Words(usize),
    /// More reviewers than a list has.
    #[error("the list names {0} reviewers, followers read at most {REVIEWERS_MAX}")]
    Reviewers(usize),
}

pub(crate) fn tag<const N: usize>(elements: [&str; N]) -> Vec<String> {
    elements.map(str::to_owned).to_vec()
}

impl Draft {
    /// Drafts the event of any statement. `content` are the signed bytes.
    ///
    /// # Errors
    ///
    /// When the statement is too large or no text.
    pub fn new(
        subject: Subject,
        did: Did,
        content: &[u8],
        expires: Option<Timestamp>,
    ) -> Result<Self, DraftError> {
        let max = subject.content_bytes_max();
        if content.len() > max {
            return Err(DraftError::TooLarge {
                size_bytes: content.len(),
                max,
            });
        }
        let content = std::str::from_utf8(content).map_err(|_| DraftError::NotText)?;
        let d = subject.d();
        let mut tags = vec![
            tag(["d", &d]),
            tag(["t", TOPIC]),
            tag(["did", &did.to_string()]),
        ];
        if let Some(expires) = expires {
            let seconds = expires.as_second().max(0);
            tags.push(tag(["expiration", &seconds.to_string()]));
        }
        Ok(Self {
            kind: KIND,
            tags,
            content: content.to_owned(),
            replaces: Replaces::Slot(d),
        })
    }

    /// Drafts the event of an announcement. `bytes` are those that were verified.
    ///
    /// # Errors
    ///
    /// See [`Draft::new`].
    pub fn announcement(
        announcement: &Verified<Announcement>,
        bytes: &[u8],
    ) -> Result<Self, DraftError> {
        let subject = Subject::Announcement(announcement.slug.clone());
        Self::new(
            subject,
            announcement.publisher,
            bytes,
            Some(announcement.expires),
        )
    }

    /// Drafts the event of a publisher's key states: the whole chain ([`chain`]), because relays keep only the
    /// newest event and whoever was away must be able to check every step.
    ///
    /// It gets no expiry for relays: an outdated key state still tells a rotation or a revocation.
    ///
    /// # Errors
    ///
    /// See [`Draft::new`].
    ///
    /// [`chain`]: archy_registry::key_state::chain
    pub fn key_states(publisher: Did, chain: &[u8]) -> Result<Self, DraftError> {
        Self::new(Subject::KeyState, publisher, chain, None)
    }

    /// Drafts a reviewer list (NIP-51): all whom its author trusts as reviewers, none to trust nobody any more.
    ///
    /// Relays that take at most 64 KiB take about 880 reviewers.
    ///
    /// # Errors
    ///
    /// When it is longer than followers read.
    pub fn reviewers(reviewers: &[Pubkey]) -> Result<Self, DraftError> {
        if reviewers.len() > REVIEWERS_MAX {
            return Err(DraftError::Reviewers(reviewers.len()));
        }
        let mut tags = vec![tag(["d", D_REVIEWERS]), tag(["t", TOPIC])];
        tags.extend(
            reviewers
                .iter()
                .map(|reviewer| tag(["p", &reviewer.to_string()])),
        );
        Ok(Self {
            kind: KIND_REVIEWERS,
            tags,
            content: String::new(),
            replaces: Replaces::Slot(D_REVIEWERS.to_owned()),
        })
    }

    /// Drafts a vote (NIP-32) on a publisher, or with one of its apps in mind.
    ///
    /// # Errors
    ///
    /// When the words are longer than followers keep.
    pub fn vote(
        publisher: Did,
        app: Option<&Slug>,
        label: Label,
        words: &str,
    ) -> Result<Self, DraftError> {
        let tags = vec![
            tag(["t", TOPIC]),
            tag(["L", LABEL_NAMESPACE]),
            tag(["l", label.as_str(), LABEL_NAMESPACE]),
        ];
        Self::opinion(KIND_LABEL, tags, publisher, app, words)
    }

    /// Drafts a report of malware (NIP-56). `pubkey` is a Nostr key of the publisher, which the NIP asks for.
    ///
    /// # Errors
    ///
    /// When the words are longer than followers keep.
    pub fn malware_report(
        publisher: Did,
        app: Option<&Slug>,
        pubkey: &Pubkey,
        words: &str,
    ) -> Result<Self, DraftError> {
        let tags = vec![
            tag(["t", TOPIC]),
            tag(["p", &pubkey.to_string(), REPORT_TYPE]),
        ];
        Self::opinion(KIND_REPORT, tags, publisher, app, words)
    }

    fn opinion(
        kind: u16,
        mut tags: Vec<Vec<String>>,
        publisher: Did,
        app: Option<&Slug>,
        words: &str,
    ) -> Result<Self, DraftError> {
        if words.len() > WORDS_BYTES_MAX {
            return Err(DraftError::Words(words.len()));
        }
        tags.push(tag(["r", &publisher.to_string()]));
        if let Some(slug) = app {
            let app = AppId {
                publisher,
                slug: slug.clone(),
            };
            tags.push(tag(["r", &app.to_string()]));
        }
        Ok(Self {
            kind,
            tags,
            content: words.to_owned(),
            replaces: Replaces::Votes(publisher),
        })
    }

    /// Returns the filter that the newest event meets which this one replaces, if it replaces any.
    pub(crate) fn replaced(&self, author: Pubkey) -> Option<Filter> {
        let (kinds, letter, value) = match &self.replaces {
            Replaces::Slot(d) => (vec![self.kind], 'd', d.clone()),
            Replaces::Votes(publisher) => {
                (vec![KIND_LABEL, KIND_REPORT], 'r', publisher.to_string())
            }
            Replaces::Nothing => return None,
        };
        Some(Filter {
            authors: Some(vec![author]),
            kinds: Some(kinds),
            tags: [(letter, vec![value])].into(),
            limit: Some(1),
            ..Filter::default()
        })
    }

    /// Drafts an event of a kind that relays keep as NIP-01 says.
    pub(crate) fn of_kind(kind: u16, tags: Vec<Vec<String>>, content: String) -> Self {
        let d = tags.iter().find_map(|tag| match tag.as_slice() {
            [name, d, ..] if name == "d" => Some(d.clone()),
            _ => None,
        });
        Self {
            kind,
            tags,
            content,
            replaces: d.map_or(Replaces::Nothing, Replaces::Slot),
        }
    }

    /// Returns the event to sign.
    pub fn event(&self, created_at: u64) -> Unsigned {
        Unsigned {
            created_at,
            kind: self.kind,
            tags: self.tags.clone(),
            content: self.content.clone(),
        }
    }
}
