//! Half an hour of steady work: memory and dead rows stay flat, and nothing piles up.
//!
//! Run by hand: `scripts/bench.sh soak`. ASSAY_SOAK_MINUTES (30), ASSAY_SOAK_RATE (deliveries a second, 100: each makes a job
//! of its own and asks for its person's scores).

use crate::process::{Assay, Database, daily, eventually, send};
use sqlx::PgConnection;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use std::time::{Duration, Instant};

const PERSONS: u64 = 300;
const SENDERS: u64 = 4;

/// What is looked at every half minute.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
struct Sample {
    #[sqlx(skip)]
    resident_mb: f64,
    /// Jobs that wait or run.
    open: i64,
    finished: i64,
    /// Dead rows of the queue's tables.
    dead_jobs: i64,
    dead_leases: i64,
    dead_counts: i64,
    /// Bytes of the queue with its indexes.
    bytes: i64,
}

async fn sample(assay: &Assay, conn: &mut PgConnection) -> Sample {
    let one: Sample = sqlx::query_as(
        "WITH d AS (SELECT relname, n_dead_tup AS n FROM pg_stat_user_tables WHERE schemaname = 'public')
         SELECT (SELECT count(*) FROM background_jobs WHERE status IN ('pending', 'processing')) AS open,
                (SELECT coalesce(sum(n), 0)::bigint FROM (SELECT count AS n FROM job_counts WHERE status = 'completed' UNION ALL SELECT delta FROM job_count_deltas WHERE status = 'completed') c) AS finished,
                (SELECT n FROM d WHERE relname = 'background_jobs') AS dead_jobs, (SELECT n FROM d WHERE relname = 'job_leases') AS dead_leases,
                (SELECT n FROM d WHERE relname = 'job_count_deltas') AS dead_counts, pg_total_relation_size('background_jobs') AS bytes",
    )
    .fetch_one(conn)
    .await
    .unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", assay.child.id())).unwrap();
    let kb: f64 = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    Sample { resident_mb: kb / 1024.0, ..one }
}

/// Sends distinct deliveries at a steady rate until told to stop: other steps for the same persons and days.
fn feed(address: &str, rate: u64, sent: &Arc<AtomicU64>, stop: &Arc<AtomicBool>) -> Vec<tokio::task::JoinHandle<()>> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
    (0..SENDERS)
        .map(|task| {
            let (client, address, sent, stop) = (client.clone(), address.to_owned(), Arc::clone(sent), Arc::clone(stop));
            tokio::spawn(async move {
                let mut clock = tokio::time::interval(Duration::from_secs_f64(SENDERS as f64 / rate as f64));
                for n in 0_u64.. {
                    clock.tick().await;
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let body = daily(
                        &format!("soak-{}", (n * SENDERS + task) % PERSONS),
                        &format!("2026-10-{:02}", n % 28 + 1),
                        1000 + (n % 9000) as u32,
                    );
                    let answer = send(&client, &address, &format!("soak-{task}-{n}"), &body).await;
                    sent.fetch_add(u64::from(answer.is_ok_and(|r| r.status().is_success())), Ordering::Relaxed);
                }
            })
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement of half an hour"]
async fn soak() {
    let number = |name: &str, or: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(or);
    let (minutes, rate) = (number("ASSAY_SOAK_MINUTES", 30), number("ASSAY_SOAK_RATE", 100));
    let database = Database::new().await;
    let assay = Assay::start(&database).await;
    let mut conn = database.connect().await;
    let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let senders = feed(&assay.address, rate, &sent, &stop);
    let (begin, mut samples) = (Instant::now(), Vec::new());
    while begin.elapsed() < Duration::from_secs(minutes * 60) {
        tokio::time::sleep(Duration::from_secs(30)).await;
        let now = sample(&assay, &mut conn).await;
        println!("{:5.1} min, {} accepted: {now:?}", begin.elapsed().as_secs_f64() / 60.0, sent.load(Ordering::Relaxed));
        samples.push(now);
    }
    stop.store(true, Ordering::Relaxed);
    futures::future::join_all(senders).await;
    eventually("everything is done", 120, async || sample(&assay, &mut conn).await.open == 0).await;
    let last = sample(&assay, &mut conn).await;
    let accepted = sent.load(Ordering::Relaxed);
    println!("at the end: {accepted} accepted, {} jobs a second, {last:?}", last.finished as f64 / begin.elapsed().as_secs_f64());
    assert!(last.finished as u64 >= accepted, "a delivery without its job");
    let (early, late) = (&samples[samples.len() / 4..samples.len() / 2], &samples[samples.len() * 3 / 4..]);
    let most = |part: &[Sample], of: fn(&Sample) -> f64| part.iter().map(of).fold(0.0, f64::max);
    let (before, after) = (most(early, |s| s.resident_mb), most(late, |s| s.resident_mb));
    assert!(after < before * 1.15, "memory grows: {before:.1} MB in the second quarter, {after:.1} MB in the last");
    for of in [|s: &Sample| s.dead_jobs as f64, |s: &Sample| s.dead_leases as f64, |s: &Sample| s.dead_counts as f64] {
        let (before, after) = (most(early, of), most(late, of));
        assert!(after < before * 1.5 + 10_000.0, "dead rows pile up: {before} in the second quarter, {after} in the last");
    }
    let (before, after) = (most(early, |s| s.bytes as f64), most(late, |s| s.bytes as f64));
    assert!(after < before * 1.5 + 2e7, "the queue's files grow: {before} bytes in the second quarter, {after} in the last");
    assert!(most(late, |s| s.open as f64) < 20.0 * rate as f64, "jobs pile up");
}
