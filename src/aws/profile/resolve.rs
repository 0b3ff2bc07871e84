//! From sections to profiles: which source a profile names, and what is wrong with it.
//!
//! A profile that names several sources gets the first of: role, SSO, web identity, process, `aws login`, static keys
//! (botocore's order for profiles). Only SSO is served.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_runtime::env_config::property::PropertiesKey;
use aws_runtime::env_config::section::{EnvConfigSections, Profile as Section};

use super::text::{Aliases, MAX_FINDINGS};
use crate::aws::endpoints::is_region;
use crate::core::failure::{Failure, FailureClass};
use crate::core::source::{Chain, Endpoints, Link, Profile, SsoSession, World, WorldConfig};
use crate::core::status::Finding;
use crate::core::words::{MOST_STEPS, nearest_within};

/// Both files, parsed.
pub(super) struct Files {
    pub(super) config: EnvConfigSections,
    pub(super) credentials: EnvConfigSections,
    pub(super) aliases: Aliases,
}

/// Resolves every profile.
pub(super) fn world(world: &Arc<World>, files: &Files, mut findings: Vec<Finding>) -> WorldConfig {
    let parsed: BTreeSet<&str> = files.config.profiles().chain(files.credentials.profiles()).collect();
    let mut profiles = BTreeMap::new();
    let (mut shadows, steps) = (0, Cell::new(MOST_STEPS));
    for parsed in parsed {
        let view = View::new(world, files, &steps, parsed);
        if shadows < MAX_FINDINGS
            && let Some(shadow) = view.static_shadow()
        {
            shadows += 1;
            findings.push(shadow);
        }
        let region = view.get("region").map(str::to_owned);
        let ca_bundle = view.get("ca_bundle").map(Into::into);
        profiles.insert(view.name.to_owned(), Profile { source: view.source(), region, ca_bundle });
    }
    let sessions = lone_sessions(files, &profiles);
    WorldConfig { profiles, findings, sessions }
}

/// Whole `[sso-session]`s that no profile lives on.
fn lone_sessions(files: &Files, profiles: &BTreeMap<String, Profile>) -> Vec<SsoSession> {
    let used = |name: &str| {
        let mut sources = profiles.values().filter_map(|p| p.source.as_ref().ok());
        sources.any(|chain| chain.session().is_some_and(|s| s.name.as_deref() == Some(name)))
    };
    let sections =
        files.config.sso_sessions().map(|parsed| (files.aliases.name(parsed), files.config.sso_session(parsed)));
    let whole = sections.filter(|(name, _)| !used(name)).filter_map(|(name, section)| {
        let section = section?;
        let region = present(section.get("sso_region"))?;
        check_region(region, name).ok()?;
        Some(SsoSession {
            name: Some(name.to_owned()),
            start_url: present(section.get("sso_start_url"))?.to_owned(),
            region: region.to_owned(),
            scopes: section.get("sso_registration_scopes").map_or_else(Vec::new, scopes),
            endpoints: Endpoints::default(),
        })
    });
    whole.take(MOST_LONE).collect()
}

/// More sessions without a profile are not offered.
const MOST_LONE: usize = 64;

/// One profile in both files. The credentials file's keys outrank the config file's, as in every SDK.
pub(super) struct View<'a> {
    pub(super) name: &'a str,
    config: Option<&'a Section>,
    pub(super) credentials: Option<&'a Section>,
    world: &'a Arc<World>,
    files: &'a Files,
    /// What is left for comparing misspelt names.
    steps: &'a Cell<usize>,
}

/// Each of these makes a profile one of IAM Identity Center.
pub(super) const SSO: [&str; 4] = ["sso_session", "sso_start_url", "sso_account_id", "sso_role_name"];

fn misconfigured(message: impl AsRef<str>, fix: impl AsRef<str>) -> Failure {
    Failure::new(FailureClass::Misconfigured, message, fix)
}

pub(super) fn present(value: Option<&str>) -> Option<&str> {
    value.map(str::trim).filter(|v| !v.is_empty())
}

impl<'a> View<'a> {
    /// The profile that the parser calls `parsed`.
    pub(super) fn new(world: &'a Arc<World>, files: &'a Files, steps: &'a Cell<usize>, parsed: &str) -> Self {
        let (config, credentials) = (files.config.get_profile(parsed), files.credentials.get_profile(parsed));
        let name = files.aliases.name(config.or(credentials).map_or("", Section::name));
        Self { name, config, credentials, world, files, steps }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        let of = |section: Option<&'a Section>| present(section.and_then(|s| s.get(key)));
        of(self.credentials).or_else(|| of(self.config))
    }

    pub(super) fn has_any(&self, keys: &[&str]) -> bool {
        keys.iter().any(|k| self.get(k).is_some())
    }

