//! Storing deliveries as they arrive: the key, the raw row and the job, in one statement.
//!
//! What makes a 200 durable is that one statement and its commit; nothing here is written twice. The jobs are counted in it
//! as well; the workers are told apart from it, by [`notify`].

use super::retention::Retention;
use axum::body::Bytes;
use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use std::collections::HashMap;
use std::time::Duration;
use uuid::Uuid;

/// What a delivery is stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// To be processed: it gets a job.
    Pending,
    /// Signed and JSON, but of no use to us.
    Ignored,
    /// Signed, but not JSON.
    Invalid,
    /// Another body came under the same trace id before.
    Conflict,
}

impl Status {
    const fn word(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Ignored => "ignored",
            Status::Invalid => "invalid",
            Status::Conflict => "conflict",
        }
    }
}

/// A delivery to be stored. Texts hold no NUL, and ids are short enough for their indexes.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// Version 7: its time is `received_at`. The job has the same id.
    pub id: Uuid,
    /// When it came, in whole milliseconds.
    pub received_at: DateTime<Utc>,
    /// What makes it the same delivery when it comes again: the trace id, or `sha256:` and the body's hash.
    pub key: String,
    /// The trace id as stored beside the body; differs from `key` for a conflict.
    pub trace_id: String,
    /// SHA-256 of the body.
    pub body_hash: [u8; 32],
    /// Terra's `type`; empty when it has none.
    pub kind: String,
    /// The provider in lower case.
    pub provider: Option<String>,
    /// Our user id, where the body names it.
    pub user_id: Option<String>,
    /// Terra's id of the connection.
    pub terra_user_id: Option<String>,
    /// What it is stored as.
    pub status: Status,
    /// Why it is not processed, for people.
    pub error: Option<String>,
    /// Terra's ordering timestamp, Unix ms; absent: the time of receipt.
    pub ordering_ms: i64,
    /// `Terra-reference`: shared by many deliveries, never a key.
    pub reference: Option<String>,
    /// The headers worth keeping.
    pub headers: Texts,
    /// The request's id, which joins the job's log lines to the request's; letters, digits and dashes only.
    pub request_id: Option<String>,
    /// The fingerprint of the key it was signed with; `None`: fetched over a signed link.
    pub signed_by: Option<String>,
    /// The exact bytes (of the content: after gzip was undone).
    pub body: Bytes,
}

impl NewDelivery {
    /// The payload of its job: where it lies, and which request brought it.
    fn job(&self) -> Texts {
        let mut payload = Texts::default();
        payload.add("delivery_id", self.id.hyphenated().encode_lower(&mut Uuid::encode_buffer()));
        payload.add("created_at", &self.received_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
        if let Some(request) = &self.request_id {
            payload.add("request_id", request);
        }
        payload
    }
}

/// A flat JSON object of texts, written as names and values in turn: PostgreSQL makes an object of them (`object!`) for two
/// thirds of what reading JSON would cost it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts(String);

/// What stands between them; no text may hold it.
const BETWEEN: char = '\u{1f}';

impl Texts {
    /// Adds a name and its value, of which control characters but tabs are left out. No name may come twice.
    pub fn add(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push(BETWEEN);
        }
        self.0.push_str(name);
        self.0.push(BETWEEN);
        self.0.extend(value.chars().filter(|c| !c.is_control() || *c == '\t'));
    }

    /// Names with their values.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut texts = self.0.split(BETWEEN);
        std::iter::from_fn(move || Some((texts.next()?, texts.next()?)))
    }
}

/// The SQL that makes the JSON object of a column of [`Texts`].
macro_rules! object {
    ($column:literal) => {
        concat!("jsonb_object(string_to_array(", $column, ", E'\\x1f'))")
    };
}

