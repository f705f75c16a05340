//! Decides which blobs go when room is needed: a pure function of what is held. Deletes nothing.

use std::collections::{BTreeMap, HashMap, HashSet};

use archy_registry::Blake3Hash;

use crate::ledger::{Class, Entry, Set};
use crate::tag::Tag;

/// What is in use and must stay, whatever it is kept for.
#[derive(Debug, Default, Clone)]
pub(crate) struct InUse {
    pub(crate) tags: HashSet<Tag>,
    pub(crate) blobs: HashSet<Blake3Hash>,
}

/// How much must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    /// So much that the request fits.
    pub(crate) bytes_min: u64,
    /// So much that the next ones fit, too.
    pub(crate) bytes_wanted: u64,
}

/// What goes, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Eviction {
    pub(crate) rows: Vec<(Tag, Blake3Hash)>,
    /// Bytes on disk that this frees.
    pub(crate) bytes: u64,
}

/// Why something goes; what is listed first goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// Its fetch failed or was broken off.
    Unfinished,
    /// It only saves fetching or making something else.
    Shortcut,
    /// It can be had again.
    Cache,
    /// It is a version that was installed before.
    Previous,
}

/// Rows that go together.
struct Unit<'a> {
    reason: Reason,
    /// What is smaller goes first, in seconds since 1970.
    at: u64,
    tag: &'a Tag,
    blobs: Vec<Blake3Hash>,
}

/// Returns why a row may go, on its own or with its tag; `None` when it must stay.
fn reason(class: Class, entry: &Entry) -> Option<Reason> {
    if !class.may_go() {
        return None;
    }
    if !entry.hold.is_whole() {
        return Some(Reason::Unfinished);
    }
    if entry.role.is_shortcut() {
        return Some(Reason::Shortcut);
    }
    Some(match class {
        Class::Previous => Reason::Previous,
        Class::Installed | Class::Publishing | Class::Cache => Reason::Cache,
    })
}

/// Chooses what goes. `on_disk` says how many bytes each blob takes now. Frees less than `bytes_min` only when nothing
/// more may go; then it says how much could.
pub(crate) fn plan(
    sets: &BTreeMap<Tag, Set>,
    in_use: &InUse,
    on_disk: impl Fn(&Blake3Hash, &Entry) -> u64,
    need: Need,
) -> Eviction {
    let mut eviction = Eviction::default();
    if need.bytes_wanted == 0 {
        return eviction;
    }
    let mut holders: HashMap<Blake3Hash, u32> = HashMap::new();
    let mut pinned: HashSet<Blake3Hash> = in_use.blobs.clone();
    for (tag, set) in sets {
        for blob in set.blobs.keys() {
            *holders.entry(*blob).or_default() += 1;
            if !set.class.may_go() || in_use.tags.contains(tag) {
                pinned.insert(*blob);
            }
        }
    }
    for unit in units(sets, in_use, &pinned) {
        if eviction.bytes >= need.bytes_wanted {
            break;
        }
        let set = &sets[unit.tag];
        for blob in unit.blobs {
            let count = holders.entry(blob).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                let bytes = on_disk(&blob, &set.blobs[&blob]);
                eviction.bytes = eviction.bytes.saturating_add(bytes);
            }
            eviction.rows.push((unit.tag.clone(), blob));
        }
    }
    eviction
}

