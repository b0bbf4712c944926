//! What the pages of jobs do: to one job, or to all that a filter shows. Plain forms, answered by a redirect.

use crate::error::AppError;
use leptos::prelude::*;

/// What can be done to jobs.
#[cfg(feature = "ssr")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// Dead ones again, with all their attempts.
    Retry,
    /// Those that wait for a later time, now.
    RunNow,
    /// Waiting ones, in an hour.
    PutOff,
    /// Waiting, running or dead ones never again.
    Cancel,
}

#[cfg(feature = "ssr")]
impl Deed {
    pub(super) const ALL: [Deed; 4] = [Deed::Retry, Deed::RunNow, Deed::PutOff, Deed::Cancel];

    /// The word in forms.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Deed::Retry => "retry",
            Deed::RunNow => "run-now",
            Deed::PutOff => "put-off",
            Deed::Cancel => "cancel",
        }
    }

    /// What stands on the button.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Deed::Retry => "Retry",
            Deed::RunNow => "Run now",
            Deed::PutOff => "Put off an hour",
            Deed::Cancel => "Cancel",
        }
    }

    fn from_word(word: &str) -> Result<Self, AppError> {
        Self::ALL.into_iter().find(|d| d.word() == word).ok_or_else(|| AppError::invalid("This action is not known. Reload the page."))
    }

    const fn notice(self) -> &'static str {
        match self {
            Deed::Retry => "jobs-retried",
            Deed::RunNow => "jobs-run",
            Deed::PutOff => "jobs-put-off",
            Deed::Cancel => "jobs-cancelled",
        }
    }
}

/// Retries, cancels, puts off or runs one job now.
///
/// # Errors
/// Not an administrator, a deed or id that is none, or the database is away.
#[server(endpoint = "act_on_job")]
pub async fn act_on_job(
    /// `retry`, `cancel`, `put-off` or `run-now`.
    deed: String,
    /// The job.
    id: String,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let deed = Deed::from_word(&deed)?;
    let id = id.parse::<uuid::Uuid>().map_err(|_| AppError::not_found("This job"))?;
    let n = server::on_ids(&request.services.db, &request.actor()?, deed, &[id], &id.to_string()).await.map_err(|e| request.db(&e))?;
    leptos_axum::redirect(&super::lists::with_notice(&back, deed.notice(), Some(n)));
    Ok(())
}

/// Retries, cancels or runs now the jobs that were ticked; those in another state than the deed is for are left alone.
///
/// # Errors
/// Not an administrator; a deed that is none; nothing ticked, or more than a page; the database is away.
#[server(endpoint = "act_on_chosen")]
pub async fn act_on_chosen(
    /// `retry`, `cancel` or `run-now`.
    deed: String,
    /// The jobs.
    #[server(default)]
    ids: Vec<String>,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let deed = Deed::from_word(&deed)?;
    if ids.is_empty() || ids.len() > super::lists::PAGE {
        return Err(AppError::invalid("No job was ticked. Tick some in the list, then press the button again."));
    }
    let ids =
        ids.iter().map(|id| id.parse()).collect::<Result<Vec<uuid::Uuid>, _>>().map_err(|_| AppError::not_found("One of the jobs"))?;
    let subject = format!("{} ticked", ids.len());
    let n = server::on_ids(&request.services.db, &request.actor()?, deed, &ids, &subject).await.map_err(|e| request.db(&e))?;
    leptos_axum::redirect(&super::lists::with_notice(&back, deed.notice(), Some(n)));
    Ok(())
}

/// Retries, cancels, puts off or runs now all jobs of a filter that are in the state for it.
///
/// # Errors
/// Not an administrator, a deed that is none, a filter without a state, or the database is away.
#[server(endpoint = "act_on_jobs")]
pub async fn act_on_jobs(
    /// `retry`, `cancel`, `put-off` or `run-now`.
    deed: String,
    /// The filter's state.
    status: String,
    /// The filter's kind.
    #[server(default)]
    kind: String,
    /// The filter's search.
    #[server(default)]
    q: String,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let deed = Deed::from_word(&deed)?;
    let filter = server::filter(deed, &status, &kind, &q)?;
    let subject = format!("status:{status} kind:{kind} {}", if filter.user_id.is_some() { "of one person" } else { "" });
    let (n, whole) = server::on_filter(&request.services.db, &request.actor()?, deed, filter, subject.trim(), server::PACE)
        .await
        .map_err(|e| request.db(&e))?;
    let notice = if whole { deed.notice().to_owned() } else { format!("{}-so-far", deed.notice()) };
    leptos_axum::redirect(&super::lists::with_notice(&back, &notice, Some(n)));
    Ok(())
}

#[cfg(feature = "ssr")]
mod server {
    use crate::{
        error::AppError,
        jobs::operations,
        pages::admin::{job_deeds::Deed, lists},
        store::{
            Db,
            audit::{self, Actor},
            job_lists::{self, Filter},
            jobs::settle::DeadFilter,
            letter_lists, maintenance,
        },
    };
    use serde_json::json;
    use std::time::{Duration, Instant};
    use uuid::Uuid;

