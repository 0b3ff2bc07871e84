//! A model of the shell's fetches: the rotated-token protocol, calls with latencies and deadlines, one event each.

use std::sync::Arc;
use std::time::Duration;

use aws_credential_agent::core::broker::{Event, Fetch, Outcome};
use aws_credential_agent::core::classify::{Answer, BodyKind, Evidence, Operation, Signal};
use aws_credential_agent::core::credential::{Credential, RoleCredentials};
use aws_credential_agent::core::failure::{Failure, FailureClass};
use aws_credential_agent::core::node::{FlightId, NodeId, Why};
use aws_credential_agent::core::source::Link;
use aws_credential_agent::core::time::Timestamp;

use super::clock::Clocks;
use super::estate::MINUTE;
use super::files::{number, token_of};
use super::run::{Due, Sim};
use super::upstream::{Health, Token};

/// Longest that the shell lets a fetch take.
const DEADLINE: i64 = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// CreateToken; the token in hand.
    Session { session: usize, held: Token },
    /// GetRoleCredentials with an access token.
    Role { key: usize, access: u32 },
    /// AssumeRole with credentials that end then.
    Assume { key: usize, with_ends: i64 },
}

/// Whose credential a call is for, whatever entry of the broker stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Session(usize),
    Key(usize),
}

impl Purpose {
    pub(crate) const fn target(self) -> Target {
        match self {
            Self::Session { session, .. } => Target::Session(session),
            Self::Role { key, .. } | Self::Assume { key, .. } => Target::Key(key),
        }
    }

    /// OIDC, portal and STS.
    pub(crate) const fn service(self) -> u8 {
        match self {
            Self::Session { .. } => 0,
            Self::Role { .. } => 1,
            Self::Assume { .. } => 2,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) node: NodeId,
    pub(crate) purpose: Purpose,
    pub(crate) site: usize,
    pub(crate) began: i64,
    /// The refresh token in the broker's hands.
    pub(crate) offered: Option<u32>,
    /// Because AWS refuses the key.
    pub(crate) forced: bool,
    /// It fails although all is well.
    pub(crate) blip: bool,
    /// The session's lock is ours.
    locked: bool,
    retried: bool,
    /// The file when the call was made.
    seen: Option<Token>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Begin,
    Serve,
    TokenCame(Token),
    GrantRefused(u8),
    RoleCame(u32),
    Status(u16),
    Lost,
    Gone(u8),
    Deadline,
}

impl Sim {
    pub(crate) fn take_off(&mut self, fetch: &Fetch) {
        let (purpose, session) = match &fetch.link {
            Link::SsoSession(_) => {
                let session = self.estate.by_session[&(Arc::clone(&fetch.world), fetch.link.clone())];
                self.stats.token_calls += 1;
                let Some(held) = fetch.held.as_ref().and_then(Credential::as_token) else {
                    panic!("a session is renewed, not made");
                };
                let held = Token {
                    access: number(held.access_token.expose()),
                    refresh: held.refresh.as_ref().map(|g| number(g.refresh_token.expose())),
                    ends: Clocks::unstamp(held.expires_at),
                    registration_ends: 0,
                    obtained: Clocks::unstamp(held.obtained_at),
                };
                (Purpose::Session { session, held }, session)
            }
            link => {
                self.stats.role_calls += 1;
                let key = self.estate.by_link[link];
                let session = self.estate.keys[key].session;
                let purpose = match fetch.with.as_ref() {
                    None => panic!("a role is fetched with something"),
                    Some(Credential::Token(t)) => Purpose::Role { key, access: number(t.access_token.expose()) },
                    Some(Credential::Role(r)) => Purpose::Assume { key, with_ends: Clocks::unstamp(r.expires_at) },
                };
                (purpose, session)
            }
        };
        let site = self.estate.sessions[session].site;
        self.check_call(fetch, purpose, (site, purpose.service()));
        let flight = Flight {
            node: fetch.node,
            purpose,
            site,
            began: self.clocks.t,
            offered: match purpose {
                Purpose::Session { held, .. } => held.refresh,
                Purpose::Role { .. } | Purpose::Assume { .. } => None,
            },
            forced: fetch.why == Why::Rejected.words(),
            blip: false,
            locked: false,
            retried: false,
            seen: None,
        };
        let number = fetch.flight.0;
        self.flights.insert(number, flight);
        if self.rng.u16(..2000) == 0 {
            self.edit_in_flight(purpose.target());
        }
        self.after(2, Due::Flight(number, Step::Begin));
        self.after(DEADLINE, Due::Flight(number, Step::Deadline));
    }

