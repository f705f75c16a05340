//! Where each field of a YAML text stands. Refuses the parts of YAML that manifests do not use:
//! anchors, aliases, tags, directives, several documents, duplicate keys.

use std::collections::BTreeMap;

use serde_saphyr::granit_parser::{Event, Options, Parser, ScanError, Span};

use super::Fault;

const DEPTH_MAX: usize = 12;

/// Line and column, both from 1.
pub(super) type Position = (usize, usize);

/// Positions by path (`containers[0].ports[1].host`).
#[derive(Debug, Default)]
pub(super) struct Index {
    keys: BTreeMap<String, Position>,
    values: BTreeMap<String, Position>,
}

/// A collection that is being read.
struct Open {
    path: String,
    kind: Kind,
}

enum Kind {
    /// Next index.
    Sequence(usize),
    /// The key whose value comes next.
    Mapping(Option<String>),
}

impl Index {
    /// Reads a text.
    pub(super) fn of(yaml: &str) -> Result<Self, Fault> {
        let mut options = Options::default();
        options.disallow_directives = true;
        let mut builder = Builder::default();
        for next in Parser::new_from_str_with_options(yaml, options) {
            let (event, span) = next.map_err(|error| syntax(&error))?;
            builder.step(event, position(&span))?;
        }
        Ok(builder.index)
    }

    /// Finds the place of a normal-form path, or of the nearest thing round it, and how the file calls it.
    pub(super) fn find(&self, path: &str) -> (String, Position) {
        let mut path = path.to_owned();
        if !self.keys.contains_key("containers")
            && let Some(rest) = path.strip_prefix("containers[0]")
        {
            path = format!("container{rest}");
        }
        if !self.keys.contains_key(&path) {
            let short = path.replacen(".source.", ".", 1);
            if self.keys.contains_key(&short) {
                path = short;
            }
        }
        let mut known = path.as_str();
        loop {
            if let Some(position) = self.values.get(known).or_else(|| self.keys.get(known)) {
                return (path, *position);
            }
            match known.rfind(['.', '[']) {
                Some(end) => known = &known[..end],
                None => break,
            }
        }
        let position = self.values.get("").copied().unwrap_or((1, 1));
        (path, position)
    }

    /// Names the key at a position.
    pub(super) fn key_at(&self, position: Position) -> Option<&str> {
        at(&self.keys, position)
    }

    /// Names the value at a position.
    pub(super) fn value_at(&self, position: Position) -> Option<&str> {
        at(&self.values, position)
    }
}

/// An index that is being built.
#[derive(Default)]
struct Builder {
    index: Index,
    open: Vec<Open>,
    documents: usize,
}

impl Builder {
    fn step(&mut self, event: Event<'_>, position: Position) -> Result<(), Fault> {
        if self.open.len() > DEPTH_MAX {
            return Err(self.fault(position, "is nested too deeply"));
        }
        self.refuse_properties(&event, position)?;
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "a foreign enum that may grow; its other events carry no content"
        )]
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(self.fault(position, "a manifest is a single YAML document"));
                }
                Ok(())
            }
            Event::Scalar(text, ..) => self.scalar(&text, position),
            Event::SequenceStart(..) => self.start(Kind::Sequence(0), position),
            Event::MappingStart(..) => self.start(Kind::Mapping(None), position),
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn refuse_properties(&self, event: &Event<'_>, position: Position) -> Result<(), Fault> {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "a foreign enum that may grow; its other events carry no properties"
        )]
        let (anchored, tagged) = match event {
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(_, anchor, tag)
            | Event::MappingStart(_, anchor, tag) => (*anchor != 0, tag.is_some()),
            Event::Alias(_) | Event::UnresolvedAlias(_) => (true, false),
            _ => (false, false),
        };
        if anchored {
            let message = "uses a YAML anchor or alias (& or *), which manifests do not allow";
            return Err(self.fault(position, message));
        }
        if tagged {
            return Err(self.fault(
                position,
                "uses a YAML tag (!), which manifests do not allow",
            ));
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, position: Position) -> Result<(), Fault> {
        if let Some(Open {
            path,
            kind: Kind::Mapping(key @ None),
        }) = self.open.last_mut()
        {
            let child = join(path, text);
            if let Some((line, _)) = self.index.keys.get(&child) {
                return Err(Fault {
                    message: format!("is written twice, first in line {line}"),
                    path: child,
                    line: position.0,
                    column: position.1,
                });
            }
            *key = Some(text.to_owned());
            self.index.keys.insert(child, position);
        } else {
            let path = next_path(self.open.last_mut());
            self.index.values.insert(path, position);
        }
        Ok(())
    }

    fn start(&mut self, kind: Kind, position: Position) -> Result<(), Fault> {
        if let Some(Open {
            kind: Kind::Mapping(None),
            ..
        }) = self.open.last()
        {
            return Err(self.fault(position, "has a key that is not a plain word"));
        }
        let path = next_path(self.open.last_mut());
        self.index.values.insert(path.clone(), position);
        self.open.push(Open { path, kind });
        Ok(())
    }

    fn fault(&self, position: Position, message: &str) -> Fault {
        Fault {
            path: self
                .open
                .last()
                .map(|open| open.path.clone())
                .unwrap_or_default(),
            line: position.0,
            column: position.1,
            message: message.to_owned(),
        }
    }
}

fn at(positions: &BTreeMap<String, Position>, wanted: Position) -> Option<&str> {
    positions
        .iter()
        .find(|(_, position)| **position == wanted)
        .map(|(path, _)| path.as_str())
}

/// Returns the path of the value that comes next in `open`, and steps on.
fn next_path(open: Option<&mut Open>) -> String {
    match open {
        None => String::new(),
        Some(Open {
            path,
            kind: Kind::Sequence(next),
        }) => {
            *next += 1;
            format!("{path}[{}]", *next - 1)
        }
        Some(Open {
            path,
            kind: Kind::Mapping(key),
        }) => join(path, &key.take().unwrap_or_default()),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn position(span: &Span) -> Position {
    (span.start.line(), span.start.col() + 1)
}

fn syntax(error: &ScanError) -> Fault {
    let marker = error.marker();
    Fault {
        path: String::new(),
        line: marker.line().max(1),
        column: marker.col() + 1,
        message: error.info(),
    }
}
