//! Whether AWS answers, and nobody else in its place.

use super::{Check, Verdict, step};
use crate::core::probe::Step;

/// See the module's documentation.
pub(super) const CHECK: Check = Check {
    name: "aws",
    family: "network",
    depends_on: &["tls"],
    run: |facts| {
        step::verdict(facts, Step::Answer, |probe| {
            let answering: Vec<_> = probe.hosts.iter().filter(|h| h.status.is_some()).map(step::seen).collect();
            Verdict::ok("AWS answers as AWS does").seen(answering)
        })
    },
};
