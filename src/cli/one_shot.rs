//! `--no-daemon`: the answer of a child, `agentd resolve`, instead of the agent's. The same code, files and locks, without
//! a socket: for CI steps, read-only hosts, and inside sandboxes.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::agent::Reply;
use super::autostart::{self, Launcher, Sibling};
use super::context::Context;
use super::credentials::Wish;
use super::outcome::Problem;
use super::output::Output;
use crate::api::v1::{self, ErrorBody};
use crate::core::failure::{Failure, FailureClass};

/// The child ends by itself at the limit, but for a renewal whose answer it still has to store.
const GRACE: Duration = Duration::from_secs(25);

/// What the child is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The profile.
    pub profile: &'a str,
    /// Wanted life, seconds.
    pub min_ttl: u64,
    /// The limit of everything together.
    pub timeout: Duration,
}

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
    let began = ctx.clock.tick();
    let answer = ctx.launcher.resolve(Question { profile, min_ttl: wish.min_ttl.unwrap_or(0), timeout });
    out.diagnose(|| {
        let took = ctx.clock.tick().since(began).as_millis();
        let end = answer.as_ref().map_or_else(Failure::line, |_| "done".to_owned());
        format!("agentctl: agentd resolve: {end} after {took} ms")
    });
    Ok(Reply { status: 200, agent: None, body: answer? })
}

impl Sibling<'_> {
    pub(super) fn run_resolve(&self, question: Question<'_>) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let program = self.program()?;
        let mut command = Command::new(&program);
        command.args(["resolve", "--profile", question.profile]);
        command.args(["--min-ttl", &question.min_ttl.to_string()]);
        command.args(["--timeout-ms", &question.timeout.as_millis().to_string()]);
        command.env_clear().envs(autostart::inherited(self.vars));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|e| {
            let message = format!("{} cannot be started: {e}", program.display());
            autostart::unreachable(message, "reinstall agentctl and agentd together")
        })?;
        let said = read_all(&mut child, question.timeout.saturating_add(GRACE));
        // It has said what it had to say; one that hangs on is of no use.
        let ended = if said.is_some() { child.wait() } else { child.kill().and_then(|()| child.wait()) };
        let Some(document) = said else {
            let fix = "see: agentctl status, or give it longer: --timeout 60s";
            return Err(Failure::new(FailureClass::Transient, "agentd resolve does not come to an end", fix));
        };
        if ended.is_ok_and(|status| status.success()) {
            return Ok(document);
        }
        match serde_json::from_slice::<ErrorBody>(&document) {
            Ok(error) => Err(error.into()),
            Err(_) => {
                let look = format!("see why: {} resolve --profile {}", program.display(), question.profile);
                Err(autostart::unreachable("agentd resolve ended without an answer", look))
            }
        }
    }
}

/// Everything that the child prints, within bounds; `None` when that takes too long.
fn read_all(child: &mut Child, within: Duration) -> Option<Zeroizing<Vec<u8>>> {
    let stdout = child.stdout.take()?;
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        // As large as any answer: it never grows, which would leave a copy behind.
        let mut said = Zeroizing::new(Vec::with_capacity(v1::MAX_BODY + 1));
        let _ = stdout.take(v1::MAX_BODY as u64).read_to_end(&mut said);
        let _ = send.send(said);
    });
    receive.recv_timeout(within).ok()
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
        assert_eq!(*fake.questions.borrow(), ["dev 0", "default 390"]);
    }

    #[test]
    fn its_failure_is_told_as_the_agents_would_be() {
        let mut fake = Fake::new();
        fake.resolved = Err(Failure::new(FailureClass::NeedsLogin, "it is over", "run: agentctl login"));
        let end = fake.run("credential-process --no-daemon");
        assert_eq!((end.code, end.stderr.as_str()), (10, "agentctl: it is over; run: agentctl login\n"));
    }
}
