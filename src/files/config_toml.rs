//! Our own settings, `config.toml`. Every key is optional; an unknown one is an error that names the nearest, because a
//! setting that is silently ignored is worse than none.
//!
//! ```toml
//! keep = ["dev"]                # profiles that are kept fresh although nobody asks
//! inherit_network_env = true    # take proxy and CA variables from the client that starts the agent
//! allow_uids = []               # other users (by number) that may ask, e.g. of a container
//! ca_bundle = "~/corp-ca.pem"   # PEM file with certificate authorities that are trusted besides the system's
//! https_proxy = "http://proxy:3128"
//! no_proxy = "localhost,.corp.example"
//! max_session_age = "30d"       # so long after its login a session is renewed no more
//! login_flow = "auto"           # or "pkce" (a browser of this machine), or "device" (a code, a browser anywhere)
//! notify = ["notify-send"]      # a program that tells a person that a login waits; title and text are added
//!
//! [profiles.production]
//! serve = false                 # never hand out this profile's credentials
//! ```

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::limits::{self, ReadError};
use crate::core::duration;
use crate::core::failure::{Failure, FailureClass};
use crate::core::login::FlowWish;
use crate::core::secret::Secret;
use crate::core::settings::Settings;
use crate::core::words::nearest;
use crate::platform::home::Environment;

/// Everything that `config.toml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file; it need not exist unless the user named it.
    pub path: PathBuf,
    /// `keep`, `max_session_age` and `[profiles.NAME] serve`: what the broker decides by.
    pub settings: Settings,
    /// `inherit_network_env`: whether proxy and CA variables come from the client that starts the agent. Default: true.
    pub inherit_network_env: bool,
    /// `allow_uids`: users other than ours that may use the socket, and, if ours is named, processes of ours whose pid
    /// cannot be seen (other containers). Default: none.
    pub allow_uids: BTreeSet<u32>,
    /// `ca_bundle`: a PEM file; `~` is the home folder, a relative path starts at the config file's folder.
    pub ca_bundle: Option<PathBuf>,
    /// `https_proxy`: a URL, which may hold a password.
    pub https_proxy: Option<Secret>,
    /// `no_proxy`: hosts that are reached without the proxy, separated by commas.
    pub no_proxy: Option<String>,
    /// `notify`: a program and its first arguments. Default: none.
    pub notify: Vec<String>,
    /// `login_flow`: how to log in when the client does not say. Default: auto.
    pub login_flow: FlowWish,
}

const KEYS: [&str; 10] = [
    "keep",
    "inherit_network_env",
    "allow_uids",
    "ca_bundle",
    "https_proxy",
    "no_proxy",
    "max_session_age",
    "login_flow",
    "notify",
    "profiles",
];
const PROFILE_KEYS: [&str; 1] = ["serve"];
/// The most names, numbers or profiles in one place: each is work at every look, and a line in `status`.
const MOST: usize = 1000;

impl Config {
    /// The defaults, for a file that is not there.
    #[must_use]
    pub fn defaults(path: PathBuf) -> Self {
        Self {
            path,
            settings: Settings::default(),
            inherit_network_env: true,
            allow_uids: BTreeSet::new(),
            ca_bundle: None,
            https_proxy: None,
            no_proxy: None,
            notify: Vec::new(),
            login_flow: FlowWish::Auto,
        }
    }

    /// Reads the file that the environment names (`named`: the `--config` option, which wins).
    ///
    /// # Errors
    /// Class `misconfigured`: the file cannot be read, was named and is missing, or breaks a rule (with the line).
    pub fn load(environment: &Environment, named: Option<&Path>) -> Result<Self, Failure> {
        let (path, must_exist) = match named {
            Some(path) => (path.to_owned(), true),
            None => environment.config_file()?,
        };
        let contents = match limits::read_config(&path) {
            Ok(contents) => contents,
            Err(ReadError::Absent) if !must_exist => return Ok(Self::defaults(path)),
            Err(e) => {
                let missing = || misconfigured(format!("there is no file {}", path.display()), FIX_NAME);
                return Err(e.failure(&path).unwrap_or_else(missing));
            }
        };
        match std::str::from_utf8(&contents.bytes) {
            Ok(text) => Self::parse(text, path, environment),
            Err(e) => {
                let wrong = Wrong { offset: e.valid_up_to(), message: "this is not UTF-8 text".to_owned() };
                Err(wrong.failure(&contents.bytes, &path))
            }
        }
    }

