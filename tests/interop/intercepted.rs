//! Behind a proxy that opens TLS, as companies have them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::agent::Agent;
use super::{ACCOUNT, ROLE, clients, fake};
use crate::support::clock::eventually;
use crate::support::fake_aws::{FakeAws, Operation};
use crate::support::home::TestHome;
use crate::support::process::{Finished, Running, run};

const INTERCEPTED: i32 = 13;

/// AWS's own addresses, led to the fake by a proxy that opens TLS with certificates of its own; the authority behind them is returned.
pub(super) fn behind_rewriting_proxy(fake: &FakeAws, home: &mut TestHome) -> (Running, PathBuf) {
    let [authority, certificate, key] = ["authority.pem", "proxy.pem", "proxy.key"].map(|name| home.path().join(name));
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "Corporate Root");
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let names = ["*.eu-west-1.amazonaws.com", "*.sso.eu-west-1.amazonaws.com"].map(str::to_owned);
    let keys = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(names.to_vec()).unwrap().signed_by(&keys, &root).unwrap();
    fs::write(&authority, root.pem()).unwrap();
    fs::write(&certificate, leaf.pem()).unwrap();
    fs::write(&key, keys.serialize_pem()).unwrap();
    let server = fake.url().replace("http://", "");
    let mut command = clients::python(home, "rewriting_proxy.py", &[&server]);
    command.arg(&certificate).arg(&key);
    let proxy = Running::start(command);
    let port = proxy.until_stdout("its port", clients::LIMIT, |said| said.trim().parse::<u16>().ok());
    for name in ["HTTPS_PROXY", "https_proxy"] {
        home.set(name, format!("http://127.0.0.1:{port}"));
    }
    (proxy, authority)
}

fn agentctl(home: &TestHome, agent: &Agent, line: &str) -> Finished {
    let mut command = home.command("sh");
    command.args(["-c", &agent.command_line(line)]);
    run(command, clients::LIMIT)
}

#[test]
fn a_ca_that_is_not_trusted_opens_no_browser_and_is_used_as_soon_as_it_is_there() {
    let (fake, session) = fake();
    let mut home = TestHome::with_sso_profile(&fake, session, ACCOUNT, ROLE);
    let browser = home.script("browser", "#!/bin/sh\necho \"$1\" >> \"$HOME/opened\"\n");
    home.set("BROWSER", browser);
    for service in ["SSO_OIDC", "SSO"] {
        home.unset(&format!("AWS_ENDPOINT_URL_{service}"));
    }
    let (_proxy, authority) = behind_rewriting_proxy(&fake, &mut home);
    let bundle = home.path().join("corp.pem");
    home.set("AWS_CA_BUNDLE", &bundle);
    let agent = Agent::start(&mut home);
    let ask = || agentctl(&home, &agent, "credential-process --profile dev-sso");
    for _ in 0..3 {
        assert_eq!(ask().code(), INTERCEPTED, "{}", agent.said());
        assert_eq!(agentctl(&home, &agent, "login --profile dev-sso").code(), INTERCEPTED, "{}", agent.said());
    }
    assert!(
        agent
            .said()
            .contains("presents a certificate by 'Corporate Root', which is not trusted here; set AWS_CA_BUNDLE"),
        "{}",
        agent.said()
    );
    let status = agentctl(&home, &agent, "status").expect_success().stdout;
    assert!(status.contains("AWS_CA_BUNDLE names"), "{status}");
    fs::copy(&authority, &bundle).unwrap();
    // A retry may be up to 5 s away while nothing is held.
    let served = eventually("the CA is used", Duration::from_secs(10), || {
        let answer = ask();
        answer.status.success().then_some(answer)
    });
    assert!(served.stdout.contains("AccessKeyId"));
    assert!(!home.path().join("opened").exists(), "no browser");
    assert_eq!(fake.count(Operation::RegisterClient), 0);
    agent.assert_no_secret_leaked(&fake, &home);
}
