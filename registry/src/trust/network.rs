//! What a rater's word weighs, seen from the reviewers that the owner chose.
//!
//! Personalised PageRank over the lists in which raters name the reviewers they trust: a walk starts at one of
//! the owner's seeds, follows a list with probability 17/20 and starts again otherwise. Nobody whom no chain of
//! lists connects to a seed has any part in it, and a group that is connected by few lists gets little, however
//! many members it has: with α = 3/20 its ranks sum to at most (1−α)/α times Σ rank/length over the lists
//! through which it is named from outside.
//!
//! Integers throughout, and every sum is of the same terms in any order: all machines compute the same digits.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::experience::VOTE;
use super::opinion::Rater;

/// Chance of following a list, as a quotient; the walk starts again otherwise.
const FOLLOW: u64 = 17;
const FOLLOW_OF: u64 = 20;
/// Mass that starts at the seeds. Times [`FOLLOW`] it fits into 64 bits.
const MASS: u64 = 1 << 57;
/// Steps of a walk that count; fewer than one walk in 10⁹ is longer.
const STEPS: usize = 128;
/// Most names on all counted lists together. Lists nearer to the seeds are counted first.
pub const NAMES_MAX: usize = 1_000_000;

/// The raters within reach of the owner's seeds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    standings: BTreeMap<Rater, Standing>,
}

/// Where a rater stands in the owner's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What a fresh vote of the rater weighs, in billionths of a vote: its rank, measured by that of the median
    /// rater that a seed names, and at most 1.
    pub weight: u64,
    /// Personalised PageRank, in units of 2^−57.
    pub rank: u64,
    /// Lists between the rater and the nearest seed; 0 for a seed.
    pub hops: u32,
    /// Through whom the rater came in: the one named by a seed with whom the shortest chain of lists to the
    /// rater begins, of several the one that brings most rank. A seed and whom it names came in by themselves.
    pub introducer: Rater,
}

impl Network {
    /// Weighs every rater that a chain of `lists` connects to one of the `seeds`.
    ///
    /// A rater that lists itself, or another twice, is taken at its word once and without itself.
    pub fn weigh(seeds: &BTreeSet<Rater>, lists: &BTreeMap<Rater, Vec<Rater>>) -> Self {
        let reach = Reach::of(seeds, lists);
        let ranks = reach.ranks();
        let Some(measure) = reach.measure(&ranks) else {
            return Self::default();
        };
        let introducers = reach.introducers(&ranks);
        let standing = |index: usize| Standing {
            weight: quotient(ranks[index], measure).min(VOTE),
            rank: quotient_of(ranks[index], FOLLOW_OF - FOLLOW, FOLLOW_OF),
            hops: reach.hops[index],
            introducer: reach.raters[introducers[index]],
        };
        let standings = reach.raters.iter().enumerate();
        Self {
            standings: standings
                .map(|(index, rater)| (*rater, standing(index)))
                .collect(),
        }
    }

    /// Returns where a rater stands; `None` when it is out of reach.
    pub fn standing(&self, rater: &Rater) -> Option<&Standing> {
        self.standings.get(rater)
    }

    /// Returns every rater within reach, in order of its key.
    pub fn standings(&self) -> impl Iterator<Item = (&Rater, &Standing)> {
        self.standings.iter()
    }
}

/// The part of the graph that the seeds reach, in an order that only depends on itself: by distance, then key.
struct Reach {
    raters: Vec<Rater>,
    hops: Vec<u32>,
    /// Per rater whom it names, in order of key.
    names: Vec<Vec<usize>>,
}

impl Reach {
    fn of(seeds: &BTreeSet<Rater>, lists: &BTreeMap<Rater, Vec<Rater>>) -> Self {
        let mut raters = Vec::new();
        let mut hops = Vec::new();
        let mut named: Vec<BTreeSet<Rater>> = Vec::new();
        let mut index = HashMap::new();
        let mut names_left = NAMES_MAX;
        let mut layer = seeds.clone();
        let mut distance = 0;
        while !layer.is_empty() {
            let mut next = BTreeSet::new();
            for rater in &layer {
                index.insert(*rater, raters.len());
                raters.push(*rater);
                hops.push(distance);
            }
            for rater in &layer {
                let mut list: BTreeSet<Rater> =
                    lists.get(rater).into_iter().flatten().copied().collect();
                list.remove(rater);
                match names_left.checked_sub(list.len()) {
                    Some(left) => names_left = left,
                    None => list.clear(),
                }
                next.extend(list.iter().filter(|name| !index.contains_key(name)));
                named.push(list);
            }
            layer = next;
            distance += 1;
        }
        let names = named
            .iter()
            .map(|list| list.iter().map(|name| index[name]).collect())
            .collect();
        Self {
            raters,
            hops,
            names,
        }
    }

    /// Returns per rater how much mass comes by, over all steps of all walks.
    fn ranks(&self) -> Vec<u64> {
        let seeds = self.hops.iter().filter(|hops| **hops == 0).count() as u64;
        let mut ranks = vec![0_u64; self.raters.len()];
        let mut here: Vec<u64> = self
            .hops
            .iter()
            .map(|hops| if *hops == 0 { MASS / seeds } else { 0 })
            .collect();
        for _ in 0..STEPS {
            let mut there = vec![0_u64; here.len()];
            for (rater, mass) in here.iter().enumerate() {
                ranks[rater] += mass;
                let share = share(*mass, self.names[rater].len());
                for name in &self.names[rater] {
                    there[*name] += share;
                }
            }
            if there.iter().all(|mass| *mass == 0) {
                break;
            }
            here = there;
        }
        ranks
    }