    pub(crate) fn fly(&mut self, number: u64, step: Step, late: bool) {
        let Some(flight) = self.flights.get(&number).cloned() else { return };
        match step {
            Step::Deadline => self.fail(number, Signal::TimedOut { sent: true }, false),
            // The machine slept: the connection is gone, and so is the answer.
            Step::Serve if late => self.fail(number, Signal::Broken { sent: false, detail: "reset".into() }, false),
            Step::TokenCame(_) | Step::RoleCame(_) if late => self.lost(number),
            Step::Begin => match flight.purpose {
                Purpose::Session { session, held } => self.begin_token(number, session, held),
                Purpose::Role { .. } | Purpose::Assume { .. } => self.serve_soon(number),
            },
            Step::Serve => self.serve(number),
            Step::TokenCame(token) => self.token_came(number, token),
            Step::GrantRefused(reads) => self.grant_refused(number, reads),
            Step::RoleCame(serial) => self.role_came(number, serial),
            Step::Status(status) => self.fail_status(number, status),
            Step::Lost => self.lost(number),
            Step::Gone(looks) => self.gone(number, looks),
        }
    }

    /// Steps 1 to 4 of the protocol.
    fn begin_token(&mut self, number: u64, session: usize, held: Token) {
        let target = Target::Session(session);
        // An entry that went and came again sends a second one.
        if self.flights.iter().any(|(other, f)| *other != number && f.locked && f.purpose.target() == target) {
            return self.after(100, Due::Flight(number, Step::Begin));
        }
        if !self.flights[&number].retried && self.rng.u8(..100) == 0 {
            return self.file_trouble(number, session);
        }
        let store = &self.stores[session];
        let Some(file) = store.token else { return self.gone(number, 0) };
        if file.access != held.access && file.whole_seconds() > held.ends && !store.torn {
            return self.adopt(number, file);
        }
        let mut grants = [Some(held), (!store.torn).then_some(file)].into_iter().flatten();
        let Some(sent) = grants.find(|token| !self.checks.grant_refused(token.refresh)) else {
            let failure = Failure::new(FailureClass::NeedsLogin, "AWS refused this refresh token before", "");
            return self.finish(number, Outcome::NotSent(failure), false);
        };
        if let Some(flight) = self.flights.get_mut(&number) {
            flight.seen = Some(file);
            flight.locked = true;
            flight.purpose = Purpose::Session { session, held: sent };
        }
        self.serve_soon(number);
    }

    /// Something is wrong with the folder or the lock, for this once.
    fn file_trouble(&mut self, number: u64, session: usize) {
        let failure = match self.rng.bool() {
            true => Failure::new(FailureClass::Transient, "another agent is renewing this SSO session", ""),
            false => {
                // That is remembered for half a minute.
                self.no_path_for_session(session, self.clocks.t + MINUTE / 2);
                Failure::new(FailureClass::Misconfigured, "the token file belongs to somebody else", "")
            }
        };
        self.flight_blips(number);
        self.finish(number, Outcome::NotSent(failure), false);
    }

    fn flight_blips(&mut self, number: u64) {
        if let Some(flight) = self.flights.get_mut(&number) {
            flight.blip = true;
        }
    }

    fn serve_soon(&mut self, number: u64) {
        let ms = match self.rng.u8(..50) {
            0 => self.rng.i64(1000..3000),
            _ => self.rng.i64(10..150),
        };
        self.after(ms, Due::Flight(number, Step::Serve));
    }

