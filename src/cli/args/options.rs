//! The options of each verb.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::call::Patience;
use crate::core::duration::{self, Since};

/// What `service` can do.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ServiceVerb {
    /// Write the units of this user and let the service manager listen
    Install,
    /// End the service and remove its units
    Uninstall,
    /// Show the units, and what the service manager says
    Status,
}

/// What `daemon` can do.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum DaemonVerb {
    /// Start the agent in the background, unless it runs
    Start,
    /// End the agent; what it holds is forgotten
    Stop(Stop),
    /// Say whether it runs: version, process, uptime, socket
    Status,
    /// Stop, then start
    Restart(Stop),
}

/// How to end the agent.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Stop {
    /// Also when that loses an SSO session whose renewed token cannot be written
    #[arg(long)]
    pub force: bool,
}

/// A question that the agent may need time for.
#[derive(Args, Clone, Debug)]
pub struct Fetch {
    /// How long to wait while the agent fetches (25s, 500ms; a bare number is seconds)
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = duration::parse)]
    pub timeout: Duration,
    /// Do not start the agent when it is absent: exit 19 (also AGENTCTL_NO_AUTOSTART=1)
    #[arg(long)]
    pub no_autostart: bool,
}

impl Fetch {
    /// The limit when none is named.
    pub const TIMEOUT: Duration = Duration::from_secs(25);

    /// The limits that the options name.
    #[must_use]
    pub const fn patience(&self) -> Patience {
        Patience { timeout: self.timeout, autostart: !self.no_autostart }
    }
}

/// A question that can also be answered without the agent.
#[derive(Args, Clone, Debug)]
pub struct Ask {
    /// How to ask.
    #[command(flatten)]
    pub fetch: Fetch,
    /// Resolve once in a process of its own: no agent is asked or started
    #[arg(long)]
    pub no_daemon: bool,
}

/// `login`.
#[derive(Args, Clone, Debug, Default)]
pub struct Login {
    /// Sign in to this session, whatever its profiles [default: the profile's]
    #[arg(long, value_name = "NAME")]
    pub sso_session: Option<String>,
    /// With a code that is compared in a browser anywhere [default: where no browser can come back to this machine]
    #[arg(long, conflicts_with = "pkce")]
    pub device: bool,
    /// In a browser of this machine, which comes back to a port of its loopback
    #[arg(long)]
    pub pkce: bool,
    /// Only show the address
    #[arg(long)]
    pub no_browser: bool,
    /// Sign in anew although everything is valid (at a terminal only)
    #[arg(long)]
    pub force: bool,
    /// How long to wait; the login goes on afterwards [default: 590s at a terminal, else 170s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub timeout: Option<Duration>,
    /// Do not start the agent when it is absent: exit 19 (also AGENTCTL_NO_AUTOSTART=1)
    #[arg(long)]
    pub no_autostart: bool,
}

/// `logout`.
#[derive(Args, Clone, Debug, Default)]
pub struct Logout {
    /// This session, whatever its profiles [default: the profile's]
    #[arg(long, value_name = "NAME")]
    pub sso_session: Option<String>,
    /// Every session that the AWS config names
    #[arg(long, conflicts_with = "sso_session")]
    pub all: bool,
}

/// `statusline`.
#[derive(Args, Clone, Debug, Default)]
pub struct Statusline {
    /// Your own status line: it runs first, with what Claude Code says, and its first line comes first
    #[arg(long, value_name = "COMMAND")]
    pub below: Option<String>,
}

/// What `setup` can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum SetupStep {
    /// An [sso-session] with a profile, for who has none
    Sso,
    /// Claude Code's settings
    Claude,
    /// A profile for the AWS CLI and SDKs, beside yours: NAME-agent
    Aws,
}

/// Heading of what `setup sso` takes.
const SSO: &str = "A profile on IAM Identity Center";
/// Heading of Claude Code's models.
const MODELS: &str = "Claude Code's models";

/// Whose settings of Claude Code are edited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Scope {
    /// ~/.claude/settings.json
    #[default]
    User,
    /// .claude/settings.json of this folder
    Project,
    /// .claude/settings.local.json of this folder
    Local,
}

/// What becomes of a status line that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusLineChoice {
    /// It stays as it is
    Keep,
    /// Ours stands in its place
    Replace,
    /// Ours stands below it
    Wrap,
}

