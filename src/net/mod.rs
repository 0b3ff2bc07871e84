//! What lies between this machine and AWS: trusted roots and proxies, as values.
//!
//! Everything here starts from an environment that is handed in and from keys of our own `config.toml`; the process's
//! own environment is never read. CAs are only ever added: there is no switch that weakens TLS.
//!
//! | question | file |
//! |---|---|
//! | which settings are in force, and where did each come from? | [`settings`] |
//! | which roots are trusted? | [`trust`] |
//! | does this address go through a proxy? | [`proxy`] |
//!
//! Deliberately absent: any connection (see `aws::http`), SOCKS, NTLM and PAC, which the HTTP client cannot speak.

pub mod proxy;
pub mod settings;
pub mod trust;

pub use settings::{Environment, NetworkConfig, NetworkSettings, ShownSetting};
