//! Brings the schema up to date, once, however many nodes start together.
//!
//! `migrations/` grows and is never edited; `migrations/repeatable/` holds what may be dropped and put
//! back. What was applied is remembered as the comment of schema `app`, so that a current schema costs one query.

use super::connect::{DatabaseUrl, WEB_ROLE, WORKER_ROLE, may_pass, plain};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};
use std::time::{Duration, Instant};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
const LATEST: &str = include_str!("../../migrations/repeatable/latest.sql");
const OBJECTS: &str = include_str!("../../migrations/repeatable/objects.sql");
/// One lock for whoever migrates this database; any number nobody else uses.
const LOCK: i64 = 0x61_73_73_61_79; // "assay"

/// Why the schema could not be brought up to date, for people.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct MigrateError {
    /// For people.
    pub sentence: String,
    /// Whether time may mend it, see [`may_pass`].
    pub away: bool,
}

impl MigrateError {
    fn lasting(sentence: String) -> Self {
        Self { sentence, away: false }
    }
}

impl From<sqlx::Error> for MigrateError {
    fn from(e: sqlx::Error) -> Self {
        let may_not = code(&e).is_some_and(|c| c == "42501");
        let why = plain(&e);
        let what = if may_not { who_may(&why) } else { "" };
        let sentence = format!("the database schema could not be brought up to date: {}.{what}", why.trim_end_matches('.'));
        Self { sentence, away: may_pass(&e) }
    }
}

/// PostgreSQL's code of an error.
fn code(e: &sqlx::Error) -> Option<std::borrow::Cow<'_, str>> {
    e.as_database_error()?.code()
}

/// What mends a missing right: a migration makes the roles that hold rights; all else belongs to the owner.
fn who_may(why: &str) -> &'static str {
    if why.contains("role") {
        " The owner in DATABASE_URL needs CREATEROLE for this, once (step 3 of docs/DEPLOYMENT_CHECKLIST.md)."
    } else {
        " The user in DATABASE_URL must own the database and its schema public. As PostgreSQL's superuser, in this database: ALTER DATABASE … OWNER TO …; ALTER SCHEMA public OWNER TO … (step 2 of docs/DEPLOYMENT_CHECKLIST.md)."
    }
}

/// A fingerprint of all that this program would apply.
fn wanted() -> String {
    let mut hash = Sha256::new();
    for m in MIGRATIONS.iter() {
        hash.update(m.checksum.as_ref());
    }
    hash.update(LATEST.as_bytes());
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
        return Err(MigrateError::lasting(format!("PostgreSQL {} is too old; Assay needs 15 or newer.", version / 10_000)));
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
    put_migrations(conn).await?;
    // Before the objects, which write down last that all is there: whoever waits for that logs in as one of these.
    login_roles(conn, url).await?;
    put_objects(conn, wanted).await
}

/// Tries of a step that may not be given a lock. Nodes may serve meanwhile, and whoever needs a table waits as long as we wait
/// for it: so we wait briefly, give up, and try again after a pause. Where that does not help for long, we wait longer.
struct Tries {
    begin: Instant,
    made: u32,
}

impl Tries {
    const PAUSE: Duration = Duration::from_millis(1500);
    const ALL: Duration = Duration::from_secs(300);

    fn new() -> Self {
        Self { begin: Instant::now(), made: 0 }
    }

    /// How long this try may wait for a lock, as PostgreSQL's setting.
    fn lock_timeout(&self) -> String {
        format!("{}ms", 300_u32 << (self.made / 20).min(4))
    }

    /// Whether an error is worth another try. Pauses before it says yes.
    async fn once_more(&mut self, error: &sqlx::Error) -> bool {
        let busy = code(error).is_some_and(|c| c == "40P01" || c == "55P03") && self.begin.elapsed() < Self::ALL;
        if busy {
            self.made += 1;
            tokio::time::sleep(Self::PAUSE).await;
        }
        busy
    }
}

/// Sets how long statements wait for a lock: until the transaction ends, or for good.
async fn wait_for_locks(conn: &mut PgConnection, time: &str, in_transaction: bool) -> sqlx::Result<()> {
    sqlx::query("SELECT set_config('lock_timeout', $1, $2)").bind(time).bind(in_transaction).execute(conn).await.map(drop)
}

