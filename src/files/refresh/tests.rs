//! The whole protocol against other tools, kills and lost answers, without waiting.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::files::testing::{Fixture, START, text, token};

fn call(begin: Begin) -> Box<Refresh> {
    match begin {
        Begin::Call(refresh) => refresh,
        other => panic!("no call: {other:?}"),
    }
}

/// A session with one token on disk, and the same token held.
fn logged_in() -> (Fixture, Arc<SsoToken>) {
    let fixture = Fixture::new();
    fixture.write(&text("at1", "rt1", 1));
    let held = fixture.on_disk();
    (fixture, held)
}

#[test]
fn a_renewal_stores_the_rotated_token_and_forgets_the_flight() {
    let (fixture, held) = logged_in();
    let process = fixture.process();
    let refresh = call(process.begin(Some(&held), START));
    assert_eq!(refresh.grant().refresh_token.expose(), "rt1");
    assert!(!refresh.was_interrupted());
    assert_eq!(refresh.warning(), None);
    let sent = Fingerprint::of(&"rt1".into());
    assert!(fixture.state.load().0.in_flight(&sent).is_some());
    assert!(matches!(refresh.finish_success(token("at2", "rt2", 9)), Stored::Written(_)));
    assert_eq!(fixture.state.load().0.in_flight(&sent), None);
    assert_eq!(fixture.on_disk().refresh.as_ref().unwrap().refresh_token.expose(), "rt2");
}

#[test]
fn without_rotation_the_old_refresh_token_goes_on() {
    let (fixture, held) = logged_in();
    let refresh = call(fixture.process().begin(Some(&held), START));
    let Stored::Written(token) = refresh.finish_success(token("at2", "", 9)) else { panic!("not written") };
    assert_eq!(token.refresh, held.refresh);
    assert_eq!(fixture.on_disk().refresh, held.refresh);
}

#[test]
fn what_another_tool_renewed_is_adopted_without_a_call() {
    let (fixture, held) = logged_in();
    fixture.write(&text("theirs", "rt2", 9));
    let Begin::Adopted(found) = fixture.process().begin(Some(&held), START) else { panic!("not adopted") };
    assert_eq!(found.access_token.expose(), "theirs");
    assert!(matches!(fixture.process().begin(None, START), Begin::Adopted(_)), "a caller that holds nothing");
}

