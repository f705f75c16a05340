//! Key states that follow each other, rivals of them, and what keys that changed still vouch for.

use std::collections::BTreeSet;

use archy_registry::announcement::{self, Announcement};
use archy_registry::key_state::{
    self, Admitted, KeyHistory, KeyState, STATES_MAX, Standing, StepError, Subject, chain,
    commitment,
};
use archy_registry::release::{self, ReleaseError};
use archy_registry::statement::StatementError;
use archy_registry::{Did, Signed, SigningKey, Verified, add_proof, sign};
use jiff::Timestamp;

use crate::common::{draft, hours_later, key, now};

/// Signs with one key after the other.
pub(crate) fn signed_by<T: serde::Serialize>(statement: &T, keys: &[&SigningKey]) -> Signed {
    let first = sign(statement, keys[0], now()).unwrap();
    keys[1..].iter().fold(first, |signed, key| {
        add_proof(&signed.bytes, key, now()).unwrap()
    })
}

pub(crate) fn after(previous: &Verified<KeyState>) -> KeyState {
    KeyState::after(previous, now(), hours_later(24 * 365))
}

/// A rotation to `keys`, committing to `next`, with a threshold.
pub(crate) fn rotation(
    previous: &Verified<KeyState>,
    keys: &[&SigningKey],
    next: &[&SigningKey],
    threshold: u32,
) -> KeyState {
    KeyState {
        keys: keys.iter().map(|key| key.did()).collect(),
        next: next.iter().map(|key| commitment(&key.did())).collect(),
        threshold,
        ..after(previous)
    }
}

pub(crate) fn first_state(origin: &SigningKey, next: &[&SigningKey]) -> KeyState {
    let next: Vec<Did> = next.iter().map(|key| key.did()).collect();
    KeyState::first(
        origin.did(),
        &next,
        Vec::new(),
        now(),
        hours_later(24 * 365),
    )
}

/// A history with what is needed to grow it.
struct Chain {
    history: KeyHistory,
    states: Vec<Vec<u8>>,
}

impl Chain {
    fn start(origin: &SigningKey, next: &[&SigningKey]) -> Self {
        let mut chain = Self {
            history: KeyHistory::new(origin.did()),
            states: Vec::new(),
        };
        chain.grow(&first_state(origin, next), &[origin]);
        chain
    }

    fn newest(&self) -> Verified<KeyState> {
        self.history.newest().clone()
    }

    fn grow(&mut self, state: &KeyState, signers: &[&SigningKey]) {
        self.grow_at(state, signers, now());
    }

    fn grow_at(&mut self, state: &KeyState, signers: &[&SigningKey], heard: Timestamp) {
        let admitted = hear_at(&mut self.history, state, signers, heard).unwrap();
        assert!(admitted.is_news && admitted.contradictions.is_empty());
        self.states.push(admitted.added[0].1.clone());
    }
}

fn hear(
    history: &mut KeyHistory,
    state: &KeyState,
    signers: &[&SigningKey],
) -> Result<Admitted, key_state::KeyStateError> {
    hear_at(history, state, signers, now())
}

fn hear_at(
    history: &mut KeyHistory,
    state: &KeyState,
    signers: &[&SigningKey],
    heard: Timestamp,
) -> Result<Admitted, key_state::KeyStateError> {
    history.admit(&[signed_by(state, signers).bytes], heard)
}

