//! The command line: what can be typed, and how a mistake in it is told.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};

use super::outcome::Problem;
use super::shortcut;

mod options;

pub use options::*;

/// Heading of the options that every verb takes.
const EVERYWHERE: &str = "Options of every command";

/// Fresh AWS credentials from the agent in the background.
#[derive(Debug, Parser)]
#[command(name = "agentctl", version, disable_help_subcommand = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  agentctl setup                               Claude Code on Amazon Bedrock
  agentctl setup aws                           the AWS CLI and SDKs
  agentctl status                              what is kept, and what failed
  agentctl doctor                              what is wrong, and its cure

Exit codes:
  0 ok, 2 usage, 10 needs-login, 11 access-denied, 12 misconfigured,
  13 intercepted, 14 offline, 15 throttled, 16 clock-skew, 17 transient,
  18 login-paused, 19 agent-unreachable, 20 policy-denied")]
pub struct Cli {
    /// The profile [default: AWS_PROFILE, or "default"]
    #[arg(long, global = true, value_name = "NAME", help_heading = EVERYWHERE)]
    pub profile: Option<String>,
    /// The agent's socket [default: AGENTCTL_SOCKET, or the user's own]
    #[arg(long, global = true, value_name = "PATH", help_heading = EVERYWHERE)]
    pub socket: Option<PathBuf>,
    /// Say nothing but the document and errors
    #[arg(short, long, global = true, help_heading = EVERYWHERE)]
    pub quiet: bool,
    /// Tell on stderr what was asked of the agent and how long it took
    #[arg(short, long, global = true, conflicts_with = "quiet", help_heading = EVERYWHERE)]
    pub verbose: bool,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Print credentials for the AWS CLI and SDKs (credential_process) and Claude Code
    #[command(after_help = "Examples:
  agentctl credential-process --profile dev
  agentctl credential-process --timeout 500ms --no-autostart
  agentctl credential-process --no-daemon      in a CI step

In ~/.aws/config:
  [profile dev-agent]
  region = eu-west-1
  credential_process = /usr/local/bin/agentctl credential-process --profile dev")]
    CredentialProcess(Ask),
    /// Print credentials for Claude Code, a shell or a program
    #[command(after_help = "Examples:
  agentctl export --profile dev                for Claude Code
  eval \"$(agentctl export --format env)\"       sh, bash, zsh
  agentctl export --format fish | source       fish
  agentctl export --format powershell | Out-String | Invoke-Expression")]
    Export(Export),
    /// Show what is kept, how long it lives, when it is renewed and what failed
    #[command(after_help = "Examples:
  agentctl status
  agentctl status --watch
  agentctl status --profile dev      only this profile and its session
  agentctl status --json | jq '.profiles[] | {name, state, expires_at}'")]
    Status(Status),
    /// Print at most two short lines for Claude Code's status line
    #[command(after_help = "Examples:
  agentctl statusline --profile dev
  agentctl statusline --profile dev --below \"mine.sh\"    below your own

In ~/.claude/settings.json:
  \"statusLine\": {
    \"type\": \"command\",
    \"command\": \"agentctl statusline --profile dev\"
  }")]
    Statusline(Statusline),
    /// Explain the last decision about a profile
    #[command(after_help = "Examples:
  agentctl why --profile dev")]
    Why,
    /// Show who was given credentials
    #[command(after_help = "Examples:
  agentctl audit
  agentctl audit --since 2h --profile dev
  agentctl audit --since 2026-01-31T08:00:00Z
  agentctl audit --json | jq '.entries[] | {at, profile, executable}'")]
    Audit(Audit),
    /// Renew a profile's credentials now
    #[command(after_help = "Examples:
  agentctl refresh --profile dev
  agentctl refresh --timeout 1m")]
    Refresh(Fetch),
    /// Stop all renewing; what is held is served to its end
    #[command(after_help = "Examples:
  agentctl pause
  agentctl pause --for 8h")]
    Pause(Pause),
    /// Renew again after a pause
    #[command(after_help = "Examples:
  agentctl resume")]
    Resume,
    /// Sign in to AWS, where that is needed: one browser tab, whoever else asks
    #[command(after_help = "Examples:
  agentctl login --profile dev
  agentctl login --sso-session corp
  agentctl login --device          with a code, in a browser anywhere

