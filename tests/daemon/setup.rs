//! `agentctl setup` with the real programs: what it shows, writes and takes back.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::agent::{ACCOUNT, AGENTCTL, Agent, ROLE, has_script};
use crate::behind::Behind;
#[cfg(target_os = "linux")]
use crate::support::fake_aws::{Offered, Person};

fn settings_file(agent: &Agent) -> PathBuf {
    agent.home.path().join(".claude/settings.json")
}

fn write(agent: &Agent, text: &str) -> PathBuf {
    let path = settings_file(agent);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn settings(agent: &Agent) -> Value {
    serde_json::from_str(&fs::read_to_string(settings_file(agent)).unwrap()).unwrap()
}

const BY_FLAGS: [&str; 6] = ["setup", "claude", "--profile", "dev-sso", "--region", "eu-west-1"];

fn setup(agent: &Agent, more: &[&str]) -> crate::support::process::Finished {
    agent.ctl(&[&BY_FLAGS[..], more].concat())
}

#[test]
fn by_flags_a_new_file_is_made_and_taken_back() {
    let agent = Agent::new();
    let shown = setup(&agent, &["--dry-run"]).expect_success();
    assert!(shown.stdout.contains("--- /dev/null") && shown.stdout.contains("+    \"AWS_REGION\": \"eu-west-1\""));
    assert!(!settings_file(&agent).exists(), "a look changes nothing");
    let done = setup(&agent, &["--yes", "--model", "eu.anthropic.claude-x"]).expect_success();
    assert!(done.stderr.contains("wrote ") && done.stderr.contains("'dev-sso' has credentials"), "{}", done.stderr);
    let says = settings(&agent);
    assert_eq!(says["awsCredentialExport"], format!("{AGENTCTL} export --profile dev-sso --wait 600"));
    assert_eq!(says["statusLine"]["command"], format!("{AGENTCTL} statusline --profile dev-sso"));
    let env =
        json!({"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_REGION": "eu-west-1", "ANTHROPIC_MODEL": "eu.anthropic.claude-x"});
    assert_eq!(says["env"], env);
    assert_eq!(says["awsAuthRefresh"], Value::Null);
    let again = setup(&agent, &["--yes"]).expect_success();
    assert!(again.stderr.contains("everything is set up already"), "{}", again.stderr);
    let undone = agent.ctl(&["setup", "--undo"]).expect_success();
    assert!(undone.stderr.contains("removed again"), "{}", undone.stderr);
    assert!(!settings_file(&agent).exists());
    assert!(agent.ctl(&["setup", "--undo"]).expect_success().stderr.contains("nothing to undo"));
}

/// As people have them: comments, plugins, servers, hooks, a status line and a login command of their own.
const LIVED_IN: &str = r#"{
    "$schema": "https://json.schemastore.org/claude-code-settings.json",
    // the team's
    "permissions": {
        "allow": ["Bash(git status)", "Bash(npm run *)",],
        "deny": ["Read(./.env)"]
    },
    "env": {
        "DISABLE_TELEMETRY": "1", // mine
        "AWS_PROFILE": "old",
        "AWS_REGION": "us-east-1"
    },
    "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "say done"}]}]},
    "mcpServers": {"docs": {"command": "npx", "args": ["-y", "docs-mcp"], "env": {"KEY": "value"}}},
    "enabledPlugins": {"formatter@tools": true},
    "modelOverrides": {"opus": "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abc"},
    "availableModels": ["opus", "sonnet"],
    "awsAuthRefresh": "aws sso login --profile old",
    "statusLine": {"type": "command", "command": "~/.claude/mine.sh", "padding": 0},
    "unknownKey": {"nested": [1, 2, {"deep": null}]}
}
"#;

