//! Says in plain words why a container did not come up, from what systemd, podman and the journal report.

use std::fmt;

use crate::runtime::systemd::ServiceState;

/// Why a container did not come up or did not stay up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// podman does not have the image.
    ImageMissing,
    /// A port of the node is in use.
    PortTaken {
        /// The port, where podman names it.
        port: Option<u16>,
        /// Who holds it, where that can be told.
        holder: Option<String>,
    },
    /// A secret is not in podman.
    SecretMissing,
    /// A directory that should be mounted is missing.
    DataMissing,
    /// podman has too few users to run containers as.
    FewSubIds {
        /// Which file gives how many, and what gives more.
        lack: String,
    },
    /// The program cannot be started: it is not in the image, or not for this machine.
    NotRunnable,
    /// It ran, but its health check never passed.
    NeverHealthy {
        /// What the last checks said.
        checks: Vec<String>,
    },
    /// It took too long to start.
    Timeout,
    /// It used more memory than it may.
    OutOfMemory,
    /// It ended by itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// A signal ended it.
    Killed {
        /// The signal.
        signal: i32,
    },
    /// Something that it needs did not come up.
    Dependency {
        /// The service that failed, such as that of a network or volume, where that can be told.
        unit: Option<String>,
        /// podman's words about it.
        said: Option<String>,
    },
    /// Something else.
    Unknown {
        /// systemd's word.
        result: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ImageMissing => f.write_str("its image is not on this machine"),
            Self::PortTaken { port, holder } => {
                match port {
                    Some(port) => write!(f, "port {port} is already in use")?,
                    None => f.write_str("a port that it needs is already in use")?,
                }
                match holder {
                    Some(holder) => write!(f, " by {holder}"),
                    None => Ok(()),
                }
            }
            Self::SecretMissing => f.write_str("one of its secrets is missing"),
            Self::DataMissing => f.write_str("a directory that it needs is missing"),
            Self::FewSubIds { lack } => write!(f, "podman has too few users for its containers, because {lack}, then restart this machine"),
            Self::NotRunnable => f.write_str("its program cannot be started: it is missing in the image or made for another machine"),
            Self::NeverHealthy { checks } => {
                f.write_str("it started but never became healthy")?;
                match checks.last() {
                    Some(check) => write!(f, "; the last check said: {check}"),
                    None => Ok(()),
                }
            }
            Self::Timeout => f.write_str("it took too long to start"),
            Self::OutOfMemory => f.write_str("it used more memory than it may and was stopped"),
            Self::Exited { code } => write!(f, "it ended by itself with exit code {code}"),
            Self::Killed { signal } => write!(f, "it was ended by signal {signal}"),
            Self::Dependency { unit: None, .. } => {
                f.write_str("something that it needs did not start")
            }
            Self::Dependency {
                unit: Some(unit),
                said,
            } => {
                write!(f, "{unit}, which it needs, failed")?;
                match said {
                    Some(said) => write!(f, ": {said}"),
                    None => Ok(()),
                }
            }
            Self::Unknown { result } => write!(f, "systemd reports \"{result}\""),
        }
    }
}

impl Failure {
    /// Tells whether podman ended without saying a word that is known: whatever it lacks, every container lacks.
    pub(crate) fn is_podmans(&self) -> bool {
        matches!(self, Self::Exited { code } if PODMAN_FAILED.contains(code))
    }
}

/// podman's exit codes for what it could not do itself (podman-run(1)).
const PODMAN_FAILED: std::ops::RangeInclusive<i32> = 125..=127;
/// systemd's codes for how a process ended (`CLD_EXITED`, `CLD_KILLED`, `CLD_DUMPED`).
const EXITED: i32 = 1;
const KILLED: i32 = 2;
const DUMPED: i32 = 3;
/// systemd's words when the kernel stopped a process of a service for want of memory (since version 243).
const OUT_OF_MEMORY: &str = "killed by the OOM killer";
/// systemd's words between two runs of a service.
const STARTED_AGAIN: &str = "Scheduled restart job";

/// What podman's own words of failure begin with.
const PODMAN_SAYS: &str = "Error: ";

/// What a container's manifest says that decides what its end means.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traits {
    pub(crate) has_health_check: bool,
    /// Whether the ports that it listens on are the node's own.
    pub(crate) has_host_network: bool,
}

