//! What the interop tests share: the usual account and role, an issued key as a document.

mod agent;
mod agent_tests;
mod claude;
mod clients;
mod converted;
mod fake_tests;
mod intercepted;
mod logins;
mod neighbours;
mod phantom;
mod rotations;
mod setup_claude;

use serde_json::json;

use crate::support::fake_aws::{FakeAws, IssuedKey, Operation, SessionId, SsoSession};
use crate::support::home::stamp;

/// The account of the usual case.
const ACCOUNT: &str = "111122223333";
/// The role of the usual case.
const ROLE: &str = "Developer";

/// A fake with one session `corp` that may use [`ROLE`] in [`ACCOUNT`].
fn fake() -> (FakeAws, SessionId) {
    let fake = FakeAws::start();
    let session = fake.add_session(SsoSession::new("corp").allow(ACCOUNT, ROLE));
    (fake, session)
}

/// The verified key of each GetCallerIdentity.
fn signers(fake: &FakeAws) -> Vec<Option<String>> {
    fake.calls_of(Operation::GetCallerIdentity).into_iter().map(|c| c.signed_by).collect()
}

/// An issued key in the form that every consumer accepts.
fn union_document(key: &IssuedKey) -> String {
    let flat = json!({
        "AccessKeyId": key.access_key_id,
        "SecretAccessKey": key.secret_access_key,
        "SessionToken": key.session_token,
        "Expiration": stamp(key.expires_at),
    });
    let mut union = flat.clone();
    union["Version"] = json!(1);
    union["Credentials"] = flat;
    union.to_string()
}
