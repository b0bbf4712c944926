//! People: who can be trusted how far, and for one person every metric, every day, and why.
//!
//! These pages are read, not operated: tables, drawings, links and a few forms. So the server makes their HTML, with
//! the same `view!` macro as everywhere, and the browser's half only puts it in its place: it holds no code for any of
//! them, and puts it in place by [`super::made`]. Links inside are followed without loading the document anew, as everywhere.

mod deeds;
mod findings;

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
mod people;
#[cfg(feature = "ssr")]
mod person;
#[cfg(feature = "ssr")]
mod person_csv;
#[cfg(feature = "ssr")]
mod query;
#[cfg(feature = "ssr")]
mod trend;
#[cfg(feature = "ssr")]
mod why;
#[cfg(feature = "ssr")]
mod words;

pub use deeds::choose_source;
pub use findings::decide_finding;
#[cfg(feature = "ssr")]
pub(crate) use people::{
    PeopleTable, Person,
    server::{KEY as KEY_METRICS, persons},
};

/// The list of clients the caller may see; a person's page; one metric of it; or why one day's score is what it is.
#[cfg(feature = "ssr")]
pub(super) async fn page(user_id: &str, metric: &str, day: &str, query: &str) -> Result<super::made::Made, crate::error::AppError> {
    match user_id {
        "" => list::load(query).await,
        _ => person::load(user_id, metric, day, query).await,
    }
}
