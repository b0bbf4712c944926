//! The database goes away and comes back, as seen by probes, by Terra and on the status page. Between the program and
//! PostgreSQL stands a forwarder that can be cut.

use crate::process::{Assay, Database, daily, eventually, send};
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

struct Forwarder {
    port: u16,
    to: String,
    cut: CancellationToken,
}

impl Forwarder {
    async fn start(to: &str) -> Self {
        let mut forwarder = Self { port: 0, to: to.to_owned(), cut: CancellationToken::new() };
        forwarder.open().await;
        forwarder
    }

    async fn open(&mut self) {
        self.cut = CancellationToken::new();
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.port = listener.local_addr().unwrap().port();
        let (cut, to) = (self.cut.clone(), self.to.clone());
        tokio::spawn(async move {
            while let Some(Ok((mut client, _))) = cut.run_until_cancelled(listener.accept()).await {
                let (cut, to) = (cut.clone(), to.clone());
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(to).await else { return };
                    let _ = cut.run_until_cancelled(tokio::io::copy_bidirectional(&mut client, &mut server)).await;
                });
            }
        });
    }
}

async fn status(address: &str, path: &str) -> u16 {
    reqwest::get(format!("{address}{path}")).await.map_or(0, |r| r.status().as_u16())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_told_late_enough_mended_surely_and_written_down() {
    let mut database = Database::new().await;
    let direct = database.url.clone();
    let host = direct.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
    let mut forwarder = Forwarder::start(&host).await;
    database.url = direct.replace(&host, &format!("127.0.0.1:{}", forwarder.port));
    let assay = Assay::start(&database).await;
    let client = reqwest::Client::new();
    assert_eq!(send(&client, &assay.address, "before", &daily("p", "2026-11-20", 5000)).await.unwrap().status(), 200);
    // Cut: deliveries are refused at once, the node stays in service for some seconds, then says so.
    let began = Instant::now();
    forwarder.cut.cancel();
    eventually("deliveries are answered 503", 10, async || {
        send(&client, &assay.address, "meanwhile", &daily("p", "2026-11-21", 6000)).await.is_ok_and(|r| r.status() == 503)
    })
    .await;
    assert_eq!(status(&assay.address, "/readyz").await, 200, "one slow moment must not take the node out of service");
    eventually("not ready", 25, async || status(&assay.address, "/readyz").await == 503).await;
    assert!(began.elapsed() > Duration::from_secs(5), "after {:?}", began.elapsed());
    assert_eq!(status(&assay.address, "/healthz").await, 200);
    let answer = reqwest::get(format!("{}/functions/v1/health-check", assay.address)).await.unwrap();
    assert_eq!(answer.status(), 503);
    let health: Value = answer.json().await.unwrap();
    assert_eq!((&health["status"], &health["checks"]["database"]), (&"unhealthy".into(), &"error".into()));
    let page = reqwest::get(format!("{}/status", assay.address)).await.unwrap().text().await.unwrap();
    assert!(page.contains("The database does not answer."), "the status page says nothing of it: {page}");
    // Back: after some good looks the node is ready, the delivery is taken, and the outage is in the history.
    forwarder.open().await;
    eventually("ready again", 30, async || status(&assay.address, "/readyz").await == 200).await;
    eventually("the delivery is taken", 20, async || {
        send(&client, &assay.address, "meanwhile", &daily("p", "2026-11-21", 6000)).await.is_ok_and(|r| r.status() == 200)
    })
    .await;
    database.url = direct;
    let mut conn = database.connect().await;
    eventually("the outage is in the history", 20, async || {
        sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM health_snapshots WHERE status = 'unhealthy' AND checks #>> '{database,status}' = 'error'",
        )
        .fetch_one(&mut conn)
        .await
        .unwrap()
            > 0
    })
    .await;
    let page = reqwest::get(format!("{}/status", assay.address)).await.unwrap().text().await.unwrap();
    assert!(page.contains("Last 24 hours") && page.contains("unhealthy for a while: 1"), "the status page shows no outage");
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT trace_id, status FROM terra_webhooks_raw ORDER BY trace_id").fetch_all(&mut conn).await.unwrap();
        if rows.len() == 2 && rows.iter().all(|(_, status)| status == "completed") {
            return;
        }
        assert!(Instant::now() < end, "both should be processed: {rows:?}\n{}", assay.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
