//! Which session a legacy profile gets.

use super::convert::{fitting, free_name, wanted};
use crate::api::v1::LegacySession;
use crate::core::aws_config_edit::{self, Section};

const URL: &str = "https://corp.awsapps.com/start";

fn there(text: &str) -> Vec<Section> {
    let old = format!("[profile old]\nsso_start_url = {URL}\nsso_region = eu-west-1\nregion = eu-central-1\n");
    aws_config_edit::read(format!("{old}{text}").as_bytes()).unwrap()
}

fn legacy() -> LegacySession {
    LegacySession { start_url: URL.to_owned(), sso_region: "eu-west-1".to_owned() }
}

/// What is added, one `[SECTION] KEY = VALUE` a line; or what is said.
fn added(text: &str, session: &str) -> Result<String, String> {
    let sections = wanted(&there(text), "old", &legacy(), session).map_err(|e| e.line().unwrap_or_default())?;
    let lines = sections.iter().flat_map(|s| s.keys.iter().map(|(key, value)| format!("{} {key} = {value}\n", s.name)));
    Ok(lines.collect())
}

fn session(name: &str, url: &str, more: &str) -> String {
    format!("[sso-session {name}]\nsso_start_url = {url}\nSSO_Region: eu-west-1\n{more}")
}

#[test]
fn a_session_of_the_same_url_and_region_fits() {
    let fits = |text: &str| fitting(&there(text), "old", &legacy());
    assert_eq!(fits(""), None);
    assert_eq!(fits(&session("other", "https://other.awsapps.com/start", "")), None);
    assert_eq!(fits(&session("near", &format!("{URL}/"), "")), None, "the AWS CLI compares letter by letter");
    assert_eq!(fits(&session("\"my corp\"", URL, "")).as_deref(), Some("my corp"));
    // Botocore would refuse the profile, whose own region is another one.
    assert_eq!(fits(&session("home", URL, "region = us-east-1\n")), None);
    let both = session("home", URL, "region = us-east-1\n") + &session("corp", URL, "region = eu-central-1\n");
    assert_eq!(fits(&both).as_deref(), Some("corp"));
}

#[test]
fn nothing_that_is_there_is_written_again() {
    let named = "[profile old] sso_session = corp\n";
    let scope = "[sso-session corp] sso_registration_scopes = sso:account:access\n";
    let section = format!("[sso-session corp] sso_start_url = {URL}\n[sso-session corp] sso_region = eu-west-1\n");
    assert_eq!(added("", "corp").unwrap(), format!("{section}{scope}{named}"));
    assert_eq!(added(&session("corp", URL, ""), "corp").unwrap(), format!("{scope}{named}"));
    assert_eq!(added(&session("corp", URL, "sso_registration_scopes = x\n"), "corp").unwrap(), named);
}

#[test]
fn what_would_contradict_is_refused() {
    let taken = added(&session("corp", "https://other.awsapps.com/start", ""), "corp").unwrap_err();
    assert!(taken.contains("[sso-session corp] is there already, with another sso_start_url"), "{taken}");
    assert!(taken.ends_with("choose another name: --sso-session corp-2"), "{taken}");
    let own = wanted(&there("sso_registration_scopes = x\n"), "old", &legacy(), "corp").unwrap_err();
    let own = own.line().unwrap();
    assert!(own.contains("[profile old] has sso_registration_scopes = x, [sso-session corp] would have sso:"), "{own}");
    assert!(own.ends_with("remove sso_registration_scopes from [profile old], then run it again"), "{own}");
}

#[test]
fn a_free_name_is_found() {
    assert_eq!(free_name(&there("")), "corp");
    let taken = session("corp", "https://other.awsapps.com/start", "") + "[sso-session 'corp-2']\n";
    assert_eq!(free_name(&there(&taken)), "corp-3");
}
