//! What the AWS config and credentials files of one world say.
//!
//! The files are read here, under our limits, and parsed by the SDK's own parser (`aws-runtime`), so that a file means
//! the same to us as to the SDKs. The parser gets texts, an empty environment and an empty file system: it can read
//! nothing else.
//!
//! * An absent file is an empty one. A config file that cannot be used is a failure (the caller keeps the last good
//!   one); a credentials file that cannot be used is a finding, since no SSO profile needs it.
//! * Each profile resolves on its own: a bad one carries its [`Failure`] and harms no other.
//! * SSO profiles become chains. Every other kind is recognised and refused with class `misconfigured` for now.
//! * The values of secret keys are blanked before parsing and never kept.
//!
//! [`text`] makes a file fit for the parser, [`resolve`] turns its sections into [`Profile`]s, [`mod@inspect`] says what
//! stands in one of them.
//!
//! [`Profile`]: crate::core::source::Profile

mod inspect;
mod resolve;
mod text;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_runtime::env_config::section::EnvConfigSections;
use aws_runtime::env_config::source;
use aws_types::os_shim_internal::{Env, Fs};
use zeroize::Zeroizing;

use crate::core::failure::{Failure, FailureClass};
use crate::core::source::{World, WorldConfig};
use crate::core::status::Finding;

use text::{Aliases, Text};

pub use inspect::inspect;

/// Reads and resolves the files of `world`. Needs a tokio runtime: all of it goes to its blocking threads.
///
/// # Errors
///
/// The config file is there and cannot be read or parsed: class `misconfigured`, naming file and line.
pub async fn load(world: &Arc<World>) -> Result<WorldConfig, Failure> {
    with_files(world, resolve::world).await
}

/// Reads and parses the files on a blocking thread, and lets `act` make something of them and of what is odd about them.
async fn with_files<T: Send + 'static>(
    world: &Arc<World>,
    act: impl FnOnce(&Arc<World>, &resolve::Files, Vec<Finding>) -> T + Send + 'static,
) -> Result<T, Failure> {
    let (world, runtime) = (Arc::clone(world), tokio::runtime::Handle::current());
    let reading = tokio::task::spawn_blocking(move || {
        let fit = fit(&world, text::read(&world.config_file), text::read(&world.credentials_file));
        // The parser is async by its signature alone; ten thousand sections keep a thread busy for a while.
        runtime.block_on(parsed(&world, fit)).map(|(files, findings)| act(&world, &files, findings))
    });
    let stopped = |_| Failure::new(FailureClass::Transient, "reading the AWS config files was interrupted", "");
    reading.await.map_err(stopped)?
}

/// What files with these bytes would say: [`load`] without the disk. The paths of `world` are only named.
///
/// # Errors
///
/// The config file cannot be parsed: class `misconfigured`, naming file and line.
pub async fn interpret(world: &Arc<World>, config: &[u8], credentials: &[u8]) -> Result<WorldConfig, Failure> {
    let bytes = |bytes: &[u8]| Ok(Zeroizing::new(bytes.to_vec()));
    let (files, findings) = parsed(world, fit(world, bytes(config), bytes(credentials))).await?;
    Ok(resolve::world(world, &files, findings))
}

/// Both files, made fit for the parser.
struct Fit {
    aliases: Aliases,
    config: Result<Text, Failure>,
    credentials: Result<Text, Failure>,
}

fn fit(world: &World, config: text::Bytes, credentials: text::Bytes) -> Fit {
    let mut aliases = Aliases::default();
    let mut fit = |path: &Path, bytes: text::Bytes, kind| text::fit(path, &bytes?, kind, &mut aliases);
    let config = fit(&world.config_file, config, EnvConfigFileKind::Config);
    let credentials = fit(&world.credentials_file, credentials, EnvConfigFileKind::Credentials);
    Fit { aliases, config, credentials }
}

async fn parsed(world: &World, fit: Fit) -> Result<(resolve::Files, Vec<Finding>), Failure> {
    let Fit { mut aliases, config, credentials } = fit;
    let Text { text, mut findings } = config?;
    let config = parse(&world.config_file, EnvConfigFileKind::Config, text).await?;
    let credentials = match credentials {
        Ok(text) => {
            findings.extend(text.findings);
            parse(&world.credentials_file, EnvConfigFileKind::Credentials, text.text).await
        }
        Err(failure) => Err(failure),
    };
    let credentials = credentials.unwrap_or_else(|failure| {
        findings.push(Finding::new(
            "credentials-file-unusable",
            format!("{}; it is ignored", failure.message),
            failure.fix,
        ));
        EnvConfigSections::default()
    });
    aliases.freeze();
    Ok((resolve::Files { config, credentials, aliases }, findings))
}

async fn parse(path: &Path, kind: EnvConfigFileKind, text: String) -> Result<EnvConfigSections, Failure> {
    let files = EnvConfigFiles::builder().with_contents(kind, text).build();
    let source = source::load(&Env::from_slice(&[]), &Fs::from_slice(&[]), &files).await;
    let source = source.map_err(|e| malformed(path, None, &format!("cannot be read: {e}")))?;
    EnvConfigSections::parse(source).map_err(|error| {
        let (line, cause) = line_and_cause(&error.to_string());
        malformed(path, line, &cause)
    })
}

/// The parser says `error parsing PATH on line N:\n  Cause`, and gives access to neither part.
fn line_and_cause(words: &str) -> (Option<usize>, String) {
    let cause = words.rsplit('\n').next().unwrap_or_default().trim();
    let line = words.split(" on line ").nth(1).and_then(|t| t.split(':').next()).and_then(|n| n.parse().ok());
    let mut letters = cause.chars();
    let lower = letters.next().map(|c| c.to_ascii_lowercase());
    (line, lower.into_iter().chain(letters).collect())
}

/// A file that cannot be used.
fn malformed(path: &Path, line: Option<usize>, what: &str) -> Failure {
    let path = path.display();
    match line {
        Some(line) => Failure::new(
            FailureClass::Misconfigured,
            format!("{path}, line {line}: {what}"),
            format!("correct line {line} of {path}"),
        ),
        None => Failure::new(FailureClass::Misconfigured, format!("{path} {what}"), format!("correct {path}")),
    }
}
