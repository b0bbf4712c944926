//! What the administrator sees of the machinery: who is limited, which connections there are, who leads and who holds
//! what, which trainer sees whom. Every statement has a limit.

use crate::model::Instant;
use sqlx::PgConnection;
use uuid::Uuid;

/// One key of the rate limiter.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Limited {
    /// `<policy>:<address, account or sender>`.
    pub key: String,
    /// When its allowance is whole again.
    pub tat: Instant,
    /// Since when it counts.
    pub window_start: Instant,
    /// Requests admitted since.
    pub count: i64,
    /// Requests refused since.
    pub refused: i64,
    /// Its last request.
    pub updated_at: Instant,
    /// How many keys there are, up to [`LIMITED_COUNTED`] + 1, those that are not in the list included.
    pub keys: i64,
    /// How many of these were refused something.
    pub keys_refused: i64,
}

/// Keys are counted exactly up to here.
pub const LIMITED_COUNTED: i64 = 10_000;

/// Keys that spent something of their allowance just now, those with refusals first; `None`: the table was dropped.
///
/// # Errors
/// The database's.
pub async fn limited(conn: &mut PgConnection, limit: i64) -> sqlx::Result<Option<Vec<Limited>>> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('public.rate_limits') IS NOT NULL").fetch_one(&mut *conn).await?;
    if !there {
        return Ok(None);
    }
    sqlx::query_as(
        "SELECT key, tat, window_start, count, refused, updated_at,
                count(*) OVER () AS keys, count(*) FILTER (WHERE refused > 0) OVER () AS keys_refused
           FROM (SELECT * FROM rate_limits WHERE tat > now() ORDER BY tat DESC LIMIT $2 + 1) r
          ORDER BY refused DESC, tat DESC, key LIMIT $1",
    )
    .bind(limit)
    .bind(LIMITED_COUNTED)
    .fetch_all(conn)
    .await
    .map(Some)
}

/// Which connections. Empty fields do not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionFilter {
    /// In lower case.
    pub provider: Option<String>,
    /// A word of the table's `state`, or `broken`: revoked or in error.
    pub state: Option<String>,
    /// Whose.
    pub user_id: Option<String>,
    /// Working, but without data for two days.
    pub silent: bool,
}

/// A connection in a list.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Connection {
    /// Ours.
    pub id: Uuid,
    /// Terra's.
    pub terra_user_id: String,
    /// Whose, where known.
    pub user_id: Option<String>,
    /// In lower case.
    pub provider: String,
    /// Its state's word.
    pub state: String,
    /// Why, in Terra's words.
    pub reason: Option<String>,
    /// Since when it is in this state.
    pub state_at: Instant,
    /// When data last came.
    pub last_data_at: Option<Instant>,
}

/// Connections after the given one, the newest first.
///
/// # Errors
/// The database's.
pub async fn connections(conn: &mut PgConnection, f: &ConnectionFilter, after: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<Connection>> {
    sqlx::query_as(
        "SELECT id, terra_user_id, user_id, provider, state, left(reason, 400) AS reason, state_at, last_data_at FROM connections
          WHERE ($1::text IS NULL OR provider = $1) AND ($2::text IS NULL OR state = $2 OR $2 = 'broken' AND state IN ('error', 'revoked')) AND ($3::text IS NULL OR user_id = $3)
            AND (NOT $4 OR state IN ('active', 'reauthorised') AND coalesce(last_data_at, created_at) < now() - interval '48 hours')
            AND ($5::uuid IS NULL OR id < $5)
          ORDER BY id DESC LIMIT $6",
    )
    .persistent(false)
    .bind(&f.provider)
    .bind(&f.state)
    .bind(&f.user_id)
    .bind(f.silent)
    .bind(after)
    .bind(limit)
    .fetch_all(conn)
    .await
}

/// A duty that one node at a time has.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Lease {
    /// The duty.
    pub name: String,
    /// Who has it; absent: a node that is gone.
    pub node: Option<String>,
    /// How often it changed hands.
    pub term: i64,
    /// Until when.
    pub expires_at: Instant,
}

