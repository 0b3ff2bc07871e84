//! Both forms of SSO in one profile, as `agentctl setup --convert` leaves it: real SDKs take it, and renew its token.

use std::fs;
use std::time::Duration;

use serde_json::json;

use super::agent::Agent;
use super::{ACCOUNT, ROLE, clients, fake};
use crate::support::fake_aws::{FakeAws, Operation};
use crate::support::home::TestHome;
use crate::support::process::{Finished, run};

/// A home whose legacy profile `old` was converted, and whose agent has ended.
fn converted() -> (FakeAws, TestHome) {
    let (fake, session) = fake();
    fake.configure(session, |s| s.token_lifetime = Duration::from_secs(300));
    let (home, token) = (TestHome::new(&fake), fake.sign_in(session));
    home.add_legacy_profile("old", &token, ACCOUNT, ROLE);
    let agent = Agent::absent(&home);
    let mut command = home.command("sh");
    command.args(["-c", &agent.command_line("setup --convert --profile old --yes")]);
    assert_eq!(run(command, clients::LIMIT).code(), 10, "what is left is the login: {}", agent.said());
    drop(agent);
    home.seed_token("corp", &token);
    fake.configure(session, |s| s.token_lifetime = Duration::from_secs(3600));
    (fake, home)
}

fn boto3(home: &TestHome) -> Finished {
    run(clients::python(home, "sts_calls.py", &["old", "1"]), clients::LIMIT)
}

#[test]
fn boto3_and_javascript_take_both_forms_and_renew() {
    let (fake, home) = converted();
    let config = fs::read_to_string(home.aws_config()).unwrap();
    assert_eq!(config.matches("sso_start_url").count(), 2, "{config}");
    assert_eq!(clients::json(boto3(&home)), json!([ACCOUNT]));
    assert_eq!(fake.count(Operation::CreateToken), 1, "the token was not renewed");
    let javascript = run(clients::node(&home, "sts_calls.cjs", &["old", "1", "sso"]), clients::LIMIT);
    assert_eq!(clients::json(javascript), json!([ACCOUNT]));
}

/// Why a session with another value for any key of the profile is not taken.
#[test]
fn boto3_refuses_a_session_that_contradicts_its_profile_in_any_key() {
    let (_fake, home) = converted();
    let good = fs::read_to_string(home.aws_config()).unwrap();
    for (key, value) in [("region", "us-east-1"), ("sso_start_url", "https://corp.awsapps.com/start/")] {
        let (before, session) = good.split_once("[sso-session corp]\n").unwrap();
        let others: Vec<&str> = session.lines().filter(|line| !line.starts_with(key)).collect();
        let session = format!("[sso-session corp]\n{key} = {value}\n{}\n", others.join("\n"));
        fs::write(home.aws_config(), format!("{before}{session}")).unwrap();
        let refused = boto3(&home);
        assert_ne!(refused.code(), 0);
        assert!(refused.stderr.contains(&format!("The value for {key} is inconsistent")), "{}", refused.stderr);
    }
}
