//! The gate's report in Markdown. Pure: it takes what was found and says it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::matrix::{Cell, EVERYTHING, Matrix, Outcome};
use super::state::State;

/// On what a run was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The day, as `2026-01-31`.
    pub day: String,
    /// The commit that was built, and whether anything was changed since.
    pub commit: String,
    /// Processors, memory and kernel of the machine that carries the nodes.
    pub machine: String,
    /// What runs on the nodes, one program and its version each.
    pub versions: Vec<String>,
    /// Iterations of all states.
    pub iterations: u32,
    /// Nodes that install.
    pub nodes: usize,
    /// Apps of one node worked on at the same time.
    pub jobs: usize,
    /// How long the run took.
    pub minutes: f64,
}

/// Writes the whole report.
pub fn markdown(matrix: &Matrix, setting: &Setting) -> String {
    let mut text = String::new();
    heading(&mut text, matrix, setting);
    summary(&mut text, matrix);
    failures(&mut text, matrix);
    proofs(&mut text, matrix);
    rounds(&mut text, matrix);
    meanings(&mut text, matrix);
    text
}

/// Writing into a string cannot fail.
macro_rules! say {
    ($text:expr, $($part:tt)*) => {
        writeln!($text, $($part)*).expect("a string takes all text")
    };
}

fn heading(text: &mut String, matrix: &Matrix, setting: &Setting) {
    let tried = matrix.cells.len();
    let failed = matrix.failures().count();
    say!(text, "# The lifecycle gate\n");
    say!(
        text,
        "Every app of this repository goes through every state of its life on real nodes, and each state is judged by what \
         the machine shows: podman, systemd, the app's own interfaces and the data that was written before. What archyd says \
         of itself counts only where it must agree with that.\n"
    );
    say!(
        text,
        "**{} of {tried} cells are green.** {} iterations on {} nodes, {} apps of a node at a time, {:.0} minutes, {}.\n",
        tried - failed,
        setting.iterations,
        setting.nodes,
        setting.jobs,
        setting.minutes,
        setting.day
    );
    say!(
        text,
        "The commit: {}. The machine: {}. On the nodes: {}.\n",
        setting.commit,
        setting.machine,
        setting.versions.join(", ")
    );
}

fn summary(text: &mut String, matrix: &Matrix) {
    say!(text, "## All iterations on all nodes\n");
    say!(
        text,
        "How many cells are green, and the median of the seconds.\n"
    );
    let states = matrix.states();
    table_head(text, &states);
    for app in matrix.apps() {
        let cells = states.iter().map(|state| {
            let cells: Vec<&Cell> = matrix.of(app, *state).collect();
            summed(&cells)
        });
        table_row(text, app, cells);
    }
    say!(text, "");
}