    /// The section's header, for fixes.
    pub(super) fn header(&self) -> String {
        let name = self.name;
        match (name, name.contains(char::is_whitespace)) {
            ("default", _) => "[default]".to_owned(),
            (_, true) => format!("[profile \"{name}\"]"),
            _ => format!("[profile {name}]"),
        }
    }

    pub(super) fn source(&self) -> Result<Chain, Failure> {
        let name = self.name;
        let unserved = |what: String| {
            Err(misconfigured(
                format!("profile '{name}' {what}, which the agent does not serve yet"),
                "ask for a profile with sso_session, sso_account_id and sso_role_name",
            ))
        };
        if self.get("role_arn").is_some() && self.get("web_identity_token_file").is_none() {
            return match (self.get("source_profile"), self.get("credential_source")) {
                (Some(from), _) => unserved(format!("assumes a role from profile '{from}' (source_profile)")),
                (None, Some(from)) => unserved(format!("assumes a role with credential_source = {from}")),
                (None, None) => Err(misconfigured(
                    format!("profile '{name}' has role_arn without source_profile or credential_source"),
                    format!("add source_profile to {}", self.header()),
                )),
            };
        }
        if self.has_any(&SSO) {
            return self.sso();
        }
        if self.get("web_identity_token_file").is_some() {
            return unserved("uses a web identity token".to_owned());
        }
        if let Some(command) = self.get("credential_process") {
            return Err(self.process(command));
        }
        if self.get("login_session").is_some() {
            return unserved("uses 'aws login' (login_session)".to_owned());
        }
        if self.get("aws_access_key_id").is_some() {
            return unserved("has static keys".to_owned());
        }
        Err(misconfigured(
            format!("profile '{name}' has no credential source"),
            format!("add sso_session, sso_account_id and sso_role_name to {} (aws configure sso)", self.header()),
        ))
    }

    /// A profile that runs a command, perhaps ours.
    fn process(&self, command: &str) -> Failure {
        let name = self.name;
        if !runs_agentctl(command) {
            return misconfigured(
                format!("profile '{name}' runs a credential_process, which the agent does not serve yet"),
                "ask for a profile with sso_session, sso_account_id and sso_role_name",
            );
        }
        let behind = word_after(command, "--profile").filter(|p| *p != name);
        let fix = behind.map_or_else(
            || "ask for the SSO profile behind it".to_owned(),
            |p| format!("ask for the SSO profile behind it: --profile {p}"),
        );
        misconfigured(format!("profile '{name}' runs agentctl itself"), fix)
    }

    fn sso(&self) -> Result<Chain, Failure> {
        let session = self.session()?;
        let need = |key: &str, example: &str| {
            self.get(key).ok_or_else(|| {
                misconfigured(
                    format!("profile '{}' has no {key}", self.name),
                    format!("add {key} = {example} to {}", self.header()),
                )
            })
        };
        let account_id = need("sso_account_id", "the 12-digit account")?;
        let role_name = need("sso_role_name", "the permission set")?;
        if account_id.len() != 12 || !account_id.bytes().all(|b| b.is_ascii_digit()) {
            return Err(misconfigured(
                format!("profile '{}' has sso_account_id = {account_id}, which is not 12 digits", self.name),
                format!("correct sso_account_id in {} (leading zeros count)", self.header()),
            ));
        }
        let role = Link::SsoRole { account_id: account_id.to_owned(), role_name: role_name.to_owned() };
        Ok(Chain::root(Arc::clone(self.world), Link::SsoSession(session)).then(role))
    }

    /// The session of a profile with `sso_*` keys.
    pub(super) fn session(&self) -> Result<SsoSession, Failure> {
        match self.get("sso_session") {
            Some(session) => self.named_session(session),
            None => self.legacy_session(),
        }
    }

    /// A profile with `sso_start_url` of its own.
    fn legacy_session(&self) -> Result<SsoSession, Failure> {
        let need = |key: &str, example: &str| {
            self.get(key).ok_or_else(|| {
                misconfigured(
                    format!("profile '{}' has neither sso_session nor {key}", self.name),
                    format!("add sso_session, or {key} = {example}, to {}", self.header()),
                )
            })
        };
        let start_url = need("sso_start_url", "https://....awsapps.com/start")?;
        let region = need("sso_region", "the region of Identity Center")?;
        check_region(region, &self.header())?;
        Ok(SsoSession {
            name: None,
            start_url: start_url.to_owned(),
            region: region.to_owned(),
            scopes: Vec::new(),
            endpoints: self.endpoints(),
        })
    }

