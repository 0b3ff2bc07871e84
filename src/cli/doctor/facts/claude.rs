//! What Claude Code's settings say, and what becomes of their hook.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::cli::context::Context;
use crate::cli::environment::Environment;
use crate::core::claude_settings;
use crate::core::claude_settings::keys::{self, EXPORT, GATEWAY, REFRESH, USE_BEDROCK, USE_MANTLE, is_ours};
use crate::core::failure::Failure;
use crate::core::words;
use crate::files::setup;

/// The settings of a folder, relative to it.
const PROJECT: [&str; 2] = [".claude/settings.json", ".claude/settings.local.json"];
/// More are not tried.
const MOST_MODELS: usize = 6;
/// The settings of whoever runs the machine, which win over all others.
const MANAGED: [&str; 2] =
    ["/etc/claude-code/managed-settings.json", "/Library/Application Support/ClaudeCode/managed-settings.json"];
/// Variables that settings and shells may set, beside those that name models.
const VARIABLES: [&str; 6] = [USE_BEDROCK, USE_MANTLE, GATEWAY, "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"];

/// What Claude Code's settings say.
#[derive(Clone, Debug)]
pub struct ClaudeFacts {
    /// The user's.
    pub path: PathBuf,
    /// What they hold; `None`: there are none.
    pub settings: Result<Option<Map<String, Value>>, String>,
    /// The line for which Claude Code ignores all of them, although they can be read.
    pub ignored_from: Option<usize>,
    /// The program of `awsCredentialExport`.
    pub hook: Option<Program>,
    /// What it came to: milliseconds of life that are left to the credentials, or why there are none. `None`: it was not
    /// run.
    pub ran: Option<Result<i64, String>>,
    /// Other settings that win over the user's, with a command of another tool.
    pub overriding: Vec<Override>,
    /// What of this shell's environment matters to Claude Code.
    pub shell: Vec<(&'static str, String)>,
}

/// A program that settings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// As it is written.
    pub path: PathBuf,
    /// Whether it is there.
    pub exists: bool,
    /// Whether it may be run.
    pub executable: bool,
}

/// A command of another tool in settings that win.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The settings.
    pub path: PathBuf,
    /// The key.
    pub key: &'static str,
}

impl ClaudeFacts {
    /// Reads the user's settings.
    pub(super) fn read(ctx: &Context<'_>) -> Self {
        Self::of(ctx, user_settings(ctx.vars).unwrap_or_else(|_| PROJECT[0].into()))
    }

    /// Reads settings.
    pub fn of(ctx: &Context<'_>, path: PathBuf) -> Self {
        let (settings, ignored_from) = match settings(&path) {
            Ok(Some(File { settings, ignored_from })) => (Ok(Some(settings)), ignored_from),
            Ok(None) => (Ok(None), None),
            Err(why) => (Err(why), None),
        };
        let others = PROJECT.iter().chain(&MANAGED).map(PathBuf::from);
        let overriding = others.filter(|other| !same(other, &path)).flat_map(overrides).collect();
        let variables = VARIABLES.into_iter().chain(keys::models());
        let shell = variables.filter_map(|name| Some((name, ctx.vars.get(name)?.to_owned()))).collect();
        let mut facts = Self { path, settings, ignored_from, hook: None, ran: None, overriding, shell };
        facts.hook = facts.command(EXPORT).and_then(program);
        facts
    }

    /// The settings, where they can be read.
    #[must_use]
    pub fn known(&self) -> Option<&Map<String, Value>> {
        self.settings.as_ref().ok()?.as_ref()
    }

    /// A text among the settings.
    #[must_use]
    pub fn command(&self, key: &str) -> Option<&str> {
        self.known()?.get(key)?.as_str()
    }

