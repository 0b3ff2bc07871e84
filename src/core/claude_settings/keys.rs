//! Names that Claude Code gives to its settings and variables, as setup writes and doctor reads them.

/// Runs for credentials.
pub const EXPORT: &str = "awsCredentialExport";
/// Runs when Claude Code's own check of STS fails.
pub const REFRESH: &str = "awsAuthRefresh";
/// Asks Bedrock, by InvokeModel.
pub const USE_BEDROCK: &str = "CLAUDE_CODE_USE_BEDROCK";
/// Asks Bedrock's Messages API ("Mantle"); with [`USE_BEDROCK`] only for bare model ids (read in 2.1.328).
pub const USE_MANTLE: &str = "CLAUDE_CODE_USE_MANTLE";
/// Asked in place of Bedrock.
pub const GATEWAY: &str = "ANTHROPIC_BEDROCK_BASE_URL";
/// The main model.
pub const MODEL: &str = "ANTHROPIC_MODEL";
/// The small and fast model.
pub const SMALL_MODEL: &str = "ANTHROPIC_SMALL_FAST_MODEL";
/// What a family's name means.
pub const FAMILIES: [(&str, &str); 4] = [
    ("opus", "ANTHROPIC_DEFAULT_OPUS_MODEL"),
    ("sonnet", "ANTHROPIC_DEFAULT_SONNET_MODEL"),
    ("haiku", "ANTHROPIC_DEFAULT_HAIKU_MODEL"),
    ("fable", "ANTHROPIC_DEFAULT_FABLE_MODEL"),
];

/// Every variable that names a model.
pub fn models() -> impl Iterator<Item = &'static str> {
    [MODEL, SMALL_MODEL].into_iter().chain(FAMILIES.into_iter().map(|(_, name)| name))
}

/// Whether a command of the settings is the agent's.
#[must_use]
pub fn is_ours(command: &str) -> bool {
    command.contains("agentctl")
}
