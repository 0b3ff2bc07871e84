//! `agentctl doctor`: a checklist. Each check is a pure function over what was gathered once ([`Facts`]), in a file of its
//! own; one whose ground is missing is silenced ([`Check::depends_on`]), so that the first finding is the one to mend.
//!
//! It works without an agent: the way to AWS is looked at by a child (`agentd probe`) in the environment of whoever asks,
//! which is that of the tools that fail. Where the agent runs with other settings, it is asked for its own view too.
//!
//! Exit code: that of the class of the first error; with warnings alone, 0.

mod agent;
mod aws;
mod bedrock;
mod claude;
mod clock;
mod config;
mod connection;
mod dns;
pub mod facts;
mod hook;
mod logins;
mod proxy;
mod region;
mod render;
mod role;
mod same_network;
mod session;
mod settings;
mod shadowing;
mod step;
mod tls;
mod token;
pub mod tools;
mod trust;

use serde::Serialize;

use super::args::Doctor;
use super::context::Context;
use super::outcome::Problem;
use super::output::Output;
use super::status;
use crate::core::failure::{Failure, FailureClass};
use crate::core::time::Timestamp;
use crate::core::words;

pub use facts::{Facts, Wanted, run_hook};

/// A question with a name.
pub struct Check {
    /// Its name, and what may be typed.
    pub name: &'static str,
    /// What it belongs to; may be typed as well.
    pub family: &'static str,
    /// Checks without which this one says nothing.
    pub depends_on: &'static [&'static str],
    /// The answer.
    pub run: fn(&Facts) -> Verdict,
}

/// Every check, in the order in which they build on each other.
pub(super) const CHECKS: [&Check; 37] = [
    &settings::CHECK,
    &dns::CHECK,
    &connection::CHECK,
    &proxy::CHECK,
    &tls::CHECK,
    &trust::CHECK,
    &aws::CHECK,
    &clock::CHECK,
    &agent::SOCKET,
    &agent::AGENT,
    &agent::VERSION,
    &agent::SERVICE,
    &same_network::CHECK,
    &logins::CHECK,
    &config::CONFIG,
    &config::PROFILE,
    &session::SESSION,
    &session::SCOPES,
    &shadowing::SHADOWING,
    &shadowing::PROCESS,
    &region::CHECK,
    &token::TOKEN,
    &token::REGISTRATION,
    &role::CHECK,
    &tools::CLAUDE,
    &claude::SETTINGS,
    &hook::HOOK,
    &hook::CREDENTIALS,
    &claude::LOGIN,
    &claude::PROJECT,
    &tools::AWS_CLI,
    &bedrock::REGION,
    &bedrock::MODEL,
    &bedrock::HOST,
    &bedrock::LIST,
    &bedrock::INVOKE,
    &bedrock::FORM,
];

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It does not work.
    Error,
    /// Something will not work, or works by luck.
    Warning,
    /// Worth knowing.
    Note,
    /// All is well.
    Ok,
    /// Nothing can be said.
    Skipped,
}

/// A check's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    severity: Severity,
    /// Of an error: what the exit code is.
    class: Option<FailureClass>,
    message: String,
    fix: String,
    evidence: Vec<String>,
}

impl Verdict {
    fn new(severity: Severity, message: impl Into<String>) -> Self {
        let (class, fix, evidence) = Default::default();
        Self { severity, class, message: message.into(), fix, evidence }
    }

    fn ok(message: impl Into<String>) -> Self {
        Self::new(Severity::Ok, message)
    }

    fn skipped(message: impl Into<String>) -> Self {
        Self::new(Severity::Skipped, message)
    }

    fn of(severity: Severity, failure: &Failure) -> Self {
        let Failure { class, message, fix, .. } = failure.clone();
        Self { class: Some(class), fix, ..Self::new(severity, message) }
    }

    fn fixed_by(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }

    fn seen(mut self, evidence: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(evidence);
        self
    }
}

