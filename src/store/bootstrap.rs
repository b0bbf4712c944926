//! The embedded cluster's first contents: an owner that is no superuser, and its database.

use super::DatabaseUrl;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

/// Makes role and database where they are missing. `owner` and `database` are names of ours, not input.
pub async fn bootstrap(admin: &DatabaseUrl, owner: &str, database: &str) -> sqlx::Result<()> {
    let mut conn = admin.owner_options().connect().await?;
    let (role,): (bool,) =
        sqlx::query_as("SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1)").bind(owner).fetch_one(&mut conn).await?;
    if !role {
        conn.execute(AssertSqlSafe(format!("CREATE ROLE {owner} LOGIN CREATEROLE CREATEDB"))).await?;
    }
    let (db,): (bool,) =
        sqlx::query_as("SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)").bind(database).fetch_one(&mut conn).await?;
    if !db {
        conn.execute(AssertSqlSafe(format!("CREATE DATABASE {database} OWNER {owner}"))).await?;
    }
    conn.close().await
}
