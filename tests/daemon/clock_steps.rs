//! Clock steps in a running agentd, by libfaketime: its wall clock is moved while it serves, the monotonic ones go on.
//!
//! With the fake AWS moved as well the machine was frozen for hours (a laptop's sleep, as far as the wall clock goes);
//! without it the machine's clock is simply wrong. Either way no expired key is served, and what is kept is renewed
//! within 5 s of the next tick, which comes after 30 s at most.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::agent::{Agent, LIMIT};
use crate::support::clock::{eventually, instant, now, within};
use crate::support::process::Running;

/// The longest time from a step to the next tick, and what a renewal may take from there.
const RENEWED: Duration = Duration::from_secs(30 + 5);
const HOUR: i64 = 3600;

/// An agent whose wall clock can be stepped. It keeps `dev-sso`, whose first key lives for an hour.
struct Stepped {
    agent: Agent,
    daemon: Running,
    offset: PathBuf,
    aws_offset: i64,
}

impl Stepped {
    fn new() -> Self {
        let agent = Agent::with(|s| s.token_lifetime = Duration::from_secs(8 * 3600));
        agent.write_settings("keep = [\"dev-sso\"]\n");
        let offset = agent.home.path().join("clock");
        fs::write(&offset, "+0").unwrap();
        let daemon = agent.start_daemon_with(|command| {
            command
                .env("LD_PRELOAD", library())
                .env("FAKETIME_TIMESTAMP_FILE", &offset)
                .env("FAKETIME_NO_CACHE", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("NO_FAKE_STAT", "1");
        });
        eventually("the first key", LIMIT, || (agent.roles() == 1).then_some(()));
        agent.credentials("dev-sso");
        Self { agent, daemon, offset, aws_offset: 0 }
    }

    /// Sets agentd's wall clock so many seconds off.
    fn step(&self, seconds: i64) {
        let new = self.offset.with_extension("new");
        fs::write(&new, format!("{seconds:+}")).unwrap();
        fs::rename(new, &self.offset).unwrap();
    }

    /// The whole world goes on by so many seconds while the machine is frozen.
    fn freeze(&mut self, seconds: i64) {
        self.agent.fake.set_clock_offset(seconds);
        self.aws_offset = seconds;
        self.step(seconds);
    }

    /// Waits for a renewal that nobody asks for, doing `meanwhile` every few milliseconds.
    #[track_caller]
    fn renews_by_itself(&mut self, what: &str, mut meanwhile: impl FnMut(&Agent)) {
        let (before, began) = (self.agent.roles(), instant());
        let renewed = within(RENEWED, || {
            meanwhile(&self.agent);
            (self.agent.roles() > before).then_some(())
        });
        assert!(renewed.is_some(), "{what}: not renewed within {RENEWED:?}\n{}", self.daemon.stderr());
        println!("{what}: renewed {:.1} s after the step", began.elapsed().as_secs_f64());
    }

    /// Asks for credentials again and again: each answer must be alive by AWS's clock.
    #[track_caller]
    fn serves_only_living_keys(&mut self) {
        for _ in 0..20 {
            let document = self.agent.credentials("dev-sso");
            let ends: DateTime<Utc> = document["Expiration"].as_str().unwrap().parse().unwrap();
            let aws_now = now() + chrono::Duration::seconds(self.aws_offset);
            assert!(ends > aws_now, "ends at {ends}, now it is {aws_now}");
        }
        assert!(self.daemon.is_running(), "{}", self.daemon.stderr());
        assert!(!self.daemon.stderr().contains("panicked"), "{}", self.daemon.stderr());
    }

    fn is_found_skewed(&self) -> bool {
        self.agent.status()["findings"].to_string().contains("clock-skew")
    }
}

/// libfaketime, where Debian and its relatives (`lib/<triple>/faketime`) or others (`lib/faketime`, `lib64/faketime`)
/// put it.
fn library() -> PathBuf {
    let below = |folder: PathBuf| {
        let inside = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        std::iter::once(folder.clone()).chain(inside).collect::<Vec<_>>()
    };
    let folders = ["/usr/lib", "/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from).into_iter().flat_map(below);
    let mut names = folders.map(|f| f.join("faketime/libfaketimeMT.so.1")).filter(|f| f.is_file());
    names.next().unwrap_or_else(|| panic!("libfaketime is needed: apt-get install libfaketime"))
}

#[test]
#[ignore = "soak: needs libfaketime"]
fn after_nine_hours_of_sleep_all_is_renewed_though_nobody_asks() {
    let mut stepped = Stepped::new();
    stepped.freeze(9 * HOUR);
    stepped.renews_by_itself("9 h of sleep", |_| ());
    stepped.serves_only_living_keys();
    assert!(stepped.agent.tokens() >= 1, "the token had ended as well");
    assert!(!stepped.is_found_skewed(), "the clock is right");
}

#[test]
#[ignore = "soak: needs libfaketime"]
fn the_first_question_after_nine_hours_of_sleep_gets_a_living_key() {
    let mut stepped = Stepped::new();
    stepped.freeze(9 * HOUR);
    stepped.serves_only_living_keys();
    // One call with the token that was held and had ended too, perhaps, and one with its successor.
    let roles = stepped.agent.roles();
    assert!((2..=3).contains(&roles), "{roles} calls\n{}", stepped.daemon.stderr());
}

#[test]
#[ignore = "soak: needs libfaketime"]
fn a_clock_that_is_set_nine_hours_ahead_is_seen_through() {
    let mut stepped = Stepped::new();
    stepped.step(9 * HOUR);
    stepped.renews_by_itself("9 h ahead", |_| ());
    stepped.serves_only_living_keys();
    assert!(stepped.is_found_skewed());
    // And back again: what was found is no longer true.
    stepped.step(0);
    stepped.renews_by_itself("back from 9 h ahead", |_| ());
    stepped.serves_only_living_keys();
    assert!(!stepped.is_found_skewed());
}

#[test]
#[ignore = "soak: needs libfaketime"]
fn a_clock_that_is_set_back_an_hour_is_seen_through() {
    let mut stepped = Stepped::new();
    stepped.step(-HOUR);
    stepped.renews_by_itself("1 h back", |_| ());
    stepped.serves_only_living_keys();
    assert!(stepped.is_found_skewed());
}

#[test]
#[ignore = "soak: needs libfaketime"]
fn a_step_is_noticed_while_somebody_watches_the_status() {
    let mut stepped = Stepped::new();
    stepped.step(-HOUR);
    stepped.renews_by_itself("1 h back, watched", |agent| drop(agent.status()));
    stepped.serves_only_living_keys();
}
