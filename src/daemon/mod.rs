//! The shell around the broker: the async runtime lives here (`aws` and `ipc::listener` are polled by it).
//!
//! One task owns the [`Broker`](crate::core::broker::Broker) ([`event_loop`]); everything else talks to it through a
//! channel. Each action that the broker returns becomes a task with a deadline that posts exactly one event back
//! ([`effects`]). Requests come in over [`connections`] and through [`http`]; files are looked at on demand and at every
//! tick ([`watcher`]), and when the operating system says that something happened to them ([`folder_watch`]). All of this
//! but the socket and the listening is the [`engine`], which [`once`] uses without a daemon. Grants are put on
//! record beside it all ([`audit`]). The way to AWS is looked at by [`probe`].
//! What may be shared between tasks is a channel, a socket or an immutable value; the only locks are around the
//! watcher's stamps, the current AWS client, the count of what the audit log lost and what was heard of files.

pub mod alarm;
pub mod armed;
pub mod audit;
pub mod bedrock;
pub mod callback;
pub mod connections;
pub mod effects;
pub mod engine;
pub mod event_loop;
pub mod folder_watch;
pub mod http;
pub mod inspect;
pub mod login_flow;
pub mod login_routes;
pub mod logout_flow;
pub mod model_routes;
pub mod once;
pub mod probe;
pub mod profiles;
pub mod resolve;
pub mod run;
pub mod settings;
pub mod signals;
pub mod succession;
pub mod token_flow;
pub mod watcher;
