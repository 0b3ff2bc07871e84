//! Tests with real clients: boto3, the AWS CLI v1, the AWS SDK for JavaScript v3 and Claude Code, set up once by
//! `tests/interop/setup`. Nothing of them leaves loopback.

#[cfg(test)]
#[cfg(unix)]
mod support;

#[cfg(test)]
#[cfg(unix)]
#[path = "interop/mod.rs"]
mod interop;