fn refusal(result: Result<Admitted, key_state::KeyStateError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn k_of_n_keys_sign_together() {
    let (origin, [a, b, c]) = (key(1), [2, 3, 4].map(key));
    let [d, e] = [5, 6].map(key);
    let mut chain = Chain::start(&origin, &[&a, &b, &c]);
    let to_three = rotation(&chain.newest(), &[&a, &b, &c], &[&d, &e], 2);
    for (signers, words) in [
        (&[&a][..], "1 proofs where this step takes exactly 2"),
        (&[&a, &b, &c], "3 proofs where this step takes exactly 2"),
        (&[&origin, &a], "a rotation is signed by new keys"),
    ] {
        let refused = refusal(hear(&mut chain.history, &to_three, signers));
        assert!(refused.contains(words), "{refused}");
    }
    chain.grow(&to_three, &[&c, &a]);
    let state = chain.newest();

    let release = release::assemble(draft(origin.did(), 1)).unwrap();
    let verify = |signers: &[&SigningKey]| {
        release::verify(&signed_by(&release, signers).bytes, &state, now())
    };
    let both = verify(&[&b, &c]).unwrap();
    let signers: BTreeSet<String> = both.signers().iter().map(Did::to_string).collect();
    assert_eq!(
        signers,
        [&b, &c].map(|key| key.did().to_string()).into(),
        "every key that signed"
    );
    for (signers, found) in [(&[&a][..], 1), (&[&a, &b, &c], 3)] {
        let refused = verify(signers).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains(&format!("signed by {found} of")),
            "{refused}"
        );
    }
    assert!(matches!(
        verify(&[&a, &d]),
        Err(ReleaseError::Statement(StatementError::Unauthorised { .. }))
    ));
    let release = verify(&[&b, &c]).unwrap();
    let announcement = Announcement::of(&release, 4000, now());
    let announced = |signers: &[&SigningKey]| {
        announcement::verify(&signed_by(&announcement, signers).bytes, &state, now())
    };
    assert!(announced(&[&b]).is_ok());
    assert!(announced(&[&b, &c]).is_err());

    // One stolen key of three can stop the publisher, and nothing else.
    let renewal = after(&state);
    assert!(refusal(hear(&mut chain.history, &renewal, &[&a])).contains("exactly 2"));
    let lone = rotation(&state, &[&d], &[], 1);
    assert!(refusal(hear(&mut chain.history, &lone, &[&d])).contains("exactly 2"));
    let stop = KeyState {
        keys: Vec::new(),
        ..after(&state)
    };
    let weaker = KeyState {
        threshold: 1,
        ..stop.clone()
    };
    let refused = refusal(hear(&mut chain.history, &weaker, &[&a]));
    assert!(refused.contains("must keep threshold"), "{refused}");
    let vouching = KeyState {
        reaffirm: vec![state.hash()],
        ..stop.clone()
    };
    assert!(hear(&mut chain.history, &vouching, &[&a]).is_err());
    chain.grow(&stop, &[&a]);
    let reopening = rotation(&chain.newest(), &[&d, &e], &[], 1);
    assert!(refusal(hear(&mut chain.history, &reopening, &[&d])).contains("exactly 2"));
    chain.grow(&reopening, &[&d, &e]);
    assert_eq!(chain.newest().keys, [d.did(), e.did()]);
}

#[test]
fn thresholds_and_commitments_make_sense() {
    let (origin, [a, b]) = (key(1), [2, 3].map(key));
    let chain = Chain::start(&origin, &[&a, &b]);
    let good = rotation(&chain.newest(), &[&a, &b], &[], 2);
    let cases: [(&str, KeyState); 4] = [
        (
            "number of keys",
            KeyState {
                threshold: 3,
                ..good.clone()
            },
        ),
        (
            "number of keys",
            KeyState {
                threshold: 0,
                ..good.clone()
            },
        ),
        (
            "as many keys as the threshold",
            KeyState {
                next: vec![commitment(&key(9).did())],
                ..good.clone()
            },
        ),
        (
            "other keys than those that sign now",
            KeyState {
                next: vec![commitment(&a.did()), commitment(&key(9).did())],
                ..good.clone()
            },
        ),
    ];
    for (words, state) in cases {
        let refused = refusal(hear(&mut chain.history.clone(), &state, &[&a, &b]));
        assert!(refused.contains(words), "{refused}");
    }
    assert!(hear(&mut chain.history.clone(), &good, &[&a, &b]).is_ok());
    // A threshold of 1 is not written, so that it has one spelling.
    let one = serde_json::to_string(&*chain.newest()).unwrap();
    assert!(!one.contains("threshold"));
}