/// A connection for storing deliveries, outside the pools: workers that hold every pooled connection cannot delay
/// an answer to Terra.
///
/// A statement is planned once, for arrays of unknown length: never as nested loops, which are right for the ten rows
/// the planner expects and a disaster for five hundred. It ends by itself when this program has given up on it, and it
/// commits durably even where the server's default is not to. On it [`insert_new`] and [`insert`] count the jobs they insert
/// (`assay.counted`), elsewhere the table's trigger does: no other job may be inserted on it.
pub async fn connect(pool: &PgPool) -> sqlx::Result<PgConnection> {
    let options: &PgConnectOptions = &pool.connect_options();
    let mut conn = PgConnection::connect_with(options).await?;
    sqlx::query(
        "SELECT set_config('plan_cache_mode', 'force_generic_plan', false), set_config('statement_timeout', '5000', false),
                set_config('work_mem', '16MB', false), set_config('enable_nestloop', 'off', false),
                set_config('assay.counted', 'on', false),
                set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)",
    )
    .execute(&mut conn)
    .await?;
    Ok(conn)
}

/// The columns of both statements that store, $1 to $15.
macro_rules! bind {
    ($rows:expr, $query:expr) => {
        $query
            .bind(column($rows, |r| r.key.as_str()))
            .bind(column($rows, |r| r.body_hash.as_slice()))
            .bind(column($rows, |r| r.id))
            .bind(column($rows, |r| r.received_at))
            .bind(column($rows, |r| r.trace_id.as_str()))
            .bind(column($rows, |r| r.kind.as_str()))
            .bind(column($rows, |r| r.provider.as_deref()))
            .bind(column($rows, |r| r.user_id.as_deref()))
            .bind(column($rows, |r| r.terra_user_id.as_deref()))
            .bind(column($rows, |r| r.status.word()))
            .bind(column($rows, |r| r.error.as_deref()))
            .bind(column($rows, |r| r.ordering_ms))
            .bind(column($rows, |r| r.reference.as_deref()))
            .bind(column($rows, |r| r.headers.0.as_str()))
            .bind(column($rows, |r| r.body.as_ref()))
    };
}

fn column<'a, T>(rows: &[&'a NewDelivery], f: impl Fn(&'a NewDelivery) -> T) -> Vec<T> {
    rows.iter().map(|r| f(r)).collect()
}

/// Stores deliveries whose keys are all new: nothing is looked up, nothing compared, each row is written once. One
/// statement, one commit; it is the way of nearly every delivery, at two thirds of what [`insert`] costs.
///
/// # Errors
/// The database's; `23505` when a key was there, and then nothing is stored: [`insert`] sorts them out.
pub async fn insert_new(conn: &mut PgConnection, rows: &[&NewDelivery]) -> sqlx::Result<()> {
    let work: Vec<&NewDelivery> = rows.iter().copied().filter(|r| r.status == Status::Pending).collect();
    // The arrays are taken apart in the target list: in FROM each would first be written down as a table of its own.
    bind!(rows, sqlx::query(concat!(
        "WITH new_key AS (
           INSERT INTO delivery_keys (trace_id, body_hash, raw_id, created_at)
           SELECT unnest($1::text[]), unnest($2::bytea[]), unnest($3::uuid[]), unnest($4::timestamptz[])
         ), raw AS (
           INSERT INTO terra_webhooks_raw (id, created_at, trace_id, type, provider, user_id, terra_user_id, status, error,
                                           ordering_ms, reference, headers, body, signed_by)
           SELECT id, at, trace, type, provider, user_id, terra_user_id, status, error, ordering, reference, ", object!("headers"), ", body, signed_by
             FROM (SELECT unnest($3::uuid[]) AS id, unnest($4::timestamptz[]) AS at, unnest($5::text[]) AS trace, unnest($6::text[]) AS type,
                          unnest($7::text[]) AS provider, unnest($8::text[]) AS user_id, unnest($9::text[]) AS terra_user_id,
                          unnest($10::text[]) AS status, unnest($11::text[]) AS error, unnest($12::int8[]) AS ordering,
                          unnest($13::text[]) AS reference, unnest($14::text[]) AS headers, unnest($15::bytea[]) AS body,
                          unnest($19::text[]) AS signed_by) AS d
         ), counted AS (
           INSERT INTO job_count_deltas (type, status, delta)
           SELECT 'webhook_processing', 'pending', cardinality($16::uuid[])
            WHERE cardinality($16::uuid[]) > 0 AND current_setting('assay.counted', true) = 'on'
         )
         INSERT INTO background_jobs (id, type, payload, user_id)
         SELECT id, 'webhook_processing', ", object!("payload"), ", user_id
           FROM (SELECT unnest($16::uuid[]) AS id, unnest($17::text[]) AS payload, unnest($18::text[]) AS user_id) AS j",
    )))
    .bind(column(&work, |r| r.id))
    .bind(column(&work, |r| r.job().0))
    .bind(column(&work, |r| r.user_id.as_deref()))
    .bind(column(rows, |r| r.signed_by.as_deref()))
    .execute(conn)
    .await?;
    Ok(())
}

