//! No secret that the fake ever issued is seen anywhere but in the AWS cache folder and in the documents that are asked
//! for: not in logs at their loudest, not on stderr, not in status and why, not in state files, not in the command line
//! or environment of a process.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::agent::{ACCOUNT, Agent, LIMIT};
use crate::support::clock::{eventually, now};
use crate::support::fake_aws::{Fault, IssuedKey, Operation, Rotation, SsoSession};
use crate::support::process::{self, Running};
use crate::support::secret_scan::SecretScan;

const ASK: [&str; 4] = ["credential-process", "--profile", "dev-sso", "-v"];

/// An agent that logs all that it can, started by a client whose own environment holds a key, as Claude Code's does.
fn loud(change: impl FnOnce(&mut SsoSession)) -> (Agent, IssuedKey) {
    let mut agent = Agent::with(change);
    agent.home.set("AGENTCTL_LOG", "trace");
    let ambient = agent.fake.issue_key(agent.session, ACCOUNT, "Ambient");
    let mut start = agent.command(&["daemon", "start", "-v"]);
    start.env("AWS_ACCESS_KEY_ID", &ambient.access_key_id);
    start.env("AWS_SECRET_ACCESS_KEY", &ambient.secret_access_key);
    start.env("AWS_SESSION_TOKEN", &ambient.session_token);
    let started = process::run(start, LIMIT).expect_success();
    agent.note(&["daemon", "start"], &started);
    (agent, ambient)
}

/// Everything that may be asked about a profile, whatever the answer.
fn look_around(agent: &Agent) {
    look(agent);
    // After a call this waits for the pace of 2 s.
    agent.ctl(&["refresh", "--profile", "dev-sso", "-v", "--timeout", "3s"]);
}

/// What takes no time.
fn look(agent: &Agent) {
    for arguments in [
        &ASK[..],
        &["status"],
        &["status", "--json"],
        &["why", "--profile", "dev-sso"],
        &["audit", "-v"],
        &["audit", "--json"],
        &["login", "--profile", "dev-sso", "--timeout", "3s"],
    ] {
        agent.ctl(arguments);
    }
}

fn agentd_pid(agent: &Agent) -> u32 {
    let status = agent.status();
    u32::try_from(status["agent"]["pid"].as_u64().unwrap()).unwrap()
}

/// Looks at agentd from outside, as any process of the user can.
fn scan_agentd(agent: &Agent) {
    let pid = agentd_pid(agent);
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if cfg!(target_os = "linux") {
        assert!(String::from_utf8_lossy(&command_line).contains("agentd"), "that is agentd");
    }
    SecretScan::of(&agent.fake).process(pid).assert_clean();
}

fn log(agent: &Agent) -> String {
    fs::read_to_string(agent.home.state_dir().join("agentd.log")).unwrap()
}

#[test]
fn a_life_of_renewals_shows_no_secret() {
    let (agent, _ambient) = loud(|s| {
        s.role_lifetime = Duration::from_secs(6);
        s.token_lifetime = Duration::from_secs(10);
        s.rotation = Rotation::SingleUse;
    });
    look_around(&agent);
    for format in ["claude", "process", "env", "fish", "powershell", "json"] {
        agent.ctl(&["export", "--profile", "dev-sso", "--format", format, "-v"]).expect_success();
    }
    // Asked for all the time: what lives for seconds is kept for seconds.
    eventually("both kinds were renewed", LIMIT * 3, || {
        agent.credentials("dev-sso");
        (agent.tokens() >= 2 && agent.roles() >= 3).then_some(())
    });
    look_around(&agent);
    scan_agentd(&agent);
    let log = log(&agent);
    assert!(log.contains("DEBUG") && log.matches("renewed").count() >= 3, "the log is loud: {log}");
}

#[test]
fn failures_of_every_kind_show_no_secret() {
    let (agent, _ambient) = loud(|s| s.token_lifetime = Duration::from_secs(15 * 60));
    for (fault, class) in [
        (Fault::truncated_json(), "transient"),
        (Fault::cut_body(), "transient"),
        (Fault::reset().after_work(), "transient"),
        (Fault::unavailable(), "transient"),
        (Fault::empty_json(), "transient"),
        (Fault::html(), "intercepted"),
        (Fault::strip_bearer().on(Operation::GetRoleCredentials), "intercepted"),
        (Fault::access_denied().on(Operation::GetRoleCredentials), "access-denied"),
        (Fault::too_many_requests(1).on(Operation::GetRoleCredentials), "throttled"),
    ] {
        agent.ctl(&["daemon", "restart"]).expect_success();
        agent.fake.inject(fault);
        // A session that is renewed at the same time may forgive the failure, once.
        eventually(class, LIMIT, || {
            look(&agent);
            agent.status().to_string().contains(&format!("\"class\":\"{class}\"")).then_some(())
        });
        agent.fake.clear_faults();
    }
    agent.fake.stop();
    agent.ctl(&["daemon", "restart"]).expect_success();
    look_around(&agent);
    assert!(agent.status().to_string().contains("\"class\":\"offline\""));
    scan_agentd(&agent);
}

