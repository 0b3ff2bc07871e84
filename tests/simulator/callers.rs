//! Clients: they ask, ask again while the work goes on, give up after 25 s, leave, refresh and report refused keys.

use std::time::Duration;

use aws_credential_agent::core::broker::{Demand, Event};
use aws_credential_agent::core::time::Tick;
use aws_credential_agent::core::waiters::{Answer, WaiterId};

use super::clock::Clocks;
use super::estate::MINUTE;
use super::run::{Due, Sim};

/// How long a client asks again and again.
const GIVES_UP: i64 = 25_000;
/// How long the agent may hold one request.
const HELD: Duration = Duration::from_millis(1500);

#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) profile: usize,
    pub(crate) began: i64,
    pub(crate) min_ttl: Duration,
    pub(crate) consumer: Option<String>,
    /// A renewal rather than credentials.
    renewal: bool,
    since: Option<Tick>,
    pub(crate) first_asked: Tick,
}

impl Caller {
    pub(crate) const fn is_renewal(&self) -> bool {
        self.renewal
    }
}

impl Sim {
    /// One of this profile's clients asks, as often as its kind does.
    pub(crate) fn ask(&mut self, profile: usize) {
        let mean = match profile % 5 {
            0 => 90 * MINUTE,
            1 => 2 * MINUTE,
            _ => 15 * MINUTE,
        };
        self.at_random(mean, Due::Ask(profile));
        let crowd = if self.rng.u8(..50) == 0 { 12 } else { 1 };
        for _ in 0..crowd {
            let consumer = (self.rng.u8(..4) == 0).then(|| format!("pid-{}", self.rng.u8(..3)));
            let caller = Caller {
                profile,
                began: self.clocks.t,
                min_ttl: if self.rng.u8(..3) == 0 { Duration::from_secs(390) } else { Duration::ZERO },
                consumer,
                renewal: self.rng.u8(..50) == 0,
                since: None,
                first_asked: self.clocks.tick(),
            };
            self.send(caller);
        }
        if self.rng.u8(..50) == 0
            && let Some(serial) = self.checks.last_served(profile)
        {
            self.key_rejected(profile, serial);
            let access_key_id = format!("ASIA-{serial}");
            let profile = self.estate.reference(profile);
            self.step(Event::Rejected { profile, access_key_id });
        }
    }

    fn send(&mut self, caller: Caller) {
        self.stats.asked += 1;
        self.waiters_made += 1;
        let (number, waiter) = (self.waiters_made, WaiterId(self.waiters_made));
        let profile = self.estate.reference(caller.profile);
        self.checks.key_asked(self.estate.profiles[caller.profile].key, self.clocks.tick());
        self.checks.asked(number, caller.profile, self.clocks.tick().plus(HELD), self.clocks.t);
        let event = if caller.renewal {
            Event::Refresh { waiter, profile, wait: HELD, since: caller.since }
        } else {
            let (min_ttl, consumer) = (caller.min_ttl, caller.consumer.clone());
            self.key_seems_rejected(&caller);
            let last_ask = self.clocks.t - caller.began > GIVES_UP - 1500;
            Event::Demand(Demand { waiter, profile, min_ttl, wait: HELD, last_ask, consumer })
        };
        self.callers.insert(number, caller);
        if self.rng.u8(..50) == 0 {
            let ms = self.rng.i64(1..1500);
            self.after(ms, Due::Leave(number));
        }
        self.step(event);
    }

    pub(crate) fn leave(&mut self, number: u64) {
        if self.callers.remove(&number).is_some() {
            // It may be overdue after a sleep and be answered in this very step, or not.
            self.checks.leaves(number);
            self.step(Event::Leave(WaiterId(number)));
            self.checks.left(number);
        }
    }

    /// A client that was told to ask again does so.
    pub(crate) fn poll(&mut self, number: u64) {
        if let Some(caller) = self.callers.remove(&number) {
            self.send(caller);
        }
    }

    pub(crate) fn answered(&mut self, waiter: WaiterId, answer: Answer) {
        self.checks.answered(waiter.0);
        let Some(mut caller) = self.callers.remove(&waiter.0) else { return };
        match answer {
            Answer::Credentials(credentials) => {
                self.stats.served += 1;
                self.check_served(&caller, &credentials);
            }
            Answer::Renewed { expires_at } => {
                self.stats.served += 1;
                self.check_renewed(&caller, Clocks::unstamp(expires_at));
            }
            Answer::InFlight { since } if self.clocks.t - caller.began < GIVES_UP => {
                caller.since = since.or(caller.since);
                self.callers.insert(waiter.0, caller);
                self.after(5, Due::Poll(waiter.0));
            }
            Answer::InFlight { .. } => {
                self.stats.timeouts += 1;
                self.check_refused(&caller, None);
            }
            Answer::Refused(refusal) => {
                self.stats.errors += 1;
                self.check_refused(&caller, Some(&refusal));
                // Some clients do not take no for an answer.
                if self.rng.u8(..3) == 0 {
                    let ms = self.rng.i64(500..30_000);
                    let (began, first_asked) = (self.clocks.t + ms, self.clocks.tick());
                    let again = Caller { since: None, began, renewal: false, first_asked, ..caller };
                    self.waiters_made += 1;
                    self.callers.insert(self.waiters_made, again);
                    self.after(ms, Due::Poll(self.waiters_made));
                }
            }
        }
    }
}
