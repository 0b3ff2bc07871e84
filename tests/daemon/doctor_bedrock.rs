//! `agentctl doctor` about Bedrock: what it says itself leads to the finding, and its fix cures it; where nobody can ask it,
//! the names of the models are judged.

use serde_json::json;

use crate::agent::{Agent, LIMIT};
use crate::behind::check;
use crate::doctor_settings::{doctor, healthy, is_well, leads, settings};
use crate::support::fake_aws::{Fault, MODEL, Offered, Operation};
use crate::support::process::run;

fn set(agent: &Agent, name: &str, value: &str) {
    settings(agent, |s| s["env"][name] = json!(value));
}

/// Does what `set NAME to VALUE, or another of: ...` says.
fn apply(agent: &Agent, fix: &str) {
    let (name, rest) =
        fix.strip_prefix("set ").and_then(|fix| fix.split_once(" to ")).unwrap_or_else(|| panic!("{fix}"));
    set(agent, name, rest.split(", or ").next().unwrap());
}

#[test]
fn models_that_are_named_are_tried() {
    let agent = healthy();
    set(&agent, "ANTHROPIC_MODEL", &format!("{MODEL}[1m]"));
    set(&agent, "ANTHROPIC_DEFAULT_SONNET_MODEL", MODEL);
    is_well(&agent);
    let (report, _) = doctor(&agent, &[]);
    let tried = check(&report, "bedrock-model");
    assert!(tried["message"].as_str().unwrap().starts_with(&format!("{MODEL} answers within ")), "{tried}");
    assert_eq!(check(&report, "bedrock-list")["message"], "inference profiles of Claude in eu-west-1: 1");
    let signed = agent.fake.calls_of(Operation::InvokeModel).into_iter().filter(|call| call.signed_by.is_some());
    assert_eq!(signed.count(), 2, "once in each run of doctor, however often it is named");
}

#[test]
fn models_that_are_not_to_be_had_there() {
    let agent = healthy();
    let offered = |id: &str| Offered {
        region: "eu-west-1",
        kind: "SYSTEM_DEFINED",
        id: id.to_owned(),
        model: "anthropic.claude",
    };
    let (sonnet, haiku) = ("claude-sonnet-4-5-20250929-v1:0", "claude-haiku-4-5-20251001-v1:0");
    agent.fake.offer(vec![offered(&format!("eu.anthropic.{sonnet}")), offered(&format!("eu.anthropic.{haiku}"))]);
    set(&agent, "ANTHROPIC_MODEL", &format!("anthropic.{sonnet}[1m]"));
    let fix = leads(&agent, "bedrock-model", 12, "a bare model id is refused by on-demand throughput");
    assert!(fix.starts_with(&format!("set ANTHROPIC_MODEL to eu.anthropic.{sonnet}[1m], or")), "{fix}");
    assert!(fix.ends_with("agentctl models --profile dev-sso --region eu-west-1"), "{fix}");
    apply(&agent, &fix);
    is_well(&agent);
    set(&agent, "ANTHROPIC_SMALL_FAST_MODEL", &format!("us.anthropic.{haiku}"));
    apply(&agent, &leads(&agent, "bedrock-model", 12, "there is no such model in this region"));
    is_well(&agent);
    set(&agent, "ANTHROPIC_DEFAULT_OPUS_MODEL", "eu.anthropic.claude-opus-0");
    let fix = leads(&agent, "bedrock-model", 12, "eu.anthropic.claude-opus-0: there is no such model");
    assert_eq!(fix, "set ANTHROPIC_DEFAULT_OPUS_MODEL to one of: agentctl models --profile dev-sso --region eu-west-1");
}

/// Without an agent too, and where Bedrock is not asked at all.
#[test]
fn where_nobody_can_ask_their_names_are_judged() {
    let agent = healthy();
    agent.fake.inject(Fault::aws_error(503, "ServiceUnavailableException", "later").on(Operation::GetRoleCredentials));
    let leads = |first: &str, message: &str| {
        let mut command = agent.command(&["doctor", "claude", "--json", "--profile", "dev-sso"]);
        command.env("ANTHROPIC_BEDROCK_BASE_URL", "https://gateway.example.com");
        let finished = run(command, LIMIT);
        let report: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
        let finding = check(&report, first);
        assert!(finding["message"].as_str().unwrap().contains(message), "{report:#}");
        finding["fix"].as_str().unwrap().to_owned()
    };
    set(&agent, "ANTHROPIC_MODEL", "anthropic.claude-sonnet-4-5-20250929-v1:0[1m]");
    let fix = leads("claude-model", "a bare model id, which Bedrock's on-demand throughput refuses");
    apply(&agent, &fix);
    set(&agent, "ANTHROPIC_SMALL_FAST_MODEL", "us.anthropic.claude-haiku-4-5-20251001-v1:0");
    apply(&agent, &leads("claude-model", "an inference profile that eu-west-1 does not have"));
    let elsewhere = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abc";
    set(&agent, "ANTHROPIC_DEFAULT_OPUS_MODEL", elsewhere);
    let fix = leads("claude-model", "is an inference profile of us-east-1, and Bedrock is asked in eu-west-1");
    assert!(fix.starts_with("set AWS_REGION to us-east-1, or ANTHROPIC_DEFAULT_OPUS_MODEL to one of:"), "{fix}");
    set(&agent, "ANTHROPIC_DEFAULT_OPUS_MODEL", "global.anthropic.claude-opus-4-5");
    leads("claude-model", "no model that is named is out of place");
    // A bare id is what Bedrock's Messages API wants.
    set(&agent, "ANTHROPIC_MODEL", "anthropic.claude-opus-4-8");
    set(&agent, "CLAUDE_CODE_USE_MANTLE", "1");
    leads("claude-model", "no model that is named is out of place");
}

