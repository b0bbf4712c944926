//! How the system is, answered from memory.
//!
//! One task per process takes a snapshot every two seconds with a handful of statements that read counters, never
//! history; `/functions/v1/health-check`, `/readyz` and the dashboard only read the last one. One leader writes it to
//! `health_snapshots` each minute, which is what `/status` shows. A snapshot that is older than ten seconds is itself
//! a finding: the database did not answer.

mod routes;
mod snapshot;

pub use routes::{Authorised, router};
pub use snapshot::{Check, Health, Monitor, Snapshot};
