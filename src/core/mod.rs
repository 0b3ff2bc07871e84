//! The pure core: every decision, and nothing that could make one unrepeatable.
//!
//! No I/O, no clock, no randomness, no async, no logging and no SDK. Time and one random draw come in with every event
//! as a [`time::Moment`]; outcomes come in as [`broker::Event`]; work goes out as [`broker::Action`]. `tests/core/tidy.rs`
//! fails when a file of this room imports anything else.
//!
//! Where to look:
//!
//! | question | file |
//! |---|---|
//! | when does a refresh start? | [`schedule`] |
//! | what does this failure mean? | [`classify`], [`failure`] |
//! | who waits, who is answered, what runs? | [`broker`], [`node`], [`nodes`], [`waiters`], [`pulls`] |
//! | when may a browser open? | [`login`] |
//! | what is special about an SSO session or a role? | [`session`], [`role`] |
//! | what do all users of one portal share? | [`portal`] |
//! | what time is it at AWS? | [`server_clock`] |
//! | what is on record about a grant? | [`audit`] |
//! | what do the files say of one profile? | [`inspection`] |
//! | what does Bedrock offer? | [`bedrock`] |
//! | how are Claude Code's settings merged? | [`claude_settings`] |
//! | what changes in `~/.aws/config`? | [`aws_config_edit`] |

pub mod audit;
pub mod aws_config_edit;
pub mod bedrock;
pub mod broker;
pub mod classify;
pub mod claude_settings;
pub mod credential;
pub mod duration;
pub mod failure;
pub mod inspection;
pub mod login;
pub mod node;
pub mod nodes;
pub mod portal;
pub mod probe;
pub mod pulls;
pub mod role;
pub mod schedule;
pub mod secret;
pub mod server_clock;
pub mod session;
pub mod settings;
pub mod source;
pub mod sso_cache;
pub mod status;
pub mod time;
pub mod waiters;
pub mod words;
