//! The main job: ask, get, and never lapse.

use std::time::Duration;

use serde_json::Value;

use crate::agent::{ACCOUNT, Agent, LIMIT};
use crate::support::clock::{eventually, within};
use crate::support::fake_aws::{Fault, Operation, Rotation, SsoSession};
use crate::support::process::Running;

const NEEDS_LOGIN: i32 = 10;
const ACCESS_DENIED: i32 = 11;
const INTERCEPTED: i32 = 13;
const OFFLINE: i32 = 14;
const THROTTLED: i32 = 15;
const TRANSIENT: i32 = 17;

#[test]
fn the_first_call_starts_the_agent_and_the_second_asks_aws_nothing() {
    let agent = Agent::new();
    let first = agent.ctl(&["credential-process", "--profile", "dev-sso"]).expect_success();
    assert_eq!(first.stdout.lines().count(), 1, "one document and nothing else: {}", first.stdout);
    assert_eq!(first.stderr, "");
    let document: Value = serde_json::from_str(&first.stdout).unwrap();
    let issued = &agent.fake.keys()[0];
    assert_eq!(document["Version"], 1);
    for at in [&document, &document["Credentials"]] {
        assert_eq!(at["AccessKeyId"], issued.access_key_id);
        assert_eq!(at["SecretAccessKey"], issued.secret_access_key);
        assert_eq!(at["SessionToken"], issued.session_token);
        assert!(at["Expiration"].as_str().unwrap().ends_with('Z'));
    }
    let (tokens, roles) = (agent.tokens(), agent.roles());
    assert_eq!(roles, 1);
    assert_eq!(agent.credentials("dev-sso"), document);
    assert_eq!((agent.tokens(), agent.roles()), (tokens, roles), "the second call is answered from memory");
}

#[test]
fn everybody_at_once_is_one_call_for_each() {
    let agent = Agent::with(|s| s.rotation = Rotation::SingleUse);
    agent.expire_token();
    let clients: Vec<_> =
        (0..40).map(|_| Running::start(agent.command(&["credential-process", "--profile", "dev-sso"]))).collect();
    for client in clients {
        client.finish(LIMIT).expect_success();
    }
    assert_eq!((agent.tokens(), agent.roles()), (1, 1));
}

#[test]
fn renewal_comes_before_the_end_and_without_anybody_asking() {
    // 12 s of life, cut to a whole second at its end: the window opens at 5.5 to 6.6 s left, so fetches are 4.9 to 6.0 s
    // apart (and the wake-up).
    let agent = Agent::with(|s| {
        s.role_lifetime = Duration::from_secs(12);
        s.token_lifetime = Duration::from_secs(30);
        s.rotation = Rotation::SingleUse;
    });
    agent.write_settings("keep = [\"dev-sso\"]\n");
    agent.credentials("dev-sso");
    eventually("four fetches", LIMIT, || (agent.roles() >= 4).then_some(()));
    let times: Vec<_> = agent.fake.calls_of(Operation::GetRoleCredentials).iter().map(|c| c.at).collect();
    for pair in times.windows(2) {
        let apart = (pair[1] - pair[0]).num_milliseconds();
        assert!((4900..=6500).contains(&apart), "fetches {apart} ms apart");
    }
    assert!(agent.tokens() >= 2, "the token was renewed at once (its age unknown), and again in its window");
    assert_eq!(agent.profile("dev-sso")["state"], "valid");
}

#[test]
fn what_nobody_asks_for_any_more_is_not_renewed_for_ever() {
    let agent = Agent::with(|s| s.role_lifetime = Duration::from_secs(12));
    agent.credentials("dev-sso");
    eventually("it is not kept any more and has ended", LIMIT, || {
        (agent.profile("dev-sso")["state"] == "idle").then_some(())
    });
    assert_eq!(agent.profile("dev-sso")["kept"], "no");
    // Asked for at 0 s, kept for the 12 s that the first credentials lived: renewed at about 5.5 s and 11 s.
    assert!((2..=3).contains(&agent.roles()), "{} fetches", agent.roles());
}

