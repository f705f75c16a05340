//! Filters of NIP-01: strict reading, writing and matching.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::event::{Event, EventId, Pubkey};

/// Most values in all lists of one filter together.
pub const FILTER_VALUES_MAX: usize = 500;
/// Longest tag value in a filter, in bytes.
pub const FILTER_VALUE_BYTES_MAX: usize = 1024;

/// Which events somebody asks for. Every condition that is there must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Any of these ids.
    pub ids: Option<Vec<EventId>>,
    /// Any of these authors.
    pub authors: Option<Vec<Pubkey>>,
    /// Any of these kinds.
    pub kinds: Option<Vec<u16>>,
    /// Per single-letter tag, any of these values.
    pub tags: BTreeMap<char, Vec<String>>,
    /// Not older than this, in seconds since 1970.
    pub since: Option<u64>,
    /// Not newer than this, in seconds since 1970.
    pub until: Option<u64>,
    /// At most this many stored events, the newest; live events are not counted.
    pub limit: Option<usize>,
}

/// A filter that is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Not an object.
    #[error("a filter is not an object")]
    NotAnObject,
    /// A condition that this relay does not know.
    #[error("filter condition {0:?} is not supported")]
    Unknown(String),
    /// A condition with a value of the wrong shape.
    #[error("filter condition {0:?} has a malformed value")]
    Malformed(String),
    /// Too many or too long values.
    #[error("a filter may have {FILTER_VALUES_MAX} values of {FILTER_VALUE_BYTES_MAX} bytes")]
    TooLarge,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    ///
    /// For unknown conditions, wrong shapes, prefixes instead of whole ids, and too many values.
    pub fn from_json(value: &Value) -> Result<Self, FilterError> {
        let object = value.as_object().ok_or(FilterError::NotAnObject)?;
        let mut filter = Self::default();
        let mut values = 0;
        for (key, value) in object {
            let malformed = || FilterError::Malformed(key.chars().take(20).collect());
            let mut list = || {
                let list = value.as_array().ok_or_else(malformed)?;
                values += list.len();
                if values > FILTER_VALUES_MAX {
                    return Err(FilterError::TooLarge);
                }
                Ok(list)
            };
            let number = || value.as_u64().ok_or_else(malformed);
            let mut letters = key.strip_prefix('#').unwrap_or_default().chars();
            match (key.as_str(), letters.next(), letters.next()) {
                ("ids", ..) => filter.ids = Some(parse_texts(list()?).ok_or_else(malformed)?),
                ("authors", ..) => {
                    filter.authors = Some(parse_texts(list()?).ok_or_else(malformed)?);
                }
                ("kinds", ..) => {
                    let kind = |kind: &Value| kind.as_u64().and_then(|kind| kind.try_into().ok());
                    let kinds: Option<_> = list()?.iter().map(kind).collect();
                    filter.kinds = Some(kinds.ok_or_else(malformed)?);
                }
                ("since", ..) => filter.since = Some(number()?),
                ("until", ..) => filter.until = Some(number()?),
                ("limit", ..) => {
                    filter.limit = Some(number()?.try_into().unwrap_or(usize::MAX));
                }
                (_, Some(letter), None) if letter.is_ascii_alphabetic() => {
                    let texts: Vec<String> = parse_texts(list()?).ok_or_else(malformed)?;
                    if texts.iter().any(|text| text.len() > FILTER_VALUE_BYTES_MAX) {
                        return Err(FilterError::TooLarge);
                    }
                    filter.tags.insert(letter, texts);
                }
                _ => return Err(FilterError::Unknown(key.chars().take(20).collect())),
            }
        }
        Ok(filter)
    }

    /// Writes the filter.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                object.insert(key.to_owned(), value);
            }
        };
        put("ids", self.ids.as_ref().map(|ids| json!(ids)));
        put(
            "authors",
            self.authors.as_ref().map(|authors| json!(authors)),
        );
        put("kinds", self.kinds.as_ref().map(|kinds| json!(kinds)));
        put("since", self.since.map(Value::from));
        put("until", self.until.map(Value::from));
        put("limit", self.limit.map(Value::from));
        for (letter, values) in &self.tags {
            object.insert(format!("#{letter}"), json!(values));
        }
        Value::Object(object)
    }

    /// Returns whether an event meets every condition (`limit` is none).
    pub fn matches(&self, event: &Event) -> bool {
        let any = |list: &Option<Vec<EventId>>| list.as_ref().is_none_or(|l| l.contains(&event.id));
        any(&self.ids)
            && self
                .authors
                .as_ref()
                .is_none_or(|list| list.contains(&event.pubkey))
            && self
                .kinds
                .as_ref()
                .is_none_or(|list| list.contains(&event.kind))
            && self.since.is_none_or(|since| event.created_at >= since)
            && self.until.is_none_or(|until| event.created_at <= until)
            && self.tags.iter().all(|(letter, wanted)| {
                let mut name = [0; 4];
                event
                    .tag_values(letter.encode_utf8(&mut name))
                    .any(|value| wanted.iter().any(|wanted| wanted == value))
            })
    }
}

fn parse_texts<T: std::str::FromStr>(list: &[Value]) -> Option<Vec<T>> {
    list.iter()
        .map(|value| value.as_str().and_then(|text| text.parse().ok()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Signature;

    fn event() -> Event {
        Event {
            id: EventId::from_bytes([1; 32]),
            pubkey: Pubkey::from_bytes([2; 32]),
            created_at: 100,
            kind: 30_078,
            tags: vec![
                vec!["d".into(), "x".into()],
                vec!["t".into(), "archy".into(), "not indexed".into()],
                vec!["t".into(), "second".into()],
            ],
            content: String::new(),
            sig: Signature::from_bytes([0; 64]),
        }
    }

    #[test]
    fn every_condition_must_hold() {
        let id = "01".repeat(32);
        let author = "02".repeat(32);
        let table = [
            (json!({}), true),
            (json!({"ids": [id]}), true),
            (json!({"ids": []}), false),
            (json!({"authors": [author], "kinds": [1, 30078]}), true),
            (json!({"authors": [author], "kinds": [1]}), false),
            (json!({"since": 100, "until": 100}), true),
            (json!({"since": 101}), false),
            (json!({"until": 99}), false),
            (json!({"#t": ["second"], "#d": ["x"]}), true),
            (json!({"#t": ["not indexed"]}), false),
            (json!({"#e": ["x"]}), false),
            (json!({"limit": 0}), true),
        ];
        for (json, expected) in table {
            let filter = Filter::from_json(&json).unwrap();
            assert_eq!(filter.matches(&event()), expected, "{json}");
            assert_eq!(Filter::from_json(&filter.to_json()).unwrap(), filter);
        }
    }

    #[test]
    fn what_is_not_served_says_why() {
        let table = [
            (json!([]), "not an object"),
            (json!({"search": ""}), "\"search\" is not supported"),
            (json!({"#": ["x"]}), "is not supported"),
            (json!({"#tt": ["x"]}), "is not supported"),
            (json!({"#é": ["x"]}), "is not supported"),
            (json!({"ids": ["0102"]}), "malformed"),
            (json!({"kinds": [65536]}), "malformed"),
            (json!({"kinds": [-1]}), "malformed"),
            (json!({"since": "1"}), "malformed"),
            (json!({"limit": 1.5}), "malformed"),
            (json!({"kinds": vec![1; 501]}), "may have"),
            (json!({"#t": ["x".repeat(1025)]}), "may have"),
        ];
        for (json, expected) in table {
            let error = Filter::from_json(&json).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