/// Decides on the reason.
///
/// `lines` are the journal's about this start; `checks` is what the health check said, oldest first, without the passes.
pub(crate) fn explain(
    state: &ServiceState,
    lines: &[String],
    checks: &[String],
    traits: Traits,
) -> Failure {
    let says = |words: &str| lines.iter().any(|line| line.contains(words));
    let podman_failed =
        state.exec_main_code == EXITED && PODMAN_FAILED.contains(&state.exec_main_status);
    // A unit whose cgroup podman divides goes on after such an event, so that its result tells nothing of it.
    if state.result == "oom-kill" || says(OUT_OF_MEMORY) {
        return Failure::OutOfMemory;
    }
    // Else the app's own words are of a port inside its container.
    if (podman_failed || traits.has_host_network)
        && (says("address already in use") || says("Address already in use"))
    {
        let port = lines.iter().find_map(|line| taken_port(line));
        return Failure::PortTaken { port, holder: None };
    }
    if podman_failed && says("image not known") {
        return Failure::ImageMissing;
    }
    if podman_failed && says("no secret with name or id") {
        return Failure::SecretMissing;
    }
    if podman_failed
        && (says("statfs") || says("failed to mount"))
        && says("no such file or directory")
    {
        return Failure::DataMissing;
    }
    if says("failed to exec pid1") || says("executable file") || says("exec format error") {
        return Failure::NotRunnable;
    }
    // A health check ends the container with a signal, or systemd gives up waiting.
    // SIGKILL may have come from elsewhere unless a check had failed; SIGTERM comes from podman.
    let ended_by_check = match state.exec_main_status {
        15 | 143 => true,
        9 | 137 => !checks.is_empty(),
        _ => state.result == "timeout",
    };
    if traits.has_health_check && ended_by_check {
        return Failure::NeverHealthy {
            checks: checks.to_vec(),
        };
    }
    match (state.result.as_str(), state.exec_main_code) {
        ("timeout", _) => Failure::Timeout,
        (_, EXITED) if (129..=192).contains(&state.exec_main_status) => Failure::Killed {
            signal: state.exec_main_status - 128,
        },
        (_, EXITED) => Failure::Exited {
            code: state.exec_main_status,
        },
        ("signal" | "core-dump", _) => Failure::Killed {
            signal: state.exec_main_status,
        },
        (result, _) => Failure::Unknown {
            result: result.to_owned(),
        },
    }
}

/// Says why a container was not even tried: the failed service is the one that it waited for, with the journal's lines
/// about that.
pub(crate) fn explain_needed(unit: Option<String>, lines: &[String]) -> Failure {
    let said = lines
        .iter()
        .rev()
        .find_map(|line| line.strip_prefix(PODMAN_SAYS));
    let said = said.map(|said| said.trim().to_owned());
    Failure::Dependency { unit, said }
}

/// Says why the last run ended of a service that systemd has started again since; `None` where its log does not tell.
///
/// `lines` are the journal's, oldest first, of this run and the ones before.
pub(crate) fn explain_last_run(lines: &[String]) -> Option<Failure> {
    let end = lines
        .iter()
        .rposition(|line| line.contains(STARTED_AGAIN))?;
    let before = lines.get(..end)?;
    let begin = before.iter().rposition(|line| line.contains(STARTED_AGAIN));
    let run = before.get(begin.map_or(0, |begin| begin + 1)..)?;
    let state = run.iter().rev().find_map(|line| ended(line))?;
    // Whether a check had failed is not known any more.
    Some(explain(&state, run, &[], Traits::default()))
}

/// Reads `Main process exited, code=exited, status=137/n/a`.
fn ended(line: &str) -> Option<ServiceState> {
    let (_, said) = line.split_once("Main process exited, code=")?;
    let (code, status) = said.split_once(", status=")?;
    let exec_main_code = match code {
        "exited" => EXITED,
        "killed" => KILLED,
        "dumped" => DUMPED,
        _ => return None,
    };
    let result = match exec_main_code {
        EXITED => "exit-code",
        KILLED => "signal",
        _ => "core-dump",
    };
    Some(ServiceState {
        result: result.to_owned(),
        exec_main_code,
        exec_main_status: status.split('/').next()?.parse().ok()?,
        ..ServiceState::default()
    })
}

