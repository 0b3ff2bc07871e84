//! Who waits for an entry, and when a waiter is answered. Each is answered exactly once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::credential::RoleCredentials;
use super::failure::Failure;
use super::source::World;
use super::time::{Tick, Timestamp};

/// Names a parked request; given out by the shell, never twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(pub u64);

/// A profile as a client names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProfileRef {
    /// The client's files.
    pub world: Arc<World>,
    /// The profile's name.
    pub name: String,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Credentials, if possible with this much life left.
    Credentials {
        /// Wanted life.
        min_ttl: Duration,
        /// A key that the same consumer seems to have had refused: another one, if it can be had.
        other_than: Option<String>,
        /// At its deadline what is valid is good enough.
        last_ask: bool,
    },
    /// A session's token that lives (answered with [`Answer::Renewed`]).
    Token,
    /// A renewal at or after this tick.
    Renewal {
        /// When the request was first made.
        since: Tick,
    },
}

/// A parked request.
#[derive(Clone, Debug)]
pub struct Waiter {
    /// The profile that was asked for (two profiles may share one entry).
    pub profile: ProfileRef,
    /// What is asked for.
    pub wish: Wish,
    /// The process that caches what it gets, where it named itself.
    pub consumer: Option<String>,
    /// When the request must be answered, if only with [`Answer::InFlight`].
    pub deadline: Tick,
}

/// The one answer that each waiter gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Credentials that are valid now.
    Credentials(Arc<RoleCredentials>),
    /// The renewal that was asked for has happened.
    Renewed {
        /// When the renewed credentials end.
        expires_at: Timestamp,
    },
    /// The work goes on: ask again.
    InFlight {
        /// For a renewal: its `since`.
        since: Option<Tick>,
    },
    /// It cannot be had now.
    Refused(Refusal),
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Class, cause and fix, worded for the asking profile.
    pub failure: Failure,
    /// Until it is worth asking again, where that is known.
    pub retry_after: Option<Duration>,
    /// Whether the profile does not exist at all (HTTP 404).
    pub unknown: bool,
}

/// The waiters of one entry, in the order in which they came.
pub type Waiters = BTreeMap<WaiterId, Waiter>;

