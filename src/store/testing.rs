//! A PostgreSQL database for one test: cloned from a migrated template, dropped afterwards.
//!
//! Works only on a server named by `ASSAY_TEST_DATABASE_URL` and only on databases whose name starts with
//! `assay_test_`, which this module makes itself: no other database can be touched.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot prepare must stop")]

use super::{DatabaseUrl, Db, migrate};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use std::sync::atomic::{AtomicU32, Ordering};

/// A database of one test. Dropped with it.
pub struct TestDb {
    /// Its pools, small.
    pub db: Db,
    /// The owner's address of it.
    pub url: DatabaseUrl,
    name: String,
    admin: DatabaseUrl,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Tests plant by the date and read by it: none begins in the last seconds of a day.
async fn day_goes_on() {
    use chrono::Timelike;
    let left = 86_400_u32.saturating_sub(chrono::Utc::now().num_seconds_from_midnight());
    if left <= 20 {
        tokio::time::sleep(std::time::Duration::from_secs(left.into())).await;
    }
}

/// Makes a fresh, migrated database.
///
/// # Panics
/// When `ASSAY_TEST_DATABASE_URL` is not set: `make test` sets it.
pub async fn database() -> TestDb {
    let admin = std::env::var("ASSAY_TEST_DATABASE_URL")
        .expect("ASSAY_TEST_DATABASE_URL is not set; run the tests with `make test`, which starts a PostgreSQL of their own");
    let admin = DatabaseUrl::parse(&admin).expect("ASSAY_TEST_DATABASE_URL");
    day_goes_on().await;
    let template = template(&admin).await;
    let name = format!("assay_test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut conn = admin.owner_options().connect().await.expect("test server");
    // Cloning needs the template unused; another test's clone of the same moment is waited for.
    sqlx::query("SELECT pg_advisory_lock(4711)").execute(&mut conn).await.unwrap();
    conn.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await.unwrap();
    conn.execute(AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {template}"))).await.unwrap();
    sqlx::query("SELECT pg_advisory_unlock(4711)").execute(&mut conn).await.unwrap();
    let url = admin.with_database(&name);
    TestDb { db: url.pools(4, 8), url, name, admin }
}

/// Makes the migrated template once for each version of the schema.
async fn template(admin: &DatabaseUrl) -> String {
    let mut conn = admin.owner_options().connect().await.expect("ASSAY_TEST_DATABASE_URL must name a running server");
    sqlx::query("SELECT pg_advisory_lock(4711)").execute(&mut conn).await.unwrap();
    let name = format!("assay_test_template_{}", super::migrate::version());
    let (exists,): (bool,) =
        sqlx::query_as("SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)").bind(&name).fetch_one(&mut conn).await.unwrap();
    if !exists {
        let making = format!("{name}_making");
        conn.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {making} WITH (FORCE)"))).await.unwrap();
        conn.execute(AssertSqlSafe(format!("CREATE DATABASE {making}"))).await.unwrap();
        migrate(&admin.with_database(&making)).await.expect("migrations");
        conn.execute(AssertSqlSafe(format!("ALTER DATABASE {making} RENAME TO {name}"))).await.unwrap();
    }
    sqlx::query("SELECT pg_advisory_unlock(4711)").execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    name
}

impl Drop for TestDb {
    fn drop(&mut self) {
        assert!(self.name.starts_with("assay_test_"));
        let (admin, name) = (self.admin.clone(), self.name.clone());
        // Drop is synchronous and may run inside a runtime, so the clean-up has a thread of its own.
        let _ = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                if let Ok(mut conn) = admin.owner_options().connect().await {
                    let _ = conn.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await;
                }
            });
        })
        .join();
    }
}

#[tokio::test]
async fn a_fresh_database_has_roles_that_can_do_only_their_part() {
    let t = database().await;
    let role: String = sqlx::query_scalar("SELECT current_user::text").fetch_one(t.db.service()).await.unwrap();
    assert_eq!(role, "assay_worker");
    // The web role is nothing until it becomes anon or authenticated, and cannot become more.
    for sql in ["SELECT count(*) FROM unified_metrics", "SET ROLE service_role", "SET ROLE assay_worker"] {
        assert!(sqlx::query(sql).execute(&t.db.web).await.is_err(), "{sql}");
    }
    let mut anon = t.db.begin_anonymous().await.unwrap();
    assert!(sqlx::query("SELECT count(*) FROM unified_metrics").execute(&mut *anon).await.is_err());
    // A second migration finds nothing to do; two at once are harmless.
    assert!(!migrate(&t.url).await.unwrap());
    let (a, b) = futures::join!(super::repair(&t.url), super::repair(&t.url));
    a.unwrap();
    b.unwrap();
}
