//! Loops that others run, as they look from here: somebody asks for logins although everything is valid, or a tool logs in
//! again and again. Nothing is refused for them; they are findings with a cure.

use std::time::Duration;

use crate::core::broker::Broker;
use crate::core::failure::shell_word;
use crate::core::login::LoginId;
use crate::core::source::Chain;
use crate::core::status::Finding;
use crate::core::time::{Moment, Tick};
use crate::core::words::span;

/// What happened longer ago is no loop.
const SPAN: Duration = Duration::from_secs(600);
/// So often within that time is one.
const MANY: usize = 3;
/// Tools renew a token when less than 15 minutes of its life are left (botocore); one that is replaced earlier was
/// replaced by a login.
const RENEWED_BELOW: Duration = Duration::from_secs(20 * 60);

/// When something happened, as far as that still matters.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent(Vec<Tick>);

impl Recent {
    fn note(&mut self, now: Tick) {
        self.0.retain(|at| now.since(*at) < SPAN);
        self.0.push(now);
    }

    fn many(&self, now: Tick) -> Option<usize> {
        let count = self.0.iter().filter(|at| now.since(**at) < SPAN).count();
        (count >= MANY).then_some(count)
    }
}

impl Broker {
    /// A login was asked for that valid credentials answered. A person at a terminal may ask out of care.
    pub(super) fn note_phantom(&mut self, id: LoginId, now: Moment) {
        let Some(entry) = self.logins.demands.get(&id).filter(|e| e.was_valid && !e.demand.terminal) else { return };
        if let Some(chain) = entry.session.clone() {
            self.account(&chain).phantoms.note(now.tick);
            self.changed();
        }
    }

    /// Another tool replaced a token that had `left` to live.
    pub(in crate::core::broker) fn note_foreign_login(&mut self, chain: &Chain, left: Duration, now: Moment) {
        if left > RENEWED_BELOW {
            self.account(chain).foreign.note(now.tick);
        }
    }

    pub(in crate::core::broker) fn loops(&self, now: Moment) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (chain, account) in &self.logins.accounts {
            let Some(session) = chain.session() else { continue };
            let (id, within) = (session.id(), span(SPAN));
            if let Some(count) = account.phantoms.many(now.tick) {
                findings.push(Finding::new(
                    "phantom-demand",
                    format!(
                        "logins to '{id}' were asked for {count} times within {within} although its credentials are \
                         valid: the tool that asks does not use them, or cannot reach AWS itself"
                    ),
                    "Claude Code: take awsAuthRefresh out of its settings (awsCredentialExport alone asks for no login), \
                     or cure its own check: agentctl doctor network",
                ));
            }
            if let Some(count) = account.foreign.many(now.tick) {
                findings.push(Finding::new(
                    "foreign-loop",
                    format!(
                        "{count} tokens of '{id}' were replaced by other tools within {within} although they were \
                         valid: something logs in again and again"
                    ),
                    format!("have it run this instead: agentctl login --sso-session {}", shell_word(&id)),
                ));
            }
        }
        findings
    }
}
