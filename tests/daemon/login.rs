//! Logins with the real programs: one tab, whoever asks, and what is written is what the AWS tools read.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::agent::{ACCOUNT, AGENTCTL, Agent, LIMIT};
use crate::support::clock::eventually;
use crate::support::fake_aws::{Fault, Operation, Person};
use crate::support::http;
use crate::support::process::{Finished, Running};

const NEEDS_LOGIN: i32 = 10;
const LOGIN_PAUSED: i32 = 18;

/// A user who is signed out, and whose browser writes down what it is to open.
fn signed_out() -> Agent {
    let mut agent = Agent::new();
    fs::remove_file(agent.home.token_file("corp")).unwrap();
    agent.fake.revoke_access_tokens(agent.session);
    let browser = agent.home.script("browser", "#!/bin/sh\necho \"$1\" >> \"$HOME/opened\"\n");
    agent.home.set("BROWSER", browser);
    agent
}

fn opened(agent: &Agent) -> Vec<String> {
    let text = fs::read_to_string(agent.home.path().join("opened")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn login(agent: &Agent, arguments: &[&str]) -> Running {
    let mut command = agent.home.command(AGENTCTL);
    command.arg("login").args(arguments);
    Running::start(command)
}

/// The one address that was shown.
fn shown(login: &Running) -> String {
    eventually("the address is shown", LIMIT, || {
        let said = login.stderr();
        said.lines().find_map(|line| line.strip_prefix("  http")).map(|rest| format!("http{rest}"))
    })
}

fn token(agent: &Agent) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(agent.home.token_file("corp")).ok()?).ok()
}

fn end(agent: &Agent, login: Running) -> Finished {
    let finished = login.finish(LIMIT);
    agent.note(&["login"], &finished);
    finished
}

#[test]
fn a_code_is_shown_approved_and_everything_is_served() {
    let agent = signed_out();
    assert_eq!(agent.ctl(&["credential-process", "--profile", "dev-sso"]).code(), NEEDS_LOGIN);
    let login = login(&agent, &["--device", "--profile", "dev-sso"]);
    let url = shown(&login);
    let pending = agent.fake.pending_logins();
    assert_eq!(pending.len(), 1);
    assert_eq!(url, pending[0].url);
    assert!(login.stderr().contains(&format!("and compare the code: {}", pending[0].code)), "{}", login.stderr());
    assert_eq!(agent.status()["sessions"][0]["login"]["user_code"], pending[0].code);
    assert!(agent.fake.answer_login(&pending[0].code, true));
    let finished = end(&agent, login).expect_success();
    assert!(finished.stderr.contains("signed in: 'dev-sso' has credentials until "), "{}", finished.stderr);
    assert_eq!(opened(&agent), [url]);
    agent.credentials("dev-sso");
    assert_eq!(agent.roles(), 1, "the login's own proof is what is served");
    let token = token(&agent).unwrap();
    for key in ["accessToken", "expiresAt", "refreshToken", "clientId", "clientSecret", "registrationExpiresAt"] {
        assert!(token[key].is_string(), "{key}: {token}");
    }
    let again = agent.ctl(&["login", "--profile", "dev-sso"]).expect_success();
    assert!(again.stderr.starts_with("already signed in: "), "{}", again.stderr);
    assert_eq!(opened(&agent).len(), 1);
}

/// The addresses on which this machine listens on a port, as the kernel tells them.
#[cfg(target_os = "linux")]
fn listeners(port: u16) -> Vec<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let local = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    let is_ours = |local: &String| local.ends_with(&format!(":{port:04X}"));
    // State 0A is "listen".
    let listening = |line: &&str| line.split_whitespace().nth(3) == Some("0A");
    tables.iter().flat_map(|table| table.lines().filter(listening).filter_map(local).filter(is_ours)).collect()
}

/// A page as a browser gets it, redirects not followed.
fn page(url: &str, host: Option<&str>) -> http::Reply {
    let at = url.find("://").map_or(0, |at| at + 3);
    let (base, target) = url.split_at(url[at..].find('/').map_or(url.len(), |slash| at + slash));
    let host: Vec<_> = host.map(|host| ("host", host)).into_iter().collect();
    http::request(base, "GET", target, &host, b"", LIMIT).unwrap()
}