/// Stores what is new and gives the ids of what was: the others' keys were there before. One statement, one commit.
///
/// Rows should come in the order of their keys, so that two of these statements cannot lock each other out, and no
/// key may occur twice.
pub async fn insert(conn: &mut PgConnection, rows: &[&NewDelivery]) -> sqlx::Result<Vec<Uuid>> {
    bind!(
        rows,
        sqlx::query_scalar(concat!(
            "WITH new_key AS (
           INSERT INTO delivery_keys (trace_id, body_hash, raw_id, created_at)
           SELECT key, hash, id, at FROM unnest($1::text[], $2::bytea[], $3::uuid[], $4::timestamptz[]) AS k (key, hash, id, at)
           ON CONFLICT (trace_id) DO NOTHING
           RETURNING raw_id
         ), raw AS (
           INSERT INTO terra_webhooks_raw (id, created_at, trace_id, type, provider, user_id, terra_user_id, status, error,
                                           ordering_ms, reference, headers, body, signed_by)
           SELECT id, at, trace, type, provider, user_id, terra_user_id, status, error, ordering, reference, ",
            object!("headers"),
            ", body, signed_by
             FROM unnest($3::uuid[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
                         $11::text[], $12::int8[], $13::text[], $14::text[], $15::bytea[], $17::text[])
               AS d (id, at, trace, type, provider, user_id, terra_user_id, status, error, ordering, reference, headers, body, signed_by)
            WHERE id IN (SELECT raw_id FROM new_key)
         ), job AS (
           INSERT INTO background_jobs (id, type, payload, user_id)
           SELECT id, 'webhook_processing', ",
            object!("payload"),
            ", user_id
             FROM unnest($3::uuid[], $8::text[], $10::text[], $16::text[]) AS d (id, user_id, status, payload)
            WHERE status = 'pending' AND id IN (SELECT raw_id FROM new_key)
           RETURNING 1
         ), counted AS (
           INSERT INTO job_count_deltas (type, status, delta)
           SELECT 'webhook_processing', 'pending', count(*) FROM job
           HAVING count(*) > 0 AND current_setting('assay.counted', true) = 'on'
         )
         SELECT raw_id FROM new_key",
        ))
    )
    .bind(column(rows, |r| r.job().0))
    .bind(column(rows, |r| r.signed_by.as_deref()))
    .fetch_all(conn)
    .await
}

/// Puts these deliveries' jobs, where they still wait, ahead of every job without a deadline. A statement of its own, since the
/// column would cost each of the others as much as the few that need it. It waits for nobody: what is locked is being taken.
pub async fn hasten(conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE background_jobs SET priority = 0
          WHERE id = ANY (ARRAY(SELECT id FROM background_jobs WHERE id = ANY($1) AND status = 'pending' AND failed_at IS NULL
                                   FOR UPDATE SKIP LOCKED))",
    )
    .bind(ids)
    .execute(conn)
    .await?;
    Ok(())
}

