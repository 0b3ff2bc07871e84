//! What stands in one profile and around it, before it is put together: for whoever looks for what is wrong.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::resolve::{self, Files, SSO, View, present};
use crate::core::failure::Failure;
use crate::core::inspection::{Inspection, MissingProgram, ProfileSays};
use crate::core::source::{SsoSession, World};
use crate::core::status::Finding;
use crate::core::words::{MOST_STEPS, first_word, nearest};

/// Programs that are missing beyond these are not told.
const MOST_MISSING: usize = 10;
/// What makes a profile one with credentials, whoever serves them.
const SOURCES: [&str; 5] =
    ["credential_process", "role_arn", "aws_access_key_id", "web_identity_token_file", "login_session"];

/// Looks at `profile`, and whether the profile `also` has a source of credentials.
///
/// # Errors
/// As [`super::load`].
pub async fn inspect(world: &Arc<World>, profile: &str, also: &str) -> Result<Inspection<SsoSession>, Failure> {
    let (profile, also) = (profile.to_owned(), also.to_owned());
    super::with_files(world, move |world, files, findings| look(world, files, findings, &profile, &also)).await
}

fn look(
    world: &Arc<World>,
    files: &Files,
    findings: Vec<Finding>,
    profile: &str,
    also: &str,
) -> Inspection<SsoSession> {
    let parsed: BTreeSet<&str> = files.config.profiles().chain(files.credentials.profiles()).collect();
    let steps = Cell::new(MOST_STEPS);
    let view = |parsed: &str| View::new(world, files, &steps, parsed);
    let find = |name: &str| parsed.get(files.aliases.parsed(name)).map(|parsed| view(parsed));
    let names = || parsed.iter().map(|parsed| files.aliases.name(parsed));
    let near = || nearest(profile, names(), 3).into_iter().map(str::to_owned).collect();
    Inspection {
        config_file: world.config_file.clone(),
        credentials_file: world.credentials_file.clone(),
        count: parsed.len(),
        findings,
        missing: parsed.iter().filter_map(|parsed| missing(&view(parsed))).take(MOST_MISSING).collect(),
        also_sourced: find(also).is_some_and(|view| view.has_any(&SSO) || view.has_any(&SOURCES)),
        profile: find(profile).map(|view| written(&view)).ok_or_else(near),
    }
}

fn written(view: &View<'_>) -> ProfileSays<SsoSession> {
    let sso = view.has_any(&resolve::SSO);
    let session = sso.then(|| view.session());
    let problem = match session {
        Some(Err(_)) => None,
        _ => view.source().err(),
    };
    ProfileSays {
        section: view.header(),
        region: view.get("region").map(str::to_owned),
        static_keys: present(view.credentials.and_then(|section| section.get("aws_access_key_id"))).is_some(),
        sso,
        process: view.get("credential_process").is_some(),
        problem,
        session,
    }
}

/// A program with a path that leads nowhere. Bare names are looked for in the PATH of whoever runs them.
fn missing(view: &View<'_>) -> Option<MissingProgram> {
    let program = PathBuf::from(first_word(view.get("credential_process")?)?);
    let gone = program.is_absolute() && !Path::new(&program).exists();
    gone.then(|| MissingProgram { section: view.header(), program })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn inspected(config: &str, credentials: &str, profile: &str) -> Inspection<SsoSession> {
        let home = tempfile::tempdir().unwrap();
        let file = |name: &str| home.path().join(name);
        let world =
            World { config_file: file("config"), credentials_file: file("credentials"), sso_cache: file("cache") };
        std::fs::write(&world.config_file, config).unwrap();
        std::fs::write(&world.credentials_file, credentials).unwrap();
        inspect(&Arc::new(world), profile, "default").await.unwrap()
    }

    const SESSION: &str =
        "[sso-session corp]\nsso_start_url = https://corp.awsapps.com/start\nsso_region = eu-west-1\n";

    #[tokio::test]
    async fn a_session_is_told_apart_from_its_profile() {
        let whole = "[profile dev]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = Dev\n";
        let seen = inspected(&format!("{SESSION}{whole}"), "", "dev").await.profile.unwrap();
        assert!(seen.problem.is_none() && seen.sso && !seen.process && !seen.static_keys);
        assert!(seen.session.unwrap().is_ok());
        let seen =
            inspected(&format!("{SESSION}[profile dev]\nsso_session = corp\n"), "", "dev").await.profile.unwrap();
        assert!(seen.problem.unwrap().message.contains("has no sso_account_id"));
        let seen = inspected(whole, "", "dev").await.profile.unwrap();
        assert!(seen.problem.is_none(), "the session's doing");
        assert!(seen.session.unwrap().unwrap_err().message.contains("which the config does not have"));
    }

    #[tokio::test]
    async fn what_stands_beside_it() {
        let gone = if cfg!(windows) { r"C:\gone\a b" } else { "/gone/a b" };
        let config =
            &format!("[default]\ncredential_process = '{gone}' --x\n[profile \"my team\"]\nregion = eu-west-1\n");
        let seen = inspected(config, "[default]\naws_access_key_id = AKIA\n", "my teem").await;
        assert!(seen.also_sourced);
        assert_eq!((seen.count, seen.profile.unwrap_err()), (2, vec!["my team".to_owned()]));
        assert_eq!(seen.missing, [MissingProgram { section: "[default]".to_owned(), program: gone.into() }]);
        let seen = inspected(config, "[default]\naws_access_key_id = AKIA\n", "default").await.profile.unwrap();
        assert!(seen.static_keys && seen.process);
    }
}
