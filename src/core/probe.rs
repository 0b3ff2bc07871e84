//! What a probe saw of the way to AWS, host by host. `net::probe` looks; no secret fits into these types, and nothing
//! here decides whether something is trusted.
//!
//! This is also the document of `agentd probe` and `POST /v1/probe` (schema 1): fields may be added, none changes its
//! meaning.

use serde::{Deserialize, Serialize};

use super::classify::Issuer;
use super::failure::{Failure, shell_word};
use super::status::{Finding, Setting};
use super::time::Timestamp;

/// One look at the way to AWS, under the settings of one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Version of this document: 1.
    pub schema: u32,
    /// When, by this machine's clock.
    pub at: Timestamp,
    /// The network settings in force, passwords left out.
    pub network: Vec<Setting>,
    /// Settings that cannot be used.
    pub findings: Vec<Finding>,
    /// Each host, those that the agent needs first.
    pub hosts: Vec<Host>,
    /// Which tools of this machine would trust what the hosts present.
    pub trust: Vec<Tool>,
}

/// Who has to do with a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NeededBy {
    /// The agent itself: without it nothing is renewed.
    Agent,
    /// Tools that the agent serves.
    Clients,
    /// Claude Code alone, for its turns.
    ClaudeCode,
}

/// The steps to an answer, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The settings say how.
    Settings,
    /// The name (of the host, or of the proxy) becomes an address.
    Name,
    /// A connection to it.
    Connection,
    /// The proxy leads on.
    Tunnel,
    /// TLS.
    Tls,
    /// AWS answers, as only AWS does.
    Answer,
}

/// What was seen of one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// What it is: `SSO OIDC`, `SSO portal`, `STS`, `Bedrock runtime`.
    pub service: String,
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who needs it.
    pub needed_by: NeededBy,
    /// Whether it is one of AWS's own, not an endpoint that somebody configured.
    pub own: bool,
    /// The proxy on the way, without user and password.
    pub proxy: Option<String>,
    /// What the name (of the host, or of the proxy) led to.
    pub addresses: Vec<String>,
    /// The certificates that were presented, the server's own first.
    pub chain: Vec<Certificate>,
    /// Who signed them.
    pub issuer: Option<Issuer>,
    /// Whether they are trusted here; `None`: none was presented.
    pub trusted: Option<bool>,
    /// Whether they lead to a root that browsers ship; if not, somebody in between opens TLS, or the endpoint is private.
    pub public: Option<bool>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Milliseconds that AWS's clock is ahead of this machine's.
    pub clock_offset_ms: Option<i64>,
    /// The step that failed, and how.
    pub failed: Option<Failed>,
    /// Milliseconds from the request to the answer: one way there and back, however long names and handshakes took.
    #[serde(default)]
    pub round_trip_ms: Option<u64>,
    /// Milliseconds that it took.
    pub took_ms: u64,
}

/// Where a probe ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The step.
    pub step: Step,
    /// Class, cause and fix.
    #[serde(flatten)]
    pub failure: Failure,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Whom it is for.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The organisation of whoever signed it; may be empty.
    pub organisation: String,
    /// From when on it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

/// The name of the row that is about the agent itself.
pub const AGENT: &str = "agentd";

/// What one tool would say to the certificates that were presented.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// The tool.
    pub name: String,
    /// The roots that it trusts under these settings, in words.
    pub roots: String,
    /// The hosts whose certificates it would refuse.
    pub refuses: Vec<String>,
    /// The setting that makes it trust a file: a variable, or a key and where it stands.
    pub setting: String,
    /// A file of this machine that holds what is missing, if it refuses and there is one.
    pub cure: Option<String>,
}

/// Somebody in between who opens TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection<'a> {
    /// By whose certificates it is known.
    pub issuer: &'a Issuer,
    /// Whether those are trusted here.
    pub trusted: bool,
    /// Hosts of AWS that present them. One alone may be that host's own doing; two have nothing else in common.
    pub hosts: usize,
}

impl Tool {
    /// What makes it trust what it refuses.
    #[must_use]
    pub fn fix(&self) -> Option<String> {
        let cure = self.cure.as_ref().filter(|_| !self.refuses.is_empty())?;
        Some(match self.setting.split_once(' ') {
            None => format!("set {}={}", self.setting, shell_word(cure)),
            Some((key, place)) => format!("set {key} = {cure:?} {place}"),
        })
    }
}

