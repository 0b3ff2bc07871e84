//! Who was given what: one grant, as the audit log keeps it and the local API tells it. No secret fits into its types,
//! and neither a whole key id nor a command line or an environment does.

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// The longest text that is kept of somebody else's (names, paths), in characters: a line of the log has a largest size.
pub const MAX_TEXT: usize = 512;

/// Credentials were handed out. Fields may be added, none changes its meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// When, by this machine's clock.
    pub at: Timestamp,
    /// The profile.
    pub profile: String,
    /// The config file of its world, where that is not the daemon's own.
    pub config_file: Option<String>,
    /// Last four characters of the access key id.
    pub key_suffix: String,
    /// When the credentials end, by AWS's clock.
    pub expires_at: Timestamp,
    /// Who was given them.
    #[serde(flatten)]
    pub asker: Asker,
}

/// The process that was given credentials, as far as the system tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// Its process id.
    pub pid: Option<u32>,
    /// Its effective user id (Unix).
    pub uid: Option<u32>,
    /// The file that it runs.
    pub executable: Option<String>,
    /// The process that started it.
    pub parent: Option<Parent>,
}

/// The parent of the process that was given credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its process id.
    pub pid: u32,
    /// The file that it runs.
    pub executable: Option<String>,
}

/// A text of others that fits into a line of the log. Of a longer one the end is kept, where a path says most.
#[must_use]
pub fn bounded(text: String) -> String {
    let surplus = text.chars().count().saturating_sub(MAX_TEXT);
    if surplus == 0 {
        return text;
    }
    let kept: String = text.chars().skip(surplus + CUT.len()).collect();
    format!("{CUT}{kept}")
}

const CUT: &str = "...";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_not_known() {
        let grant = Grant {
            at: Timestamp::from_millis(1_592_388_128_999),
            profile: "d\u{1b}ev".to_owned(),
            config_file: None,
            key_suffix: "MPLE".to_owned(),
            expires_at: Timestamp::from_secs(1_592_391_728),
            asker: Asker { pid: Some(7), ..Asker::default() },
        };
        let line = serde_json::to_string(&grant).unwrap();
        assert_eq!(
            line,
            r#"{"at":"2020-06-17T10:02:08Z","profile":"d\u001bev","config_file":null,"key_suffix":"MPLE","expires_at":"2020-06-17T11:02:08Z","pid":7,"uid":null,"executable":null,"parent":null}"#
        );
        let read: Grant = serde_json::from_str(&line).unwrap();
        assert_eq!(read, Grant { at: Timestamp::from_secs(1_592_388_128), ..grant });
    }

    #[test]
    fn long_texts_keep_their_end() {
        assert_eq!(bounded("x".repeat(MAX_TEXT)), "x".repeat(MAX_TEXT));
        let cut = bounded(format!("{}/claude", "ü".repeat(MAX_TEXT)));
        assert_eq!(cut.chars().count(), MAX_TEXT);
        assert!(cut.starts_with("...ü") && cut.ends_with("ü/claude"));
    }
}
