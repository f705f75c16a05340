//! What the gate found, cell by cell, and whether that is good enough. Nothing here looks at a machine.

use serde::Serialize;

use super::state::State;

/// The name under which what belongs to no single app is listed.
pub const EVERYTHING: &str = "everything";

/// What became of one state of one app, on one node, in one iteration.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The app's slug, or [`EVERYTHING`].
    pub app: String,
    /// Which state.
    pub state: State,
    /// The node's name.
    pub node: String,
    /// From 1.
    pub iteration: u32,
    /// How long getting there and looking took.
    pub seconds: f64,
    /// What was found.
    pub outcome: Outcome,
}

/// What was found of a cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The machine is as it should be.
    Ok,
    /// It is not.
    Failed {
        /// What was found instead.
        reason: String,
        /// The last lines of the app's and the daemon's logs.
        log: String,
    },
}

/// A check that was given something broken.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// Which app.
    pub app: String,
    /// The check's state.
    pub state: State,
    /// What was broken.
    pub broken: String,
    /// What the check said of it; nothing when it saw nothing wrong.
    pub said: Option<String>,
}

/// Everything that a run found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matrix {
    /// The cells, in the order in which they ended.
    pub cells: Vec<Cell>,
    /// The checks that were tried on something broken.
    pub proofs: Vec<Proof>,
}

/// A cell as `gate.json` lists it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    app: &'a str,
    state: &'static str,
    node: &'a str,
    iteration: u32,
    ok: bool,
    seconds: f64,
}

impl Matrix {
    /// Tells whether every cell is green, every check saw what was broken, and anything was tried at all.
    pub fn passed(&self) -> bool {
        !self.cells.is_empty()
            && self.failures().next().is_none()
            && self.proofs.iter().all(|proof| proof.said.is_some())
    }

    /// Returns the cells that are not as they should be.
    pub fn failures(&self) -> impl Iterator<Item = &Cell> {
        self.cells
            .iter()
            .filter(|cell| matches!(cell.outcome, Outcome::Failed { .. }))
    }

    /// Returns the apps in the order of their names, and [`EVERYTHING`] last.
    pub fn apps(&self) -> Vec<&str> {
        let mut apps: Vec<&str> = self.cells.iter().map(|cell| cell.app.as_str()).collect();
        apps.sort_unstable_by_key(|app| (*app == EVERYTHING, *app));
        apps.dedup();
        apps
    }

    /// Returns the states that any cell has, in their order.
    pub fn states(&self) -> Vec<State> {
        let has = |state: &State| self.cells.iter().any(|cell| cell.state == *state);
        State::ALL.into_iter().filter(has).collect()
    }

    /// Returns each iteration on each node.
    pub fn rounds(&self) -> Vec<(u32, &str)> {
        let mut rounds: Vec<(u32, &str)> = self
            .cells
            .iter()
            .map(|cell| (cell.iteration, cell.node.as_str()))
            .collect();
        rounds.sort_unstable();
        rounds.dedup();
        rounds
    }

    /// Returns the cells of an app in a state.
    pub fn of<'a>(&'a self, app: &'a str, state: State) -> impl Iterator<Item = &'a Cell> {
        self.cells
            .iter()
            .filter(move |cell| cell.app == app && cell.state == state)
    }

    /// Returns what `target/bench/gate.json` holds: all cells.
    ///
    /// # Errors
    ///
    /// When a figure is no number.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let lines: Vec<Line<'_>> = self
            .cells
            .iter()
            .map(|cell| Line {
                app: &cell.app,
                state: cell.state.as_str(),
                node: &cell.node,
                iteration: cell.iteration,
                ok: cell.outcome == Outcome::Ok,
                seconds: (cell.seconds * 1000.0).round() / 1000.0,
            })
            .collect();
        serde_json::to_string_pretty(&lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(app: &str, state: State, outcome: Outcome) -> Cell {
        Cell {
            app: app.to_owned(),
            state,
            node: "b".to_owned(),
            iteration: 1,
            seconds: 1.23456,
            outcome,
        }
    }

    fn failed() -> Outcome {
        Outcome::Failed {
            reason: "it is gone".to_owned(),
            log: String::new(),
        }
    }

    #[test]
    fn a_run_passes_when_something_was_tried_and_nothing_failed() {
        let matrix = |cells: Vec<Cell>| Matrix {
            cells,
            proofs: Vec::new(),
        };
        let good = cell("a", State::Install, Outcome::Ok);
        let bad = cell("b", State::Purge, failed());
        assert!(!matrix(vec![]).passed());
        assert!(matrix(vec![good.clone()]).passed());
        assert!(!matrix(vec![good, bad]).passed());
    }

    #[test]
    fn a_check_that_saw_nothing_wrong_fails_the_run() {
        let proof = |said: Option<&str>| Proof {
            app: "a".to_owned(),
            state: State::Stop,
            broken: "something listens".to_owned(),
            said: said.map(str::to_owned),
        };
        let mut matrix = Matrix {
            cells: vec![cell("a", State::Stop, Outcome::Ok)],
            proofs: vec![proof(Some("port 80 is open"))],
        };
        assert!(matrix.passed());
        matrix.proofs.push(proof(None));
        assert!(!matrix.passed());
    }

    #[test]
    fn the_list_has_every_cell() {
        let matrix = Matrix {
            cells: vec![
                cell("a", State::Install, Outcome::Ok),
                cell("a", State::Purge, failed()),
            ],
            proofs: Vec::new(),
        };
        let list: serde_json::Value = serde_json::from_str(&matrix.to_json().unwrap()).unwrap();
        assert_eq!(
            list,
            serde_json::json!([
                {"app": "a", "state": "install", "node": "b", "iteration": 1, "ok": true, "seconds": 1.235},
                {"app": "a", "state": "purge", "node": "b", "iteration": 1, "ok": false, "seconds": 1.235},
            ])
        );
    }

    #[test]
    fn what_belongs_to_no_app_comes_last() {
        let matrix = Matrix {
            cells: vec![
                cell(EVERYTHING, State::Purge, Outcome::Ok),
                cell("zulu", State::Install, Outcome::Ok),
                cell("alpha", State::Install, Outcome::Ok),
            ],
            proofs: Vec::new(),
        };
        assert_eq!(matrix.apps(), ["alpha", "zulu", EVERYTHING]);
        assert_eq!(matrix.states(), [State::Install, State::Purge]);
    }
}
