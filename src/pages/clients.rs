//! People: who can be trusted how far, and for one person every metric's newest value.

mod findings;
mod one;
mod people;

pub use findings::{FindingsReview, decide_finding, load_findings};
pub use one::{Client, load_client};
pub use people::{Clients, PeopleTable, Person, load_clients};

#[cfg(feature = "ssr")]
pub(crate) use people::server::{KEY as KEY_METRICS, persons};