/// The same, asked for by a script of another page.
fn page_from(url: &str, origin: &str) -> http::Reply {
    let at = url.find("://").map_or(0, |at| at + 3);
    let (base, target) = url.split_at(url[at..].find('/').map_or(url.len(), |slash| at + slash));
    http::request(base, "GET", target, &[("origin", origin)], b"", LIMIT).unwrap()
}

#[test]
fn a_browser_comes_back_with_the_code_and_nothing_else_counts() {
    let agent = signed_out();
    agent.fake.set_person(Person::Approves);
    let login = login(&agent, &["--pkce", "--sso-session", "corp"]);
    let url = shown(&login);
    let answer = page(&url, None);
    assert_eq!(answer.status, 302, "{}", answer.text());
    let back = answer.header("location").to_owned();
    let (callback, _) = back.split_once('?').unwrap();
    assert!(callback.starts_with("http://127.0.0.1:") && callback.ends_with("/oauth/callback"), "{callback}");
    assert_eq!(page(&format!("{callback}?code=stolen&state=guessed"), None).status, 400);
    assert_eq!(page(&back, Some("attacker.example")).status, 403, "a name that was made to point here");
    assert_eq!(page(&callback.replace("/oauth/callback", "/"), None).status, 404);
    assert_eq!(page_from(&back, "https://attacker.example").status, 403);
    #[cfg(target_os = "linux")]
    {
        let port = callback.rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap();
        assert_eq!(listeners(port), [format!("0100007F:{port:04X}")], "127.0.0.1 and nothing else");
    }
    assert!(login.stdout().is_empty());
    let answer = page(&back, None);
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("You can close this tab"), "{}", answer.text());
    end(&agent, login).expect_success();
    let address = callback.trim_start_matches("http://").trim_end_matches("/oauth/callback");
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
    assert_eq!(agent.fake.count(Operation::ListAccounts), 1, "a session is proven by a call that needs no role");
    agent.credentials("dev-sso");
}

