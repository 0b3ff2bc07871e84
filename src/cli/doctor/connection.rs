//! Whether the hosts, or the proxy, can be connected to.

use super::{Check, Verdict, step};
use crate::core::probe::Step;

/// See the module's documentation.
pub(super) const CHECK: Check = Check {
    name: "connection",
    family: "network",
    depends_on: &["dns"],
    run: |facts| {
        step::verdict(facts, Step::Connection, |probe| {
            let slowest = probe.hosts.iter().map(|h| h.took_ms).max().unwrap_or_default();
            Verdict::ok(format!("connected; a whole exchange takes {slowest} ms at most"))
        })
    },
};
