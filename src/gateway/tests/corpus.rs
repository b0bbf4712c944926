//! Terra's own examples, the fixtures of an older form, and broken versions of all of them: through the gateway and the
//! ingest. Whatever comes is answered with a word, kept byte for byte, and ends in a state that says why.

use super::*;
use crate::ingest;
use std::path::PathBuf;

/// Name and bytes of each document; none, with a message, where the shared data are absent.
fn documents() -> Vec<(String, Vec<u8>)> {
    let folder = std::env::var_os("ASSAY_TEST_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from).join("terra_official");
    if !folder.is_dir() {
        println!("skipped: no data at {} (set ASSAY_TEST_DATA)", folder.display());
        return Vec::new();
    }
    let mut all = Vec::new();
    for group in ["webhook_examples", "old_2021_fixtures_MIT"] {
        for entry in std::fs::read_dir(folder.join(group)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "json") {
                all.push((format!("{group}/{}", path.file_stem().unwrap().to_string_lossy()), std::fs::read(&path).unwrap()));
            }
        }
    }
    all.sort();
    assert_eq!(all.len(), 29, "nineteen examples and ten fixtures");
    all
}

async fn send(b: &Bench, trace: &str, body: &[u8]) -> Answer {
    let headers = [("content-type", "application/json"), ("terra-signature", &signature(body)), ("x-terra-trace-id", trace)];
    b.send(webhook(&headers, body.to_vec())).await
}

/// Processes what is stored, as a worker would.
async fn process(b: &Bench) {
    let mut tx = b.t.db.begin_service().await.unwrap();
    let keys: Vec<(uuid::Uuid, crate::model::Instant)> =
        sqlx::query_as("SELECT id, created_at FROM terra_webhooks_raw WHERE status = 'pending' ORDER BY id")
            .fetch_all(&mut *tx)
            .await
            .unwrap();
    let outcomes = ingest::process_stored(&mut tx, &keys).await.unwrap().outcomes;
    assert_eq!(outcomes.len(), keys.len());
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn terras_examples_and_the_old_fixtures_are_kept_and_end_in_a_state_with_a_reason() {
    let documents = documents();
    if documents.is_empty() {
        return;
    }
    let b = Bench::new().await;
    for (name, body) in &documents {
        let answer = send(&b, name, body).await;
        assert!(answer.status == 200 && matches!(answer.word("status"), "accepted" | "ignored"), "{name}: {answer:?}");
        let stored: Vec<u8> = sqlx::query_scalar("SELECT body FROM terra_webhooks_raw WHERE trace_id = $1")
            .bind(name)
            .fetch_one(b.t.db.owner())
            .await
            .unwrap();
        assert_eq!(stored, *body, "{name}");
    }
    process(&b).await;
    let ends: Vec<(String, String, Option<String>)> =
        sqlx::query_as("SELECT trace_id, status, error FROM terra_webhooks_raw ORDER BY 1").fetch_all(b.t.db.owner()).await.unwrap();
    for (name, status, error) in ends {
        match status.as_str() {
            "completed" => {}
            // An s3_payload waits for what lies behind its link.
            "failed" | "parked" | "ignored" | "processing" => {
                assert!(error.is_some_and(|e| e.ends_with('.')), "{name} {status} says no reason")
            }
            other => panic!("{name} ended as {other}"),
        }
    }
    assert!(b.count("terra_webhooks_raw WHERE trace_id LIKE 'webhook%' AND status = 'completed'").await >= 12);
}

#[tokio::test]
async fn broken_documents_are_answered_and_harm_nobody() {
    let documents = documents();
    if documents.is_empty() {
        return;
    }
    let b = Bench::new().await;
    let mut n = 0;
    for (name, body) in &documents {
        let text = String::from_utf8_lossy(body);
        let mut broken: Vec<Vec<u8>> = [3, 7].iter().map(|part| body[..body.len() * part / 10].to_vec()).collect();
        // Each key twice, the second time with another value; numbers without end; NUL and invalid UTF-8 in texts.
        broken.push(text.replace("\": ", "\": null, \"x\": ").into_bytes());
        broken.push(
            text.replacen(
                '{',
                &format!(
                    "{{\"type\": 7, {}",
                    text.trim_start().trim_start_matches('{').split(',').next().map_or(String::new(), |m| format!("{m},"))
                ),
                1,
            )
            .into_bytes(),
        );
        broken.push(text.replace("0,", &format!("{}e9999,", "9".repeat(400))).into_bytes());
        broken.push(text.replace("\": \"", "\": \"\\u0000").into_bytes());
        broken.push(body.iter().flat_map(|b| if *b == b'-' { vec![0xff, 0xfe] } else { vec![*b] }).collect());
        for body in broken {
            n += 1;
            let answer = send(&b, &format!("{name}-{n}"), &body).await;
            let fine = match answer.status.as_u16() {
                200 => matches!(answer.word("status"), "accepted" | "ignored"),
                400 => matches!(answer.word("reason"), "not_json" | "not_an_object" | "too_deep"),
                _ => false,
            };
            assert!(fine, "{name}: {answer:?}");
        }
    }
    assert_eq!(b.count("terra_webhooks_raw").await, n, "every one is kept");
    process(&b).await;
    assert_eq!(b.count("terra_webhooks_raw WHERE status = 'pending'").await, 0);
    assert_eq!(b.count("terra_webhooks_raw WHERE status IN ('failed', 'parked', 'ignored', 'invalid') AND error IS NULL").await, 0);
    // And the system goes on: a good delivery after all that gives its value.
    b.deliver("good", &daily(4321)).await.is(200, "status", "accepted");
    process(&b).await;
    assert_eq!(b.count("unified_metrics WHERE metric_name = 'steps' AND value = 4321").await, 1);
}

/// Ten megabytes of heart rate samples in one day: taken, kept, and its day values made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_megabytes_of_samples_are_one_delivery() {
    let b = Bench::new().await;
    let samples: Vec<String> = (0..170_000)
        .map(|n| {
            format!(
                r#"{{"timestamp":"2026-11-22T{:02}:{:02}:{:02}.000000+00:00","bpm":{}.0}}"#,
                n / 3600 % 24,
                n / 60 % 60,
                n % 60,
                50 + n % 90
            )
        })
        .collect();
    let day = daily(9_876).replacen(
        r#""distance_data""#,
        &format!(
            r#""heart_rate_data":{{"detailed":{{"hr_samples":[{}]}},"summary":{{"resting_hr_bpm":51}}}},"distance_data""#,
            samples.join(",")
        ),
        1,
    );
    assert!((9 << 20..16 << 20).contains(&day.len()), "{}", day.len());
    b.deliver("large", &day).await.is(200, "status", "accepted");
    process(&b).await;
    assert_eq!(b.count("terra_webhooks_raw WHERE status = 'completed' AND octet_length(body) > 9000000").await, 1);
    assert_eq!(b.count("unified_metrics WHERE metric_name IN ('steps', 'resting_heart_rate') AND value IN (9876, 51)").await, 2);
    assert_eq!(b.gateway.memory(), 0);
}
