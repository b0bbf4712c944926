//! The first start without any setting, and the way from the demonstration to one's own people.

use crate::process::{Assay, Database, binary, command, daily, eventually, free_port, send};
use crate::visitors::client;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

struct Running(Child, PathBuf);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

/// Starts the program with nobody named as administrator; what it greets with on its standard output, and its address.
fn greeted(database: &Database) -> (Running, Vec<String>, String) {
    let port = free_port();
    let dir = std::env::temp_dir().join(format!("assay-beginning-{port}"));
    std::fs::create_dir_all(&dir).unwrap();
    let mut child = command(&database.url, port, &dir)
        .env_remove("ASSAY_ADMIN_EMAIL")
        .env_remove("ASSAY_ADMIN_PASSWORD")
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(dir.join("log")).unwrap())
        .spawn()
        .unwrap();
    let (tell, told) = mpsc::channel();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let running = Running(child, dir);
    // It is read to its end, or the program could not write on.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(tell.send(line))));
    let mut greeting = Vec::new();
    while !greeting.last().is_some_and(|line: &String| line.contains("Stop with")) {
        greeting.push(told.recv_timeout(Duration::from_secs(60)).expect("a greeting within a minute"));
    }
    (running, greeting, format!("http://127.0.0.1:{port}"))
}

/// The word after a label.
fn word(greeting: &[String], label: &str) -> Option<String> {
    greeting.iter().find_map(|line| line.trim().strip_prefix(label)?.split_whitespace().next().map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_password_is_printed_once_lets_in_and_is_in_no_log() {
    let database = Database::new().await;
    let (running, greeting, address) = tokio::task::block_in_place(|| greeted(&database));
    let (email, password) = (word(&greeting, "administrator").unwrap(), word(&greeting, "password").unwrap());
    assert!(email.contains('@') && password.len() >= 12, "{greeting:?}");
    eventually("it is ready", 60, async || client().get(format!("{address}/readyz")).send().await.is_ok_and(|r| r.status() == 200)).await;
    let form = [("email", email.as_str()), ("password", password.as_str()), ("next", "")];
    let answer = client().post(format!("{address}/login")).header("origin", &address).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), 303);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let page = client().get(format!("{address}/admin")).header("cookie", &cookie).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let log = std::fs::read_to_string(running.1.join("log")).unwrap();
    assert!(!log.is_empty() && !log.contains(&password), "{log}");
    let mut conn = database.connect().await;
    let written: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM audit_log a WHERE strpos(a::text, $1) > 0) + (SELECT count(*) FROM edge_function_logs l WHERE strpos(l::text, $1) > 0)
              + (SELECT count(*) FROM accounts c WHERE strpos(c::text, $1) > 0)",
    )
    .bind(&password)
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert_eq!(written, 0);
    drop(running);
    let (_running, greeting, _) = tokio::task::block_in_place(|| greeted(&database));
    assert_eq!(word(&greeting, "password"), None, "it is shown once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clearing_the_simulation_leaves_who_is_real() {
    let database = Database::new().await;
    let assay = Assay::start(&database).await;
    let mut conn = database.connect().await;
    sqlx::raw_sql("INSERT INTO persons (user_id, simulated) VALUES ('sim-made-up-1', true), ('sim-made-up-2', true)")
        .execute(&mut conn)
        .await
        .unwrap();
    let http = reqwest::Client::new();
    for person in ["sim-made-up-1", "sim-made-up-2", "real"] {
        assert_eq!(send(&http, &assay.address, person, &daily(person, "2026-11-20", 9000)).await.unwrap().status(), 200);
    }
    eventually("all are scored", 30, async || {
        let scored = "SELECT count(DISTINCT user_id) FROM metric_confidence_cache";
        sqlx::query_scalar::<_, i64>(scored).fetch_one(&mut conn).await.unwrap() == 3
    })
    .await;
    let cleared = Command::new(binary()).args(["simulate", "--clear"]).env("DATABASE_URL", &database.url).output().unwrap();
    assert!(cleared.status.success(), "{}", String::from_utf8_lossy(&cleared.stderr));
    for table in ["persons", "connections", "terra_webhooks_raw", "records", "unified_metrics", "metric_confidence_cache"] {
        let sql = sqlx::AssertSqlSafe(format!("SELECT DISTINCT user_id FROM {table} WHERE user_id IS NOT NULL"));
        let left: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut conn).await.unwrap();
        assert_eq!(left, ["real"], "{table}");
    }
}
