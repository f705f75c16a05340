//! Judges announcements one after the other, on what was read of them: pure.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

use jiff::Timestamp;

use super::super::index::Facet;
use super::super::quota::{self, Limits, PublisherCounts, Standing};
use super::super::{SEQ_STEP_MAX, StoreError, from_ms, to_ms};
use super::{Admission, Arrival};
use crate::id::Blake3Hash;

/// An app of a publisher, by the publisher's place in the batch.
pub(super) type AppKey<'a> = (usize, &'a str);

/// What was read for a batch.
#[derive(Debug, Default)]
pub(super) struct Heard<'a> {
    pub(super) arrivals: Vec<Heading<'a>>,
    pub(super) publishers: Vec<Publisher>,
    pub(super) apps: HashMap<AppKey<'a>, App<'a>>,
    /// Rows of announcements that are stored, by hash.
    pub(super) known: HashMap<Blake3Hash, i64>,
    /// What seqs mean.
    pub(super) meanings: HashMap<(usize, &'a str, u64), Blake3Hash>,
    /// What was taken in of all together.
    pub(super) common: Standing,
    /// What each Nostr key carried today.
    pub(super) pubkeys: HashMap<&'a str, u64>,
    pub(super) next_announcement: i64,
    pub(super) next_app: i64,
}

impl<'a> Heard<'a> {
    /// Returns an app's number; it gets one when it has none.
    fn number(&mut self, key: AppKey<'a>) -> i64 {
        let app = self.apps.entry(key).or_default();
        *app.id.get_or_insert_with(|| {
            app.is_unheard_of = true;
            self.next_app += 1;
            self.next_app - 1
        })
    }
}

/// An arrival with what belongs to it alone.
#[derive(Debug)]
pub(super) struct Heading<'a> {
    pub(super) arrival: Arrival<'a>,
    pub(super) publisher: usize,
    pub(super) epoch: u64,
    pub(super) is_linked: bool,
}

/// A publisher of the batch.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) did: String,
    pub(super) counts: PublisherCounts,
}

/// An app of the batch.
#[derive(Debug, Default)]
pub(super) struct App<'a> {
    /// Its number, when it was heard of.
    pub(super) id: Option<i64>,
    /// Whether the batch gave it its number.
    pub(super) is_unheard_of: bool,
    /// Whether it is in the catalog.
    pub(super) is_shown: bool,
    /// The announcement that is followed, its date and hash; known while what is heard may be of the same `seq`.
    pub(super) followed: Option<(i64, Blake3Hash)>,
    /// Name, tagline and category as they are indexed.
    pub(super) shown: Option<[Cow<'a, str>; 3]>,
    pub(super) rights: Option<String>,
    /// What it is filtered by, as a row; `None` while it is hidden.
    pub(super) facet: Option<i64>,
    pub(super) seq_highest: HashMap<u64, u64>,
    pub(super) today: u64,
    /// Set when the batch changes it.
    pub(super) change: Option<Change<'a>>,
}

/// What becomes of an app's row.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) arrival: Arrival<'a>,
    pub(super) announcement: i64,
    pub(super) is_new: bool,
    pub(super) facet: Facet,
    /// Whether what is indexed changes.
    pub(super) texts: bool,
}

/// What a batch comes to.
#[derive(Debug)]
pub(super) struct Decided<'a> {
    pub(super) heard: Heard<'a>,
    pub(super) admissions: Vec<Admission>,
    /// Announcements to store: row and place in the batch.
    pub(super) announcements: Vec<(i64, usize)>,
    /// Where each announcement was heard: row and place in the batch.
    pub(super) hearings: Vec<(i64, usize)>,
    /// First sightings: app and place in the batch.
    pub(super) sightings: Vec<(i64, usize)>,
    /// Counters that rose, by app and epoch.
    pub(super) counters: HashMap<(i64, u64), u64>,
    /// Contradictions: place in the batch and the release that the seq meant before.
    pub(super) contradictions: Vec<(usize, Blake3Hash)>,
    /// How much was kept of each app.
    pub(super) kept: HashMap<i64, u64>,
    /// How much was kept of each Nostr key that the publisher does not name.
    pub(super) carried: HashMap<&'a str, u64>,
    /// New apps of strangers.
    pub(super) new_apps: u64,
}

/// Judges every announcement in order; what an earlier one changes counts for the later ones.
pub(super) fn decide<'a>(
    heard: Heard<'a>,
    limits: &Limits,
    now: Timestamp,
) -> Result<Decided<'a>, StoreError> {
    let mut decided = Decided {
        admissions: Vec::with_capacity(heard.arrivals.len()),
        heard,
        announcements: Vec::new(),
        hearings: Vec::new(),
        sightings: Vec::new(),
        counters: HashMap::new(),
        contradictions: Vec::new(),
        kept: HashMap::new(),
        carried: HashMap::new(),
        new_apps: 0,
    };
    for place in 0..decided.heard.arrivals.len() {
        let admission = decided.one(place, limits, now)?;
        decided.admissions.push(admission);
    }
    Ok(decided)
}

