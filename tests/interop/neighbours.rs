//! Everybody at once on an expired SSO token: real AWS CLIs, real boto3 programs and a thousand raw callers share one
//! refresh and one role call, whatever AWS does with a used refresh token and however long it takes.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::agent::Agent;
use super::{ACCOUNT, ROLE, clients, signers};
use crate::support::clock::{self, eventually};
use crate::support::crowd::{ANSWER_WITHIN, Crowd};
use crate::support::fake_aws::{FakeAws, Fault, Operation, Rotation, SignedIn, SsoSession};
use crate::support::home::TestHome;
use crate::support::process::{Running, run};

const MODES: [Rotation; 5] = [
    Rotation::Grace(Duration::from_secs(60)),
    Rotation::SingleUse,
    Rotation::FamilyRevocation,
    Rotation::Kept,
    Rotation::Omitted,
];

/// Who asks at one moment, and how long AWS takes for each answer, in turn (milliseconds).
struct Throng {
    of_each_client: usize,
    callers: usize,
    delays: &'static [u64],
}

#[test]
fn everybody_at_once_is_one_refresh_and_one_role_call() {
    // As many as a busy machine has processes.
    rounds(1, &Throng { of_each_client: 1, callers: 300, delays: &[0, 400] });
}

#[test]
#[ignore = "soak: NEIGHBOUR_ROUNDS (20) rounds of sixteen real clients and a thousand callers in each mode"]
fn everybody_at_once_is_one_refresh_and_one_role_call_round_after_round() {
    let asked = std::env::var("NEIGHBOUR_ROUNDS").ok().and_then(|n| n.parse().ok());
    // The longest delay outlasts what the agent holds a request for.
    rounds(asked.unwrap_or(20), &Throng { of_each_client: 8, callers: 1000, delays: &[0, 400, 2500] });
}

/// So many rounds in each mode.
fn rounds(rounds: usize, throng: &Throng) {
    for (mode, rotation) in MODES.into_iter().enumerate() {
        let (mut tokens, mut roles, mut repeats) = (0, 0, 0);
        for round in 0..rounds {
            let delay = Duration::from_millis(throng.delays[(round + mode) % throng.delays.len()]);
            let fake = FakeAws::start();
            repeats += one_round(&fake, rotation, delay, throng);
            tokens += fake.count(Operation::CreateToken);
            roles += fake.count(Operation::GetRoleCredentials);
        }
        println!(
            "{rotation:?}: {rounds} rounds, {} clients and {} callers ({repeats} asked again), 0 failures, \
             {tokens} CreateToken, {roles} GetRoleCredentials",
            rounds * 2 * throng.of_each_client,
            rounds * throng.callers
        );
    }
}

/// One home with an expired token, and everybody let go at one moment. How often callers had to ask again.
fn one_round(fake: &FakeAws, rotation: Rotation, delay: Duration, throng: &Throng) -> usize {
    let mut home = expired_home(fake, rotation);
    for operation in [Operation::CreateToken, Operation::GetRoleCredentials] {
        fake.inject(Fault::slow(delay).on(operation));
    }
    let agent = Agent::start(&mut home);
    let gate = Gate::new(&home, &agent.command_line("credential-process --profile dev-sso"));
    home.add_process_profile("dev", &gate.script);
    let cli = || clients::aws_cli(&home, &["sts", "get-caller-identity", "--profile", "dev", "--output", "json"]);
    let boto3 = || clients::python(&home, "sts_calls.py", &["dev", "1"]);
    let started: Vec<_> = (0..throng.of_each_client).flat_map(|_| [cli(), boto3()]).map(Running::start).collect();
    gate.await_arrivals(started.len());
    let socket = home.state_dir().join("agent.sock");
    let crowd = Crowd::ask(&socket, "dev-sso", throng.callers, ANSWER_WITHIN, || gate.open(started.len()));

    let context = || format!("{rotation:?}, {delay:?}: {}\n{}", agent.said(), agent.log(&home));
    assert_eq!(crowd.failures(), [], "{}", context());
    let key = fake.keys().remove(0).access_key_id;
    assert!(crowd.answers.iter().all(|answer| answer.as_ref() == Ok(&key)), "{}", context());
    for client in started {
        let finished = client.finish(clients::LIMIT);
        assert!(finished.status.success(), "{}\n{}", finished.stderr, context());
        let identity = clients::json(finished);
        assert!(identity["Account"] == ACCOUNT || identity == json!([ACCOUNT]), "{identity}\n{}", context());
    }
    assert_eq!(signers(fake), vec![Some(key); 2 * throng.of_each_client], "{}", context());
    let upstream = [Operation::CreateToken, Operation::GetRoleCredentials].map(|operation| fake.count(operation));
    assert_eq!((upstream, agent.runs()), ([1, 1], 2 * throng.of_each_client), "{}", context());
    agent.assert_no_secret_leaked(fake, &home);
    crowd.repeats
}

/// A home whose access token is over: in the file, and at AWS.
fn expired_home(fake: &FakeAws, rotation: Rotation) -> TestHome {
    let session = fake.add_session(SsoSession { rotation, ..SsoSession::new("corp").allow(ACCOUNT, ROLE) });
    let home = TestHome::new(fake);
    let token = SignedIn { expires_at: clock::now() - chrono::Duration::minutes(5), ..fake.sign_in(session) };
    home.add_sso_session("corp", &token);
    home.add_sso_profile("dev-sso", "corp", ACCOUNT, ROLE);
    home.seed_token("corp", &token);
    fake.revoke_access_tokens(session);
    home
}

/// Where clients' `agentctl` waits until all are there: a real client takes a second or more to get that far.
struct Gate {
    script: String,
    arrivals: PathBuf,
    pipe: File,
}

impl Gate {
    /// A gate in front of a command line.
    fn new(home: &TestHome, command_line: &str) -> Self {
        let (arrivals, path) = (home.path().join("arrivals"), home.path().join("gate"));
        let mut mkfifo = Command::new("mkfifo");
        mkfifo.arg(&path);
        run(mkfifo, clients::LIMIT).expect_success();
        // Open at both ends, so that nobody waits for the other end; each reader takes one byte.
        let pipe = File::options().read(true).write(true).open(&path).unwrap();
        let (arrived, gate) = (arrivals.display(), path.display());
        let wait = format!("#!/bin/sh\necho here >> '{arrived}'\nread -r go < '{gate}'\nexec {command_line}\n");
        Self { script: home.script("gated", &wait).display().to_string(), arrivals, pipe }
    }

    #[track_caller]
    fn await_arrivals(&self, all: usize) {
        eventually("every client asks", clients::LIMIT, || {
            let here = fs::read_to_string(&self.arrivals).unwrap_or_default().lines().count();
            (here == all).then_some(())
        });
    }

    fn open(&self, all: usize) {
        (&self.pipe).write_all(&vec![b'\n'; all]).unwrap();
    }
}
