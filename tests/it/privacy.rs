//! A person's data, taken away and erased, with the real program: webhook in, files out, `assay erase` as a command.

use crate::process::{ADMIN, Assay, Database, PASSWORD, binary, daily, eventually, send};
use std::process::{Command, Output};

async fn rows(database: &Database, table: &str, user: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table} WHERE user_id = $1");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(user).fetch_one(&mut database.connect().await).await.unwrap()
}

fn erase(database: &Database, arguments: &[&str]) -> Output {
    Command::new(binary()).arg("erase").args(arguments).env("DATABASE_URL", &database.url).output().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_is_exported_and_then_erased_by_command() {
    let database = Database::new().await;
    let assay = Assay::start(&database).await;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for (n, user) in ["erika", "anna"].into_iter().enumerate() {
        for day in 1..=3 {
            let body = daily(user, &format!("2026-03-0{day}"), 5000);
            assert_eq!(send(&client, &assay.address, &format!("privacy-{n}-{day}"), &body).await.unwrap().status(), 200);
        }
    }
    eventually("both persons have scores", 30, async || {
        rows(&database, "metric_confidence_cache", "erika").await > 5 && rows(&database, "metric_confidence_cache", "anna").await > 5
    })
    .await;

    let form = [("email", ADMIN), ("password", PASSWORD), ("next", "")];
    let login = client.post(format!("{}/login", assay.address)).header("origin", &assay.address).form(&form).send().await.unwrap();
    let cookie = login.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let get = async |path: &str| client.get(format!("{}{path}", assay.address)).header("cookie", &cookie).send().await.unwrap();
    let json: serde_json::Value = get("/clients/erika/export.json").await.json().await.unwrap();
    let length = |key: &str| json[key].as_array().map_or(0, Vec::len);
    assert_eq!((json["user_id"].as_str(), length("deliveries"), length("persons")), (Some("erika"), 3, 1));
    assert!(length("metrics") > 5 && length("confidence") > 5 && length("records") >= 3, "{json}");
    assert_eq!(json["deliveries"][0]["body"]["user"]["reference_id"], "erika", "the delivery as it came");
    let csv = get("/clients/erika/export.csv").await.text().await.unwrap();
    assert!(csv.starts_with("measurement_date,") && csv.contains("\"steps\"") && csv.lines().count() > 5, "{csv}");

    // Without the word it only says what to add.
    let asked = erase(&database, &["--user-id", "erika"]);
    assert!(!asked.status.success() && rows(&database, "terra_webhooks_raw", "erika").await == 3, "{asked:?}");
    let done = erase(&database, &["--user-id", "erika", "--yes"]);
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && said.contains("terra_webhooks_raw") && said.contains("unified_metrics"), "{said}");
    for table in
        ["persons", "connections", "terra_webhooks_raw", "records", "unified_metrics", "metric_confidence_cache", "background_jobs"]
    {
        assert_eq!(rows(&database, table, "erika").await, 0, "{table}");
    }
    assert!(rows(&database, "metric_confidence_cache", "anna").await > 5 && rows(&database, "terra_webhooks_raw", "anna").await == 3);
    let (entries, named): (i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE action = 'person.erase'), count(*) FILTER (WHERE to_jsonb(a)::text LIKE '%erika%') FROM audit_log a",
    )
    .fetch_one(&mut database.connect().await)
    .await
    .unwrap();
    assert_eq!((entries, named), (1, 0), "an entry stays, without the identity; the export's lost it too");
    assert_eq!(get("/clients/erika/export.json").await.status(), 404);
    assert_eq!(get("/clients/anna/export.json").await.status(), 200);
    assert!(!assay.log().contains("erika") && !assay.log().contains("anna"), "no person in the process's log");
}
