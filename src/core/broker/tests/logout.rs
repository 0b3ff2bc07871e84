//! Logouts: who is meant, and that nothing comes back.

use super::*;
use crate::core::broker::LogoutTarget;
use crate::core::credential::SsoToken;
use crate::core::login::{FlowWish, LoginDemand, LoginId, LoginState, Target};

impl Bench {
    fn sign_out(&mut self) {
        let one = LogoutTarget::One(Target::Profile(self.profile("dev")));
        let plan = self.broker.sign_outs(&one).unwrap();
        assert_eq!(plan.len(), 1);
        let (world, session, at) = (Arc::clone(&plan[0].world), plan[0].session.clone(), self.now.wall);
        self.step(Event::SignedOut { world, session, at });
    }
}

#[test]
fn a_session_is_found_by_its_profile_by_its_name_and_among_all() {
    let mut b = Bench::logged_in();
    let (home, dev) = (Arc::clone(&b.home), b.profile("dev"));
    let by_name = |id: &str| LogoutTarget::One(Target::Session { world: Arc::clone(&home), id: id.into() });
    for target in [LogoutTarget::One(Target::Profile(dev)), by_name("corp"), LogoutTarget::All(Arc::clone(&home))] {
        let plan = b.broker.sign_outs(&target).unwrap();
        assert_eq!(plan.len(), 1, "{target:?}");
        assert_eq!(plan[0].session.id(), "corp");
        assert!(plan[0].token.is_some() && !plan[0].roles.is_empty());
    }
    let unknown = b.broker.sign_outs(&by_name("crop")).unwrap_err();
    assert_eq!(unknown.class, FailureClass::Misconfigured);
}

#[test]
fn everything_that_came_of_the_session_is_forgotten() {
    let mut b = Bench::logged_in();
    b.ask("dev");
    let fetch = b.role_fetch("dev");
    b.give(&fetch, minutes(60));
    b.sign_out();
    assert_eq!(b.session_status().expires_at, None);
    let waiter = b.ask("dev");
    assert_eq!(b.class(waiter), FailureClass::NeedsLogin);
    assert!(b.open.is_empty());
}

#[test]
fn a_read_that_began_before_brings_nothing_back_and_a_new_login_does() {
    let mut b = Bench::logged_in();
    let before = b.token("first", minutes(60));
    b.sign_out();
    b.file_changed(TokenFile::Present(Arc::clone(&before)));
    assert_eq!(b.session_status().expires_at, None);
    let news = Arc::new(SsoToken { obtained_at: b.now.wall.plus(Duration::from_millis(1)), ..(*before).clone() });
    b.file_changed(TokenFile::Present(news));
    assert!(b.session_status().expires_at.is_some());
}

#[test]
fn a_renewal_under_way_is_thrown_away() {
    let mut b = Bench::with_token(minutes(10));
    b.advance(minutes(11));
    b.ask("dev");
    let fetch = b.token_fetch();
    b.sign_out();
    b.give_token(&fetch, "second", minutes(60));
    assert_eq!(b.session_status().expires_at, None);
}

#[test]
fn a_login_that_is_pending_is_given_up() {
    let mut b = Bench::new();
    b.load(TokenFile::Absent);
    let (id, target) = (LoginId(1), Target::Profile(b.profile("dev")));
    let flow = FlowWish::Auto;
    let demand = LoginDemand { id, target, flow, force: false, terminal: false, display: true, ci: false };
    b.step(Event::Login(demand));
    assert_eq!(b.logins.len(), 1);
    b.sign_out();
    assert!(b.logins.is_empty(), "it was abandoned");
    assert_eq!(b.broker.login_view(id, b.now).unwrap().state, LoginState::Failed);
}
