//! What goes wrong, and what people change.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_agent::core::broker::Event;
use aws_credential_agent::core::failure::{Failure, FailureClass};
use aws_credential_agent::core::time::Tick;

use super::estate::{HOUR, MINUTE, ProfilePlan};
use super::flights::{Target, seconds};
use super::run::{Due, Sim};
use super::upstream::Health;

/// A shorter sleep is like a busy machine.
const NOTICED: i64 = 36_000;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    Site,
    SiteEnds {
        site: usize,
        oidc: bool,
    },
    Network,
    NetworkEnds,
    NetworkChanged,
    Suspend,
    Freeze,
    ClockStep,
    Denial,
    Edit,
    /// An editor empties the file before it writes.
    Rewrite(usize),
    Rewritten(usize),
    /// A profile means another role; once more, and it means what it meant.
    Flip(usize),
    BrokenConfig,
    ConfigMended(usize),
    Settings,
    Pause,
    Resume,
}

impl Trouble {
    pub(crate) const ALL: [Self; 11] = [
        Self::Site,
        Self::Network,
        Self::NetworkChanged,
        Self::Suspend,
        Self::Freeze,
        Self::ClockStep,
        Self::Denial,
        Self::Edit,
        Self::BrokenConfig,
        Self::Settings,
        Self::Pause,
    ];

    /// Mean time between two of a kind.
    pub(crate) fn every(self) -> i64 {
        match self {
            Self::Site => 70 * MINUTE,
            Self::Network | Self::NetworkChanged | Self::Suspend | Self::Edit | Self::Denial => 4 * HOUR,
            Self::Freeze | Self::ClockStep | Self::BrokenConfig => 12 * HOUR,
            Self::Settings => 8 * HOUR,
            Self::Pause => 24 * HOUR,
            Self::SiteEnds { .. }
            | Self::NetworkEnds
            | Self::Rewrite(_)
            | Self::Rewritten(_)
            | Self::Flip(_)
            | Self::ConfigMended(_)
            | Self::Resume => i64::MAX,
        }
    }
}

impl Sim {
    pub(crate) fn trouble(&mut self, trouble: Trouble) {
        self.stats.troubles += 1;
        self.note_paths();
        match trouble {
            Trouble::Site => self.site_fails(),
            Trouble::SiteEnds { site, oidc } => {
                *(if oidc { &mut self.sites[site].oidc } else { &mut self.sites[site].portal }) = Health::Ok;
            }
            Trouble::Network => {
                self.network = [Health::Offline, Health::Offline, Health::Hang, Health::Captive][self.rng.usize(..4)];
                let ms = self.some_time();
                self.after(ms, Due::Trouble(Trouble::NetworkEnds));
            }
            Trouble::NetworkEnds => {
                self.network = Health::Ok;
                if self.rng.bool() {
                    self.network_changed();
                }
            }
            Trouble::NetworkChanged => self.network_changed(),
            Trouble::Suspend => {
                let ms = self.some_time() * 4;
                self.clocks.t += ms;
                self.checks.clock_troubled(self.clocks.t);
                self.no_path_until_now();
                if ms > NOTICED {
                    self.doubt_refusals();
                }
            }
            Trouble::Freeze => {
                let ms = self.some_time();
                self.clocks.t += ms;
                self.clocks.frozen += ms;
                self.checks.frozen(self.clocks.t);
                self.paths.wait_longer(ms);
                self.no_path_until_now();
                if ms > NOTICED {
                    self.doubt_refusals();
                }
            }
            Trouble::ClockStep => {
                let steps = [9 * HOUR, -HOUR, 3 * MINUTE, -20_000, 10 * MINUTE];
                self.clocks.wall_ahead = if self.clocks.wall_ahead == 0 { steps[self.rng.usize(..5)] } else { 0 };
                self.checks.clock_troubled(self.clocks.t);
                self.no_path_until_now();
                self.doubt_refusals();
            }
            Trouble::Denial => {
                let key = self.rng.usize(..self.estate.keys.len());
                let status = if self.rng.bool() { 403 } else { 404 };
                let until = self.clocks.t + self.some_time();
                self.denied.insert(key, (until, status));
            }
            Trouble::Edit => {
                let n = self.rng.usize(..self.estate.profiles.len());
                let flip = !self.estate.profiles[n].removed && self.rng.u8(..3) != 0;
                self.edit(n, flip);
            }
            Trouble::Flip(n) => self.edit(n, true),
            Trouble::Rewrite(world) => self.rewrite(world),
            Trouble::Rewritten(world) => {
                self.estate.blank = None;
                self.tell_config(world);
            }
            Trouble::BrokenConfig => {
                let world = self.rng.usize(..2);
                let failure = Failure::new(FailureClass::Misconfigured, "line 3 is no setting", "correct it");
                let world_ref = Arc::clone(&self.estate.worlds[world]);
                self.step(Event::Config { world: world_ref, config: Err(failure) });
                self.after(5 * MINUTE, Due::Trouble(Trouble::ConfigMended(world)));
            }
            Trouble::ConfigMended(world) => self.tell_config(world),
            Trouble::Settings => self.change_settings(),
            Trouble::Pause => self.pause(),
            Trouble::Resume => {
                self.paused = false;
                self.checks.paused(Tick::default());
                self.step(Event::Resume);
            }
        }
        self.note_paths();
        if trouble.every() < i64::MAX {
            self.at_random(trouble.every(), Due::Trouble(trouble));
        }
    }