#[test]
fn committed_keys_win_whatever_was_heard_first() {
    let (origin, spare) = (key(1), key(2));
    let base = Chain::start(&origin, &[&spare]);
    let state = base.newest();
    let thief_renews = KeyState {
        expires: hours_later(9),
        ..after(&state)
    };
    let thief_stops = KeyState {
        keys: Vec::new(),
        expires: hours_later(8),
        ..after(&state)
    };
    let recovery = rotation(&state, &[&spare], &[], 1);
    let recovery_hash = signed_by(&recovery, &[&spare]).hash;

    for thefts in [
        vec![&thief_renews],
        vec![&thief_stops],
        vec![&thief_renews, &thief_stops],
        vec![&thief_stops, &thief_renews],
    ] {
        let mut history = base.history.clone();
        for theft in &thefts {
            hear(&mut history, theft, &[&origin]).unwrap();
        }
        assert_ne!(history.newest().hash(), recovery_hash);
        assert!(hear(&mut history, &recovery, &[&spare]).unwrap().is_news);
        assert_eq!(history.newest().hash(), recovery_hash);

        // Heard after the recovery, what the old key signs counts for nothing, and freezes nobody.
        let mut history = base.history.clone();
        hear(&mut history, &recovery, &[&spare]).unwrap();
        for theft in &thefts {
            let refused = hear(&mut history, theft, &[&origin]);
            assert!(refusal(refused).contains("had replaced or revoked before"));
        }
        assert_eq!(history.newest().hash(), recovery_hash);
    }

    // A revocation cannot be outrun by renewals.
    let mut history = base.history.clone();
    hear(&mut history, &thief_renews, &[&origin]).unwrap();
    let renewed_again = after(history.newest());
    hear(&mut history, &renewed_again, &[&origin]).unwrap();
    assert!(
        hear(&mut history, &thief_stops, &[&origin])
            .unwrap()
            .is_news
    );
    assert!(history.newest().is_revoked());
}

#[test]
fn a_recovery_may_build_on_a_state_that_lost() {
    let (origin, spare) = (key(1), key(2));
    let mut owner = Chain::start(&origin, &[&spare]);
    let mut node = owner.history.clone();
    let stolen = KeyState {
        expires: hours_later(9),
        ..after(&owner.newest())
    };
    hear(&mut node, &stolen, &[&origin]).unwrap();
    owner.grow(&after(&owner.newest()), &[&origin]);
    owner.grow(&rotation(&owner.newest(), &[&spare], &[], 1), &[&spare]);

    let admitted = node.admit(&owner.states, now()).unwrap();
    assert!(admitted.is_news);
    assert_eq!(node.newest(), owner.history.newest());
    let [found] = &admitted.contradictions[..] else {
        panic!("{admitted:?}")
    };
    assert_eq!((found.subject, found.seq), (Subject::CurrentKeys, 2));
    assert!(node.has_settled("key_state", 2, &found.second));
    // What was heard once is known, whoever brings it.
    assert_eq!(
        node.admit(&owner.states, now()).unwrap(),
        Admitted::default()
    );
}

#[test]
fn two_rotations_of_the_same_keys_are_a_contradiction_that_nothing_settles() {
    let (origin, spare) = (key(1), key(2));
    let mut chain = Chain::start(&origin, &[&spare]);
    let state = chain.newest();
    let one = rotation(&state, &[&spare], &[&key(3)], 1);
    let other = rotation(&state, &[&spare], &[&key(4)], 1);
    chain.grow(&one, &[&spare]);
    let admitted = hear(&mut chain.history, &other, &[&spare]).unwrap();
    let [found] = &admitted.contradictions[..] else {
        panic!("{admitted:?}")
    };
    assert_eq!(found.subject, Subject::CommittedKeys);
    assert!(!admitted.is_news && admitted.added.is_empty());
    let next = rotation(&chain.newest(), &[&key(3)], &[], 1);
    chain.grow(&next, &[&key(3)]);
    assert!(!chain.history.has_settled("rotation", 2, &found.second));
    // By now the key that signed both has been replaced.
    let late = rotation(&state, &[&spare], &[&key(5)], 1);
    assert!(refusal(hear(&mut chain.history, &late, &[&spare])).contains("had replaced"));
}

