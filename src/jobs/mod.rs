//! The job engine: a durable queue in PostgreSQL, and the workers that empty it.
//!
//! What it promises: a job that was enqueued in a committed transaction runs at least once and is finished at most
//! once. A claim gives a batch an epoch; every later word about its jobs must carry it, so a worker that was
//! thought dead changes nothing. Effects written in the transaction that finishes the job appear exactly once.
//!
//! The way of a job: `store::jobs::enqueue`, in the transaction of what it belongs to → [`worker`] claims a batch of one lane ([`board`]) → its
//! [`kind`] handles it ([`engine`]) → finished and the next batch claimed in one statement. [`leader`] is one
//! worker at a time: it rescues what the dead held, fires the [`schedule`], folds the counts.

mod backoff;
mod board;
mod ctx;
mod engine;
pub mod kind;
pub mod kinds;
mod leader;
pub mod limits;
mod notes;
pub mod operations;
mod presence;
mod router;
mod schedule;
mod tally;
#[cfg(test)]
mod tests;
mod tidy;
mod watched;
pub mod worker;

pub use backoff::{Backoff, exponential};
pub use ctx::Ctx;
pub use kind::{Claimed, JobKind, Kinds, Outcome, job};
pub use router::{RouterState, router};
pub use worker::{Worker, WorkerHandle};

use std::time::Duration;

/// How a worker works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Batches at the same time; default: one a core.
    pub slots: usize,
    /// Slots of their own for slow kinds (recalculation, maintenance), so that those never stand before deliveries.
    pub slow_slots: usize,
    /// How often to look when nobody woke us.
    pub poll: Duration,
    /// How long a claim holds without a heartbeat.
    pub lease: Duration,
    /// How long running jobs may go on after shutdown was asked for; then they are handed back.
    pub drain: Duration,
    /// Whether this worker may lead.
    pub leads: bool,
    /// Whether this worker seeds the schedules of the program.
    pub schedules: bool,
    /// The name of this machine or process, for people.
    pub node: String,
    /// all, worker or web.
    pub role: String,
}

impl Default for Settings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            slots: cores,
            slow_slots: cores.max(2),
            poll: Duration::from_secs(1),
            lease: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            leads: true,
            schedules: true,
            node: format!("pid {}", std::process::id()),
            role: "all".into(),
        }
    }
}