#[test]
fn a_lived_in_file_keeps_what_is_not_ours_and_comes_back_to_the_byte() {
    let agent = Agent::new();
    let path = write(&agent, LIVED_IN);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let shown = setup(&agent, &["--dry-run"]).expect_success().stdout;
    let changed: Vec<&str> =
        shown.lines().filter(|l| l.starts_with(['+', '-']) && !l[1..].starts_with(['+', '-'])).collect();
    assert_eq!(
        changed,
        [
            "-        \"AWS_REGION\": \"us-east-1\"",
            "+        \"AWS_REGION\": \"eu-west-1\",",
            "+        \"CLAUDE_CODE_USE_BEDROCK\": \"1\"",
            "-    \"awsAuthRefresh\": \"aws sso login --profile old\",",
            "-    \"unknownKey\": {\"nested\": [1, 2, {\"deep\": null}]}",
            "+    \"unknownKey\": {\"nested\": [1, 2, {\"deep\": null}]},",
            &format!("+    \"awsCredentialExport\": \"{AGENTCTL} export --profile dev-sso --wait 600\""),
        ],
        "{shown}"
    );
    let done = setup(&agent, &["--yes"]).expect_success();
    assert!(done.stderr.contains("awsAuthRefresh ('aws sso login --profile old') is taken out"), "{}", done.stderr);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("// the team's") && text.contains("// mine") && text.contains("~/.claude/mine.sh"), "{text}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    agent.ctl(&["setup", "--undo"]).expect_success();
    assert_eq!(fs::read_to_string(&path).unwrap(), LIVED_IN);
}

#[test]
fn the_aws_config_gets_a_profile_beside_and_comes_back_to_the_byte() {
    let agent = Agent::new();
    let file = agent.home.aws_config();
    let before = fs::read_to_string(&file).unwrap().replace('\n', "\r\n") + "# mine, without an end";
    fs::write(&file, &before).unwrap();
    let done = agent.ctl(&["setup", "aws", "--profile", "dev-sso", "--yes"]).expect_success();
    assert!(done.stderr.contains("AWS_PROFILE=dev-sso-agent"), "{}", done.stderr);
    let after = fs::read_to_string(&file).unwrap();
    assert!(after.starts_with(&before), "{after}");
    let process = format!("credential_process = {AGENTCTL} credential-process --profile dev-sso\r\n");
    assert!(
        after.contains("[profile dev-sso-agent]\r\nregion = eu-west-1\r\n") && after.ends_with(&process),
        "{after}"
    );
    let both = setup(&agent, &["aws", "--yes"]).expect_success();
    assert!(both.stderr.contains("settings.json") && !both.stderr.contains(".aws/config"), "{}", both.stderr);
    agent.ctl(&["setup", "--undo"]).expect_success();
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    agent.ctl(&["setup", "aws", "--profile", "dev-sso", "--yes"]).expect_success();
    fs::write(&file, fs::read_to_string(&file).unwrap() + "\r\n[profile later]\r\nregion = x\r\n").unwrap();
    let undone = agent.ctl(&["setup", "--undo"]).expect_success();
    assert!(undone.stderr.contains("without what setup had added"), "{}", undone.stderr);
    let left = fs::read_to_string(&file).unwrap();
    assert!(left.contains("[profile later]") && !left.contains("dev-sso-agent"), "{left}");
}

#[test]
fn what_others_changed_since_stays_at_an_undo() {
    let agent = Agent::new();
    let path = write(&agent, "{\n  \"model\": \"opus\"\n}\n");
    setup(&agent, &["--yes"]).expect_success();
    let text = fs::read_to_string(&path).unwrap().replace("\"opus\"", "\"sonnet\"");
    fs::write(&path, text).unwrap();
    let undone = agent.ctl(&["setup", "--undo"]).expect_success();
    assert!(undone.stderr.contains("without what setup had added"), "{}", undone.stderr);
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"model\": \"sonnet\"\n}\n");
}

