//! What companies' and hotels' networks do to a call, on every path: each has its class, its line and its limit of time;
//! none is ever taken for a session that has ended, opens a browser, or touches the token file.

use std::fs;
use std::time::Duration;

use aws_credential_agent::platform::clock::Clock;

use crate::behind::Behind;
use crate::support::fake_aws::Person;
use crate::support::process::Finished;
use crate::support::proxy::{Behaviour, Leaf, Stage};

const OK: i32 = 0;
const INTERCEPTED: i32 = 13;
const TRANSIENT: i32 = 17;
const LOGIN_PAUSED: i32 = 18;

/// A row of the table: a fault, and the exit code and a part of the line of a call that meets it.
struct Row {
    name: &'static str,
    fault: Behaviour,
    code: i32,
    line: &'static str,
    /// The same for a login that is tried again after a pause, where it is not a pause for the same cause.
    tried_again: Option<(i32, &'static str)>,
}

fn row(name: &'static str, fault: Behaviour, code: i32, line: &'static str) -> Row {
    Row { name, fault, code, line, tried_again: None }
}

fn asks(scheme: &str) -> Behaviour {
    Behaviour::AskCredentials { schemes: vec![scheme.to_owned()], accepts: None }
}

fn strip(request: &[&str], response: &[&str]) -> Behaviour {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Behaviour::Strip { request: owned(request), response: owned(response) }
}

#[rustfmt::skip]
fn table() -> Vec<Row> {
    let broke = "connection to";
    let late = "no answer from";
    let probed_broke = Some((LOGIN_PAUSED, "connection to"));
    vec![
        row("407 Basic", asks("Basic realm=\"corp\""), INTERCEPTED, "the proxy asks for credentials before it lets us reach"),
        row("407 NTLM", asks("NTLM"), INTERCEPTED, "the proxy asks for NTLM before it lets us reach"),
        row("CONNECT 403", Behaviour::Refuse(403), INTERCEPTED, "the proxy refuses a connection to"),
        row("CONNECT 502", Behaviour::Refuse(502), INTERCEPTED, "the proxy does not reach"),
        row("HTML 200", Behaviour::page(200), INTERCEPTED, "a web page came instead of"),
        row("HTML 403", Behaviour::page(403), INTERCEPTED, "a web page came instead of"),
        row("redirect", Behaviour::redirect("https://portal.hotel.example/in"), INTERCEPTED, "was redirected to portal.hotel.example"),
        row("511", Behaviour::network_sign_in(), INTERCEPTED, "the network asks for a sign-in before"),
        row("AWS's headers stripped", strip(&[], &["x-amzn-*", "x-amz-*"]), OK, ""),
        Row { tried_again: Some((TRANSIENT, "incomplete document")), ..row("JSON cut", Behaviour::Cut, TRANSIENT, "incomplete document") },
        Row { tried_again: Some((TRANSIENT, "incomplete document")), ..row("JSON mangled", Behaviour::Mangle, TRANSIENT, "incomplete document") },
        Row { tried_again: probed_broke, ..row("reset at once", Behaviour::Reset(Stage::Accept), TRANSIENT, broke) },
        Row { tried_again: probed_broke, ..row("reset after CONNECT", Behaviour::Reset(Stage::Connect), TRANSIENT, broke) },
        Row { tried_again: probed_broke, ..row("reset in TLS", Behaviour::Reset(Stage::Handshake), TRANSIENT, broke) },
        Row { tried_again: probed_broke, ..row("reset after the request", Behaviour::Reset(Stage::Request), TRANSIENT, broke) },
        Row { tried_again: Some((TRANSIENT, "")), ..row("reset in the answer", Behaviour::Reset(Stage::Answer), TRANSIENT, "") },
        row("silence at once", Behaviour::BlackHole(Stage::Accept), TRANSIENT, late),
        row("silence after CONNECT", Behaviour::BlackHole(Stage::Connect), TRANSIENT, late),
        row("silence in TLS", Behaviour::BlackHole(Stage::Handshake), TRANSIENT, late),
        row("silence after the request", Behaviour::BlackHole(Stage::Request), TRANSIENT, late),
        row("slow drip", Behaviour::Drip, TRANSIENT, late),
        row("wrong host name", Behaviour::Leaf(Leaf::OtherHost), INTERCEPTED, "presents a certificate by 'Zscaler Root CA' for another host"),
        row("expired", Behaviour::Leaf(Leaf::Expired), INTERCEPTED, "that is not valid at this machine's time"),
        row("not yet valid", Behaviour::Leaf(Leaf::NotYetValid), INTERCEPTED, "that is not valid at this machine's time"),
        row("not trusted", Behaviour::Leaf(Leaf::SelfSigned), INTERCEPTED, "which is not trusted here"),
        row("an authority itself", Behaviour::Leaf(Leaf::AuthorityItself), INTERCEPTED, "which is an authority's own"),
    ]
}

/// Runs every row, some at a time, and tells all that differ.
fn each_row(run: impl Fn(&Row) -> Result<(), String> + Sync) {
    let table = table();
    let mut wrong = Vec::new();
    for rows in table.chunks(9) {
        std::thread::scope(|scope| {
            let runs: Vec<_> = rows.iter().map(|row| (row.name, scope.spawn(|| run(row)))).collect();
            for (name, run) in runs {
                match run.join() {
                    Ok(Ok(())) => {}
                    Ok(Err(why)) => wrong.push(format!("{name}: {why}")),
                    Err(_) => wrong.push(format!("{name}: panicked")),
                }
            }
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Holds an end against what is expected of it.
fn judge(behind: &Behind, end: &Finished, code: i32, line: &str) -> Result<(), String> {
    if end.code() != code || !end.stderr.contains(line) {
        return Err(format!("exit {} instead of {code}: {}", end.code(), end.stderr));
    }
    if code != OK && end.stderr.lines().count() != 1 {
        return Err(format!("more than one line: {}", end.stderr));
    }
    if code != OK && behind.openings() != 0 {
        return Err("a browser was opened".to_owned());
    }
    Ok(())
}

/// Runs agentctl, within the client's own limit and some time for a busy machine.
fn timed(behind: &Behind, arguments: &[&str]) -> Result<Finished, String> {
    let began = Clock.tick();
    let end = behind.agent.ctl(arguments);
    let took = Clock.tick().since(began);
    if took < Duration::from_secs(30) { Ok(end) } else { Err(format!("took {took:?}")) }
}

fn token_file(behind: &Behind) -> Vec<u8> {
    fs::read(behind.agent.home.token_file("corp")).unwrap_or_default()
}

/// Credentials are asked for, and the file is as it was.
fn asked(behind: &Behind, row: &Row) -> Result<(), String> {
    let before = token_file(behind);
    behind.proxy.set(row.fault.clone());
    let end = timed(behind, &["credential-process", "--profile", "dev-sso"])?;
    judge(behind, &end, row.code, row.line)?;
    if row.code != OK && token_file(behind) != before {
        return Err("the token file was touched".to_owned());
    }
    Ok(())
}

#[test]
fn role_credentials() {
    each_row(|row| asked(&Behind::new().trusted(), row));
}

#[test]
fn a_token_is_renewed() {
    each_row(|row| {
        let behind = Behind::new().trusted();
        behind.agent.expire_token();
        asked(&behind, row)
    });
}

#[test]
fn a_login() {
    each_row(|row| {
        let behind = Behind::new().trusted();
        behind.sign_out();
        behind.agent.fake.set_person(Person::Approves);
        behind.proxy.set(row.fault.clone());
        let end = timed(&behind, &["login", "--device", "--profile", "dev-sso"])?;
        judge(&behind, &end, row.code, row.line)
    });
}

#[test]
fn a_login_that_is_tried_again_after_a_pause() {
    each_row(|row| {
        let behind = Behind::new().trusted();
        behind.sign_out();
        behind.agent.fake.set_person(Person::Approves);
        behind.proxy.set(Behaviour::Leaf(Leaf::SelfSigned));
        let login = || timed(&behind, &["login", "--device", "--profile", "dev-sso"]);
        judge(&behind, &login()?, INTERCEPTED, "not trusted here")?;
        judge(&behind, &login()?, LOGIN_PAUSED, "is paused until")?;
        behind.agent.ctl(&["reset", "--profile", "dev-sso"]).expect_success();
        behind.proxy.set(row.fault.clone());
        let paused = if row.code == OK { OK } else { LOGIN_PAUSED };
        let (code, line) = row.tried_again.unwrap_or((paused, row.line));
        judge(&behind, &login()?, code, line)
    });
}

/// Companies lock accounts after a few wrong passwords.
#[test]
fn a_proxys_password_that_is_wrong_is_sent_once() {
    let mut behind = Behind::new().trusted();
    let schemes = vec!["Basic realm=\"corp\"".to_owned()];
    behind.proxy.set(Behaviour::AskCredentials { schemes, accepts: Some("Basic dXNlcjpnb29k".to_owned()) });
    let url = |password: &str| behind.proxy.url().replace("http://", &format!("http://user:{password}@"));
    let (wrong, right) = (url("wrong"), url("good"));
    let set = |behind: &mut Behind, url: &str| {
        ["HTTPS_PROXY", "https_proxy"].iter().for_each(|name| behind.agent.home.set(name, url));
    };
    set(&mut behind, &wrong);
    behind.agent.expire_token();
    for arguments in [&["credential-process"][..], &["refresh"], &["login"], &["refresh"], &["credential-process"]] {
        let end = behind.agent.ctl(&[arguments, &["--profile", "dev-sso"]].concat());
        assert_eq!(end.code(), INTERCEPTED, "{}", end.stderr);
        assert!(end.stderr.contains("refuses the user and password that we have for it"), "{}", end.stderr);
    }
    let sent = behind.proxy.seen().iter().filter(|c| c.proxy_authorization.is_some()).count();
    assert_eq!(sent, 1);
    set(&mut behind, &right);
    behind.agent.ctl(&["daemon", "restart"]).expect_success();
    behind.agent.credentials("dev-sso");
}

/// The bearer header is stripped on the way: AWS says 401 to a token that is good. A login brings a token that works no
/// better; nobody is told that the session has ended.
#[test]
fn a_bearer_header_that_is_stripped() {
    let stripped = || {
        let behind = Behind::new().trusted();
        behind.agent.fake.set_person(Person::Approves);
        behind.proxy.set(strip(&["x-amz-sso_bearer_token"], &[]));
        behind
    };
    let behind = stripped();
    let ask = |behind: &Behind| behind.agent.ctl(&["credential-process", "--profile", "dev-sso"]);
    let end = ask(&behind);
    assert_eq!(end.code(), INTERCEPTED, "{}", end.stderr);
    assert!(end.stderr.contains("the bearer header"), "{}", end.stderr);
    behind.agent.expire_token();
    assert_eq!(ask(&behind).code(), INTERCEPTED);
    assert_eq!(behind.agent.ctl(&["login", "--profile", "dev-sso"]).code(), INTERCEPTED, "nor does it open anything");
    assert_eq!(behind.openings(), 0);

    let behind = stripped();
    behind.sign_out();
    for n in 1..=2 {
        let end = behind.agent.ctl(&["login", "--device", "--sso-session", "corp"]);
        assert_eq!(end.code(), INTERCEPTED, "{}", end.stderr);
        assert!(end.stderr.contains("refuses a token that AWS has just issued"), "{}", end.stderr);
        assert_eq!(behind.openings(), n);
        behind.agent.ctl(&["logout", "--sso-session", "corp"]);
    }
    assert_eq!(behind.agent.ctl(&["login", "--device", "--sso-session", "corp"]).code(), LOGIN_PAUSED);
    assert_eq!(behind.openings(), 2);
}
