//! The token file, and who else writes it.

use super::*;

#[test]
fn the_echo_of_our_own_write_changes_nothing() {
    let mut b = Bench::with_token(minutes(10));
    let fetch = b.token_fetch();
    let token = b.give_token(&fetch, "renewed", minutes(15));
    b.keep(&["dev"]);
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    let started = b.started;
    // The file says whole seconds and is as old as its modification time.
    let mut echo = (*token).clone();
    echo.obtained_at = echo.obtained_at.shifted(137);
    echo.expires_at = echo.expires_at.shifted(-350);
    b.file_changed(TokenFile::Present(echo.into()));
    b.advance(minutes(5));
    assert_eq!(b.started, started, "a token of 15 minutes has no need of a renewal yet");
}

#[test]
fn a_newer_token_of_another_tool_is_adopted() {
    let mut b = Bench::with_token(minutes(10));
    let fetch = b.token_fetch();
    let token = b.token("cli", minutes(60));
    let credential = crate::core::credential::Credential::Token(Arc::clone(&token));
    b.end(&fetch, Outcome::Got { credential, issued_now: false }, false);
    b.keep(&["dev"]);
    assert_eq!(b.open.len(), 1);
    let fetch = b.role_fetch("dev");
    assert!(matches!(&fetch.with, Some(crate::core::credential::Credential::Token(t)) if *t == token));
}

#[test]
fn a_login_by_another_tool_ends_the_wait() {
    let mut b = Bench::new();
    let waiter = b.ask("dev");
    b.read(TokenFile::Absent);
    assert_eq!(b.class(waiter), FailureClass::NeedsLogin);
    let token = b.token("login", minutes(60));
    b.file_changed(TokenFile::Present(token));
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    let waiter = b.ask("dev");
    b.key(waiter);
}

#[test]
fn a_touched_file_does_not_make_a_refused_refresh_token_good_again() {
    let mut b = Bench::with_token(minutes(10));
    let fetch = b.token_fetch();
    b.fail(&fetch, FailureClass::NeedsLogin);
    let mut touched = (*b.token("first", minutes(10) - seconds(3))).clone();
    touched.obtained_at = b.now.wall;
    b.file_changed(TokenFile::Present(touched.into()));
    b.keep(&["dev"]);
    b.advance(minutes(10));
    assert!(b.open.iter().all(|f| f.with.is_some()), "no second CreateToken");
}

#[test]
fn a_file_that_is_gone_for_two_seconds_is_a_logout() {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(60));
    b.file_changed(TokenFile::Absent);
    b.advance(Duration::from_millis(1900));
    let waiter = b.ask("dev");
    b.key(waiter);
    b.advance(Duration::from_millis(100));
    b.read(TokenFile::Absent);
    let waiter = b.ask("dev");
    assert_eq!(b.class(waiter), FailureClass::NeedsLogin, "the role credentials are forgotten too");
    assert!(b.refusal(waiter).message.contains("signed out"));
}

#[test]
fn a_gap_of_a_rename_is_no_logout() {
    let mut b = Bench::logged_in();
    let key = b.obtain("dev", minutes(60));
    b.file_changed(TokenFile::Absent);
    b.advance(seconds(1));
    let token = b.token("renamed", minutes(480));
    b.file_changed(TokenFile::Present(token));
    b.advance(seconds(5));
    let waiter = b.ask("dev");
    assert_eq!(b.key(waiter), key);
}

#[test]
fn a_read_that_is_overtaken_by_the_one_that_finds_no_file() {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(60));
    let before = b.token("first", minutes(480));
    for late in [TokenFile::Present(before), torn()] {
        b.file_changed(TokenFile::Absent);
        b.file_changed(late);
        b.advance(seconds(2));
        b.read(TokenFile::Absent);
        let waiter = b.ask("dev");
        assert_eq!(b.class(waiter), FailureClass::NeedsLogin);
        let token = b.token("second", minutes(480));
        b.file_changed(TokenFile::Present(token));
        b.obtain("dev", minutes(60));
    }
}

#[test]
fn what_was_under_way_at_a_logout_is_not_served_afterwards() {
    let mut b = Bench::logged_in();
    let waiter = b.ask("dev");
    let fetch = b.role_fetch("dev");
    b.file_changed(TokenFile::Absent);
    b.advance(Duration::from_millis(2000));
    b.read(TokenFile::Absent);
    b.give(&fetch, minutes(60));
    let after = b.ask("dev");
    assert_eq!(b.class(after), FailureClass::NeedsLogin);
    b.answer(waiter).unwrap();
}

