//! The deployment checklist that the project comes from: every SQL statement sent on its own, as the owner, verbatim, and
//! each gives what the text promises; every curl against our address. Reads the original where it is present (it is not ours
//! to ship).

use crate::docs::{blocks, psql, statements};
use crate::process::{Assay, Database, SERVICE_KEY, eventually};
use serde_json::{Value, json};

fn checklist() -> Option<String> {
    let data = std::env::var("ASSAY_TEST_DATA").ok()?;
    std::fs::read_to_string(std::path::Path::new(&data).parent()?.join("seed/deployment-checklist.md")).ok()
}

/// The checklist's webhook test: ends in new rows of `unified_metrics`, and in scores.
async fn send_test_event(assay: &Assay) {
    let client = reqwest::Client::new();
    for (kind, provider) in [("body", "WHOOP"), ("daily", "GARMIN")] {
        let answer = client
            .post(format!("{}/functions/v1/terra-webhook-test", assay.address))
            .bearer_auth(SERVICE_KEY)
            .json(&json!({"type": kind, "provider": provider, "dryRun": false}))
            .send()
            .await
            .unwrap();
        let status = answer.status();
        assert_eq!(status, 200, "{}", answer.text().await.unwrap());
    }
}

/// Statements within a line of the text, outside the blocks.
fn inline(text: &str) -> Vec<String> {
    let mut inside = false;
    let outside = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    outside.flat_map(|line| line.split('`').skip(1).step_by(2)).filter(|code| code.starts_with("SELECT ")).map(str::to_owned).collect()
}

/// As many persons as it takes for an index to be the better way (some thousand), with a day's values and scores.
const MANY_PERSONS: &str = "
    INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
    SELECT 'person-' || p, 'metric_' || m, 'garmin', current_date, p, 'count', 1, 't', now(), gen_random_uuid() FROM generate_series(1, 1500) p, generate_series(1, 20) m;
    INSERT INTO metric_confidence_cache (user_id, metric_name, source, measurement_date, confidence_score, probability, low, high, factors, scorer_version, registry_version)
    SELECT user_id, metric_name, source, measurement_date, 70, 0.7, 0.6, 0.8, '{}', 1, 1 FROM unified_metrics WHERE user_id LIKE 'person-%';
    REFRESH MATERIALIZED VIEW latest_unified_metrics;
    ANALYZE latest_unified_metrics;
    ANALYZE metric_confidence_cache";

/// Whether a plan is what the text promises: by index. How long it took is printed beside what is promised; a busy machine
/// fails nothing.
fn by_index(sql: &str, said: &str) -> bool {
    let table = sql.split("FROM ").nth(1).unwrap().split_whitespace().next().unwrap();
    if !said.contains("Index Scan") || said.contains("Seq Scan") {
        println!("{table} is not read by an index:\n{said}");
        return false;
    }
    let took = said.lines().find_map(|line| line.trim().strip_prefix("Execution Time: ")).unwrap();
    let rows = said.split("actual time=").nth(1).and_then(|t| t.split("rows=").nth(1)).and_then(|t| t.split_whitespace().next()).unwrap();
    assert_ne!(rows, "0", "{table}: a plan that finds nothing shows nothing:\n{said}");
    println!(
        "the checklist: {table} of one user by an index, {rows} rows in {took} (promised: {})",
        if sql.contains("ORDER BY") { "5 ms" } else { "10 ms" }
    );
    true
}

