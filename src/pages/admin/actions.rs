//! What the dashboard's buttons do. Each answers with a redirect that carries a notice, so that it works as a plain
//! form and a reload does not repeat it.

use crate::error::AppError;
use leptos::prelude::*;

/// Scores everything again, however it was scored before. One at a time: a second press joins the first, and says so.
///
/// # Errors
/// Not an administrator, or the database is away.
#[server(endpoint = "recalculate_all")]
pub async fn recalculate_all() -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let (_, began) =
        crate::jobs::operations::start_recalculate_all(&request.services.db, &request.actor()?).await.map_err(|e| request.db(&e))?;
    leptos_axum::redirect(&format!("/admin?notice={}", pressed(began)));
    Ok(())
}

/// The notice of a press of Recalculate All.
#[cfg(feature = "ssr")]
const fn pressed(began: bool) -> &'static str {
    if began { "recalculation-started" } else { "recalculation-running" }
}

/// Stops a running operation; what it has done stays.
///
/// # Errors
/// Not an administrator, an id that is none, or the database is away.
#[server(endpoint = "cancel_operation")]
pub async fn cancel_operation(
    /// Which operation.
    id: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let id = id.parse::<uuid::Uuid>().map_err(|_| AppError::invalid("This operation does not exist. Reload the page."))?;
    let stopped = crate::jobs::operations::cancel(&request.services.db, id, &request.actor()?).await.map_err(|e| request.db(&e))?;
    let notice = if stopped { "recalculation-cancelled" } else { "nothing-to-cancel" };
    leptos_axum::redirect(&format!("/admin?notice={notice}"));
    Ok(())
}

/// Puts every dead job back into the queue with fresh attempts.
///
/// # Errors
/// Not an administrator, or the database is away.
#[server(endpoint = "retry_failed_jobs")]
pub async fn retry_failed_jobs() -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let done = crate::jobs::operations::retry_failed(&request.services.db, &Default::default(), &request.actor()?, None)
        .await
        .map_err(|e| request.db(&e))?;
    leptos_axum::redirect(&format!("/admin?notice=jobs-retried&n={}", done.all()));
    Ok(())
}

#[cfg(all(test, feature = "ssr"))]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::{
        jobs::operations,
        store::{audit::Actor, testing},
    };

    #[test]
    fn a_press_says_whether_it_began_anything() {
        assert_eq!((pressed(true), pressed(false)), ("recalculation-started", "recalculation-running"));
    }

    #[tokio::test]
    async fn a_failed_job_that_a_waiting_one_takes_over_was_reached_too() {
        let t = testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO background_jobs (type, payload, unique_key, status) VALUES ('a', '{}', 'k', 'processing');
             UPDATE background_jobs SET status = 'failed', failed_at = now(), pending_key = NULL;
             INSERT INTO background_jobs (type, payload, unique_key, pending_key) VALUES ('a', '{}', 'k', 'k')",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let done = operations::retry_failed(&t.db, &Default::default(), &Actor::system(), None).await.unwrap();
        assert_eq!((done.merged, done.all()), (1, 1), "{done:?}");
    }
}
