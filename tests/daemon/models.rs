//! `agentctl models`: what the account may use, however much that is.

use std::time::Duration;

use serde_json::Value;

use crate::agent::Agent;
use crate::support::fake_aws::{Fault, MODEL, Offered, Operation};
use crate::support::process::Finished;

fn models(agent: &Agent, more: &[&str]) -> Finished {
    agent.ctl(&[&["models", "--profile", "dev-sso"], more].concat())
}

fn offered(region: &'static str, kind: &'static str, id: &str) -> Offered {
    let model = if id.contains("anthropic") || kind == "APPLICATION" { "anthropic.claude-x" } else { "meta.llama" };
    Offered { region, kind, id: id.to_owned(), model }
}

#[test]
fn each_region_has_its_own_and_claude_comes_first() {
    let agent = Agent::new();
    agent.fake.offer(vec![
        offered("eu-west-1", "SYSTEM_DEFINED", "eu.meta.llama"),
        offered("eu-west-1", "SYSTEM_DEFINED", "global.anthropic.claude-x"),
        offered("eu-west-1", "APPLICATION", "abc123"),
        offered("us-gov-west-1", "SYSTEM_DEFINED", "us-gov.anthropic.claude-x"),
        offered("ap-northeast-1", "SYSTEM_DEFINED", "jp.anthropic.claude-x"),
    ]);
    let text = models(&agent, &[]).expect_success().stdout;
    let ids: Vec<_> = text.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert!(text.lines().nth(2).is_some_and(|line| line.ends_with("  application")), "{text}");
    let application = "arn:aws:bedrock:eu-west-1:111122223333:application-inference-profile/abc123";
    assert_eq!(ids, ["global.anthropic.claude-x", application, "eu.meta.llama"], "the profile's region: {text}");
    for (region, id) in [("us-gov-west-1", "us-gov.anthropic.claude-x"), ("ap-northeast-1", "jp.anthropic.claude-x")] {
        let text = models(&agent, &["--region", region]).expect_success().stdout;
        assert!(text.contains(&format!("\n{id}  about {id}  system\n")), "{text}");
    }
}

#[test]
fn three_hundred_are_listed_page_by_page() {
    let agent = Agent::new();
    let many = |n| offered("eu-west-1", "SYSTEM_DEFINED", &format!("eu.anthropic.claude-{n:03}"));
    agent.fake.offer((0..300).map(many).collect());
    let document: Value = serde_json::from_str(&models(&agent, &["--json"]).expect_success().stdout).unwrap();
    assert_eq!(document["models"].as_array().unwrap().len(), 300);
    let last = &document["models"][299];
    assert_eq!((&last["id"], &last["status"]), (&"eu.anthropic.claude-299".into(), &"ACTIVE".into()));
    assert_eq!(last["models"][0], "arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-x");
    assert_eq!(agent.fake.count(Operation::ListInferenceProfiles), 4, "three pages, and one of the account's own");
}

#[test]
fn none_denied_and_a_region_that_is_none_are_told() {
    let agent = Agent::new();
    agent.fake.offer(Vec::new());
    let none = models(&agent, &[]).expect_success();
    assert!(none.stderr.contains("no inference profile of Claude in eu-west-1: ask for access"), "{}", none.stderr);
    agent.fake.inject(Fault::access_denied().on(Operation::ListInferenceProfiles));
    let denied = models(&agent, &[]);
    assert_eq!(denied.code(), 11, "{}", denied.stderr);
    assert!(denied.stderr.contains("what this prints: agentctl models --policy"), "{}", denied.stderr);
    let policy = models(&agent, &["--policy", "--region", "us-gov-west-1"]).expect_success().stdout;
    assert!(policy.contains("arn:aws-us-gov:bedrock:*:*:application-inference-profile/*"), "{policy}");
    let nowhere = models(&agent, &["--region", "Ireland"]);
    assert_eq!(nowhere.code(), 12, "{}", nowhere.stderr);
    assert!(nowhere.stderr.contains("'Ireland' is not the name of a region"), "{}", nowhere.stderr);
}

#[test]
fn a_region_that_the_account_has_not_or_aws_does_not_know_is_told_as_one() {
    let agent = Agent::new();
    let refused = Fault::aws_error(403, "UnrecognizedClientException", "The security token is invalid");
    agent.fake.inject(refused.on(Operation::ListInferenceProfiles).times(1));
    let elsewhere = models(&agent, &["--region", "me-south-1"]);
    assert_eq!(elsewhere.code(), 12, "{}", elsewhere.stderr);
    assert!(elsewhere.stderr.contains("enable that region for the account, or name another"), "{}", elsewhere.stderr);
    let unknown = Fault::aws_error(404, "UnknownOperationException", "");
    agent.fake.inject(unknown.on(Operation::ListInferenceProfiles).times(1));
    let unknown = models(&agent, &["--region", "us-west-1"]);
    assert_eq!(unknown.code(), 12, "{}", unknown.stderr);
    assert!(unknown.stderr.contains("name a region where Bedrock offers Claude"), "{}", unknown.stderr);
}

#[test]
fn where_nobody_names_a_region_that_is_the_answer() {
    let mut agent = Agent::new();
    let config = std::fs::read_to_string(agent.home.aws_config()).unwrap();
    let without: String = config.lines().filter(|l| !l.starts_with("region")).map(|l| format!("{l}\n")).collect();
    std::fs::write(agent.home.aws_config(), without).unwrap();
    let nobody = models(&agent, &[]);
    assert_eq!(nobody.code(), 12, "{}", nobody.stderr);
    assert!(nobody.stderr.contains("profile 'dev-sso' has no region, and none is named; name"), "{}", nobody.stderr);
    assert_eq!(agent.fake.count(Operation::GetRoleCredentials), 0, "nothing was fetched for it");
    agent.home.set("AWS_REGION", "eu-west-1");
    assert!(models(&agent, &[]).expect_success().stdout.contains(MODEL));
}

#[test]
fn a_slow_bedrock_is_waited_for() {
    let agent = Agent::new();
    let slow = Fault::slow(Duration::from_millis(1500)).on(Operation::ListInferenceProfiles);
    agent.fake.inject(slow);
    assert!(models(&agent, &[]).expect_success().stdout.contains(MODEL), "it took longer than an agent may");
}
