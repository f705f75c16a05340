//! Which events say what people think of publishers and whom they trust to say it; what it is worth is the
//! registry's to say.
//!
//! Three kinds of others' making: a set of pubkeys (NIP-51) names reviewers, a label (NIP-32) recommends,
//! cautions or takes back, a report (NIP-56) says malware. A deletion request (NIP-09) is none: it asks relays to
//! forget an event, and names neither publisher nor opinion. Who changes its mind says so with a newer event.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use archy_registry::trust::opinion::{
    Opinion, REVIEWERS_MAX, Rater, ReviewerList, Vote, WORDS_BYTES_MAX,
};
use archy_registry::{AppId, Did, Slug};

use crate::event::{Event, Pubkey};
use crate::sdk::Authentic;
use crate::statement::timestamp;

/// Kind of a reviewer list: a set of pubkeys (NIP-51).
pub const KIND_REVIEWERS: u16 = 30_000;
/// Kind of a vote: a label (NIP-32).
pub const KIND_LABEL: u16 = 1985;
/// Kind of a report of malware (NIP-56).
pub const KIND_REPORT: u16 = 1984;
/// `d` tag of a reviewer list.
pub const D_REVIEWERS: &str = "archy:reviewers";
/// Namespace of the labels.
pub const LABEL_NAMESPACE: &str = "archy";
/// Most bytes of an opinion's content and tag elements together.
pub const OPINION_BYTES_MAX: usize = 64 * 1024;

/// The type of a report that counts.
pub(crate) const REPORT_TYPE: &str = "malware";

/// What a label says of a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Label {
    /// The publisher's apps are good.
    Recommend,
    /// The publisher's apps are not good.
    Caution,
    /// Takes back what its author said before, a report of malware too.
    Withdrawn,
}

impl Label {
    /// Every label.
    pub const ALL: [Self; 3] = [Self::Recommend, Self::Caution, Self::Withdrawn];

    /// Returns the label as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recommend => "recommend",
            Self::Caution => "caution",
            Self::Withdrawn => "withdrawn",
        }
    }
}

impl From<Label> for Opinion {
    fn from(label: Label) -> Self {
        match label {
            Label::Recommend => Self::Recommend,
            Label::Caution => Self::Caution,
            Label::Withdrawn => Self::Withdrawn,
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text is no label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a label is recommend, caution or withdrawn")]
pub struct LabelError;

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        Self::ALL
            .into_iter()
            .find(|label| label.as_str() == text)
            .ok_or(LabelError)
    }
}

/// What an event says, read from its tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// Whom its author trusts as reviewers.
    Reviewers(Vec<Rater>),
    /// What its author thinks of a publisher.
    Vote {
        publisher: Did,
        app: Option<Slug>,
        opinion: Opinion,
    },
}

/// Why an event is no opinion that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoOpinion {
    /// Content and tags are larger than any opinion.
    #[error("its content and tags have {0} bytes")]
    TooLarge(usize),
    /// A set of pubkeys for another purpose.
    #[error("its d tag is not {D_REVIEWERS}")]
    OtherSet,
    /// More reviewers than a list has.
    #[error("it names {0} reviewers, a list has at most {REVIEWERS_MAX}")]
    TooMany(usize),
    /// A `p` tag without a pubkey.
    #[error("one of its p tags is no pubkey")]
    Reviewer,
    /// No label of ours, or several.
    #[error("it does not carry exactly one label of the namespace {LABEL_NAMESPACE}")]
    Label,
    /// A report, but not of malware.
    #[error("it is not a report of malware")]
    OtherReport,
    /// No publisher, several, or an app of somebody else.
    #[error("its r tags do not name exactly one publisher and at most one app of it")]
    About,
}

/// Reads what an event of one of the three kinds says.
pub(crate) fn read(event: &Event) -> Result<Said, NoOpinion> {
    let size_bytes =
        event.content.len() + event.tags.iter().flatten().map(String::len).sum::<usize>();
    if size_bytes > OPINION_BYTES_MAX {
        return Err(NoOpinion::TooLarge(size_bytes));
    }
    if event.kind == KIND_REVIEWERS {
        return reviewers(event).map(Said::Reviewers);
    }
    let opinion = if event.kind == KIND_LABEL {
        label(event)?.into()
    } else {
        report(event)?
    };
    let (publisher, app) = about(event)?;
    Ok(Said::Vote {
        publisher,
        app,
        opinion,
    })
}

