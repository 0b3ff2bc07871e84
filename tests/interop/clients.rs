//! The real clients that `tests/interop/setup` installed, as commands in a test's home.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;

use crate::support::home::TestHome;
use crate::support::process::{Finished, run};

/// Starting an interpreter on a busy machine takes seconds.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)
}

/// The clients' folder. Without it there is nothing to test with: fails, saying what to run.
#[track_caller]
fn folder() -> &'static Path {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = FOLDER.get_or_init(|| {
        let ask = |how| {
            let mut command = Command::new(file("setup"));
            command.arg(how);
            run(command, LIMIT)
        };
        let check = ask("--check");
        if check.status.success() { Ok(ask("--where").stdout.trim().into()) } else { Err(check.stderr) }
    });
    found.as_ref().unwrap_or_else(|missing| panic!("{missing}"))
}

/// `python SCRIPT ARGS` with boto3.
#[track_caller]
pub(super) fn python(home: &TestHome, script: &str, args: &[&str]) -> Command {
    let mut command = home.command(folder().join("python/venv/bin/python"));
    command.arg(file("scripts").join(script)).args(args);
    command
}

/// `aws ARGS`: the AWS CLI, version 1.
#[track_caller]
pub(super) fn aws_cli(home: &TestHome, args: &[&str]) -> Command {
    let mut command = home.command(folder().join("python/venv/bin/python"));
    command.args(["-m", "awscli"]).args(args);
    command
}

/// `node SCRIPT ARGS` with the AWS SDK for JavaScript v3.
#[track_caller]
pub(super) fn node(home: &TestHome, script: &str, args: &[&str]) -> Command {
    let mut command = home.command("node");
    command.arg(file("scripts").join(script)).args(args).env("NODE_PATH", folder().join("js/node_modules"));
    command
}

/// mitmproxy, which leads every address to `server`; its authority is in the home's folder `mitmproxy`.
#[track_caller]
pub(super) fn mitmproxy(home: &TestHome, server: &str) -> Command {
    let mut command = home.command(folder().join("mitmproxy/venv/bin/python"));
    command.args(["-c", "from mitmproxy.tools.main import mitmdump; mitmdump()", "-q", "-s"]);
    command.arg(file("scripts/inspecting_proxy.py")).args(["--listen-host", "127.0.0.1", "--listen-port", "0"]);
    let confdir = home.path().join("mitmproxy");
    for option in
        [format!("leads_to={server}"), format!("confdir={}", confdir.display()), "connection_strategy=lazy".into()]
    {
        command.args(["--set", &option]);
    }
    command
}

/// The executable of Claude Code.
#[track_caller]
pub(super) fn claude_executable() -> PathBuf {
    folder().join("claude/claude")
}

/// What a successful client printed, as JSON.
#[track_caller]
pub(super) fn json(finished: Finished) -> Value {
    let finished = finished.expect_success();
    serde_json::from_str(&finished.stdout).unwrap_or_else(|e| panic!("{e}: {}", finished.stdout))
}
