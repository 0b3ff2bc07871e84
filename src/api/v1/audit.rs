//! `GET /v1/audit`: who was given what.

use serde::{Deserialize, Serialize};

use crate::core::audit::Grant;
use crate::core::time::Timestamp;

/// The version of [`AuditDocument`].
pub const AUDIT_SCHEMA: u32 = 1;
/// How many grants are told when nobody says.
pub const DEFAULT_AUDIT_LIMIT: usize = 1_000;
/// How many grants are told at most.
pub const MAX_AUDIT_LIMIT: usize = 10_000;

/// The query of `GET /v1/audit`. All optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditQuery {
    /// Not before this (RFC 3339).
    pub since: Option<Timestamp>,
    /// Of this profile only, in whatever world.
    pub profile: Option<String>,
    /// At most so many, the newest; [`DEFAULT_AUDIT_LIMIT`] unless it says more, never more than [`MAX_AUDIT_LIMIT`].
    pub limit: Option<usize>,
}

/// The body of `GET /v1/audit`, at most [`super::MAX_STATUS`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditDocument {
    /// Version of this document: [`AUDIT_SCHEMA`].
    pub schema: u32,
    /// The grants, the newest last.
    pub entries: Vec<Grant>,
    /// Grants that this agent could not write down since it started.
    pub lost: u64,
    /// Whether older grants that were asked for are left out.
    #[serde(default)]
    pub more: bool,
}
