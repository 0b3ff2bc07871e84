//! Rotation after rotation beside real botocore, which reads, refreshes and replaces the same token files. Both only ever
//! replace whole files, so no read may be torn at all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::clients;
use crate::support::clock::{eventually, instant, within};
use crate::support::fake_aws::Rotation;
use crate::support::neighbour::Estate;
use crate::support::neighbour::ledger::{Ledger, rotations};
use crate::support::neighbour::watch::{self, Seen};
use crate::support::process::Running;

const GRACE: Rotation = Rotation::Grace(Duration::from_secs(60));
const LIMIT: Duration = Duration::from_secs(40);

#[test]
fn a_hundred_rotations_beside_botocore_lose_nothing() {
    // Shorter lives end while a busy machine keeps botocore waiting.
    go(100, 24, Duration::from_secs(8), &[GRACE, Rotation::Omitted]);
}

#[test]
#[ignore = "soak: ROTATIONS (10000) rotations, 24 a second"]
fn ten_thousand_rotations_beside_botocore_lose_nothing() {
    let rotations = std::env::var("ROTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let modes = [GRACE, Rotation::SingleUse, Rotation::Omitted, Rotation::FamilyRevocation];
    go(rotations, 192, Duration::from_secs(16), &modes);
}

fn go(wanted: usize, sessions: usize, life: Duration, modes: &[Rotation]) {
    let (estate, began) = (Estate::new(sessions, life, modes), instant());
    let mut daemon = Running::start(estate.home.command(env!("CARGO_BIN_EXE_agentd")));
    eventually("every session is renewed", LIMIT, || (rotations(&estate) >= sessions).then_some(()));
    let limit = Duration::from_secs(120 + wanted as u64 / 8);
    let (files, answers, botocore) = live_together(&estate, &mut daemon, wanted, limit);
    let ledger = Ledger::of(&estate);
    println!("{} rotations of {sessions} sessions in {:?}", rotations(&estate), began.elapsed());
    println!("{:?}, raced {}, ended {}", ledger.granted, ledger.raced, ledger.ended);
    println!("botocore: {botocore}\nfiles: {files:?}\nanswers: {answers:?}");
    let complaints = [files.complaints, answers.complaints, ledger.complaints].concat();
    assert_eq!(complaints, [""; 0], "{}", daemon.stderr());
    assert_eq!((files.torn, files.behind), (0, 0));
    assert_eq!(botocore["errors"], serde_json::json!({}), "the agent is a good neighbour to it as well");
    assert!(ledger.granted.values().any(|(_, tools)| *tools > 0), "botocore refreshed nothing");
}

/// The agent and botocore, until there were rotations enough.
fn live_together(
    estate: &Estate,
    daemon: &mut Running,
    wanted: usize,
    limit: Duration,
) -> (Seen, Seen, serde_json::Value) {
    let end = AtomicBool::new(false);
    let window = |part: f64| (estate.life.as_secs_f64() * part).to_string();
    // Where AWS forgives nothing it keeps to the last quarter, as the AWS SDKs for JavaScript and Rust do.
    let strict = estate.sessions.iter().filter(|s| !s.is_forgiving());
    let strict: Vec<_> = strict.map(|s| format!("{}={}", s.profile, window(0.25))).collect();
    let arguments = [vec![window(0.375)], strict].concat();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut botocore = Running::start_with_input(clients::python(&estate.home, "sso_tokens.py", &arguments));
    let seen = thread::scope(|scope| {
        // Also when this panics: threads that go on would be waited for.
        let off = Off(&end);
        let files = scope.spawn(|| watch::files(estate, &end));
        let answers = scope.spawn(|| watch::answers(estate, &end));
        let enough = || rotations(estate) >= wanted;
        within(limit, || (!daemon.is_running() || !botocore.is_running() || enough()).then_some(()));
        assert!(enough(), "{} rotations: {}\n{}", rotations(estate), daemon.stderr(), botocore.stderr());
        drop(off);
        (files.join().unwrap(), answers.join().unwrap())
    });
    (seen.0, seen.1, clients::json(botocore.finish(clients::LIMIT)))
}

/// Ends a loop when dropped.
struct Off<'a>(&'a AtomicBool);

impl Drop for Off<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