    /// Reads the text of the file at `path`.
    ///
    /// # Errors
    /// Class `misconfigured`, with the line and, for an unknown key, the nearest known one.
    pub fn parse(text: &str, path: PathBuf, environment: &Environment) -> Result<Self, Failure> {
        let mut config = Self::defaults(path);
        let table = DeTable::parse(text).map_err(Wrong::from);
        match table.and_then(|table| config.read(table.get_ref(), environment)) {
            Ok(()) => Ok(config),
            Err(wrong) => Err(wrong.failure(text.as_bytes(), &config.path)),
        }
    }

    fn read(&mut self, table: &DeTable<'_>, environment: &Environment) -> Result<(), Wrong> {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let taken = match name {
                "keep" => list(value, string).map(|keep| self.settings.keep = keep.into_iter().collect()),
                "inherit_network_env" => boolean(value).map(|inherit| self.inherit_network_env = inherit),
                "allow_uids" => list(value, uid).map(|uids| self.allow_uids = uids.into_iter().collect()),
                "ca_bundle" => self.path_of(value, environment).map(|path| self.ca_bundle = Some(path)),
                "https_proxy" => string(value).map(|url| self.https_proxy = Some(Secret::new(url))),
                "no_proxy" => string(value).map(|hosts| self.no_proxy = Some(hosts)),
                "max_session_age" => span(value).map(|span| self.settings.max_session_age = Some(span)),
                "notify" => list(value, string).map(|words| self.notify = words),
                "login_flow" => flow(value).map(|flow| self.login_flow = flow),
                "profiles" => {
                    self.profiles(value)?;
                    continue;
                }
                _ => return Err(unknown(key, &KEYS)),
            };
            taken.map_err(|wrong| wrong.of(name))?;
        }
        Ok(())
    }

    fn profiles(&mut self, value: &Spanned<DeValue<'_>>) -> Result<(), Wrong> {
        let profiles = self::table(value)?;
        few(value, profiles.len())?;
        for (name, value) in profiles {
            for (key, value) in self::table(value)? {
                match key.get_ref().as_ref() {
                    "serve" if boolean(value).map_err(|wrong| wrong.of("serve"))? => {}
                    "serve" => drop(self.settings.refused.insert(name.get_ref().to_string())),
                    _ => return Err(unknown(key, &PROFILE_KEYS)),
                }
            }
        }
        Ok(())
    }

    fn path_of(&self, value: &Spanned<DeValue<'_>>, environment: &Environment) -> Result<PathBuf, Wrong> {
        let text = string(value)?;
        let path = match text.strip_prefix("~/") {
            Some(below) => {
                environment.home().map_err(|e| Wrong { offset: value.span().start, message: e.message })?.join(below)
            }
            None => PathBuf::from(text),
        };
        Ok(self.path.parent().map_or_else(|| path.clone(), |folder| folder.join(&path)))
    }
}

const FIX_NAME: &str = "correct AGENTCTL_CONFIG (or --config), or leave it out";

fn misconfigured(message: impl AsRef<str>, fix: impl AsRef<str>) -> Failure {
    Failure::new(FailureClass::Misconfigured, message, fix)
}

/// A rule that the text breaks, and where.
struct Wrong {
    offset: usize,
    message: String,
}

impl Wrong {
    fn failure(self, text: &[u8], path: &Path) -> Failure {
        let line = text.iter().take(self.offset).filter(|byte| **byte == b'\n').count() + 1;
        misconfigured(format!("{} line {line}: {}", path.display(), self.message), "correct that line")
    }

    /// The same, naming the key that has this value.
    fn of(self, key: &str) -> Self {
        Self { message: format!("{key}: {}", self.message), ..self }
    }
}

impl From<toml::de::Error> for Wrong {
    fn from(e: toml::de::Error) -> Self {
        Self { offset: e.span().map_or(0, |span| span.start), message: e.message().to_owned() }
    }
}

