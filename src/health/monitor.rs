//! The task that looks every two seconds, and what it hands out.

use super::answer::{self, Answers};
use super::away::Away;
use super::disk;
use super::folding;
use super::gate::Gate;
use super::judge::{Check, Local, judge_by_known, worst};
use super::storing::{Answered, Watch};
use crate::model::HealthStatus;
use crate::store::{Db, health as store};
use chrono::{DateTime, Utc};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Between two looks, while all is well and while it is not.
const EVERY: Duration = Duration::from_secs(2);
const EAGERLY: Duration = Duration::from_secs(1);
/// An answer that takes longer is none.
const LIMIT: Duration = Duration::from_secs(5);
/// What follows an answer may take so long: the figures, then the record. Together they stay well below the gate's
/// patience. A statement is ended by the server itself, or the connections of looks that were given up would all come to
/// wait behind a locked table, until the pool has no more.
const MEASURING: Duration = Duration::from_secs(3);
const KEEPING: Duration = Duration::from_secs(1);
pub(super) const STEP: Duration = Duration::from_secs(2);
/// Published figures older than this, in seconds, are not news: whoever has the turn cannot take any.
const OLD: f64 = 30.0;
/// Of a node that measures: how long it may be silent before another one measures.
const TURN: Duration = Duration::from_secs(6);
/// Figures that cost more are measured so often; while there is no data yet, asking costs nothing, and a new
/// installation need not wait for its first figures.
const SLOWLY: chrono::TimeDelta = chrono::TimeDelta::seconds(60);
const AT_FIRST: chrono::TimeDelta = chrono::TimeDelta::seconds(5);

/// Between two statements of a look. A dozen of them in one go kept a core for 10 to 15 ms, beside deliveries that are answered
/// in one.
const REST: Duration = Duration::from_millis(20);

/// What came of a look: whether there was an answer, and figures; whether it is this node's turn to measure.
struct Looked {
    well: bool,
    turn: bool,
}