#[test]
fn a_status_line_of_ones_own_is_wrapped_where_that_is_wanted() {
    let agent = Agent::new();
    let mine = agent.home.script("mine.sh", "#!/bin/sh\nread line; echo \"mine: $line\"\n");
    write(&agent, &json!({"statusLine": {"type": "command", "command": mine, "padding": 2}}).to_string());
    setup(&agent, &["--yes", "--status-line", "wrap"]).expect_success();
    let line = settings(&agent)["statusLine"].clone();
    assert_eq!(line["padding"], 2);
    let command = line["command"].as_str().unwrap().to_owned();
    let mut shell = agent.home.command("sh");
    shell.args(["-c", &format!("echo '{{\"model\": 1}}' | {command}")]);
    let shown = crate::support::process::run(shell, crate::agent::LIMIT).expect_success().stdout;
    assert!(shown.starts_with("mine: {\"model\": 1}\naws dev-sso: "), "{shown}");
}

#[test]
fn what_cannot_be_edited_for_certain_is_left_alone() {
    let agent = Agent::new();
    for (text, why) in [
        ("{\n  \"a\": 1\n  \"b\": 2\n}", "line 2: expected comma"),
        ("[]", "is no object at the top"),
        ("{\"env\": {\"AWS_REGION\": \"a\",\n \"AWS_REGION\": \"b\"}}", "line 2: holds 'env.AWS_REGION' twice"),
    ] {
        let path = write(&agent, text);
        let refused = setup(&agent, &["--yes"]);
        assert_eq!(refused.code(), 12, "{}", refused.stderr);
        assert!(refused.stderr.contains(why) && refused.stderr.contains("settings.json"), "{}", refused.stderr);
        assert!(refused.stderr.contains("nothing was changed"), "{}", refused.stderr);
        assert_eq!(fs::read_to_string(path).unwrap(), text);
    }
}

#[test]
fn a_dotfile_managers_link_stays_one() {
    let agent = Agent::new();
    let path = write(&agent, "{}\n");
    let dotfiles = agent.home.path().join("dotfiles.json");
    fs::rename(&path, &dotfiles).unwrap();
    symlink(&dotfiles, &path).unwrap();
    setup(&agent, &["--yes"]).expect_success();
    assert_eq!(fs::read_link(&path).unwrap(), dotfiles);
    assert!(fs::read_to_string(&dotfiles).unwrap().contains("awsCredentialExport"));
    agent.ctl(&["setup", "--undo"]).expect_success();
    assert_eq!(fs::read_to_string(&dotfiles).unwrap(), "{}\n");
}

#[test]
fn without_a_terminal_what_is_missing_is_named() {
    let agent = Agent::new();
    for (arguments, code, why) in [
        (&["setup", "--profile", "dev-sso"][..], 2, "look with --dry-run, and agree with --yes"),
        (&["setup", "--profile", "dev-ss", "--yes"], 12, "did you mean 'dev-sso'?"),
        (&["setup", "--profile", "dev-sso", "--region", "Frankfurt", "--yes"], 2, "name it: --region eu-west-1"),
        (&["setup", "kubernetes"], 2, "possible values: sso, claude, aws"),
    ] {
        let refused = agent.ctl(arguments);
        assert_eq!(refused.code(), code, "{}", refused.stderr);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
        assert!(!settings_file(&agent).exists());
    }
}

#[test]
fn signed_out_all_is_written_and_the_login_is_what_is_left() {
    let agent = Agent::new();
    fs::remove_file(agent.home.token_file("corp")).unwrap();
    let done = setup(&agent, &["--yes"]);
    assert_eq!(done.code(), 10, "{}", done.stderr);
    assert!(
        done.stderr.contains("what is left is to sign in\n")
            && done.stderr.ends_with("agentctl login --profile dev-sso\n"),
        "{}",
        done.stderr
    );
    assert!(settings_file(&agent).exists());
}

#[test]
fn behind_a_proxy_that_opens_tls_claude_code_gets_its_ca() {
    let behind = Behind::new();
    let anchor = behind.agent.home.path().join(".mitmproxy/mitmproxy-ca-cert.pem");
    fs::create_dir_all(anchor.parent().unwrap()).unwrap();
    behind.proxy.write_ca(&anchor);
    behind.agent.write_settings(&format!("ca_bundle = {anchor:?}\n"));
    setup(&behind.agent, &["--yes"]).expect_success();
    assert_eq!(settings(&behind.agent)["env"]["NODE_EXTRA_CA_CERTS"], anchor.to_str().unwrap());
}

