//! `agentd`: the per-user agent. Parses, hardens the process, builds the runtime, and calls the daemon.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use aws_credential_agent::daemon::bedrock;
use aws_credential_agent::daemon::inspect;
use aws_credential_agent::daemon::logout_flow::{self, Which};
use aws_credential_agent::daemon::probe;
use aws_credential_agent::daemon::profiles;
use aws_credential_agent::daemon::resolve::{self, Question};
use aws_credential_agent::daemon::run::{self, Options};
use clap::{Parser, Subcommand};

/// Memory is wiped as it is freed: the SDK, hyper and serde keep copies of tokens and keys that no type of ours wraps.
#[global_allocator]
static WIPING: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

/// Keeps AWS credentials fresh and serves them over a local socket.
///
/// Runs in the foreground and logs to stderr (AGENTCTL_LOG=debug for more). Usually started by agentctl.
#[derive(Parser)]
#[command(name = "agentd", version, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
#[command(after_help = "Examples:\n  agentd --socket /tmp/me/agent.sock\n  agentd resolve --profile dev")]
struct Arguments {
    /// The agent's own settings [default: config.toml in the platform's config folder]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The local socket [default: see the README]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Started by agentctl: own session, log file, acknowledgement on stdout
    #[arg(long, hide = true)]
    detached: bool,
    #[command(subcommand)]
    once: Option<Once>,
}

/// What is done once, without a socket.
#[derive(Subcommand)]
enum Once {
    /// Print one profile's credentials as JSON and end: for CI steps and read-only hosts
    Resolve {
        /// The profile
        #[arg(long, value_name = "NAME", default_value = "default")]
        profile: String,
        /// Wanted life in seconds; with less, a renewal is waited for unless one is failing
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        min_ttl: u64,
        /// How long everything may take, in milliseconds
        #[arg(long, value_name = "MS", default_value_t = 25_000)]
        timeout_ms: u64,
    },
    /// Look at the way to AWS from this environment (names, proxy, TLS, answers) and print what was seen as JSON
    Probe {
        /// Whose session's hosts [default: any profile's]
        #[arg(long, value_name = "NAME", conflicts_with = "sso_session")]
        profile: Option<String>,
        /// This session's hosts
        #[arg(long, value_name = "NAME")]
        sso_session: Option<String>,
        /// Where tools ask STS [default: the profile's region]
        #[arg(long, value_name = "REGION")]
        region: Option<String>,
        /// Look at Bedrock's host in that region too
        #[arg(long)]
        bedrock: bool,
        /// How long it may take, in milliseconds, at most 5000
        #[arg(long, value_name = "MS", default_value_t = 5_000)]
        timeout_ms: u64,
    },
    /// Try models of Bedrock with credentials from stdin, and print what came of it as JSON
    Bedrock {
        /// Where
        #[arg(long, value_name = "REGION")]
        region: String,
        /// An inference profile; each is asked for one token
        #[arg(long = "model", value_name = "ID")]
        models: Vec<String>,
    },
    /// Print what the AWS config says of each profile as JSON
    Profiles,
    /// Print what the AWS config says of one profile and what its session's token file holds, as JSON, without secrets
    Inspect {
        /// The profile
        #[arg(long, value_name = "NAME", default_value = "default")]
        profile: String,
        /// Whether this one has a source of credentials is told too
        #[arg(long, value_name = "NAME", default_value = "default")]
        also: String,
    },
    /// End an SSO session here and at AWS, and print what became of it as JSON
    Logout {
        /// This profile's session
        #[arg(long, value_name = "NAME", default_value = "default", conflicts_with_all = ["sso_session", "all"])]
        profile: String,
        /// This session
        #[arg(long, value_name = "NAME", conflicts_with = "all")]
        sso_session: Option<String>,
        /// Every session that the config names
        #[arg(long)]
        all: bool,
    },
}

fn main() -> ExitCode {
    let Arguments { config, socket, detached, once } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(e) => return usage(&e),
    };
    match once {
        None => run::main(&Options { config, socket, detached }),
        Some(Once::Resolve { profile, min_ttl, timeout_ms }) => resolve::main(&Question {
            config,
            profile,
            min_ttl: Duration::from_secs(min_ttl.min(24 * 3600)),
            timeout: Duration::from_millis(timeout_ms),
        }),
        Some(Once::Probe { profile, sso_session, region, bedrock, timeout_ms }) => {
            let within = Duration::from_millis(timeout_ms);
            probe::main(config, &probe::Question { profile, sso_session, region, bedrock, within })
        }
        Some(Once::Bedrock { region, models }) => bedrock::main(config.as_deref(), &region, &models),
        Some(Once::Profiles) => profiles::main(),
        Some(Once::Inspect { profile, also }) => inspect::main(&profile, &also),
        Some(Once::Logout { profile, sso_session, all }) => {
            let one = sso_session.map_or(Which::Profile(profile), Which::Session);
            logout_flow::main(config.as_deref(), if all { Which::All } else { one })
        }
    }
}

/// Help and version as they are; a mistake on one line.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A closed stdout wants no help.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let said: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let said = said.join(" ");
    let cause = said.strip_prefix("error: ").unwrap_or(&said);
    // The last word of a program that cannot start.
    let _ = writeln!(std::io::stderr(), "agentd: {cause}; see: agentd --help");
    ExitCode::from(2)
}
