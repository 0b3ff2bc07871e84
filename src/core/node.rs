//! One entry of the broker: a credential that is kept, whatever its kind.
//!
//! An SSO session, a role, a role assumed with that role: all are the same machine, linked by `upstream`. What is
//! special about a kind stands in [`super::session`] and [`super::role`].

use std::collections::BTreeSet;
use std::time::Duration;

use super::broker::Course;
use super::credential::Credential;
use super::failure::{Disposition, Failure, FailureClass};
use super::pulls::Pulls;
use super::role::RoleState;
use super::schedule::{self, Window};
use super::session::SessionState;
use super::source::{Chain, Link};
use super::time::{Moment, Tick, Timestamp};
use super::waiters::Waiters;

/// Names an entry; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl NodeId {
    /// A number for jitter draws that differs by entry and by purpose.
    #[must_use]
    pub const fn salt(self, purpose: u64) -> u64 {
        (purpose << 32) | self.0 as u64
    }
}

/// Names a fetch; an outcome with another number than the one under way is late and ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlightId(pub u64);

/// A credential with its window.
#[derive(Clone, Debug)]
pub struct Held {
    /// The credential.
    pub credential: Credential,
    /// Life left at receipt; unknown for a token that was read from a file.
    pub lifetime: Option<Duration>,
    /// When it is renewed. Drawn once, here.
    pub window: Window,
    /// Grows with each credential that this entry ever held.
    pub generation: u64,
}

/// A fetch under way.
#[derive(Clone, Copy, Debug)]
pub struct Flight {
    /// Its number.
    pub id: FlightId,
    /// When it began.
    pub began: Tick,
    /// Why.
    pub why: Why,
    /// Which generation of the upstream's credential it uses.
    pub upstream_generation: Option<u64>,
    /// Somebody logged out meanwhile: whatever it yields is thrown away.
    pub void: bool,
}

/// Why a fetch is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// In the refresh window.
    Window,
    /// The local clock was stepped: what is held may be judged wrongly.
    ClockStep,
    /// Somebody wants more life than is left.
    MinTtl,
    /// In the mandatory window.
    Ending,
    /// Nothing valid is held.
    Missing,
    /// A client says that AWS refuses the key.
    Rejected,
    /// The portal refused the token.
    TokenRefused,
    /// `agentctl refresh`.
    ByHand,
}

impl Why {
    /// In words, for logs and `why`.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Window => "in its refresh window",
            Self::ClockStep => "the clock was stepped",
            Self::MinTtl => "a caller wants more life than is left",
            Self::Ending => "about to end",
            Self::Missing => "nothing valid is held",
            Self::Rejected => "a client reports that AWS refuses the key",
            Self::TokenRefused => "the portal refused the token",
            Self::ByHand => "asked for by agentctl refresh",
        }
    }
}

/// When a failed entry may try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Not before this tick.
    At(Tick),
    /// When something happens: a login, a file, a setting.
    OnEvent,
}

/// The last failure, until something succeeds.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Class, cause and fix.
    pub failure: Failure,
    /// When it was seen.
    pub at: Timestamp,
    /// When the failed attempt began.
    pub attempted_at: Tick,
    /// When it ended.
    pub failed_at: Tick,
    /// Failures in a row.
    pub count: u32,
    /// When to try again.
    pub retry: Retry,
}

impl Trouble {
    /// When to try again, if not only an event can help.
    #[must_use]
    pub const fn retry_at(&self) -> Option<Tick> {
        match self.retry {
            Retry::At(tick) => Some(tick),
            Retry::OnEvent => None,
        }
    }
}

/// What makes a renewal pressing: no backoff of our own choice is longer than that allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Life left of what would lapse: of the entry's credential or, where that has ended, of the shortest-lived one that
    /// waits for it.
    pub left: Option<Duration>,
    /// A caller waits and nothing valid is held.
    pub urgent: bool,
}

impl Pressure {
    /// A retry at `at` after an attempt from `attempted_at` to `failed_at`, brought forward as far as this asks for.
    #[must_use]
    pub fn cap(self, at: Tick, attempted_at: Tick, failed_at: Tick) -> Tick {
        let by_life = self.left.map(|left| failed_at.plus(schedule::affordable_backoff(left)));
        let by_caller = self.urgent.then(|| attempted_at.plus(schedule::MAX_BACKOFF_ASKED));
        [by_life, by_caller].into_iter().flatten().fold(at, Tick::min)
    }
}

/// What is special about this entry's kind.
#[derive(Clone, Debug)]
pub enum Special {
    /// An SSO session.
    Session(SessionState),
    /// Role credentials, from the portal or assumed.
    Role(RoleState),
}

