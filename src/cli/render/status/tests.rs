//! Transcripts of `agentctl status`.

use std::time::Duration;

use chrono::NaiveDateTime;

use super::*;
use crate::api::v1::AgentStatus;
use crate::core::failure::{Failure, FailureClass};
use crate::core::status::Setting;
use crate::core::status::{FailureStatus, Finding, NextStep, Pause};
use crate::core::time::Timestamp;

/// 2020-06-17T10:02:08Z, a Wednesday.
const NOW: Timestamp = Timestamp::from_secs(1_592_388_128);

fn after(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

fn step(what: &str, seconds: u64) -> Option<NextStep> {
    Some(NextStep { at: after(seconds), what: what.to_owned() })
}

pub(in super::super) fn local(at: Timestamp) -> NaiveDateTime {
    at.to_utc().naive_utc()
}

pub(in super::super) fn view(width: Option<usize>) -> View<'static> {
    View { now: NOW, width, colour: false, local: None }
}

fn on_terminal(width: usize) -> View<'static> {
    View { local: Some(&local), ..view(Some(width)) }
}

pub(in super::super) fn profile(name: &str, life: u64) -> ProfileStatus {
    ProfileStatus {
        name: name.to_owned(),
        config_file: None,
        state: State::Valid,
        source: None,
        session: Some("corp".to_owned()),
        key_suffix: Some("MPLE".to_owned()),
        expires_at: Some(after(life)),
        lifetime_seconds: Some(3600),
        refresh_at: Some(after(life - 300)),
        next: step("renew", life - 300),
        kept: Kept::RecentlyUsed,
        last_failure: None,
        why: Vec::new(),
    }
}

fn failure_status(class: FailureClass, message: &str, fix: &str, count: u32) -> Option<FailureStatus> {
    let at = NOW.minus(Duration::from_secs(12));
    Some(FailureStatus { failure: Failure::new(class, message, fix), at, count })
}

pub(in super::super) fn failing(name: &str) -> ProfileStatus {
    let message = "portal.sso.eu-west-1.amazonaws.com answered 503";
    ProfileStatus {
        state: State::Failing,
        next: step("retry", 25),
        last_failure: failure_status(FailureClass::Transient, message, "nothing to do; it is tried again", 3),
        ..profile(name, 480)
    }
}

fn needs_login(name: &str) -> ProfileStatus {
    ProfileStatus {
        state: State::Failed,
        expires_at: None,
        next: None,
        kept: Kept::No,
        last_failure: failure_status(
            FailureClass::NeedsLogin,
            "the sso-session 'corp' has ended: AWS refused its refresh token",
            &format!("agentctl login --profile {name}"),
            1,
        ),
        ..profile(name, 480)
    }
}

fn session(id: &str) -> SessionStatus {
    SessionStatus {
        id: id.to_owned(),
        config_file: None,
        start_url: "https://corp.awsapps.com/start".to_owned(),
        region: "eu-west-1".to_owned(),
        state: State::Valid,
        expires_at: Some(after(25_920)),
        renewable: true,
        next: step("renew", 24_700),
        last_failure: None,
        login: None,
        login_pause: None,
        profiles: vec!["dev".to_owned()],
    }
}

pub(in super::super) fn snapshot(profiles: Vec<ProfileStatus>) -> StatusDocument {
    StatusDocument {
        status: Status {
            schema: 1,
            revision: 7,
            now: NOW,
            clock_offset_ms: Some(200),
            paused: None,
            sessions: if profiles.is_empty() { Vec::new() } else { vec![session("corp")] },
            profiles,
            findings: Vec::new(),
        },
        agent: AgentStatus {
            version: "0.1.0".to_owned(),
            pid: 4242,
            started_at: NOW.minus(Duration::from_secs(11_520)),
            config_file: String::new(),
            network: Vec::new(),
        },
    }
}

fn sloppy(text: &str, columns: usize) {
    for line in text.lines() {
        assert!(width(line) <= columns, "{columns}: {line}");
        assert_eq!(line, line.trim_end());
    }
}

#[test]
fn empty_says_what_to_do_first() {
    let text = "\
agentd 0.1.0, pid 4242, up 3 h 12 min

nothing is kept yet: a profile appears here once it was asked for
try: agentctl refresh --profile NAME
";
    assert_eq!(render(&snapshot(vec![]), &view(None)), text);
    assert_eq!(render(&snapshot(vec![]), &on_terminal(80)), text);
}

#[test]
fn healthy_in_a_pipe() {
    let text = render(&snapshot(vec![profile("dev", 2_520), profile("production", 3_600)]), &view(None));
    assert_eq!(
        text,
        "\
agentd 0.1.0, pid 4242, up 3 h 12 min

PROFILE     STATE  ENDS           NEXT
dev         valid  in 42 min      renew in 37 min
production  valid  in 1 h         renew in 55 min

SESSION     STATE  ENDS           NEXT
corp        valid  in 7 h 12 min  renew in 6 h 51 min
"
    );
}

