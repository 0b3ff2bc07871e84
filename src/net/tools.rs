//! The trust matrix: what the tools of this machine would say to the certificates that were presented, each by the
//! roots that it uses. Different answers explain why one tool loops and another works; each that refuses is told which
//! setting cures it, with a file of this machine where one does.
//!
//! Which roots a tool uses was measured (Claude Code 2.1.328, AWS CLI 1.46, boto3 1.44, AWS SDK for JavaScript 3 on
//! Node.js) or is documented by it. None of them is run.

use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;

use super::probe::{Roots, Seen};
use super::settings::Environment;
use super::trust;
use crate::core::probe::{AGENT, Host, Tool};

/// What the tools are told of roots.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The environment that they are started with.
    pub env: Environment,
    /// What Claude Code's own settings add to it (`env` in its settings.json).
    pub claude: Environment,
    /// `ca_bundle` of the profile in the AWS config.
    pub aws_ca_bundle: Option<PathBuf>,
    /// The user's home folder.
    pub home: Option<PathBuf>,
    /// Our own `config.toml`.
    pub config_toml: PathBuf,
}

/// The roots of a tool under its settings.
struct Trusts {
    /// In words.
    words: String,
    /// Those that browsers ship are among them.
    public: bool,
    /// All others.
    roots: Vec<CertificateDer<'static>>,
}

/// One tool.
struct Known {
    name: &'static str,
    trusts: fn(&Settings) -> Trusts,
    /// The setting that makes it trust a file.
    variable: &'static str,
    /// Whether that file stands instead of the tool's own roots, so that it should hold those too.
    replaces: bool,
}

const TOOLS: [Known; 4] = [
    Known { name: "Claude Code", trusts: claude, variable: "NODE_EXTRA_CA_CERTS", replaces: false },
    Known { name: "AWS CLI and boto3", trusts: botocore, variable: "AWS_CA_BUNDLE", replaces: true },
    Known { name: "AWS SDK for JavaScript", trusts: node, variable: "NODE_EXTRA_CA_CERTS", replaces: false },
    Known { name: "curl and OpenSSL", trusts: system, variable: "SSL_CERT_FILE", replaces: true },
];

/// The verdict of each tool on what the hosts presented. Reads CA files (blocking).
#[must_use]
pub fn judge(settings: &Settings, judge: &Roots, looked: &[(Host, Seen)]) -> Vec<Tool> {
    let presented: Vec<_> = looked.iter().filter(|(_, seen)| !seen.chain.is_empty()).collect();
    if presented.is_empty() {
        return Vec::new();
    }
    let matrix = Matrix { judge, presented, candidates: candidates(settings) };
    let ours = Trusts {
        words: "the system's, and every file that a tool is told of".to_owned(),
        public: false,
        roots: judge.certificates().to_vec(),
    };
    let key = format!("ca_bundle in {}", settings.config_toml.display());
    let agent = matrix.row(AGENT, ours, &key, false);
    let others = TOOLS.iter().map(|tool| matrix.row(tool.name, (tool.trusts)(settings), tool.variable, tool.replaces));
    std::iter::once(agent).chain(others).collect()
}

/// What was presented, and what may cure those that refuse it.
struct Matrix<'a> {
    judge: &'a Roots,
    presented: Vec<&'a (Host, Seen)>,
    candidates: Vec<Candidate>,
}

impl Matrix<'_> {
    /// `setting` makes the tool trust a file; `replaces`: that stands instead of its own roots.
    fn row(&self, name: &str, trusts: Trusts, setting: &str, replaces: bool) -> Tool {
        let refuses = self.refused(&trusts.roots, trusts.public);
        let cures = |file: &&Candidate| match replaces {
            true => self.refused(&file.roots, false).is_empty(),
            false => self.refused(&[trusts.roots.as_slice(), &file.roots].concat(), trusts.public).is_empty(),
        };
        let cure = if refuses.is_empty() { None } else { self.candidates.iter().find(cures) };
        Tool {
            name: name.to_owned(),
            roots: trusts.words,
            refuses,
            setting: setting.to_owned(),
            cure: cure.map(|file| file.path.display().to_string()),
        }
    }

    fn refused(&self, roots: &[CertificateDer<'static>], public: bool) -> Vec<String> {
        let refuses =
            self.presented.iter().filter(|(host, seen)| !self.judge.would_trust(roots, public, &host.host, seen));
        refuses.map(|(host, _)| host.host.clone()).collect()
    }
}

fn set<'a>(settings: &'a Settings, name: &str) -> Option<&'a str> {
    settings.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

fn file(path: &Path) -> Vec<CertificateDer<'static>> {
    trust::read(path).unwrap_or_default()
}