#[test]
fn a_no_in_the_browser_comes_back_too() {
    let agent = signed_out();
    agent.fake.set_person(Person::Denies);
    let login = login(&agent, &["--pkce", "--profile", "dev-sso"]);
    let answer = page(&shown(&login), None);
    let back = answer.header("location").to_owned();
    assert!(page(&back, None).text().contains("You denied the login. You can close this tab."));
    let finished = end(&agent, login);
    assert_eq!(finished.code(), NEEDS_LOGIN);
    assert!(finished.stderr.contains("the login to 'corp' was denied"), "{}", finished.stderr);
    let gone = back.split("://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    assert!(std::net::TcpStream::connect(gone).is_err(), "nobody listens any more");
}

#[test]
fn logins_that_come_to_nothing_are_paused_and_a_reset_ends_that() {
    let agent = signed_out();
    agent.fake.set_person(Person::Denies);
    for _ in 0..3 {
        let denied = end(&agent, login(&agent, &["--device", "--profile", "dev-sso"]));
        assert_eq!(denied.code(), NEEDS_LOGIN, "{}", denied.stderr);
    }
    let paused = agent.ctl(&["login", "--profile", "dev-sso"]);
    assert_eq!(paused.code(), LOGIN_PAUSED);
    assert!(paused.stderr.starts_with("agentctl: the login for 'dev-sso' is paused until "), "{}", paused.stderr);
    agent.ctl(&["daemon", "restart"]).expect_success();
    assert_eq!(agent.ctl(&["login", "--profile", "dev-sso"]).code(), LOGIN_PAUSED, "nor after a restart");
    assert!(agent.ctl(&["status"]).expect_success().stdout.contains("logins are paused, again in "));
    let line = agent.ctl(&["statusline", "--profile", "dev-sso"]).expect_success().stdout;
    assert!(line.starts_with("aws dev-sso: logins are paused until "), "{line}");
    agent.ctl(&["reset", "--sso-session", "corp"]).expect_success();
    agent.fake.set_person(Person::Approves);
    end(&agent, login(&agent, &["--device", "--profile", "dev-sso"])).expect_success();
    assert_eq!(opened(&agent).len(), 4);
    assert!(!agent.ctl(&["status"]).expect_success().stdout.contains("paused"));
}

#[test]
fn a_no_and_no_answer_are_told_and_nobody_is_asked_again() {
    let agent = signed_out();
    let first = login(&agent, &["--device", "--profile", "dev-sso"]);
    shown(&first);
    agent.fake.answer_login(&agent.fake.pending_logins()[0].code, false);
    let finished = end(&agent, first);
    assert_eq!(finished.code(), NEEDS_LOGIN);
    assert!(finished.stderr.contains("the login to 'corp' was denied"), "{}", finished.stderr);
    agent.fake.set_login_life(Duration::from_secs(2));
    let second = end(&agent, login(&agent, &["--device", "--profile", "dev-sso"]));
    assert_eq!(second.code(), NEEDS_LOGIN);
    assert!(second.stderr.contains("was not answered in time"), "{}", second.stderr);
    let third = agent.ctl(&["login", "--profile", "dev-sso"]);
    assert_eq!(third.code(), LOGIN_PAUSED);
    assert!(third.stderr.contains("was not answered; run in a terminal: agentctl login"), "{}", third.stderr);
    assert_eq!(opened(&agent).len(), 2);
    agent.ctl(&["daemon", "restart"]).expect_success();
    assert_eq!(agent.ctl(&["login", "--profile", "dev-sso"]).code(), LOGIN_PAUSED, "nor after a restart");
}

#[test]
fn twenty_at_once_are_one_address_and_one_opening() {
    let agent = signed_out();
    let all: Vec<_> = (0..20).map(|_| login(&agent, &["--device", "--profile", "dev-sso"])).collect();
    let urls: Vec<_> = all.iter().map(shown).collect();
    assert!(urls.iter().all(|url| *url == urls[0]), "{urls:?}");
    assert!(agent.fake.answer_login(&agent.fake.pending_logins()[0].code, true));
    for login in all {
        end(&agent, login).expect_success();
    }
    assert_eq!(opened(&agent).len(), 1);
    assert_eq!((agent.fake.count(Operation::StartDeviceAuthorization), agent.roles()), (1, 1));
}

fn kill(pid: &str) -> std::process::Command {
    let mut command = std::process::Command::new("kill");
    command.args(["-KILL", pid]);
    command
}

#[test]
fn a_login_outlives_its_client_and_not_its_agent() {
    let agent = signed_out();
    let first = login(&agent, &["--device", "--profile", "dev-sso"]);
    let url = shown(&first);
    first.terminate();
    first.finish(LIMIT);
    let killed = login(&agent, &["--device", "--profile", "dev-sso"]);
    assert_eq!(shown(&killed), url, "the same page");
    drop(killed);
    let second = login(&agent, &["--device", "--profile", "dev-sso"]);
    assert_eq!(shown(&second), url, "the same page");
    assert!(second.stderr().contains("is pending already"), "{}", second.stderr());
    assert_eq!(opened(&agent).len(), 1);
    let pid = agent.status()["agent"]["pid"].as_u64().unwrap().to_string();
    crate::support::process::run(kill(&pid), LIMIT).expect_success();
    let finished = end(&agent, second);
    assert_eq!(finished.code(), NEEDS_LOGIN);
    assert!(finished.stderr.contains("the agent ended meanwhile, and the login with it"), "{}", finished.stderr);
    assert_eq!(agent.ctl(&["login", "--profile", "dev-sso"]).code(), LOGIN_PAUSED, "no silent new tab");
    assert_eq!(opened(&agent).len(), 1);
}

#[test]
fn a_login_by_another_tool_is_as_good() {
    let agent = signed_out();
    let login = login(&agent, &["--device", "--profile", "dev-sso"]);
    shown(&login);
    let elsewhere = agent.fake.sign_in(agent.session);
    agent.home.seed_token("corp", &elsewhere);
    end(&agent, login).expect_success();
}

#[test]
fn what_a_login_cannot_help_opens_nothing() {
    for (fault, code) in [
        (Fault::access_denied().on(Operation::GetRoleCredentials), Some(11)),
        (Fault::aws_error(404, "ResourceNotFoundException", "no").on(Operation::GetRoleCredentials), Some(12)),
        (Fault::unavailable().on(Operation::GetRoleCredentials), Some(17)),
        (Fault::html().on(Operation::GetRoleCredentials), Some(13)),
        (Fault::strip_bearer().on(Operation::GetRoleCredentials), Some(13)),
    ] {
        let mut agent = Agent::new();
        let browser = agent.home.script("browser", "#!/bin/sh\necho \"$1\" >> \"$HOME/opened\"\n");
        agent.home.set("BROWSER", browser);
        agent.fake.inject(fault);
        let finished = agent.ctl(&["login", "--profile", "dev-sso"]);
        assert_ne!(finished.code(), 0);
        assert!(code.is_none_or(|code| code == finished.code()), "{}", finished.stderr);
        assert!(opened(&agent).is_empty());
    }
    let agent = Agent::with(|s| drop(s.accounts.remove(ACCOUNT)));
    let finished = agent.ctl(&["login", "--profile", "dev-sso"]);
    assert_eq!(finished.code(), 11, "{}", finished.stderr);
    assert_eq!(agent.fake.count(Operation::RegisterClient), 0);
    agent.fake.stop();
    agent.ctl(&["daemon", "restart"]).expect_success();
    let finished = agent.ctl(&["login", "--profile", "dev-sso"]);
    assert!([14, 17].contains(&finished.code()), "{}", finished.stderr);
}

#[test]
fn a_registration_is_used_while_it_is_valid() {
    let agent = signed_out();
    agent.fake.set_person(Person::Approves);
    for (round, registrations) in [(1, 1), (2, 1), (3, 2)] {
        if round == 3 {
            agent.fake.forget_clients();
        }
        end(&agent, login(&agent, &["--device", "--profile", "dev-sso"])).expect_success();
        assert_eq!(agent.fake.count(Operation::RegisterClient), registrations, "{round}");
        agent.fake.revoke_access_tokens(agent.session);
        agent.fake.revoke_refresh_tokens(agent.session);
        fs::remove_file(agent.home.token_file("corp")).unwrap();
        eventually("signed out", LIMIT, || {
            let refused = agent.ctl(&["credential-process", "--profile", "dev-sso"]);
            (refused.code() == NEEDS_LOGIN).then_some(())
        });
    }
    let names: Vec<PathBuf> = fs::read_dir(agent.home.sso_cache()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

/// Between two looks at the file there was one, and there is none again: it looks as it did before the login.
#[test]
fn a_token_that_is_removed_as_soon_as_it_is_there_is_a_logout() {
    let agent = signed_out();
    agent.fake.set_person(Person::Approves);
    let file = agent.home.token_file("corp");
    let remover = std::thread::spawn(move || crate::support::clock::within(LIMIT, || fs::remove_file(&file).ok()));
    // Whether it still learns of its success is left open.
    end(&agent, login(&agent, &["--device", "--profile", "dev-sso"]));
    assert!(remover.join().unwrap().is_some(), "there was a file");
    eventually("signed out", LIMIT, || {
        let refused = agent.ctl(&["credential-process", "--profile", "dev-sso"]);
        (refused.code() == NEEDS_LOGIN).then_some(())
    });
}

#[test]
fn a_turn_waits_for_a_login_made_elsewhere() {
    let agent = signed_out();
    let notify = agent.home.script("notify", "#!/bin/sh\necho \"$1: $2\" >> \"$HOME/notices\"\n");
    agent.write_settings(&format!("notify = [{:?}]\n", notify.display().to_string()));
    let notices = || fs::read_to_string(agent.home.path().join("notices")).unwrap_or_default();
    let mut command = agent.home.command(AGENTCTL);
    command.args(["export", "--wait", "60", "--profile", "dev-sso"]);
    let waiting = Running::start(command);
    eventually("it waits", LIMIT, || waiting.stderr().contains("waiting for a login").then_some(()));
    let told = "AWS: a login to corp is waited for: agentctl login --sso-session corp\n";
    eventually("a person is told", LIMIT, || (notices() == told).then_some(()));
    let line = agent.ctl(&["statusline", "--profile", "dev-sso"]).expect_success().stdout;
    assert_eq!(line, "aws dev-sso: login needed: agentctl login --profile dev-sso\n");
    let login = login(&agent, &["--device", "--profile", "dev-sso"]);
    let url = shown(&login);
    let code = &agent.fake.pending_logins()[0].code;
    let lines = agent.ctl(&["statusline", "--profile", "dev-sso"]).expect_success().stdout;
    assert!(lines.contains(&format!(", code {code}\n{url}\n")), "{lines}");
    let told = format!("{told}Sign in to AWS (corp): code {code}: {url}\n");
    eventually("and of the page, once each", LIMIT, || (notices() == told).then_some(()));
    let table = agent.ctl(&["status"]).expect_success().stdout;
    assert!(table.contains(&format!(", code {code}: ")), "{table}");
    agent.fake.answer_login(code, true);
    end(&agent, login).expect_success();
    let document: Value = serde_json::from_str(&waiting.finish(LIMIT).expect_success().stdout).unwrap();
    assert_eq!(document, agent.credentials("dev-sso"));
    assert_eq!(opened(&agent).len(), 1, "by the login, not by who waits");
    let line = agent.ctl(&["statusline", "--profile", "dev-sso"]).expect_success().stdout;
    assert!(line.starts_with("aws dev-sso: ") && line.ends_with(" left\n"), "{line}");
}

#[test]
fn the_config_says_how_and_a_newer_agent_waits_for_the_end() {
    let agent = signed_out();
    agent.write_settings("login_flow = \"device\"\n");
    let login = login(&agent, &["--profile", "dev-sso"]);
    assert!(shown(&login).contains("/device?user_code="), "{}", login.stderr());
    let client = aws_credential_agent::ipc::client::Client::new(agent.home.state_dir().join("agent.sock"));
    let succeed = || client.request("POST", "/v1/shutdown", &[], br#"{"successor":"999.0.0"}"#, LIMIT).unwrap().status;
    assert_eq!(succeed(), 409);
    agent.fake.answer_login(&agent.fake.pending_logins()[0].code, true);
    end(&agent, login).expect_success();
    assert_eq!(succeed(), 200);
}

#[test]
fn nobody_answers_in_ci() {
    let mut agent = signed_out();
    agent.home.set("CI", "true");
    let finished = agent.ctl(&["login", "--profile", "dev-sso"]);
    assert_eq!(finished.code(), NEEDS_LOGIN);
    assert!(finished.stderr.contains("nobody answers one in CI"), "{}", finished.stderr);
    assert!(opened(&agent).is_empty());
}

#[test]
#[ignore = "soak: three minutes, as long as Claude Code's hook lives"]
fn twenty_over_a_minute_and_clients_that_are_ended_are_one_address_and_one_opening() {
    let agent = signed_out();
    let began = crate::support::clock::instant();
    let until = |second| std::thread::sleep(Duration::from_secs(second).saturating_sub(began.elapsed()));
    let hook = || login(&agent, &["--device", "--profile", "dev-sso"]);
    let (killed, terminated) = (hook(), hook());
    let url = shown(&killed);
    until(5);
    drop(killed); // SIGKILL
    let mut joined = Vec::new();
    for second in 0..20 {
        until(5 + 3 * second);
        joined.push(hook());
    }
    until(170);
    terminated.terminate();
    terminated.finish(LIMIT);
    let next = hook();
    assert_eq!(shown(&next), url);
    assert!(joined.iter().all(|login| shown(login) == url));
    let code = &agent.fake.pending_logins()[0].code;
    assert!(agent.fake.answer_login(code, true));
    let codes: Vec<i32> = joined.into_iter().map(|login| end(&agent, login).code()).collect();
    assert!(codes.iter().all(|code| *code == 0), "{codes:?}");
    end(&agent, next).expect_success();
    assert_eq!((opened(&agent), agent.fake.count(Operation::StartDeviceAuthorization)), (vec![url], 1));
}

#[test]
#[ignore = "soak: ten minutes, as long as a browser is waited for"]
fn a_browser_that_never_comes_back_is_a_login_that_nobody_answered() {
    let agent = signed_out();
    let login = login(&agent, &["--pkce", "--profile", "dev-sso", "--timeout", "11m"]);
    let url = shown(&login);
    let finished = login.finish(Duration::from_secs(660));
    agent.note(&["login"], &finished);
    assert_eq!(finished.code(), NEEDS_LOGIN);
    assert!(finished.stderr.contains("was not answered in time"), "{}", finished.stderr);
    assert_eq!(agent.ctl(&["login", "--pkce", "--profile", "dev-sso"]).code(), LOGIN_PAUSED);
    assert_eq!(opened(&agent), [url]);
}
