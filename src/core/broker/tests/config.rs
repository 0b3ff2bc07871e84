//! Config changes, and worlds that never mix.

use super::*;
use crate::core::waiters::ProfileRef;
use bench::{chain, config, failure};

fn two(home: &Arc<crate::core::source::World>, dev: &str) -> crate::core::source::WorldConfig {
    config([("dev".to_owned(), chain(home, dev)), ("r1".to_owned(), chain(home, "r1"))])
}

#[test]
fn only_what_changed_is_reset() {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(60));
    let stays = b.obtain("r1", minutes(60));
    let changed = two(&b.home, "other");
    b.configure(changed);
    let waiter = b.ask("r1");
    assert_eq!(b.key(waiter), stays);
    b.advance(seconds(5));
    let waiter = b.ask("dev");
    assert_eq!(b.answer(waiter), None);
    let fetch = b.role_fetch("other");
    b.give(&fetch, minutes(60));
    b.key(waiter);
    assert!(b.reads.is_empty(), "the session's token was kept");
}

#[test]
fn the_same_config_again_changes_nothing() {
    let mut b = Bench::logged_in();
    let same = two(&b.home, "dev");
    b.configure(same.clone());
    let revision = b.broker.revision();
    b.configure(same);
    assert_eq!(b.broker.revision(), revision);
}

#[test]
fn who_waits_moves_to_what_the_profile_means_now() {
    let mut b = Bench::logged_in();
    let waiter = b.ask("dev");
    let old = b.role_fetch("dev");
    let changed = two(&b.home, "other");
    b.configure(changed);
    let fetch = b.role_fetch("other");
    b.give(&old, minutes(60));
    assert_eq!(b.answer(waiter), None, "the old role's key is not for it");
    let key = b.give(&fetch, minutes(60));
    assert_eq!(b.key(waiter), key);
    assert_eq!(b.profile_status("dev").kept, crate::core::status::Kept::RecentlyUsed);
}

#[test]
fn who_waits_for_a_profile_that_goes_away_is_refused() {
    let mut b = Bench::logged_in();
    let waiter = b.ask("dev");
    let home = Arc::clone(&b.home);
    b.configure(config([("r1".to_owned(), chain(&home, "r1"))]));
    assert_eq!(b.class(waiter), FailureClass::Misconfigured);
}

#[test]
fn an_unreadable_config_keeps_the_last_good_one_and_is_a_finding() {
    let mut b = Bench::logged_in();
    let key = b.obtain("dev", minutes(60));
    let world = Arc::clone(&b.home);
    b.step(Event::Config { world, config: Err(failure(FailureClass::Misconfigured)) });
    let waiter = b.ask("dev");
    assert_eq!(b.key(waiter), key);
    b.obtain("r1", minutes(60));
    assert!(b.status().findings.iter().any(|f| f.name == "config-invalid"));
    let good = two(&b.home, "dev");
    b.configure(good);
    assert!(b.status().findings.iter().all(|f| f.name != "config-invalid"));
}

#[test]
fn a_profile_of_one_world_is_never_answered_from_another() {
    let mut b = Bench::logged_in();
    let ours = b.obtain("dev", minutes(60));
    let world = bench::world("guest");
    let profiles = config([("dev".to_owned(), chain(&world, "dev"))]);
    b.step(Event::Config { world: Arc::clone(&world), config: Ok(profiles) });
    let guest = ProfileRef { world: Arc::clone(&world), name: "dev".into() };
    let waiter = b.demand(guest.clone(), Duration::ZERO, None);
    assert_eq!(b.answer(waiter), None, "same name, session and role: another world all the same");
    assert_eq!(b.reads.len(), 1, "with a token file of its own");
    let token = b.token("guest", minutes(60));
    b.read(TokenFile::Present(token));
    let fetch = b.role_fetch("dev");
    assert_eq!(fetch.world, world);
    let theirs = b.give(&fetch, minutes(60));
    assert_eq!(b.key(waiter), theirs);
    let waiter = b.ask("dev");
    assert_eq!(b.key(waiter), ours);
    let unknown = b.demand(ProfileRef { name: "r1".into(), ..guest }, Duration::ZERO, None);
    assert_eq!(b.class(unknown), FailureClass::Misconfigured);
}