#[test]
fn an_outage_is_survived_to_the_end_and_told_apart_after_it() {
    let agent = Agent::with(|s| s.role_lifetime = Duration::from_secs(12));
    // So short a life is otherwise kept for 12 s after the last demand only, and the next try may be further away.
    agent.write_settings("keep = [\"dev-sso\"]\n");
    let before = agent.credentials("dev-sso");
    agent.fake.stop();
    eventually("a failed renewal shows", LIMIT, || (agent.profile("dev-sso")["state"] == "failing").then_some(()));
    let during = agent.ctl(&["credential-process", "--profile", "dev-sso"]).expect_success();
    assert!(during.stdout.contains(before["AccessKeyId"].as_str().unwrap()), "the living key is served");
    let after = eventually("the key ends", LIMIT, || {
        let answer = agent.ctl(&["credential-process", "--profile", "dev-sso"]);
        (!answer.status.success()).then_some(answer)
    });
    assert!([OFFLINE, TRANSIENT].contains(&after.code()), "{}: {}", after.code(), after.stderr);
    assert_eq!((after.stdout.as_str(), after.stderr.lines().count()), ("", 1));
    agent.fake.restart();
    eventually("fresh again by itself", LIMIT, || (agent.profile("dev-sso")["state"] == "valid").then_some(()));
    agent.credentials("dev-sso");
}

#[test]
fn throttling_is_one_shared_pause() {
    let agent = Agent::with(|s| *s = s.clone().allow(ACCOUNT, "Second"));
    agent.home.add_sso_profile("second", "corp", ACCOUNT, "Second");
    agent.fake.inject(Fault::too_many_requests(4).on(Operation::GetRoleCredentials).times(1));
    let first = agent.ctl(&["credential-process", "--profile", "dev-sso"]);
    assert_eq!(first.code(), THROTTLED, "{}", first.stderr);
    let other = agent.ctl(&["credential-process", "--profile", "second"]);
    assert_eq!(other.code(), THROTTLED, "the other profile shares the portal: {}", other.stderr);
    assert_eq!(agent.roles(), 1, "and did not ask it");
    eventually("both served after the pause", LIMIT, || {
        let both = ["dev-sso", "second"].map(|p| agent.ctl(&["credential-process", "--profile", p]).status.success());
        (both == [true, true]).then_some(())
    });
}

#[test]
fn a_refused_refresh_token_is_sent_once_and_the_role_lives_to_its_end() {
    // A token with less than 20 minutes left is renewed at once, beside serving.
    let agent = Agent::with(|s| {
        s.role_lifetime = Duration::from_secs(14);
        s.token_lifetime = Duration::from_secs(15 * 60);
    });
    agent.fake.revoke_refresh_tokens(agent.session);
    let document = agent.credentials("dev-sso");
    eventually("the refusal shows", LIMIT, || {
        let status = agent.status();
        let class = status["sessions"][0]["last_failure"]["class"].clone();
        (class == "needs-login").then_some(())
    });
    assert!(agent.credentials("dev-sso")["AccessKeyId"].is_string());
    agent.fake.revoke_access_tokens(agent.session);
    let refused = eventually("the role ends", LIMIT, || {
        let answer = agent.ctl(&["credential-process", "--profile", "dev-sso"]);
        (!answer.status.success()).then_some(answer)
    });
    assert_eq!(refused.code(), NEEDS_LOGIN, "{}", refused.stderr);
    assert!(refused.stderr.contains("agentctl login --profile dev-sso"), "{}", refused.stderr);
    agent.ctl(&["refresh", "--profile", "dev-sso"]);
    agent.ctl(&["daemon", "restart"]);
    agent.ctl(&["credential-process", "--profile", "dev-sso"]);
    let refusals = agent.fake.calls_of(Operation::CreateToken);
    assert_eq!(refusals.len(), 1, "never sent again, not after a restart either: {document}");
}

#[test]
fn a_stripped_bearer_header_never_means_needs_login() {
    let agent = Agent::new();
    agent.fake.inject(Fault::strip_bearer());
    for _ in 0..3 {
        let answer = agent.ctl(&["credential-process", "--profile", "dev-sso"]);
        assert_eq!(answer.code(), INTERCEPTED, "{}", answer.stderr);
    }
    let tokens = agent.tokens();
    assert!(tokens <= 2, "the token is not rotated at each try: {tokens}");
}

#[test]
fn a_denied_role_is_denied_and_not_asked_for_again_soon() {
    let agent = Agent::new();
    agent.home.add_sso_profile("other", "corp", ACCOUNT, "Administrator");
    for _ in 0..3 {
        let answer = agent.ctl(&["credential-process", "--profile", "other"]);
        assert_eq!(answer.code(), ACCESS_DENIED, "{}", answer.stderr);
    }
    assert_eq!(agent.fake.role_calls(ACCOUNT, "Administrator"), 1);
    agent.credentials("dev-sso");
}

