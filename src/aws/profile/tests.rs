//! Config files as people and machines write them.

use std::path::PathBuf;

use super::*;
use crate::core::source::{Endpoints, Link, Profile};

/// A world with these two files.
struct Home {
    _folder: tempfile::TempDir,
    world: Arc<World>,
}

impl Home {
    fn new(config: impl AsRef<[u8]>, credentials: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| -> PathBuf { folder.path().join(name) };
        std::fs::write(path("config"), config).unwrap();
        if !credentials.is_empty() {
            std::fs::write(path("credentials"), credentials).unwrap();
        }
        let world =
            World { config_file: path("config"), credentials_file: path("credentials"), sso_cache: path("cache") };
        Self { _folder: folder, world: Arc::new(world) }
    }

    async fn load(&self) -> WorldConfig {
        load(&self.world).await.unwrap()
    }
}

async fn config(text: impl AsRef<[u8]>) -> WorldConfig {
    Home::new(text, "").load().await
}

async fn failure(text: impl AsRef<[u8]>) -> Failure {
    load(&Home::new(text, "").world).await.unwrap_err()
}

/// The links of a profile, as `status` shows them.
fn links(profile: &Profile) -> String {
    let chain = profile.source.as_ref().unwrap();
    format!("{} > {}", Link::SsoSession(chain.session().unwrap().clone()), chain.link())
}

/// The line that is told about a refused profile.
fn refusal(config: &WorldConfig, name: &str) -> String {
    let failure = config.profiles[name].source.clone().unwrap_err();
    assert_eq!(failure.class, FailureClass::Misconfigured);
    failure.line()
}

const SESSION: &str = "[sso-session corp]\nsso_start_url = https://corp.awsapps.com/start\nsso_region = eu-west-1\n\
                       sso_registration_scopes = sso:account:access\n";
const DEV: &str = "sso_session = corp\nsso_account_id = 111122223333\nsso_role_name = Dev\n";

fn with_session(rest: &str) -> String {
    format!("{SESSION}{rest}")
}

#[tokio::test]
async fn a_session_profile() {
    let c = config(with_session(&format!("[profile dev]\nregion = us-east-1\n{DEV}"))).await;
    let dev = &c.profiles["dev"];
    assert_eq!(links(dev), "sso-session corp > role Dev in 111122223333");
    assert_eq!(dev.region.as_deref(), Some("us-east-1"));
    let session = dev.source.as_ref().unwrap().session().unwrap();
    assert_eq!((session.cache_key(), session.region.as_str()), ("corp", "eu-west-1"));
    assert_eq!(session.endpoints, Endpoints::default());
    assert_eq!(c.findings, vec![]);
}

#[tokio::test]
async fn lines_end_as_they_do_for_the_aws_cli() {
    let text = with_session(&format!("[profile dev]\n{DEV}"));
    for end in ["\r\n", "\r"] {
        let c = config(text.replace('\n', end)).await;
        assert_eq!(links(&c.profiles["dev"]), "sso-session corp > role Dev in 111122223333", "{end:?}");
    }
    for blank in ["\r\r", "\r\r\n# a comment\n"] {
        assert_eq!(config(blank.to_owned()).await, WorldConfig::default(), "{blank:?}");
    }
}

#[tokio::test]
async fn scopes_are_read_as_the_aws_cli_reads_them() {
    for (line, expected) in [
        ("sso_registration_scopes = sso:account:access", vec!["sso:account:access"]),
        ("sso_registration_scopes = a:b ,, codewhisperer:x,", vec!["a:b", "codewhisperer:x"]),
        ("sso_registration_scopes =", vec!["sso:account:access"]),
        ("", vec!["sso:account:access"]),
    ] {
        let session = format!("[sso-session corp]\nsso_start_url = https://x\nsso_region = eu-west-1\n{line}\n");
        let c = config(format!("{session}[profile dev]\n{DEV}")).await;
        let session = c.profiles["dev"].source.as_ref().unwrap().session().unwrap();
        assert_eq!(session.registration_scopes(), expected, "{line}");
    }
}