/// A check with its answer, as `--json` shows it: fields may be added, none changes its meaning.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The check.
    pub name: &'static str,
    /// What it belongs to.
    pub family: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The class of an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<FailureClass>,
    /// What was found.
    pub message: String,
    /// What to do about it; may be empty.
    pub fix: String,
    /// What that is based on.
    pub evidence: Vec<String>,
    /// Checks without which it says nothing.
    pub depends_on: &'static [&'static str],
}

/// The document.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this document: 1.
    pub schema: u32,
    /// When, by this machine's clock.
    pub at: Timestamp,
    /// The name of the finding to mend first, if there is one.
    pub first: Option<&'static str>,
    /// Every check, in the order in which they build on each other.
    pub checks: Vec<Finding>,
}

/// Runs the verb.
///
/// # Errors
/// [`Problem::Usage`] for a check that there is none of; the class of the first error.
pub fn run(ctx: &Context<'_>, out: &mut Output<'_>, args: &Doctor) -> Result<(), Problem> {
    let chosen = choose(&args.checks)?;
    let wants = |name: &str| chosen.iter().any(|check| check.name == name);
    let bedrock = ["bedrock-list", "bedrock-model", "bedrock-form"].into_iter().any(wants);
    let wanted =
        Wanted { role: wants("role"), hook: wants("claude-credentials"), bedrock, claude: wants("claude-version") };
    let facts = Facts::gather(ctx, out, args.timeout, wanted)?;
    let report = examine(&chosen, &facts, ctx.clock.wall());
    if args.json {
        let mut text = serde_json::to_string_pretty(&report).unwrap_or_default();
        text.push('\n');
        out.document(text.as_bytes())?;
    } else {
        out.document(render::render(&report, &status::view(ctx, out)).as_bytes())?;
    }
    match report.error() {
        None => Ok(()),
        Some(class) => Err(Problem::Told(class.exit_code())),
    }
}

/// The checks of these names and families, with all that they depend on; none named: all.
fn choose(names: &[String]) -> Result<Vec<&'static Check>, Problem> {
    for name in names {
        if !CHECKS.iter().any(|c| c.name == name || c.family == name) {
            let known = CHECKS.iter().flat_map(|c| [c.name, c.family]);
            let near = words::nearest(name, known, 3);
            let hint =
                near.first().map_or_else(|| "see: agentctl doctor --help".to_owned(), |n| format!("did you mean {n}?"));
            return Err(Problem::Usage(format!("there is no check '{}'", super::render::clean(name)), hint));
        }
    }
    let mut wanted: Vec<&str> = CHECKS
        .iter()
        .filter(|c| names.is_empty() || names.iter().any(|n| n == c.name || n == c.family))
        .map(|c| c.name)
        .collect();
    // What a check depends on comes before it, so one pass from behind finds all.
    for check in CHECKS.iter().rev() {
        if wanted.contains(&check.name) {
            wanted.extend(check.depends_on);
        }
    }
    Ok(CHECKS.into_iter().filter(|check| wanted.contains(&check.name)).collect())
}

fn examine(checks: &[&Check], facts: &Facts, at: Timestamp) -> Report {
    let mut findings: Vec<Finding> = Vec::new();
    for check in checks {
        let missing = check.depends_on.iter().find(|on| {
            let ground = findings.iter().find(|f| f.name == **on);
            ground.is_some_and(|f| matches!(f.severity, Severity::Error | Severity::Skipped))
        });
        let verdict = match missing {
            Some(on) => Verdict::skipped(format!("first: {on}")),
            None => (check.run)(facts),
        };
        let Verdict { severity, class, message, fix, evidence } = verdict;
        let (name, family, depends_on) = (check.name, check.family, check.depends_on);
        findings.push(Finding { name, family, severity, class, message, fix, evidence, depends_on });
    }
    let first = findings.iter().min_by_key(|f| f.severity).filter(|f| f.severity < Severity::Note).map(|f| f.name);
    Report { schema: 1, at, first, checks: findings }
}

impl Report {
    fn error(&self) -> Option<FailureClass> {
        let error = self.checks.iter().find(|f| f.severity == Severity::Error)?;
        error.class
    }
}

#[cfg(test)]
mod tests;