/// Finds the port in `rootlessport listen tcp 0.0.0.0:8080: bind: address already in use` or
/// `Failed to bind port 8080 (Address already in use)`.
fn taken_port(line: &str) -> Option<u16> {
    let end = line.to_ascii_lowercase().find("address already in use")?;
    let before = line.get(..end)?;
    let mut digits = before.split(|c: char| !c.is_ascii_digit());
    digits.rfind(|part| !part.is_empty())?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(result: &str, code: i32, status: i32) -> ServiceState {
        ServiceState {
            result: result.to_owned(),
            exec_main_code: code,
            exec_main_status: status,
            ..ServiceState::default()
        }
    }

    #[test]
    fn each_known_failure_has_its_words() {
        let check = "GET / on port 80 answered 500".to_owned();
        let checked = Traits {
            has_health_check: true,
            has_host_network: false,
        };
        let table = [
            (
                state("exit-code", 1, 125),
                "Error: x: image not known",
                Failure::ImageMissing,
            ),
            (
                state("exit-code", 1, 126),
                "Error: rootlessport listen tcp 0.0.0.0:8080: bind: address already in use",
                Failure::PortTaken {
                    port: Some(8080),
                    holder: None,
                },
            ),
            (
                state("exit-code", 1, 126),
                "Failed to bind port 8081 (Address already in use) for option",
                Failure::PortTaken {
                    port: Some(8081),
                    holder: None,
                },
            ),
            (
                state("exit-code", 1, 98),
                "bind() to 0.0.0.0:8080 failed (98: Address already in use)",
                Failure::Exited { code: 98 },
            ),
            (
                state("exit-code", 1, 125),
                "Error: no secret with name or id \"a\"",
                Failure::SecretMissing,
            ),
            (
                state("exit-code", 1, 125),
                "Error: statfs /x: no such file or directory",
                Failure::DataMissing,
            ),
            (
                state("exit-code", 1, 127),
                "catatonit: failed to exec pid1: No such file",
                Failure::NotRunnable,
            ),
            (state("exit-code", 1, 7), "bye", Failure::Exited { code: 7 }),
            (state("oom-kill", 2, 9), "", Failure::OutOfMemory),
            (
                state("exit-code", 1, 137),
                "archy.a.web.service: A process of this unit has been killed by the OOM killer.",
                Failure::OutOfMemory,
            ),
            (
                state("exit-code", 1, 137),
                "",
                Failure::NeverHealthy {
                    checks: vec![check.clone()],
                },
            ),
            (
                state("timeout", 1, 143),
                "",
                Failure::NeverHealthy {
                    checks: vec![check.clone()],
                },
            ),
        ];
        for (state, line, expected) in table {
            let found = explain(
                &state,
                &[line.to_owned()],
                std::slice::from_ref(&check),
                checked,
            );
            assert_eq!(found, expected, "{line}");
        }
        let denied = "Error: crun: mkdir `/var/tmp`: Permission denied: OCI permission denied";
        let denied = explain(
            &state("exit-code", 1, 126),
            &[denied.to_owned()],
            &[],
            checked,
        );
        assert!(denied.is_podmans());
        assert!(!Failure::Exited { code: 1 }.is_podmans() && !Failure::NotRunnable.is_podmans());
        let without_check = explain(&state("timeout", 1, 143), &[], &[], Traits::default());
        assert_eq!(without_check, Failure::Timeout);
        let silent = explain(&state("protocol", 1, 143), &[], &[], checked);
        assert_eq!(silent, Failure::NeverHealthy { checks: Vec::new() });
        assert_eq!(
            explain(&state("exit-code", 1, 139), &[], &[], checked),
            Failure::Killed { signal: 11 }
        );
        let on_host = Traits {
            has_host_network: true,
            ..checked
        };
        let taken = ["listen tcp :53: bind: address already in use".to_owned()];
        assert_eq!(
            explain(&state("exit-code", 1, 1), &taken, &[], on_host),
            Failure::PortTaken {
                port: Some(53),
                holder: None
            }
        );
    }

    #[test]
    fn what_a_container_waits_for_is_named() {
        let table = [
            (
                Some("archy.a-network.service"),
                "Error: subnet 10.89.0.0/24 is already used",
                "archy.a-network.service, which it needs, failed: subnet 10.89.0.0/24 is already used",
            ),
            (
                Some("archy.a.volume.data-volume.service"),
                "archy.a.volume.data-volume.service: Main process exited, code=exited, status=125/n/a",
                "archy.a.volume.data-volume.service, which it needs, failed",
            ),
            (None, "", "something that it needs did not start"),
        ];
        for (unit, line, words) in table {
            let failure = explain_needed(unit.map(str::to_owned), &[line.to_owned()]);
            assert_eq!(failure.to_string(), words);
        }
    }

    #[test]
    fn the_last_run_of_a_service_tells_why_it_ended() {
        let lines = |text: &[&str]| {
            text.iter()
                .map(|line| (*line).to_owned())
                .collect::<Vec<_>>()
        };
        let again = "archy.a.web.service: Scheduled restart job, restart counter is at 2.";
        let eaten =
            "archy.a.web.service: A process of this unit has been killed by the OOM killer.";
        let killed = "archy.a.web.service: Main process exited, code=exited, status=137/n/a";
        let left = "archy.a.web.service: Main process exited, code=exited, status=7/NOTRUNNING";
        let table = [
            (vec![eaten, killed, again], Some(Failure::OutOfMemory)),
            (
                vec![killed, eaten, again, "hello"],
                Some(Failure::OutOfMemory),
            ),
            (
                vec![eaten, killed, again, "hello", left, again, "hello"],
                Some(Failure::Exited { code: 7 }),
            ),
            (vec![killed, again], Some(Failure::Killed { signal: 9 })),
            (vec![eaten, killed], None),
            (vec!["hello", again], None),
        ];
        for (said, expected) in table {
            assert_eq!(explain_last_run(&lines(&said)), expected, "{said:?}");
        }
    }
}
