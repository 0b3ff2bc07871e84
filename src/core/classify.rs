//! From what was observed to what it means: one exhaustive match from [`Evidence`] to [`Verdict`].
//!
//! The rule that everything here serves: only an answer that carries a mark of AWS may mean that a person must log in.
//! Everything else is the doing of the network, however much it looks like a refusal. An AWS mark is any one of: a
//! request id header, an error-type header, a JSON body with a code that the service model knows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failure::{Failure, FailureClass};

mod bedrock;

/// The AWS call that the evidence is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// SSO OIDC CreateToken with a refresh-token grant.
    CreateToken,
    /// SSO portal GetRoleCredentials.
    GetRoleCredentials,
    /// SSO portal ListAccounts.
    ListAccounts,
    /// SSO portal ListAccountRoles.
    ListAccountRoles,
    /// SSO portal Logout.
    Logout,
    /// SSO OIDC RegisterClient.
    RegisterClient,
    /// SSO OIDC StartDeviceAuthorization.
    StartDeviceAuthorization,
    /// SSO OIDC CreateToken with the grant of a login.
    SignIn,
    /// Bedrock ListInferenceProfiles.
    ListInferenceProfiles,
    /// Bedrock GetUseCaseForModelAccess.
    GetUseCase,
    /// Bedrock InvokeModel.
    InvokeModel,
    /// A request without any secret, which only AWS answers as AWS does (`net::probe`).
    Probe,
}

impl Operation {
    /// AWS's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CreateToken | Self::SignIn => "CreateToken",
            Self::GetRoleCredentials => "GetRoleCredentials",
            Self::ListAccounts => "ListAccounts",
            Self::ListAccountRoles => "ListAccountRoles",
            Self::Logout => "Logout",
            Self::RegisterClient => "RegisterClient",
            Self::StartDeviceAuthorization => "StartDeviceAuthorization",
            Self::ListInferenceProfiles => "ListInferenceProfiles",
            Self::GetUseCase => "GetUseCaseForModelAccess",
            Self::InvokeModel => "InvokeModel",
            Self::Probe => "the probe",
        }
    }
}

/// What one failed call showed. Holds no secret: bodies are reduced to their kind and AWS's own error texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What was called.
    pub operation: Operation,
    /// The host that was meant to answer.
    pub host: String,
    /// What came back.
    pub signal: Signal,
}

/// What came back from a call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// An HTTP answer that is not the success that was asked for.
    Answer(Answer),
    /// The TLS handshake failed on the certificate.
    Certificate {
        /// What is wrong with it.
        fault: CertificateFault,
        /// Who signed it, where somebody looked.
        issuer: Option<Issuer>,
    },
    /// A TLS failure of another kind (protocol, alert).
    Tls {
        /// rustls' words.
        detail: String,
    },
    /// The proxy refused the tunnel.
    ProxyRefused(ProxyAnswer),
    /// Nothing could be reached: DNS, no route, connection refused.
    Unreachable {
        /// The operating system's words.
        detail: String,
    },
    /// A deadline passed.
    TimedOut {
        /// Whether the request may have reached the server.
        sent: bool,
    },
    /// The connection broke.
    Broken {
        /// Whether the request may have reached the server.
        sent: bool,
        /// What was seen.
        detail: String,
    },
    /// The call could not be made at all: a setting of ours is unusable.
    Unusable {
        /// What is wrong.
        detail: String,
        /// What to set.
        fix: String,
    },
}

/// An HTTP answer, reduced to what tells AWS from everybody else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Whether any mark of AWS is on it.
    pub aws_mark: bool,
    /// AWS's error code in its exception form (`InvalidGrantException`), whichever way the answer spelled it.
    pub code: Option<String>,
    /// AWS's own error text, or a captive portal's title.
    pub message: Option<String>,
    /// What the body is.
    pub body: BodyKind,
    /// The host of a `Location` header.
    pub redirect_host: Option<String>,
    /// `Retry-After` in seconds or as a date, already relative.
    pub retry_after: Option<Duration>,
    /// The `Server` or `Via` header: who answered.
    pub server: Option<String>,
}

/// The kind of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyKind {
    /// Nothing.
    #[default]
    Empty,
    /// Whole JSON.
    Json,
    /// The beginning of JSON.
    JsonCut,
    /// HTML.
    Html,
    /// Any other text or bytes.
    Other,
}