#[test]
fn another_login_is_adopted_however_short_it_lives() {
    let (fixture, held) = logged_in();
    fixture.write(&text("login", "rt2", 1).replace(r#""clientId":"client""#, r#""clientId":"other""#));
    let Begin::Adopted(found) = fixture.process().begin(Some(&held), START) else { panic!("not adopted") };
    assert_eq!(found.access_token.expose(), "login");
}

#[test]
fn a_logout_a_missing_grant_and_a_broken_file_are_told_apart() {
    let (fixture, held) = logged_in();
    let process = fixture.process();
    fs::remove_file(fixture.cache.path()).unwrap();
    fs::write(fixture.cache.journal(), text("left", "over", 9)).unwrap();
    assert!(matches!(process.begin(Some(&held), START), Begin::LoggedOut));
    assert_eq!(fixture.names(), [""; 0], "the journal of a session that was logged out goes with it");

    fixture.write(&text("at1", "", 1));
    let held = fixture.on_disk();
    assert!(matches!(process.begin(Some(&held), START), Begin::NoGrant));

    fixture.write("{");
    assert!(matches!(process.begin(None, START), Begin::Unusable(_)));
    fs::remove_file(fixture.cache.path()).unwrap();
    fs::create_dir(fixture.cache.path()).unwrap();
    assert!(matches!(process.begin(Some(&held), START), Begin::Unusable(_)));
}

#[test]
fn a_torn_file_does_not_stop_the_renewal_of_a_good_copy() {
    let (fixture, held) = logged_in();
    fixture.write("{\"acc");
    let refresh = call(fixture.process().begin(Some(&held), START));
    assert!(matches!(refresh.finish_success(token("at2", "rt2", 9)), Stored::Written(_)));
    assert_eq!(fixture.on_disk().access_token.expose(), "at2");
}

#[test]
fn two_agents_never_call_side_by_side() {
    let (fixture, held) = logged_in();
    let (one, other) = (fixture.process(), fixture.process());
    let refresh = call(one.begin(Some(&held), START));
    let Begin::Unusable(busy) = other.begin(Some(&held), START) else { panic!("called side by side") };
    assert_eq!(busy.class, FailureClass::Transient);
    assert_eq!(other.recover(), Recovered::Nothing, "and nobody touches its journal");
    assert!(matches!(refresh.finish_success(token("at2", "rt2", 9)), Stored::Written(_)));
    assert!(matches!(other.begin(Some(&held), START), Begin::Adopted(_)));
}

#[test]
fn a_refused_token_is_never_sent_again_not_after_a_restart_either() {
    let (fixture, held) = logged_in();
    let refresh = call(fixture.process().begin(Some(&held), START));
    assert_eq!(refresh.finish_invalid_grant(), AfterInvalidGrant::Refused);
    assert!(matches!(fixture.process().begin(Some(&held), START), Begin::Refused));
    fixture.write(&text("new-login", "rt9", 9));
    let held = fixture.on_disk();
    assert_eq!(call(fixture.process().begin(Some(&held), START)).grant().refresh_token.expose(), "rt9");
}

#[test]
fn invalid_grant_means_first_of_all_that_another_tool_was_faster() {
    let (fixture, held) = logged_in();
    let refresh = call(fixture.process().begin(Some(&held), START));
    fixture.write(&text("theirs", "rt2", 1));
    assert!(matches!(refresh.finish_invalid_grant(), AfterInvalidGrant::Adopted(_)));
    // Its successor may be used; the refused one may not, even if somebody writes it back.
    let theirs = fixture.on_disk();
    drop(call(fixture.process().begin(Some(&theirs), START)));
    fixture.write(&text("at1", "rt1", 1));
    assert!(matches!(fixture.process().begin(Some(&held), START), Begin::Refused));

    let (fixture, held) = logged_in();
    let refresh = call(fixture.process().begin(Some(&held), START));
    fs::remove_file(fixture.cache.path()).unwrap();
    assert_eq!(refresh.finish_invalid_grant(), AfterInvalidGrant::LoggedOut);
}

#[test]
fn a_lost_answer_is_retried_once() {
    let (fixture, held) = logged_in();
    let refresh = call(fixture.process().begin(Some(&held), START));
    let AfterUnknown::RetryOnce(refresh) = refresh.finish_unknown() else { panic!("no retry") };
    assert_eq!(refresh.grant().refresh_token.expose(), "rt1");
    assert!(matches!(refresh.finish_unknown(), AfterUnknown::GiveUp));
    let refresh = call(fixture.process().begin(Some(&held), START));
    assert!(refresh.was_interrupted(), "the next round knows that an answer was lost");
    fixture.write(&text("theirs", "rt2", 9));
    assert!(matches!(refresh.finish_unknown(), AfterUnknown::Adopted(_)));
    let refresh = call(fixture.process().begin(Some(&fixture.on_disk()), START));
    fs::remove_file(fixture.cache.path()).unwrap();
    assert!(matches!(refresh.finish_unknown(), AfterUnknown::LoggedOut));
}

#[test]
fn a_plain_failure_uses_nothing_up() {
    let (fixture, held) = logged_in();
    call(fixture.process().begin(Some(&held), START)).finish_failed();
    let again = call(fixture.process().begin(Some(&held), START));
    assert!(!again.was_interrupted());
}

#[test]
fn a_killed_agent_loses_nothing() {
    let (fixture, held) = logged_in();
    let killed = call(fixture.process().begin(Some(&held), START));
    // Killed between the journal and the rename.
    fs::write(fixture.cache.journal(), text("at2", "rt2", 9)).unwrap();
    drop(killed);
    let Begin::Adopted(token) = fixture.process().begin(Some(&held), START) else { panic!("the journal was lost") };
    assert_eq!(token.refresh.as_ref().unwrap().refresh_token.expose(), "rt2");
    assert_eq!(fixture.on_disk(), token);
}

#[test]
fn a_token_in_memory_alone_is_used_for_the_next_renewal_and_stored_later() {
    let (fixture, held) = logged_in();
    let process = fixture.process();
    let refresh = call(process.begin(Some(&held), START));
    fs::create_dir(fixture.cache.journal()).unwrap();
    let Stored::MemoryOnly(kept, _) = refresh.finish_success(token("at2", "rt2", 9)) else { panic!("written?") };
    let refresh = call(process.begin(Some(&kept), START));
    assert_eq!(refresh.grant().refresh_token.expose(), "rt2", "not the used one on disk");
    refresh.finish_failed();
    fs::remove_dir(fixture.cache.journal()).unwrap();
    assert_eq!(process.store_again(&kept, false), Stored::Written(Arc::clone(&kept)));
    assert_eq!(fixture.on_disk().access_token.expose(), "at2");
    assert!(fs::read_to_string(fixture.cache.path()).unwrap().contains("toolsOwn"), "keys of others stay");
}

#[test]
fn a_login_in_memory_alone_is_stored_later_and_no_renewal_brings_a_file_back() {
    let fixture = Fixture::new();
    let process = fixture.process();
    let login = Arc::new(token("at1", "rt1", 9));
    assert_eq!(process.store_again(&login, false), Stored::LoggedOut);
    fs::create_dir(fixture.cache.journal()).unwrap();
    assert!(matches!(process.store_again(&login, true), Stored::MemoryOnly(..)));
    fs::remove_dir(fixture.cache.journal()).unwrap();
    assert_eq!(process.store_again(&login, true), Stored::Written(Arc::clone(&login)));
    assert_eq!(fixture.on_disk().refresh, login.refresh);
    // Another login came first.
    fixture.write(&text("at2", "rt2", 10));
    assert!(matches!(process.store_again(&login, true), Stored::AdoptedOther(_)));
}

#[test]
fn a_state_folder_open_to_others_stops_the_renewal() {
    let (fixture, held) = logged_in();
    fs::create_dir(fixture.state.folder()).unwrap();
    fs::set_permissions(fixture.state.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let Begin::Unlockable(failure) = fixture.process().begin(Some(&held), START) else { panic!("it went on") };
    assert_eq!(failure.class, FailureClass::Misconfigured);
    assert_eq!(fixture.process().check_lock(), Err(failure));
    fs::set_permissions(fixture.state.folder(), fs::Permissions::from_mode(0o700)).unwrap();
    let _refresh = call(fixture.process().begin(Some(&held), START));
    assert_eq!(fixture.process().check_lock(), Ok(()), "who holds it does not matter");
}

#[test]
fn one_file_has_one_lock_whatever_path_leads_to_it() {
    let (fixture, _) = logged_in();
    let link = fixture.root.path().join("link");
    std::os::unix::fs::symlink(fixture.cache.path().parent().unwrap(), &link).unwrap();
    let world = crate::core::source::World { sso_cache: link, ..Default::default() };
    let linked = TokenCache::new(&world, fixture.cache.session(), crate::files::Pauses::none());
    let linked = RefreshFiles::new(linked, fixture.state.clone());
    assert_eq!(linked.lock_path(), fixture.process().lock_path());
}
