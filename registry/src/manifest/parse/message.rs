//! Words for what the YAML reader refuses, with the nearest name that would have been right.

use serde_saphyr::{Error, Options, options::DuplicateKeyPolicy, options::MergeKeyPolicy};

use super::Fault;
use super::index::{Index, Position};

/// Options of the YAML reader: nothing is guessed.
pub(super) fn options() -> Options {
    serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        strict_booleans: true,
        with_snippet: false,
    }
}

/// Says where and what.
pub(super) fn fault(error: &Error, index: &Index) -> Fault {
    let error = error.without_snippet();
    let position = position(error);
    let value = || index.value_at(position).or_else(|| index.key_at(position));
    let key = || index.key_at(position).or_else(|| index.value_at(position));
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the other variants of a foreign enum have nothing to add"
    )]
    let (path, message) = match error {
        Error::SerdeMissingField { field, .. } => {
            return missing_field(field, position, index);
        }
        Error::SerdeUnknownField {
            field, expected, ..
        } => (key(), unknown_field(field, expected)),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => (value(), unknown_value(variant, expected)),
        Error::Message { msg, .. } => (value(), msg.clone()),
        Error::SerdeInvalidType {
            unexpected,
            expected,
            ..
        }
        | Error::SerdeInvalidValue {
            unexpected,
            expected,
            ..
        } => (value(), format!("is {unexpected} where {expected} belongs")),
        Error::InvalidScalar { ty, .. } => (value(), invalid_scalar(ty)),
        Error::InvalidBooleanStrict { .. } => (value(), "must be true or false".to_owned()),
        Error::NullIntoString { .. } => (value(), "has no value".to_owned()),
        Error::Unexpected { expected, .. } => (value(), unexpected(expected)),
        Error::Eof { .. } => (None, "the file is empty".to_owned()),
        other => (value(), plain(&other.to_string())),
    };
    Fault {
        path: path.unwrap_or_default().to_owned(),
        line: position.0,
        column: position.1,
        message,
    }
}

/// The reader reports a missing field at the last key of the map that lacks it; we name the map.
fn missing_field(field: &str, reported: Position, index: &Index) -> Fault {
    let last_key = index.key_at(reported).unwrap_or_default();
    let map = last_key.rfind('.').map_or("", |dot| &last_key[..dot]);
    let (path, (line, column)) = index.find(map);
    Fault {
        path,
        line,
        column,
        message: format!("lacks the field {field}"),
    }
}

fn invalid_scalar(kind: &str) -> String {
    match kind {
        "u8" => "must be a whole number from 0 to 255".to_owned(),
        "u16" => "must be a whole number from 0 to 65535".to_owned(),
        "u32" => "must be a whole number from 0 to 4294967295".to_owned(),
        other => format!("is not a {other}"),
    }
}

fn unexpected(expected: &str) -> String {
    match expected {
        "mapping start" => "must be a map of fields and values".to_owned(),
        "sequence start" => "must be a list".to_owned(),
        other => format!("does not fit: expected {other}"),
    }
}

fn position(error: &Error) -> Position {
    let at = |number: u64| usize::try_from(number).unwrap_or(1).max(1);
    error.location().map_or((1, 1), |location| {
        (at(location.line()), at(location.column()))
    })
}

/// Cuts the place off a message of the reader: we say it ourselves.
fn plain(message: &str) -> String {
    let end = message.rfind(" at line ").unwrap_or(message.len());
    message[..end].to_owned()
}

fn unknown_field(field: &str, expected: &[&str]) -> String {
    match nearest(field, expected) {
        Some(near) => format!("is not a field of the packaging contract; did you mean {near}?"),
        None => format!(
            "is not a field of the packaging contract; the fields here are {}",
            expected.join(", ")
        ),
    }
}

fn unknown_value(value: &str, expected: &[&str]) -> String {
    match nearest(value, expected) {
        Some(near) => format!("is {value:?}, which is not known; did you mean {near}?"),
        None => format!("is {value:?}, which is not one of {}", expected.join(", ")),
    }
}

/// Returns the name with the fewest changes from `name`, if those are few.
fn nearest<'n>(name: &str, names: &[&'n str]) -> Option<&'n str> {
    let changes_max = (name.chars().count() / 3).clamp(1, 3);
    names
        .iter()
        .map(|candidate| (distance(name, candidate), *candidate))
        .filter(|(changes, _)| *changes <= changes_max)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Counts insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let changed = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if swapped {
                    changed.min(rows[i - 2][j - 2] + 1)
                } else {
                    changed
                }
            };
        }
    }
    rows[a.len()][b.len()]
}
