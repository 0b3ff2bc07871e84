//! Credentials in the syntax of shells. Every value is quoted, whatever it holds; none holds a control character
//! ([`super::document::parse`] refuses those).

use zeroize::Zeroizing;

use crate::core::credential::RoleCredentials;

/// `export NAME='value'` for sh, bash and zsh.
#[must_use]
pub fn posix(c: &RoleCredentials) -> Zeroizing<String> {
    lines(c, |name, value| format!("export {name}='{}'\n", value.replace('\'', r"'\''")))
}

/// `set -gx NAME 'value'`: within single quotes fish knows `\'` and `\\`.
#[must_use]
pub fn fish(c: &RoleCredentials) -> Zeroizing<String> {
    lines(c, |name, value| format!("set -gx {name} '{}'\n", value.replace('\\', r"\\").replace('\'', r"\'")))
}

/// `$Env:NAME = 'value'`: PowerShell takes typographic quotes for quotes as well; each is doubled
/// (about_Quoting_Rules).
#[must_use]
pub fn powershell(c: &RoleCredentials) -> Zeroizing<String> {
    lines(c, |name, value| {
        let mut quoted = String::with_capacity(value.len() * 2);
        for letter in value.chars() {
            quoted.push(letter);
            if matches!(letter, '\'' | '\u{2018}'..='\u{201b}') {
                quoted.push(letter);
            }
        }
        format!("$Env:{name} = '{quoted}'\n")
    })
}

/// One flat object on one line.
#[must_use]
pub fn flat_json(c: &RoleCredentials) -> Zeroizing<String> {
    let object = serde_json::json!({
        "AccessKeyId": c.access_key_id,
        "SecretAccessKey": c.secret_access_key.expose(),
        "SessionToken": c.session_token.expose(),
        "Expiration": c.expires_at,
    });
    Zeroizing::new(format!("{object}\n"))
}

fn lines(c: &RoleCredentials, line: impl Fn(&str, &str) -> String) -> Zeroizing<String> {
    let expiration = c.expires_at.to_string();
    let pairs = [
        ("AWS_ACCESS_KEY_ID", c.access_key_id.as_str()),
        ("AWS_SECRET_ACCESS_KEY", c.secret_access_key.expose()),
        ("AWS_SESSION_TOKEN", c.session_token.expose()),
        // What the AWS CLI's own `configure export-credentials` calls it.
        ("AWS_CREDENTIAL_EXPIRATION", expiration.as_str()),
    ];
    Zeroizing::new(pairs.iter().map(|(name, value)| line(name, value)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::Timestamp;

    /// Everything that some shell treats specially.
    const NASTY: &str = r#"a'b"c$d\e`f;g|h&i(j)k*l?m#n~o{p}q!r<s>t u%v\'w$(x)”y’z'"#;

    fn keys(secret: &str) -> RoleCredentials {
        RoleCredentials {
            access_key_id: "ASIAEXAMPLE".to_owned(),
            secret_access_key: secret.into(),
            session_token: "tok/en+==".into(),
            expires_at: Timestamp::from_secs(1_592_388_128),
        }
    }

    #[test]
    fn plain_values() {
        assert_eq!(
            *posix(&keys("s/e+c")),
            "export AWS_ACCESS_KEY_ID='ASIAEXAMPLE'\nexport AWS_SECRET_ACCESS_KEY='s/e+c'\n\
             export AWS_SESSION_TOKEN='tok/en+=='\nexport AWS_CREDENTIAL_EXPIRATION='2020-06-17T10:02:08Z'\n"
        );
        assert!(fish(&keys("s/e+c")).starts_with("set -gx AWS_ACCESS_KEY_ID 'ASIAEXAMPLE'\nset -gx AWS_SECRET"));
        assert!(powershell(&keys("s")).starts_with("$Env:AWS_ACCESS_KEY_ID = 'ASIAEXAMPLE'\n$Env:AWS_SECRET"));
    }

    #[cfg(unix)]
    #[test]
    fn a_real_sh_reads_the_nasty_value_back() {
        let script = format!("{}printf %s \"$AWS_SECRET_ACCESS_KEY\"", *posix(&keys(NASTY)));
        let output = std::process::Command::new("/bin/sh").arg("-c").arg(script).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), NASTY);
    }

    #[test]
    fn fish_and_powershell_escape_by_their_own_rules() {
        assert!(fish(&keys(r"a'b\c$d")).contains(r"set -gx AWS_SECRET_ACCESS_KEY 'a\'b\\c$d'"));
        assert!(powershell(&keys("a'b’c$d\\")).contains("$Env:AWS_SECRET_ACCESS_KEY = 'a''b’’c$d\\'"));
    }

    #[test]
    fn json_is_flat_and_reads_back() {
        let text = flat_json(&keys(NASTY));
        assert_eq!(text.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["SecretAccessKey"], NASTY);
        assert_eq!(value["Expiration"], "2020-06-17T10:02:08Z");
        assert_eq!(value.as_object().unwrap().len(), 4);
    }
}
