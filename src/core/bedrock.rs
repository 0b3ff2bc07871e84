//! What Bedrock offers an account in a region, as it says itself.
//!
//! Which of it can be used is judged by that answer and not by a list of prefixes: `eu.`, `us-gov.`, `jp.` and `global.`
//! are names that AWS adds to.

use serde::{Deserialize, Serialize};

/// An inference profile: what on-demand throughput wants in place of a model's bare id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InferenceProfile {
    /// What `ANTHROPIC_MODEL` takes: the id, or an application profile's ARN.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub kind: ProfileKind,
    /// Its state in AWS's own word: `ACTIVE`.
    pub status: String,
    /// The ARNs of the models behind it, one for each region that it may lead to.
    pub models: Vec<String>,
}

/// Whose an inference profile is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProfileKind {
    /// Made by AWS.
    System,
    /// Made in the account, for its bills.
    Application,
}

impl InferenceProfile {
    /// Whether Claude stands behind it: `arn:aws:bedrock:REGION::foundation-model/anthropic.claude-...`.
    #[must_use]
    pub fn is_claude(&self) -> bool {
        self.models.iter().any(|arn| arn.rsplit('/').next().is_some_and(|model| model.starts_with("anthropic.")))
    }

    /// Whether it is in service.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == "ACTIVE"
    }
}

/// Those of Claude first, AWS's own before the account's, by name.
pub fn sort(profiles: &mut [InferenceProfile]) {
    profiles.sort_by(|a, b| (!a.is_claude(), a.kind, &a.id).cmp(&(!b.is_claude(), b.kind, &b.id)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claude_comes_first() {
        let profile = |id: &str, kind, model: &str| InferenceProfile {
            id: id.to_owned(),
            name: String::new(),
            kind,
            status: "ACTIVE".to_owned(),
            models: vec![format!("arn:aws:bedrock:eu-west-1::foundation-model/{model}")],
        };
        let mut all = vec![
            profile("us.meta.llama", ProfileKind::System, "meta.llama"),
            profile("arn:x", ProfileKind::Application, "anthropic.claude"),
            profile("us.anthropic.claude", ProfileKind::System, "anthropic.claude"),
            profile("global.anthropic.claude", ProfileKind::System, "anthropic.claude"),
        ];
        sort(&mut all);
        let ids: Vec<_> = all.iter().map(|p| p.id.as_str()).collect();
        assert_eq!(ids, ["global.anthropic.claude", "us.anthropic.claude", "arn:x", "us.meta.llama"]);
    }
}
