//! Swarms of many: unequal seeders, crowds that start empty, providers that are of no use.

use std::path::Path;
use std::time::Duration;

use archy_registry::Blake3Hash;
use archy_registry::release::Endpoint;

use super::{MIB, file};
use crate::lab::Lab;
use crate::node::{Fetched, Misbehaviour, Node};
use crate::rivals::{registry, torrent};
use crate::{Figure, figure};

/// Prints what each provider did, for a closer look.
fn show_providers<'a>(all: impl IntoIterator<Item = &'a Fetched>) {
    if std::env::var_os("ARCHY_BENCH_PROVIDERS").is_some() {
        for fetched in all {
            println!("{:#?}", fetched.providers);
        }
    }
}

fn seconds(fetched: &Fetched) -> f64 {
    fetched.took.as_secs_f64()
}

/// Returns the payload that a link of so many Mbit/s carries, in bytes per second, as one download over it shows.
fn carried(dir: &Path, mbit: u64) -> f64 {
    let lab = Lab::new();
    let size = mbit * 1_000_000 / 8 * 3;
    let data = file(dir, size);
    let mut seeder = Node::start(&lab.place(Some(&format!("{mbit}mbit")), None), dir);
    let blob = seeder.provide(&data);
    let mut node = Node::start(&lab.place(None, None), dir);
    let fetched = node.fetch((blob, size), &[&seeder.endpoint], &[]);
    size as f64 / seconds(&fetched)
}

/// Some seeders of unequal speed, one who downloads.
pub(super) fn seeders(dir: &Path) -> Vec<Figure> {
    let size = 96 * MIB;
    let data = file(dir, size);
    let mut efficiency = f64::MAX;
    let mut duplicate: f64 = 0.0;
    for rates in [
        &[64, 64, 64, 4][..],
        &[96, 32, 16, 8, 4],
        &[32, 32, 24, 24, 16, 16, 8, 8],
    ] {
        let lab = Lab::new();
        let places = rates
            .iter()
            .map(|mbit| lab.place(Some(&format!("{mbit}mbit")), None));
        let mut nodes: Vec<Node> = places.map(|place| Node::start(&place, dir)).collect();
        let blob = nodes
            .iter_mut()
            .map(|node| node.provide(&data))
            .last()
            .unwrap();
        let mut node = Node::start(&lab.place(None, None), dir);
        let endpoints: Vec<Endpoint> = nodes.iter().map(|node| node.endpoint.clone()).collect();
        let peers: Vec<&Endpoint> = endpoints[1..].iter().collect();
        let fetched = node.fetch((blob, size), &[&endpoints[0]], &peers);
        let sent: u64 = nodes.iter_mut().map(Node::served).sum();
        show_providers([&fetched]);
        let summed = rates.iter().sum::<u64>() as f64 * 125_000.0;
        let reached = size as f64 / seconds(&fetched) / summed;
        let twice = (sent as f64 - size as f64) / size as f64;
        println!(
            "{rates:?} Mbit/s: {:.2} s, {:.1} % of the summed link rates as payload, {:.2} % sent for nothing",
            seconds(&fetched),
            reached * 100.0,
            twice * 100.0
        );
        efficiency = efficiency.min(reached);
        duplicate = duplicate.max(twice);
    }
    let payload = carried(dir, 64) / 8_000_000.0;
    println!(
        "one link of 64 Mbit/s carries {:.1} % payload",
        payload * 100.0
    );
    vec![
        figure(
            "seeders_uneven_efficiency",
            efficiency / payload,
            "",
            Some(">= 0.93"),
        ),
        figure("seeders_uneven_duplicate", duplicate, "", Some("<= 0.03")),
    ]
}

/// A crowd that starts empty, all at once.
struct Crowd {
    last: Duration,
    origin_copies: f64,
}

