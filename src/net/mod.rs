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
//! | what tells AWS's answer from anybody else's? | [`answer`] |
//! | who signed a certificate, and why is it refused? | [`certificate`], [`products`] |
//! | how far does a request get, and who is in between? | [`probe`] |
//! | what do the tools of this machine trust, and what cures those that do not? | [`tools`] |
//!
//! Deliberately absent: calls of AWS (see `aws`), SOCKS, NTLM and PAC, which the HTTP client cannot speak.

pub mod answer;
pub mod certificate;
pub mod probe;
pub mod products;
pub mod proxy;
pub mod settings;
pub mod tools;
pub mod trust;

pub use settings::{Environment, NetworkConfig, NetworkSettings};
