//! The `Range` header (RFC 9110 §14.1.2): one range of bytes or several.

use std::ops::Range;

/// Most ranges of one request; image clients that take single files out of a layer ask for as many.
pub(super) const RANGES_MAX: usize = 1024;

/// What part of a blob to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: no range, or one that RFC 9110 lets a server ignore.
    Whole,
    /// These bytes.
    Bytes(Range<u64>),
    /// These bytes, in the order in which they were asked for.
    Several(Vec<Range<u64>>),
    /// Everything asked for lies outside.
    Unsatisfiable,
}

/// Interprets a `Range` header for a blob of `size_bytes`.
pub(super) fn parse(header: Option<&str>, size_bytes: u64) -> Part {
    let Some(set) = header.and_then(|header| header.strip_prefix("bytes=")) else {
        return Part::Whole;
    };
    let mut within = Vec::new();
    for (count, spec) in set.split(',').enumerate() {
        let range = single(spec.trim_matches([' ', '\t']), size_bytes);
        let Some(range) = range.filter(|_| count < RANGES_MAX) else {
            return Part::Whole;
        };
        if range.start < range.end {
            within.push(range);
        }
    }
    // Whoever asks for more than there is gets all of it, once.
    let length = |range: &Range<u64>| range.end - range.start;
    let asked = within.iter().map(length).fold(0, u64::saturating_add);
    match within.as_slice() {
        [] => Part::Unsatisfiable,
        [range] => Part::Bytes(range.clone()),
        _ if asked > size_bytes => Part::Whole,
        _ => Part::Several(within),
    }
}

/// Reads one range, cut to the blob and empty when it lies outside; `None` when it is none.
fn single(spec: &str, size_bytes: u64) -> Option<Range<u64>> {
    let (first, last) = spec.split_once('-')?;
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => {
            Some(first..last.saturating_add(1).min(size_bytes))
        }
        (Some(first), None) if last.is_empty() => Some(first..size_bytes),
        (None, Some(suffix)) if first.is_empty() => {
            Some(size_bytes.saturating_sub(suffix)..size_bytes)
        }
        _ => None,
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_forms_that_clients_send() {
        let cases = [
            (None, Part::Whole),
            (Some("bytes=0-"), Part::Bytes(0..10)),
            (Some("bytes=4-"), Part::Bytes(4..10)),
            (Some("bytes=4-5"), Part::Bytes(4..6)),
            (Some("bytes=4-500"), Part::Bytes(4..10)),
            (Some("bytes=-3"), Part::Bytes(7..10)),
            (Some("bytes=-30"), Part::Bytes(0..10)),
            (Some("bytes=10-"), Part::Unsatisfiable),
            (Some("bytes=99999999999999999999-"), Part::Unsatisfiable),
            (Some("bytes=-0"), Part::Unsatisfiable),
            (Some("bytes=5-4"), Part::Whole),
            (
                Some("bytes=4-5, 0-1,-2"),
                Part::Several(vec![4..6, 0..2, 8..10]),
            ),
            (Some("bytes=0-1,20-"), Part::Bytes(0..2)),
            (Some("bytes=20-,30-40"), Part::Unsatisfiable),
            (Some("bytes=0-,0-,0-"), Part::Whole),
            (Some("bytes=0-1,,4-5"), Part::Whole),
            (Some("bytes="), Part::Whole),
            (Some("bytes=+1-2"), Part::Whole),
            (Some("items=0-1"), Part::Whole),
        ];
        for (header, expected) in cases {
            assert_eq!(parse(header, 10), expected, "{header:?}");
        }
    }

    #[test]
    fn a_flood_of_ranges_is_answered_with_the_whole() {
        let ranges = |count: u64| {
            let specs: Vec<String> = (0..count).map(|n| format!("{n}-{n}")).collect();
            parse(Some(&format!("bytes={}", specs.join(","))), 10_000)
        };
        assert!(matches!(ranges(1024), Part::Several(several) if several.len() == RANGES_MAX));
        assert_eq!(ranges(1025), Part::Whole);
    }

    proptest! {
        #[test]
        fn ranges_always_lie_within_the_blob_and_are_no_more_than_it(
            header in "bytes=[0-9]{0,20}-[0-9]{0,20}(,[0-9]{0,4}-[0-9]{0,4}){0,3}",
            size in prop_oneof![any::<u64>(), 0..10_000_u64],
        ) {
            let several = match parse(Some(&header), size) {
                Part::Bytes(range) => vec![range],
                Part::Several(several) => {
                    prop_assert!(several.len() > 1);
                    several
                }
                Part::Whole | Part::Unsatisfiable => Vec::new(),
            };
            let mut sum = 0_u64;
            for range in several {
                prop_assert!(range.start < range.end && range.end <= size);
                sum = sum.saturating_add(range.end - range.start);
            }
            prop_assert!(sum <= size);
        }
    }
}