#[test]
fn what_the_role_or_the_account_may_not() {
    let agent = healthy();
    set(&agent, "ANTHROPIC_MODEL", MODEL);
    is_well(&agent);
    let policy = |fix: &str| {
        let command = fix.split_once("agentctl ").unwrap_or_else(|| panic!("{fix}")).1;
        let printed = agent.ctl(&command.split(' ').collect::<Vec<_>>()).expect_success().stdout;
        let policy: serde_json::Value = serde_json::from_str(&printed).unwrap();
        let actions = policy["Statement"][0]["Action"].as_array().unwrap();
        for action in ["bedrock:InvokeModel", "bedrock:ListInferenceProfiles"] {
            assert!(actions.contains(&json!(action)), "{policy:#}");
        }
    };
    let denied = agent.fake.inject(
        Fault::aws_error(403, "AccessDeniedException", "User: arn:aws:sts::111122223333:assumed-role/dev/me is not authorized to perform: bedrock:InvokeModel on resource: x")
            .on(Operation::InvokeModel),
    );
    policy(&leads(&agent, "bedrock-model", 11, "AWS denies the use of this model: User: arn"));
    agent.fake.clear(denied);
    let denied = agent.fake.inject(Fault::access_denied().on(Operation::ListInferenceProfiles));
    policy(&leads(&agent, "bedrock-list", 0, "AWS denies ListInferenceProfiles"));
    agent.fake.clear(denied);
    is_well(&agent);
    for (status, code, said, told, fix) in [
        (
            403,
            "AccessDeniedException",
            "You don't have access to the model with the specified model ID.",
            "the account has no access to this model",
            "have it opened (Bedrock console",
        ),
        (
            404,
            "ResourceNotFoundException",
            "Model use case details have not been submitted for this account. Fill out the Anthropic use case details form before using the model.",
            "the account has not filled in Anthropic's use-case form",
            "fill it in once for the account",
        ),
        (
            403,
            "AccessDeniedException",
            "Model access is denied because the AWS Marketplace subscription for this model cannot be completed",
            "Marketplace subscription to this model cannot be completed",
            "aws-marketplace:Subscribe",
        ),
        (
            400,
            "ValidationException",
            "data retention mode 'default' is not available for this model",
            "wants another data retention mode",
            "bedrock:PutAccountDataRetention",
        ),
    ] {
        agent.fake.inject(Fault::aws_error(status, code, said).on(Operation::InvokeModel));
        let mended = leads(&agent, "bedrock-model", 11, told);
        assert!(mended.contains(fix), "{mended}");
        agent.fake.clear_faults();
        is_well(&agent);
    }
    agent.fake.set_use_case_form(false);
    is_well(&agent);
    let (report, _) = doctor(&agent, &[]);
    assert_eq!(check(&report, "bedrock-form")["severity"], "note", "{report:#}");
}

#[test]
fn a_region_without_claude_and_one_that_is_far() {
    let agent = healthy();
    agent.fake.offer(vec![Offered {
        region: "us-east-1",
        kind: "SYSTEM_DEFINED",
        id: MODEL.to_owned(),
        model: "anthropic.claude",
    }]);
    let fix = leads(&agent, "bedrock-list", 0, "no inference profile of Claude in service in eu-west-1");
    let command = fix.split_once("agentctl ").unwrap().1.replace("REGION", "us-east-1");
    let words: Vec<&str> = command.split(' ').chain(["--profile", "dev-sso", "--yes"]).collect();
    agent.ctl(&words).expect_success();
    is_well(&agent);
    agent.fake.inject(Fault::slow(std::time::Duration::from_millis(600)).on(Operation::InvokeModel));
    let fix = leads(&agent, "bedrock-host", 0, "is far: ");
    assert_eq!(fix, "use Bedrock in a region near you: agentctl setup claude --region REGION");
}

#[test]
fn a_bedrock_that_is_not_reached() {
    let agent = healthy();
    let nobody = "http://127.0.0.1:9";
    let (report, code) = doctor(&agent, &[("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", nobody)]);
    assert_eq!((report["first"].as_str(), code), (Some("bedrock-host"), 14), "{report:#}");
    assert_eq!(check(&report, "bedrock-model")["severity"], "skipped", "{report:#}");
    assert_eq!(check(&report, "role")["severity"], "ok", "the others are fine");
    is_well(&agent);
    let (report, code) = doctor(&agent, &[("ANTHROPIC_BEDROCK_BASE_URL", nobody)]);
    assert_eq!((&report["first"], code), (&serde_json::Value::Null, 0), "{report:#}");
    let message = &check(&report, "bedrock-host")["message"];
    assert_eq!(message, "Claude Code asks http://127.0.0.1:9 in place of Bedrock");
}
