//! A simulated world of wearers, for the demo, for tests and for judging the scorer.
//!
//! What it promises:
//! - **Truth is known.** [`World::truths`] names, for each reported day value, what was true, what was reported
//!   and which fault was planted, if any.
//! - **Same seed, same world, on every machine.** Only additions, products and square roots of the language and
//!   logarithms, exponentials and sines of `libm` are used; chance comes from [`rng::Rng`] alone.
//! - **A day is a pure function of (seed, person, date).** A window that starts later shows the same days with the
//!   same trace ids, so a demo that starts again tomorrow goes on with the same world, and what it sends a second
//!   time is seen as a duplicate.
//! - **Everything is marked.** The reference ids of its persons start with `sim-`.
//!
//! From the inside out: [`physiology`] says what was true of a person on a day, [`habit`] how the device was worn
//! and when it synchronised, [`device`] with what published error it measures, [`fault`] what goes wrong,
//! `observe` what the provider then reports, `wire` how Terra words it, `plan` in which deliveries it comes.

pub mod device;
pub mod fault;
mod fault_values;
pub mod habit;
mod live;
mod news;
mod observe;
mod one;
pub mod person;
pub mod physiology;
mod plan;
pub mod rng;
mod wire;
mod world;

#[cfg(test)]
mod pipeline_tests;
#[cfg(test)]
mod tests;

pub use fault::Fault;
pub use live::Live;
pub use one::{TEST_KINDS, one_delivery, terra_id};
pub use world::{Client, Planted, Truth, World};

use crate::model::Instant;

/// What the reference id of every simulated person starts with.
pub const PREFIX: &str = "sim-";

/// One webhook as Terra would send it, before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// `X-Terra-Trace-Id`.
    pub trace_id: String,
    /// `X-Terra-Ordering-Timestamp`: Unix milliseconds, when Terra produced the body.
    pub ordering_ms: i64,
    /// The body: JSON in Terra's shape.
    pub body: Vec<u8>,
    /// When it is sent in the simulated world, a little or a lot after it was produced.
    pub at: Instant,
}
