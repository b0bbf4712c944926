//! The task that looks every two seconds, and what it hands out.

use super::answer::{self, Answers};
use super::disk;
use super::gate::Gate;
use super::judge::{Check, Local, judge, worst};
use super::storing::{Answered, Watch};
use crate::model::HealthStatus;
use crate::store::{Db, health as store};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Between two looks, while all is well and while it is not.
const EVERY: Duration = Duration::from_secs(2);
const EAGERLY: Duration = Duration::from_secs(1);
/// A look that takes longer went wrong.
const LIMIT: Duration = Duration::from_secs(5);
/// Of a node that measures: how long it may be silent before another one measures.
const TURN: Duration = Duration::from_secs(6);
/// Figures that cost more are measured so often; while there is no data yet, asking costs nothing, and a new
/// installation need not wait for its first figures.
const SLOWLY: chrono::TimeDelta = chrono::TimeDelta::seconds(60);
const AT_FIRST: chrono::TimeDelta = chrono::TimeDelta::seconds(5);

/// Everything the last look says.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When the figures were measured, by the database's clock.
    pub at: DateTime<Utc>,
    /// The numbers behind the checks.
    pub figures: store::Figures,
    /// What only this node knows.
    pub local: Local,
    /// Checks, worst first.
    pub checks: Vec<(&'static str, Check)>,
    /// What the health check answers, ready to be sent.
    pub answers: Answers,
}

impl Snapshot {
    /// The worst check decides.
    pub fn status(&self) -> HealthStatus {
        worst(self.checks.iter().map(|(_, c)| c.status))
    }
}

/// What readers get.
#[derive(Debug, Clone)]
pub enum Health {
    /// Looked at a moment ago.
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

#[derive(Default)]
struct State {
    last: Option<Arc<Snapshot>>,
    gate: Gate,
    deliveries: Watch,
}

/// Looks in the background and hands out what it saw last.
#[derive(Clone)]
pub struct Monitor {
    state: Arc<RwLock<State>>,
    started: Instant,
    me: Uuid,
    data_dir: Arc<PathBuf>,
    answered: Arc<dyn Fn() -> Answered + Send + Sync>,
}

impl Monitor {
    /// Starts the task; it ends with `cancel`. `data_dir`: whose disk is watched. `answered`: what deliveries were answered.
    pub fn spawn(db: Db, data_dir: PathBuf, answered: impl Fn() -> Answered + Send + Sync + 'static, cancel: CancellationToken) -> Self {
        let (data_dir, answered) = (Arc::new(data_dir), Arc::new(answered));
        let monitor = Self { state: Arc::default(), started: Instant::now(), me: Uuid::now_v7(), data_dir, answered };
        tokio::spawn(monitor.clone().run(db, cancel));
        monitor
    }

    async fn run(self, db: Db, cancel: CancellationToken) {
        let mut away: Option<Instant> = None;
        loop {
            let looked = tokio::time::timeout(LIMIT, self.look(&db, away)).await;
            let well = matches!(looked, Ok(Ok(())));
            match looked {
                Ok(Ok(())) => away = None,
                Ok(Err(e)) => tracing::warn!(error = %e, "health: the database does not answer"),
                Err(_) => tracing::warn!("health: the database did not answer within 5 s"),
            }
            if !well {
                away.get_or_insert_with(Instant::now);
                self.write(|s| s.gate.looked(false, Instant::now()));
            }
            let wait = if self.is_ready() && well { EVERY } else { EAGERLY };
            if tokio::time::timeout(wait, cancel.cancelled()).await.is_ok() {
                break;
            }
        }
        let resign = async { store::give_up_turn(&mut *db.service().acquire().await?, self.me).await };
        // Where it cannot be given up, the turn ends by itself.
        let _: Result<sqlx::Result<()>, _> = tokio::time::timeout(Duration::from_secs(1), resign).await;
    }

