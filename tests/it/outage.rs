//! The database goes away and comes back, as seen by probes, by Terra and on the status page. Between the program and
//! PostgreSQL stands a forwarder that can be cut.

use crate::cluster::Cluster;
use crate::process::{Assay, Database, SERVICE_KEY, daily, eventually, send};
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

/// The answer of the health check: status code, and the body that the service key shows.
async fn health(address: &str) -> (u16, Value) {
    let url = format!("{address}/functions/v1/health-check");
    let answer = reqwest::Client::new().get(url).bearer_auth(SERVICE_KEY).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_answers_but_does_not_store_is_an_error_until_it_stores_again() {
    let database = Database::new().await;
    let assay = Assay::start(&database).await;
    let client = reqwest::Client::new();
    let status_of =
        async |trace: &str| send(&client, &assay.address, trace, &daily("p", "2026-11-20", 5000)).await.unwrap().status().as_u16();
    assert_eq!(status_of("before").await, 200);
    let mut conn = database.connect().await;
    // What PostgreSQL says when its disk is full.
    sqlx::raw_sql(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
         CREATE TRIGGER full_disk BEFORE INSERT ON delivery_keys FOR EACH ROW EXECUTE FUNCTION full_disk();",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    eventually("health says that deliveries are not stored, and the node stays ready", 20, async || {
        assert_eq!(status_of("meanwhile").await, 503);
        let (code, health) = health(&assay.address).await;
        code == 503
            && health["checks"]["webhooks"] == "error"
            && health["checks"]["notes"]["webhooks"].as_str().is_some_and(|n| n.contains("503"))
    })
    .await;
    assert_eq!(status(&assay.address, "/readyz").await, 200, "the pages still work");
    let metrics = reqwest::get(format!("{}/metrics", assay.address)).await.unwrap().text().await.unwrap();
    let counted = |name: &str| metrics.lines().find_map(|l| l.strip_prefix(name)?.trim().parse::<u64>().ok()).unwrap_or(0);
    let unavailable = counted("assay_gateway_answers_total{outcome=\"unavailable\"}");
    assert!(unavailable > 0 && counted("assay_flush_failures_total") == unavailable, "{metrics}");
    // Room again: Terra sends it again, it is stored, and health is better at once.
    sqlx::raw_sql("DROP FUNCTION full_disk() CASCADE").execute(&mut conn).await.unwrap();
    assert_eq!(status_of("meanwhile").await, 200);
    eventually("health is no error any more", 20, async || {
        let (code, health) = health(&assay.address).await;
        code == 200 && health["checks"]["webhooks"] == "degraded"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_password_of_the_owner_needs_no_more_than_the_new_address() {
    let cluster = Cluster::start();
    cluster.ask_for_passwords();
    let mut database = cluster.database().await;
    let client = reqwest::Client::new();
    let mut assay = Assay::start(&database).await;
    assert_eq!(send(&client, &assay.address, "before", &daily("p", "2026-11-20", 5000)).await.unwrap().status(), 200);
    assert!(assay.terminate().await.success());
    database.url = cluster.change_password(&database.url, "another");
    let assay = Assay::start(&database).await;
    assert_eq!(send(&client, &assay.address, "after", &daily("p", "2026-11-21", 5000)).await.unwrap().status(), 200);
    let page = reqwest::get(format!("{}/status", assay.address)).await.unwrap();
    assert_eq!(page.status(), 200, "pages log in by a role of their own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owners_password_may_stand_elsewhere_than_before_the_at() {
    let cluster = Cluster::start();
    cluster.ask_for_passwords();
    let mut database = cluster.database().await;
    let client = reqwest::Client::new();
    let without = database.url.replace(":test@", "@");
    for (trace, url, around) in
        [("around", without.clone(), vec![("PGPASSWORD", "test")]), ("parameter", format!("{without}?password=test"), vec![])]
    {
        database.url = url;
        let mut assay = Assay::start_with(&database, &around).await;
        assert_eq!(send(&client, &assay.address, trace, &daily("p", "2026-11-20", 5000)).await.unwrap().status(), 200);
        let page = reqwest::get(format!("{}/status", assay.address)).await.unwrap();
        assert_eq!(page.status(), 200, "pages log in by a role of their own");
        assert!(assay.terminate().await.success());
    }
}
