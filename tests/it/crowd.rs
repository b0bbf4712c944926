//! Many look at a person at once: a page holds one connection of the pages' pool and needs no second one beside it.

use crate::{
    process::{ADMIN, Assay, Database, PASSWORD, eventually},
    visitors::{client, log_in},
};
use sqlx::Connection;
use tokio::task::JoinSet;

/// So many connections have the pages.
const CONNECTIONS: i64 = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_hold_every_connection_are_all_answered() {
    let database = Database::new().await;
    let assay = Assay::start_with(&database, &[("ASSAY_ROLE", "web")]).await;
    let admin = log_in(&assay, ADMIN, PASSWORD).await;
    let (mut owner, mut beside) = (database.connect().await, database.connect().await);
    sqlx::query("INSERT INTO persons (user_id) VALUES ('person-1')").execute(&mut owner).await.unwrap();
    // Each of them is stopped where it holds its connection, until all are held.
    let mut locked = owner.begin().await.unwrap();
    sqlx::query("LOCK TABLE persons IN ACCESS EXCLUSIVE MODE").execute(&mut *locked).await.unwrap();
    let mut pages = JoinSet::new();
    for _ in 0..20 {
        let request = client().get(format!("{}/clients/person-1", assay.address)).header("cookie", &admin);
        pages.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    let waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'persons'::regclass AND NOT granted
                      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    eventually("every connection is held by a page", 20, async || {
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut beside).await.unwrap() >= CONNECTIONS
    })
    .await;
    locked.rollback().await.unwrap();
    assert_eq!(pages.join_all().await, [200; 20]);
}