fn unknown(key: &Spanned<std::borrow::Cow<'_, str>>, known: &[&str]) -> Wrong {
    let name = key.get_ref();
    let hint = match (nearest(name, known.iter().copied(), 1).as_slice(), known) {
        ([near], _) | ([], [near]) => format!("did you mean '{near}'?"),
        _ => format!("known keys: {}", known.join(", ")),
    };
    Wrong { offset: key.span().start, message: format!("unknown key '{name}', {hint}") }
}

fn wrong(value: &Spanned<DeValue<'_>>, wanted: &str) -> Wrong {
    let message = format!("{wanted} is wanted here, found: {}", value.get_ref().type_str());
    Wrong { offset: value.span().start, message }
}

fn table<'a, 'i>(value: &'a Spanned<DeValue<'i>>) -> Result<&'a DeTable<'i>, Wrong> {
    value.get_ref().as_table().ok_or_else(|| wrong(value, "a table"))
}

fn boolean(value: &Spanned<DeValue<'_>>) -> Result<bool, Wrong> {
    value.get_ref().as_bool().ok_or_else(|| wrong(value, "true or false"))
}

fn string(value: &Spanned<DeValue<'_>>) -> Result<String, Wrong> {
    match value.get_ref().as_str() {
        Some("") => Err(Wrong { offset: value.span().start, message: "this text must not be empty".to_owned() }),
        Some(text) => Ok(text.to_owned()),
        None => Err(wrong(value, "a text in quotes")),
    }
}

fn flow(value: &Spanned<DeValue<'_>>) -> Result<FlowWish, Wrong> {
    match string(value)?.as_str() {
        "auto" => Ok(FlowWish::Auto),
        "pkce" => Ok(FlowWish::Pkce),
        "device" => Ok(FlowWish::Device),
        _ => Err(Wrong { offset: value.span().start, message: "auto, pkce or device is wanted here".to_owned() }),
    }
}

fn span(value: &Spanned<DeValue<'_>>) -> Result<Duration, Wrong> {
    let wrong = |message| Wrong { offset: value.span().start, message };
    duration::parse(&string(value)?).map_err(wrong)
}

fn uid(value: &Spanned<DeValue<'_>>) -> Result<u32, Wrong> {
    let number = value.get_ref().as_integer().and_then(|i| u32::from_str_radix(i.as_str(), i.radix()).ok());
    number.ok_or_else(|| wrong(value, "a user id (a number)"))
}

