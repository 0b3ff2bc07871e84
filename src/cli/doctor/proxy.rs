//! Whether the proxy leads to AWS.

use super::{Check, Verdict, step};
use crate::core::probe::Step;

/// See the module's documentation.
pub(super) const CHECK: Check = Check {
    name: "proxy",
    family: "network",
    depends_on: &["connection"],
    run: |facts| {
        step::verdict(facts, Step::Tunnel, |probe| match probe.hosts.iter().find_map(|h| h.proxy.as_deref()) {
            Some(proxy) => Verdict::ok(format!("{proxy} leads to AWS")),
            None => Verdict::ok("no proxy is used"),
        })
    },
};
