//! Real clients on our agent: they accept what it prints, ask no more often than they must, and sign with what AWS
//! issued.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::agent::Agent;
use super::{ACCOUNT, ROLE, claude, clients, fake, signers};
use crate::support::clock::eventually;
use crate::support::fake_aws::{FakeAws, Fault, Operation};
use crate::support::home::TestHome;
use crate::support::process::run;

/// A fake, and a home signed in to it with profile `dev-sso`, whose `dev` is served by a running agent.
fn agent_home() -> (FakeAws, TestHome, Agent) {
    let (fake, session) = fake();
    let mut home = TestHome::with_sso_profile(&fake, session, ACCOUNT, ROLE);
    let agent = Agent::start(&mut home);
    home.add_process_profile("dev", &agent.command_line("credential-process --profile dev-sso"));
    (fake, home, agent)
}

/// The same with Claude Code's export hook at the agent.
fn claude_home() -> (FakeAws, TestHome, Agent) {
    let (fake, mut home, agent) = agent_home();
    claude::configure(&mut home, &fake, &agent.command_line("export --profile dev-sso"));
    (fake, home, agent)
}

/// One role credential was fetched, and with it all of `calls` were signed.
#[track_caller]
fn assert_one_key_signed(fake: &FakeAws, calls: usize) {
    assert_eq!(fake.role_calls(ACCOUNT, ROLE), 1);
    assert_eq!(signers(fake), vec![Some(fake.keys().remove(0).access_key_id); calls]);
}

#[test]
fn boto3_runs_agentctl_once_for_ten_calls() {
    let (fake, home, agent) = agent_home();
    let accounts = clients::json(run(clients::python(&home, "sts_calls.py", &["dev", "10"]), clients::LIMIT));
    assert_eq!(accounts, json!(vec![ACCOUNT; 10]));
    assert_eq!(agent.runs(), 1);
    assert_one_key_signed(&fake, 10);
    agent.assert_no_secret_leaked(&fake, &home);
}

#[test]
fn javascript_runs_agentctl_once_for_ten_calls() {
    let (fake, home, agent) = agent_home();
    let accounts = clients::json(run(clients::node(&home, "sts_calls.cjs", &["dev", "10"]), clients::LIMIT));
    assert_eq!(accounts, json!(vec![ACCOUNT; 10]));
    assert_eq!(agent.runs(), 1);
    assert_one_key_signed(&fake, 10);
    agent.assert_no_secret_leaked(&fake, &home);
}

#[test]
fn each_aws_cli_runs_agentctl_once() {
    let (fake, home, agent) = agent_home();
    for calls in 1..=10 {
        let command = clients::aws_cli(&home, &["sts", "get-caller-identity", "--profile", "dev", "--output", "json"]);
        assert_eq!(clients::json(run(command, clients::LIMIT))["Account"], ACCOUNT);
        assert_eq!(agent.runs(), calls);
    }
    assert_one_key_signed(&fake, 10);
    agent.assert_no_secret_leaked(&fake, &home);
}

#[test]
fn claude_code_answers_with_what_the_agent_exports() {
    let (fake, home, agent) = claude_home();
    let mut session = claude::Session::start(&home);
    for reply in ["one", "two", "three"] {
        fake.set_reply(reply);
        let turn = session.turn("hi");
        assert!(turn.ok && turn.text == reply, "{turn:?}\n{}", session.output());
    }
    agent.assert_no_secret_leaked(&fake, &home);
    session.end().expect_success();
    assert_eq!((agent.runs(), fake.role_calls(ACCOUNT, ROLE)), (1, 1), "{}", agent.said());
    let key = fake.keys().remove(0).access_key_id;
    let bedrock = fake.calls_of(Operation::InvokeModelStream);
    assert!(bedrock.len() >= 3 && bedrock.iter().all(|c| c.signed_by.as_ref() == Some(&key)), "{bedrock:#?}");
    agent.assert_no_secret_leaked(&fake, &home);
}

#[test]
fn six_claude_codes_at_once_cost_one_upstream_call() {
    let (fake, home, agent) = claude_home();
    for turn in claude::at_once(&home, 6) {
        assert_eq!(turn.expect_success().stdout.trim(), "pong");
    }
    assert_eq!((agent.runs(), fake.role_calls(ACCOUNT, ROLE)), (6, 1));
    assert_eq!(fake.count(Operation::CreateToken), 0);
    let consumers = agent.consumers();
    assert!(consumers.len() == 6 && !consumers.contains_key("nobody"), "each is told apart: {consumers:?}");
    agent.assert_no_secret_leaked(&fake, &home);
}

#[test]
fn the_hook_of_claude_code_starts_the_agent_which_outlives_it() {
    let (fake, session) = fake();
    let mut home = TestHome::with_sso_profile(&fake, session, ACCOUNT, ROLE);
    let agent = Agent::absent(&home);
    claude::configure(&mut home, &fake, &agent.command_line("export --profile dev-sso"));
    for turn in claude::at_once(&home, 2) {
        assert_eq!(turn.expect_success().stdout.trim(), "pong", "{}", agent.said());
    }
    assert_eq!(claude::one_turn(&home).expect_success().stdout.trim(), "pong");
    assert_eq!((agent.runs(), fake.role_calls(ACCOUNT, ROLE)), (3, 1), "{}\n{}", agent.said(), agent.log(&home));
    assert_eq!(agent.log(&home).matches(" serving ").count(), 1, "{}", agent.log(&home));
    agent.assert_no_secret_leaked(&fake, &home);
}

#[test]
fn a_storm_of_403_forces_one_renewal_per_key_not_one_per_hook_call() {
    let (fake, home, agent) = claude_home();
    let mut session = claude::Session::start(&home);
    assert!(session.turn("hi").ok, "{}", session.output());
    let storm = fake.inject(Fault::access_denied().on_bedrock());
    eventually("two forced renewals, each followed by many refusals", Duration::from_secs(120), || {
        assert!(!session.turn("hi").ok);
        (agent.runs() >= 12 && fake.role_calls(ACCOUNT, ROLE) >= 3).then_some(())
    });
    fake.clear(storm);
    assert!(session.turn("hi").ok, "{}", session.output());
    // The first fetch was for the first call; each later one was forced by a refused key.
    let fetches: Vec<_> = fake.calls_of(Operation::GetRoleCredentials).iter().map(|c| c.at).collect();
    let forced = fetches.len() - 1;
    let served: BTreeSet<_> = fake.calls().into_iter().filter_map(|c| c.claimed_key).collect();
    let context = format!("{} hook calls, {} keys served, fetches at {fetches:?}", agent.runs(), served.len());
    assert!((1..=served.len()).contains(&forced) && forced * 4 <= agent.runs(), "{context}");
    assert_eq!(agent.log(&home).matches("AWS refuses the key").count(), forced, "{context}\n{}", agent.log(&home));
    // Decided half a minute apart; the earlier one may have waited for the 2 s between any two calls.
    assert!(fetches[1..].windows(2).all(|pair| (pair[1] - pair[0]).num_seconds() >= 28), "{context}");
    let consumers = agent.consumers();
    assert_eq!(consumers.values().copied().collect::<Vec<_>>(), [agent.runs()], "one process: {consumers:?}");
    assert_eq!(fake.count(Operation::CreateToken), 0);
    agent.assert_no_secret_leaked(&fake, &home);
}