#[tokio::test]
async fn a_legacy_profile() {
    let c = config(
        "[default]\nSSO_Start_URL = https://corp.awsapps.com/start#/ ; home\nsso_region=eu-west-1\r\n\
         sso_account_id=000022223333\nsso_role_name=Dev",
    )
    .await;
    assert_eq!(links(&c.profiles["default"]), "sso-session corp > role Dev in 000022223333");
    assert_eq!(c.profiles["default"].region, None);
    let session = c.profiles["default"].source.as_ref().unwrap().session().unwrap();
    assert_eq!(session.cache_key(), "https://corp.awsapps.com/start#/");
}

#[tokio::test]
async fn what_is_missing_is_named_with_the_next_step() {
    let c = config(with_session(
        "[profile typo]\nsso_session = crop\nsso_account_id = 111122223333\nsso_role_name = Dev\n\
         [profile unlike]\nsso_session = zzz\nsso_account_id = 111122223333\nsso_role_name = Dev\n\
         [profile no-account]\nsso_session = corp\nsso_role_name = Dev\n\
         [profile no-role]\nsso_session = corp\nsso_account_id = 111122223333\n\
         [profile digits]\nsso_session = corp\nsso_account_id = 22223333\nsso_role_name = Dev\n\
         [profile conflict]\nsso_session = corp\nsso_region = us-east-1\nsso_account_id = 111122223333\nsso_role_name = D\n\
         [sso-session bare]\nsso_region = eu-west-1\n[sso-session lost]\nsso_start_url = https://x\n\
         [sso-session odd]\nsso_start_url = https://x\nsso_region = evil.example/\n\
         [profile bare]\nsso_session = bare\n[profile lost]\nsso_session = lost\n[profile odd]\nsso_session = odd\n\
         [profile half]\nsso_account_id = 111122223333\n[profile no-region]\nsso_start_url = https://x\n\
         [profile empty]\nregion = eu-west-1\n",
    ))
    .await;
    for (name, line) in [
        (
            "typo",
            "profile 'typo' names sso_session 'crop', which the config does not have; did you mean sso_session = corp?",
        ),
        (
            "unlike",
            "profile 'unlike' names sso_session 'zzz', which the config does not have; add [sso-session zzz] with sso_start_url and sso_region (aws configure sso-session)",
        ),
        (
            "no-account",
            "profile 'no-account' has no sso_account_id; add sso_account_id = the 12-digit account to [profile no-account]",
        ),
        (
            "no-role",
            "profile 'no-role' has no sso_role_name; add sso_role_name = the permission set to [profile no-role]",
        ),
        (
            "digits",
            "profile 'digits' has sso_account_id = 22223333, which is not 12 digits; correct sso_account_id in [profile digits] (leading zeros count)",
        ),
        (
            "conflict",
            "profile 'conflict' has sso_region = us-east-1, its sso-session 'corp' has eu-west-1; remove sso_region from [profile conflict]",
        ),
        (
            "bare",
            "sso-session 'bare' has no sso_start_url; add sso_start_url = https://....awsapps.com/start to [sso-session bare]",
        ),
        (
            "lost",
            "sso-session 'lost' has no sso_region; add sso_region = the region of Identity Center to [sso-session lost]",
        ),
        (
            "odd",
            "sso_region = evil.example/ in [sso-session odd] is not the name of a region; set sso_region to where Identity Center lives, for example eu-west-1",
        ),
        (
            "half",
            "profile 'half' has neither sso_session nor sso_start_url; add sso_session, or sso_start_url = https://....awsapps.com/start, to [profile half]",
        ),
        (
            "no-region",
            "profile 'no-region' has neither sso_session nor sso_region; add sso_session, or sso_region = the region of Identity Center, to [profile no-region]",
        ),
        (
            "empty",
            "profile 'empty' has no credential source; add sso_session, sso_account_id and sso_role_name to [profile empty] (aws configure sso)",
        ),
    ] {
        assert_eq!(refusal(&c, name), line);
    }
}

