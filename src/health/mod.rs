//! How the system is, answered from memory.
//!
//! One node at a time measures ([`monitor`]): a handful of statements that read counters, never history, published in one
//! row that all nodes read every two seconds. Each node adds what only it can know: whether the database answers it, and
//! the room on its disk. An answer of the database is what readiness hangs on; that it does not let the figures be taken
//! (read-only, a locked table) is a check of its own, and the others are judged by those known last.
//! `/functions/v1/health-check`, `/readyz`, `/metrics` and the dashboard read only what is in memory.
//! The measuring node writes the history that `/status` shows; an outage of the database that took nodes out of service is
//! written down afterwards.

mod answer;
mod away;
mod disk;
mod folding;
mod gate;
mod judge;
mod monitor;
mod routes;
mod storing;

pub use disk::{Room, room};
pub use judge::{Check, Local, judge, worst};
pub use monitor::{Health, Monitor, Snapshot};
pub use routes::{Authorised, router};
pub use storing::{Answered, Storing};
