//! The AWS config and credentials files: two files in one input, parted by a line `=====`.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use aws_credential_agent::aws::endpoints::is_region;
use aws_credential_agent::aws::profile::interpret;
use aws_credential_agent::core::failure::{Failure, FailureClass};
use aws_credential_agent::core::source::{Chain, Link, World, WorldConfig};

use super::{check_line, check_plain, values_of};

const SECRETS: [&str; 3] = ["aws_secret_access_key", "aws_session_token", "aws_security_token"];
const PARTED: &[u8] = b"\n=====\n";

pub fn check(data: &[u8]) {
    let parted = data.windows(PARTED.len()).position(|w| w == PARTED);
    let (config, credentials) = match parted {
        Some(at) => (&data[..at], &data[at + PARTED.len()..]),
        None => (data, &b""[..]),
    };
    let read = interpreted(config, credentials);
    assert_eq!(interpreted(config, credentials), read, "the same files mean the same");
    let text = String::from_utf8_lossy(data);
    match &read {
        Ok(found) => {
            each_profile(found, &text);
            assert!(found.findings.len() <= 100, "{} findings hide each other", found.findings.len());
            for finding in &found.findings {
                check_line(&finding.message);
                check_line(&finding.fix);
            }
        }
        Err(failure) => {
            check_plain(failure);
            assert_eq!(failure.class, FailureClass::Misconfigured);
            assert!(failure.message.starts_with("/home/me/.aws/config"), "which file: {failure:?}");
        }
    }
    let shown = format!("{read:?}");
    for secret in values_of(&text, &SECRETS) {
        assert!(!shown.contains(secret), "keeps a secret: {secret}");
    }
    without_effect(config, credentials, &read);
}

fn interpreted(config: &[u8], credentials: &[u8]) -> Result<WorldConfig, Failure> {
    let world = Arc::new(World {
        config_file: "/home/me/.aws/config".into(),
        credentials_file: "/home/me/.aws/credentials".into(),
        sso_cache: "/home/me/.aws/sso/cache".into(),
    });
    let reading = std::pin::pin!(interpret(&world, config, credentials));
    match reading.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => panic!("it waits for something outside of the files"),
    }
}

fn each_profile(found: &WorldConfig, text: &str) {
    for (name, profile) in &found.profiles {
        assert!(!name.is_empty());
        // Escapes in quotes are the only way to write a name differently.
        assert!(text.contains(name.as_str()) || text.contains('\\'), "a name that nobody wrote: {name}");
        match &profile.source {
            Ok(chain) => usable(chain),
            Err(failure) => {
                check_plain(failure);
                assert_eq!(failure.class, FailureClass::Misconfigured);
                assert!(!failure.fix.is_empty(), "what to do: {failure:?}");
            }
        }
    }
}

fn usable(chain: &Chain) {
    let Link::SsoRole { account_id, role_name } = chain.link() else { panic!("no role: {chain:?}") };
    assert!(account_id.len() == 12 && account_id.bytes().all(|b| b.is_ascii_digit()), "{account_id}");
    assert!(!role_name.trim().is_empty());
    let session = chain.session().expect("a session");
    assert!(is_region(&session.region), "{}", session.region);
    assert!(!session.start_url.trim().is_empty() && !session.cache_key().is_empty());
}

/// What must not matter: a byte order mark, a comment, and what another profile says.
fn without_effect(config: &[u8], credentials: &[u8], read: &Result<WorldConfig, Failure>) {
    let marked = [b"\xef\xbb\xbf", config].concat();
    assert_eq!(&interpreted(&marked, credentials), read, "a byte order mark");
    let commented = [config, b"\n# a comment\n"].concat();
    assert_eq!(&interpreted(&commented, credentials), read, "a comment");
    let Ok(before) = read else { return };
    const MORE: &str = "a-profile-more";
    if before.profiles.contains_key(MORE) {
        return;
    }
    let more = [config, format!("\n[profile {MORE}]\nsso_session = of-nobody\n").as_bytes()].concat();
    // One section may be one too many.
    let Ok(mut after) = interpreted(&more, credentials) else { return };
    assert!(after.profiles.remove(MORE).is_some_and(|p| p.source.is_err()), "it is a profile, and a bad one");
    assert_eq!(&after, before, "a bad profile harms no other");
}
