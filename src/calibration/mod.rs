//! Where the scorer is put to the proof: worlds whose truth is known.
//!
//! This room is pure. It takes values and returns values; time and chance are arguments (a moment, a seed).
//! [`simulator`] makes wearers, their devices and the faults planted in what those send, and knows the true
//! value behind each reading. Sending is done elsewhere (`crate::feed`).

pub mod baselines;
pub mod bootstrap;
pub mod ceiling;
pub mod figures;
pub mod independent;
pub mod judge;
pub mod lines;
mod markdown;
pub mod recorded;
pub mod report;
pub mod silence;
pub mod simulator;