/// A proxy's answer to CONNECT (RFC 9110 section 9.3.6), other than a success.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyAnswer {
    /// Its status, where that could be read.
    pub status: Option<u16>,
    /// The schemes of its `Proxy-Authenticate` headers (`Basic`, `NTLM`, `Negotiate`), where somebody looked.
    pub schemes: Vec<String>,
    /// Whether user and password were sent.
    pub with_credentials: bool,
}

/// Who signed the certificates that a server presents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer {
    /// The name of the last issuer in the chain.
    pub name: String,
    /// The inspecting product that is known by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
}

impl std::fmt::Display for Issuer {
    /// `'Corp Root CA' (Zscaler)`; a name that says it already stands alone.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "'{}'", self.name)?;
        match &self.product {
            Some(product) if !self.name.to_lowercase().contains(&product.to_lowercase()) => write!(f, " ({product})"),
            _ => Ok(()),
        }
    }
}

/// Why a certificate was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// No trusted root signed it.
    UnknownIssuer,
    /// It is for another host.
    NameMismatch,
    /// It is expired or not yet valid, by the local clock.
    NotValidNow,
    /// An authority's certificate stands where the server's should.
    Authority,
    /// Anything else.
    Other(String),
}

/// What the evidence means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A failure of this class; for [`FailureClass::Throttled`], not before the given time has passed.
    Failed {
        /// Class, cause and fix.
        failure: Failure,
        /// What the server asked for.
        retry_after: Option<Duration>,
    },
    /// The portal refused the bearer token with AWS's own 401. What that means depends on the token's history
    /// (see [`super::session`]); the failure is the one to report if the token was fresh.
    TokenRefused,
}

impl Evidence {
    /// Whether the server may have acted on the request although no answer came: a refresh token may be used up.
    #[must_use]
    pub const fn outcome_unknown(&self) -> bool {
        match &self.signal {
            Signal::TimedOut { sent } | Signal::Broken { sent, .. } => *sent,
            Signal::Answer(a) => matches!(a.body, BodyKind::JsonCut) && a.status < 300,
            _ => false,
        }
    }

    /// What this means.
    #[must_use]
    pub fn classify(&self) -> Verdict {
        let failed = |class, message: String, fix: &str| Verdict::Failed {
            failure: Failure::new(class, message, fix),
            retry_after: None,
        };
        let (op, host) = (self.operation.name(), &self.host);
        match &self.signal {
            Signal::Answer(answer) => self.classify_answer(answer),
            Signal::Certificate { fault, issuer } => {
                Verdict::Failed { failure: fault.failure(host, issuer.as_ref()), retry_after: None }
            }
            Signal::Tls { detail } => failed(
                FailureClass::Intercepted,
                format!("TLS with {host} failed: {detail}"),
                "something between may not let it through; try another network",
            ),
            Signal::ProxyRefused(answer) => Verdict::Failed { failure: answer.failure(host), retry_after: None },
            Signal::Unreachable { detail } => {
                let fix = match self.operation {
                    _ if detail.starts_with("the proxy ") => "start that proxy, or correct or unset HTTPS_PROXY",
                    // Where Bedrock is not there is no host of its name.
                    Operation::ListInferenceProfiles | Operation::GetUseCase | Operation::InvokeModel => {
                        "check the network, and whether Bedrock is offered in this region"
                    }
                    _ => "check the network",
                };
                failed(FailureClass::Offline, format!("cannot reach {host}: {detail}"), fix)
            }
            Signal::TimedOut { .. } => {
                failed(FailureClass::Transient, format!("{op}: no answer from {host} in time"), "")
            }
            Signal::Broken { detail, .. } => {
                failed(FailureClass::Transient, format!("{op}: connection to {host} broke: {detail}"), "")
            }
            Signal::Unusable { detail, fix } => failed(FailureClass::Misconfigured, detail.clone(), fix),
        }
    }

