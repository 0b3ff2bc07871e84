//! Our own settings: what is read can be written and read again, and a mistake is told with its line and no secret.

use std::path::PathBuf;

use aws_credential_agent::core::failure::{Failure, FailureClass};
use aws_credential_agent::files::config_toml::Config;
use aws_credential_agent::platform::home::Environment;

use super::{check_plain, values_of};

pub fn check(data: &[u8]) {
    // Anything else is refused before it is parsed.
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse(text) {
        Ok(config) => {
            assert_eq!(parse(&written(&config)), Ok(config.clone()), "read, written and read");
            assert_eq!(parse(&format!("{text}\n# a comment\n")), Ok(config), "a comment changes nothing");
        }
        Err(failure) => {
            check_plain(&failure);
            let Failure { class, message, .. } = failure;
            assert_eq!(class, FailureClass::Misconfigured);
            let line = message.strip_prefix("/etc/x/config.toml line ").and_then(|rest| rest.split(':').next());
            let line: usize = line.and_then(|l| l.parse().ok()).unwrap_or_else(|| panic!("no line: {message}"));
            assert!((1..=text.lines().count().max(1) + 1).contains(&line), "a line of the file: {message}");
            for secret in values_of(text, &["https_proxy"]) {
                // One that happens to be our own words is not quoted.
                let another = text.replacen(secret, &"x".repeat(secret.len()), 1);
                let same = parse(&another).is_err_and(|e| e.message == message);
                assert!(same || !message.contains(secret), "quotes a secret: {message}");
            }
        }
    }
}

fn parse(text: &str) -> Result<Config, Failure> {
    let environment: Environment = [("HOME", "/home/me")].into_iter().collect();
    Config::parse(text, PathBuf::from("/etc/x/config.toml"), &environment)
}

/// The settings as TOML.
fn written(config: &Config) -> String {
    let list = |items: Vec<String>| format!("[{}]", items.join(", "));
    let mut text = format!("inherit_network_env = {}\n", config.inherit_network_env);
    text += &format!("keep = {}\n", list(config.settings.keep.iter().map(|name| quoted(name)).collect()));
    text += &format!("allow_uids = {}\n", list(config.allow_uids.iter().map(u32::to_string).collect()));
    if let Some(path) = &config.ca_bundle {
        text += &format!("ca_bundle = {}\n", quoted(path.to_str().expect("made of text")));
    }
    if let Some(url) = &config.https_proxy {
        text += &format!("https_proxy = {}\n", quoted(url.expose()));
    }
    if let Some(hosts) = &config.no_proxy {
        text += &format!("no_proxy = {}\n", quoted(hosts));
    }
    if let Some(age) = config.settings.max_session_age {
        text += &format!("max_session_age = \"{}ms\"\n", age.as_millis());
    }
    text += &format!("notify = {}\n", list(config.notify.iter().map(|word| quoted(word)).collect()));
    let flow = serde_json::to_string(&config.login_flow).expect("a word");
    text += &format!("login_flow = {flow}\n");
    for name in &config.settings.refused {
        text += &format!("[profiles.{}]\nserve = false\n", quoted(name));
    }
    text
}

/// A basic string of TOML: JSON's rules, and DEL must be escaped too.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text").replace('\u{7f}', "\\u007F")
}
