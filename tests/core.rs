//! Tests without downloads: the house rules, the fake AWS itself, the fuzz targets, and days of simulated time in seconds.

#[cfg(test)]
mod support;

#[cfg(test)]
#[path = "core/fake_aws.rs"]
mod fake_aws;
#[cfg(test)]
#[path = "core/fuzz.rs"]
mod fuzz;
#[cfg(test)]
#[path = "fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "public in the fuzz targets' own package")]
mod fuzz_targets;
#[cfg(test)]
#[cfg(unix)]
#[path = "core/lean_client.rs"]
mod lean_client;
#[cfg(test)]
mod model;
#[cfg(test)]
#[path = "core/probe.rs"]
mod probe;
#[cfg(test)]
#[path = "core/proxy.rs"]
mod proxy;
#[cfg(test)]
mod simulator;
#[cfg(test)]
#[path = "core/tidy.rs"]
mod tidy;