/// Applies the numbered steps that are missing, each in a transaction of its own.
async fn put_migrations(conn: &mut PgConnection) -> Result<(), MigrateError> {
    use sqlx::migrate::MigrateError as Step;
    let mut tries = Tries::new();
    let done = loop {
        wait_for_locks(conn, &tries.lock_timeout(), false).await?;
        let done = MIGRATIONS.run(&mut *conn).await;
        let again = match &done {
            Err(Step::Execute(e) | Step::ExecuteMigration(e, _)) => tries.once_more(e).await,
            _ => false,
        };
        if !again {
            break done;
        }
    };
    done.map_err(|e| match e {
        sqlx::migrate::MigrateError::Execute(e) | sqlx::migrate::MigrateError::ExecuteMigration(e, _) => MigrateError::from(e),
        sqlx::migrate::MigrateError::VersionMissing(v) => {
            MigrateError::lasting(format!("the database was migrated by a newer Assay (it has step {v}); use that version or newer."))
        }
        other => MigrateError::lasting(format!("the database schema could not be brought up to date: {other}")),
    })?;
    Ok(wait_for_locks(conn, "0", false).await?)
}

/// Applies the repeatable objects and writes down what is there now.
async fn put_objects(conn: &mut PgConnection, wanted: &str) -> Result<(), MigrateError> {
    let mut tries = Tries::new();
    loop {
        // Each time: the view may be dropped between two tries.
        let done = match conn.execute(LATEST).await {
            Ok(_) => try_objects(conn, wanted, &tries.lock_timeout()).await,
            Err(e) => Err(e),
        };
        let gone = |e: &sqlx::Error| code(e).is_some_and(|c| c == "42P01");
        let again = match &done {
            Err(e) if gone(e) && tries.made < 3 => {
                tries.made += 1;
                true
            }
            Err(e) => tries.once_more(e).await,
            Ok(()) => false,
        };
        if !again {
            return Ok(done?);
        }
    }
}

async fn try_objects(conn: &mut PgConnection, wanted: &str, lock_timeout: &str) -> sqlx::Result<()> {
    let mut tx = conn.begin().await?;
    wait_for_locks(&mut tx, lock_timeout, true).await?;
    hold_tables(&mut tx).await?;
    tx.execute(OBJECTS).await?;
    let (database,): (String,) = sqlx::query_as("SELECT quote_ident(current_database())").fetch_one(&mut *tx).await?;
    tx.execute(AssertSqlSafe(format!("GRANT CONNECT ON DATABASE {database} TO anon, authenticated, service_role"))).await?;
    tx.execute(AssertSqlSafe(format!("COMMENT ON SCHEMA app IS '{wanted}'"))).await?;
    tx.commit().await
}

/// Locks every table that has policies, because each is given them anew: first the large ones, which somebody may read for long,
/// and last those that deliveries and jobs need at every moment. So nobody waits for us while we wait for a report.
async fn hold_tables(tx: &mut PgConnection) -> sqlx::Result<()> {
    const NEEDED: [&str; 7] =
        ["gateway_counts", "job_count_deltas", "delivery_keys", "job_leases", "job_history", "terra_webhooks_raw", "background_jobs"];
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('public.%I', c.relname) FROM pg_class c
          WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = c.relname || '_owner')
          ORDER BY array_position($1, c.relname::text) NULLS FIRST, c.reltuples DESC, c.relname",
    )
    .bind(NEEDED.as_slice())
    .fetch_all(&mut *tx)
    .await?;
    if !tables.is_empty() {
        tx.execute(AssertSqlSafe(format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.join(", ")))).await?;
    }
    Ok(())
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
/// A sentence when the owner may not do so, or has no password that theirs could follow. What else is wrong is told by whoever
/// needs the connection.
pub async fn ensure_logins(url: &DatabaseUrl, db: &super::Db) -> Result<(), MigrateError> {
    match db.service().acquire().await {
        Err(e) if code(&e).is_some_and(|c| c.starts_with("28")) => {
            if url.password_for(WORKER_ROLE).is_none() {
                return Err(MigrateError::lasting(without_password(&plain(&e))));
            }
            tracing::info!("a login role is not let in, as after a change of the owner's password: they get theirs anew");
            let mut conn = url.owner_options().connect().await?;
            login_roles(&mut conn, url).await?;
            conn.close().await?;
            Ok(())
        }
        _ => Ok(()),
    }
}

fn without_password(why: &str) -> String {
    format!(
        "PostgreSQL does not let the login role {WORKER_ROLE} in: {why}. It has no password, because DATABASE_URL has none to derive it from: the owner's must stand there before the @, as in postgres://user:password@host:5432/database. To do without, let pg_hba.conf take {WEB_ROLE} and {WORKER_ROLE} in without a password, like the owner."
    )
}

/// Why the login roles are not what they must be.
enum LoginError {
    /// They belong to the installation in this database, of this owner.
    Taken { database: String, owner: String },
    /// What PostgreSQL said.
    Database(sqlx::Error),
}

impl From<sqlx::Error> for LoginError {
    fn from(e: sqlx::Error) -> Self {
        Self::Database(e)
    }
}