#[tokio::test]
async fn other_kinds_are_recognised_and_refused() {
    let c = Home::new(
        with_session(&format!(
            "[profile chained]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = dev\n{DEV}\
             [profile ec2]\nrole_arn = arn:aws:iam::1:role/x\ncredential_source = Ec2InstanceMetadata\n\
             [profile rootless]\nrole_arn = arn:aws:iam::1:role/x\n\
             [profile web]\nrole_arn = arn:aws:iam::1:role/x\nweb_identity_token_file = /t\n\
             [profile run]\ncredential_process = /opt/other --x\n\
             [profile own]\ncredential_process = \"/opt/my apps/agentctl\" credential-process --profile own-sso\n\
             [profile own-win]\ncredential_process = C:\\bin\\AgentCtl.EXE credential-process --profile=win-sso\n\
             [profile loop]\ncredential_process = env A=b agentctl credential-process --profile loop\n\
             [profile login]\nlogin_session = arn:aws:iam::1:user/x\n\
             [profile dev]\n{DEV}[profile plain]\n"
        )),
        "[keys]\naws_access_key_id = AKIA1\naws_secret_access_key = s3cret-value\n\
         [dev]\naws_access_key_id = AKIA2\naws_secret_access_key = s3cret-value\n",
    );
    let c = c.load().await;
    for (name, part) in [
        ("chained", "assumes a role from profile 'dev' (source_profile), which the agent does not serve yet"),
        ("ec2", "credential_source = Ec2InstanceMetadata"),
        ("rootless", "has role_arn without source_profile"),
        ("web", "uses a web identity token"),
        ("run", "runs a credential_process, which the agent does not serve yet"),
        ("own", "profile 'own' runs agentctl itself; ask for the SSO profile behind it: --profile own-sso"),
        ("own-win", "--profile win-sso"),
        ("loop", "profile 'loop' runs agentctl itself; ask for the SSO profile behind it"),
        ("login", "uses 'aws login'"),
        ("keys", "has static keys"),
        ("plain", "has no credential source"),
    ] {
        let line = refusal(&c, name);
        assert!(line.contains(part), "{line}");
    }
    assert_eq!(links(&c.profiles["dev"]), "sso-session corp > role Dev in 111122223333");
    let names: Vec<_> = c.findings.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["static-shadow"]);
    assert!(!format!("{c:?}").contains("s3cret-value"));
}

#[tokio::test]
async fn endpoints_in_both_spellings() {
    let c = config(with_session(&format!(
        "[services a]\nsso_oidc =\n  endpoint_url = http://127.0.0.1:1\nsso =\n  endpoint_url = http://127.0.0.1:2\n\
         [services b]\nsso-oidc =\n  # a note\n  endpoint_url = http://127.0.0.1:3\n\
         [profile a]\nservices = a\n{DEV}[profile b]\nservices = b\nendpoint_url = http://127.0.0.1:4\n{DEV}\
         [profile off]\nignore_configured_endpoint_urls = true\nservices = a\n{DEV}\
         [profile none]\nservices = absent\n{DEV}"
    )))
    .await;
    let endpoints = |name: &str| {
        let e = c.profiles[name].source.as_ref().unwrap().session().unwrap().endpoints.clone();
        (e.oidc.unwrap_or_default(), e.portal.unwrap_or_default())
    };
    let urls = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(endpoints("a"), urls("http://127.0.0.1:1", "http://127.0.0.1:2"));
    assert_eq!(endpoints("b"), urls("http://127.0.0.1:3", "http://127.0.0.1:4"));
    assert_eq!(endpoints("off"), urls("", ""));
    assert_eq!(endpoints("none"), urls("", ""));
}

#[tokio::test]
async fn names_that_only_the_aws_cli_accepts() {
    let text = format!(
        "[sso-session \"the corp\"]\nsso_start_url = https://x\nsso_region = eu-west-1\n\
         [profile \"my team\"]\nsso_session = the corp\nsso_account_id = 111122223333\nsso_role_name = Dev\n\
         [profile 'émile'] # with a comment\n{DEV}[profile c#;]\n{DEV}[profile \"dev\"]\n{DEV}[default] ; x ]\n{DEV}{SESSION}"
    );
    let c = config(format!("\u{feff}{text}")).await;
    assert_eq!(c.profiles.keys().collect::<Vec<_>>(), ["c#;", "default", "dev", "my team", "émile"]);
    assert_eq!(links(&c.profiles["my team"]), "sso-session the corp > role Dev in 111122223333");
    for name in ["c#;", "default", "dev", "émile"] {
        assert_eq!(links(&c.profiles[name]), "sso-session corp > role Dev in 111122223333", "{name}");
    }
}

