//! Logins: who is sent to a browser, how often, and what comes of it.

mod pauses;

use super::*;
use crate::core::broker::LoginCall;
use crate::core::classify::Verdict;
use crate::core::credential::SsoToken;
use crate::core::login::{BUDGET, Ending, Flow, FlowWish, LoginDemand, LoginId, LoginState, LoginView, Shown, Target};

impl Bench {
    fn demand_login(&mut self, target: Target, with: impl FnOnce(&mut LoginDemand)) -> LoginId {
        let id = LoginId(self.waiter().0);
        let mut demand =
            LoginDemand { id, target, flow: FlowWish::Auto, force: false, terminal: false, display: true, ci: false };
        with(&mut demand);
        self.step(Event::Login(demand));
        id
    }

    /// Claude Code's hook: no terminal.
    fn hook(&mut self) -> LoginId {
        self.demand_login(Target::Profile(self.profile("dev")), |_| {})
    }

    fn person(&mut self) -> LoginId {
        self.demand_login(Target::Profile(self.profile("dev")), |d| d.terminal = true)
    }

    fn person_for_session(&mut self) -> LoginId {
        let world = Arc::clone(&self.home);
        self.demand_login(Target::Session { world, id: "corp".into() }, |d| d.terminal = true)
    }

    fn view(&self, id: LoginId) -> LoginView {
        self.broker.login_view(id, self.now).expect("a login that is known")
    }

    fn state(&self, id: LoginId) -> LoginState {
        self.view(id).state
    }

    fn login_class(&self, id: LoginId) -> FailureClass {
        self.view(id).failure.expect("a failure").class
    }

    /// The shell has a URL.
    fn shows(&mut self) {
        let call = self.logins.last().expect("a login is begun").clone();
        let shown = Shown {
            url: format!("https://example/{}", call.attempt.0),
            user_code: None,
            expires_at: self.now.wall.plus(minutes(10)),
        };
        self.step(Event::LoginShown(call.attempt, shown));
    }

    fn ends(&mut self, ending: Ending) -> LoginCall {
        let call = self.logins.pop().expect("a login is begun");
        self.step(Event::LoginEnded(call.attempt, ending));
        call
    }

    fn sign_in(&mut self, text: &str) {
        let token = Arc::new(SsoToken { obtained_at: self.now.wall, ..(*self.token(text, minutes(480))).clone() });
        self.ends(Ending::Signed(token));
    }

    /// Somebody has looked at the way to AWS.
    fn probed(&mut self, result: Result<(), FailureClass>) {
        let call = self.probes.pop().expect("the way to AWS is looked at");
        self.step(Event::Probed(call, result.map_err(bench::failure)));
    }

    fn verified(&mut self, result: Result<(), Verdict>) {
        let verify = self.verifications.pop().expect("a token is tried");
        self.step(Event::Verified(verify.login, result));
    }
}

/// Nobody is logged in.
fn signed_out() -> Bench {
    let mut b = Bench::new();
    b.load(TokenFile::Absent);
    b
}

#[test]
fn valid_credentials_are_success_without_a_browser() {
    let mut b = Bench::logged_in();
    let id = b.hook();
    assert_eq!(b.state(id), LoginState::Pending);
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    assert_eq!((b.state(id), b.view(id).expires_at), (LoginState::Done, Some(b.now.wall.plus(minutes(60)))));
    let again = b.person();
    assert_eq!(b.state(again), LoginState::Done);
    assert!(b.logins.is_empty());
}

#[test]
fn what_renews_silently_opens_nothing() {
    let mut b = Bench::with_token(minutes(10));
    b.advance(minutes(11));
    let id = b.hook();
    let fetch = b.token_fetch();
    b.give_token(&fetch, "second", minutes(60));
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    assert_eq!(b.state(id), LoginState::Done);
    assert!(b.logins.is_empty());
}

#[test]
fn a_login_is_made_and_counts_when_the_profile_has_credentials() {
    let mut b = signed_out();
    let id = b.hook();
    assert_eq!(b.logins.len(), 1);
    assert_eq!(b.logins[0].flow, Flow::Pkce);
    assert!(!b.view(id).open, "there is nothing to open yet");
    b.shows();
    let view = b.view(id);
    assert!(view.open && view.shown.is_some() && view.openings_today == 1, "{view:?}");
    assert!(b.session_status().login.is_some());
    b.sign_in("new");
    assert_eq!(b.state(id), LoginState::Pending, "signed in is not yet done");
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    assert_eq!(b.state(id), LoginState::Done);
    assert!(b.session_status().login.is_none());
}

#[test]
fn signed_in_and_the_role_denied_says_both() {
    let mut b = signed_out();
    let id = b.person();
    b.shows();
    b.sign_in("new");
    let fetch = b.role_fetch("dev");
    b.fail(&fetch, FailureClass::AccessDenied);
    let failure = b.view(id).failure.unwrap();
    assert_eq!(failure.class, FailureClass::AccessDenied);
    assert!(failure.message.starts_with("signed in, but "), "{failure:?}");
}