/// The entry.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its identity: world and links.
    pub chain: Chain,
    /// The entry whose credential this one is fetched with.
    pub upstream: Option<NodeId>,
    /// The entries that are fetched with this one's credential.
    pub dependents: BTreeSet<NodeId>,
    /// The credential, valid or not yet dropped.
    pub held: Option<Held>,
    /// The fetch under way.
    pub flight: Option<Flight>,
    /// The last failure.
    pub trouble: Option<Trouble>,
    /// A renewal that is wanted whatever the window says.
    pub forced: Option<Why>,
    /// A forced renewal that is owed until one succeeds or its key ends, whatever else is tried meanwhile.
    pub owed: Option<Why>,
    /// When a person last asked for a renewal: an attempt that began later has served them.
    pub by_hand_at: Tick,
    /// Who waits.
    pub waiters: Waiters,
    /// Dependents that wait for this entry's credential: those whose course is [`Course::Behind`].
    pub pulls: Pulls,
    /// When it was last asked for.
    pub demanded_at: Option<Tick>,
    /// The lifetime of the last credential, where it was known; remembered when that has ended.
    pub usual_life: Option<Duration>,
    /// Named in `keep`.
    pub always: bool,
    /// No profile leads here any more: nothing is fetched, and it goes when what is under way has ended.
    pub unnamed: bool,
    /// When the last call began.
    pub called_at: Option<Tick>,
    /// When the last renewal succeeded.
    pub renewed_at: Option<Tick>,
    /// Since when the present renewal is wanted by somebody who waits.
    pub pursued_since: Option<Tick>,
    /// Next look, as it stands in the schedule.
    pub wake: Option<Tick>,
    /// What it is doing about its credential, as last settled.
    pub course: Course,
    /// Whether its portal lists it among those that failed, as last settled.
    pub listed_as_troubled: bool,
    /// Credentials ever held.
    pub generations: u64,
    /// What its kind adds.
    pub special: Special,
}

impl Node {
    /// An entry that holds nothing yet.
    #[must_use]
    pub fn new(chain: Chain, upstream: Option<NodeId>) -> Self {
        let special = match chain.link() {
            Link::SsoSession(_) => Special::Session(SessionState::default()),
            Link::SsoRole { .. } | Link::AssumedRole { .. } => Special::Role(RoleState::default()),
        };
        Self {
            chain,
            upstream,
            dependents: BTreeSet::new(),
            held: None,
            flight: None,
            trouble: None,
            forced: None,
            owed: None,
            by_hand_at: Tick::default(),
            waiters: Waiters::new(),
            pulls: Pulls::default(),
            demanded_at: None,
            usual_life: None,
            always: false,
            unnamed: false,
            called_at: None,
            renewed_at: None,
            pursued_since: None,
            wake: None,
            course: Course::Idle,
            listed_as_troubled: false,
            generations: 0,
            special,
        }
    }

    /// What is held and valid, with the life it has left.
    ///
    /// A token that the portal refused is not valid, whatever its file says of its end.
    #[must_use]
    pub fn valid(&self, server_now: Timestamp) -> Option<(&Held, Duration)> {
        let held = self.held.as_ref()?;
        if self.session().is_some_and(|s| s.refused == Some(held.generation)) {
            return None;
        }
        let left = held.credential.expires_at().since(server_now);
        (!left.is_zero()).then_some((held, left))
    }

    /// Takes a credential in; its jitter is drawn here and never again. Ends all trouble.
    pub fn hold(&mut self, credential: Credential, lifetime: Option<Duration>, id: NodeId, now: Moment) {
        let fraction = now.fraction(id.salt(WINDOW_SALT));
        let window = Window::draw(self.chain.link(), lifetime, fraction);
        self.generations += 1;
        self.usual_life = lifetime.or(self.usual_life);
        self.held = Some(Held { credential, lifetime, window, generation: self.generations });
        self.trouble = None;
        self.forced = None;
        self.owed = None;
        self.renewed_at = Some(now.tick);
    }

    /// Whether it was asked for so recently that it is kept fresh.
    #[must_use]
    pub fn recently_used(&self, now: Tick) -> bool {
        self.kept_until().is_some_and(|until| now < until)
    }

    /// When keeping ends, if nobody asks again.
    #[must_use]
    pub fn kept_until(&self) -> Option<Tick> {
        let life = self.usual_life.unwrap_or(schedule::KEEP_AFTER_DEMAND);
        Some(self.demanded_at?.plus(life.min(schedule::KEEP_AFTER_DEMAND)))
    }

    /// Why a fetch is wanted now, if one is: the strongest reason. `kept`: renewed without anybody asking.
    #[must_use]
    pub fn wants(&self, server_now: Timestamp, kept: bool) -> Option<Why> {
        let asked = !self.waiters.is_empty() || !self.pulls.is_empty();
        let by_state = match self.valid(server_now) {
            None => (asked || kept).then_some(Why::Missing),
            Some((held, left)) if left <= held.window.mandatory_below && (asked || kept) => Some(Why::Ending),
            Some((held, left)) if left <= held.window.renew_below && kept => Some(Why::Window),
            // With a lifetime shorter than the wish, asking again cannot help.
            Some((held, left)) => {
                let short = |ttl| left < ttl && held.lifetime.is_none_or(|life| life > ttl);
                let unmet = self.waiters.values().filter_map(super::waiters::Waiter::min_ttl).any(short);
                unmet.then_some(Why::MinTtl)
            }
        };
        by_state.max(self.forced)
    }

