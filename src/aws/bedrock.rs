//! Bedrock, asked with a role's keys: ListInferenceProfiles, GetUseCaseForModelAccess, and InvokeModel for one token.

use aws_sdk_bedrock::types::{InferenceProfileSummary, InferenceProfileType};
use aws_sdk_bedrockruntime::primitives::Blob;

use super::endpoints::Service;
use super::{Aws, Prepared};
use crate::core::bedrock::{InferenceProfile, ProfileKind};
use crate::core::classify::{Evidence, Operation, Signal};
use crate::core::credential::RoleCredentials;

/// Of one page. The API gives up to 1000, but an entry with its description and the ARNs of its models takes one or two
/// KiB, and no answer is read beyond [`MAX_BODY`](crate::net::answer::MAX_BODY).
const PAGE: i32 = 100;
/// More pages than this are no list for a person; what comes behind them is left out.
const MOST_PAGES: usize = 20;
/// The shortest turn ("Anthropic Claude Messages API": `anthropic_version`, `max_tokens` and `messages` are required).
const TURN: &[u8] =
    br#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":1,"messages":[{"role":"user","content":"ping"}]}"#;

impl Aws {
    /// What the account may use in a region: AWS's own inference profiles and the account's. Some requests, one for each
    /// page and kind.
    ///
    /// # Errors
    /// What the first request that failed showed.
    pub async fn inference_profiles(
        &self,
        region: &str,
        keys: &RoleCredentials,
    ) -> Result<Vec<InferenceProfile>, Box<Evidence>> {
        let mut profiles = Vec::new();
        for kind in [InferenceProfileType::SystemDefined, InferenceProfileType::Application] {
            let mut token = None;
            for _ in 0..MOST_PAGES {
                let page = self.page(region, keys, &kind, token).await?;
                profiles.extend(page.0);
                token = page.1;
                if token.is_none() {
                    break;
                }
            }
        }
        Ok(profiles)
    }

    async fn page(
        &self,
        region: &str,
        keys: &RoleCredentials,
        kind: &InferenceProfileType,
        token: Option<String>,
    ) -> Result<(Vec<InferenceProfile>, Option<String>), Box<Evidence>> {
        let prepared = self.prepare_bedrock(Operation::ListInferenceProfiles, Service::Bedrock, region, keys)?;
        let client = prepared.http.bedrock(region, &prepared.target, keys);
        let request =
            client.list_inference_profiles().max_results(PAGE).type_equals(kind.clone()).set_next_token(token);
        match request.customize().interceptor(prepared.trace.clone()).send().await {
            Ok(page) => {
                let next = page.next_token.filter(|token| !token.is_empty());
                Ok((page.inference_profile_summaries.unwrap_or_default().into_iter().map(read).collect(), next))
            }
            Err(error) => Err(prepared.failure(&error).await),
        }
    }

    /// Whether the account has filled in Anthropic's use-case form.
    ///
    /// # Errors
    /// What the failure showed.
    pub async fn use_case_form(&self, region: &str, keys: &RoleCredentials) -> Result<bool, Box<Evidence>> {
        let prepared = self.prepare_bedrock(Operation::GetUseCase, Service::Bedrock, region, keys)?;
        let client = prepared.http.bedrock(region, &prepared.target, keys);
        let request = client.get_use_case_for_model_access();
        match request.customize().interceptor(prepared.trace.clone()).send().await {
            Ok(_) => Ok(true),
            Err(error) => match prepared.failure(&error).await {
                evidence if is_absent(&evidence) => Ok(false),
                evidence => Err(evidence),
            },
        }
    }

    /// Asks a model for one token, as Claude Code asks for many: the one proof that it can be used. It costs what a dozen
    /// tokens cost.
    ///
    /// # Errors
    /// What the failure showed.
    pub async fn invoke(&self, region: &str, keys: &RoleCredentials, model: &str) -> Result<(), Box<Evidence>> {
        let prepared = self.prepare_bedrock(Operation::InvokeModel, Service::BedrockRuntime, region, keys)?;
        let client = prepared.http.bedrock_runtime(region, &prepared.target, keys);
        let request = client.invoke_model().model_id(model).content_type("application/json").body(Blob::new(TURN));
        match request.customize().interceptor(prepared.trace.clone()).send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(prepared.failure(&error).await),
        }
    }

    fn prepare_bedrock(
        &self,
        operation: Operation,
        service: Service,
        region: &str,
        keys: &RoleCredentials,
    ) -> Result<Prepared, Box<Evidence>> {
        let refuse = |u: super::endpoints::Unusable| {
            let (host, detail, fix) = (service.default_host(region), u.detail, u.fix);
            Box::new(Evidence { operation, host, signal: Signal::Unusable { detail, fix } })
        };
        let target = self.shared.endpoints.regional(service, region).map_err(refuse)?;
        let http = self.shared.http.route(&target).map_err(refuse)?;
        self.prepared(operation, target, http, &[&keys.secret_access_key, &keys.session_token])
    }
}

/// AWS knows of no form.
fn is_absent(evidence: &Evidence) -> bool {
    let Signal::Answer(answer) = &evidence.signal else { return false };
    answer.aws_mark && answer.code.as_deref() == Some("ResourceNotFoundException")
}

fn read(summary: InferenceProfileSummary) -> InferenceProfile {
    let application = summary.r#type == InferenceProfileType::Application;
    InferenceProfile {
        // An application profile's id alone is not taken for a model.
        id: if application { summary.inference_profile_arn } else { summary.inference_profile_id },
        name: summary.inference_profile_name,
        kind: if application { ProfileKind::Application } else { ProfileKind::System },
        status: summary.status.as_str().to_owned(),
        models: summary.models.into_iter().filter_map(|model| model.model_arn).collect(),
    }
}
