//! `agentd`: the per-user agent. Parses, hardens the process, builds the runtime, and calls the daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use aws_credential_agent::daemon::run::{self, Options};
use clap::Parser;

/// Keeps AWS credentials fresh and serves them over a local socket.
///
/// Runs in the foreground and logs to stderr (AGENTCTL_LOG=debug for more). Usually started by agentctl.
#[derive(Parser)]
#[command(version, after_help = "Example:\n  agentd --socket /tmp/me/agent.sock")]
struct Arguments {
    /// The agent's own settings [default: config.toml in the platform's config folder].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The local socket [default: see the README].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Started by agentctl: own session, log file, acknowledgement on stdout.
    #[arg(long, hide = true)]
    detached: bool,
}

fn main() -> ExitCode {
    let Arguments { config, socket, detached } = Arguments::parse();
    run::main(&Options { config, socket, detached })
}