    fn serve(&mut self, number: u64) {
        let flight = self.flights[&number].clone();
        let oidc = matches!(flight.purpose, Purpose::Session { .. });
        let ms = self.rng.i64(10..200);
        let health = self.health(flight.site, oidc);
        let step = match health {
            Health::Ok if self.is_to_fail_once(&flight) => {
                self.flight_blips(number);
                let steps = [Step::Status(503), Step::Lost, Step::Status(401)];
                steps[self.rng.usize(..if matches!(flight.purpose, Purpose::Role { .. }) { 3 } else { 2 })]
            }
            Health::Ok => self.process(&flight),
            Health::Broken => {
                self.process(&flight);
                Step::Lost
            }
            Health::Hang => {
                if self.rng.bool() {
                    self.process(&flight);
                }
                return;
            }
            Health::Offline => {
                return self.fail(number, Signal::Unreachable { detail: "no route".into() }, false);
            }
            Health::ServerError => Step::Status(503),
            Health::Throttle(_) => Step::Status(429),
            Health::Captive => Step::Status(302),
            Health::Strip if oidc => self.process(&flight),
            Health::Strip => Step::Status(401),
        };
        self.after(ms, Due::Flight(number, step));
    }

    /// AWS does its part.
    fn process(&mut self, flight: &Flight) -> Step {
        let (t, site) = (self.clocks.t, flight.site);
        match flight.purpose {
            Purpose::Session { held, .. } => {
                let Some(refresh) = held.refresh else { return Step::Status(400) };
                let same = self.rng.bool();
                self.note_paths();
                match self.sites[site].renew(refresh, t, same) {
                    Some(token) => Step::TokenCame(token),
                    None => Step::GrantRefused(0),
                }
            }
            Purpose::Role { key, access } => match self.denied.get(&key) {
                _ if !self.sites[site].accepts(access, t) => Step::Status(401),
                Some((until, status)) if *until > t => Step::Status(*status),
                _ => self.issue(key),
            },
            Purpose::Assume { key, with_ends } if with_ends > t => self.issue(key),
            // Only a machine whose clocks are all wrong sends what has ended.
            Purpose::Assume { .. } => Step::Status(503),
        }
    }

    fn issue(&mut self, key: usize) -> Step {
        self.serials += 1;
        let ends = self.clocks.t + self.estate.keys[key].life;
        self.checks.issued(self.serials, key, ends - ends.rem_euclid(1000), self.clocks.t);
        Step::RoleCame(self.serials)
    }

    fn adopt(&mut self, number: u64, token: Token) {
        let credential = Credential::Token(token_of(&token, true));
        self.finish(number, Outcome::Got { credential, issued_now: false }, false);
    }

    /// Step 6: store before anything else.
    fn token_came(&mut self, number: u64, token: Token) {
        let flight = self.flights[&number].clone();
        let Purpose::Session { session, held } = flight.purpose else { return };
        let store = &self.stores[session];
        match store.token {
            None => return self.gone(number, 0),
            Some(file) if Some(file) != flight.seen && !store.torn && file.ends > token.ends => {
                return self.adopt(number, file);
            }
            Some(_) => {}
        }
        self.write(session, Some(token));
        self.paths.replaced(held.access, token.access);
        let credential = Credential::Token(token_of(&token, false));
        self.finish(number, Outcome::Got { credential, issued_now: true }, true);
    }

    /// Step 7: perhaps another tool was faster.
    fn grant_refused(&mut self, number: u64, reads: u8) {
        let flight = self.flights[&number].clone();
        let Purpose::Session { session, held } = flight.purpose else { return };
        if reads > 0
            && let Some(file) = self.stores[session].token
            && (file.whole_seconds() > held.ends
                || file.refresh != held.refresh && !self.checks.grant_refused(file.refresh))
            && !self.stores[session].torn
        {
            return self.adopt(number, file);
        }
        if reads < 3 {
            let ms = [250, 750, 1000][usize::from(reads)];
            return self.after(ms, Due::Flight(number, Step::GrantRefused(reads + 1)));
        }
        self.checks.grant_was_refused(held.refresh);
        let answer = Answer {
            status: 400,
            aws_mark: true,
            code: Some("InvalidGrantException".into()),
            body: BodyKind::Json,
            ..Answer::default()
        };
        self.fail(number, Signal::Answer(answer), true);
    }

