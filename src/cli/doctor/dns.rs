//! Whether names become addresses: the hosts', or the proxy's where one is used.

use super::{Check, Verdict, step};
use crate::core::probe::Step;

/// See the module's documentation.
pub(super) const CHECK: Check = Check {
    name: "dns",
    family: "network",
    depends_on: &["settings"],
    run: |facts| {
        step::verdict(facts, Step::Name, |probe| {
            let hosts: Vec<_> = probe.hosts.iter().map(|h| h.host.as_str()).collect();
            match probe.hosts.iter().find_map(|h| h.proxy.as_deref()) {
                Some(proxy) => Verdict::ok(format!("the proxy {proxy} is found, which looks up the others")),
                None => Verdict::ok(format!("{} have addresses", hosts.join(", "))),
            }
        })
    },
};
