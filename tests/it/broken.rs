//! Every screen while a part of the database is not there: the page says what happened and what to do, quotes the
//! request's id, carries the right status, and the next page works again.

use crate::process::{ADMIN, Assay, Database, PASSWORD};
use crate::visitors::{client, log_in};
use sqlx::{AssertSqlSafe, Executor};

/// A screen, and a table it cannot do without.
const SCREENS: &[(&str, &str)] = &[
    ("/admin", "gateway_counts"),
    ("/admin/jobs", "job_counts"),
    ("/admin/jobs/00000000-0000-0000-0000-000000000000", "job_history"),
    ("/admin/dead-letters", "operations"),
    ("/admin/webhooks", "terra_webhooks_raw"),
    ("/admin/webhooks?tab=refused", "refused_deliveries"),
    ("/admin/webhooks?tab=replay", "operations"),
    ("/admin/webhooks/00000000-0000-0000-0000-000000000000", "terra_webhooks_raw"),
    ("/admin/logs", "edge_function_logs"),
    ("/admin/logs?tab=audit", "audit_log"),
    ("/admin/nodes", "workers"),
    ("/admin/schedules", "schedules"),
    ("/admin/connections", "provider_states"),
    ("/admin/trainers", "trainer_clients"),
    ("/clients", "persons"),
    ("/clients/nobody", "persons"),
    ("/status", "health_snapshots"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_screen_whose_table_is_gone_says_so_and_comes_back() {
    let database = Database::new().await;
    // Without workers nobody else stumbles over the missing table.
    let assay = Assay::start_with(&database, &[("ASSAY_ROLE", "web")]).await;
    let admin = log_in(&assay, ADMIN, PASSWORD).await;
    let mut owner = database.connect().await;
    let get = async |path: &str| {
        let answer = client().get(format!("{}{path}", assay.address)).header("cookie", &admin).send().await.unwrap();
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), id, answer.text().await.unwrap())
    };
    let mut wrong = Vec::new();
    for (path, table) in SCREENS {
        owner.execute(AssertSqlSafe(format!("ALTER TABLE {table} RENAME TO {table}_away"))).await.unwrap();
        let (status, id, html) = get(path).await;
        owner.execute(AssertSqlSafe(format!("ALTER TABLE {table}_away RENAME TO {table}"))).await.unwrap();
        for part in ["Something went wrong on our side", "Try again", &id, "Skip to the content", "</html>"] {
            if !html.contains(part) {
                wrong.push(format!("{path} without {table} does not say {part:?}"));
            }
        }
        // The cause is for the log.
        if status != 500 || html.contains("relation") || html.contains(&format!("{table}_away")) {
            wrong.push(format!("{path} without {table}: {status}"));
        }
        let (status, ..) = get(path).await;
        if !matches!(status, 200 | 404) {
            wrong.push(format!("{path} with {table} again: {status}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
