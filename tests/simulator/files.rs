//! Token files, and the people and tools that change them behind the agent's back.

use std::sync::Arc;

use aws_credential_agent::core::broker::Event;
use aws_credential_agent::core::credential::{RefreshGrant, SsoToken};
use aws_credential_agent::core::failure::{Failure, FailureClass};
use aws_credential_agent::core::node::NodeId;
use aws_credential_agent::core::session::TokenFile;

use super::clock::Clocks;
use super::estate::{HOUR, MINUTE};
use super::run::{Due, Sim};
use super::upstream::{Health, Token};

/// The token file of one session.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// What the file says when it is whole; `None`: there is no file.
    pub(crate) token: Option<Token>,
    /// Somebody is in the middle of writing it.
    pub(crate) torn: bool,
    /// What it said before, and until when.
    pub(crate) before: Vec<(i64, Option<Token>)>,
}

/// The file rounds down to seconds; what the agent holds from an answer does not.
pub(crate) fn token_of(token: &Token, from_file: bool) -> Arc<SsoToken> {
    let round = |t: i64| if from_file { t - t.rem_euclid(1000) } else { t };
    Arc::new(SsoToken {
        access_token: format!("SECRETat-{}", token.access).as_str().into(),
        expires_at: Clocks::stamp(round(token.ends)),
        refresh: token.refresh.map(|r| RefreshGrant {
            refresh_token: format!("SECRETrt-{r}").as_str().into(),
            client_id: "client".to_owned(),
            client_secret: "SECRETclient".into(),
            registration_expires_at: Some(Clocks::stamp(round(token.registration_ends))),
        }),
        client_id: None,
        obtained_at: Clocks::stamp(token.obtained + i64::from(from_file) * 137),
    })
}

pub(crate) fn number(text: &str) -> u32 {
    text.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

impl Sim {
    pub(crate) fn log_in(&mut self, session: usize) {
        let t = self.clocks.t;
        self.checks.news(session, t);
        let ends = t + self.rng.i64(4..40) * HOUR;
        let token = self.sites[self.estate.sessions[session].site].login(t, ends);
        self.stats.logins += 1;
        self.write(session, Some(token));
    }

    /// Replaces the file. Its watchers hear of it soon, or with the next scan.
    pub(crate) fn write(&mut self, session: usize, token: Option<Token>) {
        self.note_paths();
        let store = &mut self.stores[session];
        let t = self.clocks.t;
        store.before.retain(|(at, _)| t - at < HOUR);
        store.before.push((t, store.token));
        store.token = token;
        store.torn = false;
        self.note_paths();
        if token.is_none() {
            self.checks.logged_out(session, self.clocks.t, &self.estate);
        }
        if self.rng.u8(..10) != 0 {
            let ms = self.rng.i64(1..400);
            self.after(ms, Due::Watch(session));
        }
    }

    pub(crate) fn read_token(&mut self, node: NodeId, session: usize, tries: u8) {
        let store = &self.stores[session];
        if store.torn && store.token.is_some() && tries < 10 {
            let ms = if tries < 5 { 20 } else { 100 };
            return self.after(ms, Due::ReadToken { node, session, tries: tries + 1 });
        }
        let file = match &store.token {
            None => TokenFile::Absent,
            Some(_) if store.torn => {
                TokenFile::Unusable(Failure::new(FailureClass::Transient, "the token file is no JSON", ""))
            }
            Some(token) => TokenFile::Present(token_of(token, true)),
        };
        if file == TokenFile::Absent {
            self.checks.logged_out(session, self.clocks.t, &self.estate);
        }
        self.step(Event::TokenRead { node, file });
    }

    pub(crate) fn watched(&mut self, session: usize) {
        for node in self.readers[session].clone() {
            self.read_token(node, session, 0);
        }
    }

    /// Another tool (AWS CLI, an SDK) looks at the file and renews what is about to end, or for no reason at all.
    pub(crate) fn foreign(&mut self, session: usize) {
        self.at_random(40 * MINUTE, Due::Foreign(session));
        let (t, site) = (self.clocks.t, self.estate.sessions[session].site);
        let Some(token) = self.stores[session].token else { return };
        let Some(refresh) = token.refresh else { return };
        let near_end = token.ends - t < 15 * MINUTE;
        if self.health(site, true) != Health::Ok || !(near_end || self.rng.u8(..3) == 0) {
            return;
        }
        if let Some(new) = self.sites[site].renew(refresh, t, false) {
            self.stats.rotations_by_others += 1;
            let ms = self.rng.i64(1..600);
            self.after(ms, Due::ForeignWrite(session, new));
        }
    }

    pub(crate) fn foreign_write(&mut self, session: usize, token: Token) {
        if self.stores[session].token.is_none() {
            return;
        }
        self.checks.news(session, self.clocks.t);
        if self.rng.u8(..3) == 0 {
            // Truncated first, written later: botocore and the CLI do so.
            self.write(session, Some(token));
            self.stores[session].torn = true;
            let ms = self.rng.i64(1..300);
            self.after(ms, Due::Untear(session));
        } else {
            self.write(session, Some(token));
        }
    }

    pub(crate) fn untear(&mut self, session: usize) {
        self.stores[session].torn = false;
        self.checks.news(session, self.clocks.t);
        self.after(1, Due::Watch(session));
    }

    /// A person looks whether a login is needed; sometimes logs in or out for no reason.
    pub(crate) fn person(&mut self, session: usize) {
        self.at_random(45 * MINUTE, Due::Person(session));
        let (t, site) = (self.clocks.t, self.estate.sessions[session].site);
        if self.health(site, true) != Health::Ok {
            return;
        }
        let dead = self.stores[session].token.is_none_or(|token| match token.refresh {
            Some(refresh) => !self.sites[site].is_live(refresh, t),
            None => token.ends < t + 5 * MINUTE,
        });
        match self.rng.u8(..60) {
            _ if dead => self.log_in(session),
            0 => {
                if let Some(token) = self.stores[session].token {
                    self.note_paths();
                    self.sites[site].logout(&token);
                    self.write(session, None);
                }
            }
            1 => self.log_in(session),
            _ => {}
        }
    }
}
