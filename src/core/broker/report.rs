//! The snapshot for `status` and `why`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::demand::not_served;
use super::settle::Standing;
use super::{Broker, Paused};
use crate::core::failure::{Failure, FailureClass};
use crate::core::node::{Node, NodeId, Retry, Trouble};
use crate::core::source::World;
use crate::core::status::{
    FailureStatus, Finding, Kept, NextStep, Pause, ProfileStatus, Reason, SessionStatus, State, Status,
};
use crate::core::time::{Moment, Tick, Timestamp};
use crate::core::words::span;

/// A session that cannot be renewed is worth a warning this long before its end.
const WARN_BEFORE_END: Duration = Duration::from_secs(30 * 60);
/// A client registration that ends this soon is worth a hint.
const WARN_REGISTRATION: Duration = Duration::from_secs(7 * 24 * 3600);

impl Broker {
    /// What is kept, at this instant.
    #[must_use]
    pub fn status(&self, now: Moment) -> Status {
        let server_now = self.clock.now(now);
        let view = View { broker: self, now, server_now };
        let mut profiles = Vec::new();
        for (world, state) in &self.worlds {
            for (name, id) in &state.routes {
                if let Some(node) = self.nodes.get(*id) {
                    profiles.push(view.profile(world, name, *id, node));
                }
            }
        }
        profiles.extend(view.without_source());
        let mut sessions: Vec<SessionStatus> = self
            .nodes
            .iter()
            .filter(|(_, n)| n.session().is_some())
            .map(|(id, n)| view.session(id, n, &profiles))
            .collect();
        name_apart(&mut sessions, &mut profiles);
        Status {
            schema: 1,
            revision: self.revision,
            now: server_now,
            clock_offset_ms: self.clock.offset_ms(now),
            paused: match self.paused {
                Paused::No => None,
                Paused::UntilResumed => Some(Pause { until: None }),
                Paused::Until(tick) => Some(Pause { until: Some(view.at(tick)) }),
            },
            findings: view.findings(),
            profiles,
            sessions,
        }
    }
}

/// Two sessions of one name (in two worlds, say) get numbers, so that an id names one.
fn name_apart(sessions: &mut [SessionStatus], profiles: &mut [ProfileStatus]) {
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for session in sessions {
        let count = seen.entry(session.id.clone()).or_default();
        *count += 1;
        if *count > 1 {
            let id = format!("{}-{count}", session.id);
            for profile in &mut *profiles {
                let here = profile.config_file == session.config_file && session.profiles.contains(&profile.name);
                if here {
                    profile.session = Some(id.clone());
                }
            }
            session.id = id;
        }
    }
}

struct View<'a> {
    broker: &'a Broker,
    now: Moment,
    server_now: Timestamp,
}

