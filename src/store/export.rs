//! All that is stored about a person, as one JSON object with a list of rows for each table. It is written row by row: a long
//! history with its bodies is larger than one value of PostgreSQL may be, and than this program should hold.

use super::{Caller, Db, audit, audit::Actor, dead_letters, erase::of_person, roster};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};
use std::time::Duration;

/// Rows read at once.
const AT_ONCE: &str = "FETCH 200 FROM rows";
/// A body may have sixteen megabytes.
const ONE: &str = "FETCH 1 FROM rows";
/// A part is sent when it has so many bytes.
const PART: usize = 64 * 1024;
/// A reader who takes no part for so long has gone.
const PATIENCE: Duration = Duration::from_secs(60);

const WHOLE: &str = "to_jsonb(t)";
/// As JSON where it is JSON, else in base64.
const WITH_BODY: &str =
    "(to_jsonb(p.t) - 'body') || CASE WHEN p.body IS NULL THEN jsonb_build_object('body_base64', encode((p.t).body, 'base64'))
                                               ELSE jsonb_build_object('body', p.body) END";

/// Each list: its name, what a row is, and where it comes from. Of what an erasure removes only `delivery_keys` is not
/// here, the program's own fingerprints of the deliveries, and of jobs and log lines those that merely mention the
/// person: they are somebody else's too.
const LISTS: [(&str, &str, &str); 17] = [
    ("persons", WHOLE, "persons t WHERE t.user_id = $1"),
    ("connections", WHOLE, "connections t WHERE t.user_id = $1 ORDER BY t.created_at"),
    (
        "deliveries",
        WITH_BODY,
        // Found and put in order without their bodies, which are then read one by one.
        concat!(
            "(SELECT * FROM (",
            of_person!(),
            ") found ORDER BY created_at, id OFFSET 0) w CROSS JOIN LATERAL
             (SELECT t, payload(t) AS body FROM terra_webhooks_raw t WHERE t.id = w.id AND t.created_at = w.created_at OFFSET 0) p"
        ),
    ),
    ("records", WHOLE, "records t WHERE t.user_id = $1 ORDER BY t.measurement_date, t.source, t.model, t.key"),
    ("metrics", WHOLE, "unified_metrics t WHERE t.user_id = $1 ORDER BY t.measurement_date, t.metric_name, t.source"),
    ("confidence", WHOLE, "metric_confidence_cache t WHERE t.user_id = $1 ORDER BY t.measurement_date, t.metric_name, t.source"),
    ("confidence_shadow", WHOLE, "confidence_shadow t WHERE t.user_id = $1 ORDER BY t.measurement_date, t.metric_name, t.source"),
    ("score_advice", WHOLE, "score_advice t WHERE t.user_id = $1 ORDER BY t.metric_name, t.source"),
    ("person_scores", WHOLE, "person_scores t WHERE t.user_id = $1"),
    ("roster", WHOLE, "roster t WHERE t.user_id = $1 ORDER BY t.metric_name"),
    ("finding_reviews", WHOLE, "finding_reviews t WHERE t.user_id = $1"),
    ("source_choices", WHOLE, "source_choices t WHERE t.user_id = $1"),
    ("jobs", WHOLE, "background_jobs t WHERE t.user_id = $1 ORDER BY t.created_at"),
    ("job_history", WHOLE, "job_history t WHERE t.user_id = $1 ORDER BY t.created_at"),
    (DEAD_LETTERS, WHOLE, "background_jobs_dlq t WHERE t.user_id = $1 ORDER BY t.created_at"),
    ("logs", WHOLE, "edge_function_logs t WHERE t.user_id = $1 ORDER BY t.timestamp"),
    ("trainers", WHOLE, "trainer_clients t WHERE t.user_id = $1"),
];
/// The one whose table may have been dropped: then the list is empty.
const DEAD_LETTERS: &str = "dead_letters";

/// Whether the caller sees anything of this person. If so, the audit log has that it was exported.
///
/// # Errors
/// Any of the database's.
pub async fn begin(db: &Db, caller: &Caller, actor: &Actor, user_id: &str) -> sqlx::Result<bool> {
    let mut tx = db.begin_as(caller).await?;
    let letters = dead_letters::exists(&mut tx).await?;
    for (name, _, from) in LISTS.iter().filter(|l| letters || l.0 != DEAD_LETTERS) {
        // What is parked under the name alone makes nobody known, and is not looked through for an id that may be a slip.
        let from = if *name == "deliveries" { "terra_webhooks_raw t WHERE t.user_id = $1" } else { from };
        let sql = AssertSqlSafe(format!("SELECT EXISTS (SELECT FROM {from})"));
        if sqlx::query_scalar(sql).bind(user_id).fetch_one(&mut *tx).await? {
            tx.commit().await?;
            audit::write(db.service(), actor, "person.export", Some(user_id), &json!({})).await?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes the object part by part, read as the caller: a trainer exports only own clients. `send` answers whether
/// somebody still reads.
///
/// # Errors
/// Any of the database's; what was sent until then is no whole object.
pub async fn write<S, F>(db: &Db, caller: &Caller, user_id: &str, mut send: S) -> sqlx::Result<()>
where
    S: FnMut(String) -> F,
    F: Future<Output = bool>,
{
    let mut tx = db.begin_as(caller).await?;
    // What the caller may see, and what is there, must not change between two lists.
    roster::one_snapshot(&mut tx).await?;
    let letters = dead_letters::exists(&mut tx).await?;
    let mut part = format!("{{\"user_id\":{},\"exported_at\":{}", json!(user_id), json!(chrono::Utc::now()));
    for (name, row, from) in LISTS {
        part.push_str(&format!(",\"{name}\":["));
        let mut first = true;
        if letters || name != DEAD_LETTERS {
            let cursor = AssertSqlSafe(format!("DECLARE rows NO SCROLL CURSOR FOR SELECT ({row})::text FROM {from}"));
            sqlx::query(cursor).bind(user_id).execute(&mut *tx).await?;
            loop {
                let rows = next(&mut tx, if row == WITH_BODY { ONE } else { AT_ONCE }).await?;
                if rows.is_empty() {
                    break;
                }
                for row in rows {
                    part.push_str(if first { "" } else { "," });
                    part.push_str(&row);
                    first = false;
                    if part.len() >= PART && !taken(send(std::mem::take(&mut part))).await? {
                        return Ok(()); // nobody reads any more
                    }
                }
            }
            sqlx::query("CLOSE rows").execute(&mut *tx).await?;
        }
        part.push(']');
    }
    tx.commit().await?;
    part.push('}');
    taken(send(part)).await.map(drop)
}

async fn next(conn: &mut PgConnection, fetch: &'static str) -> sqlx::Result<Vec<String>> {
    // Not kept: a cursor of the same name is another one for the next list.
    sqlx::query_scalar(fetch).persistent(false).fetch_all(conn).await
}

/// Whether somebody still reads. One who only waits gets an error: what was sent until then must not pass for the whole.
async fn taken(sending: impl Future<Output = bool>) -> sqlx::Result<bool> {
    tokio::time::timeout(PATIENCE, sending).await.map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
}
