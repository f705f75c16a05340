//! What the score makes of publishers and attackers in a network of 1,500 honest people and 10,000 false ones.
//!
//! Honest people join one after another and name five others, those that many name already more often; three of
//! five are named back. The owner's three seeds are among the fifty who joined first. False people all name each
//! other and all vote; an honest person who was duped names one of them. Who is duped is two lists away from a
//! seed: nearer people know better, farther ones let less through.

use std::collections::{BTreeMap, BTreeSet};

use archy_registry::trust::network::{Network, Standing};
use archy_registry::trust::opinion::{Opinion, Rater};
use archy_registry::trust::{
    Band, Contradiction, Event, Evidence, EvidenceRef, POINT, ReasonCode, Score, Sighting, Verdict,
    Voice,
};

use crate::common::{hours_later, key, now};
use crate::trust::{healthy, nobody, record, score};

const HONEST: u32 = 1500;
const FALSE: u32 = 10_000;
const NAMED: usize = 5;
/// Of ten who are named, this many name back.
const NAMED_BACK_OF_TEN: u64 = 6;
const FIRST: u64 = 50;
const PUBKEY: &str = "abababababababababababababababababababababababababababababababab";
/// Which network the dice make: one in which weight falls with distance as in the table of outcomes.
const NETWORK: u64 = 8;
/// How far a score may be from the one that was meant.
const TOLERANCE: f64 = 2.0;

/// SplitMix64: enough for picking people, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    /// Picks `count` different ones.
    fn picks<T: Copy + Ord>(&mut self, from: &[T], count: usize) -> Vec<T> {
        let mut picked = Vec::new();
        while picked.len() < count {
            let one = self.pick(from);
            if !picked.contains(&one) {
                picked.push(one);
            }
        }
        picked
    }
}

fn person(number: u32) -> Rater {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Rater::from_bytes(bytes)
}

struct People {
    seeds: BTreeSet<Rater>,
    lists: BTreeMap<Rater, Vec<Rater>>,
    /// Honest people in the order in which they are duped.
    dupes: Vec<u32>,
    dice: Dice,
}

impl People {
    fn new() -> Self {
        let mut dice = Dice(NETWORK);
        let mut named: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); HONEST as usize];
        let first = u32::try_from(NAMED).unwrap() + 1;
        // Whoever is named or names is in here once for each time.
        let mut known = Vec::new();
        for person in 0..first {
            named[person as usize] = (0..first).filter(|other| *other != person).collect();
            known.extend(vec![person; NAMED]);
        }
        for newcomer in first..HONEST {
            for other in dice.picks(&known, NAMED) {
                named[newcomer as usize].insert(other);
                if dice.below(10) < NAMED_BACK_OF_TEN {
                    named[other as usize].insert(newcomer);
                }
                known.extend([newcomer, other]);
            }
        }
        let honest: Vec<u32> = (0..HONEST).collect();
        let seeds = dice.picks(&honest[..usize::try_from(FIRST).unwrap()], 3);
        let names = |of: &BTreeSet<u32>| {
            let lists = of.iter().map(|person| &named[*person as usize]);
            lists.flatten().copied().collect::<BTreeSet<u32>>()
        };
        let seeds: BTreeSet<u32> = seeds.into_iter().collect();
        let contacts = names(&seeds);
        let two_lists_away: Vec<u32> = names(&contacts)
            .into_iter()
            .filter(|person| !seeds.contains(person) && !contacts.contains(person))
            .collect();
        let lists = named
            .iter()
            .map(|list| list.iter().copied().map(person).collect());
        Self {
            lists: (0..).map(person).zip(lists).collect(),
            dupes: dice.picks(&two_lists_away, 20),
            seeds: seeds.into_iter().map(person).collect(),
            dice,
        }
    }

    /// Weighs the honest ones, and the false ones of whom `duped` people name one each.
    fn attacked(&self, duped: usize) -> Network {
        let mut lists = self.lists.clone();
        for (sybil, dupe) in (HONEST..).zip(&self.dupes[..duped]) {
            lists.entry(person(*dupe)).or_default().push(person(sybil));
        }
        for sybil in 0..FALSE {
            let others = (1..=4).map(|step| person(HONEST + (sybil + step * step) % FALSE));
            lists.insert(person(HONEST + sybil), others.collect());
        }
        Network::weigh(&self.seeds, &lists)
    }

    /// Returns some of those whom the seeds name.
    fn contacts(&mut self, network: &Network, count: usize) -> Vec<Rater> {
        let picks: Vec<Rater> = network
            .standings()
            .filter(|(_, standing)| standing.hops == 1)
            .map(|(rater, _)| *rater)
            .collect();
        self.dice.picks(&picks, count)
    }
}