fn crowd(dir: &Path, nodes: usize, mbit: u64, size: u64) -> Crowd {
    let data = file(dir, size);
    let lab = Lab::new();
    let rate = format!("{mbit}mbit");
    let mut origin = Node::start(&lab.place(Some(&rate), None), dir);
    let blob = origin.provide(&data);
    let members: Vec<Node> = (0..nodes)
        .map(|_| Node::start(&lab.place(Some(&rate), None), dir))
        .collect();
    let at = origin.endpoint.clone();
    let fetching: Vec<_> = members
        .into_iter()
        .map(|mut node| {
            let at = at.clone();
            std::thread::spawn(move || {
                let fetched = node.fetch((blob, size), &[&at], &[]);
                // It goes on serving until all are done.
                (node, fetched)
            })
        })
        .collect();
    let done: Vec<(Node, Fetched)> = fetching
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    let mut times: Vec<f64> = done.iter().map(|(_, fetched)| seconds(fetched)).collect();
    times.sort_by(f64::total_cmp);
    println!("{nodes} nodes: {times:.1?} s");
    show_providers(done.iter().map(|(_, fetched)| fetched));
    Crowd {
        last: done.iter().map(|(_, fetched)| fetched.took).max().unwrap(),
        origin_copies: origin.served() as f64 / size as f64,
    }
}

/// The fluid bound of a crowd with equal uplinks, at the payload that a link carries.
fn bound(nodes: usize, size: u64, carried: f64) -> f64 {
    let (nodes, size) = (nodes as f64, size as f64);
    (size / carried).max(nodes * size / (carried * (nodes + 1.0)))
}

pub(super) fn flash8(dir: &Path) -> Vec<Figure> {
    let (size, mbit) = (64 * MIB, 32);
    let crowd = crowd(dir, 8, mbit, size);
    let fraction = bound(8, size, carried(dir, mbit)) / crowd.last.as_secs_f64();
    let mut figures = vec![
        figure("flash8_bound_fraction", fraction, "", Some(">= 0.85")),
        figure(
            "flash8_origin_copies",
            crowd.origin_copies,
            "",
            Some("<= 1.25"),
        ),
    ];
    if let Some(torrent) = torrent::crowd(dir, &file(dir, size), 8, mbit) {
        println!("BitTorrent: {torrent:.1?} s");
        let last = torrent.iter().copied().fold(0.0, f64::max);
        let ratio = crowd.last.as_secs_f64() / last;
        figures.push(figure("flash8_vs_bittorrent", ratio, "", Some("<= 1")));
    }
    if let Some(pulls) = registry::crowd(dir, size, 8, mbit) {
        println!("podman pull from one registry: {pulls:.1?} s");
        let last = pulls.iter().copied().fold(0.0, f64::max);
        let ratio = crowd.last.as_secs_f64() / last;
        figures.push(figure("flash8_vs_registry", ratio, "", None));
    }
    figures
}

pub(super) fn flash16(dir: &Path) -> Vec<Figure> {
    let size = 32 * MIB;
    let crowd = crowd(dir, 16, 16, size);
    let ratio = crowd.last.as_secs_f64() / bound(16, size, carried(dir, 16));
    vec![figure("flash16_bound_ratio", ratio, "", Some("<= 1.3"))]
}

/// A crowd of another size, for a closer look: `ARCHY_BENCH_CROWD=nodes,Mbit/s,MiB`.
pub(super) fn any_crowd(dir: &Path) -> Vec<Figure> {
    let Ok(wish) = std::env::var("ARCHY_BENCH_CROWD") else {
        return Vec::new();
    };
    let wish: Vec<u64> = wish.split(',').map(|word| word.parse().unwrap()).collect();
    let [nodes, mbit, mib] = wish[..] else {
        panic!("ARCHY_BENCH_CROWD=nodes,Mbit/s,MiB");
    };
    let crowd = crowd(dir, usize::try_from(nodes).unwrap(), mbit, mib * MIB);
    println!(
        "{:.2?}, the origin sent {:.2} copies",
        crowd.last, crowd.origin_copies
    );
    Vec::new()
}

