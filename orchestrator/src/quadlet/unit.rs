//! The one writer of unit files, and the reader that proves what was written.
//!
//! Every value is one of three kinds with a grammar of its own, and each has exactly one way to be written. The reader
//! accepts only that way: a line continuation, a systemd specifier (`%h`) or a variable (`$HOME`) is an error, so that
//! nothing in a unit can mean more than its writer meant.

use std::fmt::{self, Write as _};

/// Longest single text in a unit, in bytes. Linux takes 128 KiB per argument (`MAX_ARG_STRLEN`), systemd 1 MiB a line.
pub const TEXT_LEN_MAX: usize = 32 * 1024;
/// Longest unit file in bytes.
pub const UNIT_LEN_MAX: usize = 256 * 1024;

/// A text cannot be put into a unit file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Line breaks and control characters would end or change a line.
    #[error("{0:?} contains a line break or control character")]
    Control(String),
    /// More than [`TEXT_LEN_MAX`] bytes.
    #[error("the text is {0} bytes long, at most {TEXT_LEN_MAX} are possible")]
    TooLong(usize),
    /// Quadlet drops every word after an empty one.
    #[error("an empty word is not possible here")]
    EmptyWord,
    /// systemd reads a lone semicolon as the end of a command, however it is quoted here.
    #[error("a lone \";\" is not possible here")]
    Semicolon,
    /// A character that only quoting would make safe, where nothing is quoted.
    #[error("{0:?} contains a character other than letters, digits and ._:/@=,+- and inner spaces")]
    NotPlain(String),
}

fn check_text(text: &str) -> Result<(), TextError> {
    if text.len() > TEXT_LEN_MAX {
        return Err(TextError::TooLong(text.len()));
    }
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if text.contains(breaks) {
        return Err(TextError::Control(text.chars().take(80).collect()));
    }
    Ok(())
}

/// One word of a list: any text without line breaks and control characters that is not empty and not a lone `;`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word(String);

impl Word {
    /// Checks `text`.
    ///
    /// # Errors
    ///
    /// What makes the text impossible to pass on unchanged.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        check_text(&text)?;
        match text.as_str() {
            "" => Err(TextError::EmptyWord),
            ";" => Err(TextError::Semicolon),
            _ => Ok(Self(text)),
        }
    }

    /// Returns the text as the program at the end receives it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One string of a JSON argument list: any text without line breaks and control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument(String);

impl Argument {
    /// Checks `text`.
    ///
    /// # Errors
    ///
    /// What makes the text impossible to pass on unchanged.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        check_text(&text)?;
        Ok(Self(text))
    }

    /// Returns the text as the program at the end receives it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text whose characters mean nothing to Quadlet or systemd, so that it is written as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Plain(String);

impl Plain {
    /// Checks `text`.
    ///
    /// # Errors
    ///
    /// [`TextError::NotPlain`] for any character outside the allow-list, and for an empty text.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        check_text(&text)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._:/@=,+-() ".contains(c);
        if text.is_empty() || text.trim() != text || !text.chars().all(plain) {
            return Err(TextError::NotPlain(text.chars().take(80).collect()));
        }
        Ok(Self(text))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value and with it the grammar that its reader uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Taken as it is.
    Plain(Plain),
    /// A list of words, each in double quotes.
    Words(Vec<Word>),
    /// A JSON list of strings; Quadlet takes the line as it is and systemd expands it afterwards.
    Json(Vec<Argument>),
}

/// `Key=Value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: &'static str,
    /// The value.
    pub value: Value,
}

/// `[Name]` and its entries in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The name between the brackets.
    pub name: &'static str,
    /// The entries, in order; a key may repeat.
    pub entries: Vec<Entry>,
}

/// A unit file before it is text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The sections, in order.
    pub sections: Vec<Section>,
}

impl Unit {
    /// Writes the unit file.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (index, section) in self.sections.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n" };
            let _ = writeln!(out, "{gap}[{}]", section.name);
            for entry in &section.entries {
                let _ = writeln!(out, "{}={}", entry.key, write_value(&entry.value));
            }
        }
        out
    }

    /// Returns the values of `key` in `section`, in order.
    pub fn values<'a>(
        &'a self,
        section: &'a str,
        key: &'a str,
    ) -> impl Iterator<Item = &'a Value> + 'a {
        self.sections
            .iter()
            .filter(move |candidate| candidate.name == section)
            .flat_map(|section| &section.entries)
            .filter(move |entry| entry.key == key)
            .map(|entry| &entry.value)
    }

    /// Tells whether `text` reads as exactly this unit.
    ///
    /// # Errors
    ///
    /// The first difference, or the line that is not in the writer's form.
    pub fn reads_back_from(&self, text: &str) -> Result<(), ReadError> {
        if text.len() > UNIT_LEN_MAX {
            return Err(ReadError::TooLong(text.len()));
        }
        let read = read(text)?;
        let meant: Vec<(&str, &str, &Value)> = self
            .sections
            .iter()
            .flat_map(|section| {
                let entries = section.entries.iter();
                entries.map(|entry| (section.name, entry.key, &entry.value))
            })
            .collect();
        if read.len() != meant.len() {
            return Err(ReadError::Count {
                meant: meant.len(),
                read: read.len(),
            });
        }
        for (line, (section, key, value)) in read.iter().zip(meant) {
            let same_place = line.section == section && line.key == key;
            let read_value = decode(&line.raw, value)?;
            if !same_place || read_value != texts(value) {
                return Err(ReadError::Differs(format!("[{section}] {key}")));
            }
        }
        Ok(())
    }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Plain(text) => vec![text.0.clone()],
        Value::Words(words) => words.iter().map(|word| word.0.clone()).collect(),
        Value::Json(arguments) => arguments
            .iter()
            .map(|argument| argument.0.clone())
            .collect(),
    }
}

