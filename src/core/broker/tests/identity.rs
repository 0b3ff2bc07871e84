//! Who a profile is: from what is known, and nothing is fetched for it.

use super::bench::{assumed, chain, config};
use super::*;
use crate::core::broker::Identity;

fn identity(b: &mut Bench, name: &str) -> Identity {
    let profile = b.profile(name);
    b.broker.identity(&profile, b.now).unwrap()
}

#[test]
fn a_role_is_known_by_its_chain_and_by_the_key_that_is_held() {
    let mut b = Bench::logged_in();
    let before = identity(&mut b, "dev");
    assert_eq!((before.account.as_deref(), before.role.as_deref()), (Some("111122223333"), Some("dev")));
    assert_eq!((before.key_suffix, before.expires_at), (None, None));
    assert!(b.open.is_empty(), "nothing is fetched");
    let key = b.obtain("dev", minutes(60));
    let held = identity(&mut b, "dev");
    assert!(held.key_suffix.is_some_and(|suffix| key.ends_with(&suffix)) && held.expires_at.is_some());
    b.advance(minutes(61));
    assert_eq!(identity(&mut b, "dev").key_suffix, None, "what has ended is nobody's");
}

#[test]
fn the_region_and_an_assumed_role_are_those_of_the_profile() {
    let mut b = Bench::logged_in();
    let mut files = config([("far".to_owned(), assumed(chain(&b.home, "dev"), "path/Auditor"))]);
    files.profiles.get_mut("far").unwrap().region = Some("eu-central-1".to_owned());
    b.configure(files);
    let far = identity(&mut b, "far");
    assert_eq!((far.account.as_deref(), far.role.as_deref()), (Some("111122223333"), Some("Auditor")));
    assert_eq!(far.region.as_deref(), Some("eu-central-1"));
}

#[test]
fn who_is_not_known_or_not_served_has_none() {
    let mut b = Bench::logged_in();
    let nobody = b.profile("nobody");
    let refusal = b.broker.identity(&nobody, b.now).unwrap_err();
    assert!(refusal.unknown && refusal.failure.class == FailureClass::Misconfigured);
    b.step(Event::Settings(Settings { refused: ["dev".to_owned()].into(), ..Settings::default() }));
    let dev = b.profile("dev");
    assert_eq!(b.broker.identity(&dev, b.now).unwrap_err().failure.class, FailureClass::PolicyDenied);
}
