//! What tests and examples share: a fake AWS, a proxy that opens TLS, a temporary home, children with deadlines, the
//! secret scan.
//!
//! Each test binary declares `#[cfg(test)] mod support;` and uses its own part of it.

#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test binary uses its own part of a common whole")]

pub mod build;
pub mod clock;
pub mod crowd;
pub mod fake_aws;
pub mod home;
pub mod http;
#[cfg(unix)]
pub mod neighbour;
pub mod process;
pub mod proxy;
pub mod secret_scan;