impl View<'_> {
    /// A tick of the monotonic clock in AWS's time.
    fn at(&self, tick: Tick) -> Timestamp {
        let (ahead, behind) = (tick.since(self.now.tick), self.now.tick.since(tick));
        self.server_now.plus(ahead).minus(behind)
    }

    fn config_file(&self, world: &Arc<World>) -> Option<String> {
        (*world != self.broker.home).then(|| world.config_file.display().to_string())
    }

    fn state(&self, node: &Node) -> State {
        match (node.valid(self.server_now), self.broker.standing(node)) {
            (Some(_), _) if node.trouble.is_some() => State::Failing,
            (Some(_), Standing::Blocked(..)) => State::Failing,
            (Some(_), _) => State::Valid,
            (None, Standing::Working(_)) => State::Fetching,
            (None, Standing::Blocked(..)) => State::Failed,
            (None, Standing::Idle) if node.trouble.is_some() => State::Failed,
            (None, Standing::Idle) => State::Idle,
        }
    }

    /// When it is renewed without anybody asking again: if it is still kept then, and if that needs no person.
    fn refresh_at(&self, id: NodeId, node: &Node) -> Option<Timestamp> {
        let (held, _) = node.valid(self.server_now)?;
        let at = held.credential.expires_at().minus(held.window.renew_below);
        let then = self.now.tick.plus(at.since(self.server_now));
        (self.broker.is_kept(id, then) && self.can_be_renewed(node, at)).then_some(at)
    }

    fn can_be_renewed(&self, node: &Node, at: Timestamp) -> bool {
        if node.session().is_some() {
            let ended = node.trouble.as_ref().is_some_and(|t| t.retry == Retry::OnEvent);
            return !ended && node.held.is_some() && self.broker.unrenewable(node, at).is_none();
        }
        let upstream = node.upstream.and_then(|id| self.broker.nodes.get(id));
        upstream.is_none_or(|upstream| upstream.valid(at).is_some() || self.can_be_renewed(upstream, at))
    }

    fn next(&self, id: NodeId, node: &Node) -> Option<NextStep> {
        let step = |at, what: &str| Some(NextStep { at, what: what.to_owned() });
        match self.broker.standing(node) {
            Standing::Working(_) => return step(self.server_now, "renewing"),
            Standing::Blocked(_, Some(at)) => return step(self.at(at), "retry"),
            Standing::Blocked(_, None) => {}
            Standing::Idle => {
                if let Some(at) = self.refresh_at(id, node) {
                    return step(at.max(self.server_now), "renew");
                }
            }
        }
        let (held, _) = node.valid(self.server_now)?;
        step(held.credential.expires_at(), "ends")
    }

    /// The failure that matters to a reader: the entry's own, or what it is blocked by.
    fn last_failure(&self, node: &Node) -> Option<FailureStatus> {
        let own = node.trouble.as_ref().map(|t| self.trouble(t));
        let blocked = match self.broker.standing(node) {
            Standing::Blocked(failure, _) if !matches!(&own, Some(o) if o.failure == *failure) => Some(FailureStatus {
                failure: failure.clone(),
                at: node.pursued_since.map_or(self.server_now, |t| self.at(t)),
                count: 1,
            }),
            _ => None,
        };
        blocked.or(own)
    }

    #[expect(clippy::unused_self, reason = "reads as one family with its neighbours")]
    fn trouble(&self, trouble: &Trouble) -> FailureStatus {
        FailureStatus { failure: trouble.failure.clone(), at: trouble.at, count: trouble.count }
    }

    fn profile(&self, world: &Arc<World>, name: &str, id: NodeId, node: &Node) -> ProfileStatus {
        let valid = node.valid(self.server_now);
        let last_failure = self.last_failure(node).map(|mut f| {
            f.failure = f.failure.for_profile(name);
            f
        });
        if self.broker.settings.refused.contains(name) {
            return self.unusable(world, name, not_served(name).failure);
        }
        ProfileStatus {
            name: name.to_owned(),
            config_file: self.config_file(world),
            state: self.state(node),
            source: Some(self.source(node)),
            session: node.chain.session().map(crate::core::source::SsoSession::id),
            key_suffix: valid.and_then(|(h, _)| Some(h.credential.as_role()?.key_suffix().to_owned())),
            expires_at: valid.map(|(h, _)| h.credential.expires_at()),
            lifetime_seconds: valid.and_then(|(h, _)| h.lifetime).map(|l| l.as_secs()),
            refresh_at: self.refresh_at(id, node),
            next: self.next(id, node),
            kept: self.kept(id, node),
            why: self.why(id, node, last_failure.as_ref()),
            last_failure,
        }
    }

    fn kept(&self, id: NodeId, node: &Node) -> Kept {
        if node.always {
            Kept::Always
        } else if self.broker.is_kept(id, self.now.tick) {
            Kept::RecentlyUsed
        } else {
            Kept::No
        }
    }

    fn source(&self, node: &Node) -> String {
        let mut links = vec![node.chain.link().to_string()];
        let mut up = node.upstream;
        while let Some(upstream) = up.and_then(|id| self.broker.nodes.get(id)) {
            links.push(upstream.chain.link().to_string());
            up = upstream.upstream;
        }
        links.reverse();
        links.join(" > ")
    }

    /// Profiles that are named in `keep` or were asked for, and that the config gives no source for.
    fn without_source(&self) -> Vec<ProfileStatus> {
        let mut found = Vec::new();
        for (world, state) in &self.broker.worlds {
            let at_home = *world == self.broker.home;
            let kept = self.broker.settings.keep.iter().filter(|_| at_home);
            let names: BTreeSet<&String> = kept.chain(&state.asked_in_vain).collect();
            for name in names.into_iter().filter(|name| !state.routes.contains_key(*name)) {
                let failure = match state.config.as_ref().and_then(|c| c.profiles.get(name)) {
                    Some(profile) => profile.source.clone().err(),
                    None if self.broker.settings.keep.contains(name) => Some(Failure::new(
                        FailureClass::Misconfigured,
                        format!("'{name}' stands in keep, but there is no such profile"),
                        "correct keep in the agent's config.toml",
                    )),
                    None => None,
                };
                found.extend(failure.map(|failure| self.unusable(world, name, failure)));
            }
        }
        found
    }

    /// A profile that is not served, and why.
    fn unusable(&self, world: &Arc<World>, name: &str, failure: Failure) -> ProfileStatus {
        let reason = |topic: &str, text: &str| Reason { topic: topic.to_owned(), text: text.to_owned() };
        let mut why = vec![reason("failure", &format!("{} (class {})", failure.message, failure.class))];
        if !failure.fix.is_empty() {
            why.push(reason("fix", &failure.fix));
        }
        let always = *world == self.broker.home && self.broker.settings.keep.contains(name);
        ProfileStatus {
            name: name.to_owned(),
            config_file: self.config_file(world),
            state: State::Unusable,
            source: None,
            session: None,
            key_suffix: None,
            expires_at: None,
            lifetime_seconds: None,
            refresh_at: None,
            next: None,
            kept: if always { Kept::Always } else { Kept::No },
            last_failure: Some(FailureStatus { failure, at: self.server_now, count: 1 }),
            why,
        }
    }

    fn session(&self, id: NodeId, node: &Node, profiles: &[ProfileStatus]) -> SessionStatus {
        let link = node.chain.session();
        let session_id = link.map(crate::core::source::SsoSession::id).unwrap_or_default();
        let config_file = self.config_file(node.chain.world());
        let mut names: Vec<String> = profiles
            .iter()
            .filter(|p| p.session.as_ref() == Some(&session_id) && p.config_file == config_file)
            .map(|p| p.name.clone())
            .collect();
        names.dedup();
        let token = node.held.as_ref().and_then(|h| h.credential.as_token());
        let last_failure = self.last_failure(node).map(|mut f| {
            f.failure = f.failure.for_profile(names.first().map_or("NAME", String::as_str));
            f
        });
        SessionStatus {
            id: session_id,
            config_file,
            start_url: link.map(|l| l.start_url.clone()).unwrap_or_default(),
            region: link.map(|l| l.region.clone()).unwrap_or_default(),
            state: self.state(node),
            expires_at: token.map(|t| t.expires_at),
            renewable: self.can_be_renewed(node, self.server_now),
            next: self.next(id, node),
            last_failure,
            login: self.broker.login_status(&node.chain, self.now),
            login_pause: self.broker.login_pause(&node.chain, self.now),
            profiles: names,
        }
    }

    fn why(&self, id: NodeId, node: &Node, failure: Option<&FailureStatus>) -> Vec<Reason> {
        let mut lines = Vec::new();
        let mut say = |topic: &str, text: String| lines.push(Reason { topic: topic.to_owned(), text });
        say("source", self.source(node));
        match node.valid(self.server_now) {
            None => say("held", "nothing valid".to_owned()),
            Some((held, left)) => {
                let life = held.lifetime.map_or_else(|| "unknown".to_owned(), span);
                let key = held.credential.as_role().map_or("", |r| r.key_suffix());
                say("held", format!("key ...{key}, {} left of {life}", span(left)));
                let window = held.window;
                say(
                    "window",
                    format!(
                        "renewed below {}, callers wait below {}",
                        span(window.renew_below),
                        span(window.mandatory_below)
                    ),
                );
            }
        }
        say("kept", self.kept_words(id, node));
        if let Some(upstream) = node.upstream.and_then(|u| self.broker.nodes.get(u)) {
            let left =
                upstream.valid(self.server_now).map_or_else(|| "nothing valid".to_owned(), |(_, l)| span(l) + " left");
            say("session", format!("{}: {left}", upstream.chain.link()));
        }
        say("doing", self.course_words(node));
        if let Some(f) = failure {
            say(
                "failure",
                format!("{} (class {}, {} in a row, at {})", f.failure.message, f.failure.class, f.count, f.at),
            );
            if !f.failure.fix.is_empty() {
                say("fix", f.failure.fix.clone());
            }
        }
        if let Some(next) = self.next(id, node) {
            say("next", format!("{} at {} (in {})", next.what, next.at, span(next.at.since(self.server_now))));
        }
        lines
    }

    fn kept_words(&self, id: NodeId, node: &Node) -> String {
        match self.kept(id, node) {
            Kept::Always => "always: named in keep".to_owned(),
            Kept::RecentlyUsed => {
                let until = node.kept_until().map(|t| span(t.since(self.now.tick)));
                format!("for another {} unless asked again", until.unwrap_or_default())
            }
            Kept::No => "no: renewed when asked for".to_owned(),
        }
    }

    fn course_words(&self, node: &Node) -> String {
        if let Some(flight) = node.flight {
            let since = span(self.now.tick.since(flight.began));
            return format!("fetching since {since}: {}", flight.why.words());
        }
        match self.broker.standing(node) {
            Standing::Idle => "nothing: no renewal is due".to_owned(),
            Standing::Working(Some(at)) => format!("starts in {} (pace)", span(at.since(self.now.tick))),
            Standing::Working(None) => "waiting for its session or for another try at the portal".to_owned(),
            Standing::Blocked(_, Some(at)) => format!("backing off for {}", span(at.since(self.now.tick))),
            Standing::Blocked(_, None) => "waiting for something to change".to_owned(),
        }
    }

    fn is_known(&self, name: &str) -> bool {
        self.broker.worlds.values().filter_map(|w| w.config.as_ref()).any(|c| c.profiles.contains_key(name))
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut find = |name: &str, message: String, fix: &str| {
            findings.push(Finding::new(name, message, fix));
        };
        for state in self.broker.worlds.values() {
            if let Some(problem) = &state.problem {
                find("config-invalid", format!("{}; the last good state is used", problem.message), &problem.fix);
            }
        }
        if self.broker.clock.is_skewed(self.now) {
            let offset = self.broker.clock.offset_ms(self.now).unwrap_or_default();
            let side = if offset < 0 { "ahead of" } else { "behind" };
            let by = span(Duration::from_millis(offset.unsigned_abs()));
            let message = format!("this machine's clock is {by} {side} AWS's");
            find("clock-skew", message, "switch on its time synchronization");
        }
        for name in self.broker.settings.refused.iter().filter(|name| !self.is_known(name)) {
            let message = format!("config.toml says serve = false for '{name}', but there is no such profile");
            find("unknown-profile", message, "correct its name, or remove it");
        }
        for node in self.broker.nodes.values() {
            let Some(token) = node.held.as_ref().and_then(|h| h.credential.as_token()) else { continue };
            let name = node.chain.session().map(crate::core::source::SsoSession::id).unwrap_or_default();
            let left = token.expires_at.since(self.server_now);
            match &token.refresh {
                None if left < WARN_BEFORE_END => {
                    let when = if left.is_zero() { "has ended".to_owned() } else { format!("ends in {}", span(left)) };
                    find(
                        "no-refresh-token",
                        format!("session '{name}' {when} and cannot be renewed: it has no refresh token"),
                        "log in again, with sso_registration_scopes = sso:account:access in its sso-session",
                    );
                }
                None => {}
                Some(grant) => match grant.registration_expires_at.map(|end| end.since(self.server_now)) {
                    Some(Duration::ZERO) => find(
                        "registration-ended",
                        format!("the client registration of '{name}' has ended, so it cannot be renewed"),
                        "log in again",
                    ),
                    Some(left) if left < WARN_REGISTRATION => find(
                        "registration-ends",
                        format!("the client registration of '{name}' ends in {}", span(left)),
                        "log in again before it does",
                    ),
                    _ => {}
                },
            }
        }
        findings.extend(self.broker.loops(self.now));
        findings.extend(self.broker.worlds.values().filter_map(|w| w.config.as_ref()).flat_map(|c| c.findings.clone()));
        findings
    }
}