#[test]
fn a_second_first_state_freezes_until_committed_keys_take_over() {
    let (origin, spare, thief) = (key(1), key(2), key(3));
    let mut chain = Chain::start(&origin, &[&spare]);
    let rival = first_state(&origin, &[&thief]);
    let admitted = hear(&mut chain.history, &rival, &[&origin]).unwrap();
    let second = admitted.contradictions[0].second;
    assert_eq!(admitted.contradictions[0].subject, Subject::CurrentKeys);
    assert!(!chain.history.has_settled("key_state", 1, &second));
    chain.grow(&rotation(&chain.newest(), &[&spare], &[], 1), &[&spare]);
    assert!(chain.history.has_settled("key_state", 1, &second));
    assert!(matches!(
        hear(&mut chain.history, &rival, &[&origin]),
        Err(key_state::KeyStateError::Step(StepError::Ended { .. }))
    ));
}

#[test]
fn a_thief_cannot_fill_the_memory_nor_keep_the_recovery_out() {
    let (origin, spare) = (key(1), key(2));
    let mut chain = Chain::start(&origin, &[&spare]);
    let state = chain.newest();
    let mut refused = 0;
    for hours in 0..STATES_MAX as i64 + 10 {
        let renewal = KeyState {
            expires: hours_later(1 + hours),
            ..after(&state)
        };
        refused += usize::from(hear(&mut chain.history, &renewal, &[&origin]).is_err());
    }
    // The first state is one of those that count.
    assert_eq!(refused, 11);
    chain.grow(&rotation(&state, &[&spare], &[], 1), &[&spare]);
}

/// A release of `seq` by `signer`, of the publisher `origin`.
fn release_of(origin: &SigningKey, signer: &SigningKey, seq: u64) -> Signed {
    let release = release::assemble(draft(origin.did(), seq)).unwrap();
    sign(&release, signer, now()).unwrap()
}

#[test]
fn what_was_seen_before_the_keys_changed_still_counts() {
    let (origin, spare, last) = (key(1), key(2), key(3));
    let signed = release_of(&origin, &origin, 5);
    let mut chain = Chain::start(&origin, &[&spare]);
    let change = hours_later(10);
    let before_change = chain.history.clone();
    chain.grow_at(
        &rotation(&chain.newest(), &[&spare], &[&last], 1),
        &[&spare],
        change,
    );
    let verdict = |history: &KeyHistory, seen| {
        release::verify_seen(&signed.bytes, history, seen, hours_later(20))
            .map(|(_, standing)| standing)
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        verdict(&before_change, None),
        Ok(Standing::Current),
        "nothing has changed yet"
    );
    let since = chain.newest().created;
    assert_eq!(
        verdict(&chain.history, Some(hours_later(9))),
        Ok(Standing::SeenBeforeChange { since })
    );
    // Dated back or simply late: not distinguishable, and refused.
    for seen in [None, Some(change), Some(hours_later(11))] {
        let refused = verdict(&chain.history, seen).unwrap_err();
        assert!(refused.contains("replaced on"), "{refused}");
    }
    let forged = release_of(&origin, &last, 5);
    let refused = release::verify_seen(&forged.bytes, &chain.history, Some(now()), now());
    assert!(
        refused.unwrap_err().to_string().contains("does not speak"),
        "a key that never spoke has not been replaced"
    );

    // A revocation leaves it as a rotation does.
    let stop = KeyState {
        keys: Vec::new(),
        ..after(&chain.newest())
    };
    let mut revoked = chain.history.clone();
    hear_at(&mut revoked, &stop, &[&spare], hours_later(12)).unwrap();
    assert!(matches!(
        verdict(&revoked, Some(hours_later(9))),
        Ok(Standing::SeenBeforeRevocation { .. })
    ));
    assert!(
        verdict(&revoked, Some(hours_later(13)))
            .unwrap_err()
            .contains("has revoked its keys on")
    );

    // A recovery that sets the app's floor ends it, unless it names the release.
    let recovery = KeyState {
        floors: [("site".parse().unwrap(), 2)].into(),
        ..rotation(&chain.newest(), &[&last], &[], 1)
    };
    let naming = KeyState {
        reaffirm: vec![signed.hash],
        ..recovery.clone()
    };
    let mut recovered = chain.history.clone();
    hear_at(&mut recovered, &recovery, &[&last], hours_later(12)).unwrap();
    assert!(
        verdict(&recovered, Some(hours_later(9)))
            .unwrap_err()
            .contains("replaced on")
    );
    hear_at(&mut chain.history, &naming, &[&last], hours_later(12)).unwrap();
    for seen in [None, Some(hours_later(9)), Some(hours_later(13))] {
        assert_eq!(verdict(&chain.history, seen), Ok(Standing::Current));
    }
}

