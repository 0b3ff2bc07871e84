//! AWS as seen from outside: who may have a token, who may have a role, and the ways in which nobody gets anything.

use std::collections::BTreeMap;
use std::time::Duration;

/// How refresh tokens are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// A used refresh token works for another minute; often the same one comes back.
    Grace,
    /// A refresh token works once.
    SingleUse,
    /// A refresh token works once; using it again revokes everything that came from it.
    Family,
}

/// The way to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Ok,
    Offline,
    ServerError,
    /// Nothing ever comes back; the request may have arrived.
    Hang,
    Throttle(Option<Duration>),
    /// Something in between strips the bearer header (portal only).
    Strip,
    /// A web page answers.
    Captive,
    /// The request arrives, the connection breaks before the answer.
    Broken,
}

/// A token as it is in a file or in an answer. Ids stand for the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) access: u32,
    pub(crate) refresh: Option<u32>,
    pub(crate) ends: i64,
    pub(crate) registration_ends: i64,
    pub(crate) obtained: i64,
}

impl Token {
    /// Its end as a file says it.
    pub(crate) const fn whole_seconds(&self) -> i64 {
        self.ends - self.ends.rem_euclid(1000)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Live,
    Used(i64),
}

/// One Identity Center instance.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) rotation: Rotation,
    pub(crate) oidc: Health,
    pub(crate) portal: Health,
    pub(crate) token_life: i64,
    pub(crate) renewable: bool,
    access: BTreeMap<u32, i64>,
    refresh: BTreeMap<u32, (u32, Use)>,
    /// Ends of the logins by family.
    families: BTreeMap<u32, i64>,
    made: u32,
    /// Endpoints whose last call went well.
    pub(crate) works: [bool; 3],
    pub(crate) blipped_at: i64,
    pub(crate) throttled_at: i64,
}

impl Site {
    pub(crate) fn new(number: u32, rotation: Rotation, token_life: i64, renewable: bool) -> Self {
        Self {
            rotation,
            oidc: Health::Ok,
            portal: Health::Ok,
            token_life,
            renewable,
            access: BTreeMap::new(),
            refresh: BTreeMap::new(),
            families: BTreeMap::new(),
            made: number * 1_000_000,
            works: [false; 3],
            blipped_at: 0,
            throttled_at: 0,
        }
    }

    fn id(&mut self) -> u32 {
        self.made += 1;
        self.made
    }

    /// A person logs in; the login lives until `session_ends`.
    pub(crate) fn login(&mut self, t: i64, session_ends: i64) -> Token {
        let family = self.id();
        self.families.insert(family, session_ends);
        self.issue(family, t)
    }

    fn issue(&mut self, family: u32, t: i64) -> Token {
        let (access, ends) = (self.id(), t + self.token_life);
        self.access.insert(access, ends);
        let refresh = self.renewable.then(|| {
            let id = self.id();
            self.refresh.insert(id, (family, Use::Live));
            id
        });
        Token { access, refresh, ends, registration_ends: t + 90 * 86_400_000, obtained: t }
    }

    /// CreateToken with a refresh grant; `None`: InvalidGrantException.
    pub(crate) fn renew(&mut self, refresh: u32, t: i64, keep_same: bool) -> Option<Token> {
        if !self.is_live(refresh, t) {
            if self.rotation == Rotation::Family
                && let Some((family, _)) = self.refresh.get(&refresh)
            {
                self.families.insert(*family, i64::MIN);
            }
            return None;
        }
        let family = self.refresh.get(&refresh)?.0;
        if self.rotation == Rotation::Grace && keep_same {
            let (access, ends) = (self.id(), t + self.token_life);
            self.access.insert(access, ends);
            return Some(Token {
                access,
                refresh: Some(refresh),
                ends,
                registration_ends: t + 90 * 86_400_000,
                obtained: t,
            });
        }
        if let Some((_, used)) = self.refresh.get_mut(&refresh)
            && *used == Use::Live
        {
            *used = Use::Used(t);
        }
        Some(self.issue(family, t))
    }

    pub(crate) fn is_live(&self, refresh: u32, t: i64) -> bool {
        let Some((family, used)) = self.refresh.get(&refresh) else { return false };
        let unused = match used {
            Use::Live => true,
            Use::Used(at) => self.rotation == Rotation::Grace && t - at < 60_000,
        };
        unused && self.families.get(family).is_some_and(|ends| *ends > t)
    }

    pub(crate) fn accepts(&self, access: u32, t: i64) -> bool {
        self.access.get(&access).is_some_and(|ends| *ends > t)
    }

    /// `aws sso logout`.
    pub(crate) fn logout(&mut self, token: &Token) {
        self.access.remove(&token.access);
        if let Some((family, _)) = token.refresh.and_then(|r| self.refresh.get(&r)) {
            self.families.insert(*family, i64::MIN);
        }
    }
}