/// The body hashes stored under these keys.
pub async fn known(conn: &mut PgConnection, keys: &[&str]) -> sqlx::Result<HashMap<String, Vec<u8>>> {
    let rows: Vec<(String, Vec<u8>)> =
        sqlx::query_as("SELECT trace_id, body_hash FROM delivery_keys WHERE trace_id = ANY($1)").bind(keys).fetch_all(conn).await?;
    Ok(rows.into_iter().collect())
}

/// A connection for [`notify`]. A notification that is lost with the server costs a moment, so its commit does not wait for the
/// disk: under load there are fifty a second.
pub async fn connect_to_notify(pool: &PgPool) -> sqlx::Result<PgConnection> {
    let options: &PgConnectOptions = &pool.connect_options();
    let mut conn = PgConnection::connect_with(options).await?;
    sqlx::query("SELECT set_config('synchronous_commit', 'off', false), set_config('statement_timeout', '5000', false)")
        .execute(&mut conn)
        .await?;
    Ok(conn)
}

/// Tells workers, wherever they run, that deliveries wait. Apart from the storing statement on purpose: a NOTIFY takes
/// a lock of the whole database until its commit is done, and would let only one flush commit at a time.
pub async fn notify(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_notify('assay_jobs', 'webhook_processing')").execute(conn).await?;
    Ok(())
}

