//! Who did what to what, when and from where. Entries are added and read; the rights in the database let nobody
//! but the owner change one (erasing a person takes identities out, see `erase.rs`).

use super::{Caller, Db};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor, types::Json};
use uuid::Uuid;

/// Whoever acts, as the log names them.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The account; `None` for the program itself.
    pub account_id: Option<Uuid>,
    /// The account's e-mail, a key's name, or `system`.
    pub name: String,
    /// The network address the request came from.
    pub address: Option<String>,
    /// The request's id, to find it in the other logs.
    pub request_id: Option<String>,
}

impl Actor {
    /// The program itself: schedules, the command line, the first start.
    pub fn system() -> Self {
        Self { account_id: None, name: "system".into(), address: None, request_id: None }
    }

    /// A person who is logged in.
    pub fn of(caller: &Caller, address: Option<String>, request_id: Option<String>) -> Self {
        Self { account_id: Some(caller.account_id), name: caller.email.clone(), address, request_id }
    }
}

/// Adds an entry. Called inside the transaction of the deed, so that neither exists without the other.
///
/// # Errors
/// Any of the database's.
pub async fn write<'e>(
    executor: impl PgExecutor<'e>,
    actor: &Actor,
    action: &str,
    subject: Option<&str>,
    detail: &Value,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO audit_log (account_id, actor, action, subject, detail, address, request_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(actor.account_id)
    .bind(&actor.name)
    .bind(action)
    .bind(subject)
    .bind(Json(detail))
    .bind(&actor.address)
    .bind(&actor.request_id)
    .execute(executor)
    .await
    .map(drop)
}

/// Records that a trainer looked at a person's data: once an hour for each trainer and person. Administrators'
/// reading is not recorded; they may see all.
///
/// # Errors
/// Any of the database's.
pub async fn note_reading(db: &Db, actor: &Actor, user_id: &str) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO audit_log (account_id, actor, action, subject, address, request_id)
         SELECT $1, $2, 'person.read', $3, $4, $5
          WHERE NOT EXISTS (SELECT 1 FROM audit_log WHERE subject = $3 AND at > now() - interval '1 hour'
                               AND account_id = $1 AND action = 'person.read')",
    )
    .bind(actor.account_id)
    .bind(&actor.name)
    .bind(user_id)
    .bind(&actor.address)
    .bind(&actor.request_id)
    .execute(db.service())
    .await
    .map(drop)
}

/// Deletes entries older than so many days, and writes down that it did. Only the owner's connection may; how many went.
///
/// # Errors
/// Any of the database's.
pub async fn forget(owner: &mut PgConnection, days: i32) -> sqlx::Result<i64> {
    use sqlx::Connection;
    let mut tx = owner.begin().await?;
    let done = sqlx::query("DELETE FROM audit_log WHERE at < now() - make_interval(days => $1)").bind(days).execute(&mut *tx).await?;
    let n = i64::try_from(done.rows_affected()).unwrap_or(i64::MAX);
    if n > 0 {
        write(&mut *tx, &Actor::system(), "audit.forget", None, &serde_json::json!({ "entries": n, "older_than_days": days })).await?;
    }
    tx.commit().await?;
    Ok(n)
}

/// One entry as the page shows it.
#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
pub struct Entry {
    /// Sorts by time; the key of the next page.
    pub id: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// E-mail, key's name or `system`.
    pub actor: String,
    /// What was done, e.g. `jobs.retry`.
    pub action: String,
    /// To what; `None` also after an erasure.
    pub subject: Option<String>,
    /// The e-mail of the account that the subject is, where it is one; only [`search`] looks for it.
    #[sqlx(default)]
    pub account: Option<String>,
    /// Before and after.
    pub detail: Value,
    /// From where.
    pub address: Option<String>,
    /// The request.
    pub request_id: Option<String>,
}

/// What to look for. Empty fields do not narrow.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Occurs in actor, subject or the e-mail of the account that the subject is, letters' case aside.
    pub text: Option<String>,
    /// The action's beginning, e.g. `login` or `person.`.
    pub action: Option<String>,
    /// Not before.
    pub from: Option<DateTime<Utc>>,
    /// Before.
    pub until: Option<DateTime<Utc>>,
}

