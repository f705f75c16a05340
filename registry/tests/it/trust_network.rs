//! The network of reviewers: what a rater's word weighs, and what the score makes of it.

use std::collections::{BTreeMap, BTreeSet};

use archy_registry::trust::network::Network;
use archy_registry::trust::opinion::{Opinion, Rater};
use archy_registry::trust::{
    self, Band, CAP_REPORTED, CAP_REPORTED_TWICE, CAP_UNPROVEN, Evidence, POINT, ReasonCode, Score,
    Verdict, Voice,
};
use jiff::SignedDuration;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use crate::common::now;
use crate::trust::{nobody, score};

/// One vote, in billionths.
const VOTE: u64 = 1_000_000_000;

type Lists = BTreeMap<Rater, Vec<Rater>>;

fn rater(name: u8) -> Rater {
    Rater::from_bytes([name; 32])
}

fn voice(name: u8, opinion: Opinion, weight: u64) -> Voice {
    Voice {
        rater: rater(name),
        opinion,
        event_id: hex::encode([name; 32]),
        created: now(),
        weight,
        introducer: rater(name),
    }
}

fn heard(voices: impl IntoIterator<Item = Voice>) -> Evidence {
    Evidence {
        seeds: 1,
        voices: voices.into_iter().collect(),
        ..nobody()
    }
}

fn share(score: &Score, code: ReasonCode) -> i64 {
    let reasons = score.reasons.iter();
    reasons
        .filter(|reason| reason.code == code)
        .map(|reason| reason.micro_points)
        .sum()
}

#[test]
fn votes_count_with_their_weight_and_fade() {
    let one = score(&heard([voice(1, Opinion::Recommend, VOTE)]));
    assert_eq!(share(&one, ReasonCode::Network), 50 * POINT / 3);
    assert_eq!(one.cap, None);
    let half = score(&heard([voice(1, Opinion::Recommend, VOTE / 2)]));
    assert_eq!(share(&half, ReasonCode::Network), 50 * POINT / 5);
    assert_eq!(half.cap.unwrap().micro_points, CAP_UNPROVEN);

    let aged = |opinion, days: i64| Voice {
        created: now() - SignedDuration::from_hours(24 * days),
        ..voice(1, opinion, VOTE)
    };
    let faded = score(&heard([aged(Opinion::Recommend, 180)]));
    assert_eq!(share(&faded, ReasonCode::Network), 50 * POINT / 5);
    let faded = score(&heard([aged(Opinion::Caution, 730)]));
    assert_eq!(
        share(&faded, ReasonCode::NetworkComplaints),
        -60 * POINT / 5
    );
    assert_eq!(faded.micro_points, 0);
}

#[test]
fn one_vote_per_rater_and_the_newest_word_is_it() {
    let later = |opinion, seconds| Voice {
        created: now() + SignedDuration::from_secs(seconds),
        event_id: hex::encode([9; 32]),
        ..voice(1, opinion, VOTE)
    };
    let said = |second: Voice| score(&heard([voice(1, Opinion::Recommend, VOTE), second]));
    let once = score(&heard([voice(1, Opinion::Recommend, VOTE)])).micro_points;
    assert_eq!(said(later(Opinion::Recommend, 1)).micro_points, once);
    assert_eq!(said(later(Opinion::Withdrawn, 1)).micro_points, 0);
    assert_eq!(said(later(Opinion::Withdrawn, -1)).micro_points, once);
    let of_one_second = said(later(Opinion::Withdrawn, 0));
    assert_eq!(
        of_one_second.micro_points, once,
        "of one date the lower event id counts"
    );
}

#[test]
fn a_publisher_cannot_recommend_itself_nor_silence_a_critic_by_naming_it() {
    let own = |opinion| {
        let mut evidence = heard([voice(1, opinion, VOTE), voice(2, Opinion::Recommend, VOTE)]);
        let without = score(&evidence);
        evidence.nostr.push((rater(1).to_string(), now()));
        (without.micro_points, score(&evidence).micro_points)
    };
    let (counted, own_account) = own(Opinion::Recommend);
    assert!(own_account < counted);
    let (critic, named_critic) = own(Opinion::Malware);
    assert_eq!(named_critic, critic);
}