    /// A variable as Claude Code sees it: of its settings, else of the shell.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        let own = self.known().and_then(|settings| settings.get("env")?.get(name)?.as_str());
        let shell = || self.shell.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        own.or_else(shell).filter(|value| !value.is_empty())
    }

    /// The profile that Claude Code's own chain of credentials takes.
    #[must_use]
    pub fn default_profile(&self) -> &str {
        self.variable("AWS_PROFILE").unwrap_or("default")
    }

    /// The region of Bedrock as Claude Code finds it.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.variable("AWS_REGION").or_else(|| self.variable("AWS_DEFAULT_REGION"))
    }

    /// Whether one of its switches for Bedrock is on.
    #[must_use]
    pub fn uses_bedrock(&self) -> bool {
        self.is_on(USE_BEDROCK) || self.is_on(USE_MANTLE)
    }

    /// Whether bare model ids are meant for Bedrock's Messages API (see [`USE_MANTLE`]).
    #[must_use]
    pub fn uses_mantle(&self) -> bool {
        self.is_on(USE_MANTLE)
    }

    fn is_on(&self, name: &str) -> bool {
        self.variable(name).is_some_and(|value| !["0", "false", "no", "off"].contains(&value))
    }

    /// Who is asked in place of Bedrock.
    #[must_use]
    pub fn gateway(&self) -> Option<&str> {
        self.variable(GATEWAY)
    }

    /// The region in which Claude Code calls InvokeModel of Bedrock itself.
    #[must_use]
    pub fn bedrock_region(&self) -> Option<&str> {
        self.region().filter(|_| self.is_on(USE_BEDROCK) && self.gateway().is_none())
    }

    /// The models that are named, with the setting that names each.
    pub fn models(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let chosen = self.command("model").map(|model| ("model", model));
        chosen.into_iter().chain(keys::models().filter_map(|name| Some((name, self.variable(name)?))))
    }

    /// Those of them that InvokeModel is asked for, each once and as AWS is told them: `[1m]` is Claude Code's own.
    #[must_use]
    pub fn invoked(&self) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for (_, model) in self.models() {
            let id = invoked_as(model);
            let is_id = id.contains("anthropic.") || id.starts_with("arn:");
            let elsewhere = self.uses_mantle() && id.starts_with("anthropic.");
            if is_id && !elsewhere && !ids.iter().any(|known| known == id) && ids.len() < MOST_MODELS {
                ids.push(id.to_owned());
            }
        }
        ids
    }

    /// The hook, where it is one of ours that prints credentials.
    #[must_use]
    pub fn own_hook(&self) -> Option<&str> {
        self.command(EXPORT).filter(|command| is_ours(command) && command.contains(" export"))
    }

    /// The profile whose credentials it prints, where it names one.
    #[must_use]
    pub fn hooks_profile(&self) -> Option<String> {
        words::first_word(self.own_hook()?.split_once(" --profile ")?.1)
    }

    /// The same, where its program can be run from anywhere.
    #[must_use]
    pub fn runnable_hook(&self) -> Option<&str> {
        let found = self.hook.as_ref().is_some_and(|hook| hook.path.is_absolute() && hook.exists && hook.executable);
        self.own_hook().filter(|_| found)
    }
}

/// A model's id as AWS is told it.
#[must_use]
pub fn invoked_as(model: &str) -> &str {
    model.strip_suffix("[1m]").unwrap_or(model)
}

fn same(one: &Path, other: &Path) -> bool {
    std::fs::canonicalize(one).is_ok_and(|one| std::fs::canonicalize(other).is_ok_and(|other| one == other))
}

fn overrides(path: PathBuf) -> Vec<Override> {
    let Ok(Some(File { settings, .. })) = settings(&path) else { return Vec::new() };
    let foreign = |key: &&str| settings.get(*key).and_then(Value::as_str).is_some_and(|command| !is_ours(command));
    [EXPORT, REFRESH].into_iter().filter(foreign).map(|key| Override { path: path.clone(), key }).collect()
}

fn program(command: &str) -> Option<Program> {
    let path = PathBuf::from(words::first_word(command)?);
    let (exists, executable) = match std::fs::metadata(&path) {
        Ok(metadata) => (metadata.is_file(), is_executable(&metadata)),
        Err(_) => (false, false),
    };
    Some(Program { path, exists, executable })
}

#[cfg(unix)]
fn is_executable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &std::fs::Metadata) -> bool {
    true
}

/// The user's settings of Claude Code.
///
/// # Errors
/// There is no home folder.
pub fn user_settings(vars: &Environment) -> Result<PathBuf, Failure> {
    let folder = match vars.get("CLAUDE_CONFIG_DIR") {
        Some(named) => named.into(),
        None => vars.home()?.join(".claude"),
    };
    Ok(folder.join("settings.json"))
}

/// A file of settings.
struct File {
    settings: Map<String, Value>,
    /// The line for which Claude Code ignores them.
    ignored_from: Option<usize>,
}

/// What a file says; `None`: there is none.
fn settings(path: &Path) -> Result<Option<File>, String> {
    let Some(bytes) = setup::read(path)? else { return Ok(None) };
    let settings = claude_settings::read(&bytes).map_err(|failure| failure.message)?;
    Ok(Some(File { settings, ignored_from: claude_settings::ignored_from(&bytes) }))
}