impl Probe {
    /// The hosts that the agent needs.
    pub fn needed(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.needed_by == NeededBy::Agent)
    }

    /// What keeps the agent from AWS.
    ///
    /// # Errors
    /// The first failure of a host that it needs.
    pub fn verdict(&self) -> Result<(), Failure> {
        match self.needed().find_map(|host| host.failed.as_ref()) {
            Some(failed) => Err(failed.failure.clone()),
            None => Ok(()),
        }
    }

    /// Whether somebody opens TLS to AWS's own hosts: a chain that leads to no public root.
    #[must_use]
    pub fn inspection(&self) -> Option<Inspection<'_>> {
        let mut inspected = self.hosts.iter().filter(|host| host.is_inspected());
        let first = inspected.next()?;
        let issuer = first.issuer.as_ref()?;
        let same = inspected.filter(|host| host.issuer.as_ref() == Some(issuer)).count();
        Some(Inspection { issuer, trusted: first.trusted == Some(true), hosts: same + 1 })
    }

    /// The offset of the first answer of AWS.
    #[must_use]
    pub fn clock_offset_ms(&self) -> Option<i64> {
        self.hosts.iter().find_map(|host| host.clock_offset_ms)
    }
}

impl Host {
    /// Whether somebody else's certificate stands where AWS's should.
    #[must_use]
    pub fn is_inspected(&self) -> bool {
        self.own && self.public == Some(false)
    }
}

/// That TLS is opened on the way and that this is fine: information, no fault.
#[must_use]
pub fn inspected_trusted(issuer: &Issuer) -> Finding {
    Finding::new(
        "inspected-trusted",
        format!("TLS to AWS is inspected by {issuer}, trusted: nothing is wrong"),
        "tools that do not trust it are told by: agentctl doctor network",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::failure::FailureClass;

    fn host(name: &str, issuer: &str, public: bool) -> Host {
        Host {
            service: name.to_owned(),
            host: format!("{name}.eu-west-1.amazonaws.com"),
            port: 443,
            needed_by: NeededBy::Agent,
            own: true,
            proxy: None,
            addresses: Vec::new(),
            chain: Vec::new(),
            issuer: Some(Issuer { name: issuer.to_owned(), product: None }),
            trusted: Some(true),
            public: Some(public),
            status: Some(400),
            clock_offset_ms: None,
            failed: None,
            round_trip_ms: None,
            took_ms: 1,
        }
    }

    fn probe(hosts: Vec<Host>) -> Probe {
        let (network, findings, trust) = (Vec::new(), Vec::new(), Vec::new());
        Probe { schema: 1, at: Timestamp::from_secs(0), network, findings, hosts, trust }
    }

    #[test]
    fn the_same_issuer_on_two_hosts_is_somebody_in_between() {
        let amazon = || host("oidc", "Amazon Root CA 1", true);
        assert_eq!(probe(vec![amazon(), amazon()]).inspection(), None);
        let both = probe(vec![host("oidc", "Corp", false), host("portal.sso", "Corp", false)]);
        assert_eq!(both.inspection().map(|i| (i.trusted, i.hosts)), Some((true, 2)));
        let one = probe(vec![amazon(), host("portal.sso", "Corp", false)]);
        assert_eq!(one.inspection().map(|i| i.hosts), Some(1));
        let private = Host { own: false, ..host("oidc", "Corp", false) };
        assert_eq!(probe(vec![private]).inspection(), None, "an endpoint of one's own may have its own roots");
    }

    #[test]
    fn only_what_the_agent_needs_counts() {
        let failure = Failure::new(FailureClass::Offline, "no route", "check the network");
        let failed = Some(Failed { step: Step::Connection, failure: failure.clone() });
        let sts = Host { needed_by: NeededBy::Clients, failed: failed.clone(), ..host("sts", "A", true) };
        let oidc = host("oidc", "A", true);
        assert_eq!(probe(vec![oidc.clone(), sts]).verdict(), Ok(()));
        assert_eq!(probe(vec![oidc, Host { failed, ..host("portal.sso", "A", true) }]).verdict(), Err(failure));
    }
}