    fn role_came(&mut self, number: u64, serial: u32) {
        let ends = self.checks.ends_of(serial);
        let credential = Credential::Role(Arc::new(RoleCredentials {
            access_key_id: format!("ASIA-{serial}"),
            secret_access_key: "SECRETkey".into(),
            session_token: "SECRETtoken".into(),
            expires_at: Clocks::stamp(ends),
        }));
        self.finish(number, Outcome::Got { credential, issued_now: true }, true);
    }

    fn fail_status(&mut self, number: u64, status: u16) {
        let flight = self.flights[&number].clone();
        if status == 401
            && let Purpose::Role { key, access } = flight.purpose
        {
            self.access_refused(self.estate.keys[key].session, access);
        }
        let oidc = matches!(flight.purpose, Purpose::Session { .. });
        let retry_after = match self.health(flight.site, oidc) {
            Health::Throttle(after) if status == 429 => after,
            _ => None,
        };
        if status == 429 {
            self.sites[flight.site].throttled_at = self.clocks.t;
        }
        if let Some(after) = retry_after {
            let until = self.clocks.t + after.as_millis() as i64;
            self.no_path_until(flight.site, until);
            let until = self.clocks.tick().plus(after);
            self.checks.asked_to_wait((flight.site, flight.purpose.service()), until);
        }
        let of_aws = !matches!(status, 302 | 503);
        let answer = Answer {
            status,
            aws_mark: of_aws,
            code: None,
            body: if of_aws { BodyKind::Json } else { BodyKind::Html },
            redirect_host: (status == 302).then(|| "portal.hotel.example".to_owned()),
            retry_after,
            ..Answer::default()
        };
        self.fail(number, Signal::Answer(answer), of_aws);
    }

    /// Step 8: the answer is lost. Re-read, then exactly one retry.
    fn lost(&mut self, number: u64) {
        let Some(flight) = self.flights.get_mut(&number) else { return };
        if matches!(flight.purpose, Purpose::Session { .. }) && !flight.retried {
            flight.retried = true;
            return self.after(10, Due::Flight(number, Step::Begin));
        }
        self.fail(number, Signal::Broken { sent: true, detail: "reset".into() }, false);
    }

    /// The file is missing: for two seconds that may be another tool's rename.
    fn gone(&mut self, number: u64, looks: u8) {
        let Purpose::Session { session, .. } = self.flights[&number].purpose else { return };
        if let Some(file) = self.stores[session].token {
            return self.adopt(number, file);
        }
        if looks >= 4 {
            return self.finish(number, Outcome::LoggedOut, false);
        }
        self.after(500, Due::Flight(number, Step::Gone(looks + 1)));
    }

    fn fail(&mut self, number: u64, signal: Signal, answered: bool) {
        let operation = match self.flights[&number].purpose {
            Purpose::Session { .. } => Operation::CreateToken,
            Purpose::Role { .. } | Purpose::Assume { .. } => Operation::GetRoleCredentials,
        };
        let verdict = Evidence { operation, host: "aws".into(), signal }.classify();
        self.finish(number, Outcome::Failed(verdict), answered);
    }

    /// Exactly one event for each fetch.
    fn finish(&mut self, number: u64, outcome: Outcome, dated: bool) {
        let Some(flight) = self.flights.remove(&number) else { return };
        let server_date = dated.then(|| Timestamp::from_secs(Clocks::stamp(self.clocks.t).as_millis() / 1000));
        self.checks.fetch_ended(&flight, &outcome, dated, (self.clocks.t, self.clocks.tick()));
        self.note_end(&flight, matches!(outcome, Outcome::Got { .. }));
        if let Purpose::Role { key, .. } | Purpose::Assume { key, .. } = flight.purpose {
            self.checks.forget_if_logged_out(&flight, self.estate.keys[key].session);
        }
        if let (Purpose::Session { session, .. }, Outcome::LoggedOut) = (flight.purpose, &outcome) {
            self.checks.logged_out(session, self.clocks.t, &self.estate);
        }
        self.step(Event::Fetched { node: flight.node, flight: FlightId(number), outcome, server_date });
    }
}

pub(crate) fn seconds(s: u64) -> Option<Duration> {
    Some(Duration::from_secs(s))
}
