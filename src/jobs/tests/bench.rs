//! How fast, measured in the database. Ignored by default; run with an optimised build and nothing beside it:
//! `cargo test --release --features ssr -- --ignored bench --nocapture`. Sizes: ASSAY_BENCH_JOBS.

use super::*;
use crate::gateway::{Committed, Committer, CommitterSettings, admission::admit, body::Budget};
use crate::jobs::Worker;
use sqlx::Connection;
use std::{
    sync::{Arc, Mutex},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Does nothing, a thousand at a time.
struct Noop;
impl JobKind for Noop {
    const NAME: &'static str = "noop";
    const BATCH: i64 = 1000;
    type Payload = Padded;
    async fn run_batch(&self, _: &Ctx, jobs: &[Claimed<Padded>]) -> Result<Vec<Outcome>, String> {
        Ok(vec![Outcome::Done; jobs.len()])
    }
}

/// Some 200 bytes.
#[derive(serde::Serialize, serde::Deserialize)]
struct Padded {
    seq: i64,
    t: f64,
    pad: String,
}

fn noop(seq: i64) -> NewJob {
    job::<Noop>(&Padded { seq, t: 1.5, pad: "x".repeat(160) }).unwrap()
}

/// Seconds of processor time from /proc: of one process, or of a postmaster with all its children, also those that ended.
fn cpu(pid: i32, family: bool) -> f64 {
    let stat = |pid: i32| -> Option<Vec<f64>> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(stat.rsplit_once(')')?.1.split_whitespace().skip(1).map(|f| f.parse().unwrap_or(0.0)).collect())
    };
    // Fields after the name and state: 0 parent, 10 and 11 own time, 12 and 13 that of children that ended.
    let Some(own) = stat(pid) else { return 0.0 };
    let mut ticks = own[10] + own[11];
    if family {
        ticks += own[12] + own[13];
        let pids = std::fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
        ticks += pids.filter_map(stat).filter(|s| s[0] as i32 == pid).map(|s| s[10] + s[11]).sum::<f64>();
    }
    ticks / 100.0
}

/// The postmaster, when the server runs on this machine.
async fn postmaster(t: &TestDb) -> i32 {
    let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(t.db.owner()).await.unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{backend}/stat")).unwrap_or_default();
    stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

struct Meter {
    at: Instant,
    client: f64,
    server: f64,
    lsn: String,
    commits: i64,
}

async fn meter(t: &TestDb) -> Meter {
    let (lsn, commits): (String, i64) =
        sqlx::query_as("SELECT pg_current_wal_insert_lsn()::text, xact_commit FROM pg_stat_database WHERE datname = current_database()")
            .fetch_one(t.db.owner())
            .await
            .unwrap();
    Meter { at: Instant::now(), client: cpu(std::process::id() as i32, false), server: cpu(postmaster(t).await, true), lsn, commits }
}

async fn report(t: &TestDb, what: &str, n: i64, from: &Meter, seconds: f64) {
    tokio::time::sleep(Duration::from_millis(1200)).await; // the server's own statistics lag a second
    let to = meter(t).await;
    let wal: f64 =
        sqlx::query_scalar("SELECT ($1::pg_lsn - $2::pg_lsn)::float8").bind(&to.lsn).bind(&from.lsn).fetch_one(t.db.owner()).await.unwrap();
    let per = |x: f64| x / n as f64;
    println!(
        "{what}: {:.0}/s; CPU {:.1} us a job (client {:.1}, server {:.1}); WAL {:.0} B a job; {:.4} commits a job",
        n as f64 / seconds,
        per(to.client - from.client + to.server - from.server) * 1e6,
        per(to.client - from.client) * 1e6,
        per(to.server - from.server) * 1e6,
        per(wal),
        per((to.commits - from.commits) as f64),
    );
}

async fn fill(t: &TestDb, n: i64) {
    for from in (0..n).step_by(1000) {
        let jobs = (from..(from + 1000).min(n)).map(noop).collect();
        enqueue(&mut t.db.service().acquire().await.unwrap(), jobs).await.unwrap();
    }
}

/// As [`fill`], by several callers at the same time.
async fn fill_together(t: &TestDb, n: i64, callers: i64) {
    let each = (0..callers).map(|caller| async move {
        let mut conn = t.db.service().acquire().await.unwrap();
        let (from, to) = (n * caller / callers, n * (caller + 1) / callers);
        for first in (from..to).step_by(1000) {
            enqueue(&mut conn, (first..(first + 1000).min(to)).map(noop).collect()).await.unwrap();
        }
    });
    futures::future::join_all(each).await;
}

/// How many are done. The truth is the database's; the counts are exact at any moment (a test says so) and cost nothing
/// to read, while a look at the queue itself would walk the dead rows that this is to measure.
async fn done(t: &TestDb) -> i64 {
    sqlx::query_scalar(
        "SELECT coalesce(sum(n), 0)::bigint FROM (SELECT count AS n FROM job_counts WHERE type = 'noop' AND status = 'completed'
           UNION ALL SELECT delta FROM job_count_deltas WHERE type = 'noop' AND status = 'completed') c",
    )
    .fetch_one(t.db.owner())
    .await
    .unwrap()
}