#[test]
fn healthy_on_80_columns_shows_the_clock() {
    let text = render(&snapshot(vec![profile("dev", 2_520), profile("production", 3_600)]), &on_terminal(80));
    assert_eq!(
        text,
        "\
agentd 0.1.0, pid 4242, up 3 h 12 min

PROFILE     STATE  ENDS                   NEXT
dev         valid  in 42 min (10:44)      renew in 37 min (10:39)
production  valid  in 1 h (11:02)         renew in 55 min (10:57)

SESSION     STATE  ENDS                   NEXT
corp        valid  in 7 h 12 min (17:14)  renew in 6 h 51 min (16:53)
"
    );
    sloppy(&text, 80);
    // The README's picture.
    let readme = include_str!("../../../../README.md");
    for line in text.lines().skip(2).filter(|line| !line.is_empty()) {
        assert!(readme.contains(&format!("\n    {line}\n")), "not in the README: {line}");
    }
}

#[test]
fn failing_and_needs_login_tell_cause_and_fix() {
    let text = render(&snapshot(vec![failing("dev"), needs_login("ops")]), &on_terminal(80));
    assert_eq!(
        text,
        "\
agentd 0.1.0, pid 4242, up 3 h 12 min

PROFILE  STATE        ENDS                   NEXT
dev      failing      in 8 min (10:10)       retry in 25 s (10:02)
    transient, 3 times, 12 s ago: portal.sso.eu-west-1.amazonaws.com answered
      503
    fix: nothing to do; it is tried again
ops      needs login  -                      when asked
    needs-login, 12 s ago: the sso-session 'corp' has ended: AWS refused its
      refresh token
    fix: agentctl login --profile ops

SESSION  STATE        ENDS                   NEXT
corp     valid        in 7 h 12 min (17:14)  renew in 6 h 51 min (16:53)
"
    );
    sloppy(&text, 80);
}

#[test]
fn forty_columns_become_blocks() {
    let text = render(&snapshot(vec![failing("dev"), needs_login("ops")]), &on_terminal(40));
    assert_eq!(
        text,
        "\
agentd 0.1.0, pid 4242, up 3 h 12 min

PROFILE
dev
  failing, ends in 8 min (10:10), retry
  in 25 s (10:02)
    transient, 3 times, 12 s ago:
      portal.sso.eu-west-1.amazonaws.com
      answered 503
    fix: nothing to do; it is tried
         again
ops
  needs login, when asked
    needs-login, 12 s ago: the
      sso-session 'corp' has ended: AWS
      refused its refresh token
    fix: agentctl login --profile ops

SESSION
corp
  valid, ends in 7 h 12 min (17:14),
  renew in 6 h 51 min (16:53)
"
    );
    sloppy(&text, 40);
}

#[test]
fn a_long_name_first_costs_the_clock_then_the_table_and_never_itself() {
    let name = "AdministratorAccess-111122223333-team";
    let document = snapshot(vec![profile(name, 2_520)]);
    let line = |columns| render(&document, &on_terminal(columns)).lines().nth(3).unwrap().to_owned();
    assert_eq!(line(110), format!("{name}  valid  in 42 min (10:44)      renew in 37 min (10:39)"));
    assert_eq!(line(95), format!("{name}  valid  in 42 min (10:44)      renew in 37 min"));
    assert_eq!(line(80), format!("{name}  valid  in 42 min      renew in 37 min"));
    assert_eq!(line(60), name);
}

#[test]
fn wide_names_keep_the_columns_in_line() {
    let text = render(&snapshot(vec![profile("開発", 2_520), profile("dé\u{301}v", 2_520)]), &view(None));
    let starts: Vec<usize> = text.lines().filter_map(|l| l.find("valid").map(|i| width(&l[..i]))).collect();
    assert_eq!(starts, [9, 9, 9]);
}

