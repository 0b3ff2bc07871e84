//! `agentctl models`: what the account may use, however much that is.

use serde_json::Value;

use crate::agent::Agent;
use crate::support::fake_aws::{Fault, Offered, Operation};
use crate::support::process::Finished;

fn agent() -> Agent {
    let mut agent = Agent::new();
    let url = agent.fake.url();
    agent.home.set("AWS_ENDPOINT_URL_BEDROCK", url);
    agent
}

fn models(agent: &Agent, more: &[&str]) -> Finished {
    agent.ctl(&[&["models", "--profile", "dev-sso"], more].concat())
}

fn offered(region: &'static str, kind: &'static str, id: &str) -> Offered {
    let model = if id.contains("anthropic") || kind == "APPLICATION" { "anthropic.claude-x" } else { "meta.llama" };
    Offered { region, kind, id: id.to_owned(), model }
}

#[test]
fn each_region_has_its_own_and_claude_comes_first() {
    let agent = agent();
    agent.fake.offer(vec![
        offered("eu-west-1", "SYSTEM_DEFINED", "eu.meta.llama"),
        offered("eu-west-1", "SYSTEM_DEFINED", "global.anthropic.claude-x"),
        offered("eu-west-1", "APPLICATION", "abc123"),
        offered("us-gov-west-1", "SYSTEM_DEFINED", "us-gov.anthropic.claude-x"),
        offered("ap-northeast-1", "SYSTEM_DEFINED", "jp.anthropic.claude-x"),
    ]);
    let text = models(&agent, &[]).expect_success().stdout;
    let ids: Vec<_> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    let application = "arn:aws:bedrock:eu-west-1:111122223333:application-inference-profile/abc123";
    assert_eq!(ids, ["global.anthropic.claude-x", application, "eu.meta.llama"], "the profile's region: {text}");
    for (region, id) in [("us-gov-west-1", "us-gov.anthropic.claude-x"), ("ap-northeast-1", "jp.anthropic.claude-x")] {
        let text = models(&agent, &["--region", region]).expect_success().stdout;
        assert!(text.starts_with(&format!("{id}  about {id}\n")), "{text}");
    }
}

#[test]
fn three_hundred_are_listed_page_by_page() {
    let agent = agent();
    let many = |n| offered("eu-west-1", "SYSTEM_DEFINED", &format!("eu.anthropic.claude-{n:03}"));
    agent.fake.offer((0..300).map(many).collect());
    let document: Value = serde_json::from_str(&models(&agent, &["--json"]).expect_success().stdout).unwrap();
    assert_eq!(document["models"].as_array().unwrap().len(), 300);
    assert_eq!(document["models"][299]["id"], "eu.anthropic.claude-299");
    assert_eq!(agent.fake.count(Operation::ListInferenceProfiles), 4, "three pages, and one of the account's own");
}

#[test]
fn none_denied_and_a_region_that_is_none_are_told() {
    let agent = agent();
    agent.fake.offer(Vec::new());
    let none = models(&agent, &[]).expect_success();
    assert!(none.stderr.contains("no inference profile of Claude in eu-west-1: ask for access"), "{}", none.stderr);
    agent.fake.inject(Fault::access_denied().on(Operation::ListInferenceProfiles));
    let denied = models(&agent, &[]);
    assert_eq!(denied.code(), 11, "{}", denied.stderr);
    assert!(denied.stderr.contains("bedrock:ListInferenceProfiles, bedrock:InvokeModel"), "{}", denied.stderr);
    let nowhere = models(&agent, &["--region", "Ireland"]);
    assert_eq!(nowhere.code(), 12, "{}", nowhere.stderr);
    assert!(nowhere.stderr.contains("'Ireland' is not the name of a region"), "{}", nowhere.stderr);
}
