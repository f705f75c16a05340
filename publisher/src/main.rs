//! archy: hands the command line and the environment to the library and returns its exit code.

use std::process::ExitCode;

use archy::environment::Environment;

#[tokio::main]
async fn main() -> ExitCode {
    archy::run(std::env::args_os(), &Environment::of_process()).await
}
