//! Versions of the agent and its client, as far as "which is older" needs them.

/// A version: three numbers, and whether it is a release (`1.2.0-rc.1` comes before `1.2.0`; semver.org, item 11). The
/// order among pre-releases of one version is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    numbers: [u32; 3],
    release: bool,
}

impl Version {
    /// This build's own.
    #[must_use]
    pub fn own() -> Option<Self> {
        Self::parse(env!("CARGO_PKG_VERSION"))
    }

    /// `1.2.3`, with or without `-rc.1` and `+build`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.split('+').next()?;
        let (numbers, release) = match text.split_once('-') {
            Some((numbers, _)) => (numbers, false),
            None => (text, true),
        };
        let mut parts = numbers.split('.').map(|part| part.parse().ok());
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(Self { numbers, release })
    }

    /// From the `Server` header of an agent's answer: `agentd/1.2.3`.
    #[must_use]
    pub fn of_server(header: &str) -> Option<Self> {
        Self::parse(header.strip_prefix("agentd/")?)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if self.release { Ok(()) } else { f.write_str("-pre") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_is_smaller() {
        let version = |text| Version::parse(text).unwrap();
        assert!(version("0.9.10") < version("0.10.0") && version("0.10.0") < version("1.0.0"));
        assert!(version("1.2.3-rc.1") < version("1.2.3") && version("1.2.2") < version("1.2.3-rc.1"));
        assert_eq!(version("1.2.3+linux"), version("1.2.3"));
        for bad in ["", "1", "1.2", "1.2.3.4", "1.2.x", "v1.2.3"] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_answer_names_its_agent() {
        assert_eq!(Version::of_server(crate::api::v1::SERVER), Version::own());
        assert!(Version::own().is_some());
        assert_eq!(Version::of_server("nginx/1.2.3"), None);
    }
}