/// Its own and the system's, as far as `CLAUDE_CODE_CERT_STORE` lets them (a word that it does not know lets both); beside
/// the system's stand `SSL_CERT_FILE` and `SSL_CERT_DIR` of the environment, which its settings cannot set.
/// `NODE_EXTRA_CA_CERTS` counts always, and that of its settings wins.
fn claude(settings: &Settings) -> Trusts {
    let told = |name: &str| settings.claude.get(name).map(String::as_str).or_else(|| set(settings, name));
    let stores = told("CLAUDE_CODE_CERT_STORE").unwrap_or_default();
    let named = |store: &str| stores.split(',').any(|s| s.trim().eq_ignore_ascii_case(store));
    let neither = !named("bundled") && !named("system");
    let (bundled, system) = (named("bundled") || neither, named("system") || neither);
    let (mut words, mut roots) = (Vec::new(), Vec::new());
    if bundled {
        words.push("its own".to_owned());
    }
    if system {
        words.push("the system's".to_owned());
        roots.extend(trust::platform_roots());
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            if let Some(path) = set(settings, name) {
                words.push(format!("{name} ({path})"));
                roots.extend(file_or_folder(Path::new(path)));
            }
        }
    }
    if let Some(path) = told("NODE_EXTRA_CA_CERTS").filter(|path| !path.is_empty()) {
        words.push(format!("NODE_EXTRA_CA_CERTS ({path})"));
        roots.extend(file(Path::new(path)));
    }
    Trusts { words: words.join(", "), public: bundled, roots }
}

/// Whatever the files of a folder are called.
fn file_or_folder(path: &Path) -> Vec<CertificateDer<'static>> {
    match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().take(MOST_FILES).flat_map(|entry| file(&entry.path())).collect(),
        Err(_) => file(path),
    }
}

/// The first that is set, instead of its own.
fn botocore(settings: &Settings) -> Trusts {
    let configured = settings.aws_ca_bundle.as_ref().map(|path| ("ca_bundle of the profile", path.clone()));
    let variable = |name: &'static str| set(settings, name).map(|path| (name, PathBuf::from(path)));
    match variable("AWS_CA_BUNDLE").or(configured).or_else(|| variable("REQUESTS_CA_BUNDLE")) {
        Some((name, path)) => {
            Trusts { words: format!("{name} ({}) alone", path.display()), public: false, roots: file(&path) }
        }
        None => Trusts { words: "its own".to_owned(), public: true, roots: Vec::new() },
    }
}

fn node(settings: &Settings) -> Trusts {
    let (mut words, mut roots) = ("its own".to_owned(), Vec::new());
    if set(settings, "NODE_OPTIONS").is_some_and(|options| options.contains("--use-system-ca")) {
        words.push_str(", the system's");
        roots.extend(trust::platform_roots());
    }
    if let Some(extra) = set(settings, "NODE_EXTRA_CA_CERTS") {
        words.push_str(&format!(", NODE_EXTRA_CA_CERTS ({extra})"));
        roots.extend(file(Path::new(extra)));
    }
    Trusts { words, public: true, roots }
}

fn system(settings: &Settings) -> Trusts {
    match set(settings, "SSL_CERT_FILE") {
        Some(path) => {
            Trusts { words: format!("SSL_CERT_FILE ({path}) alone"), public: false, roots: file(Path::new(path)) }
        }
        None => Trusts { words: "the system's".to_owned(), public: false, roots: trust::platform_roots() },
    }
}

/// A file of this machine that may hold what is missing.
struct Candidate {
    path: PathBuf,
    roots: Vec<CertificateDer<'static>>,
}

/// Folders into which an administrator puts a company's roots.
const ANCHORS: [&str; 4] = [
    "/usr/local/share/ca-certificates",
    "/etc/pki/ca-trust/source/anchors",
    "/etc/ca-certificates/trust-source/anchors",
    "/etc/ssl/certs/custom",
];
/// Where others keep theirs, below the home folder.
const AT_HOME: [&str; 1] = [".mitmproxy/mitmproxy-ca-cert.pem"];
/// A folder of roots with more files is read no further.
const MOST_FILES: usize = 512;
/// A folder with more files is no place for a few roots.
const MOST_ANCHORS: usize = 64;

