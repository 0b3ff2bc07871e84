//! The local socket: where it is, who may use it, and the client's side of one request.
//!
//! A Unix domain socket; on Windows a named pipe behind the same types. The boundary is the user: the folder is 0700,
//! the socket 0600, the server asks the kernel who connected and the client who listens.
//!
//! | question | file |
//! |---|---|
//! | where is the socket? | [`address`] |
//! | who owns the name, and who gets in? | [`listener`], [`peer`] |
//! | what if a service manager listens for us? | `activation` |
//! | how does a program ask the agent without a runtime? | [`client`], [`exchange`] |
//!
//! What it deliberately does not do: hyper, routes and documents (the daemon's and the API's), starting an agent (the
//! command line's).

#[cfg(unix)]
pub mod activation;
pub mod address;
pub mod client;
pub mod exchange;
pub mod listener;
pub mod peer;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;
