//! Clock steps, resume from suspend, pause.

use std::time::Duration;

use super::{Broker, Paused};
use crate::core::failure::FailureClass;
use crate::core::node::{NodeId, Special, Why};
use crate::core::time::{Moment, Tick};

/// The two clocks may drift this far apart between two events.
const STEP_MS: i64 = 5_000;
/// The shell comes at least every 30 s while anything is kept: a longer gap means that the machine slept.
const SLEPT: Duration = Duration::from_secs(35);
/// Re-evaluations that may lead to calls come at most this often.
const BURST_SPACING: Duration = Duration::from_secs(30);

impl Broker {
    /// A timed pause ends by itself, whatever event comes first.
    pub(super) fn end_pause(&mut self, now: Moment) {
        if matches!(self.paused, Paused::Until(t) if now.tick >= t) {
            self.resume(now);
        }
    }

    /// Compares both clocks with the last event's.
    pub(super) fn notice_time(&mut self, now: Moment) {
        let Some(last) = self.last.replace(now) else { return };
        let passed = now.tick.since(last.tick);
        let passed_ms = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        let stepped = now.wall.offset_from(last.wall).saturating_sub(passed_ms).saturating_abs() > STEP_MS;
        let slept = passed > SLEPT && self.is_active();
        if !stepped && !slept {
            return;
        }
        if stepped {
            self.clock.doubt();
        }
        self.changed();
        self.burst(stepped, now);
    }

    /// Proxy, roots or routes changed.
    pub(super) fn network_changed(&mut self, now: Moment) {
        for node in self.nodes.values_mut() {
            node.forgive(&[FailureClass::Misconfigured]);
        }
        self.half_open_all();
        self.changed();
        self.burst(false, now);
    }

    /// Re-evaluates everything; what failed on the way is tried again within 3 s. At most once in 30 s: one that comes
    /// sooner is owed.
    fn burst(&mut self, stepped: bool, now: Moment) {
        let stepped = stepped || self.owed_burst == Some(true);
        if self.last_burst.is_some_and(|t| now.tick.since(t) < BURST_SPACING) {
            self.owed_burst = Some(stepped);
        } else {
            self.owed_burst = None;
            self.last_burst = Some(now.tick);
            self.hurry_all(now);
            self.doubt_refusals();
            if stepped {
                self.doubt_credentials(now);
            }
        }
        self.settle_all(now);
    }

    /// When an owed burst is due.
    pub(super) fn burst_due(&self) -> Option<Tick> {
        self.owed_burst.and(self.last_burst).map(|t| t.plus(BURST_SPACING))
    }

    pub(super) fn catch_up_burst(&mut self, now: Moment) {
        if self.burst_due().is_some_and(|due| now.tick >= due) {
            self.burst(false, now);
        }
    }

    /// After a clock step what is held may be judged wrongly: kept role credentials are fetched anew, which also tells
    /// AWS's time again.
    fn doubt_credentials(&mut self, now: Moment) {
        let kept: Vec<NodeId> = self.nodes.iter().map(|(id, _)| id).filter(|id| self.is_kept(*id, now.tick)).collect();
        for id in kept {
            if let Some(node) = self.nodes.get_mut(id)
                && matches!(node.special, Special::Role(_))
                && node.held.is_some()
            {
                node.owe(Why::ClockStep);
            }
        }
    }

    /// On another network a token that the portal refused may be good: what refused it may have been somebody in between
    /// who strips its header. It is tried once more, unless AWS ended the session itself.
    fn doubt_refusals(&mut self) {
        for node in self.nodes.values_mut() {
            let Some(token) = node.held.as_ref().and_then(|h| h.credential.as_token()) else { continue };
            let needs_login = node.trouble.as_ref().is_some_and(|t| t.failure.class == FailureClass::NeedsLogin);
            let ended_by_aws = needs_login && token.refresh.is_some();
            let Some(session) = node.session_mut().filter(|s| s.refused.is_some() && !ended_by_aws) else { continue };
            session.refused = None;
            node.forced = node.forced.filter(|why| *why != Why::TokenRefused);
            node.forgive(&[FailureClass::NeedsLogin]);
        }
    }

    fn hurry_all(&mut self, now: Moment) {
        for portal in self.portals.values_mut() {
            portal.hurry(now);
        }
        for (id, node) in self.nodes.iter_mut() {
            node.hurry(id, now);
        }
    }

    /// Settles everything, entries that somebody waits for first.
    pub(super) fn settle_all(&mut self, now: Moment) {
        let mut all: Vec<_> = self.nodes.iter().map(|(id, n)| (n.waiters.is_empty(), id)).collect();
        all.sort_unstable();
        for (_, id) in all {
            self.settle_with_dependents(id, now);
        }
    }

    pub(super) fn tick(&mut self, now: Moment) {
        let mut due = Vec::new();
        while let Some((at, id)) = self.schedule.first().copied()
            && at <= now.tick
        {
            self.schedule.pop_first();
            if let Some(node) = self.nodes.get_mut(id) {
                node.wake = None;
                due.push((node.waiters.is_empty(), id));
            }
        }
        due.sort_unstable();
        for (_, id) in due {
            self.settle_with_dependents(id, now);
        }
    }

    pub(super) fn pause(&mut self, span: Option<Duration>, now: Moment) {
        self.paused = span.map_or(Paused::UntilResumed, |s| Paused::Until(now.tick.plus(s)));
        self.changed();
        self.settle_all(now);
    }

    pub(super) fn resume(&mut self, now: Moment) {
        self.paused = Paused::No;
        self.changed();
        self.settle_all(now);
    }
}
