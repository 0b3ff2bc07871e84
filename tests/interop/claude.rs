//! The real Claude Code on the fake Bedrock: how to configure it, one turn, many turns in one process.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::clients;
use crate::support::clock::eventually;
use crate::support::fake_aws::{FakeAws, MODEL};
use crate::support::home::TestHome;
use crate::support::process::{Finished, Running, run};

/// A turn takes a few seconds, six beginning at once on two cores take more.
pub(super) const LIMIT: Duration = Duration::from_secs(120);

/// Makes `home` one in which Claude Code talks to the fake Bedrock with the credentials that `hook` prints.
pub(super) fn configure(home: &mut TestHome, fake: &FakeAws, hook: &str) {
    surroundings(home, fake);
    let settings = home.path().join(".claude/settings.json");
    fs::write(settings, json!({ "awsCredentialExport": hook }).to_string()).unwrap();
}

/// Everything but its settings.
pub(super) fn surroundings(home: &mut TestHome, fake: &FakeAws) {
    let folder = home.path().join(".claude");
    fs::create_dir_all(&folder).unwrap();
    let trusted = json!({ "hasTrustDialogAccepted": true });
    let projects = json!({ home.path().to_string_lossy(): trusted });
    let state = json!({ "hasCompletedOnboarding": true, "projects": projects });
    fs::write(folder.join(".claude.json"), state.to_string()).unwrap();
    home.set("CLAUDE_CONFIG_DIR", &folder);
    home.set("ANTHROPIC_BEDROCK_BASE_URL", fake.url());
    home.set("AWS_ENDPOINT_URL", fake.url());
    home.set("AWS_REGION", "eu-west-1");
    for model in ["ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL", "ANTHROPIC_DEFAULT_HAIKU_MODEL"] {
        home.set(model, MODEL);
    }
    home.set("CLAUDE_CODE_MAX_RETRIES", "2");
    for on in [
        "CLAUDE_CODE_USE_BEDROCK",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
        "DISABLE_TELEMETRY",
        "DISABLE_AUTOUPDATER",
        "DISABLE_ERROR_REPORTING",
    ] {
        home.set(on, "1");
    }
}

fn command(home: &TestHome, args: &[&str]) -> Command {
    let mut command = home.command(clients::claude_executable());
    command.arg("-p").args(args);
    command
}

/// One process that takes one turn: `claude -p hi`.
#[track_caller]
pub(super) fn one_turn(home: &TestHome) -> Finished {
    run(command(home, &["hi"]), LIMIT)
}

/// Several processes that begin at once, each taking one turn.
#[track_caller]
pub(super) fn at_once(home: &TestHome, processes: usize) -> Vec<Finished> {
    let running: Vec<Running> = (0..processes).map(|_| Running::start(command(home, &["hi"]))).collect();
    running.into_iter().map(|process| process.finish(LIMIT)).collect()
}

/// One process that takes a turn for each line that it is fed; killed when dropped.
#[derive(Debug)]
pub(super) struct Session {
    process: Running,
    turns: usize,
}

/// How a turn of a [`Session`] ended.
#[derive(Debug)]
pub(super) struct Turn {
    /// Whether the model answered.
    pub(super) ok: bool,
    /// Its answer, or what Claude Code says went wrong.
    pub(super) text: String,
}

impl Session {
    /// Starts the process; it waits for its first turn.
    #[track_caller]
    pub(super) fn start(home: &TestHome) -> Self {
        let stream = ["--input-format", "stream-json", "--output-format", "stream-json", "--verbose"];
        Self { process: Running::start_with_input(command(home, &stream)), turns: 0 }
    }

    /// Takes one turn.
    #[track_caller]
    pub(super) fn turn(&mut self, text: &str) -> Turn {
        let message = json!({ "type": "user", "message": { "role": "user", "content": text } });
        self.process.send(&message.to_string());
        self.turns += 1;
        let result = eventually("the end of a turn of Claude Code", LIMIT, || {
            let results = self.results();
            assert!(
                self.process.is_running() || results.len() >= self.turns,
                "ended early: {self:?}\n{}",
                self.output()
            );
            results.get(self.turns - 1).cloned()
        });
        Turn {
            ok: result["is_error"] == json!(false) && result["subtype"] == "success",
            text: result["result"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// Everything that it said so far.
    pub(super) fn output(&self) -> String {
        format!("stdout: {}\nstderr: {}", self.process.stdout(), self.process.stderr())
    }

    /// Ends its input and waits for its end.
    #[track_caller]
    pub(super) fn end(self) -> Finished {
        self.process.finish(LIMIT)
    }

    fn results(&self) -> Vec<Value> {
        let output = self.process.stdout();
        let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|value| value["type"] == "result").collect()
    }
}
