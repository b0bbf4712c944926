//! What the program asks of others: Terra's REST side, and payloads that lie behind a link.
//!
//! [`Client`] speaks to Terra: connect links, backfill, who is connected, ending a connection. [`Fetcher`] fetches a
//! payload without being led into our own network. Both say in sentences what went wrong and print no secret.
//!
//! A page finds the client in `Services::terra`; `None` there means that Terra's REST side is not configured, which the
//! page says instead of offering a button. For administrators: [`connect_person`] makes a link for a person,
//! `jobs::kinds::backfill::start_for_person` asks for the days of a gap, [`erase_person`] ends a person's connections there
//! and erases them here.

mod allowance;
mod connecting;
mod fetch;
mod leaving;
mod terra_rest;

pub use connecting::{NotLinked, connect_person};
pub use fetch::{FetchError, FetchRules, Fetcher, is_public};
pub use leaving::{Left, deauthenticate_person, erase_person};
pub use terra_rest::{Client, ConnectLink, MAX_DAYS, RemoteUser, TerraError, UserInfo, UserPage, WidgetSession};

#[cfg(test)]
pub(crate) mod stand_in;
#[cfg(test)]
mod tests;

/// The innermost cause of a failed request: "Connection refused" instead of a sentence that quotes the address.
fn cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string().trim_end_matches('.').to_owned()
}