async fn wait_for(t: &TestDb, n: i64) {
    while done(t).await < n {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A checkpoint by the superuser of `make bench`, and a rest, as the peers' harness has them before each of its runs.
async fn checkpoint() {
    let [bin, dir, port] = ["PG_BIN", "PG_DIR", "PG_PORT"].map(|name| std::env::var(name).expect("run it with `make bench`"));
    let done = std::process::Command::new(std::path::Path::new(&bin).join("psql"))
        .args(["-q", "-h", &dir, "-p", &port, "-U", "postgres", "-d", "postgres", "-c", "CHECKPOINT"])
        .status()
        .unwrap();
    assert!(done.success());
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// Starts a worker on a full queue and waits until the database says that all is done.
async fn drained(t: &TestDb, n: i64, slots: usize) -> f64 {
    let cancel = CancellationToken::new();
    let begin = Instant::now();
    let worker = Worker::spawn(t.url.pools(1, 10), Kinds::default().with(Noop), Settings { slots, ..Settings::default() }, cancel.clone());
    wait_for(t, n).await;
    let seconds = begin.elapsed().as_secs_f64();
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM job_history WHERE type = 'noop'").fetch_one(t.db.owner()).await.unwrap();
    assert!(kept >= n, "{kept} of {n}");
    cancel.cancel();
    worker.stopped().await;
    seconds
}

fn number(name: &str, or: i64) -> i64 {
    std::env::var(name).ok().and_then(|s| s.parse().ok()).unwrap_or(or)
}

fn jobs() -> i64 {
    number("ASSAY_BENCH_JOBS", 100_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn bench_drain() {
    let n = jobs();
    for slots in [1, 2, 3] {
        let t = database().await;
        checkpoint().await;
        let from = meter(&t).await;
        fill_together(&t, n, slots as i64).await;
        let seconds = from.at.elapsed().as_secs_f64();
        report(&t, &format!("bulk enqueue, 1000 a call, {slots} callers"), n, &from, seconds).await;
        checkpoint().await;
        let from = meter(&t).await;
        let seconds = drained(&t, n, slots).await;
        report(&t, &format!("drain, {slots} slots"), n, &from, seconds).await;
    }
}

/// A database with a long-lived worker, and how many jobs it was given so far.
struct Line {
    t: TestDb,
    worker: crate::jobs::WorkerHandle,
    cancel: CancellationToken,
    total: i64,
}

impl Line {
    async fn open() -> Self {
        let (t, cancel) = (database().await, CancellationToken::new());
        let settings = Settings { slots: 2, ..Settings::default() };
        let mut worker = Worker::spawn(t.url.pools(1, 10), Kinds::default().with(Noop), settings, cancel.clone());
        worker.arrived().await;
        Self { t, worker, cancel, total: 0 }
    }

    /// Enqueues jobs and waits until they are done; how long it took.
    async fn round(&mut self, n: i64) -> f64 {
        let from = Instant::now();
        fill(&self.t, n).await;
        self.total += n;
        wait_for(&self.t, self.total).await;
        from.elapsed().as_secs_f64()
    }
}

/// Enqueued and drained at the same time by a long-lived worker each: in one database while a transaction is held open there,
/// in another one without. They take turns, so that both have the same machine and as much history.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn bench_pinned() {
    let (n, seconds) = (jobs() / 5, number("ASSAY_BENCH_PINNED_S", 120) as f64);
    let (mut free, mut held) = (Line::open().await, Line::open().await);
    // The most dead rows and bytes at any moment, by table, as the server counts them.
    let most = Arc::new(Mutex::new(BTreeMap::<String, (i64, i64)>::new()));
    let watching = tokio::spawn({
        let (pool, most) = (held.t.db.owner().clone(), Arc::clone(&most));
        async move {
            loop {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let now: Vec<(String, i64, i64)> = sqlx::query_as(
                    "SELECT relname::text, n_dead_tup, pg_relation_size(relid) FROM pg_stat_user_tables WHERE relname IN ('background_jobs', 'job_leases', 'job_count_deltas')",
                )
                .fetch_all(&pool)
                .await
                .unwrap();
                let mut most = most.lock().unwrap();
                for (table, dead, bytes) in now {
                    let seen = most.entry(table).or_default();
                    *seen = (seen.0.max(dead), seen.1.max(bytes));
                }
            }
        }
    });
    for _ in 0..4 {
        free.round(n).await;
        held.round(n).await;
    }
    let mut pin = sqlx::PgConnection::connect_with(&held.t.db.service().connect_options()).await.unwrap();
    sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM job_counts").execute(&mut pin).await.unwrap();
    most.lock().unwrap().clear();
    let mut times: Vec<(f64, f64)> = Vec::new();
    while times.iter().map(|t| t.1).sum::<f64>() < seconds {
        times.push((free.round(n).await, held.round(n).await));
    }
    let most = most.lock().unwrap().clone();
    let rate = |times: &[(f64, f64)]| {
        let (free, held): (f64, f64) = times.iter().fold((0.0, 0.0), |sum, t| (sum.0 + t.0, sum.1 + t.1));
        let jobs = (n as usize * times.len()) as f64;
        format!("{:.0}/s and {:.0}/s = {:.1} %", jobs / free, jobs / held, 100.0 * free / held)
    };
    println!(
        "enqueue and drain in turns, without and with a transaction that is open for {seconds} s of its turns: {}; first quarter {}; last quarter {}; the most dead rows and bytes meanwhile: {most:?}",
        rate(&times),
        rate(&times[..times.len() / 4]),
        rate(&times[times.len() * 3 / 4..]),
    );
    pin.close().await.unwrap();
    let mut after = Vec::new();
    for _ in 0..8 {
        after.push((free.round(n).await, held.round(n).await));
    }
    println!("after it ended: {}", rate(&after));
    watching.abort();
    for line in [free, held] {
        line.cancel.cancel();
        line.worker.stopped().await;
    }
}

/// Drains of a table that holds nothing else, and of one with a million scheduled and dead jobs, in turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn bench_beside() {
    let n = jobs();
    let (bare, full) = (database().await, database().await);
    sqlx::raw_sql(
        "INSERT INTO background_jobs (type, payload, scheduled_at) SELECT 'noop', '{}', now() + interval '1 day' FROM generate_series(1, 500000);
         INSERT INTO background_jobs (type, payload, status, failed_at) SELECT 'noop', '{}', 'failed', now() FROM generate_series(1, 500000)",
    )
    .execute(full.db.owner())
    .await
    .unwrap();
    for round in 1..=4 {
        for (t, what) in [(&bare, "alone"), (&full, "beside 1 million scheduled and dead")] {
            fill(t, n).await;
            checkpoint().await;
            let seconds = drained(t, n * round, 2).await;
            println!("drain {what}, round {round}: {:.0}/s", n as f64 / seconds);
        }
    }
}

/// What a worker without work asks of the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn bench_idle() {
    let t = database().await;
    let cancel = CancellationToken::new();
    let mut worker =
        Worker::spawn(t.url.pools(1, 10), crate::jobs::kinds::all(), Settings { schedules: false, ..Settings::default() }, cancel.clone());
    worker.arrived().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let from = meter(&t).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let to = meter(&t).await;
    println!(
        "idle: {:.0} transactions a minute; CPU {:.1} ms a second (client {:.1}, server {:.1})",
        (to.commits - from.commits) as f64 * 2.0,
        (to.client - from.client + to.server - from.server) / 30.0 * 1e3,
        (to.client - from.client) / 30.0 * 1e3,
        (to.server - from.server) / 30.0 * 1e3
    );
    cancel.cancel();
    worker.stopped().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn bench_single() {
    singles().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn bench_idle_pickup() {
    pickup().await;
}

/// Single jobs come from requests that deliver something: each is stored, with its key and its job, before it is answered.
/// So this counts what the gateway does beyond enqueueing as well; only HTTP and the signature are left out.
async fn singles() {
    const CALLERS: i64 = 16;
    const EACH: i64 = 2_000;
    let t = database().await;
    let committer = Arc::new(Committer::start(t.db.service(), CommitterSettings::default()));
    let budget = Budget::new(1 << 30);
    checkpoint().await;
    let from = meter(&t).await;
    let callers = (0..CALLERS).map(|caller| {
        let (committer, budget) = (Arc::clone(&committer), budget.clone());
        tokio::spawn(async move {
            for n in 0..EACH {
                let mut headers = axum::http::HeaderMap::new();
                headers.insert("x-terra-trace-id", format!("single-{caller}-{n}").parse().unwrap());
                let body = format!(r#"{{"type":"daily","user":{{"user_id":"t{caller}","provider":"FITBIT","reference_id":"p{caller}"}},"data":[],"n":{n},"pad":"{}"}}"#, "x".repeat(60));
                let delivery = admit(body.into(), &headers, chrono::Utc::now()).delivery;
                let stored = committer.commit(delivery, budget.hold(), Instant::now() + Duration::from_secs(9)).await.unwrap();
                assert!(matches!(stored, Committed::New(_)));
            }
        })
    });
    futures::future::join_all(callers).await.into_iter().for_each(Result::unwrap);
    let seconds = from.at.elapsed().as_secs_f64();
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM background_jobs").fetch_one(t.db.owner()).await.unwrap();
    assert_eq!(kept, CALLERS * EACH);
    report(&t, "single durable enqueue with its delivery, 16 callers", kept, &from, seconds).await;
    committer.shutdown().await;
}

/// From the call of enqueue to the first line of the handler.
async fn pickup() {
    struct Stamp(Arc<Mutex<Vec<f64>>>);
    #[derive(serde::Serialize, serde::Deserialize)]
    struct At {
        us: i64,
    }
    impl JobKind for Stamp {
        const NAME: &'static str = "stamp";
        const BATCH: i64 = 10;
        type Payload = At;
        async fn run_batch(&self, _: &Ctx, jobs: &[Claimed<At>]) -> Result<Vec<Outcome>, String> {
            let now = chrono::Utc::now().timestamp_micros();
            self.0.lock().unwrap().extend(jobs.iter().map(|j| (now - j.payload.us) as f64 / 1000.0));
            Ok(vec![Outcome::Done; jobs.len()])
        }
    }
    let t = database().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let cancel = CancellationToken::new();
    let mut worker =
        Worker::spawn(t.url.pools(1, 10), Kinds::default().with(Stamp(Arc::clone(&seen))), Settings::default(), cancel.clone());
    worker.arrived().await;
    checkpoint().await;
    for _ in 0..400 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        put(&t, vec![job::<Stamp>(&At { us: chrono::Utc::now().timestamp_micros() }).unwrap()]).await;
    }
    until("all picked up", Duration::from_secs(5), async || seen.lock().unwrap().len() == 400).await;
    let mut ms = seen.lock().unwrap().clone();
    ms.sort_by(f64::total_cmp);
    println!("idle pickup at 20/s: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", ms[200], ms[396], ms[399]);
    cancel.cancel();
    worker.stopped().await;
}