/// `setup`.
#[derive(Args, Clone, Debug)]
pub struct Setup {
    /// What to set up [default: claude; at a terminal sso too, where there is no profile]
    #[arg(value_enum, value_name = "STEP")]
    pub steps: Vec<SetupStep>,
    /// Write, and ask nothing
    #[arg(long)]
    pub yes: bool,
    /// Only show what would be changed
    #[arg(long)]
    pub dry_run: bool,
    /// Take back what setup did
    #[arg(long, conflicts_with_all = ["steps", "yes"])]
    pub undo: bool,
    /// Give a legacy SSO profile an [sso-session], so that its sessions renew; without a STEP nothing else [default: asked at a terminal]
    #[arg(long, conflicts_with = "undo", help_heading = SSO)]
    pub convert: bool,
    /// sso: the start URL of Identity Center
    #[arg(long, value_name = "URL", help_heading = SSO)]
    pub start_url: Option<String>,
    /// sso: where Identity Center lives
    #[arg(long, value_name = "REGION", help_heading = SSO)]
    pub sso_region: Option<String>,
    /// sso, --convert: what the session is called [default: corp]
    #[arg(long, value_name = "NAME", help_heading = SSO)]
    pub sso_session: Option<String>,
    /// sso: the account [default: chosen after the login]
    #[arg(long, value_name = "ID", help_heading = SSO)]
    pub account: Option<String>,
    /// sso: the role [default: chosen after the login]
    #[arg(long, value_name = "NAME", help_heading = SSO)]
    pub role: Option<String>,
    /// Where Bedrock is used [default: AWS_REGION, what is set already, or the profile's region]
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Whose settings of Claude Code
    #[arg(long, value_enum, default_value_t = Scope::User)]
    pub scope: Scope,
    /// What becomes of a status line that is there [default: keep, or asked at a terminal]
    #[arg(long, value_enum, value_name = "CHOICE")]
    pub status_line: Option<StatusLineChoice>,
    /// The model: an inference profile's id; `[1m]` behind it asks for 1M tokens of context
    #[arg(long, value_name = "ID", help_heading = MODELS)]
    pub model: Option<String>,
    /// The small and fast model
    #[arg(long, value_name = "ID", help_heading = MODELS)]
    pub small_model: Option<String>,
    /// What "opus" means
    #[arg(long, value_name = "ID", help_heading = MODELS)]
    pub opus_model: Option<String>,
    /// What "sonnet" means
    #[arg(long, value_name = "ID", help_heading = MODELS)]
    pub sonnet_model: Option<String>,
    /// What "haiku" means
    #[arg(long, value_name = "ID", help_heading = MODELS)]
    pub haiku_model: Option<String>,
    /// Bare model ids are for Bedrock's Messages API ("Mantle")
    #[arg(long, help_heading = MODELS)]
    pub mantle: bool,
    /// Put agentctl login into awsAuthRefresh too, where Claude Code's own check of STS is shown to pass
    #[arg(long)]
    pub auth_refresh: bool,
}

/// `models`.
#[derive(Args, Clone, Debug)]
pub struct Models {
    /// Where Bedrock is used [default: AWS_REGION, AWS_DEFAULT_REGION, or the profile's region]
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// The agent's document as JSON
    #[arg(long)]
    pub json: bool,
    /// Print the IAM policy that Claude Code needs for Bedrock instead, and ask nobody
    #[arg(long, conflicts_with_all = ["json", "no_autostart"])]
    pub policy: bool,
    /// Do not start the agent when it is absent: exit 19 (also AGENTCTL_NO_AUTOSTART=1)
    #[arg(long)]
    pub no_autostart: bool,
}

/// `doctor`.
#[derive(Args, Clone, Debug)]
pub struct Doctor {
    /// Checks or families of checks [default: all]
    #[arg(value_name = "CHECK")]
    pub checks: Vec<String>,
    /// The report as JSON
    #[arg(long)]
    pub json: bool,
    /// How long a look at the way to AWS may take, at most 5s
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse)]
    pub timeout: Duration,
}

/// `reset`.
#[derive(Args, Clone, Debug, Default)]
pub struct Reset {
    /// This session, whatever its profiles [default: the profile's]
    #[arg(long, value_name = "NAME")]
    pub sso_session: Option<String>,
}

/// `export`.
#[derive(Args, Clone, Debug)]
pub struct Export {
    /// How to ask.
    #[command(flatten)]
    pub ask: Ask,
    /// For whom: claude or process (the union document), env (sh, bash, zsh), fish, powershell, json (a flat object)
    #[arg(long, value_enum, default_value_t = Format::Claude, hide_possible_values = true)]
    pub format: Format,
    /// Print secrets even to a terminal
    #[arg(long)]
    pub yes: bool,
    /// When a login is needed, wait this long for somebody to log in (300s, 10m; a bare number is seconds)
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub wait: Option<Duration>,
}

/// For whom `export` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The union document, for awsCredentialExport
    Claude,
    /// The union document, for credential_process
    Process,
    /// export lines for sh, bash and zsh
    Env,
    /// set lines for fish
    Fish,
    /// $Env: lines for PowerShell
    Powershell,
    /// A flat JSON object
    Json,
}

/// `status`.
#[derive(Args, Clone, Debug)]
pub struct Status {
    /// The agent's document as JSON (with --watch: one line per change)
    #[arg(long)]
    pub json: bool,
    /// Keep showing it, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
}

/// `audit`.
#[derive(Args, Clone, Debug)]
pub struct Audit {
    /// All from then on: 30m, 2h, 1d back from now, or a time (2026-01-31T08:00:00Z); at most 10,000 lines
    /// [default: the newest 1,000]
    #[arg(long, value_name = "TIME", value_parser = duration::parse_since)]
    pub since: Option<Since>,
    /// The agent's document as JSON
    #[arg(long)]
    pub json: bool,
}

/// `pause`.
#[derive(Args, Clone, Debug)]
pub struct Pause {
    /// For how long (8h, 30m); without it, until `agentctl resume`
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    pub span: Option<Duration>,
}
