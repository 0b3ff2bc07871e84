//! Looks for secrets where none may be: texts, files, folders, the command lines and environments of processes.
//!
//! A secret counts as found in the clear, percent-encoded, with JSON's escaped slashes, in base64 (at any alignment,
//! standard and URL alphabet) and in hex. A finding names the place and the kind of secret, never the secret.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use super::fake_aws::{FakeAws, IssuedSecret};

/// Bytes by which needles are looked up.
const START: usize = 8;

/// A scan under way; end it with [`SecretScan::assert_clean`].
#[derive(Debug, Default)]
pub struct SecretScan {
    /// By their first bytes, so that one pass over a text finds all of them.
    needles: HashMap<[u8; START], Vec<Needle>>,
    places: usize,
    findings: BTreeSet<String>,
}

#[derive(Debug)]
struct Needle {
    kind: &'static str,
    form: &'static str,
    bytes: Vec<u8>,
}

impl SecretScan {
    /// A scan for everything that the fake issued so far.
    pub fn of(fake: &FakeAws) -> Self {
        Self::for_secrets(&fake.secrets())
    }

    /// A scan for these secrets.
    pub fn for_secrets(secrets: &[IssuedSecret]) -> Self {
        let mut scan = Self::default();
        for needle in secrets.iter().flat_map(needles) {
            let Some(start) = needle.bytes.first_chunk() else { panic!("too short a secret to look for") };
            scan.needles.entry(*start).or_default().push(needle);
        }
        scan
    }

    /// Looks into a text or document; `place` names it in a finding.
    pub fn text(&mut self, place: &str, content: impl AsRef<[u8]>) -> &mut Self {
        self.places += 1;
        let content = content.as_ref();
        for (at, start) in content.windows(START).enumerate() {
            let here = start.first_chunk().and_then(|start| self.needles.get(start)).into_iter().flatten();
            for needle in here.filter(|needle| content[at..].starts_with(&needle.bytes)) {
                self.findings.insert(format!("{place}: {}{}", needle.kind, needle.form));
            }
        }
        self
    }

    /// Looks into a file. One that cannot be read fails the test: it would hide a finding.
    pub fn file(&mut self, path: &Path) -> &mut Self {
        match fs::read(path) {
            Ok(content) => self.text(&path.display().to_string(), content),
            Err(e) => panic!("the secret scan cannot read {}: {e}", path.display()),
        }
    }

    /// Looks into every regular file below a folder and into their names, but not into the folders in `except`.
    pub fn tree(&mut self, folder: &Path, except: &[&Path]) -> &mut Self {
        let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("cannot list {}: {e}", folder.display()));
        for path in entries.flatten().map(|entry| entry.path()) {
            let Ok(meta) = fs::symlink_metadata(&path) else { continue }; // a temporary file that is gone again
            self.text("a file's name", path.as_os_str().as_encoded_bytes());
            if except.contains(&&*path) {
                continue;
            }
            if meta.is_dir() {
                self.tree(&path, except);
            } else if meta.is_file() {
                self.file(&path);
            }
        }
        self
    }

    /// Looks at the command line and the environment of a running process (Linux; elsewhere it does nothing).
    pub fn process(&mut self, pid: u32) -> &mut Self {
        for part in ["cmdline", "environ"] {
            let path = format!("/proc/{pid}/{part}");
            if let Ok(content) = fs::read(&path) {
                self.text(&path, content);
            }
        }
        self
    }

    /// The command lines and environments of all processes that may be read, but not those in `except`.
    pub fn processes(&mut self, except: &[u32]) -> &mut Self {
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        for pid in pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
            if !except.contains(&pid) {
                self.process(pid);
            }
        }
        self
    }

    /// What was found so far.
    pub fn findings(&self) -> Vec<String> {
        self.findings.iter().cloned().collect()
    }

    /// Fails the test if anything was found, and also if nothing was looked for or looked at.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(!self.needles.is_empty(), "the secret scan knows no secret");
        assert!(self.places > 0, "the secret scan looked at nothing");
        assert!(self.findings.is_empty(), "secrets found:\n  {}", self.findings().join("\n  "));
    }
}

/// All forms of one secret.
fn needles(secret: &IssuedSecret) -> Vec<Needle> {
    let value = secret.value.as_bytes();
    let needle = |form, bytes| Needle { kind: secret.kind, form, bytes };
    let mut needles = vec![
        needle("", value.to_vec()),
        needle(", percent-encoded", percent(value).into_bytes()),
        needle(", percent-encoded", percent(value).to_lowercase().into_bytes()),
        needle(", with escaped slashes", secret.value.replace('/', "\\/").into_bytes()),
        needle(", in hex", value.iter().map(|b| format!("{b:02x}")).collect::<String>().into_bytes()),
    ];
    for skip in 0..3 {
        // Whole groups of three bytes look the same whatever stands around them.
        let whole = &value[skip..skip + (value.len() - skip) / 3 * 3];
        let base64 = aws_smithy_types::base64::encode(whole);
        needles.push(needle(", in base64", base64.replace('+', "-").replace('/', "_").into_bytes()));
        needles.push(needle(", in base64", base64.into_bytes()));
    }
    needles
}

fn percent(value: &[u8]) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    value.iter().map(|&b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
