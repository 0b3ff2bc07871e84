//! A shell in which AWS is a fake: an empty temporary home, Identity Center, STS and Bedrock on loopback, `agentctl` first in
//! PATH, and Claude Code if there is one. To try `agentctl setup` and everything else by hand; nothing of yours is touched.
//!
//! ```text
//! cargo run --example playground
//! ```

#![expect(clippy::print_stdout, reason = "an example talks")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use support::fake_aws::{FakeAws, MODEL, Person, SsoSession};
use support::home::TestHome;

const INTRODUCTION: &str = "
A shell with a fake AWS, which says yes to every login. Its Identity Center is
https://corp.awsapps.com/start in eu-west-1.

    agentctl setup      from an empty home to Claude Code on Bedrock
    claude -p hi        whose answer comes from the fake
    agentctl doctor     and whatever else you like
    exit                and everything is gone
";

fn main() -> ExitCode {
    println!("building agentd and agentctl ...");
    let bin = support::build::programs();
    let fake = FakeAws::start();
    let session = SsoSession::new("corp").allow("111122223333", "Developer").allow("444455556666", "Auditor");
    fake.add_session(session.allow("444455556666", "Builder"));
    fake.set_person(Person::Approves);
    let mut home = TestHome::new(&fake);
    fs::remove_file(home.aws_config()).unwrap_or_default();
    let own = home.path().join("bin");
    fs::create_dir_all(&own).unwrap_or_else(|e| panic!("{}: {e}", own.display()));
    home.script("bin/browser", "#!/bin/sh\nexit 0\n");
    println!("{INTRODUCTION}");
    match claude() {
        Some(claude) => wrap(&mut home, &fake, &claude),
        None => println!(
            "There is no Claude Code in your PATH, and tests/interop/setup has fetched none: all but that works."
        ),
    }
    let path = std::env::var("PATH").unwrap_or_default();
    home.set("PATH", format!("{}:{}:{path}", own.display(), bin.display()));
    home.set("BROWSER", own.join("browser"));
    home.set("PS1", "(fake AWS) $ ");
    for kept in ["TERM", "LANG", "COLORTERM"] {
        std::env::var_os(kept).into_iter().for_each(|value| home.set(kept, value));
    }
    let ended = home.command("sh").current_dir(home.path()).status();
    // It would end by itself once its files are gone.
    let _ = home.command(bin.join("agentctl")).args(["daemon", "stop"]).output();
    match ended {
        Ok(_) => ExitCode::SUCCESS,
        Err(e) => {
            println!("no shell can be started: {e}");
            ExitCode::FAILURE
        }
    }
}

/// The user's own, else the one of the tests.
fn claude() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&folders).map(|folder| folder.join("claude")).find(|program| program.is_file());
    own.or_else(|| {
        let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/setup");
        let folder = Command::new(setup).arg("--where").output().ok()?;
        let program = Path::new(String::from_utf8_lossy(&folder.stdout).trim()).join("claude/claude");
        program.is_file().then_some(program)
    })
}

/// It finds Bedrock on loopback, is past its first questions, and tells nobody anything.
fn wrap(home: &mut TestHome, fake: &FakeAws, claude: &Path) {
    let state = format!(
        "{{\"hasCompletedOnboarding\":true,\"projects\":{{{:?}:{{\"hasTrustDialogAccepted\":true}}}}}}",
        home.path().display().to_string()
    );
    fs::write(home.path().join(".claude.json"), state).unwrap_or_else(|e| panic!("the temporary home: {e}"));
    let variables = format!(
        "export ANTHROPIC_BEDROCK_BASE_URL={} ANTHROPIC_SMALL_FAST_MODEL={MODEL} CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 \
         DISABLE_TELEMETRY=1 DISABLE_AUTOUPDATER=1 DISABLE_ERROR_REPORTING=1",
        fake.url()
    );
    home.script("bin/claude", &format!("#!/bin/sh\n{variables}\nexec '{}' \"$@\"\n", claude.display()));
}
