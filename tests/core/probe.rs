//! The probe against a proxy that misbehaves: it sends no secret, nothing at all after a certificate that it refuses,
//! tries a proxy's password once, and is over in time.

use std::time::Duration;

use aws_credential_agent::aws::{Aws, Deadlines};
use aws_credential_agent::core::probe::{Host, Step};
use aws_credential_agent::core::source::SsoSession;
use aws_credential_agent::net::probe::Depth;
use aws_credential_agent::net::{Environment, NetworkConfig, NetworkSettings};
use aws_credential_agent::platform::clock::Clock;

use crate::support::clock::eventually;
use crate::support::fake_aws::FakeAws;
use crate::support::proxy::{Behaviour, InspectingProxy, Leaf, Seen, Stage};

const LIMIT: Duration = Duration::from_secs(5);

struct Bed {
    proxy: InspectingProxy,
    fake: FakeAws,
    folder: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let fake = FakeAws::start();
        let proxy = InspectingProxy::start(fake.url().trim_start_matches("http://").parse().unwrap());
        Self { proxy, fake, folder: tempfile::tempdir().unwrap() }
    }

    /// The way to AWS with these credentials for the proxy, whose authority is trusted or not.
    fn aws(&self, credentials: &str, trusted: bool) -> Aws {
        let mut env = Environment::new();
        env.insert("HTTPS_PROXY".to_owned(), self.proxy.url().replace("http://", &format!("http://{credentials}")));
        if trusted {
            let path = self.folder.path().join("ca.pem");
            self.proxy.write_ca(&path);
            env.insert("AWS_CA_BUNDLE".to_owned(), path.to_str().unwrap().to_owned());
        }
        let network = NetworkSettings::new(&env, &NetworkConfig::default());
        Aws::new(&network, &env, Deadlines::default()).0
    }

    /// What was seen of the proxy's connections, all of which have ended.
    fn seen(&self) -> Vec<Seen> {
        eventually("the connections have ended", LIMIT, || {
            let seen = self.proxy.seen();
            seen.iter().all(|c| c.over).then_some(seen)
        })
    }
}

fn probe(aws: &Aws) -> Vec<Host> {
    let targets = aws.probe_targets(&SsoSession::nobodys("eu-west-1"), "eu-west-1", false).unwrap();
    let began = Clock.tick();
    let hosts = aws.prober().probe(&targets, Depth::Answer, LIMIT);
    let took = Clock.tick().since(began);
    assert!(took < LIMIT + Duration::from_secs(2), "{took:?}");
    hosts
}

fn failed_at(hosts: &[Host]) -> Vec<Option<Step>> {
    hosts.iter().map(|host| host.failed.as_ref().map(|f| f.step)).collect()
}

#[test]
fn where_all_is_well_three_hosts_answer_and_no_secret_was_needed() {
    let bed = Bed::new();
    let hosts = probe(&bed.aws("", true));
    assert_eq!(failed_at(&hosts), [None; 3], "{hosts:#?}");
    for host in &hosts {
        assert!(host.is_inspected() && host.trusted == Some(true), "{host:?}");
        assert_eq!(host.issuer.as_ref().map(ToString::to_string).as_deref(), Some("'Zscaler Root CA'"));
        assert!(host.clock_offset_ms.is_some_and(|ms| ms.abs() < 3000), "{host:?}");
    }
    let requests: Vec<String> = bed.seen().into_iter().flat_map(|c| c.requests).collect();
    assert_eq!(requests.len(), 3);
    for head in requests {
        let head = head.to_ascii_lowercase();
        assert!(!head.contains("authorization") && !head.contains("bearer") && !head.contains("cookie"), "{head}");
    }
    assert!(bed.fake.secrets().is_empty(), "nothing was issued for it");
}

#[test]
fn after_a_certificate_that_is_refused_nothing_is_sent() {
    let bed = Bed::new();
    for leaf in [Leaf::SelfSigned, Leaf::OtherHost, Leaf::Expired, Leaf::NotYetValid, Leaf::AuthorityItself] {
        let before = bed.proxy.seen().len();
        bed.proxy.set(Behaviour::Leaf(leaf));
        assert_eq!(failed_at(&probe(&bed.aws("", true))), [Some(Step::Tls); 3], "{leaf:?}");
        let seen = bed.seen().split_off(before);
        assert_eq!(seen.len(), 3);
        for connection in seen {
            assert_eq!((connection.handshake, connection.requests.len()), (Some(false), 0));
            // The compatibility message of TLS 1.3 (RFC 8446 appendix D.4) may be out before the certificate is read.
            assert!([0, 6].contains(&connection.after_failure), "{leaf:?}: {connection:?}");
        }
    }
    bed.proxy.set(Behaviour::Inspect);
    assert_eq!(failed_at(&probe(&bed.aws("", false))), [Some(Step::Tls); 3]);
}

#[test]
fn a_password_that_the_proxy_refuses_is_sent_once() {
    let bed = Bed::new();
    let schemes = vec!["Basic realm=\"corp\"".to_owned()];
    bed.proxy.set(Behaviour::AskCredentials { schemes, accepts: Some("Basic dXNlcjpnb29k".to_owned()) });
    let aws = bed.aws("user:bad@", true);
    for _ in 0..5 {
        let hosts = probe(&aws);
        assert_eq!(failed_at(&hosts), [Some(Step::Tunnel); 3]);
        let failure = &hosts[0].failed.as_ref().unwrap().failure;
        assert!(failure.message.contains("refuses the user and password"), "{failure:?}");
        assert!(!format!("{hosts:?}").contains("bad"), "{hosts:?}");
    }
    let sent = bed.seen().iter().filter(|c| c.proxy_authorization.is_some()).count();
    assert_eq!(sent, 1);
    assert_eq!(failed_at(&probe(&bed.aws("user:good@", true))), [None; 3]);
}

#[test]
fn what_no_proxy_leads_to_is_not_kept_back() {
    let bed = Bed::new();
    let aws = bed.aws("user:bad@", true);
    let targets = aws.probe_targets(&SsoSession::nobodys("eu-west-1"), "eu-west-1", false).unwrap();
    assert!(!aws.prober().would_be_refused(&targets[0]), "nobody has refused them yet");
    aws.prober().refused();
    assert!(aws.prober().would_be_refused(&targets[0]));
    let here = aws_credential_agent::net::probe::Target { loopback: true, ..targets[0].clone() };
    assert!(!aws.prober().would_be_refused(&here), "no proxy leads there");
}

#[test]
fn who_says_nothing_is_left_in_time() {
    let silences = [Stage::Accept, Stage::Connect, Stage::Handshake, Stage::Request].map(Behaviour::BlackHole);
    std::thread::scope(|scope| {
        for silence in silences.into_iter().chain([Behaviour::Drip]) {
            scope.spawn(|| {
                let bed = Bed::new();
                bed.proxy.set(silence);
                assert!(failed_at(&probe(&bed.aws("", true))).iter().all(Option::is_some));
            });
        }
    });
}