    /// Forces a renewal that is wanted until one succeeds, though no fact shows it.
    pub fn owe(&mut self, why: Why) {
        self.owed = self.owed.max(Some(why));
        self.forced = self.forced.max(Some(why));
    }

    /// A fetch did not come about: what was owed before it is owed still.
    pub fn force_again(&mut self) {
        if self.held.is_some() {
            self.forced = self.forced.max(self.owed);
        }
    }

    /// When the window opens or the credential ends, whichever is next, as time from now.
    #[must_use]
    pub fn next_change(&self, server_now: Timestamp, kept: bool) -> Option<Duration> {
        let (held, left) = self.valid(server_now)?;
        let edges = [held.window.renew_below, held.window.mandatory_below];
        let edge = edges.into_iter().filter(|e| kept && left > *e).max().unwrap_or_default();
        Some(left.saturating_sub(edge))
    }

    /// The gate that this entry's own last failure puts before the next attempt.
    #[must_use]
    pub fn own_gate(&self, pressure: Pressure, tick: Tick) -> Option<(Failure, Option<Tick>)> {
        let trouble = self.trouble.as_ref()?;
        let closed = |until| Some((trouble.failure.clone(), until));
        let Retry::At(mut at) = trouble.retry else { return closed(None) };
        if trouble.failure.class.is_shared_by_portal() {
            at = pressure.cap(at, trouble.attempted_at, trouble.failed_at);
        }
        if tick < at { closed(Some(at)) } else { None }
    }

    /// Notes a failure of an attempt that began at `began`.
    pub fn fail(&mut self, failure: Failure, began: Tick, server_now: Timestamp, id: NodeId, now: Moment) {
        let count = self.trouble.as_ref().map_or(0, |t| t.count).saturating_add(1);
        let retry = match failure.class.disposition() {
            Disposition::Wait => Retry::OnEvent,
            Disposition::RetryAfter(delay) => Retry::At(now.tick.plus(delay)),
            // The portal's gate knows until when.
            Disposition::RetryLater if failure.class == FailureClass::Throttled => Retry::At(now.tick),
            Disposition::RetryLater => {
                Retry::At(now.tick.plus(schedule::backoff(count, now.fraction(id.salt(BACKOFF_SALT)))))
            }
        };
        self.trouble =
            Some(Trouble { failure, at: server_now, attempted_at: began, failed_at: now.tick, count, retry });
    }

    /// The way is open again: what failed on the way is worth another try within 3 s.
    pub fn hurry(&mut self, id: NodeId, now: Moment) {
        if let Some(trouble) = &mut self.trouble
            && let Retry::At(at) = &mut trouble.retry
            && trouble.failure.class.is_shared_by_portal()
        {
            *at = (*at).min(now.tick.plus(now.jitter(Duration::from_secs(3), id.salt(HURRY_SALT))));
        }
    }

    /// Something changed that may have caused this trouble: a negative cache ends.
    pub fn forgive(&mut self, classes: &[FailureClass]) {
        if self.trouble.as_ref().is_some_and(|t| classes.contains(&t.failure.class)) {
            self.trouble = None;
        }
    }

    /// When what would lapse without this entry ends: its own credential or, where that has ended, what its dependents
    /// hold.
    #[must_use]
    pub fn at_stake_until(&self, server_now: Timestamp) -> Option<Timestamp> {
        let own = self.valid(server_now).map(|(held, _)| held.credential.expires_at());
        own.or_else(|| self.pulls.first_end_after(server_now))
    }

    /// The way to AWS works again.
    pub fn forgive_shared(&mut self) {
        self.trouble.take_if(|t| t.failure.class.is_shared_by_portal());
    }

    /// The session's part, if this is a session.
    #[must_use]
    pub const fn session(&self) -> Option<&SessionState> {
        match &self.special {
            Special::Session(s) => Some(s),
            Special::Role(_) => None,
        }
    }

    /// The session's part, if this is a session.
    pub const fn session_mut(&mut self) -> Option<&mut SessionState> {
        match &mut self.special {
            Special::Session(s) => Some(s),
            Special::Role(_) => None,
        }
    }

    /// The role's part, if this is a role.
    pub const fn role_mut(&mut self) -> Option<&mut RoleState> {
        match &mut self.special {
            Special::Role(r) => Some(r),
            Special::Session(_) => None,
        }
    }
}

const WINDOW_SALT: u64 = 1;
const BACKOFF_SALT: u64 = 2;
const HURRY_SALT: u64 = 3;