/// Makes the two login roles and lets them become what they need, nothing else. Roles belong to the cluster, so
/// another database may be making them in the same moment: then PostgreSQL says so, and we look again.
async fn login_roles(conn: &mut PgConnection, url: &DatabaseUrl) -> Result<(), MigrateError> {
    let mut last = None;
    for attempt in 0..8_u64 {
        match try_login_roles(conn, url).await {
            Ok(()) => return Ok(()),
            Err(LoginError::Taken { database, owner }) => return Err(MigrateError::lasting(taken(&database, &owner))),
            Err(LoginError::Database(e)) => last = Some(e),
        }
        tokio::time::sleep(Duration::from_millis(20 << attempt.min(5))).await;
    }
    let (why, away) = last.as_ref().map_or_else(Default::default, |e| (plain(e), may_pass(e)));
    let may_not = last.as_ref().and_then(code).is_some_and(|c| c == "42501");
    let what = if may_not { who_may_make(conn).await? } else { String::new() };
    let sentence = format!("the login roles {WEB_ROLE} and {WORKER_ROLE} could not be made: {why}.{what}");
    Err(MigrateError { sentence, away })
}

/// What an owner lacks that may not make the login roles, or not change them.
async fn who_may_make(conn: &mut PgConnection) -> sqlx::Result<String> {
    let (owner, makes_roles): (String, bool) =
        sqlx::query_as("SELECT quote_ident(rolname), rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user")
            .fetch_one(conn)
            .await?;
    Ok(if makes_roles {
        format!(
            " Another owner made them, and from PostgreSQL 16 on CREATEROLE alone does not reach these. As PostgreSQL's superuser: GRANT anon, authenticated, service_role, {WEB_ROLE}, {WORKER_ROLE} TO {owner} WITH ADMIN OPTION (step 2 of docs/DEPLOYMENT_CHECKLIST.md)."
        )
    } else {
        " The owner in DATABASE_URL needs CREATEROLE for it, this once (step 3 of docs/DEPLOYMENT_CHECKLIST.md).".to_owned()
    })
}

fn taken(database: &str, owner: &str) -> String {
    format!(
        "another owner has an installation on this PostgreSQL server: {owner}, in the database {database}. Roles belong to the whole server, and the passwords of {WEB_ROLE} and {WORKER_ROLE} follow one owner's, so theirs are left as they are. Let one owner own all databases of Assay on a server, or take another server; if that database is not used any more, drop it or give it to this owner (step 2 of docs/DEPLOYMENT_CHECKLIST.md)."
    )
}

/// A database that somebody else owns and where Assay is, too: its rights say so, or somebody who is logged in. Its owner and
/// whoever owns this one may differ from the user in `DATABASE_URL`.
async fn installation_of_another_owner(conn: &mut PgConnection) -> sqlx::Result<Option<(String, String)>> {
    sqlx::query_as(
        "SELECT d.datname::text, pg_get_userbyid(d.datdba)::text FROM pg_database d
          WHERE d.datdba NOT IN (SELECT datdba FROM pg_database WHERE datname = current_database()
                                 UNION ALL SELECT oid FROM pg_roles WHERE rolname = current_user)
            AND (EXISTS (SELECT FROM aclexplode(d.datacl) a JOIN pg_roles r ON r.oid = a.grantee
                          WHERE a.privilege_type = 'CONNECT' AND r.rolname = 'service_role')
                 OR EXISTS (SELECT FROM pg_stat_activity s WHERE s.datid = d.oid AND s.usename IN ($1, $2)))
          ORDER BY d.datname LIMIT 1",
    )
    .bind(WEB_ROLE)
    .bind(WORKER_ROLE)
    .fetch_optional(conn)
    .await
}

async fn try_login_roles(conn: &mut PgConnection, url: &DatabaseUrl) -> Result<(), LoginError> {
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
        // The password is hexadecimal, so it cannot end the literal. It is set only where it does not work yet, and nobody
        // else's would cease to.
        if let Some(password) = url.password_for(role) {
            let login = url.owner_options().clone().username(role).password(&password).connect().await;
            if let Err(refusal) = login {
                if let Some((database, owner)) = installation_of_another_owner(conn).await? {
                    // Only a wrong password says that it is theirs; another reason may pass.
                    let wrong = code(&refusal).is_some_and(|c| c == "28P01");
                    return Err(if wrong { LoginError::Taken { database, owner } } else { refusal.into() });
                }
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

#[cfg(test)]
mod tests {
    use super::who_may;

    #[test]
    fn a_missing_right_is_explained_by_what_it_is_about() {
        assert!(who_may("permission denied to create role").contains("CREATEROLE"));
        for why in ["permission denied for schema public", "must be owner of table accounts", "permission denied for database assay"] {
            assert!(who_may(why).contains("ALTER SCHEMA public OWNER TO") && !who_may(why).contains("CREATEROLE"), "{why}");
        }
    }
}

#[cfg(test)]
#[path = "migrate_tests.rs"]
mod beside;
