//! `agentd bedrock`: what Bedrock says to credentials that are handed over on stdin, in the environment of whoever asks. For
//! `agentctl doctor` and `setup`, which have them from the agent, and go the way that the tools go.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use zeroize::Zeroizing;

use super::once;
use crate::api::process_json;
use crate::aws::Aws;
use crate::core::bedrock::Look;
use crate::core::credential::RoleCredentials;
use crate::core::failure::{Failure, FailureClass};
use crate::platform::process;

/// A document has some 4 KiB.
const LONGEST: u64 = 64 * 1024;

/// Reads the union document, asks for the list and the form, tries the models, and prints what came of it.
#[must_use]
pub fn main(config: Option<&Path>, region: &str, models: &[String]) -> ExitCode {
    process::harden();
    once::tell(handed_over().and_then(|keys| {
        once::without_engine(config, async |configuration, _| look(&configuration.aws(), region, &keys, models).await)
    }))
}

fn handed_over() -> Result<RoleCredentials, Failure> {
    // Never grows, which would leave a copy behind.
    let mut document = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 1));
    let read = std::io::stdin().lock().take(LONGEST).read_to_end(&mut document);
    let why = match read.map(|_| process_json::parse(&document)) {
        Ok(Ok(keys)) => return Ok(keys),
        Ok(Err(why)) => why.to_owned(),
        Err(e) => e.to_string(),
    };
    let fix = "hand it over as agentctl export prints it";
    Err(Failure::new(FailureClass::Misconfigured, format!("no credentials on stdin: {why}"), fix))
}

#[cfg(feature = "bedrock")]
async fn look(aws: &Aws, region: &str, keys: &RoleCredentials, models: &[String]) -> Result<Look, Failure> {
    use super::model_routes::failure;
    use crate::core::bedrock::{Tried, form_region};
    use crate::platform::clock::Clock;

    let tries = models.iter().map(|model| {
        let (aws, keys, region, id) = (aws.clone(), keys.clone(), region.to_owned(), model.clone());
        tokio::spawn(async move {
            let began = Clock.tick();
            let failure = aws.invoke(&region, &keys, &id).await.err().map(|evidence| failure(&evidence));
            let took_ms = Clock.tick().since(began).as_millis().try_into().unwrap_or(u64::MAX);
            Tried { id, took_ms, failure }
        })
    });
    let tries: Vec<_> = tries.collect();
    let (listed, form) =
        tokio::join!(aws.inference_profiles(region, keys), aws.use_case_form(form_region(region), keys));
    let listed = listed.map(|all| all.iter().filter(|profile| profile.is_claude() && profile.is_active()).count());
    let mut tried = Vec::with_capacity(tries.len());
    for one in tries {
        tried.extend(one.await.ok());
    }
    let listed = listed.map_err(|evidence| failure(&evidence));
    Ok(Look { region: region.to_owned(), listed, form: form.ok(), tried })
}

#[cfg(not(feature = "bedrock"))]
async fn look(_: &Aws, _: &str, _: &RoleCredentials, _: &[String]) -> Result<Look, Failure> {
    Err(super::model_routes::without_bedrock())
}