#[tokio::test]
async fn sections_that_every_tool_ignores_are_found() {
    let home = Home::new(
        with_session(&format!(
            "[dev]\n{DEV}[profile my team]\n{DEV}[profile it's]\n{DEV}[plugins]\nx = y\n[profile ok]\n{DEV}"
        )),
        "[profile x]\naws_access_key_id = A\n",
    );
    let c = home.load().await;
    assert_eq!(c.profiles.keys().collect::<Vec<_>>(), ["ok"]);
    let fixes: Vec<_> = c.findings.iter().map(|f| f.fix.as_str()).collect();
    let quotes = "write the name in double quotes: [profile \"my name\"]";
    assert_eq!(fixes, ["write [profile dev]", quotes, quotes, "in this file, write [x]"]);
    assert!(c.findings.iter().all(|f| f.name == "ignored-section"));
    assert!(c.findings[0].message.ends_with("line 5: section [dev] is ignored"), "{}", c.findings[0].message);
}

#[tokio::test]
async fn indentation_as_the_aws_cli_takes_it() {
    let c = config(with_session(
        "[profile dev]\n  # a comment\n  sso_session = corp\n  sso_account_id = 111122223333\n\n\tsso_role_name = Dev\n\
         [profile flat]\nsso_session = corp\n    ; note\nsso_account_id = 111122223333\nsso_role_name = Dev\n",
    ))
    .await;
    for name in ["dev", "flat"] {
        assert_eq!(links(&c.profiles[name]), "sso-session corp > role Dev in 111122223333");
    }
}

#[tokio::test]
async fn the_same_file_always_means_the_same() {
    let text = with_session(&format!(
        "[profile dev]\n{DEV}region = a\n[profile  dev]\nregion = b\n[profile \"dev\"]\nregion = c\n"
    ));
    for _ in 0..20 {
        assert_eq!(config(&text).await.profiles["dev"].region.as_deref(), Some("c"));
    }
}

#[tokio::test]
async fn absent_files_are_empty_ones() {
    let home = Home::new("", "");
    std::fs::remove_file(&home.world.config_file).unwrap();
    assert_eq!(home.load().await, WorldConfig::default());
    let nowhere = World { config_file: "/nonexistent/a/config".into(), ..World::clone(&home.world) };
    assert_eq!(load(&Arc::new(nowhere)).await.unwrap(), WorldConfig::default());
}

#[tokio::test]
async fn malformed_files_name_the_line() {
    for (text, line, part) in [
        ("[profile a]\nregion\n", 2, "expected an '=' sign defining a property"),
        ("\n[profile a\nregion = x\n", 2, "profile definition must end with ']'"),
        ("region = x\n", 1, "expected a profile definition"),
        ("[profile a]\n= x\n", 2, "property did not have a name"),
        ("[profile a]\ns3 =\n  x\n", 3, "expected an '=' sign defining a sub-property"),
        ("[profile a]\nregion = \0\n", 2, "holds a NUL byte"),
        ("[profile a] trailing\n", 1, "profile definition must end with ']'"),
    ] {
        let f = failure(text).await;
        assert_eq!(f.class, FailureClass::Misconfigured);
        assert!(f.message.contains(&format!("config, line {line}: {part}")), "{}", f.message);
        assert!(f.fix.starts_with(&format!("correct line {line} of ")), "{}", f.fix);
    }
    let latin1 = failure(b"[profile a]\nregion = caf\xe9\n").await;
    assert!(latin1.message.contains("line 2: is not UTF-8 text"), "{}", latin1.message);
}

#[tokio::test]
async fn a_bad_credentials_file_harms_no_sso_profile() {
    let home = Home::new(with_session(&format!("[profile dev]\n{DEV}")), "AKIA-without-a-section\n");
    let c = home.load().await;
    assert!(c.profiles["dev"].source.is_ok());
    assert_eq!(c.findings[0].name, "credentials-file-unusable");
    assert!(!c.findings[0].message.contains("AKIA"), "{}", c.findings[0].message);
}

