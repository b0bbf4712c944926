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

/// What is said when a deed is asked for and no row is ticked.
#[cfg(feature = "ssr")]
pub(super) const NOT_TICKED: &str = "No job was ticked. Tick some in the list, then press the button again.";

/// The field of a form with the moment it was shown at: the deed is for what was there then.
#[cfg(feature = "ssr")]
pub(super) fn shown_at(now: crate::model::Instant) -> (String, String) {
    ("asked".to_owned(), now.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
}

/// The moment that a form carries. What is none, or lies ahead, is now.
#[cfg(feature = "ssr")]
pub(super) fn asked_at(word: &str, now: crate::model::Instant) -> crate::model::Instant {
    chrono::DateTime::parse_from_rfc3339(word).map_or(now, |at| at.to_utc().min(now))
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
        return Err(AppError::invalid(NOT_TICKED));
    }
    let ids =
        ids.iter().map(|id| id.parse()).collect::<Result<Vec<uuid::Uuid>, _>>().map_err(|_| AppError::not_found("One of the jobs"))?;
    let subject = format!("{} ticked", ids.len());
    let n = server::on_ids(&request.services.db, &request.actor()?, deed, &ids, &subject).await.map_err(|e| request.db(&e))?;
    leptos_axum::redirect(&super::lists::with_notice(&back, deed.notice(), Some(n)));
    Ok(())
}

/// Retries, cancels, puts off or runs now all jobs of a filter that are in the state for it and were there when the page was shown.
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
    /// When the page was shown; empty: now.
    #[server(default)]
    asked: String,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    let request = crate::server::context::Request::current()?;
    request.admin()?;
    let deed = Deed::from_word(&deed)?;
    let filter = server::filter(deed, (&status, &kind, &q), asked_at(&asked, chrono::Utc::now()))?;
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
        model::Instant as Moment,
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
            return Ok(done.all());
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

    /// Which jobs a deed is for, of those that were there at a moment. Which states it reaches is decided here, not by the form.
    pub(super) fn filter(deed: Deed, (status, kind, q): (&str, &str, &str), until: Moment) -> Result<Filter, AppError> {
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
        filter.until = Some(until);
        Ok(filter)
    }

    /// The deed to all that match, newest first, a chunk a commit. Returns how many jobs it reached, and whether these
    /// were all. What no index narrows is looked for once, in the window that was counted: behind each chunk it would begin anew.
    pub(super) async fn on_filter(
        db: &Db,
        actor: &Actor,
        deed: Deed,
        filter: Filter,
        subject: &str,
        (chunk, longest): (i64, Duration),
    ) -> sqlx::Result<(u64, bool)> {
        let begun = Instant::now();
        let most = if filter.is_read() { job_lists::WINDOW } else { chunk };
        let (mut after, mut n, mut first) = (None, 0, true);
        loop {
            let found = job_lists::matching(&mut *db.service().acquire().await?, &filter, after, most).await?;
            for ids in found.chunks(chunk as usize) {
                if !first && begun.elapsed() > longest {
                    return Ok((n, false));
                }
                first = false;
                n += on_ids(db, actor, deed, ids, subject).await?;
            }
            if filter.is_read() || (found.len() as i64) < most {
                return Ok((n, true));
            }
            after = found.last().copied();
        }
    }

    #[cfg(test)]
    #[allow(clippy::unwrap_used, reason = "a test may stop")]
    mod tests {
        use super::*;
        use crate::{
            pages::admin::job_deeds::{asked_at, shown_at},
            store::testing,
        };

        #[tokio::test]
        async fn a_deed_that_takes_too_long_says_that_it_did_not_reach_all() {
            let t = testing::database().await;
            sqlx::raw_sql("INSERT INTO background_jobs (type, payload) SELECT 'a', '{}' FROM generate_series(1, 25) n")
                .execute(t.db.owner())
                .await
                .unwrap();
            let cancel = async |longest| {
                let waiting = filter(Deed::Cancel, ("pending", "", ""), chrono::Utc::now()).unwrap();
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
                assert!(filter(deed, (status, "", q), chrono::Utc::now()).is_err(), "{deed:?} {status} {q}");
            }
            assert!(filter(Deed::RunNow, ("pending", "", ""), chrono::Utc::now()).unwrap().not_due);
        }

        #[test]
        fn a_form_carries_its_moment_and_nonsense_is_now() {
            let now = Moment::from_timestamp_micros(1_763_900_000_123_456).unwrap();
            let (name, word) = shown_at(now);
            assert_eq!((name.as_str(), asked_at(&word, now + chrono::TimeDelta::hours(1))), ("asked", now));
            for none in ["", "yesterday", "1763900000123", "2999-01-01T00:00:00Z", "2026-13-01T00:00:00Z"] {
                assert_eq!(asked_at(none, now), now, "{none}");
            }
        }

        #[tokio::test]
        async fn a_deed_is_for_what_was_there_when_it_was_asked_for() {
            let t = testing::database().await;
            let pause = || tokio::time::sleep(Duration::from_millis(5));
            let insert = async |sql: &'static str| {
                sqlx::raw_sql(sql).execute(t.db.owner()).await.unwrap();
            };
            insert(
                "INSERT INTO background_jobs (type, status, payload, failed_at)
                 SELECT 'a', CASE WHEN n > 5 THEN 'failed' ELSE 'pending' END, '{}', CASE WHEN n > 5 THEN now() END FROM generate_series(1, 7) n",
            )
            .await;
            pause().await;
            let asked = chrono::Utc::now();
            pause().await;
            // Two more wait, and two of those that waited have died.
            insert("INSERT INTO background_jobs (type, payload) SELECT 'a', '{}' FROM generate_series(1, 2) n").await;
            insert(
                "UPDATE background_jobs SET status = 'failed', failed_at = now()
                  WHERE id IN (SELECT id FROM background_jobs WHERE status = 'pending' ORDER BY id LIMIT 2)",
            )
            .await;
            let cancel = async |status: &str, until| {
                let these = filter(Deed::Cancel, (status, "", ""), until).unwrap();
                on_filter(&t.db, &Actor::system(), Deed::Cancel, these, "all", PACE).await.unwrap()
            };
            assert_eq!(cancel("pending", asked).await, (3, true), "not the two that came since");
            assert_eq!(cancel("failed", asked).await, (2, true), "nor those that died since");
            let now = chrono::Utc::now();
            assert_eq!((cancel("pending", now).await, cancel("failed", now).await), ((2, true), (2, true)));
        }

        #[tokio::test]
        async fn a_search_through_payloads_looks_through_one_window() {
            let t = testing::database().await;
            // Ten of the newest match, and ten that lie just behind the window.
            sqlx::raw_sql(
                "INSERT INTO background_jobs (id, type, payload)
                 SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'a',
                        CASE WHEN n BETWEEN 11 AND 20 OR n > 50010 THEN '{\"k\": \"v\"}'::jsonb ELSE '{}' END
                   FROM generate_series(1, 50020) n;
                 ANALYZE background_jobs",
            )
            .execute(t.db.owner())
            .await
            .unwrap();
            let these = filter(Deed::PutOff, ("pending", "", "payload.k:v"), chrono::Utc::now()).unwrap();
            let counted = job_lists::count(&mut t.db.service().acquire().await.unwrap(), &these).await.unwrap();
            let done = on_filter(&t.db, &Actor::system(), Deed::PutOff, these, "some", (10, Duration::from_secs(60))).await.unwrap();
            assert_eq!((counted, done), (10, (10, true)));
        }
    }
}