/// Lists what may go in the order in which it goes. What frees nothing because somebody else needs it stays.
fn units<'a>(
    sets: &'a BTreeMap<Tag, Set>,
    in_use: &InUse,
    pinned: &HashSet<Blake3Hash>,
) -> Vec<Unit<'a>> {
    let mut units = Vec::new();
    let going = |set: &Set| set.class.may_go();
    for (tag, set) in sets
        .iter()
        .filter(|(tag, set)| going(set) && !in_use.tags.contains(*tag))
    {
        let mut together = Vec::new();
        let mut last_used = 0;
        let mut of_tag = Reason::Cache;
        let is_read = set.blobs.keys().any(|blob| in_use.blobs.contains(blob));
        for (blob, entry) in &set.blobs {
            let Some(reason) = reason(set.class, entry) else {
                continue;
            };
            match reason {
                Reason::Unfinished | Reason::Shortcut if !pinned.contains(blob) => {
                    let at = match reason {
                        Reason::Unfinished => entry.first_held,
                        Reason::Shortcut | Reason::Cache | Reason::Previous => entry.last_used,
                    };
                    let blobs = vec![*blob];
                    units.push(Unit {
                        reason,
                        at,
                        tag,
                        blobs,
                    });
                }
                // It goes as soon as somebody reads no more, or with whoever needs it.
                Reason::Unfinished | Reason::Shortcut => {}
                Reason::Cache | Reason::Previous => {
                    of_tag = reason;
                    last_used = last_used.max(entry.last_used);
                    together.push(*blob);
                }
            }
        }
        if !is_read && together.iter().any(|blob| !pinned.contains(blob)) {
            units.push(Unit {
                reason: of_tag,
                at: last_used,
                tag,
                blobs: together,
            });
        }
    }
    units.sort_by(|a, b| (a.reason, a.at, a.tag, &a.blobs).cmp(&(b.reason, b.at, b.tag, &b.blobs)));
    units
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::{Hold, Role};

    fn tag(n: u8) -> Tag {
        format!("t{n}").parse().unwrap()
    }

    fn blob(n: u8) -> Blake3Hash {
        Blake3Hash::of(&[n])
    }

    /// A blob is of one size and either here or not, whoever holds it.
    fn size(blob: &Blake3Hash) -> u64 {
        u64::from(blob.as_bytes()[0] % 50)
    }

    fn entry() -> impl Strategy<Value = (u8, Entry)> {
        let holds = proptest::sample::select(&Hold::ALL[..]);
        let roles = proptest::sample::select(&Role::ALL[..]);
        (0..12u8, holds, roles, 0..5u64, 0..5u64).prop_map(|(n, hold, role, first_held, later)| {
            let entry = Entry {
                hold,
                role,
                size_bytes: size(&blob(n)),
                first_held,
                last_used: first_held + later,
            };
            (n, entry)
        })
    }

    fn sets() -> impl Strategy<Value = BTreeMap<Tag, Set>> {
        let class = proptest::sample::select(&Class::ALL[..]);
        let set = (class, proptest::collection::vec(entry(), 1..6));
        proptest::collection::vec(set, 0..8).prop_map(|sets| {
            let sets = sets.into_iter().enumerate();
            sets.map(|(n, (class, blobs))| {
                let blobs = blobs.into_iter().map(|(n, entry)| (blob(n), entry));
                let set = Set {
                    class,
                    blobs: blobs.collect(),
                };
                (tag(n as u8), set)
            })
            .collect()
        })
    }

    fn in_use() -> impl Strategy<Value = InUse> {
        let tags = proptest::collection::hash_set(0..8u8, 0..3);
        let blobs = proptest::collection::hash_set(0..12u8, 0..3);
        (tags, blobs).prop_map(|(tags, blobs)| InUse {
            tags: tags.into_iter().map(tag).collect(),
            blobs: blobs.into_iter().map(blob).collect(),
        })
    }

    fn held(sets: &BTreeMap<Tag, Set>) -> HashSet<Blake3Hash> {
        let blobs = sets.values().flat_map(|set| set.blobs.keys());
        blobs.copied().collect()
    }

    fn sum(blobs: &HashSet<Blake3Hash>) -> u64 {
        blobs.iter().map(size).sum()
    }

    fn run(sets: &BTreeMap<Tag, Set>, in_use: &InUse, bytes: u64) -> Eviction {
        let need = Need {
            bytes_min: bytes,
            bytes_wanted: bytes,
        };
        plan(sets, in_use, |blob, _| size(blob), need)
    }

    /// What is left of `sets`, checking that everything that goes was there.
    fn after(sets: &BTreeMap<Tag, Set>, eviction: &Eviction) -> BTreeMap<Tag, Set> {
        let mut left = sets.clone();
        for (tag, blob) in &eviction.rows {
            let set = left.get_mut(tag).unwrap();
            set.blobs.remove(blob).expect("goes once");
        }
        left
    }

    proptest! {
        #[test]
        fn what_is_installed_published_or_in_use_stays(
            sets in sets(), in_use in in_use(), bytes in 0..600u64,
        ) {
            let eviction = run(&sets, &in_use, bytes);
            let left = held(&after(&sets, &eviction));
            for (tag, set) in &sets {
                let stays = !set.class.may_go() || in_use.tags.contains(tag);
                for blob in set.blobs.keys() {
                    if stays {
                        prop_assert!(left.contains(blob));
                        let goes = (tag.clone(), *blob);
                        prop_assert!(!eviction.rows.contains(&goes));
                    }
                    prop_assert!(!in_use.blobs.contains(blob) || left.contains(blob));
                }
            }
        }

        #[test]
        fn it_frees_enough_or_all_that_may_go(sets in sets(), in_use in in_use(), bytes in 0..600u64) {
            let eviction = run(&sets, &in_use, bytes);
            let (before, left) = (held(&sets), held(&after(&sets, &eviction)));
            prop_assert_eq!(eviction.bytes, sum(&before) - sum(&left), "it says what it frees");
            if eviction.bytes < bytes {
                let mut all = sets.clone();
                all.retain(|tag, set| {
                    let is_read = set.blobs.iter().any(|(blob, entry)| {
                        in_use.blobs.contains(blob)
                            && matches!(reason(set.class, entry), Some(Reason::Cache | Reason::Previous))
                    });
                    !set.class.may_go() || in_use.tags.contains(tag) || is_read
                });
                // Of a tag that is read, what is unfinished or a shortcut goes by itself.
                for (tag, set) in &mut all {
                    if set.class.may_go() && !in_use.tags.contains(tag) {
                        set.blobs.retain(|blob, entry| {
                            in_use.blobs.contains(blob)
                                || matches!(reason(set.class, entry), Some(Reason::Cache | Reason::Previous))
                        });
                    }
                }
                let most = sum(&before) - sum(&held(&all));
                prop_assert!(eviction.bytes <= most);
                prop_assert_eq!(run(&sets, &in_use, u64::MAX).bytes, eviction.bytes, "nothing more goes");
            }
        }

        #[test]
        fn it_goes_in_the_stated_order_and_no_further_than_needed(
            sets in sets(), in_use in in_use(), bytes in 1..600u64,
        ) {
            let all = run(&sets, &in_use, u64::MAX);
            let some = run(&sets, &in_use, bytes);
            prop_assert_eq!(&all.rows[..some.rows.len()], &some.rows[..], "less is a beginning of more");
            let reasons: Vec<_> = all.rows.iter()
                .map(|(tag, blob)| reason(sets[tag].class, &sets[tag].blobs[blob]).unwrap())
                .collect();
            prop_assert!(reasons.is_sorted());
            for wanted in [Reason::Unfinished, Reason::Shortcut] {
                let at: Vec<_> = all.rows.iter().zip(&reasons)
                    .filter(|(_, reason)| **reason == wanted)
                    .map(|((tag, blob), _)| {
                        let entry = sets[tag].blobs[blob];
                        if wanted == Reason::Unfinished { entry.first_held } else { entry.last_used }
                    })
                    .collect();
                prop_assert!(at.is_sorted());
            }
            // Without the last unit it would not have been enough.
            if let Some((last, _)) = some.rows.last() {
                let cut = some.rows.iter().position(|(tag, blob)| {
                    let whole = matches!(
                        reason(sets[tag].class, &sets[tag].blobs[blob]),
                        Some(Reason::Cache | Reason::Previous)
                    );
                    tag == last && whole
                });
                let fewer = Eviction { rows: some.rows[..cut.unwrap_or(some.rows.len() - 1)].to_vec(), bytes: 0 };
                let freed = sum(&held(&sets)) - sum(&held(&after(&sets, &fewer)));
                prop_assert!(freed < bytes);
            }
        }
    }
}