For Claude Code, in ~/.claude/settings.json:
  \"awsAuthRefresh\": \"agentctl login --profile dev\"")]
    Login(Login),
    /// End an SSO session, here and at AWS
    #[command(after_help = "Examples:
  agentctl logout --profile dev
  agentctl logout --sso-session corp
  agentctl logout --all")]
    Logout(Logout),
    /// Let a login be tried again that is paused
    #[command(after_help = "Examples:
  agentctl reset --profile dev
  agentctl reset --sso-session corp")]
    Reset(Reset),
    /// Put Claude Code on the agent's credentials: asks at a terminal, shows what it would change, and can undo it
    #[command(after_help = "Examples:
  agentctl setup
  agentctl setup claude --profile dev --region eu-west-1 --dry-run
  agentctl setup claude --profile dev --region eu-west-1 --yes
  agentctl setup claude aws --profile dev      the AWS CLI and SDKs too
  agentctl setup sso claude                    from no profile at all
  agentctl setup --convert --profile old       an [sso-session] for a legacy one
  agentctl setup --undo")]
    Setup(Box<Setup>),
    /// Show the Bedrock inference profiles that the profile's account may use
    #[command(after_help = "Examples:
  agentctl models --profile dev --region eu-west-1
  agentctl models --json | jq -r '.models[].id'")]
    Models(Models),
    /// Find out what is wrong, and what to do about it; works without the agent
    #[command(after_help = "Examples:
  agentctl doctor
  agentctl doctor network          names, proxy, TLS, answers, trust, clock
  agentctl doctor tls trust        only these, and what they build on
  agentctl doctor --json | jq -r .first

Checks:
  network: settings, dns, connection, proxy, tls, trust, aws, clock,
           same-network
  agent:   socket, agent, version, service
  logins:  logins
  config:  config, profile, sso-session, scopes, shadowing, process, region
  session: token, registration, role
  claude:  claude-version, claude-settings, claude-hook, claude-credentials,
           claude-refresh, claude-project, aws-cli, claude-region, claude-model
  bedrock: bedrock-host, bedrock-list, bedrock-model, bedrock-form")]
    Doctor(Doctor),
    /// Let systemd or launchd hold the socket and start the agent
    #[command(after_help = "Examples:
  agentctl service install
  agentctl service status
  agentctl service uninstall")]
    Service {
        /// What to do with it.
        #[command(subcommand)]
        verb: ServiceVerb,
    },
    /// Print completions for a shell
    #[command(after_help = "Examples:
  agentctl completions bash > ~/.local/share/bash-completion/completions/agentctl
  agentctl completions zsh > ~/.zfunc/_agentctl
  agentctl completions fish > ~/.config/fish/completions/agentctl.fish")]
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Start, stop and look at the agent by hand
    #[command(after_help = "Examples:
  agentctl daemon start
  agentctl daemon status
  agentctl daemon restart")]
    Daemon {
        /// What to do with it.
        #[command(subcommand)]
        verb: DaemonVerb,
    },
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Request {
    /// A verb.
    Run(Box<Cli>),
    /// Help or version: print it and end well.
    Show(String),
}

/// Reads the command line. `colour` is for the help text.
///
/// # Errors
/// [`Problem::Usage`], on one line, naming the nearest word where there is one.
pub fn parse(args: &[OsString], colour: bool) -> Result<Request, Problem> {
    if let Some(cli) = shortcut::read(args) {
        return Ok(Request::Run(Box::new(cli)));
    }
    match Cli::try_parse_from(args) {
        Ok(cli) => Ok(Request::Run(Box::new(cli))),
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            let text = e.render();
            Ok(Request::Show(if colour { text.ansi().to_string() } else { text.to_string() }))
        }
        Err(e) => Err(usage(&e, args)),
    }
}

/// The script that completes our command line in a shell.
#[must_use]
pub fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    use clap::CommandFactory;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "agentctl", &mut script);
    script
}

