//! Properties of key states: no random step slips through, a thief of current keys never takes over, and in
//! which order a node hears things does not matter.

use std::collections::BTreeSet;

use archy_registry::key_state::{self, KeyHistory, KeyState, NostrKey, commitment};
use archy_registry::{Blake3Hash, Did, SigningKey, Verified};
use proptest::prelude::*;
use proptest::sample::subsequence;

use crate::common::{hours_later, key, now};
use crate::key_history::{after, first_state, rotation, signed_by};

/// Keys by role: the origin, three current ones, three committed ones, two strangers.
const CURRENT: [u8; 3] = [2, 3, 4];
const COMMITTED: [u8; 3] = [5, 6, 7];

fn keys(seeds: &[u8]) -> Vec<SigningKey> {
    seeds.iter().map(|seed| key(*seed)).collect()
}

/// A publisher whose three keys sign with a threshold, committed to three others.
fn base(threshold: u32) -> Verified<KeyState> {
    let (origin, current, committed) = (key(1), keys(&CURRENT), keys(&COMMITTED));
    let current: Vec<&SigningKey> = current.iter().collect();
    let committed: Vec<&SigningKey> = committed.iter().collect();
    let mut history = KeyHistory::new(origin.did());
    let first = first_state(&origin, &current);
    history
        .admit(&[signed_by(&first, &[&origin]).bytes], now())
        .unwrap();
    let rotation = rotation(history.newest(), &current, &committed, threshold);
    let signers = &current[..threshold as usize];
    history
        .admit(&[signed_by(&rotation, signers).bytes], now())
        .unwrap();
    history.newest().clone()
}

fn some_of(seeds: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let most = seeds.len();
    subsequence(seeds, 0..=most)
}

/// Which keys a random state names; mostly a whole set, or the theft of one.
fn key_set() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(CURRENT.to_vec()),
        Just(COMMITTED.to_vec()),
        Just(Vec::new()),
        some_of((1..=9).collect()),
        some_of(COMMITTED.to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_is_accepted_was_signed_by_enough_of_the_right_keys(
        before in 1_u32..=3,
        named in key_set(),
        next in key_set(),
        signers in prop_oneof![some_of(CURRENT.to_vec()), some_of(COMMITTED.to_vec()), some_of((1..=9).collect())],
        threshold in 1_u32..=3,
        floor in any::<bool>(),
        keeps_next in any::<bool>(),
    ) {
        prop_assume!(!signers.is_empty());
        let previous = base(before);
        let signers = keys(&signers);
        let next: Vec<String> = keys(&next).iter().map(|key| commitment(&key.did())).collect();
        let state = KeyState {
            keys: keys(&named).iter().map(SigningKey::did).collect(),
            next: if keeps_next { previous.next.clone() } else { next },
            threshold,
            floors: floor.then(|| ("site".parse().unwrap(), 7)).into_iter().collect(),
            ..after(&previous)
        };
        let signed = signed_by(&state, &signers.iter().collect::<Vec<_>>());
        if key_state::verify(&signed.bytes, Some(&previous), now()).is_err() {
            return Ok(());
        }
        let committed = |did: &Did| previous.next.contains(&commitment(did));
        let (by_committed, by_current) = (
            signers.iter().filter(|key| committed(&key.did())).count(),
            signers.iter().filter(|key| previous.keys.contains(&key.did())).count(),
        );
        prop_assert_eq!(by_committed + by_current, signers.len(), "a stranger signed");
        let has_all_committed = by_committed >= before as usize;
        if state.keys != previous.keys && !state.keys.is_empty() {
            prop_assert!(has_all_committed && state.keys.iter().all(committed));
            let own = signers.iter().filter(|key| state.keys.contains(&key.did())).count();
            prop_assert!(own >= state.threshold as usize);
        }
        if state.keys == previous.keys {
            prop_assert!(by_current == before as usize);
        }
        let changes = state.next != previous.next
            || state.floors != previous.floors
            || state.threshold != previous.threshold;
        prop_assert!(!changes || has_all_committed);
    }
}

/// What a thief who has every key that ever spoke, but no committed one, signs.
#[derive(Debug, Clone)]
enum Theft {
    Renew { on: usize, by: usize, hours: i64 },
    Stop { on: usize, by: usize, hours: i64 },
    TakeOver { on: usize, by: usize },
}

fn theft() -> impl Strategy<Value = Theft> {
    let (on, by, hours) = (0_usize..64, 0_usize..64, 1_i64..2000);
    prop_oneof![
        3 => (on.clone(), by.clone(), hours.clone()).prop_map(|(on, by, hours)| Theft::Renew { on, by, hours }),
        2 => (on.clone(), by.clone(), hours).prop_map(|(on, by, hours)| Theft::Stop { on, by, hours }),
        1 => (on, by).prop_map(|(on, by)| Theft::TakeOver { on, by }),
    ]
}