#[test]
fn pause_clock_findings_and_network_have_their_lines() {
    let mut document = snapshot(vec![ProfileStatus { next: None, ..profile("dev", 2_520) }]);
    document.status.paused = Some(Pause { until: Some(after(18_000)) });
    document.status.clock_offset_ms = Some(303_000);
    document.status.sessions[0].renewable = false;
    document.status.findings = vec![Finding {
        name: "config-invalid".to_owned(),
        message: "the config file cannot be read; the last good one is used".to_owned(),
        fix: "see line 7 of ~/.aws/config".to_owned(),
    }];
    document.agent.network = vec![Setting {
        name: "HTTPS_PROXY".to_owned(),
        value: "http://proxy:8080".to_owned(),
        origin: "environment".to_owned(),
    }];
    let text = render(&document, &view(None));
    assert_eq!(
        text,
        "\
agentd 0.1.0, pid 4242, up 3 h 12 min
paused for another 4 h 54 min: nothing is renewed; to end it: agentctl resume
this machine's clock is 5 min 3 s behind AWS's; switch on its time synchronization

PROFILE  STATE  ENDS          NEXT
dev      valid  in 36 min     -

SESSION  STATE  ENDS          NEXT
corp     valid  in 7 h 6 min  renew in 6 h 46 min
    cannot be renewed: a login is needed when it ends

config-invalid: the config file cannot be read; the last good one is used
    fix: see line 7 of ~/.aws/config

network settings in force
    HTTPS_PROXY=http://proxy:8080 (environment)
"
    );
    document.status.paused = Some(Pause { until: None });
    let text = render(&document, &view(None));
    assert!(text.contains("\npaused: nothing is renewed; to end it: agentctl resume\n"), "{text}");
    sloppy(&render(&document, &on_terminal(80)), 80);
    sloppy(&render(&document, &on_terminal(40)), 40);
}

#[test]
fn the_clock_on_the_wall_is_this_machines() {
    let mut document = snapshot(vec![profile("dev", 2_520)]);
    document.status.clock_offset_ms = Some(-600_000);
    let text = render(&document, &on_terminal(100));
    assert!(text.contains("ahead of AWS's"), "{text}");
    assert!(text.contains("dev      valid  in 52 min (10:54)"), "{text}");
}

#[test]
fn a_session_failure_is_told_once() {
    let mut document = snapshot(vec![needs_login("ops")]);
    document.status.sessions[0].last_failure = document.status.profiles[0].last_failure.clone();
    document.status.sessions[0].state = State::Failed;
    let text = render(&document, &view(None));
    assert_eq!(text.matches("AWS refused its refresh token").count(), 1);
    assert_eq!(text.matches("needs login").count(), 2);
    document.status.profiles[0].last_failure = None;
    assert_eq!(render(&document, &view(None)).matches("AWS refused its refresh token").count(), 1);
}

#[test]
fn each_state_has_its_word_and_colours_only_when_wanted() {
    let states = [State::Valid, State::Failing, State::Idle, State::Fetching, State::Failed, State::Unusable];
    let document = snapshot(states.map(|state| ProfileStatus { state, ..profile("p", 900) }).into());
    let plain = render(&document, &view(None));
    for word in ["valid", "failing", "idle", "fetching", "failed", "unusable"] {
        assert!(plain.contains(&format!("p        {word}")), "{plain}");
    }
    assert!(!plain.contains('\x1b'));
    let coloured = render(&document, &View { colour: true, ..view(None) });
    let stripped = ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m"]
        .iter()
        .fold(coloured.clone(), |text, code| text.replace(code, ""));
    assert_ne!(coloured, plain);
    assert_eq!(stripped, plain);
}

#[test]
fn nothing_of_a_config_file_steers_the_terminal() {
    let text = render(&snapshot(vec![profile("a\u{1b}[2Jb", 900)]), &view(None));
    assert!(text.contains("a?[2Jb") && !text.contains('\x1b'));
}

#[test]
fn what_has_ended_says_so() {
    let ended = ProfileStatus {
        state: State::Idle,
        expires_at: Some(NOW.minus(Duration::from_secs(180))),
        next: None,
        kept: Kept::No,
        ..profile("dev", 900)
    };
    let text = render(&snapshot(vec![ended]), &view(None));
    assert!(text.contains("dev      idle   ended 3 min ago  when asked\n"), "{text}");
}

#[test]
fn an_outage_that_hits_all_is_told_once() {
    let document = snapshot(vec![failing("dev"), failing("ops"), profile("qa", 480)]);
    let text = render(&document, &view(None));
    assert_eq!(text.matches("fix: nothing to do").count(), 1, "{text}");
    assert!(text.contains("\n    transient, as dev\n"), "{text}");
}

#[test]
fn while_paused_nothing_is_promised() {
    let mut document = snapshot(vec![profile("dev", 2520)]);
    document.status.paused = Some(Pause { until: None });
    let text = render(&document, &view(None));
    assert!(text.contains("dev      valid  in 42 min      paused\n"), "{text}");
    document.status.paused = Some(Pause { until: Some(after(60)) });
    let text = render(&document, &view(None));
    assert!(text.contains("dev      valid  in 42 min      renew in 37 min\n"), "renewed after the pause: {text}");
}

#[test]
fn network_settings_of_one_value_share_a_line() {
    let mut document = snapshot(vec![]);
    let set = |name: &str| Setting { name: name.into(), value: "/ca.pem".into(), origin: "environment".into() };
    document.agent.network = vec![set("AWS_CA_BUNDLE"), set("SSL_CERT_FILE")];
    let text = render(&document, &view(None));
    assert!(text.ends_with("\n    AWS_CA_BUNDLE, SSL_CERT_FILE=/ca.pem (environment)\n"), "{text}");
}
