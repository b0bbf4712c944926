//! The scorer against the specification: named flaws of earlier systems, properties, and real data.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod deliveries;
mod flaws;
mod priors;
mod properties;
mod real_data;
mod reasons;
mod speed;
pub(super) mod support;