const LOOT: u8 = 200;

/// The publisher's own chain: at each place a renewal or a rotation, and a rotation at the end.
fn own_chain(steps: &[bool]) -> (Vec<Verified<KeyState>>, Vec<Vec<u8>>) {
    let mut history = KeyHistory::new(key(1).did());
    let mut seed = 1;
    let mut bytes = vec![signed_by(&first_state(&key(1), &[&key(2)]), &[&key(1)]).bytes];
    let mut states = Vec::new();
    history.admit(&bytes, now()).unwrap();
    states.push(history.newest().clone());
    for is_rotation in steps.iter().copied().chain([true]) {
        let previous = history.newest();
        let signed = if is_rotation {
            seed += 1;
            let state = rotation(previous, &[&key(seed)], &[&key(seed + 1)], 1);
            signed_by(&state, &[&key(seed)])
        } else {
            let nostr = vec![NostrKey {
                pubkey: "ab".repeat(32),
                expires: hours_later(i64::try_from(bytes.len()).unwrap()),
            }];
            let state = KeyState {
                nostr,
                ..after(previous)
            };
            signed_by(&state, &[&key(seed)])
        };
        history.admit(&[&signed.bytes], now()).unwrap();
        states.push(history.newest().clone());
        bytes.push(signed.bytes);
    }
    (states, bytes)
}

/// Signs a theft on one of `states`, with the key that speaks there unless that is the last one.
fn steal(theft: &Theft, states: &[Verified<KeyState>], last_key: &Did) -> Vec<u8> {
    let (on, by) = match *theft {
        Theft::Renew { on, by, .. } | Theft::Stop { on, by, .. } | Theft::TakeOver { on, by } => {
            (&states[on % states.len()], by)
        }
    };
    let hot: Vec<SigningKey> = (1..30)
        .map(key)
        .filter(|key| states.iter().any(|state| state.keys.contains(&key.did())))
        .filter(|key| key.did() != *last_key)
        .collect();
    let own = hot.iter().find(|key| on.keys.contains(&key.did()));
    let signer = own.unwrap_or(&hot[by % hot.len()]);
    let loot = key(LOOT);
    let (state, signer) = match *theft {
        Theft::Renew { hours, .. } => {
            let expires = hours_later(hours);
            (
                KeyState {
                    expires,
                    ..after(on)
                },
                signer,
            )
        }
        Theft::Stop { hours, .. } => {
            let stop = KeyState {
                keys: Vec::new(),
                expires: hours_later(hours),
                ..after(on)
            };
            (stop, signer)
        }
        Theft::TakeOver { by, .. } => {
            let take_over = KeyState {
                keys: vec![loot.did()],
                next: vec![commitment(&key(LOOT + 1).did())],
                ..after(on)
            };
            (take_over, if by % 2 == 0 { &loot } else { signer })
        }
    };
    signed_by(&state, &[signer]).bytes
}

/// Hears everything, again and again until nothing more is taken up; returns what was found contradictory.
fn hear_all(history: &mut KeyHistory, heard: &[Vec<u8>]) -> Vec<(u64, Blake3Hash)> {
    let mut contradictions = BTreeSet::new();
    for _ in 0..=heard.len() {
        let mut is_done = true;
        for bytes in heard {
            let Ok(admitted) = history.admit(&[bytes], now()) else {
                continue;
            };
            is_done &= admitted.added.is_empty();
            let found = admitted.contradictions.iter();
            contradictions.extend(found.map(|one| (one.seq, one.second.to_string())));
        }
        if is_done {
            break;
        }
    }
    contradictions
        .into_iter()
        .map(|(seq, hash)| (seq, hash.parse().unwrap()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_thief_of_current_keys_never_takes_over_and_the_order_of_hearing_does_not_matter(
        steps in proptest::collection::vec(any::<bool>(), 0..4),
        thefts in proptest::collection::vec(theft(), 0..8),
        order in any::<u64>(),
    ) {
        let (states, own) = own_chain(&steps);
        let last = states.last().unwrap();
        let mut heard = own[1..].to_vec();
        heard.extend(thefts.iter().map(|theft| steal(theft, &states, &last.keys[0])));
        let mut shuffled = heard.clone();
        shuffled.sort_by_key(|bytes| {
            Blake3Hash::of(&[&order.to_be_bytes()[..], bytes].concat()).to_string()
        });
        for heard in [&heard, &shuffled] {
            let mut history = KeyHistory::new(key(1).did());
            history.admit(&own[..1], now()).unwrap();
            let contradictions = hear_all(&mut history, heard);
            prop_assert_eq!(history.newest(), last);
            for (seq, second) in contradictions {
                prop_assert!(history.has_settled("key_state", seq, &second), "still frozen");
            }
            for state in history.known_states() {
                prop_assert!(!state.keys.contains(&key(LOOT).did()));
            }
        }
    }
}
