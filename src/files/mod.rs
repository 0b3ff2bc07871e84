//! Files on disk, ours and those of others. Blocking: the daemon calls this room from its blocking pool.
//!
//! What holds for every file of others: it is read within bounds ([`limits`]), never torn by us ([`atomic`]), never
//! loses a key that we do not know ([`crate::core::sso_cache`]), and never counts as a logout because somebody else was
//! writing it ([`token_cache`]).
//!
//! | question | file |
//! |---|---|
//! | may this file be read at all? | [`limits`] |
//! | how is a file replaced? | [`atomic`] |
//! | who may refresh now? | [`lock`] |
//! | what does the token file say? | [`token_cache`] |
//! | how is a rotated refresh token never sent twice? | [`refresh`] |
//! | ... and never lost? | [`token_store`] |
//! | which refresh tokens did AWS refuse? | [`state`] |
//! | who was given what? | [`audit`] |
//! | which role credentials does the AWS CLI keep? | [`cli_cache`] |
//! | which files did setup edit, and how is that undone? | [`setup`] |
//! | did a file change? | [`watch`] |
//! | which folders must be watched to hear of it? | [`folders`] |
//! | what does our own `config.toml` say? | [`config_toml`] |

pub mod atomic;
pub mod audit;
pub mod cli_cache;
pub mod config_toml;
pub mod folders;
pub mod limits;
pub mod lock;
pub mod refresh;
pub mod registration;
pub mod setup;
pub mod state;
pub mod token_cache;
pub mod token_store;
pub mod watch;

#[cfg(test)]
#[cfg(unix)]
pub(crate) mod testing;

/// How often to try again and how long to pause in between. A value, so that tests need not wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// Between reads of a torn file.
    pub torn: Vec<std::time::Duration>,
    /// Between looks for a file that vanished; their sum is how long a rename of others may leave a gap.
    pub gone: Vec<std::time::Duration>,
    /// Before each re-read after AWS refused a refresh token: another tool may just be storing its successor.
    pub refused: Vec<std::time::Duration>,
    /// Between tries for a lock that another agent holds.
    pub locked: Vec<std::time::Duration>,
}

impl Pauses {
    /// The times of the protocol: torn 5 times 20 ms and 5 times 100 ms, gone 2 s, refused 250, 750 and 1000 ms, and up
    /// to 25 s for the lock, which another agent holds for one call of AWS at most (20 s) and the looks after it.
    #[must_use]
    pub fn real() -> Self {
        let ms = std::time::Duration::from_millis;
        Self {
            torn: [vec![ms(20); 5], vec![ms(100); 5]].concat(),
            gone: vec![ms(100); 20],
            refused: vec![ms(250), ms(750), ms(1000)],
            locked: [vec![ms(20); 50], vec![ms(100); 240]].concat(),
        }
    }

    /// As many tries, no waiting.
    #[must_use]
    pub fn none() -> Self {
        let real = Self::real();
        let zero = |pauses: Vec<_>| vec![std::time::Duration::ZERO; pauses.len()];
        Self {
            torn: zero(real.torn),
            gone: zero(real.gone),
            refused: zero(real.refused),
            locked: zero(real.locked[..20].to_vec()),
        }
    }
}

/// Sleeps, unless there is nothing to wait for.
fn pause(time: std::time::Duration) {
    if !time.is_zero() {
        std::thread::sleep(time);
    }
}