#[test]
fn keys_that_were_not_renewed_vouch_for_nothing_new() {
    let (origin, spare) = (key(1), key(2));
    let mut chain = Chain::start(&origin, &[&spare]);
    let soon = KeyState {
        expires: hours_later(5),
        ..after(&chain.newest())
    };
    chain.grow(&soon, &[&origin]);
    let signed = release_of(&origin, &origin, 1);
    let verify = |history: &KeyHistory, at| {
        release::verify(&signed.bytes, history.newest(), at).map_err(|error| error.to_string())
    };
    assert!(verify(&chain.history, hours_later(4)).is_ok());
    let refused = verify(&chain.history, hours_later(5)).unwrap_err();
    assert!(refused.contains("were not renewed"), "{refused}");
    let seen = Some(now());
    let refused = release::verify_seen(&signed.bytes, &chain.history, seen, hours_later(6));
    assert!(matches!(
        refused.unwrap_err(),
        ReleaseError::Statement(StatementError::KeysExpired { .. })
    ));
    // A late renewal by the same key sets it right.
    let renewal = after(&chain.newest());
    hear_at(&mut chain.history, &renewal, &[&origin], hours_later(7)).unwrap();
    assert!(verify(&chain.history, hours_later(7)).is_ok());
}

#[test]
fn a_chain_has_one_form_and_brings_a_stale_node_up_to_date() {
    let keys: Vec<SigningKey> = (1..=6).map(key).collect();
    let mut owner = Chain::start(&keys[0], &[&keys[1]]);
    for at in 1..5 {
        let state = rotation(&owner.newest(), &[&keys[at]], &[&keys[at + 1]], 1);
        owner.grow(&state, &[&keys[at]]);
    }
    let wire = chain::join(&owner.states);
    let value: serde_json::Value = serde_json::from_slice(&wire).unwrap();
    assert_eq!(archy_registry::json::canonical(&value).unwrap(), wire);
    assert_eq!(chain::split(&wire).unwrap(), owner.states);
    assert_eq!(chain::claimed_publisher(&wire), Some(keys[0].did()));
    let fresh = chain::verify(&wire, keys[0].did(), now()).unwrap();
    assert_eq!(fresh.newest(), owner.history.newest());
    assert_eq!(fresh.newest().seq, 5);

    let mut stale = KeyHistory::new(keys[0].did());
    stale.admit(&owner.states[..2], now()).unwrap();
    let gap = stale.admit(&owner.states[4..], now()).unwrap_err();
    assert!(gap.to_string().contains("lacks those between"), "{gap}");
    let admitted = stale.admit(&chain::split(&wire).unwrap(), now()).unwrap();
    assert_eq!(admitted.added.len(), 3);
    assert_eq!(stale.newest(), owner.history.newest());

    assert_eq!(chain::split(&owner.states[0]).unwrap(), owner.states[..1]);
    assert!(chain::verify(&wire, keys[1].did(), now()).is_err());
    let spaced = String::from_utf8(wire.clone())
        .unwrap()
        .replacen(',', ", ", 1);
    for bad in [
        &b"[]"[..],
        b"",
        b"null",
        b"[1]x",
        spaced.as_bytes(),
        &vec![b'['; chain::SIZE_BYTES_MAX + 1],
    ] {
        assert!(chain::split(bad).is_err());
    }
    let mut reordered = owner.states.clone();
    reordered.swap(1, 2);
    assert!(chain::verify(&chain::join(&reordered), keys[0].did(), now()).is_err());
}
