//! Counts the services that archyd has the user's systemd run for it. They are no children of archyd's, so that strace does
//! not see them; systemd tells the journal of each.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::Failure;
use crate::node::Node;

/// Begins the names of such services; a random part follows, so that no two are called the same.
const PREFIX: &str = "archy-work-";

/// A count under way.
pub(crate) struct Services<'a> {
    node: &'a Node,
    cursor: String,
}

impl<'a> Services<'a> {
    /// Begins at the journal's end.
    pub(crate) fn on(node: &'a Node) -> Result<Self, Failure> {
        let last = journal(node, "--lines=1")?;
        let last = last.first().ok_or("an empty journal")?;
        let cursor = last["__CURSOR"].as_str().ok_or("a line without a cursor")?;
        Ok(Self {
            node,
            cursor: cursor.to_owned(),
        })
    }

    /// Returns how many services the journal tells of since.
    pub(crate) fn count(self) -> Result<usize, Failure> {
        let since = journal(self.node, &format!("--after-cursor={}", self.cursor))?;
        let units = since.iter().filter_map(|line| line["USER_UNIT"].as_str());
        let ours: BTreeSet<&str> = units.filter(|unit| unit.starts_with(PREFIX)).collect();
        Ok(ours.len())
    }
}

fn journal(node: &Node, which: &str) -> Result<Vec<Value>, Failure> {
    node.exec_root(&["journalctl", "--sync"])?;
    let said = node.exec(&[
        "journalctl",
        "--user",
        "--no-pager",
        "--quiet",
        "--output=json",
        "--output-fields=USER_UNIT",
        which,
    ])?;
    let lines = said.lines().map(|line| Ok(serde_json::from_str(line)?));
    lines.collect()
}
