//! How many deliveries a second the gateway makes durable, from signed request to 200, without the network.
//!
//! Ignored, because it measures the machine: `cargo test --release gateway::tests::throughput -- --ignored --nocapture`.
//! The baseline beside it is `pgbench` with single-row inserts of the same body and 64 clients on the same server.

use super::*;
use std::time::{Duration, Instant};

const CLIENTS: u32 = 64;
const SPAN: Duration = Duration::from_secs(8);

/// A body like Terra's daily summaries: some 850 bytes, as in recorded events.
fn body(n: u32) -> String {
    let filler = r#""heart_rate_data":{"summary":{"avg_hr_bpm":71,"max_hr_bpm":163,"min_hr_bpm":47,"resting_hr_bpm":52,"avg_hrv_rmssd":48.1}},"calories_data":{"total_burned_calories":2512.4,"net_activity_calories":702.7,"BMR_calories":1809.7},"active_durations_data":{"low_intensity_seconds":9120,"moderate_intensity_seconds":1860,"vigorous_intensity_seconds":540,"inactivity_seconds":41520,"rest_seconds":28800},"device_data":{"name":"Forerunner 255","manufacturer":"Garmin"}"#;
    let user = n % 500;
    format!(
        r#"{{"type":"daily","version":"2022-03-16","user":{{"user_id":"5f1a3c9e-0000-4000-8000-{user:012}","provider":"GARMIN","reference_id":"person-{user}","scopes":"ACTIVITY_EXPORT,HEALTH_EXPORT","active":true}},"data":[{{"metadata":{{"start_time":"2026-11-22T00:00:00+00:00","end_time":"2026-11-23T00:00:00+00:00","upload_type":1}},"distance_data":{{"steps":{n},"distance_meters":{n}.5}},{filler}}}]}}"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures the machine; see the module's words"]
async fn deliveries_a_second() {
    let clients: u32 = std::env::var("ASSAY_BENCH_CLIENTS").ok().and_then(|c| c.parse().ok()).unwrap_or(CLIENTS);
    let flushers = std::env::var("ASSAY_BENCH_FLUSHERS").ok().and_then(|c| c.parse().ok()).unwrap_or(3);
    let mut settings = settings();
    settings.committer.flushers = flushers;
    let b = Arc::new(Bench::with(settings).await);
    if let Ok(sql) = std::env::var("ASSAY_BENCH_SQL") {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(b.t.db.owner()).await.unwrap();
    }
    let started = Instant::now();
    let workers: Vec<_> = (0..clients)
        .map(|client| {
            let b = b.clone();
            tokio::spawn(async move {
                let (mut took, mut n) = (Vec::new(), client);
                while started.elapsed() < SPAN {
                    let request = signed(&format!("trace-{n}"), &body(n));
                    let asked = Instant::now();
                    let (parts, body) = request.into_parts();
                    let answer = b.gateway.receive(&parts.headers, body, "198.51.100.7".parse().unwrap()).await;
                    assert_eq!(answer.status(), 200);
                    took.push(asked.elapsed());
                    n += clients;
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for worker in workers {
        took.extend(worker.await.unwrap());
    }
    let span = started.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |q: f64| took.get((took.len() as f64 * q) as usize).copied().unwrap_or_default().as_secs_f64() * 1e3;
    let f = b.gateway.committer();
    println!(
        "{} deliveries of {} bytes in {span:.2} s, {clients} clients: {:.0} a second; p50 {:.1} ms, p99 {:.1} ms; {} flushes of {:.0} rows, {:.2} ms each",
        took.len(),
        body(0).len(),
        took.len() as f64 / span,
        at(0.5),
        at(0.99),
        f.flushes,
        f.rows as f64 / f.flushes as f64,
        f.busy_us as f64 / 1e3 / f.flushes as f64
    );
    assert_eq!(b.count("terra_webhooks_raw").await, took.len() as i64);
}
