//! The order of what was found: pure.

use std::borrow::Cow;
use std::cmp::Reverse;

use serde::Deserialize;

use super::Sort;
use crate::store::index::name_key;
use crate::trust::POINT;

/// An app that has the words: row, where they are (0 name and slug, 1 tagline and category too, 2 description
/// too), category, name key, slug, score and date, in the order in which the query writes them.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Candidate<'a> {
    pub(super) id: i64,
    pub(super) place: u8,
    #[serde(borrow)]
    pub(super) category: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) name_key: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) slug: Cow<'a, str>,
    pub(super) micro_points: i64,
    pub(super) announced_at: i64,
}

/// What names are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name_key: String,
    pub(super) slug: String,
}

impl Wanted {
    pub(super) fn new(words: &[String]) -> Self {
        Self {
            name_key: name_key(&words.concat()),
            slug: words.join("-"),
        }
    }

    /// How well a candidate fits; less is better. Trust decides among those that fit equally well.
    fn distance(&self, candidate: &Candidate<'_>) -> u8 {
        let is_exact = candidate.name_key == self.name_key || candidate.slug == self.slug;
        match candidate.place {
            _ if is_exact => 0,
            0 if candidate.name_key.starts_with(&self.name_key) => 1,
            place => place + 2,
        }
    }
}

/// Puts candidates in order. No two are equal, so that pages never overlap.
pub(super) fn order(candidates: &mut [Candidate<'_>], wanted: &Wanted, sort: Sort) {
    match sort {
        Sort::Relevance => candidates.sort_by_cached_key(|candidate| {
            (
                wanted.distance(candidate),
                Reverse(candidate.micro_points / POINT),
                candidate.name_key.chars().count(),
                candidate.name_key.to_string(),
                candidate.id,
            )
        }),
        Sort::Name => candidates.sort_by(|a, b| (&a.name_key, a.id).cmp(&(&b.name_key, b.id))),
        Sort::Newest => {
            candidates.sort_by_key(|candidate| Reverse((candidate.announced_at, candidate.id)));
        }
        Sort::Score => {
            candidates.sort_by_key(|candidate| Reverse((candidate.micro_points, candidate.id)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: i64, place: u8, name: &'static str, points: i64) -> Candidate<'static> {
        Candidate {
            id,
            place,
            category: "media".into(),
            name_key: name_key(name).into(),
            slug: name.to_lowercase().replace(' ', "-").into(),
            micro_points: points * POINT,
            announced_at: id,
        }
    }

    fn ids(sort: Sort) -> Vec<i64> {
        let mut candidates = [
            candidate(1, 2, "Backup", 90),
            candidate(2, 1, "Gallery", 90),
            candidate(3, 0, "Big Photo", 0),
            candidate(4, 0, "Photo Prism", 10),
            candidate(5, 0, "Photoview", 60),
            candidate(6, 0, "Photo", 0),
            candidate(7, 1, "Album", 90),
        ];
        order(&mut candidates, &Wanted::new(&["photo".to_owned()]), sort);
        candidates.iter().map(|candidate| candidate.id).collect()
    }

    #[test]
    fn names_come_before_taglines_before_descriptions_and_trust_decides_between_equals() {
        assert_eq!(ids(Sort::Relevance), [6, 5, 4, 3, 7, 2, 1]);
        assert_eq!(ids(Sort::Name), [7, 1, 3, 2, 6, 4, 5]);
        assert_eq!(ids(Sort::Newest), [7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(ids(Sort::Score)[..3], [7, 2, 1]);
    }
}
