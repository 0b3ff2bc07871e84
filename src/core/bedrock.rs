//! What Bedrock offers an account in a region, as it says itself.
//!
//! Which of it can be used is judged by that answer and not by a list of prefixes: `eu.`, `us-gov.`, `jp.` and `global.`
//! are names that AWS adds to.

use serde::{Deserialize, Serialize};

use super::failure::Failure;

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

/// AWS's own inference profile of the newest model of a family (`opus`) that leads where `like` leads: with its prefix.
#[must_use]
pub fn newest<'a>(profiles: &'a [InferenceProfile], family: &str, like: &str) -> Option<&'a str> {
    let (prefix, _) = like.split_once("anthropic.")?;
    let of_family = |profile: &'a InferenceProfile| {
        let name = profile.id.strip_prefix(prefix)?.strip_prefix("anthropic.claude-")?;
        name.split('-').any(|part| part == family).then(|| (version(name), profile.id.as_str()))
    };
    let usable = profiles.iter().filter(|profile| profile.kind == ProfileKind::System && profile.is_active());
    usable.filter_map(of_family).max().map(|(_, id)| id)
}

/// A model's name for people: `opus-4-8` of `eu.anthropic.claude-opus-4-8`, without day and revision.
#[must_use]
pub fn short(id: &str) -> String {
    let name = id.rsplit_once("claude-").map_or(id, |(_, name)| name);
    let is_day = |part: &str| part.parse().is_ok_and(is_day);
    let is_revision = |part: &str| part.starts_with('v') && part.contains(':');
    name.split('-').take_while(|part| !is_day(part) && !is_revision(part)).collect::<Vec<_>>().join("-")
}

/// `20241022`.
const fn is_day(number: u32) -> bool {
    number > 20_000_000
}

/// `3-5-haiku-20241022-v1:0` and `haiku-4-5-20251001-v1:0`: the numbers, then the day.
fn version(name: &str) -> (Vec<u32>, u32) {
    let parts = name.split('-').filter_map(|part| part.parse::<u32>().ok());
    let (days, numbers): (Vec<u32>, Vec<u32>) = parts.partition(|number| is_day(*number));
    (numbers, days.first().copied().unwrap_or_default())
}

/// What Bedrock says to credentials, and models of it to a request of one token: the document of `agentd bedrock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Where it was asked.
    pub region: String,
    /// How many inference profiles of Claude are in service there, or why they are not listed.
    pub listed: Result<usize, Failure>,
    /// Whether the account has filled in Anthropic's use-case form; `None`: that was not to be learned.
    pub form: Option<bool>,
    /// Each model that was tried.
    pub tried: Vec<Tried>,
}

/// A model that was asked for one token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// Its id.
    pub id: String,
    /// Milliseconds to its answer.
    pub took_ms: u64,
    /// Why it gave none.
    pub failure: Option<Failure>,
}

/// The partition of a region: the second part of every ARN there.
#[must_use]
pub fn partition(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ if region.starts_with("cn-") => "aws-cn",
        _ if region.starts_with("eusc-") => "aws-eusc",
        _ => "aws",
    }
}

/// Where the account's use-case form is asked for: one form holds for all regions of the partition, and its API answers in
/// the partition's first ("Request access to models").
#[must_use]
pub fn form_region(region: &str) -> &str {
    if partition(region) == "aws" { "us-east-1" } else { region }
}

/// The least that Claude Code needs, as an IAM policy for the partition of a region ("Claude Code on Amazon Bedrock", IAM
/// configuration).
#[must_use]
pub fn policy(region: &str) -> serde_json::Value {
    let arn = |resource: &str| format!("arn:{}:bedrock:*:*:{resource}", partition(region));
    serde_json::json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "UseClaudeOnBedrock",
                "Effect": "Allow",
                "Action": [
                    "bedrock:InvokeModel",
                    "bedrock:InvokeModelWithResponseStream",
                    "bedrock:ListInferenceProfiles",
                    "bedrock:GetInferenceProfile",
                ],
                "Resource": [
                    arn("inference-profile/*"),
                    arn("application-inference-profile/*"),
                    arn("foundation-model/anthropic.*"),
                ],
            },
            {
                "Sid": "SubscribeToModelsOnFirstUse",
                "Effect": "Allow",
                "Action": ["aws-marketplace:ViewSubscriptions", "aws-marketplace:Subscribe"],
                "Resource": "*",
                "Condition": { "StringEquals": { "aws:CalledViaLast": "bedrock.amazonaws.com" } },
            },
        ],
    })
}

/// Why a model that is set does not fit a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// A model's bare id, which on-demand throughput refuses; an inference profile's would fit.
    Bare(String),
    /// AWS's own inference profile of another part of the world.
    OtherGeography(String),
    /// An inference profile of the account in another region, which is named.
    OtherRegion(String),
}

/// Which regions AWS's own inference profiles with this prefix are used from, by the beginnings of their names.
const GEOGRAPHIES: [(&str, &[&str]); 7] = [
    ("us-gov", &["us-gov-"]),
    ("us", &["us-east-", "us-west-", "ca-"]),
    ("eu", &["eu-", "il-"]),
    ("jp", &["ap-northeast-1", "ap-northeast-3"]),
    ("au", &["ap-southeast-2", "ap-southeast-4"]),
    ("apac", &["ap-", "me-"]),
    ("global", &["us-east-", "us-west-", "ca-", "sa-", "eu-", "ap-", "me-", "il-", "af-", "mx-"]),
];