fn list<T>(
    value: &Spanned<DeValue<'_>>,
    item: impl Fn(&Spanned<DeValue<'_>>) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    let array = value.get_ref().as_array().ok_or_else(|| wrong(value, "a list in [ ]"))?;
    few(value, array.len())?;
    array.iter().map(item).collect()
}

fn few(value: &Spanned<DeValue<'_>>, count: usize) -> Result<(), Wrong> {
    let message = || format!("at most {MOST} are possible here, found: {count}");
    if count > MOST { Err(Wrong { offset: value.span().start, message: message() }) } else { Ok(()) }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;

    use super::*;

    fn environment() -> Environment {
        [("HOME", "/home/me")].into_iter().collect()
    }

    fn parse(text: &str) -> Result<Config, Failure> {
        Config::parse(text, PathBuf::from("/etc/x/config.toml"), &environment())
    }

    #[test]
    fn every_key_of_the_documentation_is_read() {
        let documented: String = include_str!("config_toml.rs")
            .lines()
            .skip_while(|line| !line.contains("```toml"))
            .skip(1)
            .take_while(|line| !line.contains("```"))
            .map(|line| format!("{}\n", line.trim_start_matches("//!")))
            .collect();
        let config = parse(&documented).unwrap();
        assert_eq!(config.settings.keep, BTreeSet::from(["dev".to_owned()]));
        assert_eq!(config.settings.refused, BTreeSet::from(["production".to_owned()]));
        assert!(config.inherit_network_env);
        assert_eq!(config.ca_bundle, Some(PathBuf::from("/home/me/corp-ca.pem")));
        assert_eq!(config.https_proxy.unwrap().expose(), "http://proxy:3128");
        assert_eq!(config.no_proxy.as_deref(), Some("localhost,.corp.example"));
        assert_eq!(config.notify, ["notify-send"]);
        assert_eq!(config.settings.max_session_age, Some(Duration::from_secs(30 * 86_400)));
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(parse(""), Ok(Config::defaults("/etc/x/config.toml".into())));
        let config = parse("inherit_network_env = false\nallow_uids = [0, 1000]\nca_bundle = \"ca.pem\"").unwrap();
        assert!(!config.inherit_network_env);
        assert_eq!(config.allow_uids, BTreeSet::from([0, 1000]));
        assert_eq!(config.ca_bundle, Some(PathBuf::from("/etc/x/ca.pem")));
        assert_eq!(parse("login_flow = 'device'").unwrap().login_flow, FlowWish::Device);
        assert!(parse("[profiles.a]\nserve = true").unwrap().settings.refused.is_empty());
    }

    #[test]
    fn mistakes_name_their_line_and_the_nearest_key() {
        for (text, line, what) in [
            ("keep = []\nkep = []", 2, "unknown key 'kep', did you mean 'keep'?"),
            ("zzzzzzzzzzz = 1", 1, "unknown key 'zzzzzzzzzzz', known keys: keep, inherit_network_env, allow_uids"),
            ("\n\n[profiles.a]\nserv = true", 4, "unknown key 'serv', did you mean 'serve'?"),
            ("[profiles.a]\nserve = 1", 2, "serve: true or false is wanted here, found: integer"),
            ("keep = \"dev\"", 1, "keep: a list in [ ] is wanted here, found: string"),
            ("keep = [1]", 1, "keep: a text in quotes is wanted here, found: integer"),
            ("allow_uids = [-1]", 1, "allow_uids: a user id (a number) is wanted here"),
            ("login_flow = \"browser\"", 1, "login_flow: auto, pkce or device is wanted here"),
            ("max_session_age = \"soon\"", 1, "max_session_age: write a whole number with a unit"),
            ("no_proxy = \"\"", 1, "no_proxy: this text must not be empty"),
            ("profiles = 1", 1, "a table is wanted here"),
            ("\nkeep = [", 2, ""),
            ("keep = []\nkeep = []", 2, "duplicate key"),
        ] {
            let failure = parse(text).unwrap_err();
            assert_eq!(failure.class, FailureClass::Misconfigured);
            let start = format!("/etc/x/config.toml line {line}: {what}");
            assert!(failure.message.starts_with(&start), "{text}: {}", failure.message);
        }
    }

    #[test]
    fn a_password_is_in_no_message() {
        let config = parse("https_proxy = \"http://me:hunter2@proxy\"").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        let failure = parse("https_proxy = \"http://me:hunter2@proxy\" x").unwrap_err();
        assert!(!failure.line().contains("hunter2"), "{}", failure.line());
    }

    #[test]
    fn a_missing_file_is_an_error_only_if_it_was_named() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().to_str().unwrap();
        let plain: Environment = [("HOME", home)].into_iter().collect();
        let config = Config::load(&plain, None).unwrap();
        assert_eq!(config, Config::defaults(root.path().join(".config/agentctl/config.toml")));
        let named: Environment = [("HOME", home), ("AGENTCTL_CONFIG", "~/mine.toml")].into_iter().collect();
        let failure = Config::load(&named, None).unwrap_err();
        assert_eq!(failure.class, FailureClass::Misconfigured);
        assert!(failure.message.starts_with("there is no file ") && failure.message.ends_with("mine.toml"));
        fs::write(root.path().join("mine.toml"), "keep = [\"a\"]").unwrap();
        assert!(Config::load(&named, None).unwrap().settings.keep.contains("a"));
        assert!(Config::load(&named, Some(&root.path().join("other.toml"))).is_err());
        fs::write(root.path().join("mine.toml"), b"keep = []\n\xff").unwrap();
        let failure = Config::load(&named, None).unwrap_err();
        assert!(failure.line().ends_with("mine.toml line 2: this is not UTF-8 text; correct that line"));
    }
}
