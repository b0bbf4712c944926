//! What the forms of these pages do.

use crate::error::AppError;
use leptos::prelude::*;

/// Takes a person's metric from this source from now on; an empty source leaves it to the evidence.
///
/// # Errors
/// Nobody is logged in; the person is not the caller's; a metric or source that is none; the database is away.
#[server(endpoint = "choose_source")]
pub async fn choose_source(
    /// Whose.
    user_id: String,
    /// Which metric.
    metric: String,
    /// From which source; empty: the evidence decides.
    #[server(default)]
    source: String,
) -> Result<(), AppError> {
    super::metric::choose(&user_id, &metric, &source).await
}