#[test]
fn no_failure_but_an_ended_session_opens_a_browser() {
    for class in FailureClass::ALL.into_iter().filter(|c| *c != FailureClass::NeedsLogin) {
        let mut b = Bench::logged_in();
        let id = b.hook();
        let fetch = b.role_fetch("dev");
        b.fail(&fetch, class);
        b.advance(seconds(61));
        b.fail_all(class);
        assert_eq!(b.state(id), LoginState::Failed, "{class}");
        assert!(b.logins.is_empty(), "{class}");
    }
}

#[test]
fn all_who_ask_meanwhile_join_and_one_opens() {
    let mut b = signed_out();
    let first = b.hook();
    b.shows();
    let others: Vec<_> = (0..19).map(|n| if n % 2 == 0 { b.hook() } else { b.person() }).collect();
    assert_eq!(b.logins.len(), 1);
    let url = b.view(first).shown;
    for other in &others {
        let view = b.view(*other);
        assert_eq!((view.shown.as_ref(), view.open), (url.as_ref(), false));
    }
    b.ends(Ending::Denied);
    for id in others.into_iter().chain([first]) {
        assert_eq!(b.login_class(id), FailureClass::NeedsLogin);
    }
}

#[test]
fn a_night_with_a_looping_client_costs_one_tab() {
    let mut b = signed_out();
    let mut openings = 0;
    for second in 0..24 * 3600 {
        let id = b.hook();
        if b.logins.len() == 1 && b.view(id).shown.is_none() {
            b.shows();
            openings += 1;
        }
        b.pass(seconds(1));
        // AWS gives up after ten minutes.
        if !b.logins.is_empty() && second % 600 == 599 {
            b.ends(Ending::Unanswered);
        }
        if second % 30 == 0 {
            b.step(Event::Tick);
        }
    }
    assert_eq!(openings, 1);
    let id = b.hook();
    assert_eq!((b.state(id), b.login_class(id)), (LoginState::Refused, FailureClass::LoginPaused));
    let id = b.person();
    assert_eq!(b.state(id), LoginState::Pending, "a person is there");
    assert_eq!(b.logins.len(), 1);
}

#[test]
fn six_openings_a_day_without_a_terminal() {
    let mut b = signed_out();
    let mut openings = 0;
    for _ in 0..50 {
        b.hook();
        if !b.logins.is_empty() {
            b.shows();
            openings += 1;
            // Each time somebody answers, with a no.
            b.ends(Ending::Denied);
        }
        b.advance(minutes(20));
    }
    assert_eq!(openings, BUDGET);
    b.advance(minutes(24 * 60));
    b.hook();
    assert_eq!(b.logins.len(), 1, "another day");
}

#[test]
fn what_failed_before_there_was_a_url_costs_nothing() {
    let mut b = signed_out();
    for _ in 0..20 {
        let id = b.hook();
        b.ends(Ending::Failed(bench::failure(FailureClass::Offline)));
        assert_eq!(b.login_class(id), FailureClass::Offline);
        b.advance(minutes(1));
    }
    assert_eq!(b.remembered.values().next().unwrap().openings_today(b.now.wall), 0);
}

#[test]
fn nobody_answers_in_ci() {
    let mut b = signed_out();
    let id = b.demand_login(Target::Profile(b.profile("dev")), |d| d.ci = true);
    assert_eq!((b.state(id), b.login_class(id)), (LoginState::Refused, FailureClass::NeedsLogin));
    assert!(b.logins.is_empty());
}

#[test]
fn a_login_by_another_tool_ends_ours() {
    let mut b = signed_out();
    let id = b.hook();
    b.shows();
    b.advance(seconds(5));
    let token = b.token("elsewhere", minutes(480));
    b.file_changed(TokenFile::Present(token));
    assert!(b.logins.is_empty(), "it is given up");
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    assert_eq!(b.state(id), LoginState::Done);
}

#[test]
fn a_token_from_elsewhere_is_a_person() {
    let mut b = signed_out();
    b.hook();
    b.shows();
    b.ends(Ending::Unanswered);
    b.advance(minutes(10));
    let id = b.hook();
    assert_eq!(b.state(id), LoginState::Refused);
    // Then somebody signs in with the AWS CLI, and out again.
    let token = b.token("elsewhere", minutes(480));
    b.file_changed(TokenFile::Present(token));
    b.file_changed(TokenFile::Absent);
    b.advance(seconds(3));
    b.read(TokenFile::Absent);
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    let id = b.hook();
    assert_eq!((b.state(id), b.logins.len()), (LoginState::Pending, 1));
}

#[test]
fn the_next_agent_knows_what_nobody_answered() {
    let mut b = signed_out();
    b.hook();
    b.shows();
    let remembered = b.remembered.clone();
    let mut next = Bench::bare();
    next.step(Event::Logins(Some(remembered)));
    let world = Arc::clone(&next.home);
    next.configure(bench::config([("dev".to_owned(), bench::chain(&world, "dev"))]));
    let id = next.hook();
    next.read(TokenFile::Absent);
    assert_eq!((next.state(id), next.login_class(id)), (LoginState::Refused, FailureClass::LoginPaused));
    assert!(next.broker.login_view(LoginId(u64::from(u32::MAX)), next.now).is_none());
}

