//! Brings the schema up to date, once, however many nodes start together.
//!
//! `migrations/` grows and is never edited; `migrations/repeatable/objects.sql` holds what may be dropped and put
//! back. What was applied is remembered as the comment of schema `app`, so that a current schema costs one query.

use super::connect::{DatabaseUrl, WEB_ROLE, WORKER_ROLE, plain};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};
use std::time::Duration;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
const OBJECTS: &str = include_str!("../../migrations/repeatable/objects.sql");
/// One lock for whoever migrates this database; any number nobody else uses.
const LOCK: i64 = 0x61_73_73_61_79; // "assay"

/// Why the schema could not be brought up to date, for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MigrateError(pub String);

impl From<sqlx::Error> for MigrateError {
    fn from(e: sqlx::Error) -> Self {
        // A migration makes the roles that hold rights.
        let may_not = e.as_database_error().and_then(|d| d.code()).is_some_and(|code| code == "42501");
        let what = if may_not {
            " The owner in DATABASE_URL needs CREATEROLE for this, once (step 3 of docs/DEPLOYMENT_CHECKLIST.md)."
        } else {
            ""
        };
        Self(format!("the database schema could not be brought up to date: {}.{what}", plain(&e).trim_end_matches('.')))
    }
}

/// A fingerprint of all that this program would apply.
fn wanted() -> String {
    let mut hash = Sha256::new();
    for m in MIGRATIONS.iter() {
        hash.update(m.checksum.as_ref());
    }
    hash.update(OBJECTS.as_bytes());
    format!("assay {} {}", MIGRATIONS.iter().count(), &hex::encode(hash.finalize())[..16])
}

/// Applies what is missing. Returns whether anything was.
///
/// # Errors
/// A sentence: the server is too old, the owner may not create roles, or a statement failed.
pub async fn migrate(url: &DatabaseUrl) -> Result<bool, MigrateError> {
    let mut conn = url.owner_options().connect().await?;
    let wanted = wanted();
    let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int").fetch_one(&mut conn).await?;
    if version < 150_000 {
        return Err(MigrateError(format!("PostgreSQL {} is too old; Assay needs 15 or newer.", version / 10_000)));
    }
    if applied(&mut conn).await?.as_deref() == Some(wanted.as_str()) {
        return Ok(false);
    }
    sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut conn).await?;
    // Whoever held the lock before may have done it all, and be serving already.
    let done = applied(&mut conn).await?.as_deref() == Some(wanted.as_str());
    let result = if done { Ok(()) } else { apply(&mut conn, url, &wanted).await };
    sqlx::query("SELECT pg_advisory_unlock($1)").bind(LOCK).execute(&mut conn).await?;
    conn.close().await?;
    result.map(|()| !done)
}

/// What was applied last, as the comment of schema `app` says; `None` on an empty database.
async fn applied(conn: &mut PgConnection) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("SELECT (SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'app')").fetch_one(conn).await
}

/// Whether a database can be reached and its schema is the one this program brings. Changes nothing.
pub async fn is_migrated(url: &DatabaseUrl) -> bool {
    match url.owner_options().connect().await {
        Ok(mut conn) => is_current(&mut conn).await.unwrap_or(false),
        Err(_) => false,
    }
}

/// Whether the schema is the one this program brings. Changes nothing.
pub(super) async fn is_current(conn: &mut PgConnection) -> sqlx::Result<bool> {
    Ok(applied(conn).await?.as_deref() == Some(wanted().as_str()))
}

/// Puts back what the rollback of the checklist dropped, on a schema that is otherwise current.
pub async fn repair(url: &DatabaseUrl) -> Result<(), MigrateError> {
    let mut conn = url.owner_options().connect().await?;
    sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut conn).await?;
    apply(&mut conn, url, &wanted()).await?;
    conn.close().await?;
    Ok(())
}

async fn apply(conn: &mut PgConnection, url: &DatabaseUrl, wanted: &str) -> Result<(), MigrateError> {
    quiet(conn).await?;
    MIGRATIONS.run(&mut *conn).await.map_err(|e| match e {
        sqlx::migrate::MigrateError::Execute(e) | sqlx::migrate::MigrateError::ExecuteMigration(e, _) => MigrateError::from(e),
        sqlx::migrate::MigrateError::VersionMissing(v) => {
            MigrateError(format!("the database was migrated by a newer Assay (it has step {v}); use that version or newer."))
        }
        other => MigrateError(format!("the database schema could not be brought up to date: {other}")),
    })?;
    put_objects(conn, wanted).await?;
    login_roles(conn, url).await
}