    /// A profile with `sso_session = name`.
    fn named_session(&self, name: &str) -> Result<SsoSession, Failure> {
        let config = &self.files.config;
        let Some(section) = config.sso_session(self.files.aliases.parsed(name)) else {
            let fix = self.nearest_session(name).map_or_else(
                || format!("add [sso-session {name}] with sso_start_url and sso_region (aws configure sso-session)"),
                |near| format!("did you mean sso_session = {near}?"),
            );
            let what = format!("profile '{}' names sso_session '{name}', which the config does not have", self.name);
            return Err(misconfigured(what, fix));
        };
        let header = format!("[sso-session {name}]");
        let need = |key: &str, example: &str| {
            let value = present(section.get(key));
            value.ok_or_else(|| {
                misconfigured(
                    format!("sso-session '{name}' has no {key}"),
                    format!("add {key} = {example} to {header}"),
                )
            })
        };
        let start_url = need("sso_start_url", "https://....awsapps.com/start")?;
        let region = need("sso_region", "the region of Identity Center")?;
        check_region(region, &header)?;
        for (key, theirs) in [("sso_start_url", start_url), ("sso_region", region)] {
            if let Some(own) = self.get(key).filter(|own| *own != theirs) {
                return Err(misconfigured(
                    format!("profile '{}' has {key} = {own}, its sso-session '{name}' has {theirs}", self.name),
                    format!("remove {key} from {}", self.header()),
                ));
            }
        }
        Ok(SsoSession {
            name: Some(name.to_owned()),
            start_url: start_url.to_owned(),
            region: region.to_owned(),
            scopes: section.get("sso_registration_scopes").map_or_else(Vec::new, scopes),
            endpoints: self.endpoints(),
        })
    }

    /// The session that a misspelt name is like.
    fn nearest_session(&self, name: &str) -> Option<&'a str> {
        let known = self.files.config.sso_sessions().map(|s| self.files.aliases.name(s));
        let mut steps = self.steps.get();
        let near = nearest_within(&mut steps, name, known, 1);
        self.steps.set(steps);
        near.first().copied()
    }

    /// `[services]` before the profile's `endpoint_url`; botocore spells the service `sso_oidc`, the SDK `sso-oidc`.
    fn endpoints(&self) -> Endpoints {
        if self.get("ignore_configured_endpoint_urls").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
            return Endpoints::default();
        }
        let global = || self.get("endpoint_url").map(str::to_owned);
        Endpoints {
            oidc: self.service_endpoint(&["sso_oidc", "sso-oidc"]).or_else(global),
            portal: self.service_endpoint(&["sso"]).or_else(global),
        }
    }

    fn service_endpoint(&self, spellings: &[&str]) -> Option<String> {
        let services = self.files.aliases.parsed(self.get("services")?);
        spellings.iter().find_map(|service| {
            let key = PropertiesKey::builder()
                .section_key("services")
                .section_name(services)
                .property_name(*service)
                .sub_property_name("endpoint_url")
                .build()
                .ok()?;
            present(self.files.config.other_sections().get(&key).map(String::as_str)).map(str::to_owned)
        })
    }

    /// Static keys in the credentials file beside another source: tools differ in which they take.
    fn static_shadow(&self) -> Option<Finding> {
        let section = self.credentials?;
        present(section.get("aws_access_key_id"))?;
        let own = |key: &str| self.config.and_then(|c| present(c.get(key))).is_some();
        if !own("sso_session") && !own("sso_start_url") && !own("credential_process") {
            return None;
        }
        let path = self.world.credentials_file.display();
        Some(Finding::new(
            "static-shadow",
            format!("profile '{}' also has static keys in {path}, which some tools use instead", self.name),
            format!("remove [{}] from {path}", self.name),
        ))
    }
}

/// A list as the AWS CLI reads it: separated by commas.
fn scopes(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
}

fn check_region(region: &str, header: &str) -> Result<(), Failure> {
    if is_region(region) {
        return Ok(());
    }
    Err(misconfigured(
        format!("sso_region = {region} in {header} is not the name of a region"),
        "set sso_region to where Identity Center lives, for example eu-west-1",
    ))
}

/// Whether one of the command's words is agentctl, also behind `env`, `sh -c` and quotes.
fn runs_agentctl(command: &str) -> bool {
    words(command).any(|word| {
        let file = word.rsplit(['/', '\\']).next().unwrap_or_default();
        let stem = file.get(file.len().saturating_sub(4)..).filter(|e| e.eq_ignore_ascii_case(".exe"));
        let stem = stem.map_or(file, |e| &file[..file.len() - e.len()]);
        stem.eq_ignore_ascii_case("agentctl")
    })
}

fn words(command: &str) -> impl Iterator<Item = &str> {
    command.split([' ', '\t', '\'', '"']).filter(|w| !w.is_empty())
}

/// The value of an option, written as `--option value` or `--option=value`.
fn word_after<'a>(command: &'a str, option: &str) -> Option<&'a str> {
    let mut words = words(command);
    words
        .find_map(|w| match w.strip_prefix(option) {
            Some("") => Some(None),
            Some(rest) => rest.strip_prefix('=').map(Some),
            None => None,
        })
        .and_then(|found| found.or_else(|| words.next()))
}
