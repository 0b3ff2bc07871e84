//! The answer of a child of our own (`agentd resolve`, `logout`, `probe`) instead of the agent's. The same code, files and
//! locks, without a socket: for CI steps, read-only hosts, inside sandboxes (`--no-daemon`), and a logout where no agent
//! runs.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use zeroize::Zeroizing;

use super::agent::Reply;
use super::autostart::{self, Launcher, Sibling};
use super::call;
use super::child;
use super::context::Context;
use super::credentials::Wish;
use super::outcome::Problem;
use super::output::Output;
use crate::api::v1::{self, ErrorBody};
use crate::core::bedrock::Look;
use crate::core::failure::{Failure, FailureClass, shell_word};
use crate::core::secret::Secret;

/// The child ends by itself at the limit, but for a renewal whose answer it still has to store.
const GRACE: Duration = Duration::from_secs(25);

/// A list of some pages, and the slowest model's first token.
const BEDROCK: Duration = Duration::from_secs(20);
/// Files that take longer to read are in a bad way.
const PROFILES: Duration = Duration::from_secs(10);

/// What the child is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The words after `agentd`.
    pub arguments: Vec<String>,
    /// The limit of everything together.
    pub timeout: Duration,
    /// Variables that it is given beside those of an agent.
    pub variables: &'static [&'static str],
    /// What it reads on stdin.
    pub stdin: Option<Secret>,
}

impl Question {
    fn new(arguments: &[&str], timeout: Duration) -> Self {
        Self {
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            timeout,
            variables: &[],
            stdin: None,
        }
    }
}

/// What other tools are told of roots.
const TOOLS_ROOTS: [&str; 3] = ["CLAUDE_CODE_CERT_STORE", "CLAUDE_CONFIG_DIR", "NODE_OPTIONS"];

/// Resolves the profile in a child.
///
/// # Errors
/// The child's failure; class `agent-unreachable` where there is none to start, or it says nothing that makes sense.
pub fn resolve(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    profile: &str,
    wish: Wish<'_>,
    timeout: Duration,
) -> Result<Reply, Problem> {
    let (min_ttl, limit) = (wish.min_ttl.unwrap_or(0).to_string(), timeout.as_millis().to_string());
    let words = ["resolve", "--profile", profile, "--min-ttl", &min_ttl, "--timeout-ms", &limit];
    ask(ctx, out, Question::new(&words, timeout))
}

/// Signs out in a child; `which` are its options.
///
/// # Errors
/// As [`resolve`].
pub fn log_out(ctx: &Context<'_>, out: &mut Output<'_>, which: &[&str], timeout: Duration) -> Result<Reply, Problem> {
    ask(ctx, out, Question::new(&[&["logout"], which].concat(), timeout))
}

/// Where tools ask AWS.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// The region; `None`: the profile's own.
    pub region: Option<&'a str>,
    /// Whether they ask Bedrock there.
    pub bedrock: bool,
}

/// Looks at the way to AWS in a child.
///
/// # Errors
/// As [`resolve`].
pub fn probe(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    profile: &str,
    asked: Asked<'_>,
    within: Duration,
) -> Result<Reply, Problem> {
    let limit = within.as_millis().to_string();
    let mut words = vec!["probe", "--profile", profile, "--timeout-ms", &limit];
    words.extend(asked.region.into_iter().flat_map(|region| ["--region", region]));
    words.extend(asked.bedrock.then_some("--bedrock"));
    ask(ctx, out, Question { variables: &TOOLS_ROOTS, ..Question::new(&words, within) })
}

/// What Bedrock says to credentials (the union document), and models to a request of one token each, by a child.
///
/// # Errors
/// As [`resolve`].
pub fn bedrock(
    ctx: &Context<'_>,
    out: &mut Output<'_>,
    region: &str,
    models: &[String],
    keys: &Reply,
) -> Result<Look, Problem> {
    let models = models.iter().flat_map(|model| ["--model", model]);
    let words: Vec<_> = ["bedrock", "--region", region].into_iter().chain(models).collect();
    let stdin = Some(Secret::new(String::from_utf8_lossy(&keys.body).into_owned()));
    let reply = ask(ctx, out, Question { stdin, ..Question::new(&words, BEDROCK) })?;
    call::read(&reply)
}

