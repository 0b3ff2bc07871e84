//! When no login is begun, and loops of others.

use super::*;

/// A login that a person answers, and whose token the portal refuses.
fn in_vain(b: &mut Bench) {
    let id = b.person_for_session();
    b.shows();
    b.sign_in("stripped");
    b.verified(Err(Verdict::TokenRefused));
    assert_eq!(b.login_class(id), FailureClass::Intercepted);
    // It ends, and nobody can renew it.
    b.file_changed(TokenFile::Absent);
    b.advance(seconds(3));
    b.file_changed(TokenFile::Absent);
}

#[test]
fn logins_in_vain_are_paused_until_something_changes() {
    let mut b = signed_out();
    in_vain(&mut b);
    in_vain(&mut b);
    let refused = b.person_for_session();
    let view = b.view(refused);
    assert_eq!((view.state, b.login_class(refused)), (LoginState::Refused, FailureClass::LoginPaused));
    assert!(view.retry_at.is_some_and(|at| at >= b.now.wall.plus(minutes(9))), "{view:?}");
    let pause = b.session_status().login_pause.unwrap();
    assert!(pause.failure.message.contains("the bearer header"), "{pause:?}");
    let waiter = b.ask("dev");
    let refusal = b.refusal(waiter);
    assert_eq!(refusal.class, FailureClass::NeedsLogin, "for the machine it stays that");
    assert!(
        refusal.message.contains("logins are paused until ") && refusal.fix.contains("agentctl reset"),
        "{refusal:?}"
    );
    let forced = b.demand_login(Target::Profile(b.profile("dev")), |d| (d.force, d.terminal) = (true, true));
    assert_eq!((b.state(forced), b.logins.len()), (LoginState::Pending, 1), "a person may insist");
    b.ends(Ending::Unanswered);

    b.step(Event::NetworkChanged);
    let tried = b.person_for_session();
    assert_eq!((b.state(tried), b.logins.len()), (LoginState::Pending, 0), "first somebody looks");
    b.probed(Ok(()));
    b.shows();
    b.sign_in("good");
    b.verified(Ok(()));
    assert_eq!((b.state(tried), b.session_status().login_pause), (LoginState::Done, None));
}

/// A login that fails behind a chain that is not trusted here, before there was anything to open.
fn rejected(b: &mut Bench) -> LoginId {
    let id = b.hook();
    b.ends(Ending::Failed(bench::failure(FailureClass::Intercepted).of_rejected_chain()));
    id
}

#[test]
fn one_login_behind_a_chain_that_is_not_trusted_is_enough() {
    let mut b = signed_out();
    let first = rejected(&mut b);
    assert_eq!(b.login_class(first), FailureClass::Intercepted);
    let refused = b.hook();
    assert_eq!((b.state(refused), b.login_class(refused)), (LoginState::Refused, FailureClass::LoginPaused));
    assert!(b.probes.is_empty() && b.logins.is_empty(), "while it is open nobody looks");
}

#[test]
fn before_a_login_is_tried_again_somebody_looks() {
    let mut b = signed_out();
    rejected(&mut b);
    for _ in 0..3 {
        b.advance(minutes(11));
        let all: Vec<_> = (0..20).map(|_| b.hook()).collect();
        assert_eq!((b.probes.len(), b.logins.len()), (1, 0), "once for all of them");
        b.probed(Err(FailureClass::Offline));
        for id in all {
            assert_eq!((b.state(id), b.login_class(id)), (LoginState::Refused, FailureClass::LoginPaused));
        }
        let left = b.session_status().login_pause.unwrap().until.unwrap().since(b.now.wall);
        assert!((minutes(10)..=minutes(11)).contains(&left), "as long as before: {left:?}");
    }
    b.advance(minutes(11));
    let all: Vec<_> = (0..20).map(|_| b.hook()).collect();
    b.probed(Ok(()));
    assert_eq!(b.logins.len(), 1);
    b.shows();
    b.sign_in("good");
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    assert!(all.into_iter().all(|id| b.state(id) == LoginState::Done));
    assert_eq!(b.session_status().login_pause, None);
}

#[test]
fn a_token_that_comes_while_somebody_looks_is_enough() {
    let mut b = signed_out();
    rejected(&mut b);
    b.step(Event::NetworkChanged);
    let id = b.hook();
    let token = b.token("elsewhere", minutes(480));
    b.file_changed(TokenFile::Present(token));
    b.probed(Ok(()));
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    assert_eq!((b.state(id), b.logins.len()), (LoginState::Done, 0));
    // The look was of no use, and is too old for the next pause.
    b.step(Event::SignedOut { world: Arc::clone(&b.home), session: bench::corp(), at: b.now.wall });
    b.file_changed(TokenFile::Absent);
    b.advance(minutes(90));
    b.hook();
    b.ends(Ending::Failed(bench::failure(FailureClass::Intercepted).of_rejected_chain()));
    b.advance(minutes(180));
    b.hook();
    assert_eq!((b.probes.len(), b.logins.len()), (1, 0), "somebody looks again");
}