#[test]
fn reports_of_malware_warn_and_refuse() {
    let good = (10..30).map(|name| voice(name, Opinion::Recommend, VOTE));
    let good: Vec<Voice> = good.collect();
    let reported = |weights: &[u64]| {
        let mut voices = good.clone();
        for (name, weight) in (1..).zip(weights) {
            voices.push(voice(name, Opinion::Malware, *weight));
        }
        score(&heard(voices))
    };
    assert_eq!(reported(&[]).verdict, Verdict::Accept);
    assert_eq!(reported(&[VOTE / 2 - 1; 3]).verdict, Verdict::Accept);

    let warned = reported(&[VOTE / 2]);
    assert_eq!(warned.verdict, Verdict::Warn);
    assert_eq!(warned.micro_points, CAP_REPORTED);
    assert_eq!(warned.cap.unwrap().micro_points, CAP_REPORTED);
    let says_how = |score: &[String]| score.iter().any(|text| text.contains("01010101"));
    assert!(
        says_how(&warned.would_change),
        "names through whom the reporter came in"
    );

    let refused = reported(&[VOTE / 2, VOTE]);
    assert_eq!(
        (refused.verdict, refused.band),
        (Verdict::Refuse, Band::Refused)
    );
    assert_eq!(refused.micro_points, CAP_REPORTED_TWICE);
    assert!(says_how(&refused.would_change));
}

#[test]
fn a_reason_names_introducers_and_votes_weightiest_first() {
    let through = |name, introducer, weight| Voice {
        introducer: rater(introducer),
        ..voice(name, Opinion::Recommend, weight)
    };
    let score = score(&heard([
        through(1, 100, VOTE / 4),
        through(2, 101, VOTE),
        through(3, 100, VOTE / 4),
    ]));
    insta::assert_json_snapshot!(score);
}

#[test]
fn every_limit_says_what_would_change_it() {
    let mut revoked = heard([]);
    revoked.is_revoked = true;
    let cases = [
        (heard([]), "cap of 34 points"),
        (
            heard([voice(1, Opinion::Malware, VOTE)]),
            "reports of malware",
        ),
        (revoked, "key state"),
        (nobody(), "once you choose some"),
    ];
    for (evidence, words) in cases {
        let score = score(&evidence);
        let sentences = score.would_change.join("\n");
        assert!(sentences.contains(words), "{words}: {sentences}");
    }
}

#[test]
fn the_inputs_hash_covers_what_counts_and_nothing_else() {
    let evidence = heard([
        voice(1, Opinion::Recommend, VOTE),
        voice(2, Opinion::Caution, VOTE),
    ]);
    let hash = |evidence: &Evidence| trust::inputs_hash(evidence, now());
    let mut turned = evidence.clone();
    turned.voices.reverse();
    assert_eq!(hash(&turned), hash(&evidence));
    let changes: [fn(&mut Evidence); 6] = [
        |evidence| evidence.voices[0].weight -= 1,
        |evidence| evidence.voices[0].opinion = Opinion::Caution,
        |evidence| evidence.voices[0].introducer = rater(7),
        |evidence| evidence.seeds += 1,
        |evidence| evidence.is_revoked = true,
        |evidence| evidence.has_next_keys = true,
    ];
    for change in changes {
        let mut changed = evidence.clone();
        change(&mut changed);
        assert_ne!(hash(&changed), hash(&evidence));
    }
    let mut bound = evidence.clone();
    bound.nostr.push((rater(3).to_string(), now()));
    let before = trust::inputs_hash(&bound, now() - SignedDuration::from_secs(1));
    assert_ne!(hash(&bound), before, "a binding has ended between them");
}

/// Lists among the raters 0 to 39.
fn lists() -> impl Strategy<Value = Lists> {
    let list = vec(0_u8..40, 0..6);
    proptest::collection::btree_map(0_u8..40, list, 0..40).prop_map(|lists| {
        lists
            .into_iter()
            .map(|(name, names)| (rater(name), names.into_iter().map(rater).collect()))
            .collect()
    })
}

fn seeds() -> impl Strategy<Value = BTreeSet<Rater>> {
    btree_set((0_u8..40).prop_map(rater), 0..4)
}

/// What everybody in reach says, as a score.
fn votes(network: &Network, opinions: &[u8]) -> Evidence {
    let said = |(rater, standing): (&Rater, &trust::network::Standing)| {
        let index = usize::from(rater.as_bytes()[0]);
        let opinion = Opinion::ALL[usize::from(opinions[index % opinions.len()]) % 4];
        Voice {
            rater: *rater,
            opinion,
            event_id: rater.to_string(),
            created: now() - SignedDuration::from_hours(24 * i64::from(opinions[0])),
            weight: standing.weight,
            introducer: standing.introducer,
        }
    };
    heard(network.standings().map(said))
}

