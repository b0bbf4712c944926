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