#[test]
fn a_refused_session_and_a_waiting_client_show_no_secret() {
    let (agent, _ambient) = loud(|s| s.token_lifetime = Duration::from_secs(15 * 60));
    agent.fake.inject(Fault::hang().on(Operation::GetRoleCredentials).times(1));
    let client = Running::start(agent.command(&["export", "--profile", "dev-sso", "--timeout", "3s", "-v"]));
    eventually("it waits", LIMIT, || (agent.roles() == 1).then_some(()));
    SecretScan::of(&agent.fake).process(client.pid()).assert_clean();
    agent.note(&["export"], &client.finish(LIMIT));
    agent.fake.revoke_refresh_tokens(agent.session);
    agent.fake.revoke_access_tokens(agent.session);
    // A token of the last minute that is refused would be somebody else's doing.
    let before = std::time::SystemTime::from(now() - chrono::Duration::minutes(10));
    fs::File::options().append(true).open(agent.home.token_file("corp")).unwrap().set_modified(before).unwrap();
    agent.ctl(&["daemon", "restart"]).expect_success();
    let refused = eventually("AWS refuses the session", LIMIT, || {
        let answer = agent.ctl(&ASK);
        (answer.code() == 10).then_some(answer)
    });
    assert!(refused.stderr.contains("agentctl login"), "{}", refused.stderr);
    look_around(&agent);
    scan_agentd(&agent);
}

#[test]
fn files_that_hold_secrets_in_the_wrong_place_are_not_quoted() {
    let (agent, ambient) = loud(|_| ());
    let (config, token_file) = (agent.home.aws_config(), agent.home.token_file("corp"));
    let (whole_config, token) = (fs::read_to_string(&config).unwrap(), fs::read_to_string(&token_file).unwrap());
    let secret = &ambient.secret_access_key;
    for text in [
        format!("{whole_config}aws_secret_access_key {secret}\n"),
        format!("[profile {secret}\n{whole_config}"),
        format!("{whole_config}[profile static]\naws_access_key_id = AKIA\naws_secret_access_key = {secret}\n"),
    ] {
        fs::write(&config, text).unwrap();
        agent.ctl(&["daemon", "restart"]).expect_success();
        look_around(&agent);
        agent.ctl(&["credential-process", "--profile", "static"]);
    }
    fs::write(&config, whole_config).unwrap();
    let mut number: Value = serde_json::from_str(&token).unwrap();
    number["expiresAt"] = number["accessToken"].clone();
    for text in [&token[..token.len() / 2], &format!("[{token}]"), &number.to_string(), &token.replace(':', ";")] {
        fs::write(&token_file, text).unwrap();
        agent.ctl(&["daemon", "restart"]).expect_success();
        look_around(&agent);
    }
    agent.write_settings(&format!("https_proxy = \"http://user:{secret}@127.0.0.1:9\"\n"));
    agent.ctl(&["daemon", "restart"]).expect_success();
    look_around(&agent);
    assert!(agent.status()["agent"]["network"].to_string().contains("127.0.0.1:9"), "the proxy is shown");
    agent.write_settings(&format!("https_proxy = \"http://user:{secret}@127.0.0.1:9\nkeep = 1"));
    agent.ctl(&["daemon", "restart"]);
    fs::remove_file(agent.config_toml()).unwrap(); // it is the user's own, and holds the secret that we put there
}

#[test]
fn the_scan_would_find_them() {
    let (agent, ambient) = loud(|_| ());
    agent.credentials("dev-sso");
    let find = |look: &dyn Fn(&mut SecretScan)| {
        let mut scan = SecretScan::of(&agent.fake);
        look(&mut scan);
        scan.findings().join("\n")
    };
    let cache = find(&|scan| {
        scan.tree(agent.home.path(), &[]);
    });
    for kind in ["access token", "refresh token", "client secret"] {
        assert!(cache.contains(kind), "the cache folder holds them: {cache}");
    }
    let document = agent.ctl(&["credential-process", "--profile", "dev-sso"]).stdout;
    let shown = find(&|scan| {
        scan.text("stdout", &document);
    });
    assert!(shown.contains("secret access key") && shown.contains("session token"), "{shown}");
    if !cfg!(target_os = "linux") {
        return;
    }
    let waiting = |argument: &str, variable: &str| {
        let mut shell = agent.home.command("/bin/sh");
        shell.args(["-c", "echo ready; read line", "sh", argument]).env("KEY", variable);
        let shell = Running::start_with_input(shell);
        // A child that was only just started may have no command line yet.
        shell.until_stdout("ready", LIMIT, |said| said.contains("ready").then_some(()));
        shell
    };
    let secret = &ambient.secret_access_key;
    let (argument, variable) = (waiting(secret, ""), waiting("", secret));
    let shown_by = |process: &Running| {
        find(&|scan| {
            scan.process(process.pid());
        })
    };
    assert!(shown_by(&argument).contains("cmdline"), "{}", shown_by(&argument));
    assert!(shown_by(&variable).contains("environ"), "{}", shown_by(&variable));
}
