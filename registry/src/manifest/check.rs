//! What the types of a manifest cannot say: allow-lists for every text, limits and cross-references.
//!
//! A manifest that passes is safe to render into units: no text holds a line break or control character,
//! and everything that names something names something that exists.

use std::fmt;

use super::Manifest;
use crate::text::Complaint;

mod app;
mod container;
mod grammar;
mod graph;
mod health;
mod surface;
mod values;

pub use grammar::CAPABILITIES;

/// A place in a manifest where it breaks the packaging contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, as in `containers[0].ports[1].host`.
    pub path: String,
    /// What is wrong, completing the sentence that starts with the path.
    pub complaint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.complaint)
    }
}

impl Manifest {
    /// Checks the whole packaging contract beyond the types.
    ///
    /// # Errors
    ///
    /// Every problem found, in the order of the manifest.
    pub fn check(&self) -> Result<(), Vec<Problem>> {
        let mut report = Report::default();
        app::check(&self.app, &mut report);
        container::check(self, &mut report);
        graph::check(self, &mut report);
        surface::check(self, &mut report);
        values::check(self, &mut report);
        if report.problems.is_empty() {
            Ok(())
        } else {
            Err(report.problems)
        }
    }
}

/// Collects problems; knows the path of whatever is checked right now.
#[derive(Default)]
struct Report {
    path: Vec<String>,
    problems: Vec<Problem>,
}

impl Report {
    /// Runs `check` one step deeper: `at("ports", …)`, `at_index(1, …)`.
    fn at(&mut self, field: impl Into<String>, check: impl FnOnce(&mut Self)) {
        self.path.push(field.into());
        check(self);
        self.path.pop();
    }

    /// Runs `check` on every item of a list, refusing more than `max` of them.
    fn each<T>(
        &mut self,
        field: &str,
        items: &[T],
        max: usize,
        mut check: impl FnMut(&mut Self, usize, &T),
    ) {
        if items.len() > max {
            let complaint = format!("has {} entries, at most {max} are allowed", items.len());
            self.at(field, |report| report.problem(complaint));
            return;
        }
        for (index, item) in items.iter().enumerate() {
            self.at(format!("{field}[{index}]"), |report| {
                check(report, index, item);
            });
        }
    }

    fn problem(&mut self, complaint: impl Into<String>) {
        self.problems.push(Problem {
            path: self.path.join("."),
            complaint: complaint.into(),
        });
    }

    /// Reports that the member `field` fails a check.
    fn member(&mut self, field: impl Into<String>, result: Result<(), Complaint>) {
        if let Err(complaint) = result {
            self.at(field, |report| report.problem(complaint));
        }
    }

    /// Reports that the value at hand fails a check.
    fn value(&mut self, result: Result<(), Complaint>) {
        if let Err(complaint) = result {
            self.problem(complaint);
        }
    }
}
