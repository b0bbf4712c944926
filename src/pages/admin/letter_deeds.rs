//! What is done to groups of dead letters: brought back as an operation that can be watched, or thrown away.

use crate::error::AppError;
use leptos::prelude::*;

/// Brings the open dead letters of a group back.
///
/// # Errors
/// Not an administrator, or the database is away.
#[server(endpoint = "redrive_group")]
pub async fn redrive_group(
    /// Kind of job.
    kind: String,
    /// What the errors have in common.
    fingerprint: String,
    /// Those that died since; empty: all.
    #[server(default)]
    since: String,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    use crate::store::jobs::settle::DeadFilter;
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let since = super::lists::since(&since, chrono::Utc::now());
    let filter = DeadFilter { kind: Some(kind), fingerprint: Some(fingerprint), since, ..Default::default() };
    let operation =
        crate::jobs::operations::start_redrive(&request.services.db, &filter, &request.actor()?).await.map_err(|e| request.db(&e))?;
    leptos_axum::redirect(&super::lists::with_notice(&back, "redrive-started", Some(operation.total.unsigned_abs())));
    Ok(())
}

/// Throws the open dead letters of a group away, with a remark; their jobs do not run again. Letters that come in
/// meanwhile stay.
///
/// # Errors
/// Not an administrator, or the database is away; what was thrown away before stays so.
#[server(endpoint = "discard_group")]
pub async fn discard_group(
    /// Kind of job.
    kind: String,
    /// What the errors have in common.
    fingerprint: String,
    /// Those that died since; empty: all.
    #[server(default)]
    since: String,
    /// Why.
    #[server(default)]
    note: String,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let n = server::discard(&request, &kind, &fingerprint, &since, &note).await?;
    leptos_axum::redirect(&super::lists::with_notice(&back, "letters-discarded", Some(n)));
    Ok(())
}

/// Stops a running operation; what it has done stays.
///
/// # Errors
/// Not an administrator, an id that is none, or the database is away.
#[server(endpoint = "stop_operation")]
pub async fn stop_operation(
    /// Which operation.
    id: String,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let id = id.parse::<uuid::Uuid>().map_err(|_| AppError::not_found("This operation"))?;
    let stopped = crate::jobs::operations::cancel(&request.services.db, id, &request.actor()?).await.map_err(|e| request.db(&e))?;
    leptos_axum::redirect(&super::lists::with_notice(&back, if stopped { "operation-stopped" } else { "nothing-to-cancel" }, None));
    Ok(())
}

#[cfg(feature = "ssr")]
mod server {
    use crate::{
        components::text,
        error::AppError,
        pages::admin::lists,
        server::context::Request,
        store::{audit, letter_lists, maintenance},
    };
    use serde_json::json;
    use std::time::{Duration, Instant};

    /// Letters a commit.
    const CHUNK: i64 = 2000;
    /// After so long it stops between two commits and says how far it came.
    const LONGEST: Duration = Duration::from_secs(15);

    pub(super) async fn discard(request: &Request, kind: &str, fingerprint: &str, since: &str, note: &str) -> Result<u64, AppError> {
        let db = |e: sqlx::Error| request.db(&e);
        let actor = audit::Actor::of(request.account()?, request.address.map(|a| a.to_string()), Some(request.request_id.clone()));
        let note = text::cut(note.trim(), 500).replace('\0', "");
        let now = chrono::Utc::now();
        let (since, begun, mut n) = (lists::since(since, now), Instant::now(), 0);
        loop {
            let mut tx = request.services.db.begin_service().await.map_err(db)?;
            let gone = letter_lists::discard_group(&mut tx, fingerprint, kind, now, since, CHUNK, &note).await.map_err(db)?;
            if gone == 0 {
                return Ok(n);
            }
            audit::write(
                &mut *tx,
                &actor,
                "dead_letters.discard",
                Some(fingerprint),
                &json!({ "kind": kind, "count": gone, "note": note }),
            )
            .await
            .map_err(db)?;
            maintenance::announce(&mut tx, "jobs", &[], gone).await.map_err(db)?;
            tx.commit().await.map_err(db)?;
            n += gone.unsigned_abs();
            if gone < CHUNK || begun.elapsed() > LONGEST {
                return Ok(n);
            }
        }
    }
}