fn usage(error: &clap::Error, args: &[OsString]) -> Problem {
    let help = format!("see: agentctl{} --help", verb_of(args));
    if matches!(error.kind(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand) {
        return Problem::Usage("no command was given".to_owned(), help);
    }
    let text = error.to_string();
    let mut message: Vec<&str> = text.lines().map(str::trim).take_while(|l| !l.is_empty()).collect();
    if let Some(first) = message.first_mut() {
        *first = first.strip_prefix("error: ").unwrap_or(first);
    }
    let fix = suggestion(error).map_or_else(|| help.clone(), |s| format!("did you mean {s}? {help}"));
    Problem::Usage(message.join(" "), fix)
}

fn suggestion(error: &clap::Error) -> Option<String> {
    [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue]
        .iter()
        .find_map(|kind| error.get(*kind))
        .and_then(|value| match value {
            ContextValue::String(s) => Some(s.clone()),
            // In the order of rising likeness.
            ContextValue::Strings(all) => all.last().cloned(),
            _ => None,
        })
}

/// The verb that was typed, with a blank before it; nothing when there is none.
fn verb_of(args: &[OsString]) -> String {
    use clap::CommandFactory;
    let command = Cli::command();
    args.iter()
        .skip(1)
        .filter_map(|a| a.to_str())
        .find(|a| command.find_subcommand(a).is_some())
        .map(|verb| format!(" {verb}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(line: &str) -> Result<Request, Problem> {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        parse(&args, false)
    }

    fn complaint(line: &str) -> String {
        let problem = read(line).unwrap_err();
        assert_eq!(problem.exit_code(), 2);
        problem.line().unwrap()
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults() {
        let Ok(Request::Run(cli)) = read("agentctl credential-process") else { panic!() };
        let Verb::CredentialProcess(Ask { fetch, no_daemon: false }) = cli.verb else { panic!() };
        assert_eq!((fetch.timeout, cli.profile, fetch.no_autostart), (Duration::from_secs(25), None, false));
        let Ok(Request::Run(cli)) = read("agentctl export --timeout 500ms -v --socket /s") else { panic!() };
        let Verb::Export(export) = cli.verb else { panic!() };
        assert_eq!((export.format, export.ask.fetch.timeout), (Format::Claude, Duration::from_millis(500)));
        assert!(cli.verbose && cli.socket.is_some());
    }

    #[test]
    fn the_profile_may_stand_anywhere() {
        for line in ["agentctl --profile dev status", "agentctl status --profile dev", "agentctl why --profile=dev"] {
            let Ok(Request::Run(cli)) = read(line) else { panic!("{line}") };
            assert_eq!(cli.profile.as_deref(), Some("dev"), "{line}");
        }
    }

    #[test]
    fn mistakes_are_one_line_with_the_nearest_word() {
        assert_eq!(
            complaint("agentctl status --jsn"),
            "agentctl: unexpected argument '--jsn' found; did you mean --json? see: agentctl status --help"
        );
        assert_eq!(
            complaint("agentctl statsu"),
            "agentctl: unrecognized subcommand 'statsu'; did you mean status? see: agentctl --help"
        );
        let line = complaint("agentctl daemon strat");
        assert!(line.ends_with("'strat'; did you mean start? see: agentctl daemon --help"), "{line}");
        assert_eq!(complaint("agentctl"), "agentctl: no command was given; see: agentctl --help");
        assert_eq!(complaint("agentctl -v"), "agentctl: no command was given; see: agentctl --help");
        assert_eq!(complaint("agentctl daemon"), "agentctl: no command was given; see: agentctl daemon --help");
        let line = complaint("agentctl pause --for soon");
        assert!(line.starts_with("agentctl: invalid value 'soon' for '--for <TIME>': write a whole number"), "{line}");
        let line = complaint("agentctl export --format yaml");
        assert!(line.contains("possible values: claude, process, env, fish, powershell, json"), "{line}");
    }

    #[test]
    fn each_shell_has_completions() {
        use clap::ValueEnum;
        for shell in clap_complete::Shell::value_variants() {
            let script = String::from_utf8(completions(*shell)).unwrap();
            assert!(script.contains("credential-process") && script.contains("agentctl"), "{shell}");
        }
    }

    #[test]
    fn each_verb_has_help_with_examples() {
        for verb in [
            "credential-process",
            "export",
            "status",
            "statusline",
            "why",
            "audit",
            "refresh",
            "pause",
            "login",
            "doctor",
            "setup",
            "models",
            "daemon",
        ] {
            let Ok(Request::Show(text)) = read(&format!("agentctl {verb} --help")) else { panic!("{verb}") };
            assert!(text.contains(&format!("Examples:\n  agentctl {verb}")), "{text}");
            // Examples are laid out by hand: wrapping them would tear them.
            assert!(text.lines().all(|l| l.len() <= 80 || !l.starts_with("  agentctl")), "{text}");
        }
        let Ok(Request::Show(text)) = read("agentctl --version") else { panic!() };
        assert!(text.starts_with("agentctl "), "{text}");
    }
}
