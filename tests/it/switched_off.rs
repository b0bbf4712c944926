//! Parts that are switched off because a value is absent: what they answer, and that log, dashboard and `verify` say so.

use crate::process::{ADMIN, Assay, Database, PASSWORD, SECRET, binary, daily, eventually, signature};
use crate::visitors::{client, log_in};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_secret_deliveries_wait_at_terra_and_health_log_dashboard_and_verify_say_why() {
    let database = Database::new().await;
    let off = [("TERRA_SIGNING_SECRETS", ""), ("ASSAY_SECRET_KEY", ""), ("TERRA_API_KEY", ""), ("TERRA_DEV_ID", "")];
    let assay = Assay::start_with(&database, &off).await;
    let body = daily("somebody", "2026-11-20", 5000);
    for signed in [None, Some(signature(SECRET, body.as_bytes()))] {
        let mut request = client().post(format!("{}/functions/v1/webhook-terra", assay.address)).body(body.clone());
        if let Some(signature) = signed {
            request = request.header("terra-signature", signature);
        }
        let answer = request.send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (503, true));
        assert_eq!(answer.json::<Value>().await.unwrap()["reason"], "no_signing_secret");
    }
    // Nothing is said of the database or its disk, whatever strangers send.
    let sent = (chrono::Utc::now() + chrono::TimeDelta::seconds(1)).to_rfc3339();
    let mut health = Value::Null;
    eventually("health looked again", 20, async || {
        let answer = client().get(format!("{}/functions/v1/health-check", assay.address)).send().await.unwrap();
        health = answer.json().await.unwrap();
        health["timestamp"].as_str().is_some_and(|at| at > sent.as_str())
    })
    .await;
    assert_eq!((&health["status"], &health["checks"]["webhooks"]), (&"degraded".into(), &"degraded".into()), "{health}");
    assert_eq!((&health["checks"]["database"], &health["checks"]["disk"]), (&"ok".into(), &"ok".into()), "{health}");
    let admin = log_in(&assay, ADMIN, PASSWORD).await;
    let page = client().get(format!("{}/admin", assay.address)).header("cookie", &admin).send().await.unwrap().text().await.unwrap();
    let verify = std::process::Command::new(binary())
        .arg("verify")
        .env("DATABASE_URL", &database.url)
        .env("ASSAY_DATA_DIR", std::env::temp_dir())
        .envs(off)
        .output()
        .unwrap();
    let verify = String::from_utf8_lossy(&verify.stdout).into_owned();
    for missing in ["TERRA_SIGNING_SECRETS is not set", "ASSAY_SECRET_KEY is not set", "TERRA_API_KEY and TERRA_DEV_ID are not set"] {
        for (place, said) in [("the log", &assay.log()), ("the dashboard", &page), ("verify", &verify)] {
            assert!(said.contains(missing), "{place} does not say that {missing}: {said}");
        }
    }
    assert!(page.contains("href=\"/admin/webhooks?tab=refused\""), "the alert leads nowhere: {page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_service_key_its_endpoints_say_so_and_an_administrator_still_sends_test_events() {
    let database = Database::new().await;
    let assay = Assay::start_with(&database, &[("ASSAY_SERVICE_KEY", "")]).await;
    let order = r#"{"type":"daily","provider":"OURA","dryRun":true}"#;
    for key in [None, Some("Bearer "), Some("Bearer a-guess-of-sixteen")] {
        let asked = [
            client().post(format!("{}/functions/v1/job-worker", assay.address)),
            client().post(format!("{}/functions/v1/terra-webhook-test", assay.address)).body(order),
            client().get(format!("{}/metrics", assay.address)).header("x-forwarded-for", "198.51.100.7"),
        ];
        for request in asked {
            let request = if let Some(key) = key { request.header("authorization", key) } else { request };
            let answer = request.send().await.unwrap();
            let (url, status) = (answer.url().path().to_owned(), answer.status().as_u16());
            let said = answer.text().await.unwrap();
            assert!(status == 503 && said.contains("ASSAY_SERVICE_KEY"), "{url} {key:?}: {status} {said}");
        }
    }
    let local = client().get(format!("{}/metrics", assay.address)).send().await.unwrap();
    assert_eq!(local.status(), 200, "this machine itself needs none");
    let admin = log_in(&assay, ADMIN, PASSWORD).await;
    let by_session = client()
        .post(format!("{}/functions/v1/terra-webhook-test", assay.address))
        .header("origin", &assay.address)
        .header("cookie", &admin)
        .body(order)
        .send()
        .await
        .unwrap();
    assert_eq!(by_session.status(), 200);
    let page = |path: &'static str| client().get(format!("{}{path}", assay.address)).header("cookie", &admin).send();
    let form = page("/admin/webhooks?tab=test&type=daily&provider=OURA&dry=1").await.unwrap().text().await.unwrap();
    assert!(form.contains("nothing was stored") && form.contains("Send it") && !form.contains("is configured, so"), "{form}");
    let dashboard = page("/admin").await.unwrap().text().await.unwrap();
    assert!(dashboard.contains("ASSAY_SERVICE_KEY is not set"), "{dashboard}");
}
