//! Many callers of the agent at one moment: the product's own client, one thread for each, all let go together.

use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

pub use aws_credential_agent::ipc::client::ANSWER_WITHIN;
use aws_credential_agent::ipc::client::Client;
use serde_json::Value;

use super::clock;

/// `agentctl` gives the agent this long in all.
const PATIENCE: Duration = Duration::from_secs(25);
/// Two questions of one caller are this far apart at least.
const SPACING: Duration = Duration::from_millis(100);
/// Enough for one exchange.
const STACK: usize = 128 * 1024;

/// What became of a crowd.
#[derive(Debug)]
pub struct Crowd {
    /// Each caller's key id, or what went wrong.
    pub answers: Vec<Result<String, String>>,
    /// From the first question to the last answer.
    pub took: Duration,
    /// How many questions were answered "ask again".
    pub repeats: usize,
}

impl Crowd {
    /// Lets `callers` ask for one profile's credentials, each giving up when no answer comes `within` (`agentctl`:
    /// [`ANSWER_WITHIN`]; more where the machine has other work as well). `go` is called when all of them are ready.
    pub fn ask(socket: &Path, profile: &str, callers: usize, within: Duration, go: impl FnOnce()) -> Self {
        let (client, ready) = (Client::new(socket), Barrier::new(callers + 1));
        let target = format!("/v1/profiles/{profile}/credentials");
        let caller = || {
            ready.wait();
            ask(&client, &target, within)
        };
        thread::scope(|scope| {
            let start = || thread::Builder::new().stack_size(STACK).spawn_scoped(scope, caller);
            let threads: Vec<_> =
                (0..callers).map(|_| start().unwrap_or_else(|e| panic!("no thread for a caller: {e}"))).collect();
            go();
            ready.wait();
            let began = clock::instant();
            let mut crowd = Self { answers: Vec::new(), took: Duration::ZERO, repeats: 0 };
            for thread in threads {
                let (answer, repeats) = thread.join().unwrap_or_else(|_| (Err("it panicked".to_owned()), 0));
                crowd.answers.push(answer);
                crowd.repeats += repeats;
            }
            crowd.took = began.elapsed();
            crowd
        })
    }

    /// What went wrong, each kind once with its number.
    pub fn failures(&self) -> Vec<(String, usize)> {
        let mut failures = std::collections::BTreeMap::new();
        for failure in self.answers.iter().filter_map(|a| a.as_ref().err()) {
            *failures.entry(failure.clone()).or_default() += 1;
        }
        failures.into_iter().collect()
    }
}

/// One caller, to its end.
fn ask(client: &Client, target: &str, within: Duration) -> (Result<String, String>, usize) {
    let began = clock::instant();
    let mut repeats = 0;
    loop {
        let asked = clock::instant();
        if began.elapsed() >= PATIENCE {
            return (Err("still in flight at the end of its patience".to_owned()), repeats);
        }
        match client.request("GET", target, &[], b"", within) {
            Ok(answer) if answer.status == 202 => {
                repeats += 1;
                thread::sleep(SPACING.saturating_sub(asked.elapsed()));
            }
            Ok(answer) => {
                let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let key = body["AccessKeyId"].as_str().map(str::to_owned);
                return (key.ok_or_else(|| format!("{} {}", answer.status, body["code"])), repeats);
            }
            Err(e) => return (Err(format!("{e:?}")), repeats),
        }
    }
}