fn summed(cells: &[&Cell]) -> String {
    if cells.is_empty() {
        return String::new();
    }
    let green = cells
        .iter()
        .filter(|cell| cell.outcome == Outcome::Ok)
        .count();
    let mut seconds: Vec<f64> = cells.iter().map(|cell| cell.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    if green == cells.len() {
        format!("{green}/{green}<br>{median:.1}")
    } else {
        format!("**{green}/{}**<br>{median:.1}", cells.len())
    }
}

fn failures(text: &mut String, matrix: &Matrix) {
    if matrix.failures().next().is_none() {
        return;
    }
    say!(text, "## What is not green\n");
    for cell in matrix.failures() {
        let Outcome::Failed { reason, log } = &cell.outcome else {
            continue;
        };
        say!(
            text,
            "### {} of {}, iteration {} on {}, after {:.1} s\n",
            cell.state,
            cell.app,
            cell.iteration,
            cell.node,
            cell.seconds
        );
        fenced(text, reason);
        if !log.is_empty() {
            say!(text, "Last lines of the logs:\n");
            fenced(text, log);
        }
    }
}

fn proofs(text: &mut String, matrix: &Matrix) {
    if matrix.proofs.is_empty() {
        return;
    }
    say!(text, "## Checks that were given something broken\n");
    say!(
        text,
        "How often each check said so, and what it said first. The seconds of these apps, above and below, include it.\n"
    );
    say!(
        text,
        "| check | app | what was broken | seen | what the check said |\n|---|---|---|---:|---|"
    );
    let mut checks: BTreeMap<_, Vec<Option<&str>>> = BTreeMap::new();
    for proof in &matrix.proofs {
        let check = (proof.state, proof.app.as_str(), proof.broken.as_str());
        checks.entry(check).or_default().push(proof.said.as_deref());
    }
    for ((state, app, broken), tries) in checks {
        let said: Vec<&str> = tries.iter().copied().flatten().collect();
        let seen = format!("{}/{}", said.len(), tries.len());
        let (seen, unseen) = if said.len() == tries.len() {
            (seen, "")
        } else {
            (format!("**{seen}**"), "**this check does not see it** ")
        };
        let said = said.first().copied().map(in_cell).unwrap_or_default();
        say!(
            text,
            "| {state} | {app} | {broken} | {seen} | {unseen}{said} |"
        );
    }
    say!(text, "");
}

fn rounds(text: &mut String, matrix: &Matrix) {
    let states = matrix.states();
    for (iteration, node) in matrix.rounds() {
        say!(text, "## Iteration {iteration} on {node}\n");
        table_head(text, &states);
        for app in matrix.apps() {
            let cells = states.iter().map(|state| {
                let mut cells = matrix.of(app, *state);
                let cell = cells.find(|cell| cell.iteration == iteration && cell.node == node);
                cell.map_or_else(String::new, |cell| match cell.outcome {
                    Outcome::Ok => format!("{:.1}", cell.seconds),
                    Outcome::Failed { .. } => format!("**failed** {:.1}", cell.seconds),
                })
            });
            table_row(text, app, cells);
        }
        say!(text, "");
    }
}

fn meanings(text: &mut String, matrix: &Matrix) {
    say!(text, "## What a green cell means\n");
    say!(text, "| state | what was seen |\n|---|---|");
    for state in matrix.states() {
        say!(text, "| {state} | {} |", state.meaning());
    }
    if matrix.apps().contains(&EVERYTHING) {
        say!(
            text,
            "\n*{EVERYTHING}*: when all apps are purged, podman has no container, volume, secret, network or image left."
        );
    }
}

fn table_head(text: &mut String, states: &[State]) {
    let names: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
    say!(text, "| app | {} |", names.join(" | "));
    say!(text, "|---|{}", "---:|".repeat(states.len()));
}

fn table_row(text: &mut String, app: &str, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.collect();
    say!(text, "| {app} | {} |", cells.join(" | "));
}

fn fenced(text: &mut String, block: &str) {
    say!(
        text,
        "````text\n{}\n````\n",
        block.trim_end().replace("````", "'''")
    );
}

/// One line without a pipe, so that a table keeps its columns.
fn in_cell(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().take(160).collect();
    line.replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::super::matrix::Proof;
    use super::*;

    fn setting() -> Setting {
        Setting {
            day: "2026-01-31".to_owned(),
            commit: "9305240 with changes".to_owned(),
            machine: "2 processors".to_owned(),
            versions: vec!["podman 5.4.2".to_owned()],
            iterations: 2,
            nodes: 1,
            jobs: 2,
            minutes: 3.2,
        }
    }

    fn cell(app: &str, state: State, iteration: u32, seconds: f64, outcome: Outcome) -> Cell {
        Cell {
            app: app.to_owned(),
            state,
            node: "b".to_owned(),
            iteration,
            seconds,
            outcome,
        }
    }

    fn proof(broken: &str, said: Option<&str>) -> Proof {
        Proof {
            app: "hello".to_owned(),
            state: State::Stop,
            broken: broken.to_owned(),
            said: said.map(str::to_owned),
        }
    }

    #[test]
    fn the_report_says_it_all() {
        let failed = Outcome::Failed {
            reason: "the probe of volume data is gone".to_owned(),
            log: "line one\nline two".to_owned(),
        };
        let matrix = Matrix {
            cells: vec![
                cell("hello", State::Install, 1, 1.0, Outcome::Ok),
                cell("hello", State::Install, 2, 3.0, Outcome::Ok),
                cell("hello", State::Purge, 1, 0.5, failed),
                cell("hello", State::Purge, 2, 0.7, Outcome::Ok),
                cell(EVERYTHING, State::Purge, 2, 0.1, Outcome::Ok),
            ],
            proofs: vec![
                proof("something listens", Some("port 80 | is open")),
                proof("nothing", Some("hello runs")),
                proof("something listens", Some("port 81 is open")),
                proof("nothing", None),
            ],
        };
        let text = markdown(&matrix, &setting());
        for part in [
            "**4 of 5 cells are green.** 2 iterations on 1 nodes",
            "The commit: 9305240 with changes. The machine: 2 processors. On the nodes: podman 5.4.2.",
            "| hello | 2/2<br>3.0 | **1/2**<br>0.7 |",
            "### purge of hello, iteration 1 on b, after 0.5 s",
            "the probe of volume data is gone",
            "line one\nline two",
            "| stop | hello | something listens | 2/2 | port 80 \\| is open |",
            "| stop | hello | nothing | **1/2** | **this check does not see it** hello runs |",
            "## Iteration 2 on b",
            "| hello | 1.0 | **failed** 0.5 |",
            "| everything |  | 0.1 |",
            "| purge | nothing at all",
        ] {
            assert!(text.contains(part), "{part:?} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_green_report_has_no_chapter_of_failures() {
        let matrix = Matrix {
            cells: vec![cell("hello", State::Install, 1, 1.0, Outcome::Ok)],
            proofs: Vec::new(),
        };
        let text = markdown(&matrix, &setting());
        assert!(text.contains("**1 of 1 cells are green.**"));
        assert!(!text.contains("not green") && !text.contains("broken"));
    }
}
