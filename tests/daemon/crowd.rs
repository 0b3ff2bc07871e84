//! A thousand callers at one moment, on an expired token: each gets the one key that was fetched, however slow AWS is.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::agent::{AGENTD, Agent};
use crate::support::crowd::{ANSWER_WITHIN, Crowd};
use crate::support::fake_aws::{Fault, Operation, Rotation};

const CALLERS: usize = 1000;
/// Twice what clients give the agent: other tests run beside this one.
const PATIENCE: Duration = ANSWER_WITHIN.saturating_mul(2);
/// So many connections the agent of one test serves at a time.
const PLACES: usize = 128;

#[test]
fn a_thousand_callers_are_one_call_to_a_quick_aws() {
    one_call_each(Rotation::SingleUse, Duration::ZERO);
}

#[test]
fn a_thousand_callers_are_one_call_to_a_slow_aws() {
    // Longer than a request is held: everybody asks again, and more wait than are served at a time.
    one_call_each(Rotation::FamilyRevocation, Duration::from_millis(2500));
}

fn one_call_each(rotation: Rotation, delay: Duration) {
    let agent = Agent::with(|s| s.rotation = rotation);
    let daemon = agent.start_daemon();
    agent.expire_token();
    for operation in [Operation::CreateToken, Operation::GetRoleCredentials] {
        agent.fake.inject(Fault::slow(delay).on(operation));
    }
    let crowd = Crowd::ask(&agent.home.state_dir().join("agent.sock"), "dev-sso", CALLERS, PATIENCE, || {});
    println!("{rotation:?}, {delay:?}: {CALLERS} callers in {:?}, {} asked again", crowd.took, crowd.repeats);
    assert_eq!(crowd.failures(), [], "{}", daemon.stderr());
    let key = agent.fake.keys()[0].access_key_id.clone();
    assert!(crowd.answers.iter().all(|answer| answer.as_ref() == Ok(&key)));
    assert_eq!((agent.tokens(), agent.roles()), (1, 1));
}

#[test]
fn who_says_nothing_keeps_nobody_out() {
    let agent = Agent::new();
    // As many as its descriptors allow: half of these are for other things.
    let limited = format!("ulimit -n {}; exec '{AGENTD}'", 2 * PLACES);
    let _daemon = agent.start_daemon_with(|command| {
        *command = agent.home.command("sh");
        command.args(["-c", &limited]);
    });
    let socket = agent.home.state_dir().join("agent.sock");
    let silent: Vec<_> = (0..PLACES).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let crowd = Crowd::ask(&socket, "dev-sso", 1, PATIENCE, || {});
    assert_eq!(crowd.failures(), []);
    drop(silent);
}