    /// From seconds to most of an hour, short ones more often.
    fn some_time(&mut self) -> i64 {
        (5000.0 * 600f64.powf(self.rng.f64())) as i64
    }

    fn site_fails(&mut self) {
        let (site, oidc) = (self.rng.usize(..self.sites.len()), self.rng.bool());
        let ms = self.some_time();
        let both = self.rng.bool();
        let kinds = [
            Health::Offline,
            Health::ServerError,
            Health::Hang,
            Health::Broken,
            Health::Captive,
            Health::Throttle(None),
            Health::Throttle(seconds(self.rng.u64(1..120))),
            Health::Strip,
        ];
        let health = kinds[self.rng.usize(..kinds.len())];
        for oidc in [oidc, !oidc].into_iter().take(1 + usize::from(both)) {
            if health == Health::Strip && oidc {
                continue;
            }
            *(if oidc { &mut self.sites[site].oidc } else { &mut self.sites[site].portal }) = health;
            self.after(ms, Due::Trouble(Trouble::SiteEnds { site, oidc }));
        }
    }

    /// Somebody edits a config file: a profile means another role, or is gone, or comes back.
    fn edit(&mut self, n: usize, flip: bool) {
        let old = self.estate.lineage(self.estate.profiles[n].key);
        self.checks.may_forget(old, self.clocks.t);
        let plan = &mut self.estate.profiles[n];
        if flip {
            std::mem::swap(&mut plan.key, &mut plan.other);
        } else {
            plan.removed = !plan.removed;
        }
        let world = plan.world;
        self.tell_config(world);
    }

    /// A config file is empty for a moment.
    fn rewrite(&mut self, world: usize) {
        if self.estate.blank.is_some() {
            return;
        }
        self.estate.blank = Some(world);
        let all = self.estate.keys.iter().enumerate().filter(|(_, k)| self.estate.sessions[k.session].world == world);
        self.checks.may_forget(all.map(|(key, _)| key).collect(), self.clocks.t);
        self.tell_config(world);
        let ms = self.rng.i64(1..1000);
        self.after(ms, Due::Trouble(Trouble::Rewritten(world)));
    }

    /// Somebody works on a config file just while one of its credentials is fetched.
    pub(crate) fn edit_in_flight(&mut self, target: Target) {
        let session = match target {
            Target::Session(session) => session,
            Target::Key(key) => self.estate.keys[key].session,
        };
        let of_key = |p: &ProfilePlan| target == Target::Key(p.key);
        let soon = self.rng.i64(1..100);
        match self.estate.profiles.iter().position(of_key) {
            Some(n) if self.rng.bool() => {
                let later = soon + self.rng.i64(1..100);
                self.after(soon, Due::Trouble(Trouble::Flip(n)));
                self.after(later, Due::Trouble(Trouble::Flip(n)));
            }
            _ => self.after(soon, Due::Trouble(Trouble::Rewrite(self.estate.sessions[session].world))),
        }
    }

    fn network_changed(&mut self) {
        self.doubt_refusals();
        self.step(Event::NetworkChanged);
    }

    pub(crate) fn tell_config(&mut self, world: usize) {
        for n in 0..self.estate.profiles.len() {
            if self.estate.profiles[n].world == world {
                self.profile_changed(n);
            }
        }
        self.checks.config_came(world, self.clocks.t);
        // Who waits asks for what the profile means now.
        let tick = self.clocks.tick();
        self.callers.values().for_each(|c| self.checks.key_asked(self.estate.profiles[c.profile].key, tick));
        for session in 0..self.estate.sessions.len() {
            if self.estate.sessions[session].world == world {
                self.checks.news(session, self.clocks.t);
            }
        }
        let config = self.estate.config(world);
        self.step(Event::Config { world: Arc::clone(&self.estate.worlds[world]), config: Ok(config) });
    }

    fn change_settings(&mut self) {
        let some = |rng: &mut fastrand::Rng, most| -> BTreeSet<String> {
            (0..rng.usize(..most)).map(|_| format!("p{}", rng.u8(..25))).collect()
        };
        self.settings.keep = some(&mut self.rng, 8);
        self.settings.refused = some(&mut self.rng, 3);
        for n in 0..self.estate.profiles.len() {
            self.profile_changed(n);
        }
        self.step(Event::Settings(self.settings.clone()));
    }

    fn pause(&mut self) {
        self.paused = true;
        let ms = self.some_time();
        // A timed one ends by itself; the model learns of it here.
        self.after(ms, Due::Trouble(Trouble::Resume));
        let span = self.rng.bool().then(|| Duration::from_millis(ms as u64));
        self.checks.paused(self.clocks.tick().plus(span.unwrap_or(Duration::MAX)));
        self.step(Event::Pause(span));
    }
}
