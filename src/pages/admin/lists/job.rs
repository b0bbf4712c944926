//! `/admin/jobs/{id}`: one job with its life.

use super::{
    super::{
        job_deeds::{ActOnJob, Deed},
        screen::{Cell, Part, Question, Shown, Step},
    },
    Query, by,
    jobs::{attempts, deeds_of, forms, presses},
    person, pretty, text, time, took,
};
use crate::{
    model::Instant,
    store::{
        audit,
        job_lists::run_since,
        jobs::list::{self, JobRow},
        letter_lists,
    },
};
use leptos::server_fn::ServerFn;
use sqlx::PgConnection;
use uuid::Uuid;

pub(super) async fn one(conn: &mut PgConnection, id: Uuid, query: &Query, now: Instant) -> sqlx::Result<Option<Shown>> {
    let Some(j) = list::find(conn, id).await? else { return Ok(None) };
    let here = format!("/admin/jobs/{id}");
    let deeds = deeds_of(&j.status, j.scheduled_at, now);
    let named = |key: &str| j.payload.0.get(key).and_then(serde_json::Value::as_str).and_then(|t| Uuid::try_parse(t).ok());
    let mut facts = vec![
        ("State".to_owned(), Cell::State(j.status.clone())),
        ("Attempts".to_owned(), Cell::Text(attempts(j.attempts, j.max_attempts))),
        ("Priority".to_owned(), Cell::Text(format!("{} (0 first, 9 last)", j.priority))),
        ("Person".to_owned(), person(j.user_id.as_deref())),
    ];
    if let Some(delivery) = named("delivery_id") {
        facts.push(("Delivery".to_owned(), Cell::Link(format!("/admin/webhooks/{delivery}"), "What was received".into())));
    }
    if let Some(worker) = j.worker_id {
        facts.push(("Held by".to_owned(), Cell::Code(worker.to_string())));
    }
    facts.extend(last_deed(conn, &j, now).await?);
    let mut texts = vec![("Payload".to_owned(), pretty(&j.payload.0))];
    if let Some(result) = &j.result {
        texts.push(("Result".to_owned(), pretty(&result.0)));
    }
    Ok(Some(Shown {
        title: format!("Job: {}", j.kind),
        lead: id.to_string(),
        up: Some(("/admin/jobs".into(), "Jobs".into())),
        taken: Some(text::moment(now, now)),
        deeds: if deeds.is_empty() { Vec::new() } else { vec![presses(deeds, id, &j.kind, format!("{here}?ask=cancel"))] },
        question: (query.get("ask") == "cancel" && deeds.contains(&Deed::Cancel)).then(|| question(&j, &here)),
        warning: j.error.clone().filter(|_| j.status == "failed").unwrap_or_default(),
        steps: steps(&j, now),
        facts,
        texts,
        parts: errors(&j, now),
        shared: forms(&here),
        ..Shown::default()
    }))
}

/// The question before the job is cancelled.
fn question(j: &JobRow, here: &str) -> Question {
    let fields = [("deed", Deed::Cancel.word()), ("id", &j.id.to_string()), ("back", here)];
    Question {
        text: format!("Cancel this job of kind {}? It will not run again; if it runs, it is asked to stop.", j.kind),
        verb: "Cancel the job".into(),
        action: ActOnJob::url().into(),
        fields: fields.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec(),
        back: here.to_owned(),
        ..Question::default()
    }
}

/// What somebody did to it last, as the audit log says: alone, or with others at the moment that its row or letter tells.
async fn last_deed(conn: &mut PgConnection, j: &JobRow, now: Instant) -> sqlx::Result<Option<(String, Cell)>> {
    let mut moments = letter_lists::moments_of(conn, j.id).await?;
    moments.extend(j.completed_at.filter(|_| j.status == "cancelled"));
    let entry = audit::last_deed(conn, j.id, &moments).await?;
    Ok(entry.map(|e| {
        let word = match e.action.as_str() {
            "jobs.retry" => "Retried by",
            "jobs.run_now" => "Made due by",
            "jobs.put_off" => "Put off by",
            "dead_letters.discard" => "Discarded by",
            "dead_letters.redrive" => "Brought back by",
            "operation.cancel" => "Its operation was stopped by",
            _ => "Cancelled by",
        };
        (word.to_owned(), by(&e, now))
    }))
}

/// Created, due, started, ended: what happened with its time, what did not yet without.
fn steps(j: &JobRow, now: Instant) -> Vec<Step> {
    let step = |words: &str, at: Option<Instant>, note: String| Step { words: words.into(), at: at.map(|t| text::moment(t, now)), note };
    // What waits for its next attempt has the beginning of the one before: how long that one waited is not known any more.
    let waited =
        |s: Instant| if s >= j.scheduled_at { format!(", waited {}", took(s - j.scheduled_at.max(j.created_at))) } else { String::new() };
    let started = j.started_at.map(|s| format!("attempt {}{}", j.attempts, waited(s))).unwrap_or_default();
    let began = run_since(&j.status, j.scheduled_at, j.started_at);
    let ran = began.zip(j.completed_at).map(|(s, c)| format!("ran {}", took(c - s))).unwrap_or_default();
    let end = match j.status.as_str() {
        "failed" => "Failed",
        "cancelled" => "Cancelled",
        _ => "Done",
    };
    vec![
        step("Created", Some(j.created_at), String::new()),
        step(if j.scheduled_at > now { "Scheduled for" } else { "Due" }, Some(j.scheduled_at), String::new()),
        step("Started", j.started_at, started),
        step(end, j.completed_at, ran),
    ]
}