/// Makes the raw partitions of this month and the next two, where missing, and those of rows that the default partition
/// had to take: they move. One commit each, and none waits long for a lock, since deliveries would wait behind it.
pub async fn make_partitions(owner: &PgPool) -> sqlx::Result<()> {
    let months: Vec<chrono::NaiveDate> = sqlx::query_scalar(
        "SELECT (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => n))::date AS month FROM generate_series(0, 2) AS n
         UNION SELECT date_trunc('month', created_at AT TIME ZONE 'UTC')::date FROM terra_webhooks_raw_default ORDER BY month LIMIT 100",
    )
    .fetch_all(owner)
    .await?;
    for month in months {
        let mut tx = owner.begin().await?;
        sqlx::query("SELECT set_config('lock_timeout', '2s', true)").execute(&mut *tx).await?;
        sqlx::query("SELECT app.make_raw_partition($1)").bind(month).execute(&mut *tx).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Rows that are deleted in one statement and commit.
const FORGET_AT_ONCE: i64 = 20_000;
/// Pages of keys that are looked through in one statement and commit: some thirty thousand keys.
const KEY_PAGES: i64 = 512;

/// Drops months of deliveries; `None`: they are in use, and others must not wait behind us.
pub(super) async fn drop_months(conn: &mut PgConnection, days: i32) -> sqlx::Result<Option<i64>> {
    let mut tx = conn.begin().await?;
    sqlx::query("SELECT set_config('lock_timeout', '300ms', true)").execute(&mut *tx).await?;
    let dropped = sqlx::query_scalar("SELECT app.drop_raw_before((now() AT TIME ZONE 'UTC')::date - $1)").bind(days).fetch_one(&mut *tx);
    match dropped.await {
        Ok(n) => {
            tx.commit().await?;
            Ok(Some(n))
        }
        Err(e) if super::maintenance::is_lock_timeout(&e) => Ok(None), // rolls back
        Err(e) => Err(e),
    }
}

/// Removes deliveries and keys that are older than their time, as the owner. Whole months of deliveries are dropped,
/// once nothing of them waits any more; deliveries of no use and keys go some thousands at a time, so that no transaction
/// is long. A month that is in use is left.
///
/// # Errors
/// The database's; what was removed before stays removed.
pub async fn forget(conn: &mut PgConnection, kept: &Retention) -> sqlx::Result<Vec<(&'static str, i64)>> {
    let mut removed = Vec::new();
    if let Some(days) = kept.raw_days {
        match drop_months(conn, days).await? {
            Some(n) => removed.push(("terra_webhooks_raw", n)),
            None => tracing::info!("a month of old deliveries is in use"),
        }
    }
    if let Some(days) = kept.useless_days {
        let mut sum = 0;
        loop {
            let n = sqlx::query(
                "DELETE FROM terra_webhooks_raw WHERE (created_at, id) IN (
                   SELECT created_at, id FROM terra_webhooks_raw
                    WHERE status IN ('ignored', 'conflict', 'invalid') AND created_at < now() - make_interval(days => $1) LIMIT $2)",
            )
            .bind(days)
            .bind(FORGET_AT_ONCE)
            .execute(&mut *conn)
            .await?
            .rows_affected() as i64;
            sum += n;
            if n < FORGET_AT_ONCE {
                break;
            }
        }
        removed.push(("terra_webhooks_raw of no use", sum));
    }
    if let Some(days) = kept.key_days {
        removed.push(("delivery_keys", forget_keys(conn, days).await?));
    }
    Ok(removed)
}

/// Removes the keys older than so many days, reading the table once from its beginning to its end: an index on their time would
/// cost each delivery more than this costs a day.
async fn forget_keys(conn: &mut PgConnection, days: i32) -> sqlx::Result<i64> {
    let pages: i64 =
        sqlx::query_scalar("SELECT pg_relation_size('delivery_keys') / current_setting('block_size')::int8").fetch_one(&mut *conn).await?;
    let mut sum = 0;
    for first in (0..pages).step_by(KEY_PAGES as usize) {
        let gone = sqlx::query(
            "DELETE FROM delivery_keys
              WHERE ctid >= ('(' || $2::int8 || ',0)')::tid AND ctid < ('(' || $3::int8 || ',0)')::tid AND created_at < now() - make_interval(days => $1)",
        )
        .bind(days)
        .bind(first)
        .bind(first + KEY_PAGES)
        .execute(&mut *conn)
        .await?;
        sum += gone.rows_affected() as i64;
    }
    Ok(sum)
}

/// Deliveries turned away in one minute, for one reason, from one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The minute.
    pub minute: DateTime<Utc>,
    /// The reason code of the answer.
    pub reason: &'static str,
    /// The caller's address, of IPv6 the network it is in; `others` where there were too many to tell apart.
    pub address: String,
    /// How many.
    pub count: i64,
}

/// Answers given in one minute with one outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The minute.
    pub minute: DateTime<Utc>,
    /// The word of the outcome.
    pub outcome: &'static str,
    /// How many.
    pub count: i64,
}

/// Adds to the minute counts of outcomes and refusals, in one transaction.
pub async fn add_counts(pool: &PgPool, node: &str, answered: &[Answered], refused: &[Refused]) -> sqlx::Result<()> {
    let limit = Duration::from_secs(5);
    let work = async {
        let mut tx = pool.begin().await?;
        sqlx::query(
            "INSERT INTO gateway_counts AS c (minute, outcome, node, count)
             SELECT minute, outcome, $3, n FROM unnest($1::timestamptz[], $2::text[], $4::int8[]) AS a (minute, outcome, n)
              ORDER BY minute, outcome
             ON CONFLICT (minute, outcome, node) DO UPDATE SET count = c.count + EXCLUDED.count",
        )
        .bind(answered.iter().map(|a| a.minute).collect::<Vec<_>>())
        .bind(answered.iter().map(|a| a.outcome).collect::<Vec<_>>())
        .bind(node)
        .bind(answered.iter().map(|a| a.count).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "INSERT INTO refused_deliveries AS c (minute, reason, address, count)
             SELECT minute, reason, address, n FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::int8[]) AS r (minute, reason, address, n)
              ORDER BY minute, reason, address
             ON CONFLICT (minute, reason, address) DO UPDATE SET count = c.count + EXCLUDED.count",
        )
        .bind(refused.iter().map(|r| r.minute).collect::<Vec<_>>())
        .bind(refused.iter().map(|r| r.reason).collect::<Vec<_>>())
        .bind(refused.iter().map(|r| r.address.as_str()).collect::<Vec<_>>())
        .bind(refused.iter().map(|r| r.count).collect::<Vec<_>>())
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    };
    tokio::time::timeout(limit, work).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Deliveries since a time that were signed, but not with our secret, or by a wrong clock; of very many rows, a minute, reason
