//! Behind a proxy that opens TLS, as companies have them: mitmproxy, and one of our own for tools whose endpoints cannot
//! be set.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use aws_credential_agent::platform::clock::Clock;

use super::agent::Agent;
use super::{ACCOUNT, ROLE, clients, fake};
use crate::support::clock::eventually;
use crate::support::fake_aws::{FakeAws, Operation, Person};
use crate::support::home::TestHome;
use crate::support::process::{Finished, Running, run};
use crate::support::proxy::InspectingProxy;

const INTERCEPTED: i32 = 13;
const LOGIN_PAUSED: i32 = 18;

/// AWS's own addresses, led to the fake by a proxy that opens TLS; the file of its authority is returned.
pub(super) fn behind_proxy(fake: &FakeAws, home: &mut TestHome) -> (InspectingProxy, PathBuf) {
    let proxy = InspectingProxy::start(fake.url().trim_start_matches("http://").parse().unwrap());
    let authority = home.path().join("authority.pem");
    proxy.write_ca(&authority);
    use_proxy(home, &proxy.url());
    (proxy, authority)
}

fn use_proxy(home: &mut TestHome, url: &str) {
    for name in ["HTTPS_PROXY", "https_proxy"] {
        home.set(name, url);
    }
}

/// A user behind mitmproxy, whose authority nobody trusts yet.
struct BehindMitmproxy {
    fake: FakeAws,
    home: TestHome,
    agent: Agent,
    authority: PathBuf,
    _proxy: Running,
}

impl BehindMitmproxy {
    fn new(trusted: bool) -> Self {
        let (fake, session) = fake();
        let mut home = TestHome::with_sso_profile(&fake, session, ACCOUNT, ROLE);
        let browser = home.script("browser", "#!/bin/sh\necho \"$1\" >> \"$HOME/opened\"\n");
        home.set("BROWSER", browser);
        for service in ["SSO_OIDC", "SSO", "STS"] {
            home.unset(&format!("AWS_ENDPOINT_URL_{service}"));
        }
        let proxy = Running::start(clients::mitmproxy(&home, fake.url().trim_start_matches("http://")));
        let port = proxy.until_stdout("its port", clients::LIMIT, |said| said.lines().next()?.parse::<u16>().ok());
        use_proxy(&mut home, &format!("http://127.0.0.1:{port}"));
        let authority = home.path().join("mitmproxy/mitmproxy-ca-cert.pem");
        if trusted {
            for name in ["AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"] {
                home.set(name, &authority);
            }
        }
        let agent = Agent::start(&mut home);
        Self { fake, home, agent, authority, _proxy: proxy }
    }

    fn agentctl(&self, line: &str) -> Finished {
        let mut command = self.home.command("sh");
        command.args(["-c", &self.agent.command_line(line)]);
        run(command, clients::LIMIT)
    }

    /// The CA is made known; the next demands find a working login, without a reset, and the pause is over.
    fn is_cured(&self, way: &str, cure: impl FnOnce(&Self)) {
        self.fake.set_person(Person::Approves);
        let began = Clock.tick();
        cure(self);
        eventually("the CA is used", Duration::from_secs(10), || {
            self.agentctl("login --device --profile dev-sso").status.success().then_some(())
        });
        println!("{way}: signed in {:?} after the cure", Clock.tick().since(began));
        assert!(self.agentctl("credential-process --profile dev-sso").expect_success().stdout.contains("AccessKeyId"));
        assert!(!self.agentctl("status").expect_success().stdout.contains("paused"));
        assert_eq!(self.openings(), 1);
        self.agent.assert_no_secret_leaked(&self.fake, &self.home);
    }

    fn openings(&self) -> usize {
        fs::read_to_string(self.home.path().join("opened")).unwrap_or_default().lines().count()
    }
}

#[test]
fn mitmproxy_that_is_not_trusted_is_named_opens_nothing_and_is_cured_by_its_ca() {
    let b = BehindMitmproxy::new(false);
    fs::remove_file(b.home.token_file("corp")).unwrap();
    assert_eq!(b.agentctl("login --device --profile dev-sso").code(), INTERCEPTED, "{}", b.agent.said());
    let named = "oidc.eu-west-1.amazonaws.com presents a certificate by 'mitmproxy', which is not trusted here; set \
                 AWS_CA_BUNDLE";
    assert!(b.agent.said().contains(named), "{}", b.agent.said());
    let refusals = (0..100).map(|_| {
        let began = Clock.tick();
        assert_eq!(b.agentctl("login --device --profile dev-sso").code(), LOGIN_PAUSED, "{}", b.agent.said());
        Clock.tick().since(began)
    });
    println!("the slowest of 100 refusals took {:?}, with a shell each", refusals.max().unwrap_or_default());
    assert_eq!((b.openings(), b.fake.calls().len()), (0, 0));
    b.is_cured("ca_bundle of the AWS config", |b| {
        b.home.append_config(&format!("[profile cured]\nca_bundle = {}\n", b.authority.display()));
    });
}

#[test]
fn mitmproxys_ca_cures_it_by_our_config_and_by_the_variable_at_a_restart() {
    for (way, at_restart) in [("ca_bundle of config.toml", false), ("AWS_CA_BUNDLE at a restart", true)] {
        let mut b = BehindMitmproxy::new(false);
        fs::remove_file(b.home.token_file("corp")).unwrap();
        assert_eq!(b.agentctl("login --device --profile dev-sso").code(), INTERCEPTED, "{}", b.agent.said());
        assert_eq!(b.agentctl("login --device --profile dev-sso").code(), LOGIN_PAUSED, "{}", b.agent.said());
        if at_restart {
            let authority = b.authority.clone();
            b.home.set("AWS_CA_BUNDLE", authority);
            b.agent.restart(&b.home);
            b.is_cured(way, |_| {});
        } else {
            b.is_cured(way, |b| {
                let folder = b.home.path().join(".config/agentctl");
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join("config.toml"), format!("ca_bundle = {:?}\n", b.authority)).unwrap();
            });
        }
    }
}

#[test]
fn behind_mitmproxy_that_is_trusted_everything_works_and_it_is_told() {
    let b = BehindMitmproxy::new(true);
    b.home.add_process_profile("dev", &b.agent.command_line("credential-process --profile dev-sso"));
    let aws = || clients::aws_cli(&b.home, &["sts", "get-caller-identity", "--profile", "dev"]);
    assert!(run(aws(), clients::LIMIT).expect_success().stdout.contains(ACCOUNT));
    run(clients::python(&b.home, "sts_calls.py", &["dev", "1"]), clients::LIMIT).expect_success();
    let told = eventually("who is in between is told", clients::LIMIT, || {
        let text = b.agentctl("status").expect_success().stdout;
        text.contains("inspected-trusted").then_some(text)
    });
    assert!(told.contains("inspected by 'mitmproxy', trusted"), "{told}");
    let doctor = b.agentctl("doctor --json --profile dev-sso").expect_success().stdout;
    assert!(doctor.contains("\"first\": null"), "{doctor}");
    b.agentctl("logout --profile dev-sso").expect_success();
    b.fake.set_person(Person::Approves);
    b.agentctl("login --device --profile dev-sso").expect_success();
    assert_eq!((b.openings(), b.fake.succeeded(Operation::RegisterClient)), (1, 1));
    b.agent.assert_no_secret_leaked(&b.fake, &b.home);
}
