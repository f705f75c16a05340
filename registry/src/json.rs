//! Strict JSON and its canonical form: what a signed statement may look like as bytes.
//!
//! Knows nothing of signatures or of what the statements say.

use std::cell::RefCell;
use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

mod object;

pub(crate) use object::Object;

/// Largest magnitude of a number: beyond 2^53−1 a JSON reader may round (RFC 8785 §3.2.2.3, RFC 7493 §2.2).
pub const INTEGER_MAX: u64 = (1 << 53) - 1;
/// Deepest nesting of arrays and objects.
pub const DEPTH_MAX: usize = 32;

/// Bytes are not JSON that archy accepts, or a value has no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Longer than the statement may be.
    #[error("{size_bytes} bytes of JSON where at most {size_bytes_max} are allowed")]
    Size {
        /// Length found.
        size_bytes: usize,
        /// Length allowed.
        size_bytes_max: usize,
    },
    /// Not JSON (RFC 8259).
    #[error("not valid JSON")]
    Syntax(#[source] serde_json::Error),
    /// An object names a member twice, so that two readers may see two statements.
    #[error("the member {key:?} occurs twice (line {line}, column {column})")]
    DuplicateKey {
        /// The member.
        key: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A fraction, or an integer that a JSON reader may round.
    #[error(
        "the number at line {line}, column {column} is not an integer between -(2^53-1) and 2^53-1"
    )]
    Number {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("JSON nested deeper than {DEPTH_MAX} levels (line {line}, column {column})")]
    Depth {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Valid JSON, but not the one spelling that is hashed and signed.
    #[error("not in canonical form (RFC 8785): the same statement has other canonical bytes")]
    NotCanonical,
    /// The value cannot be written as JSON.
    #[error("the value cannot be written as canonical JSON")]
    Serialize(#[source] serde_json::Error),
}

/// Parses at most `size_bytes_max` bytes, refusing what two readers could read differently.
///
/// # Errors
///
/// Every variant but [`JsonError::NotCanonical`] and [`JsonError::Serialize`].
pub fn parse(bytes: &[u8], size_bytes_max: usize) -> Result<Value, JsonError> {
    if bytes.len() > size_bytes_max {
        return Err(JsonError::Size {
            size_bytes: bytes.len(),
            size_bytes_max,
        });
    }
    let violation = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let strict = Strict {
        depth: 0,
        violation: &violation,
    };
    strict
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| {
            let (line, column) = (error.line(), error.column());
            match violation.into_inner() {
                Some(Violation::DuplicateKey(key)) => JsonError::DuplicateKey { key, line, column },
                Some(Violation::Number) => JsonError::Number { line, column },
                Some(Violation::Depth) => JsonError::Depth { line, column },
                None => JsonError::Syntax(error),
            }
        })
}

/// Parses bytes that must already be in canonical form, so that one statement has one spelling.
///
/// # Errors
///
/// As [`parse`], and [`JsonError::NotCanonical`].
pub fn parse_canonical(bytes: &[u8], size_bytes_max: usize) -> Result<Value, JsonError> {
    if bytes.len() <= size_bytes_max && object::is_canonical(bytes) {
        return serde_json::from_slice(bytes).map_err(JsonError::Syntax);
    }
    let value = parse(bytes, size_bytes_max)?;
    if canonical_value(&value)? != bytes {
        return Err(JsonError::NotCanonical);
    }
    Ok(value)
}

/// Writes what [`parse`] returned in canonical form.
///
/// With integers only and keys in ASCII, in order, that is how serde_json writes it, in a fraction of the time.
pub(crate) fn canonical_value(value: &Value) -> Result<Vec<u8>, JsonError> {
    if is_plain(value) {
        serde_json::to_vec(value).map_err(JsonError::Serialize)
    } else {
        canonical(value)
    }
}

/// Writes an object as [`canonical_value`] does.
pub(crate) fn canonical_object(members: &Map<String, Value>) -> Result<Vec<u8>, JsonError> {
    if is_plain_object(members) {
        serde_json::to_vec(members).map_err(JsonError::Serialize)
    } else {
        canonical(members)
    }
}

/// Tells whether numbers are integers and the keys of every object are ASCII and in ascending order.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => !number.is_f64(),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(members) => is_plain_object(members),
    }
}

fn is_plain_object(members: &Map<String, Value>) -> bool {
    members.keys().all(|key| key.is_ascii())
        && members.keys().is_sorted()
        && members.values().all(is_plain)
}

/// Writes a value in canonical form ([RFC 8785](https://www.rfc-editor.org/rfc/rfc8785), JCS).
///
/// # Errors
///
/// [`JsonError::Serialize`] when the value has no JSON form.
pub fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, JsonError> {
    serde_json_canonicalizer::to_vec(value).map_err(JsonError::Serialize)
}

/// A rule of ours that serde_json does not know; kept aside because its errors carry only text.
enum Violation {
    DuplicateKey(String),
    Number,
    Depth,
}

/// Builds a [`Value`] and enforces our rules on the way.
#[derive(Clone, Copy)]
struct Strict<'v> {
    depth: usize,
    violation: &'v RefCell<Option<Violation>>,
}

impl Strict<'_> {
    fn refuse<E: serde::de::Error>(&self, violation: Violation) -> E {
        *self.violation.borrow_mut() = Some(violation);
        E::custom("refused")
    }

    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(self.refuse(Violation::Depth));
        }
        Ok(Self {
            depth: self.depth + 1,
            violation: self.violation,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON with integers only")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        if value > INTEGER_MAX {
            return Err(self.refuse(Violation::Number));
        }
        Ok(Value::Number(Number::from(value)))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > INTEGER_MAX {
            return Err(self.refuse(Violation::Number));
        }
        Ok(Value::Number(Number::from(value)))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Value, E> {
        Err(self.refuse(Violation::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut members = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if members.contains_key(&key) {
                return Err(self.refuse(Violation::DuplicateKey(key)));
            }
            let value = map.next_value_seed(inner)?;
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests;
