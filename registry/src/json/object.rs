//! Objects in canonical form, recognised and cut into their members without reading their values: one pass over the
//! bytes, nothing built.
//!
//! Answers only for the plain case, keys in ASCII without escapes; for all else it knows no answer, and
//! [`super::parse_canonical`] finds out what is wrong with it, if anything.

use super::{DEPTH_MAX, INTEGER_MAX};

/// An object in canonical form: every value in it is such as [`super::parse_canonical`] accepts.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    bytes: &'a [u8],
    members: Vec<Member<'a>>,
}

/// A member: its key, where it begins and where its value lies.
#[derive(Debug)]
struct Member<'a> {
    key: &'a [u8],
    start: usize,
    value: usize,
    end: usize,
}

impl<'a> Object<'a> {
    /// Recognises an object; `None` when the bytes may be anything else.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        std::str::from_utf8(bytes).ok()?;
        let mut scan = Scan { bytes, at: 0 };
        let mut members = Vec::with_capacity(16);
        scan.object(1, |member| members.push(member))?;
        (scan.at == bytes.len()).then_some(Self { bytes, members })
    }

    /// Returns a member's value as it is spelled.
    pub(crate) fn value(&self, key: &str) -> Option<&'a [u8]> {
        let member = self.members.get(self.find(key)?)?;
        self.bytes.get(member.value..member.end)
    }

    /// Returns the canonical form of the object without a member, in two pieces.
    pub(crate) fn without(&self, key: &str) -> [&'a [u8]; 2] {
        let Some(at) = self.find(key) else {
            return [self.bytes, &[]];
        };
        let (start, end) = match (at.checked_sub(1), self.members.get(at + 1)) {
            // With the comma before it.
            (Some(before), _) => (self.members[before].end, self.members[at].end),
            // With the comma after it.
            (None, Some(after)) => (self.members[at].start, after.start),
            (None, None) => (self.members[at].start, self.members[at].end),
        };
        [&self.bytes[..start], &self.bytes[end..]]
    }

    fn find(&self, key: &str) -> Option<usize> {
        self.members
            .binary_search_by(|member| member.key.cmp(key.as_bytes()))
            .ok()
    }
}

/// Tells whether bytes are a value in canonical form, as far as that can be told without reading it.
pub(super) fn is_canonical(bytes: &[u8]) -> bool {
    let mut scan = Scan { bytes, at: 0 };
    std::str::from_utf8(bytes).is_ok() && scan.value(0).is_some() && scan.at == bytes.len()
}