fn write_value(value: &Value) -> String {
    match value {
        Value::Plain(text) => text.0.clone(),
        Value::Words(words) => {
            let quoted = words.iter().map(|word| quote(&word.0));
            quoted.collect::<Vec<_>>().join(" ")
        }
        Value::Json(arguments) => {
            let quoted = arguments.iter().map(|argument| quote(&argument.0));
            format!("[{}]", quoted.collect::<Vec<_>>().join(","))
        }
    }
}

/// Quotes in the form that Quadlet, systemd and JSON read alike. Words reach systemd's `ExecStart=`, where `%` and `$`
/// are doubled to stand for themselves (systemd.service(5), "Command lines").
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '%' | '$' => {
                out.push(c);
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A unit file does not say what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A line that the writer never writes.
    #[error("line {0} is neither a section, an entry nor empty")]
    Line(usize),
    /// Quoting that the writer never uses.
    #[error("{0:?} is not a list of words")]
    Words(String),
    /// Not a JSON list of strings.
    #[error("{0:?} is not a JSON list of strings")]
    Json(String),
    /// A specifier or variable that systemd would expand.
    #[error("{0:?} holds a specifier or variable that systemd would replace")]
    Expands(String),
    /// Another number of entries.
    #[error("{read} entries were read where {meant} were meant")]
    Count {
        /// Entries meant.
        meant: usize,
        /// Entries read.
        read: usize,
    },
    /// Another value, key or section.
    #[error("{0} reads differently from what was meant")]
    Differs(String),
    /// More than [`UNIT_LEN_MAX`] bytes.
    #[error("the unit is {0} bytes long, at most {UNIT_LEN_MAX} are allowed")]
    TooLong(usize),
}

/// One `Key=Value` line of a unit file with the section that it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The section's name.
    pub section: String,
    /// The key.
    pub key: String,
    /// The value as it stands in the file.
    pub raw: String,
}

/// Reads a unit file line by line. Lines end with a line feed; a backslash at the end of one is an error.
///
/// # Errors
///
/// [`ReadError::Line`] with the number of the first line that is out of form.
pub fn read(text: &str) -> Result<Vec<Line>, ReadError> {
    let mut section: Option<String> = None;
    let mut lines = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let out_of_form = ReadError::Line(index + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if check_text(line).is_err() && line.len() <= TEXT_LEN_MAX || line.ends_with('\\') {
            return Err(out_of_form);
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            section = Some(name.to_owned());
            continue;
        }
        let (Some((key, raw)), Some(section)) = (line.split_once('='), &section) else {
            return Err(out_of_form);
        };
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(out_of_form);
        }
        lines.push(Line {
            section: section.clone(),
            key: key.to_owned(),
            raw: raw.to_owned(),
        });
    }
    Ok(lines)
}

fn decode(raw: &str, like: &Value) -> Result<Vec<String>, ReadError> {
    match like {
        Value::Plain(_) => Ok(vec![raw.to_owned()]),
        Value::Words(_) => words(raw)?.iter().map(|word| unexpand(word)).collect(),
        Value::Json(_) => {
            let list: Vec<String> =
                serde_json::from_str(raw).map_err(|_| ReadError::Json(raw.to_owned()))?;
            list.iter().map(|word| unexpand(word)).collect()
        }
    }
}

/// Splits a list of words the way systemd and Quadlet do (systemd.syntax(7), "Quoting"), without expanding anything.
///
/// # Errors
///
/// [`ReadError::Words`] for an open quote or an escape other than `\\`, `\"` and `\'`.
pub fn words(raw: &str) -> Result<Vec<String>, ReadError> {
    let invalid = || ReadError::Words(raw.chars().take(200).collect());
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = raw.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('\\', _) => match characters.next() {
                Some(escaped @ ('\\' | '"' | '\'')) => {
                    word.get_or_insert_default().push(escaped);
                }
                _ => return Err(invalid()),
            },
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (' ' | '\t', None) => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(invalid());
    }
    words.extend(word);
    Ok(words)
}

/// Undoes the doubling of `%` and `$`.
///
/// # Errors
///
/// [`ReadError::Expands`] where one stands alone.
pub fn unexpand(word: &str) -> Result<String, ReadError> {
    let mut out = String::with_capacity(word.len());
    let mut characters = word.chars();
    while let Some(c) = characters.next() {
        if matches!(c, '%' | '$') && characters.next() != Some(c) {
            return Err(ReadError::Expands(word.chars().take(200).collect()));
        }
        out.push(c);
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
