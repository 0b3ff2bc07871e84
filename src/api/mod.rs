//! The local API: its types and documents. No sockets.
//!
//! HTTP/1.1 with JSON over the local socket, versioned under `/v1`; within a version the API only grows. Each route is
//! documented in [`v1`] with an example for `curl --unix-socket`.

pub mod process_json;
pub mod v1;
pub mod version;
