//! Tests without downloads: the house rules, the fake AWS itself, and days of simulated time in seconds.

#[cfg(test)]
mod support;

#[cfg(test)]
#[path = "core/fake_aws.rs"]
mod fake_aws;
#[cfg(test)]
#[cfg(unix)]
#[path = "core/lean_client.rs"]
mod lean_client;
#[cfg(test)]
mod model;
#[cfg(test)]
mod simulator;
#[cfg(test)]
#[path = "core/tidy.rs"]
mod tidy;