/// The newest entries that match, at most `limit`, older than the entry `before`. Administrators only: the
/// database gives a trainer none.
///
/// # Errors
/// Any of the database's.
pub async fn search(db: &Db, caller: &Caller, filter: &Filter, before: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<Entry>> {
    let mut tx = db.begin_as(caller).await?;
    let entries = sqlx::query_as(
        "SELECT id, at, actor, action, subject, (SELECT a.email FROM accounts a WHERE a.id::text = subject) AS account, detail, address, request_id
           FROM audit_log
          WHERE ($1::text IS NULL OR position(lower($1) IN lower(actor)) > 0 OR position(lower($1) IN lower(subject)) > 0
                 OR subject = ANY (ARRAY(SELECT a.id::text FROM accounts a WHERE position(lower($1) IN lower(a.email)) > 0)))
            AND ($2::text IS NULL OR starts_with(action, $2))
            AND ($3::timestamptz IS NULL OR at >= $3) AND ($4::timestamptz IS NULL OR at < $4)
            AND ($5::uuid IS NULL OR (at, id) < (SELECT b.at, b.id FROM audit_log b WHERE b.id = $5))
          ORDER BY at DESC, id DESC LIMIT $6",
    )
    .bind(&filter.text)
    .bind(&filter.action)
    .bind(filter.from)
    .bind(filter.until)
    .bind(before)
    .bind(limit)
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(entries)
}

/// The newest entry about each of some subjects whose action begins so; a subject without one has none.
///
/// # Errors
/// Any of the database's.
pub async fn newest_about(conn: &mut PgConnection, subjects: &[String], action: &str) -> sqlx::Result<Vec<Entry>> {
    sqlx::query_as(
        "SELECT e.* FROM unnest($1::text[]) AS s (subject)
          CROSS JOIN LATERAL (SELECT id, at, actor, action, subject, detail, address, request_id FROM audit_log a
                               WHERE a.subject = s.subject AND starts_with(a.action, $2) ORDER BY a.at DESC, a.id DESC LIMIT 1) e",
    )
    .bind(subjects)
    .bind(action)
    .fetch_all(conn)
    .await
}

/// The newest deed on a job: an entry that names it, or one of a moment at which something was done to it among others. A
/// deed and its entry are one commit, and so of one moment.
///
/// # Errors
/// Any of the database's.
pub async fn last_deed(conn: &mut PgConnection, job: Uuid, moments: &[DateTime<Utc>]) -> sqlx::Result<Option<Entry>> {
    sqlx::query_as(
        "SELECT id, at, actor, action, subject, detail, address, request_id FROM audit_log
          WHERE (subject = $1 OR at = ANY ($2))
            AND (starts_with(action, 'jobs.') OR starts_with(action, 'dead_letters.') OR action = 'operation.cancel')
          ORDER BY at DESC, id DESC LIMIT 1",
    )
    .bind(job.to_string())
    .bind(moments)
    .fetch_optional(conn)
    .await
}

/// The header line of [`csv`].
pub const CSV_HEAD: &str = "at,actor,action,subject,detail,address,request_id,account\r\n";

/// Entries as lines of CSV (RFC 4180).
pub fn csv(entries: &[Entry]) -> String {
    let mut out = String::new();
    for e in entries {
        let fields = [
            e.at.to_rfc3339(),
            e.actor.clone(),
            e.action.clone(),
            e.subject.clone().unwrap_or_default(),
            e.detail.to_string(),
            e.address.clone().unwrap_or_default(),
            e.request_id.clone().unwrap_or_default(),
            e.account.clone().unwrap_or_default(),
        ];
        out.push_str(&fields.map(|f| csv_field(&f)).join(","));
        out.push_str("\r\n");
    }
    out
}

/// One CSV field, quoted. A leading `=`, `+`, `-` or `@` gets an apostrophe, because spreadsheets would run it.
pub fn csv_field(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}
