//! Everything is killed, again and again, while deliveries come in: workers, the web process, backends, PostgreSQL
//! itself, and the connections run out. In the end every acknowledged delivery is stored, every stored one took effect
//! exactly once, every job is accounted for once, and the counts agree. Meanwhile everybody is scored again and again: each
//! of those operations ends with every person done, each of its chunks once.
//!
//! ASSAY_CHAOS_ROUNDS: how many faults (default 6, one of each); ASSAY_CHAOS_SEED: where the order starts.

use crate::cluster::Cluster;
use crate::process::{Assay, daily, eventually, send};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

async fn connect(url: &str) -> PgConnection {
    loop {
        match PgConnection::connect(url).await {
            Ok(conn) => return conn,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Sends distinct deliveries to whatever address is there at the moment; returns the trace ids answered with 2xx.
fn load(address: Arc<Mutex<String>>, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<HashSet<String>> {
    tokio::spawn(async move {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
        let tasks = (0..4).map(|task| {
            let (client, address, stop) = (client.clone(), Arc::clone(&address), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut accepted = HashSet::new();
                for n in 0..1_000_000_u32 {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let trace = format!("chaos-{task}-{n}");
                    let to = address.lock().unwrap().clone();
                    let body = daily(&format!("chaos-{}", n % 80), &format!("2026-10-{:02}", n % 28 + 1), 1000 + n);
                    match send(&client, &to, &trace, &body).await {
                        Ok(r) if r.status().is_success() => drop(accepted.insert(trace)),
                        _ => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                accepted
            })
        });
        futures::future::join_all(tasks).await.into_iter().flat_map(Result::unwrap).collect()
    })
}

/// Presses Recalculate All, however long it takes to get through.
async fn recalculate_all(db: &assay::store::Db) {
    let actor = assay::store::audit::Actor::system();
    while assay::jobs::operations::start_recalculate_all(db, &actor).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_each_effect_happens_once() {
    let number = |name: &str, or: usize| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(or);
    let (rounds, seed) = (number("ASSAY_CHAOS_ROUNDS", 6), number("ASSAY_CHAOS_SEED", 0));
    let cluster = Cluster::start();
    let database = cluster.database().await;
    let start = async |role| Assay::start_with(&database, &[("ASSAY_ROLE", role)]).await;
    let mut web = start("web").await;
    let mut workers = [start("worker").await, start("worker").await];
    // The witness: a row for each time that a delivery's effect was committed.
    database
        .connect()
        .await
        .execute(
            "CREATE TABLE witness (delivery uuid NOT NULL); GRANT ALL ON witness TO PUBLIC;
             CREATE FUNCTION witness() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.witness VALUES (NEW.id); RETURN NULL; END $$;
             CREATE TRIGGER witness AFTER UPDATE ON terra_webhooks_raw FOR EACH ROW WHEN (NEW.status = 'completed') EXECUTE FUNCTION witness()",
        )
        .await
        .unwrap();
    let (address, stop) = (Arc::new(Mutex::new(web.address.clone())), Arc::new(AtomicBool::new(false)));
    let loading = load(Arc::clone(&address), Arc::clone(&stop));
    let db = assay::store::DatabaseUrl::parse(&database.url).unwrap().pools(1, 1);
    for round in 0..rounds {
        tokio::time::sleep(Duration::from_millis(500 + 83 * (round as u64 % 7))).await;
        recalculate_all(&db).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        match (round + seed) % 6 {
            0 => {
                workers[round % 2].kill();
                workers[round % 2] = start("worker").await;
            }
            1 => {
                web.kill();
                web = start("web").await;
                address.lock().unwrap().clone_from(&web.address);
            }
            2 => cluster.crash(),
            // This test's own pools have two of them; the three processes had more, or nothing was tested.
            3 => eventually("the connections of the program are ended", 20, async || cluster.end_connections() > 2).await,
            4 => {
                let mut held = Vec::new();
                while let Ok(conn) = PgConnection::connect(&database.url).await {
                    held.push(conn);
                }
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
            _ => {
                assert!(workers[round % 2].terminate().await.success());
                workers[round % 2] = start("worker").await;
            }
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let accepted = loading.await.unwrap();
    assert!(accepted.len() > 50, "only {} deliveries were accepted; nothing was tested", accepted.len());
    let mut conn = connect(&database.url).await;
    eventually("every delivery is processed and every job done", 90, async || {
        let left: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM terra_webhooks_raw WHERE status <> 'completed')
                  + (SELECT count(*) FROM background_jobs WHERE type IN ('webhook_processing', 'confidence_calculation', 'recalculation'))
                  + (SELECT count(*) FROM operations WHERE state = 'running')",
        )
        .fetch_one(&mut conn)
        .await
        .unwrap();
        left == 0
    })
    .await;
    let stored: Vec<String> = sqlx::query_scalar("SELECT trace_id FROM terra_webhooks_raw").fetch_all(&mut conn).await.unwrap();
    let distinct: HashSet<String> = stored.iter().cloned().collect();
    assert_eq!(stored.len(), distinct.len(), "a delivery is stored twice");
    assert!(accepted.is_subset(&distinct), "{} acknowledged deliveries are lost", accepted.difference(&distinct).count());
    let mut one = async |sql: &'static str| -> i64 { sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut conn).await.unwrap() };
    let n = stored.len() as i64;
    assert_eq!(one("SELECT count(*) FROM witness").await, n, "an effect happened twice or not at all");
    assert_eq!(one("SELECT count(DISTINCT delivery) FROM witness").await, n);
    assert_eq!(one("SELECT count(*) FROM job_history WHERE type = 'webhook_processing' AND status = 'completed'").await, n);
    assert_eq!(one("SELECT count(DISTINCT id) FROM job_history WHERE type = 'webhook_processing'").await, n);
    assert_eq!(one("SELECT count(*) FROM background_jobs_dlq").await, 0);
    let operations = one("SELECT count(*) FROM operations").await;
    assert!(operations > 0, "nobody was scored again");
    assert_eq!(
        one("SELECT count(*) FROM operations WHERE state <> 'completed' OR done <> total OR failed <> 0 OR chunks_done <> chunks_total")
            .await,
        0
    );
    let chunks = one("SELECT sum(chunks_total)::bigint FROM operations").await;
    assert_eq!(one("SELECT count(*) FROM job_history WHERE type = 'recalculation' AND status = 'completed'").await, chunks);
    assert_eq!(one("SELECT count(DISTINCT id) FROM job_history WHERE type = 'recalculation'").await, chunks);
    let wrong = one(
        "SELECT count(*) FROM (SELECT type, status, sum(n) AS n FROM (SELECT type, status, count AS n FROM job_counts UNION ALL SELECT type, status, delta FROM job_count_deltas) k
                                GROUP BY 1, 2 HAVING sum(n) <> 0) kept
          FULL JOIN (SELECT type, status, count(*) AS n FROM (SELECT type, status FROM background_jobs UNION ALL SELECT type, status FROM job_history) j GROUP BY 1, 2) rows
            USING (type, status) WHERE kept.n IS DISTINCT FROM rows.n",
    )
    .await;
    assert_eq!(wrong, 0, "the counts do not agree with the rows");
    println!(
        "{rounds} faults, {} deliveries acknowledged, {n} stored, each took effect once; {operations} times everybody scored again in {chunks} chunks, each once",
        accepted.len()
    );
}
