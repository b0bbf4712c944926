//! People: who can be trusted how far, and for one person every metric, every day, and why.
//!
//! These pages are read, not operated: tables, drawings, links and a few forms. So the server makes their HTML, with
//! the same `view!` macro as everywhere, and the browser's half only puts it in its place: it holds no code for any of
//! them, and the whole of it is [`page`]. Links inside are followed without loading the document anew, as everywhere.

mod findings;
mod page;
mod people;

#[cfg(feature = "ssr")]
mod activity;
#[cfg(feature = "ssr")]
mod chart;
#[cfg(feature = "ssr")]
mod compare;
#[cfg(feature = "ssr")]
pub(crate) mod download;
#[cfg(feature = "ssr")]
mod gaps;
#[cfg(feature = "ssr")]
mod list;
#[cfg(feature = "ssr")]
mod list_view;
#[cfg(feature = "ssr")]
mod metric;
#[cfg(feature = "ssr")]
mod person;
#[cfg(feature = "ssr")]
mod query;
#[cfg(feature = "ssr")]
mod trend;
#[cfg(feature = "ssr")]
mod why;
#[cfg(feature = "ssr")]
mod words;

pub use findings::decide_finding;
pub use page::{Client, Clients, choose_source, load_client, load_clients};
pub use people::{PeopleTable, Person};

#[cfg(feature = "ssr")]
pub(crate) use people::server::{KEY as KEY_METRICS, persons};