/// Figures, and when they were measured by the database's clock.
type Known = (DateTime<Utc>, store::Figures);

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
        let (mut away, mut schema) = (Away::default(), None);
        loop {
            let Looked { well, turn } = self.look(&db, &mut away, &mut schema).await;
            let next = Instant::now() + if self.is_ready() && well { EVERY } else { EAGERLY };
            let rest = async {
                if turn {
                    folding::fold_until(&db, next).await;
                }
                tokio::time::sleep_until(next.into()).await;
            };
            if cancel.run_until_cancelled(rest).await.is_none() {
                break;
            }
        }
        let resign = async { store::give_up_turn(&mut *db.service().acquire().await?, self.me).await };
        // Where it cannot be given up, the turn ends by itself.
        let _: Result<sqlx::Result<()>, _> = tokio::time::timeout(Duration::from_secs(1), resign).await;
    }

    /// One look. The answer alone decides about readiness: a database that only
    /// reads, or whose table is locked, serves pages, and every node would be out of service at once.
    async fn look(&self, db: &Db, away: &mut Away, schema: &mut Option<String>) -> Looked {
        let began = Instant::now();
        let (shared, database_latency_ms, mark) = match tokio::time::timeout(LIMIT, ask(db)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(e)) => return self.no_answer(away, began, &e.to_string()),
            Err(_) => return self.no_answer(away, began, "nothing came within 5 s"),
        };
        away.answered(Instant::now());
        tokio::time::sleep(self.rest()).await;
        let before = std::mem::replace(schema, mark);
        if before.is_some() && before != *schema {
            tracing::info!("the database's schema was changed by another process: connections are made anew");
            db.renew_connections();
        }
        let storing = self.write(|s| s.deliveries.look((self.answered)(), Instant::now()));
        let local = Local { database_latency_ms, disk: disk::room(&self.data_dir), storing };
        let ours = shared.as_ref().is_none_or(|s| s.free || s.holder == self.me);
        let age = shared.as_ref().and_then(|s| s.age_s);
        let known = shared.and_then(|s| Some((s.taken_at?, s.figures?.0)));
        let mut turn = false;
        let (taken, why) = match tokio::time::timeout(MEASURING, self.take(db, ours, known.clone(), &mut turn)).await {
            Ok(Ok(taken)) => (Some(taken), age.filter(|age| !ours && *age > OLD).map(|age| format!("those shown are {age:.0} s old"))),
            Ok(Err(e)) => (known, Some(e.to_string())),
            Err(_) => (known, Some("it takes too long".to_owned())),
        };
        let checks = judge_by_known(taken.as_ref().map(|(_, figures)| figures), &local, why.as_deref());
        self.tell(why.as_deref());
        if turn {
            tokio::time::sleep(self.rest()).await;
            self.keep(db, &checks, away).await;
        } else if !ours {
            away.settle();
        }
        let (at, figures) = taken.unwrap_or_else(|| (Utc::now(), store::Figures::default()));
        let answers = answer::fresh(at, &checks, &figures, &local, self.uptime());
        self.write(|s| {
            s.last = Some(Arc::new(Snapshot { at, figures, local, checks, answers }));
            s.gate.looked(true, Instant::now());
        });
        Looked { well: why.is_none(), turn }
    }

    /// How long to rest between two statements: the first look is waited for.
    fn rest(&self) -> Duration {
        let waited_for = self.state.read().unwrap_or_else(PoisonError::into_inner).last.is_none();
        if waited_for { Duration::ZERO } else { REST }
    }

    fn no_answer(&self, away: &mut Away, began: Instant, why: &str) -> Looked {
        tracing::warn!(error = why, "health: the database does not answer");
        away.silent(began);
        self.write(|s| s.gate.looked(false, Instant::now()));
        Looked { well: false, turn: false }
    }

    /// The first look without figures is a warning; those after it say the same.
    fn tell(&self, why: Option<&str>) {
        let Some(why) = why else { return };
        let last = self.state.read().unwrap_or_else(PoisonError::into_inner).last.clone();
        if last.is_some_and(|s| s.checks.iter().any(|(name, _)| *name == "figures")) {
            tracing::debug!(error = why, "health: figures still cannot be taken");
        } else {
            tracing::warn!(error = why, "health: the database answers, but figures cannot be taken");
        }
    }

    /// The figures: measured where it is our turn (`turn` says so), else those that were published.
    async fn take(&self, db: &Db, ours: bool, known: Option<Known>, turn: &mut bool) -> sqlx::Result<Known> {
        if ours {
            let mut tx = db.begin_service_within(STEP).await?;
            let taken = store::take_turn(&mut tx, self.me, TURN).await?;
            tx.commit().await?;
            *turn = taken;
            tokio::time::sleep(self.rest()).await;
        }
        match known {
            Some(known) if !*turn => Ok(known),
            // Without the turn: another node is measuring for the first time in this moment, and nothing is published yet.
            known => self.measure(db, *turn, known.map(|(_, figures)| figures.slow)).await,
        }
    }

    /// Measures and publishes; what is published without the turn goes nowhere.
    async fn measure(&self, db: &Db, turn: bool, slow: Option<store::Slow>) -> sqlx::Result<Known> {
        let mut tx = db.begin_service_within(STEP).await?;
        let mut figures = store::figures(&mut tx, self.rest()).await?;
        tokio::time::sleep(self.rest()).await;
        figures.slow = slow.unwrap_or_default();
        let nothing_yet = figures.slow.silence.is_empty() && figures.slow.badges == [0; 5];
        let often = if nothing_yet { AT_FIRST } else { SLOWLY };
        let due = turn && figures.slow.at.is_none_or(|at| Utc::now() - at > often);
        if due {
            figures.slow.at = Some(Utc::now());
        }
        let at = store::publish(&mut tx, self.me, &figures).await?.unwrap_or_else(Utc::now);
        tx.commit().await?;
        if due {
            self.measure_slowly(db, figures.clone());
        }
        Ok((at, figures))
    }

    /// Not waited for: a large table must not make a look late. The next one carries it on.
    fn measure_slowly(&self, db: &Db, mut with: store::Figures) {
        let (db, me) = (db.clone(), self.me);
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

    /// What the status page shows later. Where it cannot be written the page has a gap; the figures are as good.
    async fn keep(&self, db: &Db, checks: &[(&'static str, Check)], away: &mut Away) {
        match tokio::time::timeout(KEEPING, write_down(db, checks, away.owed(Instant::now()))).await {
            Ok(Ok(())) => away.settle(),
            Ok(Err(e)) => tracing::warn!(error = %e, "health: the record could not be written"),
            Err(_) => tracing::warn!("health: the record could not be written within a second"),
        }
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

/// The first read, how long it took in milliseconds, and which schema there is.
async fn ask(db: &Db) -> sqlx::Result<(Option<store::Shared>, f64, Option<String>)> {
    let mut conn = db.service().acquire().await?;
    let begin = Instant::now();
    let shared = store::shared(&mut conn).await?;
    let latency = begin.elapsed().as_secs_f64() * 1000.0;
    Ok((shared, latency, store::schema(&mut conn).await?))
}

async fn write_down(db: &Db, checks: &[(&'static str, Check)], outage: Option<Duration>) -> sqlx::Result<()> {
    let status = worst(checks.iter().map(|(_, c)| c.status));
    let body: serde_json::Map<String, serde_json::Value> =
        checks.iter().map(|(name, c)| ((*name).to_owned(), serde_json::json!({ "status": c.status, "note": c.note }))).collect();
    let mut tx = db.begin_service_within(STEP).await?;
    if let Some(ago) = outage {
        store::keep_outage(&mut tx, ago).await?;
    }
    store::keep_history(&mut tx, status, &body.into()).await?;
    tx.commit().await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    use super::*;
    use crate::store::testing::database;
    use sqlx::Executor;

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

    #[tokio::test]
    async fn counts_are_folded_where_no_worker_leads() {
        let t = database().await;
        let append = "INSERT INTO job_count_deltas (type, status, delta) SELECT 'a', 'pending', 1 FROM generate_series(1, 3)";
        let left = async || -> (i64, i64) {
            sqlx::query_as("SELECT (SELECT count(*) FROM job_count_deltas), coalesce((SELECT count FROM job_counts WHERE type = 'a'), 0)")
                .fetch_one(t.db.owner())
                .await
                .unwrap()
        };
        sqlx::query("INSERT INTO leases (name, holder, expires_at) VALUES ('jobs', gen_random_uuid(), now() + interval '1 hour')")
            .execute(t.db.owner())
            .await
            .unwrap();
        sqlx::query(append).execute(t.db.owner()).await.unwrap();
        let cancel = CancellationToken::new();
        let monitor = Monitor::spawn(t.db.clone(), "/".into(), Answered::default, cancel.clone());
        assert_eq!(fresh(&monitor).await.figures.pending, 3);
        assert_eq!(left().await, (3, 0), "a leader does it");
        // A thousand take several turns.
        sqlx::query("INSERT INTO job_count_deltas (type, status, delta) SELECT 'a', 'pending', 1 FROM generate_series(4, 1003)")
            .execute(t.db.owner())
            .await
            .unwrap();
        sqlx::query("UPDATE leases SET expires_at = now()").execute(t.db.owner()).await.unwrap();
        for _ in 0..500 {
            if left().await == (0, 1003) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(left().await, (0, 1003), "nobody leads: whoever measures does it");
        assert_eq!(fresh(&monitor).await.figures.pending, 1003);
        cancel.cancel();
    }

    #[tokio::test]
    async fn a_column_that_got_another_type_is_read_again_within_seconds() {
        let t = database().await;
        let cancel = CancellationToken::new();
        let monitor = Monitor::spawn(t.db.clone(), "/".into(), Answered::default, cancel.clone());
        fresh(&monitor).await;
        // A few connections prepare it, then a newer program migrates.
        const READ: &str = "SELECT key FROM renewal";
        let read = async || -> sqlx::Result<Vec<String>> { sqlx::query_scalar(READ).fetch_all(t.db.service()).await };
        t.db.owner().execute("CREATE TABLE renewal (key varchar(9)); GRANT SELECT ON renewal TO service_role").await.unwrap();
        for _ in 0..8 {
            assert!(read().await.is_ok());
        }
        // One is kept in hand: which of the pool's is next depends on what the monitor is about.
        let mut held = t.db.service().acquire().await.unwrap();
        assert!(sqlx::query_scalar::<_, String>(READ).fetch_all(&mut *held).await.is_ok());
        t.db.owner().execute("ALTER TABLE renewal ALTER COLUMN key TYPE text; COMMENT ON SCHEMA app IS 'assay 9999'").await.unwrap();
        let error = sqlx::query_scalar::<_, String>(READ).fetch_all(&mut *held).await.unwrap_err().to_string();
        assert!(error.contains("cached plan must not change result type"), "{error}");
        drop(held);
        // One that had not prepared it may answer at once; none of those that had is left when twenty in turn do.
        let mut well = 0;
        for _ in 0..1000 {
            well = if read().await.is_ok() { well + 1 } else { 0 };
            if well == 20 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(well, 20, "connections of before are still used");
        cancel.cancel();
    }

    /// Waits for a look without figures while the node is ready; what the check says, and the snapshot.
    async fn without_figures(monitor: &Monitor) -> (String, Arc<Snapshot>) {
        for _ in 0..500 {
            if let Health::Fresh(s) = monitor.health()
                && let Some((_, check)) = s.checks.iter().find(|(name, _)| *name == "figures")
            {
                assert_eq!(check.status, "degraded");
                return (check.note.clone(), Arc::clone(&s));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("no look without figures within 10 s")
    }

    async fn outages(t: &crate::store::testing::TestDb) -> i64 {
        let of = "SELECT count(*) FROM health_snapshots WHERE checks #>> '{database,status}' = 'error'";
        sqlx::query_scalar(of).fetch_one(t.db.owner()).await.unwrap()
    }

    #[tokio::test]
    async fn a_database_that_only_reads_leaves_the_node_ready() {
        let t = database().await;
        let options = (*t.db.service().connect_options()).clone().options([("default_transaction_read_only", "on")]);
        let service = sqlx::postgres::PgPoolOptions::new().max_connections(4).connect_lazy_with(options);
        let db = Db { service, ..t.db.clone() };
        let cancel = CancellationToken::new();
        let monitor = Monitor::spawn(db, "/".into(), Answered::default, cancel.clone());
        let (note, snapshot) = without_figures(&monitor).await;
        assert!(note.starts_with("figures could not be taken: ") && note.contains("read-only"), "{note}");
        assert_eq!(snapshot.status(), HealthStatus::Degraded, "nothing is known of workers: {:?}", snapshot.checks);
        assert!(monitor.is_ready());
        assert_eq!(outages(&t).await, 0);
        cancel.cancel();
    }

    #[tokio::test]
    async fn a_locked_table_leaves_the_node_ready_with_the_figures_known_last() {
        let t = database().await;
        let cancel = CancellationToken::new();
        let monitor = Monitor::spawn(t.db.clone(), "/".into(), Answered::default, cancel.clone());
        let before = fresh(&monitor).await;
        let mut alter = t.db.owner().begin().await.unwrap();
        sqlx::query("LOCK TABLE unified_metrics IN ACCESS EXCLUSIVE MODE").execute(&mut *alter).await.unwrap();
        let (note, snapshot) = without_figures(&monitor).await;
        assert!(note.starts_with("figures could not be taken: "), "{note}");
        assert!(snapshot.at >= before.at && snapshot.figures.rate_limits_exists, "the figures known last: {:?}", snapshot.figures);
        assert!(monitor.is_ready());
        alter.rollback().await.unwrap();
        for _ in 0..500 {
            if matches!(monitor.health(), Health::Fresh(s) if s.checks.iter().all(|(name, _)| *name != "figures")) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(matches!(monitor.health(), Health::Fresh(s) if s.checks.iter().all(|(name, _)| *name != "figures")));
        assert_eq!(outages(&t).await, 0);
        cancel.cancel();
    }
}
