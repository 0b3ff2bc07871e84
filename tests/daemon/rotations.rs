//! Rotation after rotation, with other tools at the same token files: botocore's refresh, writers that truncate in
//! place, people who log out and in. Somebody reads every file all the time, somebody asks for every profile.
//!
//! *A rotation* is a CreateToken that AWS granted, to the agent or to a tool.
//!
//! What must hold, whatever AWS does with used refresh tokens: every read is whole unless a tool is tearing the file at
//! that moment; it has mode 0600; what a tool wrote beside the token stays; nobody is told to log in while a login is
//! on disk that AWS accepts; a logout stays one. Where AWS forgives nothing (single use, family revocation), the tools
//! keep to the windows that they have in reality, scaled to the short lives here: the agent renews at half of a life,
//! they at three eighths. If one of them does race us there (a busy machine), the login is not ours to save: that is told apart
//! by what AWS saw, counted, and logged in to again.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use aws_credential_agent::ipc::client::Client;
use serde_json::Value;

use crate::agent::{AGENTD, LIMIT};
use crate::support::clock::{eventually, instant, within};
use crate::support::fake_aws::{Fault, Operation, Rotation};
use crate::support::neighbour::ledger::{Ledger, rotations};
use crate::support::neighbour::tools::{Deeds, Style, Visit};
use crate::support::neighbour::watch::{self, Seen};
use crate::support::neighbour::{Estate, Session};
use crate::support::process::Running;
use crate::support::secret_scan::SecretScan;

const MODES: [Rotation; 4] =
    [Rotation::Grace(Duration::from_secs(60)), Rotation::SingleUse, Rotation::Omitted, Rotation::FamilyRevocation];

/// How much, and how fast.
struct Plan {
    sessions: usize,
    life: Duration,
    rotations: usize,
    limit: Duration,
    /// Between two deeds of one tool.
    pace: Duration,
}

#[test]
#[ignore = "soak: tokens of four seconds need a quiet machine"]
fn a_hundred_rotations_lose_nothing() {
    let ms = Duration::from_millis;
    go(&Plan { sessions: 32, life: ms(4000), rotations: 100, limit: ms(60_000), pace: ms(60) });
}

#[test]
#[ignore = "soak: ROTATIONS (10000) rotations, 24 a second"]
fn ten_thousand_rotations_lose_nothing() {
    let rotations = std::env::var("ROTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let limit = Duration::from_secs(120 + rotations as u64 / 8);
    go(&Plan { sessions: 192, life: Duration::from_secs(16), rotations, limit, pace: Duration::from_millis(80) });
}

fn go(plan: &Plan) {
    let estate = Estate::new(plan.sessions, plan.life, &MODES);
    let (deeds, began) = (Deeds::default(), instant());
    let mut daemon = Running::start(estate.home.command(AGENTD));
    eventually("every session is renewed", plan.limit, || (rotations(&estate) >= plan.sessions).then_some(()));
    let (files, answers, troubles) = live_together(&estate, plan, &deeds, &mut daemon);
    let ledger = Ledger::of(&estate);
    println!("{} rotations of {} sessions in {:?}", rotations(&estate), plan.sessions, began.elapsed());
    println!("{:?}, raced {}, ended {}", ledger.granted, ledger.raced, ledger.ended);
    println!("{deeds:?}\nfiles: {files:?}\nanswers: {answers:?}");
    let complaints = [files.complaints, answers.complaints, ledger.complaints, troubles].concat();
    assert_eq!(complaints, [""; 0], "{}", daemon.stderr());
    assert!(files.torn > 0 && answers.served > 0 && answers.logged_out > 0, "the tools did nothing worth seeing");
    daemon.terminate();
    let said = daemon.finish(LIMIT);
    assert_only_tokens_are_left(&estate);
    let mut scan = SecretScan::of(&estate.fake);
    scan.text("agentd's stderr", said.stderr).tree(estate.home.path(), &[&estate.home.sso_cache()]);
    scan.assert_clean();
}

/// The agent and all the tools, until there were rotations enough; then the agent alone, until all is well, or else what
/// is not.
fn live_together(estate: &Estate, plan: &Plan, deeds: &Deeds, daemon: &mut Running) -> (Seen, Seen, Vec<String>) {
    let (tools_end, watch_ends) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        // Also when this panics: threads that go on would be waited for.
        let (tools_off, watch_off) = (Off(&tools_end), Off(&watch_ends));
        let files = scope.spawn(|| watch::files(estate, &watch_ends));
        let answers = scope.spawn(|| watch::answers(estate, &watch_ends));
        let tools: [fn(&Estate, &Deeds, &Session); 4] = [botocore, in_place, person, meddler];
        let tools = tools.map(|tool| {
            let end = &tools_end;
            scope.spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    tool(estate, deeds, &estate.sessions[fastrand::usize(..estate.sessions.len())]);
                    thread::sleep(plan.pace);
                }
            })
        });
        let enough = || rotations(estate) >= plan.rotations;
        within(plan.limit, || (!daemon.is_running() || enough()).then_some(()));
        assert!(enough(), "only {} rotations: {}", rotations(estate), daemon.stderr());
        drop(tools_off);
        tools.into_iter().for_each(|tool| tool.join().unwrap());
        for session in &estate.sessions {
            Visit::new(estate, session, deeds).come_back(true, false, Style::Rename);
        }
        let disputed = |s| Visit::new(estate, s, deeds).settle(Style::Rename);
        eventually("no race is undecided", LIMIT, || (!estate.sessions.iter().any(disputed)).then_some(()));
        let troubles = || estate.sessions.iter().filter_map(|s| trouble(estate, s)).collect::<Vec<_>>();
        within(LIMIT, || troubles().is_empty().then_some(()));
        drop(watch_off);
        (files.join().unwrap(), answers.join().unwrap(), troubles())
    })
}