#[test]
fn a_file_that_vanishes_during_a_renewal_does_not_make_the_loop_spin() {
    let mut b = Bench::with_token(minutes(10));
    b.file_changed(TokenFile::Absent);
    b.advance(seconds(10));
    let fetch = b.token_fetch();
    b.end(&fetch, Outcome::LoggedOut, false);
    let waiter = b.ask("dev");
    assert_eq!(b.class(waiter), FailureClass::NeedsLogin);
}

fn torn() -> TokenFile {
    TokenFile::Unusable(bench::failure(FailureClass::Transient))
}

#[test]
fn a_torn_file_keeps_what_is_held() {
    let mut b = Bench::logged_in();
    b.file_changed(torn());
    b.advance(seconds(5));
    b.obtain("dev", minutes(60));
}

#[test]
fn a_file_that_was_torn_from_the_first_is_read_again_and_is_no_logout() {
    let mut b = Bench::new();
    let waiter = b.ask("dev");
    b.read(torn());
    assert_eq!(b.class(waiter), FailureClass::Transient);
    let mut waiter = b.ask("dev");
    for _ in 0..100 {
        b.advance(seconds(1));
        b.read(torn());
        assert!(
            b.answer(waiter)
                .is_none_or(|a| !matches!(a, Answer::Refused(r) if r.failure.class != FailureClass::Transient))
        );
        waiter = b.ask("dev");
    }
    b.advance(minutes(6));
    let token = b.token("whole", minutes(60));
    b.read(TokenFile::Present(token));
    b.role_fetch("dev");
}

#[test]
fn after_a_refused_grant_the_token_is_used_to_its_end() {
    let mut b = Bench::with_token(minutes(10));
    let fetch = b.token_fetch();
    b.fail(&fetch, FailureClass::NeedsLogin);
    let key = b.obtain("dev", minutes(60));
    b.advance(minutes(11));
    let (held, cold) = (b.ask("dev"), b.ask("r1"));
    assert_eq!(b.key(held), key, "role credentials stay in service");
    assert_eq!(b.class(cold), FailureClass::NeedsLogin);
}

#[test]
fn without_a_refresh_token_nothing_is_sent_and_a_finding_warns() {
    let mut b = Bench::new();
    let token = b.plain_token("legacy", minutes(40));
    b.load(TokenFile::Present(token));
    b.keep(&["dev"]);
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    b.advance(minutes(15));
    assert!(b.open.is_empty());
    assert!(b.status().findings.iter().any(|f| f.name == "no-refresh-token"));
    b.advance(minutes(30));
    let waiter = b.ask("r1");
    assert_eq!(b.class(waiter), FailureClass::NeedsLogin);
}

#[test]
fn an_expired_registration_is_a_needed_login_without_a_call() {
    let mut b = Bench::new();
    let mut token = (*b.token("old", Duration::ZERO)).clone();
    token.refresh.as_mut().unwrap().registration_expires_at = Some(b.now.wall);
    let waiter = b.ask("dev");
    b.read(TokenFile::Present(token.into()));
    assert_eq!(b.class(waiter), FailureClass::NeedsLogin);
    assert!(b.refusal(waiter).message.contains("registration expired"));
    assert!(b.open.is_empty());
}

#[test]
fn a_token_file_that_is_said_to_be_a_roles_is_ignored() {
    let mut b = Bench::logged_in();
    b.ask("dev");
    let fetch = b.role_fetch("dev");
    let token = b.token("strange", minutes(60));
    b.step(Event::TokenRead { node: fetch.node, file: TokenFile::Present(token) });
    let key = b.give(&fetch, minutes(60));
    let waiter = b.ask("dev");
    assert_eq!(b.key(waiter), key);
}

#[test]
fn a_tool_that_drops_the_refresh_token_from_the_file_costs_no_login() {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(60));
    // AWS sent no new one, so botocore writes none: the one before is still good.
    let dropped = b.plain_token("theirs", minutes(500));
    b.file_changed(TokenFile::Present(dropped));
    assert!(b.session_status().renewable);
    b.keep(&["dev"]);
    b.advance(minutes(482));
    let fetch = b.token_fetch();
    let held = fetch.held.as_ref().and_then(|c| c.as_token()).unwrap();
    assert_eq!(held.access_token.expose(), "SECRET-access-theirs");
    assert_eq!(held.refresh.as_ref().unwrap().refresh_token.expose(), "SECRET-refresh-first");
}

#[test]
fn a_broken_file_is_read_again_after_a_refresh_by_hand_too() {
    let mut b = Bench::new();
    b.ask("dev");
    b.read(torn());
    b.refresh("dev");
    b.read(torn());
    assert!(b.session_status().next.is_some_and(|next| next.what == "retry"));
    b.advance(minutes(6));
    assert!(!b.reads.is_empty());
}