/// All duties. Of the program's own tables: ask for administrators only.
///
/// # Errors
/// The database's.
pub async fn leases(conn: &mut PgConnection) -> sqlx::Result<Vec<Lease>> {
    sqlx::query_as(
        "SELECT l.name, w.node, l.term, l.expires_at FROM leases l LEFT JOIN workers w ON w.id = l.holder ORDER BY l.name LIMIT 100",
    )
    .fetch_all(conn)
    .await
}

/// A batch of jobs that a worker holds.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Batch {
    /// The kind of job.
    pub kind: String,
    /// Who holds it.
    pub node: Option<String>,
    /// How many jobs.
    pub jobs: i32,
    /// Renewed until.
    pub lease_until: Instant,
}

/// The batches in work, the one that ends first at the top.
///
/// # Errors
/// The database's.
pub async fn batches(conn: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Batch>> {
    sqlx::query_as(
        "SELECT l.type AS kind, w.node, cardinality(l.ids) AS jobs, l.lease_until FROM job_leases l LEFT JOIN workers w ON w.id = l.worker_id
          ORDER BY l.lease_until, l.epoch LIMIT $1",
    )
    .bind(limit)
    .fetch_all(conn)
    .await
}

/// A trainer with the number of clients.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Trainer {
    /// The account.
    pub id: Uuid,
    /// Its address.
    pub email: String,
    /// What people call it; may be empty.
    pub display_name: String,
    /// May not log in.
    pub disabled: bool,
    /// Clients assigned.
    pub clients: i64,
}

macro_rules! trainer {
    () => {
        "SELECT a.id, a.email, a.display_name, a.disabled_at IS NOT NULL AS disabled,
                (SELECT count(*) FROM trainer_clients c WHERE c.trainer_id = a.id) AS clients
           FROM accounts a WHERE a.role = 'trainer'"
    };
}

/// The trainers behind the given address, by address.
///
/// # Errors
/// The database's.
pub async fn trainers(conn: &mut PgConnection, after: &str, limit: i64) -> sqlx::Result<Vec<Trainer>> {
    sqlx::query_as(concat!(trainer!(), " AND a.email > $1 ORDER BY a.email LIMIT $2")).bind(after).bind(limit).fetch_all(conn).await
}

/// One trainer; `None`: there is no such account, or it is another's.
///
/// # Errors
/// The database's.
pub async fn trainer(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Trainer>> {
    sqlx::query_as(concat!(trainer!(), " AND a.id = $1")).bind(id).fetch_optional(conn).await
}

/// A client of a trainer.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Client {
    /// Who.
    pub user_id: String,
    /// What pages call this person.
    pub label: Option<String>,
    /// Since when.
    pub assigned_at: Instant,
    /// Who gave it, where the account is still there.
    pub by: Option<String>,
}