/// What an entry offers to those who wait.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// When what is held and valid ends, whatever it is.
    pub valid_until: Option<Timestamp>,
    /// Valid role credentials with the life they have left and had at receipt.
    pub held: Option<(&'a Arc<RoleCredentials>, Duration, Option<Duration>)>,
    /// From here on the held credentials are about to die.
    pub mandatory_below: Duration,
    /// The failure of the last attempt, if nothing succeeded since: nobody holds out for better then.
    pub failing: bool,
    /// Whether work on a renewal is under way, or only a matter of pace.
    pub working: bool,
    /// Why there is no work.
    pub blocked: Option<(&'a Failure, Option<Tick>)>,
    /// When work on the present renewal was first wanted.
    pub pursued_since: Tick,
    /// When the last renewal succeeded.
    pub renewed_at: Option<Tick>,
    /// When the last attempt failed, by its beginning, and how.
    pub failed: Option<(&'a Failure, Tick)>,
}

/// What becomes of a waiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is answered now.
    Answer(Answer),
    /// It waits on; look again at this tick at the latest.
    Wait(Tick),
}

impl Waiter {
    /// What becomes of this waiter, given what the entry offers at `now`.
    #[must_use]
    pub fn fate(&self, offer: &Offer<'_>, now: Tick) -> Fate {
        match &self.wish {
            Wish::Credentials { min_ttl, other_than, last_ask } => {
                self.credentials_fate(offer, *min_ttl, other_than.as_deref(), *last_ask, now)
            }
            Wish::Token => self.token_fate(offer, now),
            Wish::Renewal { since } => self.renewal_fate(offer, *since, now),
        }
    }

    /// The life that this waiter wants.
    #[must_use]
    pub const fn min_ttl(&self) -> Option<Duration> {
        match self.wish {
            Wish::Credentials { min_ttl, .. } => Some(min_ttl),
            Wish::Renewal { .. } | Wish::Token => None,
        }
    }

    /// Whether `held` is good enough to be handed out while something better could be fetched.
    #[must_use]
    pub fn is_content(offer: &Offer<'_>, min_ttl: Duration, other_than: Option<&str>) -> bool {
        let Some((credentials, left, life)) = offer.held else { return false };
        let alive = left > offer.mandatory_below;
        // With a lifetime shorter than the wish, asking again cannot help.
        let long_enough = left >= min_ttl || life.is_some_and(|l| l <= min_ttl);
        let other = other_than.is_none_or(|refused| refused != credentials.access_key_id);
        offer.failing || (alive && long_enough && other)
    }

    fn credentials_fate(
        &self,
        offer: &Offer<'_>,
        min_ttl: Duration,
        other_than: Option<&str>,
        last_ask: bool,
        now: Tick,
    ) -> Fate {
        if let Some((credentials, left, _)) = offer.held {
            let patient_until = offer.pursued_since.plus(super::schedule::patience(left));
            let patient_until = if last_ask { patient_until.min(self.deadline) } else { patient_until };
            if Self::is_content(offer, min_ttl, other_than) || !offer.working || now >= patient_until {
                return Fate::Answer(Answer::Credentials(Arc::clone(credentials)));
            }
            return self.wait_until(patient_until.min(self.deadline), None, now);
        }
        if let Some(refusal) = self.refusal(offer, now) {
            return Fate::Answer(Answer::Refused(refusal));
        }
        self.wait_until(self.deadline, None, now)
    }

    fn token_fate(&self, offer: &Offer<'_>, now: Tick) -> Fate {
        if let Some(expires_at) = offer.valid_until {
            return Fate::Answer(Answer::Renewed { expires_at });
        }
        match self.refusal(offer, now) {
            Some(refusal) => Fate::Answer(Answer::Refused(refusal)),
            None => self.wait_until(self.deadline, None, now),
        }
    }

    fn renewal_fate(&self, offer: &Offer<'_>, since: Tick, now: Tick) -> Fate {
        let spacing = super::schedule::SPACING;
        if let (Some(renewed), Some((credentials, ..))) = (offer.renewed_at, offer.held)
            && renewed.plus(spacing) >= since
        {
            return Fate::Answer(Answer::Renewed { expires_at: credentials.expires_at });
        }
        if let Some((failure, began)) = offer.failed
            && began >= since
        {
            let failure = self.worded(failure, offer);
            return Fate::Answer(Answer::Refused(Refusal { failure, retry_after: None, unknown: false }));
        }
        if let Some(refusal) = self.refusal(offer, now) {
            return Fate::Answer(Answer::Refused(refusal));
        }
        self.wait_until(self.deadline, Some(since), now)
    }

    fn refusal(&self, offer: &Offer<'_>, now: Tick) -> Option<Refusal> {
        if offer.working {
            return None;
        }
        let (failure, retry_at) = offer.blocked?;
        let retry_after = retry_at.map(|t| t.since(now));
        let mut failure = self.worded(failure, offer);
        // Somebody who was refused a moment ago, too, sees that nothing was tried since.
        if let Some(wait) = retry_after.filter(|wait| *wait >= super::schedule::SPACING) {
            let message = format!("{} (next try in {})", failure.message, super::words::span(wait));
            failure = Failure::new(failure.class, message, &failure.fix);
        }
        Some(Refusal { failure, retry_after, unknown: false })
    }

    /// The failure in words for this waiter: the profile to log in to, and until when a held key lives.
    fn worded(&self, failure: &Failure, offer: &Offer<'_>) -> Failure {
        let failure = failure.for_profile(&self.profile.name);
        match (offer.held, &self.wish) {
            (Some((held, ..)), Wish::Renewal { .. }) => Failure::new(
                failure.class,
                format!("{} (the key held now lives until {})", failure.message, held.expires_at),
                &failure.fix,
            ),
            _ => failure,
        }
    }

    fn wait_until(&self, at: Tick, since: Option<Tick>, now: Tick) -> Fate {
        if now >= self.deadline { Fate::Answer(Answer::InFlight { since }) } else { Fate::Wait(at) }
    }
}