/// and address each, the newest 100,000 of whatever reason are looked through. Whoever does not sign at all may be anybody, and
/// is not counted.
///
/// # Errors
/// The database's.
pub async fn badly_signed(conn: &mut PgConnection, since: DateTime<Utc>) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "SELECT coalesce(sum(count), 0)::bigint FROM (
           SELECT reason, count FROM refused_deliveries WHERE minute >= $1 ORDER BY minute DESC LIMIT 100000) r
          WHERE reason IN ('signature_mismatch', 'signature_stale')",
    )
    .bind(since)
    .fetch_one(conn)
    .await
}

/// Marks a person as simulated, making them if need be, also where they were erased; whether that may be. A person who
/// exists and is not simulated stays as they are, unless `always`: the checklist's own test user. What comes of them from
/// outside makes them real (`simulated::make_real`).
pub async fn claim_simulated(conn: &mut PgConnection, user_id: &str, always: bool) -> sqlx::Result<bool> {
    super::tombstones::exhume(conn, &[user_id.to_owned()]).await?;
    sqlx::query_scalar(
        "INSERT INTO persons AS p (user_id, simulated) VALUES ($1, true)
         ON CONFLICT (user_id) DO UPDATE SET simulated = p.simulated OR $2
         RETURNING simulated",
    )
    .bind(user_id)
    .bind(always)
    .fetch_one(conn)
    .await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::store::testing;
    use proptest::prelude::*;

    proptest! {
        /// Whatever a value holds, separators too, the pairs stay what they were.
        #[test]
        fn a_value_never_becomes_two(values in prop::collection::vec(".{0,20}|[\\x00-\\x1f\\x7f\"\\\\]{0,8}", 0..6)) {
            let mut texts = Texts::default();
            let names: Vec<String> = (0..values.len()).map(|n| format!("name-{n}")).collect();
            for (name, value) in names.iter().zip(&values) {
                texts.add(name, value);
            }
            let clean = |v: &String| v.chars().filter(|c| !c.is_control() || *c == '\t').collect::<String>();
            let wanted: Vec<(&str, String)> = names.iter().map(String::as_str).zip(values.iter().map(clean)).collect();
            let found: Vec<(&str, String)> = texts.pairs().map(|(n, v)| (n, v.to_owned())).collect();
            prop_assert_eq!(found, wanted);
        }
    }

    #[tokio::test]
    async fn postgresql_makes_the_same_object_of_them() {
        let t = testing::database().await;
        let mut texts = Texts::default();
        for (name, value) in [("a", "1\u{1f}b\u{1f}2"), ("quoted", "\"\\ {}, NULL 'é\t"), ("empty", ""), ("null", "NULL")] {
            texts.add(name, value);
        }
        for (texts, wanted) in [
            (texts, serde_json::json!({"a": "1b2", "quoted": "\"\\ {}, NULL 'é\t", "empty": "", "null": "NULL"})),
            (Texts::default(), serde_json::json!({})),
        ] {
            let made: serde_json::Value =
                sqlx::query_scalar(concat!("SELECT ", object!("$1::text"))).bind(texts.0.as_str()).fetch_one(t.db.owner()).await.unwrap();
            assert_eq!(made, wanted);
        }
    }
}