#[test]
fn keep_speaks_of_the_daemons_own_world() {
    let mut b = Bench::logged_in();
    let world = bench::world("guest");
    let profiles = config([("guest-only".to_owned(), chain(&world, "guest-only"))]);
    b.step(Event::Config { world, config: Ok(profiles) });
    b.keep(&["dev", "guest-only"]);
    assert_eq!(b.open.len(), 1);
    b.role_fetch("dev");
    let status = b.profile_status("guest-only");
    assert_eq!(status.state, crate::core::status::State::Unusable);
}

#[test]
fn a_fetch_of_an_entry_that_is_gone_is_ignored_and_frees_its_probe() {
    let mut b = Bench::logged_in();
    b.ask("r1");
    b.fail_all(FailureClass::Offline);
    while b.open.is_empty() {
        b.advance(Duration::from_millis(100));
    }
    let probe = b.role_fetch("r1");
    let home = Arc::clone(&b.home);
    b.configure(config([("dev".to_owned(), chain(&home, "dev"))]));
    b.fail(&probe, FailureClass::Offline);
    b.advance(seconds(30));
    let waiter = b.ask("dev");
    let token = b.token("first", minutes(480));
    b.read(TokenFile::Present(token));
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    b.key(waiter);
}

#[test]
fn a_profile_that_changes_and_changes_back_during_a_fetch_is_not_fetched_twice() {
    let mut b = Bench::logged_in();
    let waiter = b.ask("dev");
    let (other, back) = (two(&b.home, "other"), two(&b.home, "dev"));
    b.configure(other);
    b.configure(back);
    let fetch = b.role_fetch("dev");
    assert!(b.open.iter().all(|f| !f.link.to_string().contains(" dev ")), "a second fetch of one role");
    let key = b.give(&fetch, minutes(60));
    assert_eq!(b.key(waiter), key);
}

#[test]
fn what_no_profile_leads_to_goes_with_its_fetch() {
    let mut b = Bench::logged_in();
    b.ask("dev");
    let old = b.role_fetch("dev");
    let home = Arc::clone(&b.home);
    b.configure(config([("r1".to_owned(), chain(&home, "r1"))]));
    b.give(&old, minutes(60));
    b.advance(minutes(120));
    assert!(b.open.is_empty() && !b.broker.is_active(), "{:?}", b.broker);
}

#[test]
fn a_world_that_nobody_asks_for_is_forgotten_and_can_come_back() {
    let mut b = Bench::logged_in();
    let kept = b.obtain("dev", minutes(60));
    let other = bench::world("other");
    let profile = ProfileRef { world: Arc::clone(&other), name: "dev".to_owned() };
    let known = config([("dev".to_owned(), chain(&other, "dev"))]);
    b.step(Event::Config { world: Arc::clone(&other), config: Ok(known.clone()) });
    let waiter = b.demand(profile.clone(), Duration::ZERO, None);
    b.step(Event::Forget(Arc::clone(&other)));
    let token = b.token("other", minutes(480));
    b.read(TokenFile::Present(token));
    let fetch = b.role_fetch("dev");
    let key = b.give(&fetch, minutes(60));
    assert_eq!(b.key(waiter), key, "not while somebody waits");
    b.step(Event::Forget(Arc::clone(&other)));
    b.step(Event::Forget(Arc::clone(&b.home)));
    let profiles = b.status().profiles;
    assert!(
        profiles.len() == 2 && profiles.iter().all(|p| p.config_file.is_none()),
        "only the daemon's own world stays"
    );
    let waiter = b.ask("dev");
    assert_eq!(b.key(waiter), kept);
    b.step(Event::Config { world: other, config: Ok(known) });
    let waiter = b.demand(profile, Duration::ZERO, None);
    assert_eq!(b.answer(waiter), None);
    assert_eq!(b.reads.len(), 1, "its token is read anew");
}