    fn classify_answer(&self, answer: &Answer) -> Verdict {
        use FailureClass as C;
        let failed = |class, message: String, fix: &str| Verdict::Failed {
            failure: Failure::new(class, message, fix),
            retry_after: answer.retry_after,
        };
        let (op, host, status) = (self.operation.name(), &self.host, answer.status);
        let who = answer.server.as_deref().map_or_else(String::new, |s| format!(" by '{s}'"));

        match status {
            511 => {
                return failed(C::Intercepted, format!("the network asks for a sign-in before {host} (511)"), PORTAL);
            }
            407 => {
                return failed(C::Intercepted, format!("a proxy asks for credentials before {host} (407)"), PROXY);
            }
            429 => return failed(C::Throttled, format!("{op} is throttled by {host}"), ""),
            500..=599 => return failed(C::Transient, format!("{op}: {host} answered {status}{}", said(answer)), ""),
            300..=399 => {
                let to = answer.redirect_host.as_deref().unwrap_or("an unnamed place");
                return failed(C::Intercepted, format!("{host} was redirected to {to}{who}"), PORTAL);
            }
            _ => {}
        }
        if answer.aws_mark
            && let Some(verdict) = self.classify_aws_error(answer)
        {
            return verdict;
        }
        match (status, answer.body) {
            (200..=299, BodyKind::Json | BodyKind::JsonCut) if self.operation != Operation::Probe => {
                failed(C::Transient, format!("{op}: {host} answered {status} with an incomplete document"), "")
            }
            (_, BodyKind::Html) => {
                failed(C::Intercepted, format!("a web page came instead of {host}'s answer ({status}){who}"), PORTAL)
            }
            _ => {
                failed(C::Intercepted, format!("something other than AWS answered for {host} ({status}){who}"), BETWEEN)
            }
        }
    }

    /// An answer that AWS itself gave. `None`: its code says nothing that we know.
    fn classify_aws_error(&self, answer: &Answer) -> Option<Verdict> {
        use FailureClass as C;
        let failed = |class, message: String, fix: &str| {
            Some(Verdict::Failed { failure: Failure::new(class, message, fix), retry_after: answer.retry_after })
        };
        if let Some(failure) = bedrock::failure(self.operation, answer, &self.host) {
            return Some(Verdict::Failed { failure, retry_after: answer.retry_after });
        }
        let code = answer.code.as_deref().unwrap_or_default();
        let said = said(answer);
        match (self.operation, code, answer.status) {
            (_, "SlowDownException" | "TooManyRequestsException" | "ThrottlingException", _) => {
                failed(C::Throttled, format!("{} is throttled by {}", self.operation.name(), self.host), "")
            }
            (_, "InternalServerException", _) => failed(C::Transient, format!("AWS has an internal error{said}"), ""),
            (
                Operation::CreateToken,
                "InvalidGrantException"
                | "ExpiredTokenException"
                | "InvalidClientException"
                | "UnauthorizedClientException",
                _,
            ) => failed(C::NeedsLogin, format!("AWS refused to renew the SSO session ({code})"), ""),
            (
                Operation::CreateToken,
                "InvalidScopeException" | "UnsupportedGrantTypeException" | "InvalidRequestException",
                _,
            ) => failed(
                C::Misconfigured,
                format!("the SSO session cannot be renewed ({code}{said})"),
                "set sso_registration_scopes = sso:account:access in the sso-session and log in again",
            ),
            (Operation::CreateToken, "AccessDeniedException", _) => failed(
                C::AccessDenied,
                format!("AWS denies a token for this SSO session{said}"),
                "ask who runs Identity Center",
            ),
            (
                Operation::GetRoleCredentials
                | Operation::ListAccounts
                | Operation::ListAccountRoles
                | Operation::Logout,
                "UnauthorizedException",
                _,
            )
            | (
                Operation::GetRoleCredentials
                | Operation::ListAccounts
                | Operation::ListAccountRoles
                | Operation::Logout,
                _,
                401,
            ) => Some(Verdict::TokenRefused),
            (
                Operation::ListAccounts | Operation::ListAccountRoles,
                "ForbiddenException" | "AccessDeniedException",
                _,
            )
            | (Operation::ListAccounts | Operation::ListAccountRoles, _, 403) => failed(
                C::AccessDenied,
                format!("AWS denies the list of accounts or roles{said}"),
                "ask who runs Identity Center",
            ),
            (Operation::RegisterClient | Operation::StartDeviceAuthorization, "InvalidRequestException", _) => failed(
                C::Misconfigured,
                format!("AWS does not know this start URL in this region{said}"),
                "check sso_start_url and sso_region (where Identity Center lives, not Bedrock)",
            ),
            (
                Operation::StartDeviceAuthorization | Operation::SignIn,
                "InvalidClientException" | "UnauthorizedClientException",
                _,
            ) => failed(C::NeedsLogin, format!("AWS does not know this client any more ({code})"), "log in again"),
            (Operation::SignIn, "InvalidGrantException" | "ExpiredTokenException", _) => {
                failed(C::NeedsLogin, "the login came too late".to_owned(), "log in again")
            }
            (Operation::SignIn, "AccessDeniedException", _) => {
                failed(C::NeedsLogin, "the login was denied".to_owned(), "log in again")
            }
            (Operation::GetRoleCredentials, "ForbiddenException" | "AccessDeniedException", _)
            | (Operation::GetRoleCredentials, _, 403) => failed(
                C::AccessDenied,
                format!("AWS denies this role{said}"),
                "check sso_account_id and sso_role_name, or ask for the permission set",
            ),
            (Operation::GetRoleCredentials, "InvalidRequestException" | "ResourceNotFoundException", _)
            | (Operation::GetRoleCredentials, _, 400 | 404) => failed(
                C::Misconfigured,
                format!("the portal does not know this account or role{said}"),
                "check sso_region (where Identity Center lives), sso_account_id and sso_role_name",
            ),
            (operation, _, 400..=499) => {
                failed(C::Transient, format!("{}: AWS answered {}{said}", operation.name(), answer.status), "")
            }
            _ => None,
        }
    }
}