#[test]
fn a_session_is_verified_by_a_call_that_needs_no_role() {
    let mut b = Bench::logged_in();
    let id = b.person_for_session();
    assert_eq!(b.state(id), LoginState::Pending);
    b.verified(Ok(()));
    assert_eq!(b.state(id), LoginState::Done);
    let id = b.person_for_session();
    assert_eq!(b.state(id), LoginState::Done, "known to be good");
    assert!(b.logins.is_empty() && b.verifications.is_empty());
}

#[test]
fn a_session_that_aws_ended_is_renewed_first_and_logged_in_to_then() {
    let mut b = Bench::logged_in();
    let id = b.person_for_session();
    b.advance(minutes(2));
    b.verified(Err(Verdict::TokenRefused));
    assert_eq!(b.state(id), LoginState::Pending);
    let fetch = b.token_fetch();
    assert!(b.logins.is_empty(), "what renews silently opens nothing");
    b.fail(&fetch, FailureClass::NeedsLogin);
    assert_eq!(b.logins.len(), 1);
    b.shows();
    b.sign_in("new");
    b.verified(Ok(()));
    assert_eq!(b.state(id), LoginState::Done);
}

#[test]
fn a_fresh_token_that_is_refused_is_no_reason_to_log_in_again() {
    let mut b = signed_out();
    let id = b.person_for_session();
    b.shows();
    b.sign_in("new");
    b.verified(Err(Verdict::TokenRefused));
    assert_eq!(b.login_class(id), FailureClass::Intercepted);
    assert!(b.logins.is_empty());
}

#[test]
fn a_person_may_force_a_login_and_a_hook_may_not() {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(60));
    let hook = b.demand_login(Target::Profile(b.profile("dev")), |d| d.force = true);
    assert_eq!(b.state(hook), LoginState::Done);
    let person = b.demand_login(Target::Profile(b.profile("dev")), |d| (d.force, d.terminal) = (true, true));
    assert_eq!(b.state(person), LoginState::Pending);
    assert_eq!(b.logins.len(), 1);
}

#[test]
fn a_person_brings_an_ended_session_on_although_keys_still_live() {
    let mut b = Bench::logged_in();
    b.obtain("dev", minutes(60));
    b.file_changed(TokenFile::Absent);
    b.advance(seconds(1));
    b.ask("r1");
    let other = Some("another client".to_owned());
    let token = SsoToken { client_id: other, ..(*b.plain_token("short", minutes(20))).clone() };
    let token = Arc::new(token);
    b.file_changed(TokenFile::Present(token));
    b.advance(minutes(21));
    b.ask("r2");
    let hook = b.hook();
    assert_eq!(b.state(hook), LoginState::Done, "nobody is disturbed while keys live");
    let person = b.person();
    assert_eq!((b.state(person), b.logins.len()), (LoginState::Pending, 1));
}

#[test]
fn what_does_not_exist_is_told() {
    let mut b = Bench::logged_in();
    let world = Arc::clone(&b.home);
    let id = b.demand_login(Target::Session { world, id: "cor".into() }, |_| {});
    let failure = b.view(id).failure.unwrap();
    assert_eq!((failure.class, failure.fix.as_str()), (FailureClass::Misconfigured, "did you mean 'corp'?"));
    let id = b.demand_login(Target::Profile(b.profile("nope")), |_| {});
    assert_eq!(b.login_class(id), FailureClass::Misconfigured);
}

#[test]
fn without_a_screen_it_is_a_code() {
    let mut b = signed_out();
    b.demand_login(Target::Profile(b.profile("dev")), |d| d.display = false);
    assert_eq!(b.logins[0].flow, Flow::Device);
}

#[test]
fn a_person_is_told_once_of_a_login_that_is_needed() {
    let mut b = signed_out();
    let profile = b.profile("dev");
    for _ in 0..3 {
        b.step(Event::LoginAwaited(profile.clone()));
    }
    assert_eq!(b.notices.len(), 1);
    assert!(b.notices[0].shown.is_none() && b.notices[0].session == "corp");
    b.hook();
    b.shows();
    b.step(Event::LoginAwaited(profile.clone()));
    assert!(b.notices.len() == 2 && b.notices[1].shown.is_some(), "the page itself is news: {:?}", b.notices);
    b.sign_in("new");
    b.file_changed(TokenFile::Absent);
    b.advance(seconds(3));
    b.file_changed(TokenFile::Absent);
    b.step(Event::LoginAwaited(profile));
    assert_eq!(b.notices.len(), 3, "another time");
}

#[test]
fn who_sits_at_a_terminal_needs_no_notice() {
    let mut b = signed_out();
    b.person();
    b.shows();
    assert!(b.notices.is_empty());
}
