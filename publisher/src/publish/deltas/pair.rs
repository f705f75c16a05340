//! Guesses which layer of an earlier image a new one has come of; pure.

use archy_registry::release::Descriptor;

/// Smaller layers are fetched whole: a request more costs as much as a delta saves.
const SIZE_BYTES_MIN: u64 = 64 * 1024;
/// What a position farther away weighs, in per cent of a size.
const STEP: u64 = 25;

/// Pairs every new layer that the earlier image lacks with the earlier layer that is most like it: near the same place,
/// and of about the same size. Layers that stay are like nothing else.
pub(super) fn pair<'a>(
    old: &'a [Descriptor],
    new: &'a [Descriptor],
) -> Vec<(&'a Descriptor, &'a Descriptor)> {
    let gone = only_in(old, new);
    only_in(new, old)
        .into_iter()
        .filter(|(_, layer)| layer.size_bytes >= SIZE_BYTES_MIN)
        .filter_map(|(at, layer)| {
            let (_, like) = gone
                .iter()
                .min_by_key(|(was_at, other)| unlikeness((at, layer), (*was_at, other)))?;
            Some((*like, layer))
        })
        .collect()
}

/// Lists the layers of one image that another lacks, with their places.
fn only_in<'a>(layers: &'a [Descriptor], other: &[Descriptor]) -> Vec<(usize, &'a Descriptor)> {
    let lacks = |layer: &Descriptor| !other.iter().any(|one| one.diff_id == layer.diff_id);
    let places = layers.iter().enumerate();
    places.filter(|(_, layer)| lacks(layer)).collect()
}

fn unlikeness((at, layer): (usize, &Descriptor), (was_at, other): (usize, &Descriptor)) -> u64 {
    let (small, large) = if layer.size_bytes < other.size_bytes {
        (layer.size_bytes, other.size_bytes)
    } else {
        (other.size_bytes, layer.size_bytes)
    };
    let percent = large.saturating_mul(100) / small.max(1);
    percent.saturating_add(STEP * at.abs_diff(was_at) as u64)
}

#[cfg(test)]
mod tests {
    use archy_registry::{Blake3Hash, OciDigest};

    use super::*;

    /// A layer named by a letter, of so many KiB.
    fn layer(text: &str) -> Descriptor {
        let (name, kib) = text.split_at(1);
        let diff_id = OciDigest::from_sha256([name.as_bytes()[0]; 32]);
        Descriptor {
            media_type: String::new(),
            digest: diff_id,
            size_bytes: kib.parse::<u64>().unwrap() * 1024,
            blake3: Blake3Hash::of(text.as_bytes()),
            diff_id: Some(diff_id),
        }
    }

    fn layers(text: &str) -> Vec<Descriptor> {
        text.split_whitespace().map(layer).collect()
    }

    fn name(layer: &Descriptor) -> char {
        char::from(layer.digest.as_bytes()[0])
    }

    #[test]
    fn layers_are_paired_by_place_and_size() {
        let cases = [
            ("nothing changed", "a900 b500", "a900 b500", ""),
            ("the last one changed", "a900 b500", "a900 c510", "b>c"),
            (
                "all changed",
                "a9000 b500 c80",
                "d9100 e520 f90",
                "a>d b>e c>f",
            ),
            (
                "one came in before it",
                "a900 b500",
                "a900 x4000 c510",
                "b>x b>c",
            ),
            (
                "one came in, one changed its size",
                "a900 b500 c300",
                "a900 x310 d520",
                "b>d c>x",
            ),
            ("one went", "a900 b500 c300", "a900 d310", "c>d"),
            (
                "of two as large, the one in its place",
                "a500 b500",
                "c500 d500",
                "a>c b>d",
            ),
            ("nothing went", "a900", "a900 b500", ""),
            ("too small to matter", "a900 b60", "a900 c60", ""),
            ("the first release of an image", "", "a900", ""),
        ];
        for (case, old, new, expected) in cases {
            let (old, new) = (layers(old), layers(new));
            let mut pairs: Vec<String> = pair(&old, &new)
                .into_iter()
                .map(|(old, new)| format!("{}>{}", name(old), name(new)))
                .collect();
            pairs.sort();
            let mut expected: Vec<&str> = expected.split_whitespace().collect();
            expected.sort_unstable();
            assert_eq!(pairs, expected, "{case}");
        }
    }
}