#[test]
fn two_worlds_share_a_daemon_and_nothing_else() {
    let agent = Agent::new();
    let other = agent.fake.add_session(SsoSession::new("corp").allow("999988887777", "Auditor"));
    let mut home = crate::support::home::TestHome::with_sso_profile(&agent.fake, other, "999988887777", "Auditor");
    home.set("AGENTCTL_STATE_DIR", agent.home.state_dir());
    agent.credentials("dev-sso");
    let mut elsewhere = home.command(crate::agent::AGENTCTL);
    elsewhere.args(["credential-process", "--profile", "dev-sso", "--no-autostart"]);
    let answer = Running::start(elsewhere).finish(LIMIT).expect_success();
    let theirs: Value = serde_json::from_str(&answer.stdout).unwrap();
    let keys = agent.fake.keys();
    let account_of = |document: &Value| {
        let id = document["AccessKeyId"].as_str().unwrap();
        keys.iter().find(|k| k.access_key_id == id).map(|k| k.account.clone()).unwrap()
    };
    assert_eq!(account_of(&theirs), "999988887777");
    assert_eq!(account_of(&agent.credentials("dev-sso")), ACCOUNT);
}

#[test]
fn a_changed_config_needs_no_restart() {
    let agent = Agent::with(|s| *s = s.clone().allow(ACCOUNT, "Second"));
    let first = agent.credentials("dev-sso");
    agent.home.add_sso_profile("late", "corp", ACCOUNT, "Second");
    agent.credentials("late");
    assert_eq!(agent.credentials("dev-sso"), first, "what did not change was not reset");
    std::fs::write(agent.home.aws_config(), "[profile dev-sso\nbroken").unwrap();
    assert_eq!(agent.credentials("dev-sso"), first, "the last good config stays");
    let findings = agent.status()["findings"].to_string();
    assert!(findings.contains("config-invalid"), "{findings}");
}

#[test]
fn a_login_of_another_tool_is_picked_up_by_the_next_call() {
    let agent = Agent::new();
    std::fs::remove_file(agent.home.token_file("corp")).unwrap();
    let before = agent.ctl(&["credential-process", "--profile", "dev-sso"]);
    assert_eq!(before.code(), NEEDS_LOGIN, "{}", before.stderr);
    let token = agent.fake.sign_in(agent.session);
    agent.home.seed_token("corp", &token);
    agent.credentials("dev-sso");
}

#[test]
fn pause_stops_renewing_and_resume_goes_on() {
    let agent = Agent::with(|s| s.role_lifetime = Duration::from_secs(12));
    agent.credentials("dev-sso");
    agent.ctl(&["pause", "--for", "1h"]).expect_success();
    let roles = agent.roles();
    assert!(within(Duration::from_secs(8), || (agent.roles() > roles).then_some(())).is_none(), "it went on");
    agent.ctl(&["daemon", "restart"]).expect_success();
    assert!(agent.status()["paused"].is_object(), "a restart does not end it");
    agent.ctl(&["resume"]).expect_success();
    agent.ctl(&["credential-process", "--profile", "dev-sso"]).expect_success();
    eventually("renewed", LIMIT, || (agent.roles() > roles).then_some(()));
}

#[test]
fn refresh_renews_now_and_says_so_by_its_exit_code() {
    let agent = Agent::new();
    let before = agent.credentials("dev-sso");
    eventually("the spacing has passed and the key is another", LIMIT, || {
        agent.ctl(&["refresh", "--profile", "dev-sso"]).expect_success();
        (agent.credentials("dev-sso") != before).then_some(())
    });
    agent.fake.stop();
    let failed = eventually("a refresh that cannot be", LIMIT, || {
        let answer = agent.ctl(&["refresh", "--profile", "dev-sso"]);
        (!answer.status.success()).then_some(answer)
    });
    assert!([OFFLINE, TRANSIENT].contains(&failed.code()), "{}", failed.stderr);
    assert!(failed.stderr.contains("lives until"), "{}", failed.stderr);
    agent.credentials("dev-sso");
}

#[test]
fn keep_needs_no_client() {
    let agent = Agent::new();
    agent.write_settings("keep = [\"dev-sso\"]\n");
    let _daemon = agent.start_daemon();
    eventually("fetched without a demand", LIMIT, || (agent.roles() == 1).then_some(()));
    assert_eq!(agent.profile("dev-sso")["kept"], "always");
}
