//! `agentctl doctor` about Claude Code's settings: the hook and what it prints, logins at starts, region and models. One
//! thing is wrong in each world, its finding leads, and its fix, applied to the letter, cures it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::agent::{AGENTCTL, Agent};
use crate::behind::check;
use crate::doctor_settings::{doctor, healthy, is_well, leads, settings};

fn file(agent: &Agent) -> PathBuf {
    agent.home.path().join(".claude/settings.json")
}

/// Runs the fix, without a terminal.
fn run_fix(agent: &Agent, fix: &str) {
    let line = fix.strip_prefix("agentctl ").unwrap_or_else(|| panic!("{fix}"));
    let words: Vec<&str> = line.split(' ').chain(["--region", "eu-west-1", "--yes"]).collect();
    agent.ctl(&words).expect_success();
    is_well(agent);
}

fn hook(agent: &Agent, command: impl Into<Value>) {
    let command = command.into();
    settings(agent, |s| s["awsCredentialExport"] = command);
}

#[test]
fn a_hook_that_leads_nowhere() {
    let agent = healthy();
    hook(&agent, 7);
    run_fix(&agent, &leads(&agent, "claude-hook", 0, "awsCredentialExport is no text"));
    hook(&agent, "'/opt/agentctl export");
    run_fix(&agent, &leads(&agent, "claude-hook", 12, "awsCredentialExport is no command"));
    hook(&agent, format!("{AGENTCTL} status --json"));
    run_fix(&agent, &leads(&agent, "claude-hook", 12, "awsCredentialExport is not agentctl export"));

    fs::create_dir(agent.home.path().join("a b")).unwrap();
    let copy = agent.home.script("a b/agentctl", &format!("#!/bin/sh\nexec {AGENTCTL} \"$@\"\n"));
    hook(&agent, format!("'{}' export --profile dev-sso", copy.display()));
    is_well(&agent);
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
    let fix = leads(&agent, "claude-hook", 12, "which may not be run");
    assert!(Command::new("/bin/sh").args(["-c", &fix]).status().unwrap().success());
    is_well(&agent);
}

