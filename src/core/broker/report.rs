//! The snapshot for `status` and `why`.

use std::sync::Arc;
use std::time::Duration;

use super::{Broker, Course, Paused};
use crate::core::node::{Node, NodeId, Retry, Trouble};
use crate::core::session;
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
                if let Some(node) = self.nodes.get(id) {
                    profiles.push(view.profile(world, name, *id, node));
                }
            }
        }
        profiles.extend(self.settings.keep.iter().filter_map(|name| view.unusable(name)));
        let mut sessions: Vec<SessionStatus> = self
            .nodes
            .iter()
            .filter(|(_, n)| n.session().is_some())
            .map(|(id, n)| view.session(*id, n, &profiles))
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
        match (node.valid(self.server_now), &node.course) {
            (Some(_), _) if node.trouble.is_some() => State::Failing,
            (Some(_), Course::Blocked(..)) => State::Failing,
            (Some(_), _) => State::Valid,
            (None, Course::Working(_)) => State::Fetching,
            (None, Course::Blocked(..)) => State::Failed,
            (None, Course::Idle) if node.trouble.is_some() => State::Failed,
            (None, Course::Idle) => State::Idle,
        }
    }

    fn refresh_at(&self, id: NodeId, node: &Node) -> Option<Timestamp> {
        let (held, _) = node.valid(self.server_now)?;
        let kept = self.broker.is_kept(id, self.now.tick);
        kept.then(|| held.credential.expires_at().minus(held.window.renew_below))
    }

    fn next(&self, id: NodeId, node: &Node) -> Option<NextStep> {
        let step = |at, what: &str| Some(NextStep { at, what: what.to_owned() });
        match &node.course {
            Course::Working(_) => return step(self.server_now, "renewing"),
            Course::Blocked(_, Some(at)) => return step(self.at(*at), "retry"),
            Course::Blocked(_, None) | Course::Idle => {}
        }
        if let (Some(at), Course::Idle) = (self.refresh_at(id, node), &node.course) {
            return step(at.max(self.server_now), "renew");
        }
        let (held, _) = node.valid(self.server_now)?;
        step(held.credential.expires_at(), "ends")
    }

    /// The failure that matters to a reader: the entry's own, or what it is blocked by.
    fn last_failure(&self, node: &Node) -> Option<FailureStatus> {
        let own = node.trouble.as_ref().map(|t| self.trouble(t));
        let blocked = match &node.course {
            Course::Blocked(failure, _) if !matches!(&own, Some(o) if o.failure == *failure) => Some(FailureStatus {
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
        while let Some(upstream) = up.and_then(|id| self.broker.nodes.get(&id)) {
            links.push(upstream.chain.link().to_string());
            up = upstream.upstream;
        }
        links.reverse();
        links.join(" > ")
    }

    /// A profile named in `keep` that the config does not give a source for.
    fn unusable(&self, name: &str) -> Option<ProfileStatus> {
        let state = self.broker.worlds.get(&self.broker.home)?;
        if state.routes.contains_key(name) {
            return None;
        }
        let failure = match state.config.as_ref().and_then(|c| c.profiles.get(name)) {
            Some(profile) => profile.source.clone().err()?,
            None => crate::core::failure::Failure::new(
                crate::core::failure::FailureClass::Misconfigured,
                format!("'{name}' stands in keep, but there is no such profile"),
                "correct keep in the agent's config.toml",
            ),
        };
        Some(ProfileStatus {
            name: name.to_owned(),
            config_file: None,
            state: State::Unusable,
            source: None,
            session: None,
            key_suffix: None,
            expires_at: None,
            lifetime_seconds: None,
            refresh_at: None,
            next: None,
            kept: Kept::Always,
            last_failure: Some(FailureStatus { failure, at: self.server_now, count: 1 }),
            why: Vec::new(),
        })
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
            renewable: token.is_some_and(|t| session::renewable(t, self.server_now).is_ok())
                && !node.trouble.as_ref().is_some_and(|t| t.retry == Retry::OnEvent),
            next: self.next(id, node),
            last_failure,
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
        if let Some(upstream) = node.upstream.and_then(|u| self.broker.nodes.get(&u)) {
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
        match &node.course {
            Course::Idle => "nothing: no renewal is due".to_owned(),
            Course::Working(Some(at)) => format!("starts in {} (pace)", span(at.since(self.now.tick))),
            Course::Working(None) => "waiting for its session or for another try at the portal".to_owned(),
            Course::Blocked(_, Some(at)) => format!("backing off for {}", span(at.since(self.now.tick))),
            Course::Blocked(_, None) => "waiting for something to change".to_owned(),
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut find = |name: &str, message: String, fix: &str| {
            findings.push(Finding { name: name.to_owned(), message, fix: fix.to_owned() });
        };
        for state in self.broker.worlds.values() {
            if let Some(problem) = &state.problem {
                find("config-invalid", format!("{}; the last good state is used", problem.message), &problem.fix);
            }
        }
        if self.broker.clock.is_skewed(self.now) {
            let seconds = self.broker.clock.offset_ms(self.now).unwrap_or_default() / 1000;
            let side = if seconds < 0 { "ahead of" } else { "behind" };
            let message = format!("this machine's clock is {} s {side} AWS's", seconds.unsigned_abs());
            find("clock-skew", message, "set the clock");
        }
        for node in self.broker.nodes.values() {
            let Some(token) = node.held.as_ref().and_then(|h| h.credential.as_token()) else { continue };
            let name = node.chain.session().map(crate::core::source::SsoSession::id).unwrap_or_default();
            let left = token.expires_at.since(self.server_now);
            match &token.refresh {
                None if left < WARN_BEFORE_END => find(
                    "no-refresh-token",
                    format!("session '{name}' ends in {} and cannot be renewed", span(left)),
                    "set sso_registration_scopes = sso:account:access in its sso-session and log in again",
                ),
                Some(grant)
                    if grant.registration_expires_at.is_some_and(|t| t.since(self.server_now) < WARN_REGISTRATION) =>
                {
                    find(
                        "registration-ends",
                        format!("the client registration of '{name}' ends within 7 days"),
                        "log in again before it does",
                    );
                }
                _ => {}
            }
        }
        findings.extend(self.broker.worlds.values().filter_map(|w| w.config.as_ref()).flat_map(|c| c.findings.clone()));
        findings
    }
}