/// Ends a loop when dropped.
struct Off<'a>(&'a AtomicBool);

impl Drop for Off<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether a tool may refresh whenever it likes. Not at once after a login: it would drop a refresh token that AWS does
/// not repeat, and that nobody else has seen yet.
fn is_free(session: &Session) -> bool {
    session.is_forgiving() && session.unchanged_for() > watch::KNOWN_WITHIN
}

/// botocore refreshes on its own: in its window, and where that does no harm at any time.
fn botocore(estate: &Estate, deeds: &Deeds, session: &Session) {
    let visit = Visit::new(estate, session, deeds);
    let any_time = is_free(session) && fastrand::u8(..3) == 0;
    visit.refresh(if any_time { estate.life * 2 } else { estate.life * 3 / 8 }, Style::Rename);
}

/// A tool that truncates: it refreshes as well, and writes what is there once more; where AWS forgives nothing only just
/// after a renewal, so that what it has read is still true when it writes.
fn in_place(estate: &Estate, deeds: &Deeds, session: &Session) {
    let visit = Visit::new(estate, session, deeds);
    match (session.is_forgiving(), fastrand::u8(..4)) {
        (true, 0) if is_free(session) => visit.refresh(estate.life * 2, Style::InPlace),
        (true, _) => visit.rewrite(Duration::ZERO, Style::InPlace),
        (false, _) => visit.rewrite(estate.life * 3 / 4, Style::InPlace),
    }
}

/// A person logs in once more, or out and in again sooner or later, at times while the session is being refreshed.
fn person(estate: &Estate, deeds: &Deeds, session: &Session) {
    for away in &estate.sessions {
        Visit::new(estate, away, deeds).come_back(false, fastrand::bool(), any_style());
        Visit::new(estate, away, deeds).settle(any_style());
    }
    let refreshing = estate.fake.refreshing().pop().and_then(|id| estate.sessions.iter().find(|s| s.id == id));
    let visit = Visit::new(estate, refreshing.unwrap_or(session), deeds);
    match fastrand::u8(..20) {
        0..4 => visit.log_in(fastrand::bool(), any_style()),
        4..6 => visit.log_out(Duration::from_millis(fastrand::u64(1..1500))),
        6 => visit.log_out(Duration::from_secs(8)),
        7..13 => {
            // AWS is slow, before it has done its work or after.
            let slow = Fault::slow(Duration::from_millis(300)).on(Operation::CreateToken).times(3);
            estate.fake.inject(if fastrand::bool() { slow.after_work() } else { slow });
        }
        _ => {}
    }
}

/// Somebody who waits for the worst moment: the agent has a new token, and has looked at the file for the last time.
fn meddler(estate: &Estate, deeds: &Deeds, _: &Session) {
    let about_to_be_replaced = || estate.sessions.iter().find(|session| session.has_journal());
    let Some(session) = within(Duration::from_millis(200), about_to_be_replaced) else { return };
    let visit = Visit::new(estate, session, deeds);
    match fastrand::u8(..8) {
        0 => visit.log_in(fastrand::bool(), any_style()),
        1 => visit.log_out(Duration::from_secs(4)),
        _ if session.is_forgiving() => visit.rewrite(Duration::ZERO, any_style()),
        _ => {}
    }
}

fn any_style() -> Style {
    if fastrand::bool() { Style::Rename } else { Style::InPlace }
}

/// What is wrong with a session, if the agent does not serve it, or its file holds no login that AWS accepts.
fn trouble(estate: &Estate, session: &Session) -> Option<String> {
    let token: Value = fs::read(&session.path).ok().and_then(|t| serde_json::from_slice(&t).ok()).unwrap_or_default();
    let works = estate.fake.refresh_token_works(token["refreshToken"].as_str().unwrap_or_default());
    let target = format!("/v1/profiles/{}/credentials", session.profile);
    let answer = Client::new(estate.socket()).request("GET", &target, &[], b"", LIMIT);
    let served = matches!(&answer, Ok(answer) if answer.status == 200);
    let said = answer.map(|a| if served { String::new() } else { String::from_utf8_lossy(&a.body).into_owned() });
    (!served || !works).then(|| format!("{} ({:?}): works: {works}, {said:?}", session.name, session.rotation))
}

fn assert_only_tokens_are_left(estate: &Estate) {
    let mut left: Vec<_> = fs::read_dir(estate.home.sso_cache()).unwrap().map(|e| e.unwrap().path()).collect();
    left.retain(|path| !estate.sessions.iter().any(|s| s.path == *path));
    assert_eq!(left, [""; 0].map(PathBuf::from));
}
