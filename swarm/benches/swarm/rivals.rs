//! What people use instead, on the same links.

use std::process::{Child, Command};
use std::time::Duration;

pub(crate) mod bare;
pub(crate) mod podman;
pub(crate) mod registry;
pub(crate) mod torrent;

/// A process that ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Tells whether all of these programs are installed, and says which is not.
pub(crate) fn installed(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        !std::env::split_paths(&path).any(|dir| dir.join(program).exists())
    });
    if let Some(missing) = missing {
        println!("{missing} is not installed, so it is not compared with");
    }
    missing.is_none()
}

/// Makes a command that runs in a network namespace.
pub(crate) fn inside(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

/// Waits until something listens there.
pub(crate) fn listens(namespace: &str, port: u16) {
    for _ in 0..200 {
        let heard = inside(namespace, "ss").args(["-Hltn"]).output().unwrap();
        let heard = String::from_utf8_lossy(&heard.stdout).into_owned();
        if heard.contains(&format!(":{port} ")) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("nothing listens on port {port}");
}

/// Runs a command to its end; panics with what it said if it fails.
pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