/// Fetches from an origin and peers of which some misbehave; returns the seconds that it took.
fn with_bad(dir: &Path, good: usize, bad: &[Option<Misbehaviour>], origin: bool) -> f64 {
    let size = 48 * MIB;
    let data = file(dir, size);
    let lab = Lab::new();
    let mut nodes: Vec<Node> = (0..good + bad.len())
        .map(|_| Node::start(&lab.place(Some("32mbit"), None), dir))
        .collect();
    let mut blob: Option<Blake3Hash> = None;
    let mut endpoints = Vec::new();
    for (at, node) in nodes.iter_mut().enumerate() {
        match bad.get(at.wrapping_sub(good)) {
            None => {
                blob = Some(node.provide(&data));
                endpoints.push(node.endpoint.clone());
            }
            Some(Some(how)) => endpoints.push(node.misbehave(&data, *how)),
            // Nobody is there.
            Some(None) => {
                let mut gone = node.endpoint.clone();
                for address in &mut gone.addresses {
                    address.set_port(9);
                }
                endpoints.push(gone);
            }
        }
    }
    let mut node = Node::start(&lab.place(None, None), dir);
    let all: Vec<&Endpoint> = endpoints.iter().collect();
    let origins = usize::from(origin);
    let fetched = node.fetch((blob.unwrap(), size), &all[..origins], &all[origins..]);
    seconds(&fetched)
}

const BAD: [(&str, Option<Misbehaviour>); 4] = [
    ("dead", None),
    ("stalled", Some(Misbehaviour::StallsAfter(2_000_000))),
    ("lying", Some(Misbehaviour::Lies)),
    ("1 byte per second", Some(Misbehaviour::Trickles)),
];

/// One of four providers is of no use.
pub(super) fn bad(dir: &Path) -> Vec<Figure> {
    let without = with_bad(dir, 3, &[], false);
    let mut worst: f64 = 0.0;
    for (name, how) in BAD {
        let took = with_bad(dir, 3, &[how], false);
        println!("{name}: {took:.2} s, without it {without:.2} s");
        worst = worst.max(took - without);
    }
    vec![figure("bad_provider_penalty_s", worst, "s", Some("<= 2"))]
}

/// The origin is fine and everybody else is of no use.
pub(super) fn useless(dir: &Path) -> Vec<Figure> {
    let alone = with_bad(dir, 1, &[], true);
    let crowd: Vec<_> = BAD.iter().chain(&BAD).map(|(_, how)| *how).collect();
    let took = with_bad(dir, 1, &crowd, true);
    println!("with eight of no use: {took:.2} s, the origin alone {alone:.2} s");
    vec![figure(
        "swarm_useless_ratio",
        took / alone,
        "",
        Some("<= 1.10"),
    )]
}

/// The origin goes in the middle; two peers have half of it each.
pub(super) fn origin_dead(dir: &Path) -> Vec<Figure> {
    let size = 48 * MIB;
    let data = file(dir, size);
    let lab = Lab::new();
    let place = lab.place(Some("64mbit"), None);
    let mut origin = Node::start(&place, dir);
    let blob = origin.provide(&data);
    let mut peers: Vec<Node> = (0..2)
        .map(|_| Node::start(&lab.place(Some("64mbit"), None), dir))
        .collect();
    for peer in &mut peers {
        peer.provide(&data);
    }
    let mut node = Node::start(&lab.place(None, None), dir);
    let at = origin.endpoint.clone();
    let others: Vec<Endpoint> = peers.iter().map(|peer| peer.endpoint.clone()).collect();
    let fetching = std::thread::spawn(move || {
        let peers: Vec<&Endpoint> = others.iter().collect();
        node.fetch((blob, size), &[&at], &peers)
    });
    std::thread::sleep(Duration::from_secs(1));
    lab.cut(&place);
    let fetched = fetching.join().unwrap();
    println!(
        "{:.2} s; {:.1} MiB from the origin before it went, {:.1} MiB from peers",
        seconds(&fetched),
        fetched.from_origin as f64 / MIB as f64,
        fetched.from_peers as f64 / MIB as f64
    );
    vec![figure("origin_dead_completes", 1.0, "", Some(">= 1"))]
}