#[test]
fn an_aws_cli_that_is_missed_and_a_version_that_is_old() {
    let mut agent = healthy();
    // Neither of this machine's.
    let bin = agent.home.path().join("bin");
    agent.home.set("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    let absent = !["/usr/bin/aws", "/bin/aws"].iter().any(|aws| PathBuf::from(aws).exists());
    is_well(&agent);
    if absent {
        let message = &check(&doctor(&agent, &[]).0, "aws-cli")["message"];
        assert_eq!(message, "there is no AWS CLI, and nothing here needs it");
        settings(&agent, |s| s["awsAuthRefresh"] = json!("aws sso login --profile work"));
        let (report, _) = doctor(&agent, &[]);
        let missed = check(&report, "aws-cli");
        assert_eq!(missed["message"], "awsAuthRefresh runs 'aws', and there is no AWS CLI in PATH");
        run_fix(&agent, missed["fix"].as_str().unwrap());
    }
    for (said, severity) in [("2.1.175 (Claude Code)", "note"), ("2.1.328 (Claude Code)", "ok"), ("3.0.0", "ok")] {
        agent.home.script("bin/claude", &format!("#!/bin/sh\necho '{said}'\n"));
        is_well(&agent);
        assert_eq!(check(&doctor(&agent, &[]).0, "claude-version")["severity"], severity, "{said}");
    }
}

/// Measured with the real one (tests/interop/setup_claude.rs).
#[test]
fn settings_that_claude_code_ignores_for_a_comment() {
    let agent = healthy();
    let good = fs::read_to_string(file(&agent)).unwrap();
    for odd in [good.replacen('{', "{\n  // mine", 1), good.replacen("\n}", ",\n}", 1)] {
        fs::write(file(&agent), odd).unwrap();
        let fix = leads(&agent, "claude-settings", 12, "takes no comments and no trailing commas");
        assert_eq!(fix, "take out comments and trailing commas");
        let told = agent.ctl(&["setup", "--profile", "dev-sso", "--region", "eu-west-1", "--yes"]).expect_success();
        assert!(told.stderr.contains("ignores the whole file; take them out"), "{}", told.stderr);
    }
    fs::write(file(&agent), format!("\u{feff}{good}")).unwrap();
    is_well(&agent);
}

#[test]
fn a_hook_that_comes_to_nothing() {
    let agent = healthy();
    hook(&agent, format!("{AGENTCTL} export --profile other"));
    run_fix(&agent, &leads(&agent, "claude-credentials", 12, "run as Claude Code does, fails: "));
    let said = "prints something else than credentials alone";
    hook(&agent, format!("{AGENTCTL} export --profile dev-sso; echo done"));
    run_fix(&agent, &leads(&agent, "claude-credentials", 12, said));
    let chatty = agent.home.script("agentctl-wrap", "#!/bin/sh\necho 'Assuming your role ...'\n");
    hook(&agent, format!("{} export", chatty.display()));
    run_fix(&agent, &leads(&agent, "claude-credentials", 12, said));
    let needy = agent.home.script("agentctl-needy", "#!/bin/sh\nneedy-tool \"$@\"\n");
    hook(&agent, format!("{} export", needy.display()));
    run_fix(&agent, &leads(&agent, "claude-credentials", 12, "runs a program that is not found in /usr/bin:/bin"));
}

/// It is waited for, and then no longer; no agent is started by doctor.
#[test]
fn a_hook_that_does_not_end() {
    let agent = healthy();
    let slow = agent.home.script("agentctl-slow", "#!/bin/sh\nexec sleep 60\n");
    hook(&agent, format!("exec {} export", slow.display()));
    leads(&agent, "claude-hook", 0, "names 'exec', which is looked for in Claude Code's PATH");
    hook(&agent, format!("{} export", slow.display()));
    run_fix(&agent, &leads(&agent, "claude-credentials", 12, "does not end within 5 s"));
    agent.ctl(&["daemon", "stop"]).expect_success();
    let (report, _) = doctor(&agent, &[]);
    assert_eq!(check(&report, "claude-credentials")["severity"], "skipped", "{report:#}");
    assert_eq!(agent.ctl(&["daemon", "status"]).code(), 19, "doctor starts nobody");
}

#[test]
fn another_tools_hook_is_left_alone() {
    let agent = healthy();
    let mark = agent.home.path().join("ran");
    hook(&agent, format!("touch {}", mark.display()));
    is_well(&agent);
    let (report, _) = doctor(&agent, &[]);
    assert_eq!(check(&report, "claude-hook")["severity"], "note", "{report:#}");
    assert_eq!(check(&report, "claude-credentials")["severity"], "skipped", "{report:#}");
    assert!(!mark.exists());
}

#[test]
fn a_login_of_ours_that_runs_at_every_start() {
    let agent = healthy();
    settings(&agent, |s| s["awsAuthRefresh"] = json!(format!("{AGENTCTL} login --profile dev-sso")));
    let fix = leads(&agent, "claude-refresh", 0, "is ours, but runs at every start");
    assert_eq!(
        fix,
        format!("take awsAuthRefresh out of {}; awsCredentialExport does without it", file(&agent).display())
    );
    // With a profile that Claude Code finds by itself it is in its place.
    let line = format!("{AGENTCTL} credential-process --profile dev-sso");
    agent.home.add_process_profile("tools", &line);
    settings(&agent, |s| s["env"]["AWS_PROFILE"] = json!("tools"));
    is_well(&agent);
    settings(&agent, |s| drop(s["env"].as_object_mut().unwrap().remove("AWS_PROFILE")));
    leads(&agent, "claude-refresh", 0, "finds no credentials in profile 'default'");
    settings(&agent, |s| drop(s.as_object_mut().unwrap().remove("awsAuthRefresh")));
    is_well(&agent);
}

#[test]
fn bedrock_that_is_not_asked_or_not_found() {
    let agent = healthy();
    let without = |name: &str| settings(&agent, |s| drop(s["env"].as_object_mut().unwrap().remove(name)));
    without("CLAUDE_CODE_USE_BEDROCK");
    run_fix(&agent, &leads(&agent, "claude-region", 0, "does not use Bedrock: CLAUDE_CODE_USE_BEDROCK is not set"));
    without("AWS_REGION");
    run_fix(&agent, &leads(&agent, "claude-region", 0, "Claude Code has no AWS_REGION"));
}