fn sybils() -> impl Iterator<Item = Rater> {
    (HONEST..HONEST + FALSE).map(person)
}

fn vote(
    evidence: &mut Evidence,
    network: &Network,
    raters: impl IntoIterator<Item = Rater>,
    opinion: Opinion,
) {
    evidence.seeds = 3;
    for rater in raters {
        if let Some(standing) = network.standing(&rater) {
            evidence.voices.push(Voice {
                rater,
                opinion,
                event_id: rater.to_string(),
                created: now(),
                weight: standing.weight,
                introducer: standing.introducer,
            });
        }
    }
}

/// Linked with its Nostr account.
fn linked() -> Evidence {
    let mut evidence = Evidence {
        key_state_seq: 1,
        nostr: vec![(PUBKEY.to_owned(), hours_later(1))],
        ..nobody()
    };
    let pubkey = PUBKEY.to_owned();
    record(&mut evidence, Event::NostrLinked { pubkey });
    evidence
}

/// Linked with its Nostr account and a domain, and committed to its next keys.
fn identified() -> Evidence {
    let mut evidence = linked();
    let domain = "apps.example".to_owned();
    record(&mut evidence, Event::DomainLinked { domain });
    evidence.has_next_keys = true;
    evidence
}

fn known_for(mut evidence: Evidence, days: i64, releases: i64) -> Evidence {
    for release in 0..releases {
        evidence.sightings.push(Sighting {
            app: "site".parse().unwrap(),
            seq: u64::try_from(release).unwrap() + 1,
            at: hours_later(-24 * days + release * 24 * days / releases),
        });
    }
    evidence
}

fn assert_near(what: &str, score: &Score, points: f64, band: Band) {
    let found = score.micro_points as f64 / POINT as f64;
    assert!(
        (found - points).abs() <= TOLERANCE && score.band == band,
        "{what}: {found:.1} {:?}, meant were {points} {band:?}\n{:#?}",
        score.band,
        score.reasons
    );
}

/// Sums what all false people weigh, in votes.
fn weight_of_sybils(network: &Network) -> f64 {
    let weights = sybils().filter_map(|sybil| network.standing(&sybil));
    weights.map(|standing| standing.weight as f64 / 1e9).sum()
}

#[test]
fn weight_falls_with_distance_and_false_people_weigh_what_their_dupes_let_through() {
    let people = People::new();
    let network = people.attacked(0);
    let mean = |hops: u32| {
        let there = |(_, standing): &(&Rater, &Standing)| standing.hops == hops;
        let weights: Vec<u64> = network
            .standings()
            .filter(there)
            .map(|(_, standing)| standing.weight)
            .collect();
        weights.iter().sum::<u64>() as f64 / weights.len() as f64 / 1e9
    };
    for (hops, meant) in [(1, 0.89), (2, 0.28), (3, 0.11)] {
        let found = mean(hops);
        assert!((found - meant).abs() < 0.05, "{hops} hops: {found:.2}");
    }
    let mut before = 0.0;
    for (dupes, meant) in [(0, 0.0), (1, 0.19), (5, 0.95), (20, 3.23)] {
        let found = weight_of_sybils(&people.attacked(dupes));
        assert!((found - meant).abs() <= 0.2 * meant, "{dupes}: {found:.2}");
        assert!(found >= before);
        before = found;
    }
}

