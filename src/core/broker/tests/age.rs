//! `max_session_age`: a session is renewed no more when its login lies too far back.

use super::*;
use crate::core::credential::SsoToken;
use crate::core::settings::Settings;
use crate::core::source::Link;

const DAY: u64 = 24 * 60;

/// Renewed again and again for so long, by somebody who asks every hour.
fn renewed_for(b: &mut Bench, days: u64) {
    for hour in 0..days * 24 {
        b.advance(minutes(60));
        b.ask("dev");
        while let Some(fetch) = b.open.first().cloned() {
            match fetch.link {
                Link::SsoSession(_) => {
                    let fetch = b.token_fetch();
                    b.give_token(&fetch, &format!("hour{hour}"), minutes(50));
                }
                _ => {
                    let fetch = b.role_fetch("dev");
                    b.give(&fetch, minutes(50));
                }
            }
        }
    }
}

fn limited(days: u64) -> Bench {
    let mut b = Bench::with_token(minutes(50));
    b.step(Event::Settings(Settings { max_session_age: Some(minutes(days * DAY)), ..Settings::default() }));
    b
}

#[test]
fn it_is_renewed_up_to_its_age_and_no_longer() {
    let mut b = limited(3);
    renewed_for(&mut b, 2);
    assert!(b.session_status().renewable);
    renewed_for(&mut b, 2);
    let waiter = b.ask("dev");
    assert_eq!(b.class(waiter), FailureClass::NeedsLogin);
    assert!(b.refusal(waiter).message.contains("max_session_age"), "{:?}", b.refusal(waiter));
    assert!(b.open.is_empty() && !b.session_status().renewable);
    // A login by any tool begins anew, though its token came of the same registration.
    let token = Arc::new(SsoToken { obtained_at: b.now.wall, ..(*b.token("again", minutes(50))).clone() });
    b.file_changed(TokenFile::Present(token));
    renewed_for(&mut b, 2);
    assert!(b.session_status().renewable);
}

#[test]
fn the_next_agent_goes_on_counting() {
    let mut b = limited(3);
    renewed_for(&mut b, 2);
    let mut next = Bench::bare();
    next.now = b.now;
    next.step(Event::Logins(Some(b.remembered.clone())));
    next.step(Event::Settings(Settings { max_session_age: Some(minutes(3 * DAY)), ..Settings::default() }));
    let world = Arc::clone(&next.home);
    next.configure(bench::config([("dev".to_owned(), bench::chain(&world, "dev"))]));
    next.ask("dev");
    let token = next.token("kept", minutes(50));
    next.read(TokenFile::Present(token));
    renewed_for(&mut next, 2);
    let waiter = next.ask("dev");
    assert_eq!(next.class(waiter), FailureClass::NeedsLogin);
}
