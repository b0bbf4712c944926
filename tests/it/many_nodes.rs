//! Many processes on one PostgreSQL: two that serve, two that work, one that does both; one is killed in mid-load.

use crate::process::{Assay, Database, daily, eventually, send};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What was answered with 2xx: trace id, person, steps.
type Accepted = Arc<Mutex<HashMap<String, (String, u32)>>>;

/// Sends one delivery a person, from several tasks to several nodes, until told to stop.
fn load(nodes: &[String], accepted: &Accepted) -> Vec<tokio::task::JoinHandle<()>> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(9)).build().unwrap();
    (0..12_usize)
        .map(|task| {
            let (client, accepted) = (client.clone(), Arc::clone(accepted));
            let node = nodes[task % nodes.len()].clone();
            tokio::spawn(async move {
                for n in 0_u32.. {
                    let (trace, user, steps) = (format!("t-{task}-{n}"), format!("p-{task}-{n}"), 1000 + n);
                    let body = daily(&user, "2026-11-20", steps);
                    // Each delivery is sent twice, as Terra does when an answer came late.
                    for _ in 0..2 {
                        if send(&client, &node, &trace, &body).await.is_ok_and(|r| r.status().is_success()) {
                            accepted.lock().unwrap().insert(trace.clone(), (user.clone(), steps));
                        }
                    }
                    // Steady, not as fast as it goes: what is sent has to be worked off before the test can end.
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            })
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_processes_share_the_work_and_the_death_of_one_loses_and_doubles_nothing() {
    let database = Database::new().await;
    let mut nodes = Vec::new();
    for role in ["web", "web", "worker", "worker", "all"] {
        nodes.push(Assay::start_with(&database, &[("ASSAY_ROLE", role)]).await);
    }
    let mut conn = database.connect().await;
    let alive: i64 = sqlx::query_scalar("SELECT count(*) FROM workers").fetch_one(&mut conn).await.unwrap();
    assert_eq!(alive, 3, "the web nodes do not work");
    let serving: Vec<String> = [0, 1, 4].iter().map(|n| nodes[*n].address.clone()).collect();
    let accepted: Accepted = Arc::default();
    let tasks = load(&serving, &accepted);
    // Killed while it holds jobs.
    let victim = nodes[2].child.id();
    eventually("the worker that will be killed holds jobs", 30, async || {
        sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM job_leases l JOIN workers w ON w.id = l.worker_id WHERE w.node LIKE '%:' || $1::text",
        )
        .bind(victim.to_string())
        .fetch_one(&mut conn)
        .await
        .unwrap()
            > 0
    })
    .await;
    nodes[2].kill();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // The others go on taking deliveries, until there are enough of them to show a loss.
    eventually("more than a hundred deliveries are accepted", 60, async || accepted.lock().unwrap().len() > 100).await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    for task in tasks {
        let _ = task.await; // aborted
    }
    let accepted = accepted.lock().unwrap().clone();
    assert!(accepted.len() > 100, "only {} were accepted; the load did not run", accepted.len());
    eventually("every delivery is processed and every job is done", 90, async || {
        sqlx::query_scalar::<_, i64>(
            "SELECT (SELECT count(*) FROM terra_webhooks_raw WHERE status <> 'completed') + (SELECT count(*) FROM background_jobs WHERE type IN ('webhook_processing', 'confidence_calculation'))",
        )
        .fetch_one(&mut conn)
        .await
        .unwrap()
            == 0
    })
    .await;
    let stored: Vec<String> = sqlx::query_scalar("SELECT trace_id FROM terra_webhooks_raw").fetch_all(&mut conn).await.unwrap();
    let mut once = stored.clone();
    once.sort();
    once.dedup();
    assert_eq!(stored.len(), once.len(), "a delivery is stored twice");
    let values: HashMap<String, f64> = sqlx::query_as("SELECT user_id, value FROM unified_metrics WHERE metric_name = 'steps'")
        .fetch_all(&mut conn)
        .await
        .unwrap()
        .into_iter()
        .collect();
    for (trace, (user, steps)) in &accepted {
        assert!(once.binary_search(trace).is_ok(), "{trace} was acknowledged and is lost");
        assert_eq!(values.get(user), Some(&f64::from(*steps)), "{user}");
    }
    let twice: i64 = sqlx::query_scalar("SELECT count(*) FROM (SELECT payload ->> 'delivery_id' FROM job_history WHERE type = 'webhook_processing' AND status = 'completed' GROUP BY 1 HAVING count(*) > 1) t")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(twice, 0, "a delivery's job completed twice");
    let scored: i64 = sqlx::query_scalar("SELECT count(DISTINCT user_id) FROM metric_confidence_cache WHERE metric_name = 'steps'")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(scored, values.len() as i64, "every person is scored");
    // All nodes show what one of them measured, the dead one is gone, and somebody leads.
    eventually("the dead worker is gone and health is well on every node", 40, async || {
        let mut well = 0;
        for node in [0, 1, 3, 4] {
            let health: serde_json::Value =
                reqwest::get(format!("{}/functions/v1/health-check", nodes[node].address)).await.unwrap().json().await.unwrap();
            well += usize::from(health["status"] == "healthy");
        }
        let workers: i64 = sqlx::query_scalar("SELECT count(*) FROM workers").fetch_one(&mut conn).await.unwrap();
        well == 4 && workers == 2
    })
    .await;
    println!("five nodes: {} deliveries acknowledged, {} stored, none lost, none doubled", accepted.len(), stored.len());
}