/// At a terminal, key by key; what was on the screen is returned.
#[cfg(target_os = "linux")]
pub(crate) fn typed(agent: &Agent, line: &str, keys: &[(&str, &str)]) -> crate::support::process::Finished {
    let mut command = agent.home.command("script");
    command.args(["-qec", &format!("stty cols 100 rows 40; exec '{AGENTCTL}' {line}"), "/dev/null"]);
    command.env("TERM", "xterm");
    let mut running = crate::support::process::Running::start_with_input(command);
    for (question, answer) in keys {
        running.until_stdout(question, crate::agent::LIMIT, |said| said.contains(question).then_some(()));
        running.type_keys(answer);
    }
    let finished = running.finish(crate::agent::LIMIT);
    agent.note(&["setup"], &finished);
    finished
}

/// Ctrl-C at each question: 130, and the settings and the AWS config are as they were.
#[cfg(target_os = "linux")]
fn given_up_at_each(agent: &Agent, line: &str, answers: &[(&str, &str)]) {
    let files = [agent.home.path().join(".claude/settings.json"), agent.home.aws_config()];
    let now = || files.each_ref().map(|file| fs::read(file).ok());
    let before = now();
    for given_up in 0..answers.len() {
        let mut keys = answers[..given_up].to_vec();
        keys.push((answers[given_up].0, "\u{3}"));
        let ended = typed(agent, line, &keys);
        assert_eq!(ended.code(), 130, "{}: {}", answers[given_up].0, ended.stdout);
        assert_eq!(now(), before, "{}", answers[given_up].0);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn at_a_terminal_it_asks_and_who_gives_up_has_changed_nothing() {
    if !has_script() {
        return;
    }
    let agent = Agent::new();
    agent.home.add_sso_profile("ops-sso", "corp", crate::agent::ACCOUNT, crate::agent::ROLE);
    let path = write(&agent, LIVED_IN);
    let (profile, region) = ("Which profile is to be used?", "In which region is Bedrock used");
    let (model, line) = ("Which model is Claude Code to use?", "Show the agent's line as well?");
    let answers = [(profile, "\u{1b}[B\r"), (region, "\r"), (model, "\r"), (line, "\r"), ("Write this?", "y")];
    for given_up in 0..answers.len() {
        for key in ["\u{3}", "\u{1b}"] {
            // At the line of text Escape is nothing.
            if key == "\u{1b}" && given_up == 1 {
                continue;
            }
            let mut keys = answers[..given_up].to_vec();
            keys.push((answers[given_up].0, key));
            let ended = typed(&agent, "setup", &keys);
            assert_eq!(ended.code(), 130, "{given_up}: {}", ended.stdout);
            assert_eq!(fs::read_to_string(&path).unwrap(), LIVED_IN);
        }
    }
    let done = typed(&agent, "setup", &answers);
    assert_eq!(done.code(), 0, "{}", done.stdout);
    let says = fs::read_to_string(&path).unwrap();
    assert!(says.contains("export --profile ops-sso") && says.contains("--below"), "{says}");
    assert!(says.contains("\"AWS_REGION\": \"us-east-1\""), "what is set already is the default: {says}");
    agent.ctl(&["setup", "--undo"]).expect_success();
    assert_eq!(fs::read_to_string(&path).unwrap(), LIVED_IN);
}

#[cfg(target_os = "linux")]
#[test]
fn at_a_terminal_a_model_is_chosen_of_those_that_bedrock_offers() {
    if !has_script() {
        return;
    }
    let agent = Agent::new();
    let offer =
        |id: &str| Offered { region: "eu-west-1", kind: "SYSTEM_DEFINED", id: id.into(), model: "anthropic.claude" };
    agent.fake.offer(vec![offer("eu.anthropic.claude-a"), offer("eu.anthropic.claude-b")]);
    let answers = [
        ("In which region is Bedrock used", "\r"),
        ("Which model is Claude Code to use?", "\u{1b}[B\u{1b}[B\r"),
        ("Write this?", "y"),
    ];
    let done = typed(&agent, "setup", &answers);
    assert_eq!(done.code(), 0, "{}", done.stdout);
    assert_eq!(settings(&agent)["env"]["ANTHROPIC_MODEL"], "eu.anthropic.claude-b");
}

/// Who agrees beforehand is asked nothing, at a terminal neither.
#[cfg(target_os = "linux")]
#[test]
fn with_yes_nothing_is_asked_at_a_terminal() {
    if !has_script() {
        return;
    }
    let agent = Agent::new();
    let done = typed(&agent, "setup --profile dev-sso --region eu-west-1 --yes", &[]);
    assert_eq!(done.code(), 0, "{}", done.stdout);
    assert_eq!(settings(&agent)["env"].get("ANTHROPIC_MODEL"), None);
}

/// What `opus` means is pinned to the newest that leads where the chosen one does; an id that is not in the list can be
/// typed, and a bare one is asked about.
#[cfg(target_os = "linux")]
#[test]
fn at_a_terminal_models_are_pinned_or_named_by_their_ids() {
    if !has_script() {
        return;
    }
    let agent = Agent::new();
    let offer = |id: &str| Offered {
        region: "us-gov-west-1",
        kind: "SYSTEM_DEFINED",
        id: id.into(),
        model: "anthropic.claude",
    };
    let (sonnet, old, new) = (
        "us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "us-gov.anthropic.claude-3-5-haiku-20241022-v1:0",
        "us-gov.anthropic.claude-haiku-4-5-20251001-v1:0",
    );
    agent.fake.offer([sonnet, old, new].map(offer).into());
    let region = ("In which region is Bedrock used", "\u{15}us-gov-west-1\r");
    let model = "Which model is Claude Code to use?";
    let pinned = [
        region,
        (model, "\u{1b}[A\u{1b}[A\r"),
        ("What should 'sonnet', 'haiku' mean?", "\u{1b}[B\r"),
        ("Write this?", "y"),
    ];
    given_up_at_each(&agent, "setup", &pinned);
    let done = typed(&agent, "setup", &pinned);
    assert_eq!(done.code(), 0, "{}", done.stdout);
    let env = settings(&agent)["env"].clone();
    assert_eq!(
        (&env["ANTHROPIC_MODEL"], &env["ANTHROPIC_DEFAULT_SONNET_MODEL"], &env["ANTHROPIC_DEFAULT_HAIKU_MODEL"]),
        (&sonnet.into(), &sonnet.into(), &new.into())
    );
    assert_eq!(env.get("ANTHROPIC_DEFAULT_OPUS_MODEL"), None, "there is none to pin it to");
    assert!(done.stdout.contains(&format!("{new} answers in us-gov-west-1")), "{}", done.stdout);
    agent.ctl(&["setup", "--undo"]).expect_success();

    let bare = "anthropic.claude-opus-4-8[1m]\r";
    let (id, mantle) = ("Its id", "which only Bedrock's Messages API (Mantle) takes");
    let typed_id = [region, (model, "\u{1b}[A\r"), (id, bare), (mantle, "y"), ("Write this?", "y")];
    given_up_at_each(&agent, "setup", &typed_id);
    let done = typed(&agent, "setup", &typed_id);
    assert_eq!(done.code(), 0, "{}", done.stdout);
    let env = settings(&agent)["env"].clone();
    assert_eq!(env["ANTHROPIC_MODEL"], "anthropic.claude-opus-4-8[1m]");
    assert_eq!((&env["CLAUDE_CODE_USE_MANTLE"], &env["CLAUDE_CODE_USE_BEDROCK"]), (&"1".into(), &"1".into()));
}

/// Whoever is not signed in is asked to, before the models are listed.
#[cfg(target_os = "linux")]
#[test]
fn at_a_terminal_who_is_not_signed_in_signs_in() {
    if !has_script() {
        return;
    }
    let agent = Agent::new();
    fs::remove_file(agent.home.token_file("corp")).unwrap();
    agent.fake.set_person(Person::Approves);
    let answers = [
        ("In which region is Bedrock used", "\r"),
        ("'dev-sso' needs a login. Sign in now?", "y"),
        ("Which model is Claude Code to use?", "\r"),
        ("Write this?", "y"),
    ];
    given_up_at_each(&agent, "setup", &answers[..2]);
    let done = typed(&agent, "setup", &answers);
    assert_eq!(done.code(), 0, "{}", done.stdout);
    assert!(done.stdout.contains("'dev-sso' has credentials"), "{}", done.stdout);
}

#[cfg(target_os = "linux")]
#[test]
fn from_no_profile_at_all_at_a_terminal() {
    if !has_script() {
        return;
    }
    let agent = Agent::with(|session| {
        *session = session.clone().allow("222233334444", "Auditor").allow("222233334444", "Builder");
    });
    fs::remove_file(agent.home.token_file("corp")).unwrap();
    let before = "# mine\n[profile other]\nregion = eu-central-1\n";
    fs::write(agent.home.aws_config(), before).unwrap();
    agent.fake.set_person(Person::Approves);
    let url = agent.fake.session(agent.session).start_url;
    let url = format!("{url}\r");
    let answers = [
        ("Start URL of Identity Center", url.as_str()),
        ("In which region does Identity Center live", "\u{15}eu-west-1\r"),
        ("What is the session to be called?", "\r"),
        ("Which account?", "\u{1b}[B\r"),
        ("Which role?", "\u{1b}[B\r"),
        ("What is the profile to be called?", "\r"),
        ("In which region is Bedrock used", "\r"),
    ];
    for given_up in 0..answers.len() {
        let mut keys = answers[..given_up].to_vec();
        keys.push((answers[given_up].0, "\u{3}"));
        let ended = typed(&agent, "setup sso", &keys);
        assert_eq!(ended.code(), 130, "{given_up}: {}", ended.stdout);
        assert_eq!(fs::read_to_string(agent.home.aws_config()).unwrap(), before, "{given_up}: {}", ended.stdout);
    }
    let mut keys = answers.to_vec();
    keys.push(("Write this?", "y"));
    let done = typed(&agent, "setup sso", &keys);
    assert_eq!(done.code(), 0, "{}", done.stdout);
    let after = fs::read_to_string(agent.home.aws_config()).unwrap();
    assert!(after.starts_with(before), "{after}");
    for line in ["[sso-session corp]", "[profile dev]", "sso_account_id = 222233334444", "sso_role_name = Builder"] {
        assert!(after.contains(line), "{line} in {after}");
    }
    agent.credentials("dev");
    agent.ctl(&["setup", "--undo"]).expect_success();
    assert_eq!(fs::read_to_string(agent.home.aws_config()).unwrap(), before);
}

#[test]
fn by_flags_a_session_and_its_profile_are_made() {
    let agent = Agent::new();
    fs::write(agent.home.aws_config(), "").unwrap();
    let url = agent.fake.session(agent.session).start_url;
    let line =
        ["setup", "sso", "--profile", "dev", "--start-url", &url, "--sso-region", "eu-west-1", "--account", ACCOUNT];
    let more = ["--role", ROLE, "--region", "eu-central-1", "--yes"];
    agent.ctl(&[&line[..], &more].concat()).expect_success();
    agent.credentials("dev");
    let other = agent.ctl(&[&line[..7], &["eu-central-1"], &line[8..], &more].concat());
    assert_eq!(other.code(), 12, "{}", other.stderr);
    assert!(other.stderr.contains("is there already, and says otherwise"), "{}", other.stderr);
    let missing = agent.ctl(&["setup", "sso", "--start-url", &url, "--sso-region", "eu-west-1"]);
    assert!(missing.stderr.contains("name them: --account 111122223333 --role Developer"), "{}", missing.stderr);
}