/// The clients of a trainer behind the given one, by id.
///
/// # Errors
/// The database's.
pub async fn clients_of(conn: &mut PgConnection, trainer: Uuid, after: &str, limit: i64) -> sqlx::Result<Vec<Client>> {
    sqlx::query_as(
        "SELECT c.user_id, p.label, c.assigned_at, a.email AS by
           FROM trainer_clients c LEFT JOIN persons p USING (user_id) LEFT JOIN accounts a ON a.id = c.assigned_by
          WHERE c.trainer_id = $1 AND c.user_id > $2 ORDER BY c.user_id LIMIT $3",
    )
    .bind(trainer)
    .bind(after)
    .bind(limit)
    .fetch_all(conn)
    .await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::store::testing;

    const WORLD: &str = "
      INSERT INTO persons (user_id) SELECT 'p' || n FROM generate_series(1, 9) n;
      INSERT INTO connections (terra_user_id, user_id, provider, state, last_data_at)
      SELECT 't' || n, 'p' || n, CASE WHEN n % 2 = 0 THEN 'oura' ELSE 'whoop' END, CASE n WHEN 3 THEN 'error' WHEN 5 THEN 'revoked' ELSE 'active' END,
             CASE WHEN n > 6 THEN now() - interval '3 days' ELSE now() END FROM generate_series(1, 9) n;
      INSERT INTO rate_limits (key, tat, count, refused) VALUES ('login:1.2.3.4', now() + interval '1 minute', 5, 3), ('login:5.6.7.8', now() + interval '1 hour', 5, 0), ('api:old', now() - interval '1 minute', 9, 9);
      INSERT INTO accounts (email, role) VALUES ('t@example.com', 'trainer'), ('a@example.com', 'admin');
      INSERT INTO trainer_clients (trainer_id, user_id) SELECT a.id, 'p' || n FROM accounts a, generate_series(1, 5) n WHERE role = 'trainer';
      INSERT INTO workers (id, lock_key, node, role) VALUES ('00000000-0000-0000-0000-000000000001', 1, 'node-1', 'all');
      INSERT INTO leases (name, holder, expires_at) VALUES ('jobs', '00000000-0000-0000-0000-000000000001', now()), ('old', gen_random_uuid(), now());
      INSERT INTO job_leases (epoch, worker_id, type, lease_until, ids) VALUES (1, '00000000-0000-0000-0000-000000000001', 'a', now(), ARRAY[gen_random_uuid(), gen_random_uuid()]);";

    #[tokio::test]
    async fn the_machinery_is_listed_as_it_is() {
        let t = testing::database().await;
        sqlx::raw_sql(WORLD).execute(t.db.owner()).await.unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let keys: Vec<String> = limited(&mut conn, 10).await.unwrap().unwrap().into_iter().map(|l| l.key).collect();
        assert_eq!(keys, ["login:1.2.3.4", "login:5.6.7.8"], "whose allowance is whole is not limited");
        let filter = |provider: Option<&str>, state: Option<&str>, silent| ConnectionFilter {
            provider: provider.map(str::to_owned),
            state: state.map(str::to_owned),
            user_id: None,
            silent,
        };
        for (f, expected) in [
            (filter(None, None, false), 9),
            (filter(Some("oura"), None, false), 4),
            (filter(None, Some("error"), false), 1),
            (filter(None, Some("broken"), false), 2),
            (filter(None, None, true), 3),
        ] {
            let first = connections(&mut conn, &f, None, 2).await.unwrap();
            let rest = connections(&mut conn, &f, first.last().map(|c| c.id), 100).await.unwrap();
            let ids: std::collections::BTreeSet<Uuid> = first.iter().chain(&rest).map(|c| c.id).collect();
            assert_eq!((first.len() + rest.len(), ids.len()), (expected, expected), "{f:?}");
        }
        assert_eq!(leases(&mut conn).await.unwrap().iter().map(|l| l.node.as_deref()).collect::<Vec<_>>(), [Some("node-1"), None]);
        assert_eq!(batches(&mut conn, 5).await.unwrap().iter().map(|b| (b.kind.as_str(), b.jobs)).collect::<Vec<_>>(), [("a", 2)]);
        let trainer = trainers(&mut conn, "", 9).await.unwrap().remove(0);
        assert_eq!((trainer.email.as_str(), trainer.clients), ("t@example.com", 5));
        assert!(trainers(&mut conn, "t@example.com", 9).await.unwrap().is_empty());
        assert_eq!(super::trainer(&mut conn, trainer.id).await.unwrap().map(|t| t.clients), Some(5));
        assert!(super::trainer(&mut conn, Uuid::nil()).await.unwrap().is_none());
        let first = clients_of(&mut conn, trainer.id, "", 3).await.unwrap();
        let rest = clients_of(&mut conn, trainer.id, &first[2].user_id, 9).await.unwrap();
        assert_eq!((first.len(), rest.len()), (3, 2));
        sqlx::raw_sql("DROP TABLE rate_limits").execute(t.db.owner()).await.unwrap();
        assert!(limited(&mut conn, 10).await.unwrap().is_none());
    }
}
