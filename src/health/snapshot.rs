//! The snapshot: what is measured, and what it means.

use crate::model::HealthStatus;
use crate::store::{Db, health as store};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Between two snapshots.
const EVERY: Duration = Duration::from_secs(2);
/// A snapshot older than this means that the database does not answer.
const STALE: Duration = Duration::from_secs(10);
/// Oldest ready job: beyond these the queue lags, or does not move.
const LAG_DEGRADED_S: f64 = 60.0;
const LAG_UNHEALTHY_S: f64 = 900.0;
/// The latest-values view older than this while there is news.
const VIEW_STALE_S: f64 = 900.0;

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Check {
    /// `ok`, `degraded` or `error`.
    pub status: &'static str,
    /// What it means and what to do, for people; empty when all is well.
    pub note: String,
}

impl Check {
    fn ok() -> Self {
        Self { status: "ok", note: String::new() }
    }
    fn degraded(note: impl Into<String>) -> Self {
        Self { status: "degraded", note: note.into() }
    }
    fn error(note: impl Into<String>) -> Self {
        Self { status: "error", note: note.into() }
    }
}

/// Everything the snapshot says. Names of checks are those of the health-check answer.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When it was taken.
    pub at: DateTime<Utc>,
    /// The numbers behind the checks.
    pub figures: store::Figures,
    /// Round trip to the database.
    pub database_latency_ms: f64,
    /// Checks, worst first.
    pub checks: Vec<(&'static str, Check)>,
}

impl Snapshot {
    /// The worst check decides; `database` and `jobWorker` in error make the system unhealthy.
    pub fn status(&self) -> HealthStatus {
        worst(self.checks.iter().map(|(_, c)| c.status))
    }
}

fn worst<'a>(words: impl Iterator<Item = &'a str>) -> HealthStatus {
    words
        .map(|w| match w {
            "ok" => HealthStatus::Healthy,
            "degraded" => HealthStatus::Degraded,
            _ => HealthStatus::Unhealthy,
        })
        .max()
        .unwrap_or(HealthStatus::Healthy)
}

/// What the numbers mean. Pure.
pub fn judge(f: &store::Figures) -> Vec<(&'static str, Check)> {
    let mut checks = vec![("database", Check::ok())];
    checks.push((
        "jobWorker",
        match f.workers_alive {
            0 => Check::error("no worker is alive: start one with ASSAY_ROLE=all or worker"),
            _ => Check::ok(),
        },
    ));
    checks.push((
        "queue",
        match f.oldest_ready_s {
            Some(lag) if lag > LAG_UNHEALTHY_S => Check::error(format!("the oldest ready job waits for {lag:.0} s")),
            Some(lag) if lag > LAG_DEGRADED_S => Check::degraded(format!("the oldest ready job waits for {lag:.0} s")),
            _ => Check::ok(),
        },
    ));
    checks.push((
        "deadLetters",
        match f.dead_letters {
            None => Check::degraded("the table of dead letters is missing: run assay migrate --repair"),
            Some(0) => Check::ok(),
            Some(n) => Check::degraded(format!("{n} dead letters wait for a decision")),
        },
    ));
    let settled = f.webhooks_completed + f.webhooks_failed;
    #[expect(clippy::cast_precision_loss, reason = "a share of two counts")]
    let failed_share = if settled == 0 { 0.0 } else { f.webhooks_failed as f64 / settled as f64 };
    checks.push((
        "webhooks",
        if failed_share > 0.02 {
            Check::degraded(format!("{:.1} % of the deliveries of 24 h failed", failed_share * 100.0))
        } else {
            Check::ok()
        },
    ));
    checks.push((
        "latestView",
        match (f.view_exists, f.view_age_s) {
            (false, _) => Check::degraded("latest_unified_metrics is missing: run assay migrate --repair"),
            (true, Some(age)) if age > VIEW_STALE_S && f.view_behind => {
                Check::degraded(format!("latest_unified_metrics is {age:.0} s behind"))
            }
            _ => Check::ok(),
        },
    ));
    checks.push((
        "rateLimits",
        if f.rate_limits_exists {
            Check::ok()
        } else {
            Check::degraded("rate_limits is missing; limits hold per process until assay migrate --repair")
        },
    ));
    checks.push((
        "deadLetterTrigger",
        if f.trigger_exists {
            Check::ok()
        } else {
            Check::degraded("the trigger on_max_retries_exceeded is missing: run assay migrate --repair")
        },
    ));
    let rank = |c: &Check| match c.status {
        "error" => 0,
        "degraded" => 1,
        _ => 2,
    };
    checks.sort_by_key(|(_, c)| rank(c));
    checks
}

