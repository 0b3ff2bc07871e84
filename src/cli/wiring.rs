//! The real surroundings of the verbs: the local socket, this machine's clocks, the `agentd` beside us.

use std::io::Write;
use std::time::Duration;

use super::agent::{Agent, AgentError, Clock, Reply};
use super::args::{Cli, Format, Verb};
use super::autostart::Sibling;
use super::context::Context;
use super::environment::Invocation;
use super::outcome::Problem;
use super::output::{Output, Screen};
use super::setup::ask::Terminal;
use crate::api::v1;
use crate::core::time::{Tick, Timestamp};
use crate::ipc::address::Address;
use crate::ipc::client::{Client, ClientError};
use crate::platform::{clock, process};

/// Runs `agentctl` on these streams and returns its exit code.
pub fn main(start: &Invocation, stdout: &mut dyn Write, stderr: &mut dyn Write) -> u8 {
    let mut out =
        Output { stdout, stderr, screen: Screen::of(start), quiet: false, verbose: false, in_progress: false };
    super::run(&start.args, &mut out, |cli, out| act(start, cli, out))
}

fn act(start: &Invocation, cli: &Cli, out: &mut Output<'_>) -> Result<(), Problem> {
    let address = Address::resolve(&start.vars, cli.socket.as_deref())?;
    let socket = address.socket();
    let world = start.vars.world();
    if matches!(&cli.verb, Verb::Statusline(line) if line.below.is_none()) {
        drain_stdin();
    }
    let consumer = uses_consumer(&cli.verb).then(process::parent_consumer).flatten();
    let terminal = Terminal::default();
    let context = Context {
        agent: &Socket(Client::new(socket)),
        clock: &clock::Clock,
        launcher: &Sibling {
            executable: start.executable.as_deref(),
            vars: &start.vars,
            socket,
            named: cli.socket.is_some(),
        },
        vars: &start.vars,
        world: &world,
        named: cli.profile.as_deref(),
        socket,
        asker: (start.stdin_is_terminal && start.stderr_is_terminal).then_some(&terminal),
        consumer: consumer.as_deref(),
    };
    super::dispatch(&context, out, &cli.verb)
}

/// Claude Code writes a document there, which is of no use here; it may also never end, so nobody waits for it.
fn drain_stdin() {
    std::thread::spawn(|| std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
}

/// Looking for it costs some reads of `/proc`: only for the verb that tells it.
const fn uses_consumer(verb: &Verb) -> bool {
    matches!(verb, Verb::Export(e) if matches!(e.format, Format::Claude))
}

impl Clock for clock::Clock {
    fn wall(&self) -> Timestamp {
        clock::Clock::wall(self)
    }

    fn tick(&self) -> Tick {
        clock::Clock::tick(self)
    }

    fn sleep(&self, span: Duration) {
        std::thread::sleep(span);
    }
}

/// The agent behind a socket.
struct Socket(Client);

impl Agent for Socket {
    fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        within: Duration,
    ) -> Result<Reply, AgentError> {
        let client = self.0.clone().with_max_body(longest_answer(target));
        match client.request(method, target, headers, body, within) {
            Ok(response) => Ok(Reply { status: response.status, agent: response.agent, body: response.body }),
            Err(ClientError::Absent) => Err(AgentError::Absent),
            Err(ClientError::TimedOut) => Err(AgentError::TimedOut),
            Err(ClientError::Refused { why }) => Err(AgentError::Refused(why)),
            Err(ClientError::Protocol { what }) => Err(AgentError::Protocol(what)),
        }
    }
}

/// How much of an answer is read: only the snapshot, the audit log, and lists of what there is to choose from may be long.
fn longest_answer(target: &str) -> usize {
    let route = target.split('?').next().unwrap_or_default();
    let long = ["/v1/status", "/v1/audit"].contains(&route)
        || ["/models", "/accounts", "/roles"].iter().any(|list| route.ends_with(list));
    if long { v1::MAX_STATUS } else { v1::MAX_BODY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_may_be_long() {
        for long in [
            "/v1/status",
            "/v1/status?after=1",
            "/v1/audit?limit=5",
            "/v1/profiles/dev/models?wait=1",
            "/v1/profiles/dev/models",
            "/v1/sessions/corp/accounts",
            "/v1/sessions/corp/roles?account=111122223333",
        ] {
            assert_eq!(longest_answer(long), v1::MAX_STATUS, "{long}");
        }
        for short in ["/v1/profiles/models/credentials?wait=1", "/v1/health", "/v1/logins/1?after=/models"] {
            assert_eq!(longest_answer(short), v1::MAX_BODY, "{short}");
        }
    }
}
