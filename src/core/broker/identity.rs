//! Who a profile is, as far as that is known without asking anybody: its chain, and the credentials that are held.

use super::Broker;
use crate::core::source::{Chain, Link};
use crate::core::time::{Moment, Timestamp};
use crate::core::waiters::{ProfileRef, Refusal};

/// What is known of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The account of its role.
    pub account: Option<String>,
    /// Its role's name.
    pub role: Option<String>,
    /// Its `region`.
    pub region: Option<String>,
    /// Last four characters of the access key id, while valid credentials are held.
    pub key_suffix: Option<String>,
    /// When those end, by AWS's clock.
    pub expires_at: Option<Timestamp>,
}

impl Broker {
    /// Who the profile is. Fetches nothing, and keeps nothing that was not kept before.
    ///
    /// # Errors
    /// As a demand for its credentials: it is not known, not usable or not served.
    pub fn identity(&mut self, profile: &ProfileRef, now: Moment) -> Result<Identity, Refusal> {
        let id = self.served(profile)?;
        let Some(node) = self.nodes.get(id) else { return Ok(Identity::default()) };
        let (account, role) = account_and_role(&node.chain);
        let valid = node.valid(self.clock.now(now)).and_then(|(held, _)| held.credential.as_role());
        let config = self.worlds.get(&profile.world).and_then(|state| state.config.as_ref());
        Ok(Identity {
            account,
            role,
            region: config.and_then(|c| c.profiles.get(&profile.name)).and_then(|p| p.region.clone()),
            key_suffix: valid.map(|keys| keys.key_suffix().to_owned()),
            expires_at: valid.map(|keys| keys.expires_at),
        })
    }
}

/// Of the last link. `arn:aws:iam::ACCOUNT:role/PATH/NAME` ("IAM identifiers").
fn account_and_role(chain: &Chain) -> (Option<String>, Option<String>) {
    match chain.link() {
        Link::SsoRole { account_id, role_name } => (Some(account_id.clone()), Some(role_name.clone())),
        Link::AssumedRole { role_arn } => {
            let account = role_arn.split(':').nth(4).filter(|account| !account.is_empty());
            (account.map(str::to_owned), role_arn.rsplit_once('/').map(|(_, name)| name.to_owned()))
        }
        Link::SsoSession(_) => (None, None),
    }
}
