//! The command lines of configuration files, read without building the whole command line's definition.
//!
//! `credential_process`, `awsCredentialExport` and `statusLine` are run for every client process, so what they cost counts; `clap`
//! would be a third of it. Only the plainest forms are read here. Anything else, every mistake included, is left to
//! [`super::args::parse`], and a test holds the two to the same result.

use std::ffi::OsString;

use super::args::{Ask, Cli, Export, Fetch, Format, Statusline, Verb};

/// The parsed line, if it is `credential-process`, `export` or `statusline` with no options but `--profile NAME` and
/// `--no-autostart`.
#[must_use]
pub fn read(args: &[OsString]) -> Option<Cli> {
    let (verb, options) = args.get(1..)?.split_first()?;
    let verb = verb.to_str().filter(|v| matches!(*v, "credential-process" | "export" | "statusline"))?;
    let mut fetch = Fetch { timeout: Fetch::TIMEOUT, no_autostart: false };
    let mut profile = None;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match option.to_str()? {
            "--profile" if profile.is_none() => profile = Some(plain(options.next()?)?),
            "--no-autostart" if !fetch.no_autostart && verb != "statusline" => fetch.no_autostart = true,
            _ => return None,
        }
    }
    let ask = Ask { fetch, no_daemon: false };
    let verb = match verb {
        "statusline" => Verb::Statusline(Statusline { below: None }),
        "export" => Verb::Export(Export { ask, format: Format::Claude, yes: false, wait: None }),
        _ => Verb::CredentialProcess(ask),
    };
    Some(Cli { profile, socket: None, quiet: false, verbose: false, verb })
}

/// A value that cannot be taken for an option.
fn plain(value: &OsString) -> Option<String> {
    value.to_str().filter(|v| !v.is_empty() && !v.starts_with('-')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn what_is_read_here_is_what_clap_reads() {
        for line in [
            "agentctl credential-process",
            "agentctl credential-process --profile dev",
            "agentctl credential-process --no-autostart --profile a=b",
            "agentctl export",
            "agentctl export --profile dev",
            "agentctl statusline",
            "agentctl statusline --profile dev",
        ] {
            let (here, clap) = (read(&words(line)).unwrap(), Cli::try_parse_from(words(line)).unwrap());
            assert_eq!(format!("{here:?}"), format!("{clap:?}"), "{line}");
        }
    }

    #[test]
    fn everything_else_is_left_to_clap() {
        for line in [
            "agentctl",
            "agentctl status",
            "agentctl -v credential-process",
            "agentctl credential-process -v",
            "agentctl credential-process --profile",
            "agentctl credential-process --profile -x",
            "agentctl credential-process --profile a --profile b",
            "agentctl credential-process --profile=a",
            "agentctl credential-process --timeout 5s",
            "agentctl credential-process --no-daemon",
            "agentctl credential-process --help",
            "agentctl export --format env",
            "agentctl export extra",
            "agentctl export --wait 60",
            "agentctl statusline --no-autostart",
        ] {
            assert!(read(&words(line)).is_none(), "{line}");
        }
    }
}