#[tokio::test]
async fn hostile_files_are_errors_and_never_a_panic() {
    let long = vec![b'#'; 1024 * 1024 + 1];
    assert!(failure(&long).await.message.ends_with("is larger than 1 MiB"));
    assert!(failure("[profile a]\n".repeat(10_001)).await.message.contains("too many"));
    let many: String = (0..9_000).map(|i| format!("[profile p{i}]\nsso_session = none\n")).collect();
    assert_eq!(config(&many).await.profiles.len(), 9_000);
    for text in [
        "[",
        "]",
        "[]",
        "[[]]",
        "[profile]",
        "[profile ]",
        "[ profile a ]\n",
        "[profile a]\n =\n",
        "[\u{85}a]",
        "[profile \u{2028}]\na=b",
        "[profile a]\n\u{a0}x = y",
        "[profile a]\r\r\n",
        "[services x]\ny =\n  = z\n",
        "[] # []",
        "[profile \"\\\"]\n",
        "[sso-session x y]\nz = 1\n",
        "\u{feff}\u{feff}[default]",
        "[profile a]\nx =\n   # c\n  y = z",
    ] {
        let _ = load(&Home::new(text, text).world).await;
    }
    let home = Home::new("", "");
    let folder = World { config_file: home.world.config_file.parent().unwrap().into(), ..World::clone(&home.world) };
    let f = load(&Arc::new(folder)).await.unwrap_err();
    // Windows does not even open a folder.
    let said = if cfg!(windows) { "cannot be read" } else { "is not a regular file" };
    assert!(f.message.contains(said), "{}", f.message);
}

#[tokio::test]
async fn a_secret_that_slipped_into_another_value_is_not_quoted() {
    let text = "[profile a]\nsso_start_url = https://x\nsso_region = eu-west-1\n  aws_secret_access_key = s3cret-value\n\
                sso_account_id = 111122223333\nsso_role_name = r\n";
    let config = load(&Home::new(text, "").world).await.unwrap();
    let failure = config.profiles["a"].source.clone().unwrap_err();
    assert!(failure.message.contains("is not the name of a region"), "{}", failure.message);
    assert!(!failure.line().contains("s3cret"), "{}", failure.line());
}

#[tokio::test]
async fn ten_thousand_mistakes_are_told_in_little_time() {
    let mut text: String = (0..1000).map(|n| format!("[sso-session corporation-{n:04}]\n")).collect();
    text.extend((0..8000).map(|n| format!("[profile p{n:04}]\nsso_session = corporatoin-{n:04}\n")));
    let deadline = crate::platform::clock::Deadline::after(std::time::Duration::from_secs(20));
    let c = config(text).await;
    assert!(deadline.remaining().is_some(), "each was compared with all");
    assert!(refusal(&c, "p0000").ends_with("did you mean sso_session = corporation-0000?"), "{}", refusal(&c, "p0000"));
    assert!(refusal(&c, "p7999").contains("add [sso-session corporatoin-7999]"));
}

#[tokio::test]
async fn findings_are_few_short_and_plain() {
    let long = "x".repeat(100_000);
    let keys = "sso_session = corp\n";
    let ignored: String = (0..100).map(|n| format!("[no\u{1b}[31m-profile-{n}]\n")).collect();
    let shadowed: String = (0..100).map(|n| format!("[profile p{n}]\n{keys}")).collect();
    let credentials: String = (0..100).map(|n| format!("[p{n}]\naws_access_key_id = AKIA\n")).collect();
    let home = Home::new(format!("[{long}]\n{ignored}{shadowed}"), &credentials);
    let found = home.load().await.findings;
    assert_eq!(found.len(), 2 * text::MAX_FINDINGS);
    for finding in found {
        assert!(finding.message.chars().count() <= 300 && finding.fix.chars().count() <= 300);
        assert!(!finding.message.contains('\u{1b}') && !finding.fix.contains('\u{1b}'), "{finding:?}");
    }
}
