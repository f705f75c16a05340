//! The `Range` header as far as image clients use it (RFC 9110 §14.1.2): one range of bytes.

use std::ops::Range;

/// What part of a blob to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: no range, or one that RFC 9110 lets a server ignore.
    Whole,
    /// These bytes.
    Bytes(Range<u64>),
    /// The range lies outside.
    Unsatisfiable,
}

/// Interprets a `Range` header for a blob of `size_bytes`.
pub(super) fn parse(header: Option<&str>, size_bytes: u64) -> Part {
    let Some(spec) = header.and_then(|header| header.strip_prefix("bytes=")) else {
        return Part::Whole;
    };
    let Some((first, last)) = spec.split_once('-') else {
        return Part::Whole;
    };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size_bytes),
        (Some(first), None) if last.is_empty() => first..size_bytes,
        (None, Some(suffix)) if first.is_empty() => size_bytes.saturating_sub(suffix)..size_bytes,
        _ => return Part::Whole,
    };
    if range.start < range.end {
        Part::Bytes(range)
    } else {
        Part::Unsatisfiable
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
            (Some("bytes=0-1,4-5"), Part::Whole),
            (Some("bytes=+1-2"), Part::Whole),
            (Some("items=0-1"), Part::Whole),
        ];
        for (header, expected) in cases {
            assert_eq!(parse(header, 10), expected, "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn a_range_always_lies_within_the_blob(header in "bytes=[0-9]{0,20}-[0-9]{0,20}", size: u64) {
            if let Part::Bytes(range) = parse(Some(&header), size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }
}