#[test]
fn statements_within_a_line_are_found_and_those_in_blocks_are_not_found_twice() {
    let text = "- Logs: `SELECT 1` and `make`\n```sql\nSELECT `2`;\n```\n`SELECT 3`";
    assert_eq!(inline(text), ["SELECT 1", "SELECT 3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_statement_of_the_checklist_runs_verbatim() {
    let Some(text) = checklist() else {
        println!("skipped: the checklist is not here (ASSAY_TEST_DATA is not set)");
        return;
    };
    let database = Database::new().await;
    let assay = Assay::start(&database).await;
    send_test_event(&assay).await;
    let mut conn = database.connect().await;
    eventually("the test delivery is scored", 20, async || {
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM metric_confidence_cache WHERE user_id = 'test-user-id'")
            .fetch_one(&mut conn)
            .await
            .unwrap()
            > 0
    })
    .await;
    sqlx::raw_sql(MANY_PERSONS).execute(&mut conn).await.unwrap();
    // Logs and job history, at the end of the text.
    let inline = inline(&text);
    assert!(
        inline.iter().any(|s| s.contains("edge_function_logs")) && inline.iter().any(|s| s.contains("job_processing_stats")),
        "{inline:?}"
    );
    for sql in &inline {
        eventually(&format!("{sql} shows something"), 20, async || {
            let (ok, said) = psql(&database.url, sql);
            assert!(ok, "{sql}\n{said}");
            !said.contains("(0 rows)")
        })
        .await;
    }
    let all: Vec<String> = blocks(&text, "sql").into_iter().flat_map(|b| statements(&b.text)).collect();
    let destructive = |s: &String| s.contains("DROP ") || s.contains("TRUNCATE");
    let (last, first): (Vec<_>, Vec<_>) = all.into_iter().partition(destructive);
    assert!(first.len() >= 10 && last.len() >= 5, "{} + {} statements found", first.len(), last.len());
    let mut plans = 0;
    for sql in &first {
        let (ok, said) = psql(&database.url, sql);
        assert!(ok, "{sql}\n{said}");
        if sql.contains("Phase 7 Verification") {
            assert!(said.contains("5 / 5 checks passed") && said.contains("DEPLOYMENT SUCCESSFUL"), "{said}");
        }
        if sql.contains("EXPLAIN") {
            // The program makes the view anew beside this test, from what it saw before, and may count it as nearly empty;
            // its next turn would mend that, but may be a minute off.
            eventually("it is read by an index", 20, async || {
                let found = by_index(sql, &psql(&database.url, sql).1);
                if !found {
                    sqlx::raw_sql(
                        "REFRESH MATERIALIZED VIEW latest_unified_metrics; ANALYZE latest_unified_metrics, metric_confidence_cache",
                    )
                    .execute(&mut conn)
                    .await
                    .unwrap();
                }
                found
            })
            .await;
            plans += 1;
        }
    }
    assert_eq!(plans, 2, "the text promises two plans");
    // The rollback drills, while the program runs: it goes on, health says what is missing, repair puts it back.
    for sql in &last {
        let (ok, said) = psql(&database.url, sql);
        assert!(ok, "{sql}\n{said}");
    }
    send_test_event(&assay).await;
    eventually("health says degraded and what is missing", 20, async || {
        let health: Value = reqwest::get(format!("{}/functions/v1/health-check", assay.address)).await.unwrap().json().await.unwrap();
        health["status"] == "degraded" && health["checks"]["deadLetters"] == "degraded" && health["checks"]["latestView"] == "degraded"
    })
    .await;
    let repaired = std::process::Command::new(crate::process::binary())
        .args(["migrate", "--repair"])
        .env("DATABASE_URL", &database.url)
        .output()
        .unwrap();
    assert!(repaired.status.success(), "{}", String::from_utf8_lossy(&repaired.stderr));
    eventually("health is well again", 20, async || {
        let health: Value = reqwest::get(format!("{}/functions/v1/health-check", assay.address)).await.unwrap().json().await.unwrap();
        health["status"] == "healthy"
    })
    .await;
    println!("the checklist: {} statements ran, {} of them destructive", first.len() + inline.len() + last.len(), last.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checklists_calls_answer_as_it_says() {
    let database = Database::new().await;
    let assay = Assay::start(&database).await;
    let client = reqwest::Client::new();
    // Step 4: the shape of the health check.
    let health: Value = client.get(format!("{}/functions/v1/health-check", assay.address)).send().await.unwrap().json().await.unwrap();
    assert_eq!(health["status"], "healthy", "{health}");
    assert!(health["timestamp"].is_string());
    assert_eq!(health["checks"]["database"], "ok");
    assert_eq!(health["checks"]["jobWorker"], "ok");
    assert!(health["checks"].get("pendingJobs").is_none(), "a stranger sees numbers: {health}");
    // Rollback 3: the worker by hand.
    let worker = format!("{}/functions/v1/job-worker", assay.address);
    assert_eq!(client.post(&worker).send().await.unwrap().status(), 401);
    let drained: Value = client.post(&worker).bearer_auth(SERVICE_KEY).send().await.unwrap().json().await.unwrap();
    assert_eq!(drained["success"], true, "{drained}");
    // Step 5: 200 first, 429 after the limit, and not one row stored.
    let mut statuses = Vec::new();
    for _ in 0..110 {
        let answer =
            client.post(format!("{}/functions/v1/webhook-terra", assay.address)).json(&json!({"test": true})).send().await.unwrap();
        statuses.push(answer.status().as_u16());
        if answer.status() == 429 {
            assert!(answer.headers().contains_key("retry-after") && answer.headers().contains_key("ratelimit"));
        }
    }
    assert!(statuses[..5].iter().all(|s| *s == 200), "{statuses:?}");
    assert!(statuses[105..].iter().all(|s| *s == 429), "{statuses:?}");
    let mut conn = database.connect().await;
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM terra_webhooks_raw").fetch_one(&mut conn).await.unwrap();
    assert_eq!(stored, 0);
}