#[test]
fn newcomers_and_patient_attackers_stay_where_they_belong() {
    let people = People::new();
    let newcomer = known_for(linked(), 0, 1);
    assert_near("new, linked", &score(&newcomer), 4.0, Band::New);
    let whitewashed = known_for(identified(), 0, 1);
    assert_near("whitewashed", &score(&whitewashed), 10.0, Band::New);

    let patient = known_for(identified(), 730, 50);
    for (dupes, points, band) in [
        (0, 24.5, Band::Unproven),
        (1, 28.9, Band::Unproven),
        (5, 34.0, Band::Unproven),
        (20, 55.4, Band::SomeTrust),
    ] {
        let network = people.attacked(dupes);
        let mut evidence = patient.clone();
        vote(&mut evidence, &network, sybils(), Opinion::Recommend);
        let score = score(&evidence);
        assert_near(&format!("patient, {dupes} duped"), &score, points, band);
        if dupes == 0 {
            assert_eq!(score.micro_points, self::score(&patient).micro_points);
            continue;
        }
        let reasons = score.reasons.iter();
        let network_reason = reasons
            .filter(|reason| reason.code == ReasonCode::Network)
            .collect::<Vec<_>>();
        let [reason] = network_reason[..] else {
            panic!("{:#?}", score.reasons)
        };
        let EvidenceRef::Introducer { rater, .. } = &reason.evidence[0] else {
            panic!("{:?}", reason.evidence[0])
        };
        assert!(network.standing(rater).unwrap().hops <= 1);
        assert!(reason.text.contains(&rater.to_string()[..8]));
    }
}

#[test]
fn honest_publishers_are_trusted_and_false_complaints_hurt_little() {
    let mut people = People::new();
    let network = people.attacked(0);

    let mut young = known_for(linked(), 30, 3);
    vote(
        &mut young,
        &network,
        people.contacts(&network, 3),
        Opinion::Recommend,
    );
    assert_near("3 contacts", &score(&young), 35.9, Band::SomeTrust);

    let mut known = known_for(identified(), 365, 12);
    healthy(&mut known, 0..60);
    let contacts = people.contacts(&network, 10);
    let with = |network: &Network, complaints: bool| {
        let mut evidence = known.clone();
        vote(
            &mut evidence,
            network,
            contacts.iter().copied(),
            Opinion::Recommend,
        );
        if complaints {
            vote(&mut evidence, network, sybils(), Opinion::Caution);
        }
        evidence
    };
    let trusted = with(&network, false);
    let before = score(&trusted);
    assert_near("10 contacts", &before, 85.3, Band::Trusted);
    assert_eq!(score(&with(&network, true)), before, "nobody was duped");
    let slandered = score(&with(&people.attacked(5), true));
    assert_near("slandered over 5", &slandered, 77.2, Band::Trusted);

    // Who reports is trusted, and did not recommend.
    let reporters: Vec<Rater> = network
        .standings()
        .filter(|(rater, standing)| standing.weight == 1_000_000_000 && !contacts.contains(rater))
        .map(|(rater, _)| *rater)
        .take(2)
        .collect();
    let reported = |count: usize| {
        let mut evidence = trusted.clone();
        let reporters = reporters[..count].iter().copied();
        vote(&mut evidence, &network, reporters, Opinion::Malware);
        score(&evidence)
    };
    assert_near("1 report", &reported(1), 34.0, Band::Unproven);
    assert_eq!(reported(1).verdict, Verdict::Warn);
    assert_near("2 reports", &reported(2), 10.0, Band::Refused);

    let mut contradicted = trusted.clone();
    contradicted.contradictions.push(Contradiction {
        id: 1,
        subject: "release".to_owned(),
        seq: 7,
        at: now(),
    });
    let contradicted = score(&contradicted);
    assert_eq!(
        (contradicted.micro_points, contradicted.band),
        (0, Band::Refused)
    );

    let rotated = Evidence {
        key_state_seq: 2,
        ..trusted
    };
    assert_near(
        "rotated to committed keys",
        &score(&rotated),
        85.3,
        Band::Trusted,
    );
    let mut uncommitted = Evidence {
        publisher: key(2).did(),
        has_next_keys: false,
        ..identified()
    };
    uncommitted = known_for(uncommitted, 0, 1);
    assert_near(
        "rotated without commitment",
        &score(&uncommitted),
        7.0,
        Band::New,
    );
}