/// Whether Bedrock in a region would refuse this value of `ANTHROPIC_MODEL` by its name alone, and what to write instead.
/// AWS adds to its prefixes: of one that is not known here nothing is said, and only the list from AWS is certain.
#[must_use]
pub fn misfit(model: &str, region: &str) -> Option<Misfit> {
    let (model, suffix) = match model.strip_suffix("[1m]") {
        Some(bare) => (bare, "[1m]"),
        None => (model, ""),
    };
    if let Some(arn) = model.strip_prefix("arn:") {
        let theirs = arn.split(':').nth(2)?;
        return (!theirs.is_empty() && theirs != region).then(|| Misfit::OtherRegion(theirs.to_owned()));
    }
    let fits = |begin: &&[&str]| begin.iter().any(|begin| region.starts_with(begin));
    let home = GEOGRAPHIES.iter().find(|(_, regions)| fits(regions)).map_or("global", |(prefix, _)| *prefix);
    let (prefix, name) = match model.split_once("anthropic.") {
        Some(("", name)) => return Some(Misfit::Bare(format!("{home}.anthropic.{name}{suffix}"))),
        Some((prefix, name)) => (prefix.strip_suffix('.')?, name),
        None => return None,
    };
    let (_, regions) = GEOGRAPHIES.iter().find(|(known, _)| *known == prefix)?;
    (!fits(regions)).then(|| Misfit::OtherGeography(format!("{home}.anthropic.{name}{suffix}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_held_against_the_region() {
        let fits = ["sonnet", "eu.anthropic.claude-x", "global.anthropic.claude-x[1m]", "xy.anthropic.claude-x"];
        for model in fits {
            assert_eq!(misfit(model, "eu-west-1"), None, "{model}");
        }
        let gov = "arn:aws-us-gov:bedrock:us-gov-west-1:111122223333:application-inference-profile/x";
        assert_eq!(misfit(gov, "us-gov-west-1"), None);
        assert_eq!(misfit(gov, "us-gov-east-1"), Some(Misfit::OtherRegion("us-gov-west-1".to_owned())));
        let bare = |model: &str| Some(Misfit::Bare(model.to_owned()));
        assert_eq!(misfit("anthropic.claude-x[1m]", "eu-west-1"), bare("eu.anthropic.claude-x[1m]"));
        assert_eq!(misfit("anthropic.claude-x", "us-gov-west-1"), bare("us-gov.anthropic.claude-x"));
        assert_eq!(misfit("anthropic.claude-x", "ap-northeast-1"), bare("jp.anthropic.claude-x"));
        assert_eq!(misfit("anthropic.claude-x", "ap-south-1"), bare("apac.anthropic.claude-x"));
        assert_eq!(misfit("anthropic.claude-x", "sa-east-1"), bare("global.anthropic.claude-x"));
        let other = |model: &str| Some(Misfit::OtherGeography(model.to_owned()));
        assert_eq!(misfit("us.anthropic.claude-x", "eu-west-1"), other("eu.anthropic.claude-x"));
        assert_eq!(misfit("global.anthropic.claude-x", "us-gov-west-1"), other("us-gov.anthropic.claude-x"));
        assert_eq!(misfit("us.anthropic.claude-x", "us-gov-west-1"), other("us-gov.anthropic.claude-x"));
        assert_eq!(misfit("jp.anthropic.claude-x", "ap-southeast-1"), other("apac.anthropic.claude-x"));
    }

    #[test]
    fn arns_and_forms_belong_to_a_partition() {
        for (region, partition, form) in [
            ("eu-west-1", "aws", "us-east-1"),
            ("us-gov-west-1", "aws-us-gov", "us-gov-west-1"),
            ("cn-north-1", "aws-cn", "cn-north-1"),
            ("", "aws", "us-east-1"),
        ] {
            let policy = policy(region);
            let resources = policy["Statement"][0]["Resource"].as_array().unwrap();
            let begin = format!("arn:{partition}:bedrock:*:*:");
            assert!(resources.iter().all(|arn| arn.as_str().unwrap().starts_with(&begin)), "{policy}");
            assert_eq!(form_region(region), form);
        }
    }

    #[test]
    fn the_newest_of_a_family_leads_where_the_other_does() {
        let profile = |id: &str| InferenceProfile {
            id: id.to_owned(),
            name: String::new(),
            kind: ProfileKind::System,
            status: "ACTIVE".to_owned(),
            models: Vec::new(),
        };
        let all: Vec<_> = [
            "eu.anthropic.claude-3-5-haiku-20241022-v1:0",
            "eu.anthropic.claude-haiku-4-5-20251001-v1:0",
            "eu.anthropic.claude-opus-4-20250514-v1:0",
            "eu.anthropic.claude-opus-4-1-20250805-v1:0",
            "global.anthropic.claude-opus-4-8",
        ]
        .map(profile)
        .into();
        let eu = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0";
        assert_eq!(newest(&all, "haiku", eu), Some("eu.anthropic.claude-haiku-4-5-20251001-v1:0"));
        assert_eq!(newest(&all, "opus", eu), Some("eu.anthropic.claude-opus-4-1-20250805-v1:0"));
        assert_eq!(newest(&all, "opus", "global.anthropic.claude-x"), Some("global.anthropic.claude-opus-4-8"));
        assert_eq!(newest(&all, "sonnet", eu), None);
        let shorts: Vec<_> = all.iter().map(|profile| short(&profile.id)).collect();
        assert_eq!(shorts, ["3-5-haiku", "haiku-4-5", "opus-4", "opus-4-1", "opus-4-8"]);
        assert_eq!(newest(&all, "opus", "arn:aws:bedrock:eu-west-1:1:application-inference-profile/x"), None);
    }

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
