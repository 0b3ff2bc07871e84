//! The main job in half a minute, on an embedded fake AWS and a temporary home: real `agentd`, real `agentctl`,
//! credentials that live 20 seconds, an outage, a login, and a proxy that would turn logins into a loop.
//!
//! ```text
//! cargo run --example demo
//! ```

#![expect(clippy::print_stdout, reason = "a demo talks")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use support::clock;
use support::fake_aws::{FakeAws, Operation, Person, Rotation, SsoSession};
use support::home::TestHome;
use support::process;
use support::proxy::InspectingProxy;

const ROLE_LIFE: Duration = Duration::from_secs(20);
const TOKEN_LIFE: Duration = Duration::from_secs(60);

fn main() {
    let bin = support::build::programs();
    let mut stage = Stage::set_up(bin);
    stage.first_credentials();
    stage.renewal();
    stage.outage();
    stage.login();
    stage.status();
    stage.loop_of_logins();
    stage.say("");
    stage.say("That was the main job: ask once, and what you hold never lapses; and no loop of browser tabs.");
    stage.say("Next: cargo run --example playground, to try setup by hand; then the README, for your own profiles.");
}

struct Stage {
    fake: FakeAws,
    home: TestHome,
    bin: PathBuf,
    colour: bool,
}

/// What `credential-process` printed, reduced to what may be shown.
struct Credentials {
    key: String,
    left: i64,
    took: Duration,
}