impl<'a> Decided<'a> {
    fn one(
        &mut self,
        place: usize,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Admission, StoreError> {
        let heading = &self.heard.arrivals[place];
        let (arrival, publisher, epoch) = (heading.arrival, heading.publisher, heading.epoch);
        let announcement = arrival.announcement;
        let (slug, seq) = (announcement.slug.as_str(), announcement.seq);
        let key = (publisher, slug);
        let row = match self.heard.known.get(&announcement.hash()) {
            Some(row) => Ok(*row),
            None => Err(self.heard.next_announcement),
        };
        if row.is_err() {
            let standing = self.standing(place);
            // The owner chose the registries whose releases are listed; catalogs have limits of their own.
            if !announcement.is_listed()
                && let Err(refusal) = quota::judge(&standing, limits)
            {
                return Ok(Admission::OverQuota(refusal));
            }
            self.keep(place);
        }
        let number = self.heard.number(key);
        let (id, known) = (row.unwrap_or_else(|next| next), row.is_ok());
        self.hearings.push((id, place));

        let second = announcement.release.blake3;
        let sightings = &mut self.sightings;
        let first = *self
            .heard
            .meanings
            .entry((publisher, slug, seq))
            .or_insert_with(|| {
                sightings.push((number, place));
                second
            });
        if first != second {
            self.contradictions.push((place, first));
            let since = &mut self.heard.publishers[publisher].counts.frozen_since_ms;
            since.get_or_insert(to_ms(now));
            return Ok(Admission::Equivocation { seq, first, second });
        }
        if let Some(since) = self.heard.publishers[publisher].counts.frozen_since_ms {
            return Ok(Admission::Frozen {
                since: from_ms(since)?,
            });
        }
        let app = self.heard.apps.entry(key).or_default();
        if let Some(&highest_seq) = app.seq_highest.get(&epoch) {
            if seq < highest_seq {
                return Ok(Admission::Older { highest_seq });
            }
            if seq > highest_seq.saturating_add(SEQ_STEP_MAX) {
                return Ok(Admission::FastForward { highest_seq });
            }
            // A listed release has one card for ever, so it may come back to a catalog that it had left.
            let is_back = announcement.is_listed() && !app.is_shown;
            if seq == highest_seq && (known && !is_back || !renews(app, &arrival)) {
                return Ok(Admission::Known);
            }
        }
        if app.seq_highest.insert(epoch, seq) != Some(seq) {
            self.counters.insert((number, epoch), seq);
            // What the new release needs is worked out when it is here.
            app.rights = None;
        }
        self.follow(place, id);
        Ok(Admission::Newest)
    }

    /// Takes an announcement in that is not stored yet.
    fn keep(&mut self, place: usize) {
        let heading = &self.heard.arrivals[place];
        let (arrival, publisher) = (heading.arrival, heading.publisher);
        let is_linked = heading.is_linked;
        let id = self.heard.next_announcement;
        self.heard.next_announcement += 1;
        self.heard.known.insert(arrival.announcement.hash(), id);
        self.announcements.push((id, place));
        if arrival.announcement.is_listed() {
            return;
        }
        let key = (publisher, arrival.announcement.slug.as_str());
        let number = self.heard.number(key);
        self.heard.apps.entry(key).or_default().today += 1;
        self.heard.publishers[publisher].counts.today += 1;
        *self.kept.entry(number).or_default() += 1;
        if let Some(pubkey) = arrival.pubkey.filter(|_| !is_linked) {
            *self.heard.pubkeys.entry(pubkey).or_default() += 1;
            *self.carried.entry(pubkey).or_default() += 1;
        }
    }

    fn standing(&self, place: usize) -> Standing {
        let heading = &self.heard.arrivals[place];
        let counts = &self.heard.publishers[heading.publisher].counts;
        let slug = heading.arrival.announcement.slug.as_str();
        let app = self.heard.apps.get(&(heading.publisher, slug));
        let pubkey = heading.arrival.pubkey;
        Standing {
            has_app: app.is_some_and(|app| app.is_shown),
            is_known: counts.is_known,
            is_linked: heading.is_linked,
            app_today: app.map_or(0, |app| app.today),
            publisher_today: counts.today,
            publisher_apps: counts.apps,
            pubkey_today: pubkey
                .and_then(|pubkey| self.heard.pubkeys.get(pubkey).copied())
                .unwrap_or(0),
            ..self.heard.common
        }
    }

    /// Makes an announcement the one that the catalog shows.
    fn follow(&mut self, place: usize, id: i64) {
        let heading = &self.heard.arrivals[place];
        let arrival = heading.arrival;
        let announcement = arrival.announcement;
        let publisher = &mut self.heard.publishers[heading.publisher];
        let key = (heading.publisher, announcement.slug.as_str());
        let app = self.heard.apps.entry(key).or_default();
        let is_new = !app.is_shown || app.change.as_ref().is_some_and(|change| change.is_new);
        if !app.is_shown {
            app.is_shown = true;
            publisher.counts.apps += 1;
            self.heard.common.apps += 1;
            if !publisher.counts.is_known {
                self.heard.common.new_apps_today += 1;
                self.new_apps += 1;
            }
        }
        let card = &announcement.card;
        let shown = [&card.name, &card.tagline, &card.category].map(String::as_str);
        let is_shown = app.shown.as_ref().is_some_and(|before| {
            let before = before.iter().map(Cow::as_ref);
            before.eq(shown)
        });
        let texts = app.change.as_ref().is_some_and(|change| change.texts) || !is_shown;
        app.shown = Some(shown.map(Cow::Borrowed));
        app.followed = Some((to_ms(announcement.created), announcement.hash()));
        app.change = Some(Change {
            arrival,
            announcement: id,
            is_new,
            facet: Facet::of(
                announcement,
                app.rights.as_deref(),
                publisher.counts.micro_points,
            ),
            texts,
        });
    }
}

/// Tells whether an announcement of the same release is younger than the one that is followed.
fn renews(app: &App<'_>, arrival: &Arrival<'_>) -> bool {
    let Some((created, hash)) = &app.followed else {
        return true;
    };
    // Of two signed in one second the lower hash counts, so that every node follows the same one.
    let heard = (
        Reverse(to_ms(arrival.announcement.created)),
        arrival.announcement.hash(),
    );
    heard < (Reverse(*created), *hash)
}
