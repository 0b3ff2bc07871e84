//! What AWS's book says of all refreshes: who made them, and whether anybody sent what he should not have sent.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::Estate;
use super::tools::NEIGHBOUR;
use crate::support::fake_aws::{Call, Operation, Rotation};

/// A tool that refreshes writes its file within this time; who still sends the old token later has not looked.
const WRITTEN_WITHIN_MS: i64 = 1000;

/// All refreshes so far.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By the mode of the session: refreshes of the agent, and of the tools, that AWS granted.
    pub granted: BTreeMap<String, (usize, usize)>,
    /// Refreshes of the agent that AWS refused, because a tool had been faster by less than it takes to write a file.
    pub raced: usize,
    /// ... because the login had been ended.
    pub ended: usize,
    /// The agent sent what it must have known to be used up or refused.
    pub complaints: Vec<String>,
}

/// Refreshes that AWS granted to anybody.
pub fn rotations(estate: &Estate) -> usize {
    estate.fake.succeeded(Operation::CreateToken)
}

impl Ledger {
    /// Reads the book.
    pub fn of(estate: &Estate) -> Self {
        let (calls, mut ledger) = (estate.fake.calls_of(Operation::CreateToken), Self::default());
        let mut used_up: BTreeMap<&str, (bool, DateTime<Utc>)> = BTreeMap::new();
        for call in &calls {
            let Some(token) = call.refresh_token.as_deref() else { continue };
            let by_agent = !call.user_agent.contains(NEIGHBOUR) && !call.user_agent.contains("Botocore");
            let Some(session) = call.session.filter(|_| call.ok()) else {
                if by_agent {
                    ledger.refused(call, used_up.get(token));
                }
                continue;
            };
            let rotation = estate.fake.session(session).rotation;
            if !matches!(rotation, Rotation::Kept | Rotation::Omitted) {
                used_up.entry(token).or_insert((by_agent, call.at));
            }
            let (agent, tools) = ledger.granted.entry(format!("{rotation:?}")).or_default();
            *(if by_agent { agent } else { tools }) += 1;
        }
        ledger
    }

    fn refused(&mut self, call: &Call, used_up: Option<&(bool, DateTime<Utc>)>) {
        let complaint = match used_up {
            _ if call.refused_before => "sent again after AWS had refused it",
            None => return self.ended += 1,
            Some((true, _)) => "sent again after it had used it itself",
            Some((false, at)) if (call.at - at).num_milliseconds() > WRITTEN_WITHIN_MS => {
                "sent long after a tool had used it and written its successor"
            }
            Some((false, _)) => return self.raced += 1,
        };
        self.complaints.push(format!("{}: the agent's refresh token was {complaint}", call.at));
    }
}
