//! Fetches and token files report back.

use super::{Broker, Outcome};
use crate::core::classify::Verdict;
use crate::core::credential::{Credential, SsoToken};
use crate::core::failure::{Disposition, Failure, FailureClass};
use crate::core::node::{Flight, FlightId, Node, NodeId, Why};
use crate::core::portal::PortalKey;
use crate::core::schedule;
use crate::core::session::{self, Refusal, TokenFile};
use crate::core::time::{Moment, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// An answer to a call that began longer ago says nothing about the present time.
const OLD_ANSWER: Duration = Duration::from_secs(30);

impl Broker {
    /// Takes AWS's time from an answer, unless that may be old: a call that spanned a suspend, say.
    pub(super) fn observe_date(&mut self, id: NodeId, date: Option<Timestamp>, now: Moment) {
        let Some(date) = date else { return };
        let flight = self.nodes.get(id).and_then(|n| n.flight);
        if flight.is_none_or(|f| now.tick.since(f.began) > OLD_ANSWER) {
            return;
        }
        let before = self.clock.now(now);
        self.clock.observe(date, now);
        if self.clock.now(now).offset_from(before).saturating_abs() > 1000 {
            self.settle_all(now);
        }
    }

    pub(super) fn fetched(&mut self, id: NodeId, flight: FlightId, outcome: Outcome, now: Moment) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        let Some(flight) = node.flight.take_if(|f| f.id == flight) else { return };
        let portal = node.chain.session().map(PortalKey::from);
        if let Some(portal) = self.portal_of(id) {
            portal.forget(id);
        }
        let ended = match outcome {
            Outcome::Got { .. } if flight.void => false,
            Outcome::Got { credential, issued_now } => self.got(id, flight, credential, issued_now, now),
            Outcome::LoggedOut => {
                self.log_out(id, now);
                false
            }
            Outcome::NotSent(failure) => self.not_sent(id, flight, failure, now),
            Outcome::Failed(Verdict::TokenRefused) => self.token_refused(id, flight, now),
            Outcome::Failed(Verdict::Failed { failure, retry_after }) => {
                self.failed(id, flight, failure, retry_after, now)
            }
        };
        self.changed();
        if ended {
            self.hurry_portal_of(id, now);
        }
        if self.nodes.get(id).is_some_and(|n| n.unnamed) {
            self.drop_unnamed(id);
        }
        self.settle_with_dependents(id, now);
        self.settle_gate_of(portal, ended, now);
    }

    /// Those who watched this attempt learn of its outcome; those who were shut out, of the gate's opening.
    fn settle_gate_of(&mut self, key: Option<PortalKey>, opened: bool, now: Moment) {
        let Some(portal) = self.portals.get_mut(&key) else { return };
        let mut informed = std::mem::take(&mut portal.watching);
        if opened {
            informed.append(&mut portal.waiting);
        }
        for other in informed {
            self.settle_with_dependents(other, now);
        }
    }

    fn got(&mut self, id: NodeId, flight: Flight, credential: Credential, issued_now: bool, now: Moment) -> bool {
        let server_now = self.clock.now(now);
        let lifetime = credential.expires_at().since(server_now);
        if lifetime.is_zero() && issued_now {
            return self.failed(id, flight, already_ended(&credential), None, now);
        }
        if let Some(node) = self.nodes.get_mut(id) {
            let refused = node.held.as_ref().map(|h| h.generation);
            let credential = inheriting(credential, node);
            let replaces_refused = node.session().is_some_and(|s| s.refused.is_some() && s.refused == refused);
            node.hold(credential, issued_now.then_some(lifetime), id, now);
            let generation = node.generations;
            if let Some(session) = node.session_mut() {
                session.absent_since = None;
                session.loaded = true;
                session.replacement = replaces_refused.then_some(generation);
            }
        }
        self.note_accepted(id, flight);
        if !issued_now {
            self.hurry_dependents(id, now);
        }
        let service = self.service_of(id);
        // A token that another tool had renewed says nothing about the way to AWS.
        issued_now && self.portal_of(id).is_some_and(|p| p.answered(id, service, now.tick))
    }

    /// The upstream's token was good enough for AWS.
    fn note_accepted(&mut self, id: NodeId, flight: Flight) {
        if let Some(upstream) = self.nodes.get(id).and_then(|n| n.upstream)
            && let Some(session) = self.nodes.get_mut(upstream).and_then(|n| n.session_mut())
        {
            // A slow answer may tell of a token that has a successor by now.
            session.accepted = session.accepted.max(flight.upstream_generation);
            if let Some(chain) = self.nodes.get(upstream).map(|n| n.chain.clone()) {
                self.half_open(&chain);
            }
        }
    }

    fn failed(
        &mut self,
        id: NodeId,
        flight: Flight,
        failure: Failure,
        retry_after: Option<Duration>,
        now: Moment,
    ) -> bool {
        let (server_now, service) = (self.time_for(id, now), self.service_of(id));
        let Some(portal) = self.portal_of(id) else { return false };
        let ended = if failure.class.is_shared_by_portal() {
            portal.failed(id, service, &failure, retry_after, flight.began, now);
            false
        } else {
            portal.answered(id, service, now.tick)
        };
        if let Some(node) = self.nodes.get_mut(id) {
            if failure.class.disposition() == Disposition::RetryLater {
                node.force_again();
            } else {
                node.owed = None;
            }
            node.fail(failure, flight.began, server_now, id, now);
        }
        ended
    }

    /// No call was made, so nothing was learned of the way to AWS.
    fn not_sent(&mut self, id: NodeId, flight: Flight, failure: Failure, now: Moment) -> bool {
        let server_now = self.time_for(id, now);
        if let Some(node) = self.nodes.get_mut(id) {
            node.fail(failure, flight.began, server_now, id, now);
        }
        if let Some(portal) = self.portal_of(id) {
            portal.forget(id);
        }
        false
    }

    /// The portal answered 401 with marks of AWS. What that means depends on the token's history.
    fn token_refused(&mut self, id: NodeId, flight: Flight, now: Moment) -> bool {
        let Some(upstream) = self.nodes.get(id).and_then(|n| n.upstream) else { return false };
        let judged = self.nodes.get(upstream).and_then(|session| {
            let held = session.held.as_ref().and_then(|h| Some((h.generation, &**h.credential.as_token()?)));
            let judged = session.session()?.judge(flight.upstream_generation?, held, now.wall);
            // AWS itself refused the grant as well: this session is over, however young its token.
            let ended = session.trouble.as_ref().is_some_and(|t| t.failure.class == FailureClass::NeedsLogin);
            Some(if ended && judged == Refusal::Hollow { Refusal::Renew } else { judged })
        });
        match judged {
            Some(Refusal::Hollow) | None => self.fail_hollow(id, flight, now),
            Some(Refusal::Replaced) => self.retry_at_once(id, flight),
            Some(Refusal::Renew) => {
                self.retry_at_once(id, flight);
                self.mark_refused(upstream, flight.upstream_generation);
                // Worth knowing, even if nobody waits for this role any more.
                self.settle_with_dependents(upstream, now);
            }
        }
        let service = self.service_of(id);
        self.portal_of(id).is_some_and(|p| p.answered(id, service, now.tick))
    }

    /// The one retry need not keep its distance from the call that told us.
    fn retry_at_once(&mut self, id: NodeId, flight: Flight) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.force_again();
            if flight.why == Why::ByHand {
                node.forced = node.forced.max(Some(Why::ByHand));
            }
            node.called_at = None;
        }
    }

    /// That this token is refused says nothing about other sessions behind the same portal: their gate stays as it is.
    fn fail_hollow(&mut self, id: NodeId, flight: Flight, now: Moment) {
        let server_now = self.time_for(id, now);
        if let Some(node) = self.nodes.get_mut(id) {
            let region = node.chain.session().map(|s| s.region.clone()).unwrap_or_default();
            node.force_again();
            node.fail(session::hollow(&region), flight.began, server_now, id, now);
        }
    }

    pub(super) fn mark_refused(&mut self, session_id: NodeId, generation: Option<u64>) {
        let Some(node) = self.nodes.get_mut(session_id) else { return };
        let renewable = node.held.as_ref().and_then(|h| h.credential.as_token()).is_some_and(|t| t.refresh.is_some());
        node.forced = node.forced.max(Some(Why::TokenRefused));
        if let Some(session) = node.session_mut() {
            session.refused = generation;
            // Without a refresh grant the file is the only place where a better token can come from.
            session.loaded = session.loaded && renewable;
        }
    }

    pub(super) fn token_read(&mut self, id: NodeId, file: TokenFile, now: Moment) {
        let server_now = self.time_for(id, now);
        let Some(node) = self.nodes.get_mut(id) else { return };
        let Some(session) = node.session_mut() else { return };
        session.reading = false;
        session.loaded = true;
        match file {
            // The echo of a read that began before the logout.
            TokenFile::Present(token) if session.is_signed_out_of(&token, now.tick) => {}
            TokenFile::Present(token) => self.token_present(id, token, now),
            TokenFile::Absent => self.token_absent(id, now),
            // Torn or foreign, it says nothing of a login: it is read again, and again.
            TokenFile::Unusable(failure) if node.held.is_none() => {
                if let Some(session) = node.session_mut() {
                    session.loaded = false;
                }
                node.fail(failure, now.tick, server_now, id, now);
                self.changed();
            }
            TokenFile::Unusable(_) => {
                if let Some(session) = node.session_mut() {
                    session.note_present(now.tick);
                }
            }
        }
        self.settle_with_dependents(id, now);
    }

    fn token_present(&mut self, id: NodeId, token: Arc<SsoToken>, now: Moment) {
        let server_now = self.time_for(id, now);
        let Some(node) = self.nodes.get_mut(id) else { return };
        if let Some(session) = node.session_mut() {
            session.note_present(now.tick);
        }
        let held = node.held.as_ref().and_then(|h| h.credential.as_token());
        let token = held.map_or_else(|| Arc::clone(&token), |held| Arc::clone(&token).inheriting(held));
        let adopt = match held {
            None => true,
            // Mostly the echo of our own write. The file's rounded end and its modification time are no news.
            Some(held) if held.is_same_grant(&token) => false,
            // Ours may live in memory only, if the folder could not be written: the later expiry wins.
            Some(held) => {
                node.valid(server_now).is_none()
                    || node.trouble.is_some()
                    || token.expires_at >= held.expires_at
                    || token.obtained_at > held.obtained_at
            }
        };
        if adopt {
            let ended = node.trouble.as_ref().is_some_and(|t| t.failure.class == FailureClass::NeedsLogin);
            let left = if ended { None } else { node.valid(server_now).map(|(_, left)| left) };
            let chain = node.chain.clone();
            node.hold(Credential::Token(Arc::clone(&token)), None, id, now);
            node.renewed_at = None;
            self.changed();
            self.hurry_dependents(id, now);
            if let Some(left) = left {
                self.note_foreign_login(&chain, left, now);
            }
            let ended = ended || self.is_too_old(&chain, server_now);
            self.token_came(id, &token, ended, now);
        }
    }

    fn token_absent(&mut self, id: NodeId, now: Moment) {
        let server_now = self.time_for(id, now);
        let Some(node) = self.nodes.get_mut(id) else { return };
        if node.held.is_none() {
            let name = node.chain.session().map(crate::core::source::SsoSession::id).unwrap_or_default();
            node.fail(session::no_token(&name), now.tick, server_now, id, now);
            self.changed();
            return;
        }
        let Some(session) = node.session_mut() else { return };
        let since = *session.absent_since.get_or_insert(now.tick);
        if now.tick >= since.plus(schedule::LOGOUT_AFTER) {
            self.log_out(id, now);
        }
    }

    /// The token file was deleted: the session and every credential that came from it are forgotten.
    pub(super) fn log_out(&mut self, id: NodeId, now: Moment) {
        let server_now = self.time_for(id, now);
        let Some(node) = self.nodes.get_mut(id) else { return };
        let name = node.chain.session().map(crate::core::source::SsoSession::id).unwrap_or_default();
        node.held = None;
        let chain = node.chain.clone();
        if let Some(session) = node.session_mut() {
            session.absent_since = None;
        }
        node.fail(session::signed_out(&name), now.tick, server_now, id, now);
        self.session_ended(&chain);
        self.forget_dependents(id, now);
        self.changed();
    }

    fn forget_dependents(&mut self, id: NodeId, now: Moment) {
        let dependents = self.nodes.get(id).map(|n| n.dependents.clone()).unwrap_or_default();
        for dependent in dependents {
            if let Some(node) = self.nodes.get_mut(dependent) {
                node.held = None;
                if let Some(flight) = &mut node.flight {
                    flight.void = true;
                }
            }
            self.forget_dependents(dependent, now);
            self.settle(dependent, now);
        }
    }

    /// A new token may end what its predecessor caused.
    pub(super) fn hurry_dependents(&mut self, id: NodeId, now: Moment) {
        let dependents = self.nodes.get(id).map(|n| n.dependents.clone()).unwrap_or_default();
        for dependent in dependents {
            if let Some(node) = self.nodes.get_mut(dependent) {
                node.forgive(&[FailureClass::NeedsLogin, FailureClass::AccessDenied, FailureClass::Intercepted]);
            }
            self.settle_with_dependents(dependent, now);
            self.hurry_dependents(dependent, now);
        }
    }

    /// The portal works again: entries that failed on the way to it try again soon.
    fn hurry_portal_of(&mut self, id: NodeId, now: Moment) {
        let Some(portal) = self.portal_of(id) else { return };
        for other in portal.troubled.clone() {
            if other == id {
                continue;
            }
            let (server_now, kept) = (self.time_for(other, now), self.is_kept(other, now.tick));
            if let Some(node) = self.nodes.get_mut(other) {
                node.hurry(other, now);
                // What is good and wants nothing has no trouble any more.
                if node.valid(server_now).is_some() && node.wants(server_now, kept).is_none() {
                    node.forgive_shared();
                }
            }
            self.settle_with_dependents(other, now);
        }
    }
}

/// A token that another tool had renewed may lack a refresh grant that is still good.
fn inheriting(credential: Credential, node: &Node) -> Credential {
    match (credential, node.held.as_ref().and_then(|h| h.credential.as_token())) {
        (Credential::Token(token), Some(held)) => Credential::Token(token.inheriting(held)),
        (credential, _) => credential,
    }
}

fn already_ended(credential: &Credential) -> Failure {
    Failure::new(
        FailureClass::Transient,
        format!("AWS returned a credential that had already ended ({})", credential.expires_at()),
        "check this machine's clock",
    )
}
