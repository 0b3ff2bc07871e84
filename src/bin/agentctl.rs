//! The client: reads its surroundings once, runs one verb of [`aws_credential_agent::cli`] and exits with its code.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use aws_credential_agent::cli::environment::{Environment, Invocation};
use aws_credential_agent::cli::wiring;
use aws_credential_agent::platform::process;

fn main() -> ExitCode {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let start = Invocation {
        args: std::env::args_os().collect(),
        vars: Environment::of_process(),
        executable: process::executable().ok(),
        stdin_is_terminal: io::stdin().is_terminal(),
        stdout_is_terminal: stdout.is_terminal(),
        stderr_is_terminal: stderr.is_terminal(),
    };
    ExitCode::from(wiring::main(&start, &mut stdout.lock(), &mut stderr.lock()))
}
