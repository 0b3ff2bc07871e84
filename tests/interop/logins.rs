//! Logins as real clients meet them: Claude Code's `awsAuthRefresh`, and the AWS tools on the files that a login writes.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use super::agent::Agent;
use super::{ACCOUNT, ROLE, claude, clients, fake, intercepted};
use crate::support::clock::eventually;
use crate::support::fake_aws::{FakeAws, Fault, Operation, Person, SessionId};
use crate::support::home::TestHome;
use crate::support::process::run;

/// A home whose Claude Code has both hooks at the agent, with a browser that writes down what it is to open. `dev-sso` is
/// signed out.
fn claude_home() -> (FakeAws, SessionId, TestHome, Agent) {
    let (fake, session) = fake();
    let mut home = TestHome::with_sso_profile(&fake, session, ACCOUNT, ROLE);
    fs::remove_file(home.token_file("corp")).unwrap();
    let browser = home.script("browser", "#!/bin/sh\necho \"$1\" >> \"$HOME/opened\"\n");
    home.set("BROWSER", browser);
    let agent = Agent::start(&mut home);
    hooks(&mut home, &fake, &agent, "export --profile dev-sso");
    (fake, session, home, agent)
}

fn hooks(home: &mut TestHome, fake: &FakeAws, agent: &Agent, export: &str) {
    claude::configure(home, fake, &agent.command_line(export));
    let path = home.path().join(".claude/settings.json");
    let mut settings: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    settings["awsAuthRefresh"] = json!(agent.command_line("login --device --profile dev-sso"));
    fs::write(path, settings.to_string()).unwrap();
}

fn openings(home: &TestHome) -> usize {
    fs::read_to_string(home.path().join("opened")).unwrap_or_default().lines().count()
}

#[test]
fn valid_credentials_and_a_failing_check_of_claude_codes_own_open_no_browser() {
    failing_check(3, Duration::ZERO);
}

#[test]
#[ignore = "soak: 10 starts within 5 minutes"]
fn ten_starts_within_five_minutes_open_no_browser() {
    failing_check(10, Duration::from_secs(30));
}

fn failing_check(starts: usize, apart: Duration) {
    let (fake, session, home, agent) = claude_home();
    home.seed_token("corp", &fake.sign_in(session));
    fake.inject(Fault::unavailable().on(Operation::GetCallerIdentity));
    for start in 0..starts {
        assert_eq!(claude::one_turn(&home).expect_success().stdout.trim(), "pong", "{start}: {}", agent.said());
        std::thread::sleep(apart);
    }
    println!(
        "{starts} starts, {} runs of the hook, {} openings",
        agent.said().matches("already signed in").count(),
        openings(&home)
    );
    assert!(agent.said().contains("already signed in"), "the hook did run: {}", agent.said());
    assert_eq!((openings(&home), fake.count(Operation::RegisterClient)), (0, 0));
    agent.assert_no_secret_leaked(&fake, &home);
}

#[test]
fn a_session_that_ended_and_nobody_there_is_one_tab() {
    let (fake, _, home, agent) = claude_home();
    fake.set_login_life(Duration::from_secs(3));
    for _ in 0..3 {
        assert!(!claude::one_turn(&home).status.success());
    }
    assert_eq!(openings(&home), 1, "{}", agent.said());
    assert!(agent.said().contains("was not answered; run in a terminal: agentctl login"), "{}", agent.said());
}

#[test]
fn a_login_that_is_answered_lets_the_turn_go_on() {
    let (fake, _, home, agent) = claude_home();
    fake.set_person(Person::Approves);
    assert_eq!(claude::one_turn(&home).expect_success().stdout.trim(), "pong", "{}", agent.said());
    assert_eq!(openings(&home), 1, "{}", agent.said());
    agent.assert_no_secret_leaked(&fake, &home);
}

#[test]
fn a_turn_outlasts_a_sign_in_that_is_made_elsewhere() {
    signed_in_elsewhere(Duration::ZERO);
}

#[test]
#[ignore = "soak: a minute"]
fn a_turn_outlasts_a_sign_in_that_takes_a_minute() {
    signed_in_elsewhere(Duration::from_secs(60));
}

fn signed_in_elsewhere(after: Duration) {
    let (fake, session, mut home, agent) = claude_home();
    claude::configure(&mut home, &fake, &agent.command_line("export --wait 100 --profile dev-sso"));
    let mut turn = claude::Session::start(&home);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            eventually("the hook waits", claude::LIMIT, || agent.said().contains("waiting for a login").then_some(()));
            std::thread::sleep(after);
            home.seed_token("corp", &fake.sign_in(session));
        });
        let turn = turn.turn("hi");
        assert!(turn.ok, "{}: {}", turn.text, agent.said());
    });
    assert_eq!(openings(&home), 0);
}