#[test]
fn a_denial_counts_at_once_while_the_portals_chain_is_not_trusted() {
    let mut b = Bench::with_token(minutes(30));
    let waiter = b.ask("dev");
    let fetch = b.role_fetch("dev");
    let failure = bench::failure(FailureClass::Intercepted).of_rejected_chain();
    b.end(&fetch, Outcome::Failed(Verdict::Failed { failure, retry_after: None }), false);
    b.refusal(waiter);
    b.file_changed(TokenFile::Absent);
    b.advance(seconds(3));
    b.file_changed(TokenFile::Absent);
    b.person_for_session();
    b.shows();
    b.ends(Ending::Denied);
    let refused = b.person_for_session();
    assert_eq!(b.state(refused), LoginState::Refused);
}

#[test]
fn a_reset_lets_a_login_be_tried_again() {
    let mut b = signed_out();
    b.hook();
    b.shows();
    b.ends(Ending::Unanswered);
    let refused = b.hook();
    assert_eq!((b.state(refused), b.view(refused).retry_at), (LoginState::Refused, None));
    b.step(Event::ResetLogins(Arc::clone(&b.home), bench::corp()));
    let tried = b.hook();
    assert_eq!(b.state(tried), LoginState::Pending);
}

#[test]
fn where_memory_is_lost_nobody_is_disturbed() {
    let mut b = Bench::bare();
    b.step(Event::Logins(None));
    let world = Arc::clone(&b.home);
    b.configure(bench::config([("dev".to_owned(), bench::chain(&world, "dev"))]));
    let id = b.hook();
    b.read(TokenFile::Absent);
    assert_eq!((b.state(id), b.login_class(id)), (LoginState::Refused, FailureClass::LoginPaused));
    let person = b.person();
    assert_eq!(b.state(person), LoginState::Pending);
}

#[test]
fn a_way_that_is_shut_is_no_strike() {
    let mut b = signed_out();
    for _ in 0..5 {
        let id = b.person();
        b.ends(Ending::Failed(bench::failure(FailureClass::Offline)));
        assert_eq!(b.login_class(id), FailureClass::Offline);
    }
    for n in 0..3 {
        let id = b.person();
        assert_eq!(b.state(id), LoginState::Pending, "{n}");
        b.shows();
        b.ends(Ending::Denied);
    }
    let refused = b.person();
    assert_eq!(b.state(refused), LoginState::Refused);
}

fn finding(b: &Bench, name: &str) -> bool {
    b.status().findings.iter().any(|finding| finding.name == name)
}

#[test]
fn who_asks_for_logins_although_all_is_valid_is_found_out() {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(60));
    for n in 0..3 {
        assert!(!finding(&b, "phantom-demand"), "{n}");
        b.person();
        let id = b.hook();
        assert_eq!(b.state(id), LoginState::Done);
    }
    assert!(finding(&b, "phantom-demand"));
    b.advance(minutes(11));
    assert!(!finding(&b, "phantom-demand"), "no longer");
}

#[test]
fn silent_renewals_on_demand_are_no_phantoms() {
    let mut b = Bench::logged_in();
    for _ in 0..4 {
        b.hook();
        let fetch = b.role_fetch("dev");
        b.give(&fetch, minutes(2));
        b.advance(minutes(2));
    }
    assert!(!finding(&b, "phantom-demand"));
}

#[test]
fn a_tool_that_logs_in_again_and_again_is_found_out() {
    let mut b = Bench::logged_in();
    for n in 0..3 {
        assert!(!finding(&b, "foreign-loop"), "{n}");
        b.advance(minutes(1));
        let token = b.token(&format!("again{n}"), minutes(480));
        b.file_changed(TokenFile::Present(token));
    }
    assert!(finding(&b, "foreign-loop"));
}

#[test]
fn a_tool_that_renews_near_the_end_is_none() {
    let mut b = Bench::with_token(minutes(14));
    for n in 0..5 {
        let token = b.token(&format!("renewed{n}"), minutes(15));
        b.file_changed(TokenFile::Present(token));
        b.advance(minutes(1));
    }
    assert!(!finding(&b, "foreign-loop"));
}
