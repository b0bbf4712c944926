//! `/admin/jobs`: every job, and one job with its life.

use super::{super::{deeds::JobDeed, screen::{Cell, Part, Shown}}, PAGE, Query, chip, field, milliseconds, person, pretty, text, time, words};
use crate::{model::{Instant, JobState}, store::jobs::{counts, list::{self, JobFilter, JobRow}}};
use leptos::server_fn::ServerFn;
use sqlx::PgConnection;
use uuid::Uuid;

pub(super) async fn list(conn: &mut PgConnection, query: &Query, now: Instant) -> sqlx::Result<Shown> {
    let filter = JobFilter {
        kind: query.some("kind"),
        status: query.some("status").filter(|s| JobState::from_word(s).is_some()),
        user_id: query.some("user"),
        before: query.before(),
        limit: PAGE as i64 + 1,
    };
    let counts = counts::counts(conn).await?;
    let mut rows = list::list(conn, &filter).await?;
    let (kind, status, user) = (filter.kind.as_deref().unwrap_or(""), filter.status.as_deref().unwrap_or(""), filter.user_id.as_deref().unwrap_or(""));
    let here = |before: &str| Query::href("jobs", &[("status", status), ("kind", kind), ("user", user), ("before", before)]);
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let next = rows.last().filter(|_| more).map(|r| here(&r.completed_at.unwrap_or(r.created_at).to_rfc3339_opts(chrono::SecondsFormat::Micros, true))).unwrap_or_default();
    let all: i64 = counts.iter().map(|c| c.count).sum();
    let mut chips = vec![chip("all", all, Query::href("jobs", &[("kind", kind), ("user", user)]), status.is_empty())];
    chips.extend(JobState::ALL.iter().map(|s| {
        let n = counts.iter().filter(|c| c.status == s.word() && (kind.is_empty() || c.kind == kind)).map(|c| c.count).sum();
        chip(s.word(), n, Query::href("jobs", &[("status", s.word()), ("kind", kind), ("user", user)]), status == s.word())
    }));
    let mut kinds: Vec<&str> = std::iter::once("").chain(counts.iter().map(|c| c.kind.as_str())).collect();
    kinds.dedup();
    let mut fields = vec![field("kind", "Kind", kind, &kinds), field("user", "Person", user, &[])];
    if !status.is_empty() {
        fields.push(field("status", "State", status, &["", status]));
    }
    Ok(Shown {
        title: "Jobs".into(),
        lead: "What the pipeline has to do, does and did. Counts are exact.".into(),
        parts: vec![Part {
            title: "Jobs, newest first".into(),
            chips,
            fields,
            heads: ["Kind", "State", "Person", "#Attempts", "Made (UTC)", "#Ran, ms", "Error"].map(String::from).to_vec(),
            rows: rows.iter().map(|j| row(j, now)).collect(),
            next,
            first: if filter.before.is_some() { here("") } else { String::new() },
            filtered: filter.kind.is_some() || filter.status.is_some() || filter.user_id.is_some() || filter.before.is_some(),
            empty: "The first delivery makes the first job.".into(),
            ..Part::default()
        }],
        ..Shown::default()
    })
}

fn row(j: &JobRow, now: Instant) -> Vec<Cell> {
    vec![
        Cell::Link(format!("/admin/jobs/{}", j.id), j.kind.clone()),
        Cell::State(j.status.clone()),
        person(j.user_id.as_deref()),
        Cell::Number(j.max_attempts.map_or_else(|| j.attempts.to_string(), |m| format!("{} of {m}", j.attempts))),
        time(Some(j.created_at), now),
        milliseconds(j.started_at, j.completed_at),
        words(j.error.as_deref().map(|e| text::cut(e, 120)).as_deref()),
    ]
}

pub(super) async fn one(conn: &mut PgConnection, id: Uuid, now: Instant) -> sqlx::Result<Option<Shown>> {
    let Some(j) = list::find(conn, id).await? else { return Ok(None) };
    let button = |label: &str, deed: &str| (label.to_owned(), JobDeed::url().to_owned(), vec![("id".to_owned(), id.to_string()), ("deed".to_owned(), deed.to_owned())]);
    let buttons = match j.status.as_str() {
        "pending" => vec![button("Run now", "run"), button("Cancel", "cancel")],
        "failed" => vec![button("Retry", "retry"), button("Cancel", "cancel")],
        "processing" => vec![button("Ask it to stop", "cancel")],
        _ => Vec::new(),
    };
    let mut facts = vec![
        ("State".to_owned(), Cell::State(j.status.clone())),
        ("Attempts".to_owned(), Cell::Text(j.max_attempts.map_or_else(|| j.attempts.to_string(), |m| format!("{} of {m}", j.attempts)))),
        ("Priority".to_owned(), Cell::Text(format!("{} (0 first, 9 last)", j.priority))),
        ("Person".to_owned(), person(j.user_id.as_deref())),
        ("Created".to_owned(), time(Some(j.created_at), now)),
        ("Scheduled".to_owned(), time(Some(j.scheduled_at), now)),
        ("Leased".to_owned(), time(j.started_at, now)),
        ("Ended".to_owned(), time(j.completed_at, now)),
        ("Worker".to_owned(), j.worker_id.map_or(Cell::None, |w| Cell::Code(w.to_string()))),
    ];
    if !buttons.is_empty() {
        facts.push(("Actions".to_owned(), Cell::Buttons(buttons)));
    }
    let mut texts = vec![("Payload".to_owned(), pretty(&j.payload.0))];
    if let Some(result) = &j.result {
        texts.push(("Result".to_owned(), pretty(&result.0)));
    }
    Ok(Some(Shown {
        title: format!("Job: {}", j.kind),
        lead: id.to_string(),
        up: Some(("/admin/jobs".into(), "Jobs".into())),
        warning: j.error.clone().filter(|_| j.status == "failed").unwrap_or_default(),
        facts,
        texts,
        parts: errors(&j),
        ..Shown::default()
    }))
}

/// What each failed attempt said.
fn errors(j: &JobRow) -> Vec<Part> {
    let list = j.errors.0.as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        return Vec::new();
    }
    let word = |e: &serde_json::Value, k: &str| e.get(k).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).unwrap_or_default();
    vec![Part {
        title: "Failed attempts".into(),
        heads: ["#Attempt", "When", "Class", "Error"].map(String::from).to_vec(),
        rows: list.iter().map(|e| vec![Cell::Number(word(e, "attempt")), Cell::Text(word(e, "at")), Cell::Text(word(e, "class")), Cell::Text(text::cut(&word(e, "error"), 400))]).collect(),
        ..Part::default()
    }]
}