fn reviewers(event: &Event) -> Result<Vec<Rater>, NoOpinion> {
    if event.tag("d") != Some(D_REVIEWERS) {
        return Err(NoOpinion::OtherSet);
    }
    let count = event.tag_values("p").count();
    if count > REVIEWERS_MAX {
        return Err(NoOpinion::TooMany(count));
    }
    let own = rater(&event.pubkey);
    let mut seen = HashSet::from([own]);
    let mut trusts = Vec::new();
    for pubkey in event.tag_values("p") {
        let reviewer: Rater = pubkey.parse().map_err(|_| NoOpinion::Reviewer)?;
        // Who names somebody twice, or itself, says no more than once.
        if seen.insert(reviewer) {
            trusts.push(reviewer);
        }
    }
    Ok(trusts)
}

fn label(event: &Event) -> Result<Label, NoOpinion> {
    if !event
        .tag_values("L")
        .any(|namespace| namespace == LABEL_NAMESPACE)
    {
        return Err(NoOpinion::Label);
    }
    let mut ours = event.tags.iter().filter_map(|tag| match tag.as_slice() {
        [name, value, namespace, ..] if name == "l" && namespace == LABEL_NAMESPACE => Some(value),
        _ => None,
    });
    let (Some(label), None) = (ours.next(), ours.next()) else {
        return Err(NoOpinion::Label);
    };
    label.parse().map_err(|_| NoOpinion::Label)
}

/// A report names its type beside the pubkey; whose pubkey it is does not matter, `r` names the publisher.
fn report(event: &Event) -> Result<Opinion, NoOpinion> {
    let is_malware = |tag: &Vec<String>| matches!(tag.as_slice(), [name, _, kind, ..] if name == "p" && kind == REPORT_TYPE);
    if event.tags.iter().any(is_malware) {
        Ok(Opinion::Malware)
    } else {
        Err(NoOpinion::OtherReport)
    }
}

/// Reads of whom an event speaks: one `r` tag with the publisher's DID, at most one with an app of it. Other `r`
/// tags, such as web addresses, say nothing here.
fn about(event: &Event) -> Result<(Did, Option<Slug>), NoOpinion> {
    let mut publisher = None;
    let mut app = None;
    for value in event
        .tag_values("r")
        .filter(|value| value.starts_with("did:"))
    {
        let again = if value.contains('/') {
            let named: AppId = value.parse().map_err(|_| NoOpinion::About)?;
            app.replace(named).is_some()
        } else {
            let named: Did = value.parse().map_err(|_| NoOpinion::About)?;
            publisher.replace(named).is_some()
        };
        if again {
            return Err(NoOpinion::About);
        }
    }
    let publisher = publisher.ok_or(NoOpinion::About)?;
    match app {
        Some(app) if app.publisher != publisher => Err(NoOpinion::About),
        app => Ok((publisher, app.map(|app| app.slug))),
    }
}

/// Makes a reviewer list of an authentic event; `None` for a date outside the calendar.
pub(crate) fn reviewer_list(event: &Authentic, trusts: Vec<Rater>) -> Option<ReviewerList> {
    Some(ReviewerList {
        rater: rater(&event.pubkey),
        trusts,
        event_id: event.id.to_string(),
        created: timestamp(event.created_at)?,
    })
}

/// Makes a vote of an authentic event; `None` for a date outside the calendar.
///
/// Words beyond [`WORDS_BYTES_MAX`] are cut: a warning counts however long its author explains it.
pub(crate) fn vote(
    event: Authentic,
    publisher: Did,
    app: Option<Slug>,
    opinion: Opinion,
) -> Option<Vote> {
    let mut event = event.into_inner();
    let end = event.content.floor_char_boundary(WORDS_BYTES_MAX);
    event.content.truncate(end);
    Some(Vote {
        rater: rater(&event.pubkey),
        publisher,
        app,
        opinion,
        words: event.content,
        event_id: event.id.to_string(),
        created: timestamp(event.created_at)?,
    })
}

fn rater(pubkey: &Pubkey) -> Rater {
    Rater::from_bytes(*pubkey.as_bytes())
}

#[cfg(test)]
mod tests;