impl Stage {
    fn set_up(bin: PathBuf) -> Self {
        let fake = FakeAws::start();
        let mut session = SsoSession::new("corp").allow("111122223333", "Developer");
        session.role_lifetime = ROLE_LIFE;
        session.token_lifetime = TOKEN_LIFE;
        session.rotation = Rotation::SingleUse;
        let session = fake.add_session(session);
        let mut home = TestHome::with_sso_profile(&fake, session, "111122223333", "Developer");
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
            home.unset(proxy);
            home.unset(&proxy.to_lowercase());
        }
        let stage = Self { fake, home, bin, colour: std::io::stdout().is_terminal() };
        stage.title("A fake AWS on loopback, and a home with an ordinary ~/.aws/config");
        stage.say("    [profile dev-sso]  sso_session = corp, role Developer in 111122223333");
        stage.say("    signed in once; here the role's credentials live 20 s, the SSO token 60 s");
        stage
    }

    fn first_credentials(&self) {
        self.title("What the AWS CLI runs for you: agentctl credential-process --profile dev-sso");
        let first = self.ask();
        self.say(&format!(
            "    key ...{}, {} s of life, in {} ms: no agent ran, so one was started;",
            first.key,
            first.left,
            first.took.as_millis()
        ));
        self.say("    it also renewed the SSO token, which was near its end");
        let second = self.ask();
        self.say(&format!("    again: key ...{}, in {} ms, from memory", second.key, second.took.as_millis()));
        self.say(&format!("    calls to AWS so far: {}", self.calls()));
    }

    fn renewal(&self) {
        self.title("Nobody asks now. The agent renews before anything lapses");
        self.watch(Duration::from_secs(13));
    }

    fn outage(&self) {
        self.title("AWS goes away for 8 seconds");
        self.fake.stop();
        self.watch(Duration::from_secs(8));
        let during = self.ask();
        self.say(&format!("    still served: key ...{}, {} s of life", during.key, during.left));
        self.fake.restart();
        self.title("... and is back");
        self.watch(Duration::from_secs(6));
    }

    fn login(&self) {
        self.title("Somebody signs out: agentctl logout");
        self.show(&["logout", "--profile", "dev-sso"], 0);
        self.say("and what a client is told then:");
        self.show(&["credential-process", "--profile", "dev-sso"], 10);
        self.title("agentctl login (here the fake AWS says yes at once, and no browser is opened)");
        self.fake.set_person(Person::Approves);
        self.show(&["login", "--device", "--no-browser", "--profile", "dev-sso"], 0);
        let again = self.ask();
        self.say(&format!("    served again: key ...{}, {} s of life", again.key, again.left));
    }

    /// A network that opens TLS, and a client that asks for a login whenever something fails.
    fn loop_of_logins(&mut self) {
        self.title("Another network: its proxy opens TLS, and nobody has told this machine of its CA");
        let upstream = self.fake.url().trim_start_matches("http://").parse();
        let proxy = InspectingProxy::start(upstream.unwrap_or_else(|e| panic!("the fake AWS's address: {e}")));
        let ca = self.home.path().join("corp-ca.pem");
        proxy.write_ca(&ca);
        for service in ["SSO_OIDC", "SSO", "STS"] {
            self.home.unset(&format!("AWS_ENDPOINT_URL_{service}"));
        }
        self.home.set("HTTPS_PROXY", proxy.url());
        self.agentctl(&["logout", "--profile", "dev-sso"]);
        self.agentctl(&["daemon", "restart"]);
        let login = ["login", "--device", "--no-browser", "--profile", "dev-sso"];
        self.show(&login, 13);
        self.say("a client that does not understand asks 50 times more:");
        let start = clock::instant();
        let refusals: Vec<_> = (0..50).map(|_| self.agentctl(&login).stderr).collect();
        let each = start.elapsed().as_millis() / 50;
        self.say(refusals.last().map_or("", |said| said.trim_end()));
        let shown = self.fake.pending_logins().len();
        self.say(&format!("    each refused in {each} ms with exit code 18; {shown} pages to open"));
        self.title("agentctl doctor network");
        self.show(&["doctor", "network", "--profile", "dev-sso"], 13);
        self.title("The cure, in ~/.config/agentctl/config.toml: ca_bundle = \"corp-ca.pem\"; then agentctl login");
        let settings = self.home.path().join(".config/agentctl");
        let written = std::fs::create_dir_all(&settings)
            .and_then(|()| std::fs::write(settings.join("config.toml"), format!("ca_bundle = {ca:?}\n")));
        written.unwrap_or_else(|e| panic!("cannot write config.toml: {e}"));
        self.home.set("AGENTCTL_CONFIG", settings.join("config.toml"));
        self.show(&login, 0);
        self.ask();
    }

    /// Straight to the terminal.
    fn show(&self, arguments: &[&str], code: i32) {
        let shown = self.agentctl_command(arguments).status();
        assert!(
            shown.is_ok_and(|s| s.code() == Some(code)),
            "agentctl {} did not end with {code}",
            arguments.join(" ")
        );
    }

    fn status(&self) {
        self.title("agentctl status");
        // Straight to the terminal, whose width it heeds.
        self.show(&["status"], 0);
        self.say(&format!("\ncalls to AWS in all: {}", self.calls()));
    }

    /// Shows what `agentctl status --json` says of the key, once a second.
    fn watch(&self, span: Duration) {
        let start = clock::instant();
        let mut last_key = String::new();
        while start.elapsed() < span {
            let status = self.agentctl(&["status", "--json"]).stdout;
            let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
            let profile = &status["profiles"][0];
            let key = profile["key_suffix"].as_str().unwrap_or("none").to_owned();
            let left = seconds_left(profile["expires_at"].as_str().unwrap_or_default());
            let bar = "#".repeat(usize::try_from(left).unwrap_or(0).min(40));
            let trouble = profile["last_failure"]["class"].as_str().map(|c| format!("  ({c})")).unwrap_or_default();
            let renewed = if key != last_key && !last_key.is_empty() { "  renewed" } else { "" };
            let line = format!("    key ...{key} {left:>3} s {bar:<20}{renewed}{trouble}");
            if self.colour && renewed.is_empty() {
                print!("\r\u{1b}[K{line}");
                // A terminal that cannot be written to shows nothing anyway.
                let _ = std::io::stdout().flush();
            } else {
                if self.colour {
                    print!("\r\u{1b}[K");
                }
                self.say(&line);
            }
            last_key = key;
            std::thread::sleep(Duration::from_secs(1));
        }
        if self.colour {
            println!();
        }
    }

    fn ask(&self) -> Credentials {
        let start = clock::instant();
        let answer = self.agentctl(&["credential-process", "--profile", "dev-sso"]);
        let took = start.elapsed();
        let document: serde_json::Value = serde_json::from_str(&answer.stdout)
            .unwrap_or_else(|_| panic!("no credentials (exit {}): {}", answer.code(), answer.stderr));
        let id = document["AccessKeyId"].as_str().unwrap_or_default();
        let key = id.get(id.len().saturating_sub(4)..).unwrap_or_default().to_owned();
        Credentials { key, left: seconds_left(document["Expiration"].as_str().unwrap_or_default()), took }
    }

    fn agentctl(&self, arguments: &[&str]) -> process::Finished {
        process::run(self.agentctl_command(arguments), Duration::from_secs(30))
    }

    fn agentctl_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.command(self.bin.join(format!("agentctl{}", std::env::consts::EXE_SUFFIX)));
        command.args(arguments);
        command
    }

    fn calls(&self) -> String {
        let (tokens, roles) = (self.fake.count(Operation::CreateToken), self.fake.count(Operation::GetRoleCredentials));
        format!("{tokens} CreateToken, {roles} GetRoleCredentials")
    }

    fn title(&self, text: &str) {
        if self.colour { println!("\n\u{1b}[1m{text}\u{1b}[0m") } else { println!("\n{text}") }
    }

    #[expect(clippy::unused_self, reason = "the stage speaks")]
    fn say(&self, text: &str) {
        println!("{text}");
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.agentctl(&["daemon", "stop"]);
    }
}

fn seconds_left(until: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(until).map_or(0, |t| (t.to_utc() - clock::now()).num_seconds().max(0))
}