    /// Returns the rank of the median rater that a seed names; of the median seed when they name nobody else.
    fn measure(&self, ranks: &[u64]) -> Option<u64> {
        let at = |distance: u32| {
            let mut found: Vec<u64> = self
                .hops
                .iter()
                .zip(ranks)
                .filter(|(hops, _)| **hops == distance)
                .map(|(_, rank)| *rank)
                .collect();
            found.sort_unstable();
            found
        };
        let picks = at(1);
        let sorted = if picks.is_empty() { at(0) } else { picks };
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let median = if sorted.len() % 2 == 1 {
            upper
        } else {
            sorted[middle - 1].midpoint(upper)
        };
        (median > 0).then_some(median)
    }

    fn introducers(&self, ranks: &[u64]) -> Vec<usize> {
        let mut introducers: Vec<usize> = (0..self.raters.len()).collect();
        let mut brought = vec![None::<u64>; self.raters.len()];
        // By distance: whoever names a rater has its own introducer by now. Of equals the first key stays.
        for (rater, names) in self.names.iter().enumerate() {
            let share = share(ranks[rater], names.len());
            for name in names {
                let is_next = self.hops[*name] == self.hops[rater] + 1;
                if is_next && self.hops[*name] > 1 && brought[*name].is_none_or(|best| share > best)
                {
                    brought[*name] = Some(share);
                    introducers[*name] = introducers[rater];
                }
            }
        }
        introducers
    }
}

/// Returns what each of `names` gets of a mass.
fn share(mass: u64, names: usize) -> u64 {
    if names == 0 {
        return 0;
    }
    quotient_of(mass, FOLLOW, FOLLOW_OF * names as u64)
}

/// Returns `value` times `numerator` / `denominator`, cut off; `denominator` is not 0.
fn quotient_of(value: u64, numerator: u64, denominator: u64) -> u64 {
    let exact = u128::from(value) * u128::from(numerator) / u128::from(denominator);
    u64::try_from(exact).unwrap_or(u64::MAX)
}

fn quotient(rank: u64, measure: u64) -> u64 {
    quotient_of(rank, VOTE, measure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rater(name: u8) -> Rater {
        Rater::from_bytes([name; 32])
    }

    fn network(seeds: &[u8], lists: &[(u8, &[u8])]) -> Network {
        let raters = |names: &[u8]| names.iter().copied().map(rater).collect::<Vec<_>>();
        let lists = lists
            .iter()
            .map(|(name, names)| (rater(*name), raters(names)))
            .collect();
        Network::weigh(&raters(seeds).into_iter().collect(), &lists)
    }

    fn weight(network: &Network, name: u8) -> Option<u64> {
        network
            .standing(&rater(name))
            .map(|standing| standing.weight)
    }

    #[test]
    fn weights_fall_along_a_chain_by_the_chance_of_following_it() {
        let chain = network(&[1], &[(1, &[2]), (2, &[3]), (3, &[4])]);
        assert_eq!(weight(&chain, 1), Some(VOTE));
        assert_eq!(weight(&chain, 2), Some(VOTE));
        assert_eq!(weight(&chain, 3), Some(850_000_000 - 1));
        assert_eq!(weight(&chain, 4), Some(722_500_000 - 1));
        let hops = |name| chain.standing(&rater(name)).map(|standing| standing.hops);
        assert_eq!(hops(4), Some(3));
    }

    #[test]
    fn without_seeds_nobody_counts_and_seeds_alone_count_fully() {
        let lists: &[(u8, &[u8])] = &[(1, &[2])];
        assert_eq!(network(&[], lists), Network::default());
        let alone = network(&[1, 2], &[]);
        assert_eq!(weight(&alone, 1), Some(VOTE));
        assert_eq!(weight(&alone, 2), Some(VOTE));
        assert_eq!(weight(&alone, 3), None);
    }

    #[test]
    fn who_names_itself_or_somebody_twice_gains_nothing() {
        let plain = network(&[1], &[(1, &[2, 3]), (2, &[4])]);
        let vain = network(&[1], &[(1, &[3, 2, 1, 2]), (2, &[4, 2, 4])]);
        assert_eq!(plain, vain);
    }

    #[test]
    fn an_introducer_is_whom_a_seed_named_on_the_strongest_of_the_shortest_chains() {
        let network = network(
            &[1],
            &[
                (1, &[2, 3]),
                (2, &[4, 5, 6]),
                (3, &[4]),
                (4, &[7]),
                (6, &[7]),
            ],
        );
        let introducer = |name| {
            network
                .standing(&rater(name))
                .map(|standing| standing.introducer)
        };
        assert_eq!(introducer(1), Some(rater(1)));
        assert_eq!(introducer(2), Some(rater(2)));
        assert_eq!(introducer(4), Some(rater(3)));
        assert_eq!(introducer(6), Some(rater(2)));
        assert_eq!(introducer(7), Some(rater(3)));
    }
}
