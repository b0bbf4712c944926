//! How the system is, answered from memory.
//!
//! One node at a time measures ([`monitor`]): a handful of statements that read counters, never history, published in one
//! row that all nodes read every two seconds. Each node adds what only it can know: whether the database answers it, and
//! the room on its disk. `/functions/v1/health-check`, `/readyz`, `/metrics` and the dashboard read only what is in memory.
//! The measuring node writes the history that `/status` shows; an outage of the database is written down afterwards.

mod answer;
mod disk;
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