/// What each failed attempt said, newest first.
fn errors(j: &JobRow, now: Instant) -> Vec<Part> {
    let list = j.errors.0.as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        return Vec::new();
    }
    let word =
        |e: &serde_json::Value, k: &str| e.get(k).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).unwrap_or_default();
    let when = |e: &serde_json::Value| chrono::DateTime::parse_from_rfc3339(&word(e, "at")).ok().map(|t| t.to_utc());
    vec![Part {
        title: "Failed attempts".into(),
        heads: ["#Attempt", "When", "How", "Error"].map(String::from).to_vec(),
        rows: list
            .iter()
            .rev()
            .map(|e| {
                vec![
                    Cell::Number(word(e, "attempt")),
                    time(when(e), now),
                    Cell::Text(word(e, "class")),
                    Cell::Text(text::cut(&word(e, "error"), 400)),
                ]
            })
            .collect(),
        ..Part::default()
    }]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::{
        jobs::operations,
        store::{audit::Actor, job_lists, jobs::settle::DeadFilter, testing},
    };

    fn of(shown: &Shown, name: &str) -> Option<String> {
        shown.facts.iter().find(|(n, _)| n == name).map(|(_, cell)| format!("{cell:?}"))
    }

    #[tokio::test]
    async fn a_job_says_who_retried_or_cancelled_it_also_among_others() {
        let t = testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO background_jobs (type, status, payload) SELECT 'a', 'processing', '{}' FROM generate_series(1, 2) n;
             UPDATE background_jobs SET status = 'failed', failed_at = now()",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let ids: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM background_jobs ORDER BY id").fetch_all(&mut *conn).await.unwrap();
        let now = chrono::Utc::now();
        let none = Query::parse("");
        assert_eq!(of(&one(&mut conn, ids[0], &none, now).await.unwrap().unwrap(), "Retried by"), None);
        // Retried with all others: no entry names it.
        let actor = |name: &str| Actor { name: name.to_owned(), ..Actor::system() };
        operations::retry_failed(&t.db, &DeadFilter::default(), &actor("ada@example.com"), None).await.unwrap();
        let page = one(&mut conn, ids[0], &none, now).await.unwrap().unwrap();
        assert!(of(&page, "Retried by").is_some_and(|by| by.contains("ada@example.com")), "{:?}", page.facts);
        // Cancelled with another, later: the newest deed is the one shown.
        let mut tx = t.db.begin_service().await.unwrap();
        job_lists::cancel_many(&mut tx, &ids).await.unwrap();
        audit::write(&mut *tx, &actor("bob@example.com"), "jobs.cancel", Some("2 ticked"), &serde_json::json!({})).await.unwrap();
        tx.commit().await.unwrap();
        let page = one(&mut conn, ids[1], &none, now).await.unwrap().unwrap();
        assert!(of(&page, "Cancelled by").is_some_and(|by| by.contains("bob@example.com")), "{:?}", page.facts);
        assert!(of(&page, "Retried by").is_none() && page.question.is_none());
    }

    #[tokio::test]
    async fn a_job_that_waits_for_its_next_attempt_did_not_wait_less_than_nothing() {
        let t = testing::database().await;
        let mut conn = t.db.service().acquire().await.unwrap();
        let id: Uuid = sqlx::query_scalar(
            "INSERT INTO background_jobs (type, payload, attempts, created_at, started_at, scheduled_at)
             VALUES ('a', '{}', 1, now() - interval '50 minutes', now() - interval '45 minutes', now() + interval '1 hour') RETURNING id",
        )
        .fetch_one(&mut *conn)
        .await
        .unwrap();
        let shown = one(&mut conn, id, &Query::parse(""), chrono::Utc::now()).await.unwrap().unwrap();
        let notes: Vec<&str> = shown.steps.iter().map(|s| s.note.as_str()).collect();
        assert_eq!(notes, ["", "", "attempt 1", ""]);
    }

    #[tokio::test]
    async fn cancelling_one_job_asks_first() {
        let t = testing::database().await;
        let mut conn = t.db.service().acquire().await.unwrap();
        let id: Uuid = sqlx::query_scalar("INSERT INTO background_jobs (type, payload) VALUES ('a', '{}') RETURNING id")
            .fetch_one(&mut *conn)
            .await
            .unwrap();
        let now = chrono::Utc::now() + chrono::TimeDelta::minutes(1);
        let plain = one(&mut conn, id, &Query::parse(""), now).await.unwrap().unwrap();
        assert!(plain.question.is_none() && format!("{:?}", plain.deeds).contains("?ask=cancel"), "{:?}", plain.deeds);
        assert!(plain.shared.iter().all(|(name, _, _)| name != "do-cancel"));
        let asked = one(&mut conn, id, &Query::parse("?ask=cancel"), now).await.unwrap().unwrap().question.unwrap();
        assert!(asked.fields.contains(&("id".to_owned(), id.to_string())) && asked.back == format!("/admin/jobs/{id}"));
    }
}
