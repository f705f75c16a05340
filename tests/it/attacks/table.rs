//! Every test that docs/src/security.md names exists.

use std::path::{Path, PathBuf};

#[test]
fn every_test_that_the_table_of_attacks_names_exists() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(repository.join("docs/src/security.md")).unwrap();
    let (mut attacks, mut missing) = (0, Vec::new());
    for row in page
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .take_while(|row| !row.starts_with("| target |"))
    {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_attack, _rule, code, tests] = cells[..] else {
            panic!("a row without attack, rule, code and test: {row}");
        };
        attacks += 1;
        for place in quoted(code) {
            if !repository.join(place).exists() {
                missing.push(place.to_owned());
            }
        }
        assert!(quoted(tests).next().is_some(), "no test in {row}");
        for test in quoted(tests) {
            let (file, name) = test.split_once("::").unwrap_or((test, ""));
            let source = std::fs::read_to_string(source_of(&repository, file)).unwrap_or_default();
            if name.is_empty() || !source.contains(&format!("fn {name}(")) {
                missing.push(test.to_owned());
            }
        }
    }
    assert!(attacks >= 12, "the table lost rows: {attacks}");
    assert!(missing.is_empty(), "named and not there: {missing:#?}");
}

/// What stands between back quotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn source_of(repository: &Path, file: &str) -> PathBuf {
    repository.join(file)
}