/// What readers get: the last snapshot, or the news that there is none.
#[derive(Debug, Clone)]
pub enum Health {
    /// Taken a moment ago.
    Fresh(Arc<Snapshot>),
    /// The database does not answer; the last snapshot, if there ever was one.
    Stale(Option<Arc<Snapshot>>),
}

impl Health {
    /// The status a probe reports.
    pub fn status(&self) -> HealthStatus {
        match self {
            Health::Fresh(s) => s.status(),
            Health::Stale(_) => HealthStatus::Unhealthy,
        }
    }
}

/// Takes snapshots in the background and hands out the last.
#[derive(Clone)]
pub struct Monitor {
    last: Arc<RwLock<Option<(Instant, Arc<Snapshot>)>>>,
    started: Instant,
}

impl Monitor {
    /// Starts the task; it ends with `cancel`.
    pub fn spawn(db: Db, cancel: CancellationToken) -> Self {
        let monitor = Self { last: Arc::default(), started: Instant::now() };
        let task = monitor.clone();
        tokio::spawn(async move {
            loop {
                task.take(&db).await;
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = tokio::time::sleep(EVERY) => {}
                }
            }
        });
        monitor
    }

    async fn take(&self, db: &Db) {
        let begin = Instant::now();
        match tokio::time::timeout(Duration::from_secs(5), store::figures(db.service())).await {
            Ok(Ok(figures)) => {
                let checks = judge(&figures);
                let latency = figures.round_trip.as_secs_f64() * 1000.0;
                let snapshot = Arc::new(Snapshot { at: Utc::now(), figures, database_latency_ms: latency, checks });
                if let Ok(mut last) = self.last.write() {
                    *last = Some((begin, Arc::clone(&snapshot)));
                }
                let body: serde_json::Value = snapshot
                    .checks
                    .iter()
                    .map(|(name, c)| ((*name).to_owned(), serde_json::json!({"status": c.status, "note": c.note})))
                    .collect::<serde_json::Map<_, _>>()
                    .into();
                if let Err(e) = store::keep_history(db.service(), snapshot.status(), &body).await {
                    tracing::debug!(error = %e, "the health snapshot was not kept");
                }
            }
            Ok(Err(e)) => tracing::warn!(error = %e, "health: the database does not answer"),
            Err(_) => tracing::warn!("health: the database did not answer within 5 s"),
        }
    }

    /// The last snapshot.
    pub fn health(&self) -> Health {
        match self.last.read().ok().and_then(|l| l.clone()) {
            Some((at, snapshot)) if at.elapsed() < STALE => Health::Fresh(snapshot),
            old => Health::Stale(old.map(|(_, s)| s)),
        }
    }

    /// Since when this process runs.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> store::Figures {
        store::Figures {
            workers_alive: 1,
            view_exists: true,
            rate_limits_exists: true,
            trigger_exists: true,
            dead_letters: Some(0),
            ..store::Figures::default()
        }
    }

    #[test]
    fn all_well_is_healthy_and_an_empty_system_is_well() {
        assert_eq!(worst(judge(&figures()).iter().map(|(_, c)| c.status)), HealthStatus::Healthy);
    }

    #[test]
    fn each_fault_is_named_and_the_worst_comes_first() {
        let cases: [(store::Figures, &str, HealthStatus); 5] = [
            (store::Figures { workers_alive: 0, ..figures() }, "jobWorker", HealthStatus::Unhealthy),
            (store::Figures { oldest_ready_s: Some(61.0), ..figures() }, "queue", HealthStatus::Degraded),
            (store::Figures { dead_letters: None, ..figures() }, "deadLetters", HealthStatus::Degraded),
            (store::Figures { rate_limits_exists: false, ..figures() }, "rateLimits", HealthStatus::Degraded),
            (store::Figures { webhooks_completed: 97, webhooks_failed: 3, ..figures() }, "webhooks", HealthStatus::Degraded),
        ];
        for (figures, name, status) in cases {
            let checks = judge(&figures);
            assert_eq!(checks[0].0, name);
            assert_eq!(worst(checks.iter().map(|(_, c)| c.status)), status);
        }
    }

    #[test]
    fn pending_deliveries_are_not_failures() {
        let f = store::Figures { webhooks_completed: 0, webhooks_failed: 0, ..figures() };
        assert_eq!(worst(judge(&f).iter().map(|(_, c)| c.status)), HealthStatus::Healthy);
    }
}
