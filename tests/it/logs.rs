//! The logs: one request id from the edge to the job, and nobody's data in the process's own log.

use crate::process::{ADMIN, Assay, Database, PASSWORD, SECRET, SERVICE_KEY, daily, eventually, send, signature};
use serde_json::Value;

const PEOPLE: [&str; 3] = ["pseudonym-4711", "jane.doe@example.org", "weird'person\"; DROP"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_id_goes_from_the_edge_to_the_job_and_the_answers() {
    let database = Database::new().await;
    let assay = Assay::start_with(&database, &[("RUST_LOG", "assay=debug")]).await;
    let client = reqwest::Client::new();
    let body = daily(PEOPLE[0], "2026-11-20", 4321);
    let answer = client
        .post(format!("{}/functions/v1/webhook-terra", assay.address))
        .header("terra-signature", signature(SECRET, body.as_bytes()))
        .header("x-request-id", "edge-to-job-0001")
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["x-request-id"].to_str().unwrap()), (200, "edge-to-job-0001"));
    // The delivery of the test endpoint goes by the id of the request that asked for it.
    let order = client.post(format!("{}/functions/v1/terra-webhook-test", assay.address)).bearer_auth(SERVICE_KEY);
    let order = order.header("x-request-id", "edge-to-job-0002").json(&serde_json::json!({"type": "body", "provider": "WHOOP"}));
    assert_eq!(order.send().await.unwrap().status(), 200);
    // A refusal has lines too, with its reason, and an id that the program made.
    let refused = client.post(format!("{}/functions/v1/webhook-terra", assay.address)).body("{}").send().await.unwrap();
    let made = refused.headers()["x-request-id"].to_str().unwrap().to_owned();
    let drained = client.post(format!("{}/functions/v1/job-worker", assay.address)).bearer_auth(SERVICE_KEY).send().await.unwrap();
    assert_eq!(drained.status(), 200);
    let mut conn = database.connect().await;
    eventually("the lines are written", 20, async || {
        let rows: Vec<(String, String, Option<String>)> = sqlx::query_as(
            "SELECT function_name, message, user_id FROM edge_function_logs WHERE request_id = 'edge-to-job-0001' ORDER BY function_name",
        )
        .fetch_all(&mut conn)
        .await
        .unwrap();
        let ours = Some(PEOPLE[0].to_owned());
        rows.contains(&("webhook-terra".into(), "OK".into(), ours.clone()))
            && rows.contains(&("job-worker".into(), "webhook_processing completed".into(), ours))
    })
    .await;
    eventually("the test delivery's job is found by its request", 20, async || {
        let found = "SELECT count(*) FROM edge_function_logs WHERE request_id = 'edge-to-job-0002' AND function_name = 'job-worker'";
        sqlx::query_scalar::<_, i64>(found).fetch_one(&mut conn).await.unwrap() > 0
    })
    .await;
    let (level, message): (String, String) = sqlx::query_as("SELECT level, message FROM edge_function_logs WHERE request_id = $1")
        .bind(&made)
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!((level.as_str(), message.as_str()), ("warn", "signature_missing"));
    let drains: i64 = sqlx::query_scalar("SELECT count(*) FROM edge_function_logs WHERE message = 'worked off what was due'")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(drains, 1);
    let kept: String = sqlx::query_scalar("SELECT headers ->> 'x-request-id' FROM terra_webhooks_raw WHERE user_id <> 'test-user-id'")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(kept, "edge-to-job-0001");
    // The process's own log says it too, with the batch that the job was in.
    eventually("the log names the request beside the batch", 10, async || {
        assay.log().lines().filter_map(|l| serde_json::from_str::<Value>(l).ok()).any(|line| {
            let spans = line["spans"].as_array().into_iter().flatten().chain([&line["span"]]);
            // Both deliveries may have been in one batch.
            let ours = |s: &Value| s["requests"].as_str().is_some_and(|all| all.split(' ').any(|id| id == "edge-to-job-0001"));
            spans.into_iter().any(|s| s["name"] == "jobs" && s["kind"] == "webhook_processing" && ours(s))
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_log_holds_no_personal_data_and_no_secret() {
    let database = Database::new().await;
    let mut assay = Assay::start_with(
        &database,
        &[("RUST_LOG", "info"), ("TERRA_API_KEY", "terra-key-of-the-test"), ("TERRA_DEV_ID", "dev-of-the-test")],
    )
    .await;
    let client = reqwest::Client::new();
    // Good ones, duplicates, conflicts, lies, nonsense, and values that no column takes.
    for (n, person) in PEOPLE.iter().enumerate() {
        for steps in [5011, 5012] {
            let body = daily(person, "2026-11-20", steps);
            for _ in 0..2 {
                send(&client, &assay.address, &format!("log-{n}"), &body).await.unwrap();
            }
        }
        let broken = daily(person, "2026-11-20", 7).replace("\"steps\":7", "\"steps\":1e308").replace("2026-11-20T00", "9999-99-99T00");
        send(&client, &assay.address, &format!("broken-{n}"), &broken).await.unwrap();
        let nonsense = format!("{{\"type\": \"daily\", \"user\": {{\"reference_id\": {person:?}}}, \"data\": \"heart rate 61.5\"}}");
        send(&client, &assay.address, &format!("nonsense-{n}"), &nonsense).await.unwrap();
        client.post(format!("{}/functions/v1/webhook-terra", assay.address)).body(nonsense).send().await.unwrap();
        client.get(format!("{}/clients/{}", assay.address, n)).query(&[("q", person)]).send().await.unwrap();
    }
    let login = client
        .post(format!("{}/login", assay.address))
        .header("origin", &assay.address)
        .form(&[("email", ADMIN), ("password", "a wrong guess of the password")]);
    login.send().await.unwrap();
    let mut conn = database.connect().await;
    sqlx::query(
        "INSERT INTO background_jobs (type, payload, user_id) VALUES ('webhook_processing', '{\"delivery_id\": \"heart rate 61.5\"}', $1)",
    )
    .bind(PEOPLE[1])
    .execute(&mut conn)
    .await
    .unwrap();
    eventually("the jobs are done", 30, async || {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM background_jobs WHERE type = 'webhook_processing' AND status <> 'failed'")
            .fetch_one(&mut conn)
            .await
            .unwrap()
            == 0
    })
    .await;
    assert!(assay.terminate().await.success());
    let log = assay.log();
    assert!(log.lines().count() > 3, "the log is empty: {log}");
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("not a JSON line ({e}): {line}"));
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
    let secrets = [SECRET, SERVICE_KEY, PASSWORD, "terra-key-of-the-test", "a wrong guess", "integration test password"];
    let private = PEOPLE.into_iter().chain([ADMIN, "jane.doe", "61.5", "reference_id", "terra-pseudonym", "5011"]);
    for word in secrets.into_iter().chain(private) {
        assert!(
            !log.contains(word),
            "the log holds {word:?}:\n{}",
            log.lines().filter(|l| l.contains(word)).collect::<Vec<_>>().join("\n")
        );
    }
}