/// Applies the repeatable objects and writes down what is there now. Nodes that serve meanwhile hold locks on the same
/// tables in another order: a deadlock, or a lock that is not given within seconds, is tried again.
async fn put_objects(conn: &mut PgConnection, wanted: &str) -> Result<(), MigrateError> {
    let mut attempt = 0_u64;
    loop {
        attempt += 1;
        match try_objects(conn, wanted).await {
            Err(e) if attempt < 20 && e.as_database_error().and_then(|d| d.code()).is_some_and(|c| c == "40P01" || c == "55P03") => {
                tokio::time::sleep(Duration::from_millis(50 * attempt)).await;
            }
            other => return other.map_err(MigrateError::from),
        }
    }
}

async fn try_objects(conn: &mut PgConnection, wanted: &str) -> sqlx::Result<()> {
    let mut tx = conn.begin().await?;
    tx.execute("SET LOCAL lock_timeout = '5s'").await?;
    tx.execute(OBJECTS).await?;
    let (database,): (String,) = sqlx::query_as("SELECT quote_ident(current_database())").fetch_one(&mut *tx).await?;
    tx.execute(AssertSqlSafe(format!("GRANT CONNECT ON DATABASE {database} TO anon, authenticated, service_role"))).await?;
    tx.execute(AssertSqlSafe(format!("COMMENT ON SCHEMA app IS '{wanted}'"))).await?;
    tx.commit().await
}

/// The notices of IF NOT EXISTS would only fill the log.
async fn quiet(conn: &mut PgConnection) -> Result<(), MigrateError> {
    conn.execute("SET client_min_messages = warning").await?;
    Ok(())
}

/// Sees that the service can log in, and where it cannot, makes the logins anew: their passwords follow the owner's, which
/// may have changed since.
///
/// # Errors
/// A sentence when the owner may not do so. What else is wrong is told by whoever needs the connection.
pub async fn ensure_logins(url: &DatabaseUrl, db: &super::Db) -> Result<(), MigrateError> {
    match db.service().acquire().await {
        Err(sqlx::Error::Database(e)) if e.code().is_some_and(|code| code.starts_with("28")) => {
            tracing::info!("the owner's password has changed: the login roles get theirs anew");
            let mut conn = url.owner_options().connect().await?;
            login_roles(&mut conn, url).await?;
            conn.close().await?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Makes the two login roles and lets them become what they need, nothing else. Roles belong to the cluster, so
/// another database may be making them in the same moment: then PostgreSQL says so, and we look again.
async fn login_roles(conn: &mut PgConnection, url: &DatabaseUrl) -> Result<(), MigrateError> {
    let mut last = None;
    for attempt in 0..8_u64 {
        match try_login_roles(conn, url).await {
            Ok(()) => return Ok(()),
            Err(e) => last = Some(e),
        }
        tokio::time::sleep(Duration::from_millis(20 << attempt.min(5))).await;
    }
    let why = last.map_or_else(String::new, |e| plain(&e));
    Err(MigrateError(format!(
        "the login roles {WEB_ROLE} and {WORKER_ROLE} could not be made: {why}. The owner in DATABASE_URL needs CREATEROLE for it, this once (step 3 of docs/DEPLOYMENT_CHECKLIST.md)."
    )))
}

async fn try_login_roles(conn: &mut PgConnection, url: &DatabaseUrl) -> sqlx::Result<()> {
    for (role, inherit, may_become) in
        [(WEB_ROLE, "NOINHERIT", ["anon", "authenticated"].as_slice()), (WORKER_ROLE, "INHERIT", &["service_role"])]
    {
        let (exists,): (bool,) =
            sqlx::query_as("SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1)").bind(role).fetch_one(&mut *conn).await?;
        if !exists {
            conn.execute(AssertSqlSafe(format!("CREATE ROLE {role} LOGIN {inherit}"))).await?;
        }
        for group in may_become {
            let (member,): (bool,) =
                sqlx::query_as("SELECT EXISTS (SELECT 1 FROM pg_auth_members WHERE member = $1::regrole AND roleid = $2::regrole)")
                    .bind(role)
                    .bind(group)
                    .fetch_one(&mut *conn)
                    .await?;
            if !member {
                conn.execute(AssertSqlSafe(format!("GRANT {group} TO {role}"))).await?;
            }
        }
        // The password is hexadecimal, so it cannot end the literal. It is set only where it does not work yet.
        if let Some(password) = url.password_for(role) {
            let works = url.owner_options().clone().username(role).password(&password).connect().await.is_ok();
            if !works {
                conn.execute(AssertSqlSafe(format!("ALTER ROLE {role} PASSWORD '{password}'"))).await?;
            }
        }
    }
    Ok(())
}

/// The fingerprint's last word: names the template database of the tests.
#[cfg(test)]
pub(super) fn version() -> String {
    wanted().rsplit(' ').next().unwrap_or_default().to_owned()
}