proptest! {
    #[test]
    fn who_is_out_of_reach_changes_no_digit(
        lists in lists(),
        seeds in seeds(),
        strangers in vec((100_u8..200, vec(prop_oneof![0_u8..40, 100_u8..200], 0..8)), 0..60),
        opinions in vec(any::<u8>(), 1..20),
    ) {
        let without = Network::weigh(&seeds, &lists);
        let mut more = lists;
        for (name, names) in strangers {
            more.insert(rater(name), names.into_iter().map(rater).collect());
        }
        let with = Network::weigh(&seeds, &more);
        prop_assert_eq!(&with, &without);
        let (with, without) = (votes(&with, &opinions), votes(&without, &opinions));
        prop_assert_eq!(trust::inputs_hash(&with, now()), trust::inputs_hash(&without, now()));
        prop_assert_eq!(score(&with), score(&without));
    }

    #[test]
    fn the_order_of_names_and_votes_does_not_matter(
        lists in lists(), seeds in seeds(), opinions in vec(any::<u8>(), 1..20),
    ) {
        let network = Network::weigh(&seeds, &lists);
        let mut turned = lists;
        for names in turned.values_mut() {
            names.reverse();
        }
        prop_assert_eq!(&Network::weigh(&seeds, &turned), &network);
        let evidence = votes(&network, &opinions);
        let mut turned = evidence.clone();
        turned.voices.reverse();
        prop_assert_eq!(score(&turned), score(&evidence));
    }

    /// Any group without seeds has at most (1−α)/α times what flows in over the lists that name its members.
    #[test]
    fn the_rank_of_a_group_is_bound_by_the_lists_that_lead_to_it(
        lists in lists(), seeds in seeds(), first in 1_u8..40,
    ) {
        let network = Network::weigh(&seeds, &lists);
        let is_member = |rater: &Rater| rater.as_bytes()[0] >= first && !seeds.contains(rater);
        let rank = |rater: &Rater| network.standing(rater).map_or(0, |standing| u128::from(standing.rank));
        let group: u128 = network.standings().map(|(rater, _)| rater).filter(|r| is_member(r)).map(rank).sum();
        // 17/3 of rank/length, over a common denominator; ranks are cut off, by less than one each.
        let common: u128 = (1..=6).product();
        let mut inflow = 0_u128;
        for (from, names) in lists.iter().filter(|(from, _)| !is_member(from)) {
            let names: BTreeSet<&Rater> = names.iter().filter(|name| *name != from).collect();
            let edges = names.iter().filter(|name| is_member(name)).count() as u128;
            if edges > 0 && network.standing(from).is_some() {
                inflow += (rank(from) + 1) * edges * common / names.len() as u128;
            }
        }
        prop_assert!(3 * common * group <= 17 * inflow, "{group} > {inflow}");
    }

    #[test]
    fn a_word_for_it_never_lowers_and_a_word_against_it_never_raises(
        lists in lists(), seeds in seeds(), opinions in vec(any::<u8>(), 1..20),
        weight in 0..=VOTE, days in 0_i64..2000,
    ) {
        let evidence = votes(&Network::weigh(&seeds, &lists), &opinions);
        let before = score(&evidence).micro_points;
        let after = |opinion| {
            let mut more = evidence.clone();
            more.voices.push(Voice {
                created: now() - SignedDuration::from_hours(24 * days),
                ..voice(99, opinion, weight)
            });
            score(&more).micro_points
        };
        prop_assert!(after(Opinion::Recommend) >= before);
        prop_assert!(after(Opinion::Caution) <= before);
        prop_assert!(after(Opinion::Malware) <= after(Opinion::Caution));
        prop_assert_eq!(after(Opinion::Withdrawn), before);
    }

    #[test]
    fn weights_are_votes_and_the_seeds_own_choice_is_their_measure(lists in lists(), seeds in seeds()) {
        let network = Network::weigh(&seeds, &lists);
        for (rater, standing) in network.standings() {
            prop_assert!(standing.weight <= VOTE);
            prop_assert_eq!(standing.hops == 0, seeds.contains(rater));
            let introducer = network.standing(&standing.introducer).unwrap();
            prop_assert!(introducer.hops <= 1);
        }
        let picks: Vec<u64> = network
            .standings()
            .filter(|(_, standing)| standing.hops == 1)
            .map(|(_, standing)| standing.weight)
            .collect();
        let full = picks.iter().filter(|weight| **weight == VOTE).count();
        prop_assert!(2 * full >= picks.len(), "half of them count fully");
    }
}
