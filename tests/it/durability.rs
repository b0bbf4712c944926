//! Promise 1: a 200 means durable. Promise 2 and 3: exactly once in effect, whatever is killed.

use crate::process::{Assay, Database, daily, eventually, send};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// Sends distinct deliveries from many tasks until the program is gone; returns the trace ids answered with 2xx.
async fn load(address: &str, round: usize, stop_after: std::time::Duration) -> HashSet<String> {
    let accepted = Arc::new(Mutex::new(HashSet::new()));
    let client = reqwest::Client::builder().timeout(std::time::Duration::from_secs(9)).build().unwrap();
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let (client, address, accepted) = (client.clone(), address.to_owned(), Arc::clone(&accepted));
            tokio::spawn(async move {
                for n in 0..1_000_000_u32 {
                    let trace = format!("round-{round}-{task}-{n}");
                    let body = daily(&format!("load-{}", n % 20), "2026-11-20", 1000 + n);
                    match send(&client, &address, &trace, &body).await {
                        Ok(r) if r.status().is_success() => {
                            accepted.lock().unwrap().insert(trace);
                        }
                        Ok(_) => {}
                        Err(_) => return,
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep(stop_after).await;
    for t in &tasks {
        t.abort();
    }
    Arc::try_unwrap(accepted).map_or_else(|a| a.lock().unwrap().clone(), |m| m.into_inner().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_2xx_survives_kill_9_of_the_program() {
    let database = Database::new().await;
    let mut accepted = HashSet::new();
    for round in 0..5 {
        let mut assay = Assay::start(&database).await;
        let address = assay.address.clone();
        let loading = tokio::spawn(async move { load(&address, round, std::time::Duration::from_millis(400)).await });
        tokio::time::sleep(std::time::Duration::from_millis(200 + 37 * round as u64)).await;
        assay.kill();
        accepted.extend(loading.await.unwrap());
    }
    assert!(accepted.len() > 100, "only {} were accepted; the load did not run", accepted.len());
    let mut conn = database.connect().await;
    let stored: Vec<String> = sqlx::query_scalar("SELECT trace_id FROM terra_webhooks_raw").fetch_all(&mut conn).await.unwrap();
    let stored_set: HashSet<String> = stored.iter().cloned().collect();
    assert_eq!(stored.len(), stored_set.len(), "a delivery is stored twice");
    let lost: Vec<_> = accepted.difference(&stored_set).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged deliveries are lost, such as {:?}", lost.len(), accepted.len(), lost.first());
    // After a last start every stored delivery is processed, once.
    let _assay = Assay::start(&database).await;
    eventually("all deliveries are processed", 60, async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM terra_webhooks_raw WHERE status NOT IN ('completed')")
            .fetch_one(&mut conn)
            .await
            .unwrap();
        left == 0
    })
    .await;
    let twice: i64 = sqlx::query_scalar("SELECT count(*) FROM (SELECT payload->>'delivery_id' FROM job_history WHERE type = 'webhook_processing' AND status = 'completed' GROUP BY 1 HAVING count(*) > 1) t")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(twice, 0, "a delivery's job completed twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_flushes_what_it_accepted() {
    let database = Database::new().await;
    let mut assay = Assay::start(&database).await;
    let address = assay.address.clone();
    let loading = tokio::spawn(async move { load(&address, 0, std::time::Duration::from_millis(600)).await });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let status = assay.terminate().await;
    assert!(status.success(), "{status}: {}", assay.log());
    let accepted = loading.await.unwrap();
    let mut conn = database.connect().await;
    let stored: HashSet<String> =
        sqlx::query_scalar("SELECT trace_id FROM terra_webhooks_raw").fetch_all(&mut conn).await.unwrap().into_iter().collect();
    assert!(accepted.len() > 20 && accepted.is_subset(&stored), "{} accepted, {} stored", accepted.len(), stored.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_nodes_start_at_once_on_an_empty_database() {
    let database = Database::new().await;
    let mut nodes = futures::future::join_all((0..10).map(|_| Assay::start(&database))).await;
    let mut conn = database.connect().await;
    let admins: i64 = sqlx::query_scalar("SELECT count(*) FROM accounts WHERE role = 'admin'").fetch_one(&mut conn).await.unwrap();
    assert_eq!(admins, 1);
    // One delivery sent to each node is one delivery.
    let client = reqwest::Client::new();
    let body = daily("ten", "2026-11-20", 4321);
    for node in &nodes {
        let answer = send(&client, &node.address, "the-same", &body).await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM terra_webhooks_raw").fetch_one(&mut conn).await.unwrap();
    assert_eq!(stored, 1);
    for node in &mut nodes {
        node.kill();
    }
}