impl CertificateFault {
    fn failure(&self, host: &str, issuer: Option<&Issuer>) -> Failure {
        let by = issuer.map_or_else(String::new, |issuer| format!(" by {issuer}"));
        let (what, fix) = match self {
            Self::UnknownIssuer if by.is_empty() => (" that is not trusted here".to_owned(), TRUST),
            Self::UnknownIssuer => (", which is not trusted here".to_owned(), TRUST),
            Self::NameMismatch => (" for another host".to_owned(), BETWEEN),
            Self::NotValidNow => (
                " that is not valid at this machine's time".to_owned(),
                "check this machine's clock, then the network between",
            ),
            Self::Authority => (
                ", which is an authority's own".to_owned(),
                "ask who runs the proxy to have it issue certificates for hosts",
            ),
            Self::Other(detail) => (format!(" that cannot be used ({detail})"), BETWEEN),
        };
        let message = format!("{host} presents a certificate{by}{what}");
        let failure = Failure::new(FailureClass::Intercepted, message, fix);
        if *self == Self::UnknownIssuer || *self == Self::NameMismatch { failure.of_rejected_chain() } else { failure }
    }
}

impl ProxyAnswer {
    /// Whether it takes what a URL can hold.
    fn takes_passwords(&self) -> bool {
        self.schemes.is_empty() || self.schemes.iter().any(|s| s.eq_ignore_ascii_case("basic"))
    }

    fn failure(&self, host: &str) -> Failure {
        let (message, fix) = match self.status {
            Some(407) if !self.takes_passwords() => (
                format!("the proxy asks for {} before it lets us reach {host} (407), which is not supported", {
                    let schemes: Vec<&str> = self.schemes.iter().take(3).map(String::as_str).collect();
                    schemes.join(" or ")
                }),
                "run a local proxy that can (px, cntlm) and name that in HTTPS_PROXY",
            ),
            Some(407) if self.with_credentials => (
                format!("the proxy refuses the user and password that we have for it ({host}, 407)"),
                "correct them in HTTPS_PROXY, then agentctl daemon restart; or in https_proxy of config.toml",
            ),
            Some(407) => (format!("the proxy asks for credentials before it lets us reach {host} (407)"), PROXY),
            Some(status @ 500..=599) => (
                format!("the proxy does not reach {host} ({status})"),
                "ask who runs the proxy whether *.amazonaws.com is allowed on it",
            ),
            status => {
                let code = status.map_or_else(String::new, |s| format!(" ({s})"));
                let message = format!("the proxy refuses a connection to {host}{code}");
                (message, "ask for *.amazonaws.com to be allowed on the proxy")
            }
        };
        Failure::new(FailureClass::Intercepted, message, fix)
    }
}

const TRUST: &str = "set AWS_CA_BUNDLE or ca_bundle to your company's CA (agentctl doctor network)";
const PORTAL: &str = "sign in to the network in a browser, then try again";
const PROXY: &str = "put user and password into HTTPS_PROXY";
const BETWEEN: &str = "a proxy or gateway is in between; try another network or ask who runs it";

fn said(answer: &Answer) -> String {
    answer.message.as_deref().map_or_else(String::new, |m| format!(": {m}"))
}