    /// Jobs a commit; and after how long a deed stops between two commits and says how far it came.
    pub(super) const PACE: (i64, Duration) = (2000, Duration::from_secs(15));

    /// The deed, its audit entry and its announcement in one commit. Returns how many jobs it reached.
    pub(super) async fn on_ids(db: &Db, actor: &Actor, deed: Deed, ids: &[Uuid], subject: &str) -> sqlx::Result<u64> {
        if deed == Deed::Retry {
            let filter = DeadFilter { ids: Some(ids.to_vec()), ..DeadFilter::default() };
            let done = operations::retry_failed(db, &filter, actor, Some(subject)).await?;
            return Ok(done.retried + done.merged);
        }
        let mut tx = db.begin_service().await?;
        let (action, detail, n) = match deed {
            Deed::Cancel => {
                let (gone, asked) = job_lists::cancel_many(&mut tx, ids).await?;
                letter_lists::discard_of_jobs(&mut tx, ids, "cancelled").await?;
                ("jobs.cancel", json!({ "cancelled": gone, "asked": asked }), gone + asked)
            }
            Deed::PutOff => {
                let n = job_lists::put_off_many(&mut tx, ids).await?;
                ("jobs.put_off", json!({ "jobs": n }), n)
            }
            Deed::RunNow | Deed::Retry => {
                let n = job_lists::run_now_many(&mut tx, ids).await?;
                ("jobs.run_now", json!({ "jobs": n }), n)
            }
        };
        if n > 0 {
            audit::write(&mut *tx, actor, action, Some(subject), &detail).await?;
            maintenance::announce(&mut tx, "jobs", &[], n).await?;
        }
        tx.commit().await?;
        Ok(n.unsigned_abs())
    }

    /// Which jobs a deed is for. Which states it reaches is decided here, not by the form.
    pub(super) fn filter(deed: Deed, status: &str, kind: &str, q: &str) -> Result<Filter, AppError> {
        let (mut filter, complaint) = lists::job_filter(status, kind, q);
        let fits = match deed {
            Deed::Retry => filter.status.as_deref() == Some("failed"),
            Deed::RunNow | Deed::PutOff => filter.status.as_deref() == Some("pending"),
            Deed::Cancel => matches!(filter.status.as_deref(), Some("pending" | "processing" | "failed")),
        };
        if !fits || !complaint.is_empty() {
            return Err(AppError::invalid(
                "The filter does not say clearly which jobs are meant; nothing was changed. Open the list again.",
            ));
        }
        filter.not_due = deed == Deed::RunNow;
        Ok(filter)
    }

    /// The deed to all that match, newest first, a chunk a commit. Returns how many jobs it reached, and whether these
    /// were all.
    pub(super) async fn on_filter(
        db: &Db,
        actor: &Actor,
        deed: Deed,
        filter: Filter,
        subject: &str,
        (chunk, longest): (i64, Duration),
    ) -> sqlx::Result<(u64, bool)> {
        let begun = Instant::now();
        let (mut after, mut n) = (None, 0);
        loop {
            let ids = job_lists::matching(&mut *db.service().acquire().await?, &filter, after, chunk).await?;
            let Some(last) = ids.last() else { return Ok((n, true)) };
            if after.is_some() && begun.elapsed() > longest {
                return Ok((n, false));
            }
            after = Some(*last);
            n += on_ids(db, actor, deed, &ids, subject).await?;
            if (ids.len() as i64) < chunk {
                return Ok((n, true));
            }
        }
    }

    #[cfg(test)]
    #[allow(clippy::unwrap_used, reason = "a test may stop")]
    mod tests {
        use super::*;
        use crate::store::testing;

        #[tokio::test]
        async fn a_deed_that_takes_too_long_says_that_it_did_not_reach_all() {
            let t = testing::database().await;
            sqlx::raw_sql("INSERT INTO background_jobs (type, payload) SELECT 'a', '{}' FROM generate_series(1, 25) n")
                .execute(t.db.owner())
                .await
                .unwrap();
            let cancel = async |longest| {
                let waiting = filter(Deed::Cancel, "pending", "", "").unwrap();
                on_filter(&t.db, &Actor::system(), Deed::Cancel, waiting, "all", (10, longest)).await.unwrap()
            };
            assert_eq!(cancel(Duration::ZERO).await, (10, false), "one commit, and the rest is left");
            assert_eq!(cancel(Duration::from_secs(60)).await, (15, true));
            assert_eq!(cancel(Duration::ZERO).await, (0, true));
        }

        #[test]
        fn a_deed_for_another_state_or_for_an_unclear_filter_is_refused() {
            for (deed, status, q) in [(Deed::Retry, "pending", ""), (Deed::Cancel, "completed", ""), (Deed::Cancel, "failed", "colour:red")]
            {
                assert!(filter(deed, status, "", q).is_err(), "{deed:?} {status} {q}");
            }
            assert!(filter(Deed::RunNow, "pending", "", "").unwrap().not_due);
        }
    }
}
