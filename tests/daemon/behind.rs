//! A user behind a company's proxy: AWS's own addresses, led to the fake by a proxy that opens TLS.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::agent::{AGENTCTL, Agent, LIMIT};
use crate::support::fake_aws::SsoSession;
use crate::support::process::{self, Finished};
use crate::support::proxy::InspectingProxy;

/// The user with the proxy.
pub(crate) struct Behind {
    pub(crate) agent: Agent,
    pub(crate) proxy: InspectingProxy,
}

impl Behind {
    /// Signed in, and the proxy's authority is not trusted.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut SsoSession)) -> Self {
        let mut agent = Agent::with(change);
        let upstream = agent.fake.url().trim_start_matches("http://").parse().unwrap();
        let proxy = InspectingProxy::start(upstream);
        for service in ["SSO_OIDC", "SSO", "STS"] {
            agent.home.unset(&format!("AWS_ENDPOINT_URL_{service}"));
        }
        for name in ["HTTPS_PROXY", "https_proxy"] {
            agent.home.set(name, proxy.url());
        }
        let browser = agent.home.script("browser", "#!/bin/sh\necho \"$1\" >> \"$HOME/opened\"\n");
        agent.home.set("BROWSER", browser);
        Self { agent, proxy }
    }

    /// Where the authority's certificate is, from now on.
    pub(crate) fn authority(&self) -> PathBuf {
        let path = self.agent.home.path().join("corp.pem");
        self.proxy.write_ca(&path);
        path
    }

    /// The authority is trusted by every tool, as an administrator sees to it.
    pub(crate) fn trusted(mut self) -> Self {
        let path = self.authority();
        for name in ["AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"] {
            self.agent.home.set(name, &path);
        }
        self
    }

    /// Nobody is signed in any more.
    pub(crate) fn sign_out(&self) {
        fs::remove_file(self.agent.home.token_file("corp")).unwrap();
        self.agent.fake.revoke_access_tokens(self.agent.session);
    }

    /// How often a browser was opened.
    pub(crate) fn openings(&self) -> usize {
        fs::read_to_string(self.agent.home.path().join("opened")).unwrap_or_default().lines().count()
    }

    /// `doctor --json`, with its exit code.
    pub(crate) fn doctor(&self, arguments: &[&str]) -> (Value, i32) {
        let finished = self.agent.ctl(&[&["doctor", "--json", "--profile", "dev-sso"], arguments].concat());
        let report = serde_json::from_str(&finished.stdout).unwrap_or_else(|e| panic!("{e}: {finished:?}"));
        (report, finished.code())
    }

    /// agentctl, with other variables than this home's.
    pub(crate) fn ctl_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Finished {
        let mut command = self.agent.home.command(AGENTCTL);
        command.args(arguments).envs(variables.iter().copied());
        let finished = process::run(command, LIMIT);
        self.agent.note(arguments, &finished);
        finished
    }
}

/// One check of a report.
pub(crate) fn check(report: &Value, name: &str) -> Value {
    let checks = report["checks"].as_array().cloned().unwrap_or_default();
    checks.into_iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("no check {name} in {report}"))
}