/// What the AWS config says of each profile, by a child.
///
/// # Errors
/// As [`resolve`].
pub fn profiles(ctx: &Context<'_>, out: &mut Output<'_>) -> Result<Reply, Problem> {
    ask(ctx, out, Question::new(&["profiles"], PROFILES))
}

/// What the AWS config says of one profile, with its token file, by a child; and whether `also` has a source.
///
/// # Errors
/// As [`resolve`].
pub fn inspect(ctx: &Context<'_>, out: &mut Output<'_>, profile: &str, also: &str) -> Result<Reply, Problem> {
    ask(ctx, out, Question::new(&["inspect", "--profile", profile, "--also", also], PROFILES))
}

fn ask(ctx: &Context<'_>, out: &mut Output<'_>, question: Question) -> Result<Reply, Problem> {
    let (began, words) = (ctx.clock.tick(), question.arguments.join(" "));
    let answer = ctx.launcher.ask(question);
    out.diagnose(|| {
        let took = ctx.clock.tick().since(began).as_millis();
        let end = answer.as_ref().map_or_else(Failure::line, |_| "done".to_owned());
        format!("agentctl: agentd {words}: {end} after {took} ms")
    });
    Ok(Reply { status: 200, agent: None, body: answer? })
}

impl Sibling<'_> {
    pub(super) fn run_once(&self, question: &Question) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let program = self.program()?;
        let mut command = Command::new(&program);
        command.args(&question.arguments);
        command.env_clear().envs(autostart::inherited(self.vars));
        command.envs(question.variables.iter().filter_map(|name| Some((name, self.vars.get(name)?))));
        let piped = if question.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        command.stdin(piped).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|e| {
            let message = format!("{} cannot be started: {e}", program.display());
            autostart::unreachable(message, "reinstall agentctl and agentd together")
        })?;
        if let (Some(secret), Some(mut stdin)) = (&question.stdin, child.stdin.take()) {
            // One that ends without reading says why; it fits into any pipe.
            let _ = stdin.write_all(secret.expose().as_bytes());
        }
        let limit = question.timeout.saturating_add(GRACE);
        let said = child.stdout.take().and_then(|out| child::collect(out, v1::MAX_BODY).recv_timeout(limit).ok());
        // It has said what it had to say; one that hangs on is of no use.
        let ended = if said.is_some() { child.wait() } else { child.kill().and_then(|()| child.wait()) };
        let Some(document) = said else {
            let fix = "see: agentctl status, or give it longer: --timeout 60s";
            return Err(Failure::new(FailureClass::Transient, "agentd does not come to an end", fix));
        };
        if ended.is_ok_and(|status| status.success()) {
            return Ok(document);
        }
        match serde_json::from_slice::<ErrorBody>(&document) {
            Ok(error) => Err(error.into()),
            Err(_) => {
                let words: Vec<_> = question.arguments.iter().map(|word| shell_word(word)).collect();
                let look = format!("see why: {} {}", program.display(), words.join(" "));
                Err(autostart::unreachable("agentd ended without an answer", look))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Fake, union};
    use super::*;

    #[test]
    fn no_agent_is_asked_or_started() {
        let mut fake = Fake::new();
        fake.resolved = Ok(format!("{}\n", union()));
        let end = fake.run("credential-process --profile dev --no-daemon");
        assert_eq!((end.code, end.stdout), (0, format!("{}\n", union())));
        let end = fake.run("export --no-daemon --format env");
        assert!(end.stdout.contains("export AWS_ACCESS_KEY_ID="), "{}", end.stdout);
        assert_eq!((fake.targets().len(), fake.launches.get()), (0, 0));
        let asked = [
            "resolve --profile dev --min-ttl 0 --timeout-ms 25000",
            "resolve --profile default --min-ttl 390 --timeout-ms 25000",
        ];
        assert_eq!(*fake.questions.borrow(), asked);
    }

    #[test]
    fn its_failure_is_told_as_the_agents_would_be() {
        let mut fake = Fake::new();
        fake.resolved = Err(Failure::new(FailureClass::NeedsLogin, "it is over", "run: agentctl login"));
        let end = fake.run("credential-process --no-daemon");
        assert_eq!((end.code, end.stderr.as_str()), (10, "agentctl: it is over; run: agentctl login\n"));
    }
}
