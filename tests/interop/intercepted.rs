//! Behind a proxy that opens TLS, as companies have them: mitmproxy, and one of our own for tools whose endpoints cannot
//! be set.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

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
    for _ in 0..100 {
        assert_eq!(b.agentctl("login --device --profile dev-sso").code(), LOGIN_PAUSED, "{}", b.agent.said());
    }
    assert_eq!((b.openings(), b.fake.calls().len()), (0, 0));
    let ca_bundle = format!("[profile cured]\nca_bundle = {}\n", b.authority.display());
    b.home.append_config(&ca_bundle);
    b.fake.set_person(Person::Approves);
    eventually("the CA is used", Duration::from_secs(10), || {
        b.agentctl("login --device --profile dev-sso").status.success().then_some(())
    });
    assert!(b.agentctl("credential-process --profile dev-sso").expect_success().stdout.contains("AccessKeyId"));
    assert_eq!(b.openings(), 1);
    b.agent.assert_no_secret_leaked(&b.fake, &b.home);
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