#[test]
fn the_aws_tools_use_and_refresh_what_a_login_wrote() {
    let (fake, _, home, agent) = claude_home();
    fake.set_person(Person::Approves);
    let mut login = home.command("sh");
    login.args(["-c", &agent.command_line("login --device --profile dev-sso")]);
    run(login, clients::LIMIT).expect_success();
    drop(agent);
    let boto3 = || run(clients::python(&home, "sts_calls.py", &["dev-sso", "1"]), clients::LIMIT);
    let cli = || run(clients::aws_cli(&home, &["sts", "get-caller-identity", "--profile", "dev-sso"]), clients::LIMIT);
    boto3().expect_success();
    cli().expect_success();
    assert_eq!(fake.count(Operation::CreateToken), 1, "the login's own");
    for tool in [&boto3 as &dyn Fn() -> _, &cli] {
        let path = home.token_file("corp");
        let mut token: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        token["expiresAt"] = json!("2020-01-01T00:00:00Z");
        fs::write(&path, token.to_string()).unwrap();
        // The CLI keeps what it fetched before.
        let _ = fs::remove_dir_all(home.path().join(".aws/cli"));
        let before = fake.succeeded(Operation::CreateToken);
        tool().expect_success();
        assert_eq!(fake.succeeded(Operation::CreateToken), before + 1, "with the login's registration");
    }
}

#[test]
fn after_a_logout_the_aws_cli_is_logged_out_too() {
    let (fake, session, home, agent) = claude_home();
    home.seed_token("corp", &fake.sign_in(session));
    let cli = || run(clients::aws_cli(&home, &["sts", "get-caller-identity", "--profile", "dev-sso"]), clients::LIMIT);
    cli().expect_success();
    let mut logout = home.command("sh");
    logout.args(["-c", &agent.command_line("logout --profile dev-sso")]);
    run(logout, clients::LIMIT).expect_success();
    let refused = cli();
    assert!(!refused.status.success(), "{}", refused.stdout);
    assert!(refused.stderr.contains("Error loading SSO Token"), "{}", refused.stderr);
    assert_eq!(fake.succeeded(Operation::Logout), 1);
}

#[test]
#[ignore = "wants AWS CLI 2 (AWS_CLI_2, else /usr/bin/aws)"]
fn aws_cli_2_uses_and_refreshes_what_both_flows_wrote() {
    let aws = std::env::var("AWS_CLI_2").unwrap_or_else(|_| "/usr/bin/aws".to_owned());
    if !std::path::Path::new(&aws).exists() {
        eprintln!("not run: there is no AWS CLI 2 at {aws}");
        return;
    }
    for flow in ["--device", "--pkce"] {
        let (fake, _, mut home, agent) = claude_home();
        fake.set_person(Person::Approves);
        let browser = home.script("following", "#!/bin/sh\ncurl --silent --location --output /dev/null \"$1\"\n");
        home.set("BROWSER", browser);
        let agentctl = |home: &TestHome, line: &str| {
            let mut command = home.command("sh");
            command.args(["-c", &agent.command_line(line)]);
            run(command, clients::LIMIT)
        };
        agentctl(&home, &format!("login {flow} --profile dev-sso")).expect_success();
        assert_eq!(fake.count(Operation::CreateToken), 1, "the login's own");
        let (_proxy, authority) = intercepted::behind_proxy(&fake, &mut home);
        home.set("AWS_CA_BUNDLE", authority);
        let cli = || {
            let mut command = home.command(&aws);
            command.args(["sts", "get-caller-identity", "--profile", "dev-sso", "--region", "eu-west-1"]);
            run(command, clients::LIMIT)
        };
        cli().expect_success();
        assert_eq!(fake.count(Operation::CreateToken), 1, "{flow}: the token is used");
        let path = home.token_file("corp");
        let mut token: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        token["expiresAt"] = json!("2020-01-01T00:00:00Z");
        fs::write(&path, token.to_string()).unwrap();
        // The CLI keeps what it fetched before.
        fs::remove_dir_all(home.path().join(".aws/cli")).unwrap();
        cli().expect_success();
        assert_eq!(fake.succeeded(Operation::CreateToken), 2, "{flow}: with the login's registration");
        assert!(home.path().join(".aws/cli/cache").read_dir().is_ok_and(|mut kept| kept.next().is_some()));
        agentctl(&home, "logout --profile dev-sso").expect_success();
        let refused = cli();
        assert!(!refused.status.success() && refused.stderr.contains("Token"), "{flow}: {}", refused.stderr);
    }
}
