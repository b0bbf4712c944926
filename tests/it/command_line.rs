//! Bad input at start: one clear sentence on standard error, exit code 2 (75: time may mend it), no stack trace,
//! nothing damaged.

use crate::cluster::Cluster;
use crate::process::{Assay, Database, binary, command, daily, eventually, free_port, send};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::process::{Command, Stdio};
use tokio::net::{TcpListener, TcpStream};

fn refused(command: Command, expect: &str) {
    ends(command, 2, expect);
}

fn ends(mut command: Command, code: i32, expect: &str) {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    let sentences: Vec<_> = said.lines().filter(|l| l.starts_with("assay: ")).collect();
    assert!(sentences.len() == 1 && sentences[0].contains(expect), "wanted one sentence with {expect:?}, got: {said}");
    assert!(!said.contains("panicked") && !said.contains("backtrace"), "{said}");
}

fn scratch() -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("assay-cli-{}-{}", std::process::id(), free_port()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn a_wrong_value_names_its_variable() {
    for (name, value) in [
        ("LEPTOS_SITE_ADDR", "3000"),
        ("DATABASE_URL", "http://x"),
        ("ASSAY_ROLE", "boss"),
        ("ASSAY_DEMO", "maybe"),
        ("ASSAY_SIGNATURE_TOLERANCE", "soon"),
        ("ASSAY_SERVICE_KEY", "short"),
        ("TERRA_API_KEY", "without-its-id"),
    ] {
        let dir = scratch();
        let mut c = command("postgres://nobody@127.0.0.1:1/x", free_port(), &dir);
        c.env(name, value);
        refused(c, name);
        let _ = std::fs::remove_dir_all(dir);
    }
}

#[test]
fn an_unreachable_database_is_one_sentence_and_says_that_a_later_start_may_do() {
    let dir = scratch();
    ends(command("postgres://nobody@127.0.0.1:1/x", free_port(), &dir), 75, "127.0.0.1:1");
    let _ = std::fs::remove_dir_all(dir);
}

/// Stands before a server that is coming back: whoever comes first gets no answer, the others are let through.
async fn silent_at_first(server: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let _first = listener.accept().await.unwrap();
        while let Ok((mut client, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                let Ok(mut server) = TcpStream::connect(server).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_back_when_asked_again_was_away_all_the_same() {
    let database = Database::new().await;
    let server = database.url.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
    let port = silent_at_first(server.clone()).await;
    let url = database.url.replace(&server, &format!("127.0.0.1:{port}"));
    let dir = scratch();
    ends(command(&url, free_port(), &dir), 75, "did not answer within 10 seconds");
    let _ = std::fs::remove_dir_all(dir);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_a_connection_left_may_have_one_later() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    let dir = scratch();
    assert!(command(&database.url, free_port(), &dir).arg("migrate").status().unwrap().success());
    // The owner still gets in, as with the connections that are kept for a superuser.
    database.connect().await.execute("ALTER ROLE assay_worker CONNECTION LIMIT 0").await.unwrap();
    ends(command(&database.url, free_port(), &dir), 75, "the first administrator could not be made");
    let _ = std::fs::remove_dir_all(dir);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_without_a_password_that_are_asked_for_one_are_no_changed_password() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    cluster.trust_the_owner_alone();
    let dir = scratch();
    let mut c = command(&database.url.replace(":test@", "@"), free_port(), &dir);
    c.env_remove("PGPASSWORD").arg("migrate");
    refused(c, "must stand there before the @");
    let _ = std::fs::remove_dir_all(dir);
}

#[tokio::test]
async fn an_address_that_may_come_with_the_network_is_tried_again() {
    if std::net::TcpListener::bind("192.0.2.1:0").is_ok() {
        println!("skipped: this machine listens on addresses that it has not");
        return;
    }
    let database = Database::new().await;
    let dir = scratch();
    let mut c = command(&database.url, free_port(), &dir);
    c.env("LEPTOS_SITE_ADDR", "192.0.2.1:3000");
    ends(c, 75, "192.0.2.1:3000 is not an address of this machine");
    let _ = std::fs::remove_dir_all(dir);
}

#[tokio::test]
async fn a_user_who_does_not_own_the_database_is_told_what_to_do() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let stranger = format!("assay_test_stranger_{}", std::process::id());
    conn.execute(AssertSqlSafe(format!("CREATE ROLE {stranger} LOGIN CREATEROLE PASSWORD 'test'"))).await.unwrap();
    let (_, place) = database.url.split_once('@').unwrap();
    let dir = scratch();
    let mut migrate = command(&format!("postgres://{stranger}:test@{place}"), free_port(), &dir);
    migrate.arg("migrate");
    refused(migrate, "ALTER SCHEMA public OWNER TO");
    conn.execute(AssertSqlSafe(format!("DROP ROLE {stranger}"))).await.unwrap();
    let _ = std::fs::remove_dir_all(dir);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_owner_on_a_server_is_refused_and_the_first_goes_on() {
    let cluster = Cluster::start();
    cluster.ask_for_passwords();
    let first = cluster.database().await;
    let mut assay = Assay::start(&first).await;
    let mut server = PgConnection::connect(&first.server).await.unwrap();
    server.execute("CREATE ROLE assay_other LOGIN CREATEROLE CREATEDB PASSWORD 'other'").await.unwrap();
    let second = Database::on(&first.server.replace("assay_owner:test@", "assay_other:other@")).await;
    let dir = scratch();
    let migrate = || {
        let mut migrate = command(&second.url, free_port(), &dir);
        migrate.arg("migrate");
        migrate
    };
    refused(migrate(), &format!("assay_owner, in the database {}", first.name));
    // Whoever logs in anew does so with the password that was there.
    cluster.end_connections();
    let client = reqwest::Client::new();
    eventually("the first one stores deliveries", 20, async || {
        send(&client, &assay.address, "after", &daily("p", "2026-11-20", 5000)).await.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    assert!(assay.terminate().await.success());
    // When the first one has gone, its roles are handed over as the sentence says.
    server.execute(AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", first.name))).await.unwrap();
    let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int").fetch_one(&mut server).await.unwrap();
    if version >= 160_000 {
        refused(migrate(), "TO assay_other WITH ADMIN OPTION");
    }
    let hand_over = "GRANT anon, authenticated, service_role, assay_web, assay_worker TO assay_other WITH ADMIN OPTION";
    server.execute(hand_over).await.unwrap();
    assert!(migrate().status().unwrap().success());
    let _ = std::fs::remove_dir_all(dir);
}

#[tokio::test]
async fn an_empty_variable_is_an_absent_one() {
    let database = Database::new().await;
    let settings = crate::packaging::settings();
    // Where the test itself decides, and the log's own, which is not the program's to read.
    let empty = settings.iter().filter(|name| !["DATABASE_URL", "LEPTOS_SITE_ADDR", "RUST_LOG"].contains(&name.as_str()));
    let empty: Vec<_> = empty.map(|name| (name.as_str(), "")).collect();
    assert!(empty.contains(&("ASSAY_BACKUP_STAMP", "")) && empty.contains(&("ASSAY_DATA_DIR", "")), "{empty:?}");
    let assay = Assay::start_with(&database, &empty).await;
    assert!(assay.log().contains("ASSAY_SERVICE_KEY is not set"), "{}", assay.log());
}

#[tokio::test]
async fn a_database_that_lets_nobody_in_is_a_wrong_setting() {
    let database = Database::new().await;
    let dir = scratch();
    let (server, _) = database.url.rsplit_once('/').unwrap();
    refused(command(&format!("{server}/no_such_database"), free_port(), &dir), "no_such_database");
    let _ = std::fs::remove_dir_all(dir);
}

#[tokio::test]
async fn a_taken_port_is_one_sentence_and_leaves_the_other_alone() {
    let database = Database::new().await;
    let first = Assay::start(&database).await;
    let port = first.address.rsplit(':').next().unwrap().parse().unwrap();
    let dir = scratch();
    refused(command(&database.url, port, &dir), "is taken");
    assert_eq!(reqwest::get(format!("{}/readyz", first.address)).await.unwrap().status(), 200);
    let _ = std::fs::remove_dir_all(dir);
}

#[test]
fn an_unknown_flag_is_refused_and_help_is_not_an_error() {
    let mut unknown = Command::new(binary());
    unknown.arg("--no-such-flag");
    refused(unknown, "--no-such-flag");
    let mut incomplete = Command::new(binary());
    incomplete.args(["user", "add", "--role", "admin"]);
    refused(incomplete, "--email <EMAIL>");
    let help = Command::new(binary()).arg("--help").output().unwrap();
    assert!(help.status.success());
    let text = String::from_utf8_lossy(&help.stdout);
    for word in ["serve", "migrate", "simulate", "replay", "verify", "user", "DATABASE_URL"] {
        assert!(text.contains(word), "--help does not mention {word}");
    }
}

#[test]
fn a_cluster_of_another_version_is_left_alone() {
    let dir = scratch();
    let cluster = dir.join("postgres");
    std::fs::create_dir_all(&cluster).unwrap();
    std::fs::write(cluster.join("PG_VERSION"), "9\n").unwrap();
    let mut c = command("", free_port(), &dir);
    c.env_remove("DATABASE_URL");
    refused(c, "was made by PostgreSQL 9, which is too old");
    assert_eq!(std::fs::read_to_string(cluster.join("PG_VERSION")).unwrap(), "9\n");
    let _ = std::fs::remove_dir_all(dir);
}

/// What `assay verify` said: exit code, standard output, standard error.
fn verify(url: &str, args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let dir = scratch();
    let mut c = command(url, free_port(), &dir);
    let output = c.arg("verify").args(args).envs(env.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let _ = std::fs::remove_dir_all(dir);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn verify_says_what_is_there_and_changes_nothing() {
    let database = Database::new().await;
    // Nothing of ours: it fails, and does not migrate.
    let (code, said, _) = verify(&database.url, &[], &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("FAILED") && said.contains("run assay migrate"), "{said}");
    let mut conn = database.connect().await;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetch_one(&mut conn).await.unwrap();
    assert_eq!(tables, 0, "a verification must not migrate");
    // Running: nothing fails; what is not there is a warning.
    let assay = Assay::start(&database).await;
    let (code, said, _) = verify(&database.url, &[], &[("ASSAY_SECRET_KEY", "0123456789abcdef0123456789abcdef")]);
    assert_eq!(code, Some(0), "{said}");
    for row in [
        "server version",
        "extensions",
        "schema",
        "durability",
        "policies",
        "roles",
        "logins",
        "hot queries",
        "partitions",
        "workers",
        "scheduler",
        "confidence cache",
        "clock",
        "disk",
        "backup",
        "secrets",
    ] {
        assert!(said.lines().any(|l| l.starts_with(row)), "no row {row}: {said}");
    }
    assert!(said.lines().last().is_some_and(|l| l.contains(" 0 failed")), "{said}");
    let (code, json, _) = verify(&database.url, &["--json", "--strict"], &[]);
    assert_eq!(code, Some(1), "strict ends with 1 on warnings");
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["verdict"], "warning");
    assert!(
        report["checks"].as_array().unwrap().iter().all(|c| c["check"].is_string() && c["note"].is_string() && c["verdict"].is_string())
    );
    // Broken: it names what and says what to do; a stamp that is not there is no backup.
    sqlx::raw_sql("DROP TABLE rate_limits CASCADE; ALTER TABLE records DISABLE ROW LEVEL SECURITY").execute(&mut conn).await.unwrap();
    let (code, said, _) = verify(&database.url, &[], &[("ASSAY_BACKUP_STAMP", "/nowhere/stamp")]);
    assert_eq!(code, Some(1), "{said}");
    for words in ["rate_limits", "records", "--repair", "/nowhere/stamp"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    drop(assay);
    // No database at all: one sentence and 2.
    let (code, _, said) = verify("postgres://nobody@127.0.0.1:1/x", &[], &[]);
    assert!(code == Some(2) && said.contains("assay: PostgreSQL at 127.0.0.1:1"), "{code:?} {said}");
}