    /// One look: reads what was published; where it is our turn, measures and publishes.
    async fn look(&self, db: &Db, away: Option<Instant>) -> sqlx::Result<()> {
        let mut conn = db.service().acquire().await?;
        let begin = Instant::now();
        let shared = store::shared(&mut conn).await?;
        let database_latency_ms = begin.elapsed().as_secs_f64() * 1000.0;
        let storing = self.write(|s| s.deliveries.look((self.answered)(), Instant::now()));
        let local = Local { database_latency_ms, disk: disk::room(&self.data_dir), storing };
        let ours = shared.as_ref().is_none_or(|s| s.free || s.holder == self.me);
        let known = shared.and_then(|s| Some((s.taken_at?, s.figures?.0)));
        let (at, figures) = if ours && store::take_turn(&mut conn, self.me, TURN).await? {
            self.measure(db, &mut conn, known, &local, away).await?
        } else if let Some(known) = known {
            known
        } else {
            (Utc::now(), store::figures(&mut conn).await?) // another node is measuring for the first time in this moment
        };
        let checks = judge(&figures, &local);
        let answers = answer::fresh(at, &checks, &figures, &local, self.uptime());
        self.write(|s| {
            s.last = Some(Arc::new(Snapshot { at, figures, local, checks, answers }));
            s.gate.looked(true, Instant::now());
        });
        Ok(())
    }

    async fn measure(
        &self,
        db: &Db,
        conn: &mut PgConnection,
        known: Option<(DateTime<Utc>, store::Figures)>,
        local: &Local,
        away: Option<Instant>,
    ) -> sqlx::Result<(DateTime<Utc>, store::Figures)> {
        let mut figures = store::figures(conn).await?;
        figures.slow = known.map(|(_, f)| f.slow).unwrap_or_default();
        let at = store::publish(conn, self.me, &figures).await?.unwrap_or_else(Utc::now);
        let nothing_yet = figures.slow.silence.is_empty() && figures.slow.badges == [0; 5];
        let often = if nothing_yet { AT_FIRST } else { SLOWLY };
        if figures.slow.at.is_none_or(|at| Utc::now() - at > often) {
            // Not waited for: a large table must not make this look late. The next one carries it on.
            let (db, me, mut with) = (db.clone(), self.me, figures.clone());
            with.slow.at = Some(Utc::now());
            store::publish(conn, me, &with).await?;
            figures.slow.at = with.slow.at;
            tokio::spawn(async move {
                let measured = async {
                    with.slow = store::slow(db.service()).await?;
                    store::publish(&mut *db.service().acquire().await?, me, &with).await
                };
                if let Err(e) = measured.await {
                    tracing::debug!(error = %e, "the slow figures could not be measured");
                }
            });
        }
        if let Some(away) = away {
            store::keep_outage(conn, away.elapsed()).await?;
        }
        let checks = judge(&figures, local);
        let status = worst(checks.iter().map(|(_, c)| c.status));
        let body: serde_json::Map<String, serde_json::Value> =
            checks.iter().map(|(name, c)| ((*name).to_owned(), serde_json::json!({ "status": c.status, "note": c.note }))).collect();
        store::keep_history(conn, status, &body.into()).await?;
        Ok((at, figures))
    }

    fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was seen last.
    pub fn health(&self) -> Health {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match &state.last {
            Some(snapshot) if state.gate.is_ready(Instant::now()) => Health::Fresh(Arc::clone(snapshot)),
            old => Health::Stale(old.clone()),
        }
    }

    /// Whether this node should get requests.
    pub fn is_ready(&self) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).gate.is_ready(Instant::now())
    }

    /// Since when this process runs.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    use super::*;
    use crate::store::testing::database;

    async fn fresh(monitor: &Monitor) -> Arc<Snapshot> {
        for _ in 0..200 {
            if let Health::Fresh(s) = monitor.health() {
                return s;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("no snapshot within 4 s")
    }

    #[tokio::test]
    async fn two_nodes_show_the_figures_that_one_of_them_measured() {
        let t = database().await;
        let cancel = CancellationToken::new();
        let first = Monitor::spawn(t.db.clone(), "/".into(), Answered::default, cancel.clone());
        let a = fresh(&first).await;
        let second = Monitor::spawn(t.db.clone(), "/".into(), Answered::default, cancel.clone());
        let b = fresh(&second).await;
        assert_eq!(a.checks.first().map(|(n, _)| *n), Some("jobWorker"), "nobody works here: {:?}", a.checks);
        assert_eq!(b.status(), HealthStatus::Unhealthy);
        let holder: Uuid = sqlx::query_scalar("SELECT holder FROM health_now").fetch_one(t.db.owner()).await.unwrap();
        assert_eq!(holder, first.me, "the second reads what the first measured");
        let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM health_snapshots").fetch_one(t.db.owner()).await.unwrap();
        assert_eq!(kept, 1);
        cancel.cancel();
    }
}
