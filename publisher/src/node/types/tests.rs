//! The copies are those of the contract that the node's own types make.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Every copy, by name, in TypeScript; a topic with a file of its own adds its own here.
fn copies() -> Vec<(&'static str, String)> {
    let mut all = super::declared();
    all.extend(super::adopt::declared());
    all.extend(super::backup::declared());
    all.extend(super::registry::declared());
    all.extend(super::seeding::declared());
    all.extend(super::storage::declared());
    all.extend(super::trust::declared());
    all
}

/// A type of the contract.
#[derive(Debug)]
enum Shape {
    /// Members and their types.
    Members(BTreeMap<String, String>),
    /// One of several words.
    Words(BTreeSet<String>),
    /// Something else, e.g. a message that carries one of several types.
    Other,
}

/// Reads TypeScript as ts-rs writes it: members and their types, or words.
fn shape(text: &str) -> Shape {
    let text = without_comments(text);
    let text = text.trim().trim_end_matches(';').trim();
    if let Some(inner) = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
    {
        let members = top_level(inner, ',');
        let members = members.iter().map(|member| {
            let (name, kind) = member.split_once(':').unwrap();
            (name.trim().to_owned(), kind.trim().to_owned())
        });
        return Shape::Members(members.collect());
    }
    let words = top_level(text, '|');
    if words
        .iter()
        .all(|word| word.starts_with('"') && word.ends_with('"'))
    {
        return Shape::Words(words.into_iter().collect());
    }
    Shape::Other
}

fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, comment)) = rest.split_once("/*") {
        out.push_str(before);
        rest = comment.split_once("*/").unwrap().1;
    }
    out + rest
}

/// Splits where no bracket is open; what is empty is left out.
fn top_level(text: &str, by: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for letter in text.chars() {
        match letter {
            '{' | '<' | '(' | '[' => depth += 1,
            '}' | '>' | ')' | ']' => depth -= 1,
            _ => {}
        }
        if letter == by && depth == 0 {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(letter);
        }
    }
    let parts = parts.iter().map(|part| part.trim().to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

/// The contract, by name.
fn contract() -> BTreeMap<String, Shape> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web/src/api/types");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap());
    let files = files.map(|file| {
        let name = file
            .path()
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let text = std::fs::read_to_string(file.path()).unwrap();
        let start = format!("export type {name} = ");
        let (_, declared) = text.split_once(&start).unwrap();
        (name, shape(declared))
    });
    files.collect()
}

/// Says how a copy differs from its original.
fn differences(name: &str, copy: &Shape, contract: &BTreeMap<String, Shape>) -> Vec<String> {
    match (copy, contract.get(name)) {
        (Shape::Members(copy), Some(Shape::Members(original))) => {
            let differs = |(member, kind): (&String, &String)| match original.get(member) {
                None => Some(format!("{name}.{member} is not in the contract")),
                Some(truth) if kind == truth || *kind == in_any_word(truth, contract) => None,
                Some(truth) => Some(format!("{name}.{member} is {truth}, not {kind}")),
            };
            copy.iter().filter_map(differs).collect()
        }
        (Shape::Words(copy), Some(Shape::Words(original))) if copy == original => Vec::new(),
        (copy, original) => vec![format!("{name} is {original:?}, not {copy:?}")],
    }
}

/// Takes any string where the contract has one of several words.
fn in_any_word(kind: &str, contract: &BTreeMap<String, Shape>) -> String {
    let names = kind.split_inclusive(|letter: char| !letter.is_alphanumeric());
    let names = names.map(|part| {
        let name = part.trim_end_matches(|letter: char| !letter.is_alphanumeric());
        match contract.get(name) {
            Some(Shape::Words(_)) => part.replacen(name, "string", 1),
            _ => part.to_owned(),
        }
    });
    names.collect()
}

#[test]
fn the_copies_have_not_drifted_from_the_contract() {
    let contract = contract();
    let mut found = Vec::new();
    for (name, text) in copies() {
        found.extend(differences(name, &shape(&text), &contract));
    }
    assert!(
        found.is_empty(),
        "publisher/src/node/types differs from the contract in web/src/api/types:\n{}",
        found.join("\n")
    );
}

#[test]
fn every_copy_is_compared() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/node");
    let topics = std::fs::read_dir(folder.join("types")).unwrap();
    let topics = topics.map(|entry| entry.unwrap().path());
    let sources = topics.filter(|path| !path.ends_with("tests.rs"));
    let sources = sources.chain([folder.join("types.rs")]);
    let mut written = BTreeSet::new();
    for source in sources {
        let text = std::fs::read_to_string(source).unwrap();
        let lines = text.lines().map(str::trim_start);
        let types = lines.filter_map(|line| {
            let rest = line
                .strip_prefix("pub struct ")
                .or(line.strip_prefix("pub enum "));
            rest?.split_whitespace().next().map(str::to_owned)
        });
        written.extend(types);
    }
    let declared = copies().into_iter();
    let declared: BTreeSet<String> = declared.map(|(name, _)| name.to_owned()).collect();
    assert_eq!(
        written, declared,
        "declare every type with `copies!`, and every topic in `copies` here"
    );
}

#[test]
fn every_kind_of_drift_is_found() {
    let contract = [
        (
            "Job",
            "{ /** Id. */ id: string, state: State | null, tags: Array<State>, size: number, }",
        ),
        ("State", "\"queued\" | \"done\""),
    ]
    .map(|(name, text)| (name.to_owned(), shape(text)))
    .into();
    let drift = |name: &str, text: &str| differences(name, &shape(text), &contract);
    let same: [&str; 4] = [
        "{ id: string, }",
        "{ state: State | null, tags: Array<State>, }",
        "{ state: string | null, tags: Array<string>, }",
        "{ size: number, id: string, }",
    ];
    for copy in same {
        assert_eq!(drift("Job", copy), Vec::<String>::new(), "{copy}");
    }
    let other: [&str; 6] = [
        "{ name: string, }",
        "{ id: number, }",
        "{ id: string | null, }",
        "{ state: string, }",
        "{ size: string, }",
        "\"id\" | \"state\"",
    ];
    for copy in other {
        assert_eq!(drift("Job", copy).len(), 1, "{copy}");
    }
    assert!(drift("State", "\"queued\" | \"done\"").is_empty());
    assert_eq!(drift("State", "\"queued\"").len(), 1);
    assert_eq!(drift("State", "\"queued\" | \"done\" | \"lost\"").len(), 1);
    assert_eq!(drift("Unheard", "{ id: string, }").len(), 1);
}