/// The largest first: one that stands instead of a tool's own roots had better hold those too.
fn candidates(settings: &Settings) -> Vec<Candidate> {
    const VARIABLES: [&str; 5] =
        ["AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
    let named = VARIABLES.iter().filter_map(|name| set(settings, name)).map(PathBuf::from);
    let configured = settings.aws_ca_bundle.iter().cloned();
    let at_home = settings.home.iter().flat_map(|home| AT_HOME.iter().map(|path| home.join(path)));
    let anchors = ANCHORS.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
    let anchors = anchors.flat_map(|entries| entries.flatten().take(MOST_ANCHORS).map(|entry| entry.path()));
    let all = named.chain(configured).chain(trust::bundles()).chain(at_home).chain(anchors);
    let mut found: Vec<_> = all
        .filter_map(|path| Some(Candidate { roots: trust::read(&path).ok().filter(|r| !r.is_empty())?, path }))
        .collect();
    found.sort_by_key(|candidate| std::cmp::Reverse(candidate.roots.len()));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a certificate in it, and settings that name it.
    fn bed(names: &[&str]) -> (tempfile::TempDir, Settings) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("corp.pem");
        let pem = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap().cert.pem();
        std::fs::write(&path, pem).unwrap();
        let env = names.iter().map(|name| ((*name).to_owned(), path.display().to_string())).collect();
        (folder, Settings { env, ..Settings::default() })
    }

    /// Whether the tool adds the file's certificate to what the system has.
    fn takes(trusts: &Trusts) -> bool {
        let system = if trusts.words.contains("the system's") { trust::platform_roots().len() } else { 0 };
        trusts.roots.len() > system
    }

    #[test]
    fn claude_code_takes_the_systems_and_its_variables() {
        let (_folder, settings) = bed(&["SSL_CERT_FILE"]);
        assert!(takes(&claude(&settings)) && claude(&settings).public);
        let bundled = Settings {
            claude: Environment::from([("CLAUDE_CODE_CERT_STORE".to_owned(), "bundled".to_owned())]),
            ..settings
        };
        assert!(!takes(&claude(&bundled)), "its store of the system's roots is what reads that variable");
        let (_folder, extra) = bed(&["NODE_EXTRA_CA_CERTS"]);
        let system = Settings {
            env: Environment::from([("CLAUDE_CODE_CERT_STORE".to_owned(), "system".to_owned())]),
            claude: extra.env.clone(),
            ..Settings::default()
        };
        assert!(takes(&claude(&system)) && !claude(&system).public, "its own settings count");
        let (_folder, file) = bed(&["SSL_CERT_FILE"]);
        let in_settings = Settings { claude: file.env.clone(), ..Settings::default() };
        assert!(!takes(&claude(&in_settings)), "only of the environment");
        let folder = Path::new(&file.env["SSL_CERT_FILE"]).parent().unwrap().display().to_string();
        let by_folder =
            Settings { env: Environment::from([("SSL_CERT_DIR".to_owned(), folder)]), ..Settings::default() };
        assert!(takes(&claude(&by_folder)));
        let odd = Environment::from([("CLAUDE_CODE_CERT_STORE".to_owned(), "nonsense".to_owned())]);
        assert!(claude(&Settings { env: odd, ..Settings::default() }).public);
        let (_folder, aws) = bed(&["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]);
        assert!(!takes(&claude(&aws)));
    }

    #[test]
    fn botocore_takes_the_first_that_is_set_and_nothing_else() {
        let (_folder, none) = bed(&["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE"]);
        assert!(botocore(&none).public && botocore(&none).roots.is_empty());
        for name in ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"] {
            let (_folder, settings) = bed(&[name]);
            assert!(takes(&botocore(&settings)) && !botocore(&settings).public, "{name}");
        }
        let (folder, settings) = bed(&["AWS_CA_BUNDLE"]);
        let other = Settings { aws_ca_bundle: Some(folder.path().join("none.pem")), ..settings };
        assert!(takes(&botocore(&other)), "the variable outranks the profile");
        let (folder, requests) = bed(&["REQUESTS_CA_BUNDLE"]);
        let profile = Settings { aws_ca_bundle: Some(folder.path().join("none.pem")), ..requests };
        assert!(!takes(&botocore(&profile)), "and the profile the library's");
    }

    #[test]
    fn node_and_openssl_have_a_variable_each() {
        let (_folder, both) = bed(&["NODE_EXTRA_CA_CERTS", "AWS_CA_BUNDLE"]);
        assert!(takes(&node(&both)) && !takes(&system(&both)));
        let (_folder, openssl) = bed(&["SSL_CERT_FILE"]);
        assert!(takes(&system(&openssl)) && !takes(&node(&openssl)));
        assert!(system(&openssl).words.ends_with("alone"), "it stands instead of the system's");
    }

    #[test]
    fn where_nothing_was_presented_nobody_is_judged() {
        let roots = Roots::new(&trust::Trust::default());
        assert_eq!(judge(&Settings::default(), &roots, &[]), []);
    }
}
