//! Promise 1: a 200 means durable. Promise 2 and 3: exactly once in effect, whatever is killed.

use crate::cluster::Cluster;
use crate::process::{Assay, Database, daily, eventually, send};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A delivery that can be sent again, the same bytes under the same trace id.
fn delivery(round: usize, task: usize, n: u32) -> (String, String) {
    (format!("round-{round}-{task}-{n}"), daily(&format!("load-{}", n % 20), "2026-11-20", 1000 + n))
}

/// What was sent in a round, and what of it was answered with 2xx.
#[derive(Default)]
struct Sent {
    accepted: HashSet<String>,
    /// Refused, or without an answer: Terra would send these again.
    open: Vec<(String, String)>,
}

/// Sends distinct deliveries from many tasks for a while, whatever the answers.
async fn load(address: &str, round: usize, stop_after: Duration) -> Sent {
    let sent = Arc::new(Mutex::new(Sent::default()));
    let client = reqwest::Client::builder().timeout(Duration::from_secs(9)).build().unwrap();
    let end = Instant::now() + stop_after;
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let (client, address, sent) = (client.clone(), address.to_owned(), Arc::clone(&sent));
            tokio::spawn(async move {
                for n in 0..1_000_000_u32 {
                    if Instant::now() > end {
                        return;
                    }
                    let (trace, body) = delivery(round, task, n);
                    match send(&client, &address, &trace, &body).await {
                        Ok(r) if r.status().is_success() => drop(sent.lock().unwrap().accepted.insert(trace)),
                        other => {
                            sent.lock().unwrap().open.push((trace, body));
                            // A program that is gone refuses at once: as patient as Terra, only quicker.
                            tokio::time::sleep(Duration::from_millis(if other.is_ok() { 5 } else { 20 })).await;
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    Arc::try_unwrap(sent).map(|s| s.into_inner().unwrap()).unwrap_or_default()
}

/// Sends again what was not answered with 2xx, as Terra does, until it is.
async fn send_again(address: &str, sent: &mut Sent) {
    let client = reqwest::Client::new();
    for (trace, body) in std::mem::take(&mut sent.open) {
        let mut tries = 0;
        while !send(&client, address, &trace, &body).await.is_ok_and(|r| r.status().is_success()) {
            tries += 1;
            assert!(tries < 200, "{trace} is not taken");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        sent.accepted.insert(trace);
    }
}

/// How many rounds: few in the suite, `ASSAY_ROUNDS=20` by hand.
fn rounds(few: usize) -> usize {
    std::env::var("ASSAY_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(few)
}

/// Rows = distinct 2xx, none twice; each delivery processed, and no job completed twice.
async fn stored_once_and_processed_once(database: &Database, accepted: &HashSet<String>) {
    let mut conn = database.connect().await;
    let stored: Vec<String> = sqlx::query_scalar("SELECT trace_id FROM terra_webhooks_raw").fetch_all(&mut conn).await.unwrap();
    let distinct: HashSet<String> = stored.iter().cloned().collect();
    assert_eq!(stored.len(), distinct.len(), "a delivery is stored twice");
    let lost: Vec<_> = accepted.difference(&distinct).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged deliveries are lost, such as {:?}", lost.len(), accepted.len(), lost.first());
    assert_eq!(distinct, *accepted, "rows are the distinct deliveries that were answered with 2xx");
    eventually("all deliveries are processed", 90, async || {
        let left: i64 =
            sqlx::query_scalar("SELECT count(*) FROM terra_webhooks_raw WHERE status <> 'completed'").fetch_one(&mut conn).await.unwrap();
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
async fn every_2xx_survives_kill_9_of_the_program() {
    let database = Database::new().await;
    let (mut accepted, mut before_the_kill, mut cut) = (HashSet::new(), 0, 0);
    let rounds = rounds(4);
    for round in 0..rounds {
        let mut assay = Assay::start(&database).await;
        let address = assay.address.clone();
        let loading = tokio::spawn(async move { load(&address, round, Duration::from_millis(700)).await });
        tokio::time::sleep(Duration::from_millis(250 + 37 * (round % 10) as u64)).await;
        assay.kill();
        let mut sent = loading.await.unwrap();
        (before_the_kill, cut) = (before_the_kill + sent.accepted.len(), cut + sent.open.len());
        let assay = Assay::start(&database).await;
        send_again(&assay.address, &mut sent).await;
        accepted.extend(sent.accepted);
    }
    println!("{rounds} rounds of kill -9: {before_the_kill} accepted before it, {cut} cut off and sent again");
    assert!(before_the_kill > 20 * rounds && cut > 0, "only {before_the_kill} were accepted; the load did not run");
    let _assay = Assay::start(&database).await;
    stored_once_and_processed_once(&database, &accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_2xx_survives_an_immediate_stop_of_postgresql() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    // One program through all rounds: it has to find its way back by itself.
    let assay = Assay::start(&database).await;
    let (mut accepted, mut before, mut refused) = (HashSet::new(), 0, 0);
    let rounds = rounds(3);
    for round in 0..rounds {
        let address = assay.address.clone();
        let loading = tokio::spawn(async move { load(&address, round, Duration::from_millis(1500)).await });
        tokio::time::sleep(Duration::from_millis(400 + 53 * (round % 10) as u64)).await;
        tokio::task::block_in_place(|| {
            cluster.stop_immediately();
            cluster.restart();
        });
        let mut sent = loading.await.unwrap();
        (before, refused) = (before + sent.accepted.len(), refused + sent.open.len());
        send_again(&assay.address, &mut sent).await;
        accepted.extend(sent.accepted);
    }
    println!("{rounds} rounds of an immediate stop: {before} accepted at once, {refused} refused or cut off and sent again");
    assert!(before > 20 * rounds && refused > 0, "only {before} were accepted; the load did not run");
    stored_once_and_processed_once(&database, &accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_2xx_survives_the_end_of_program_and_postgresql_in_the_same_moment() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    let (mut accepted, mut before, mut cut) = (HashSet::new(), 0, 0);
    let rounds = rounds(2);
    for round in 0..rounds {
        let mut assay = Assay::start(&database).await;
        let address = assay.address.clone();
        let loading = tokio::spawn(async move { load(&address, round, Duration::from_millis(700)).await });
        tokio::time::sleep(Duration::from_millis(300 + 41 * (round % 10) as u64)).await;
        tokio::task::block_in_place(|| {
            cluster.stop_together_with(assay.child.id());
            assay.kill(); // it is dead; this takes note of it
            cluster.restart();
        });
        let mut sent = loading.await.unwrap();
        (before, cut) = (before + sent.accepted.len(), cut + sent.open.len());
        let assay = Assay::start(&database).await;
        send_again(&assay.address, &mut sent).await;
        accepted.extend(sent.accepted);
    }
    println!("{rounds} rounds of both at once: {before} accepted before, {cut} cut off and sent again");
    assert!(before > 20 * rounds && cut > 0, "only {before} were accepted; the load did not run");
    let _assay = Assay::start(&database).await;
    stored_once_and_processed_once(&database, &accepted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_flushes_what_it_accepted() {
    let database = Database::new().await;
    let mut assay = Assay::start(&database).await;
    let address = assay.address.clone();
    let loading = tokio::spawn(async move { load(&address, 0, Duration::from_millis(600)).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let status = assay.terminate().await;
    assert!(status.success(), "{status}: {}", assay.log());
    let accepted = loading.await.unwrap().accepted;
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