/// Walks over bytes that are UTF-8. Every step answers `None` where it does not know the spelling.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn take_all(&mut self, word: &[u8]) -> Option<()> {
        self.bytes
            .get(self.at..)?
            .starts_with(word)
            .then(|| self.at += word.len())
    }

    /// A value inside `depth` arrays and objects.
    fn value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' => self.object(depth + 1, |_| ()),
            b'[' => self.array(depth + 1),
            b't' => self.take_all(b"true"),
            b'f' => self.take_all(b"false"),
            b'n' => self.take_all(b"null"),
            _ => self.integer(),
        }
    }

    fn object(&mut self, depth: usize, mut member: impl FnMut(Member<'a>)) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(());
        }
        let mut before: Option<&[u8]> = None;
        loop {
            let start = self.at;
            let key = self.string()?;
            let is_plain = key.is_ascii() && !key.contains(&b'\\');
            // In order, and so none twice.
            if !is_plain || before.is_some_and(|before| before >= key) {
                return None;
            }
            before = Some(key);
            self.take(b':')?;
            let value = self.at;
            self.value(depth)?;
            member(Member {
                key,
                start,
                value,
                end: self.at,
            });
            if self.take(b',').is_none() {
                return self.take(b'}');
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.take(b'[')?;
        if self.take(b']').is_some() {
            return Some(());
        }
        loop {
            self.value(depth)?;
            if self.take(b',').is_none() {
                return self.take(b']');
            }
        }
    }

    /// A string, of which what is between the quotes is returned as it is spelled.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..)?;
            let plain = rest
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
            self.at += plain;
            match self.peek()? {
                b'"' => break,
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
        let text = self.bytes.get(start..self.at);
        self.at += 1;
        text
    }

    /// The one way to spell what cannot stand for itself (RFC 8785 §3.2.2.2).
    fn escape(&mut self) -> Option<()> {
        let rest = self.bytes.get(self.at + 1..)?;
        let length = match rest {
            [b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'u', b'0', b'0', b'0', b'0'..=b'7' | b'b' | b'e' | b'f', ..]
            | [b'u', b'0', b'0', b'1', b'0'..=b'9' | b'a'..=b'f', ..] => 6,
            _ => return None,
        };
        self.at += length;
        Some(())
    }

    fn integer(&mut self) -> Option<()> {
        let is_negative = self.take(b'-').is_some();
        let digits = self.bytes.get(self.at..)?;
        let count = digits
            .iter()
            .position(|byte| !byte.is_ascii_digit())
            .unwrap_or(digits.len());
        let digits = digits.get(..count)?;
        let first = *digits.first()?;
        if first == b'0' && (is_negative || count > 1) || count > 16 {
            return None;
        }
        let value = digits
            .iter()
            .fold(0_u64, |value, digit| value * 10 + u64::from(digit - b'0'));
        self.at += count;
        (value <= INTEGER_MAX).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::{canonical, parse};
    use super::*;

    /// Whether bytes are accepted by reading them, the way that [`super::super::parse_canonical`] takes when nothing
    /// is recognised here.
    fn is_accepted(bytes: &[u8]) -> bool {
        parse(bytes, usize::MAX).is_ok_and(|value| canonical(&value).unwrap() == bytes)
    }

    fn any_value(key: &'static str) -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-(1_i64 << 53)..=1 << 53).prop_map(Value::from),
            "\\PC{0,6}|[\"\\\\\u{0}-\u{1f}\u{7f}]{0,4}".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                prop::collection::vec((key, inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn canonical_bytes_with_plain_keys_are_recognised(value in any_value("[a-d@ ]{0,2}")) {
            let bytes = canonical(&value).unwrap();
            prop_assert_eq!(is_canonical(&bytes), is_accepted(&bytes));
        }

        #[test]
        fn what_is_recognised_would_be_accepted(value in any_value("[a-d\"é\\\\]{0,2}")) {
            let bytes = canonical(&value).unwrap();
            prop_assert!(!is_canonical(&bytes) || is_accepted(&bytes));
        }

        #[test]
        fn what_is_altered_is_not_recognised_unless_it_would_be_accepted(
            value in any_value("[a-d@]{0,2}"),
            at: prop::sample::Index,
            with: Option<u8>,
        ) {
            let mut bytes = canonical(&value).unwrap();
            let at = at.index(bytes.len());
            match with {
                Some(byte) => bytes[at] = byte,
                None => drop(bytes.remove(at)),
            }
            prop_assert!(!is_canonical(&bytes) || is_accepted(&bytes), "{:?}", String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn any_text_is_recognised_only_if_it_would_be_accepted(text in "[\\[\\]{}:,\"\\\\u0-9a-f tn.e+-]{0,24}") {
            prop_assert!(!is_canonical(text.as_bytes()) || is_accepted(text.as_bytes()), "{}", text);
        }
    }

    #[test]
    fn members_are_cut_out_as_they_are_spelled() {
        let text = r#"{"a":{"b":[1,"}"]},"b":"x,\"","c":-1}"#;
        let object = Object::read(text.as_bytes()).unwrap();
        let value = |key| {
            object
                .value(key)
                .map(|value| std::str::from_utf8(value).unwrap())
        };
        assert_eq!(value("a"), Some(r#"{"b":[1,"}"]}"#));
        assert_eq!(value("b"), Some(r#""x,\"""#));
        assert_eq!(value("c"), Some("-1"));
        assert_eq!(value("d"), None);
        for (key, rest) in [
            ("a", r#"{"b":"x,\"","c":-1}"#),
            ("b", r#"{"a":{"b":[1,"}"]},"c":-1}"#),
            ("c", r#"{"a":{"b":[1,"}"]},"b":"x,\""}"#),
            ("d", text),
        ] {
            assert_eq!(
                String::from_utf8(object.without(key).concat()).unwrap(),
                rest
            );
        }
        let only = Object::read(br#"{"a":1}"#).unwrap();
        assert_eq!(only.without("a").concat(), b"{}");
        assert_eq!(Object::read(b"{}").unwrap().without("a").concat(), b"{}");
        for other in [
            "",
            "[]",
            "1",
            "{",
            "{}{}",
            r#"{"a":1,}"#,
            r#"{"b":1,"a":1}"#,
            r#"{"a":1,"a":1}"#,
        ] {
            assert!(Object::read(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn nesting_has_the_limit_that_reading_has() {
        for depth in [DEPTH_MAX, DEPTH_MAX + 1, 100_000] {
            let arrays = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let objects = format!("{}0{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
            for text in [arrays, objects] {
                assert_eq!(is_canonical(text.as_bytes()), depth == DEPTH_MAX);
            }
        }
    }
}
