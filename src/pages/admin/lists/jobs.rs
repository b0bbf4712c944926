//! `/admin/jobs`: every job, narrowed and acted on one by one or all that match; and one job with its life.

use super::{
    super::{
        job_deeds::{ActOnChosen, ActOnJob, ActOnJobs, Deed},
        screen::{Cell, Chosen, Part, Question, Shown, Step},
        search::Search,
    },
    PAGE, Query, chip, counted, field, person, place, placed, pretty, text, time, took, words,
};
use crate::{
    model::{Instant, JobState},
    store::{
        job_lists::{self as store, COUNTED, Cursor, Filter, Row},
        jobs::{
            counts::{self, Count},
            list::{self, JobRow},
        },
    },
};
use leptos::server_fn::ServerFn;
use sqlx::PgConnection;
use uuid::Uuid;

/// What can stand before a colon in the search box.
const KNOWN: [&str; 6] = ["kind", "status", "user", "error", "id", "payload."];

/// The filter of a URL, and what of it was not understood. State and kind of the URL win over those in the search text;
/// a bare id is an id, other plain words are looked for in errors.
pub(in crate::pages::admin) fn filter(status: &str, kind: &str, q: &str) -> (Filter, String) {
    let search = Search::parse(q, &KNOWN);
    let mut complaint = search.complaint(&KNOWN);
    let or = |own: &str, name: &str| if own.is_empty() { search.get(name) } else { Some(own.to_owned()) };
    let word = or(status, "status");
    let state = word.as_deref().and_then(JobState::from_word).map(|s| s.word().to_owned());
    if let (Some(word), None) = (&word, &state) {
        complaint = format!("{complaint} There is no state “{}”.", text::cut(word, 40)).trim_start().to_owned();
    }
    let wanted = search.get("id").or_else(|| search.plain()).and_then(|t| Uuid::try_parse(&t).ok());
    let filter = Filter {
        status: state,
        kind: or(kind, "kind"),
        user_id: search.get("user"),
        error: search.get("error").or_else(|| search.plain().filter(|_| wanted.is_none())),
        // An id that is none matches nothing, instead of everything.
        ids: (wanted.is_some() || search.get("id").is_some()).then(|| wanted.into_iter().collect()),
        payload: search.path("payload"),
        not_due: false,
    };
    (filter, complaint)
}

fn cursor(word: &str) -> Cursor {
    let (hot, done) = word.split_once('.').unwrap_or((word, ""));
    Cursor { hot: Uuid::try_parse(hot).ok(), done: placed(done) }
}

fn cursor_word(c: Cursor) -> String {
    format!("{}.{}", c.hot.map(|h| h.simple().to_string()).unwrap_or_default(), c.done.map(place).unwrap_or_default())
}

/// What the URL says, as it says it: to make the addresses of the views around this one.
struct Here<'a> {
    status: &'a str,
    kind: &'a str,
    q: &'a str,
}

impl Here<'_> {
    fn href(&self, status: &str, more: &[(&str, &str)]) -> String {
        let mut pairs = vec![("status", status), ("kind", self.kind), ("q", self.q)];
        pairs.extend(more);
        Query::href("jobs", &pairs)
    }

    fn fields(&self, back: &str) -> Vec<(String, String)> {
        [("status", self.status), ("kind", self.kind), ("q", self.q), ("back", back)].map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec()
    }
}

pub(super) async fn list(conn: &mut PgConnection, query: &Query, now: Instant) -> sqlx::Result<Shown> {
    let (status, kind, q, before) = (query.get("status"), query.get("kind"), query.get("q"), query.get("before"));
    let here = Here { status: &status, kind: &kind, q: &q };
    let (filter, complaint) = filter(&status, &kind, &q);
    let (rows, next) = store::page(conn, &filter, cursor(&before), PAGE as i64).await?;
    let counts = counts::counts(conn).await?;
    let (n, exact_to) = if filter.is_counted() {
        (sum(&counts, filter.status.as_deref(), filter.kind.as_deref()), i64::MAX)
    } else if before.is_empty() && next.is_none() {
        (rows.len() as i64, COUNTED) // all of them are here
    } else {
        (store::count(conn, &filter).await?, COUNTED)
    };
    // Rows that somebody changed by hand are counted by the next recount only; what is shown is there.
    let n = n.max(rows.len() as i64);
    let total = counted(n, exact_to);
    let back = here.href(&status, &[("before", &before)]);
    let deeds = if n > 0 && complaint.is_empty() { deeds(filter.status.as_deref()) } else { &[] };
    Ok(Shown {
        title: "Jobs".into(),
        lead: "What waits, runs, failed and was done, newest first. A failed job stays until somebody retries or cancels it.".into(),
        taken: Some(text::moment(now, now)),
        complaint,
        question: (query.get("ask") == "cancel" && deeds.contains(&Deed::Cancel)).then(|| question(&here, &total, &back)),
        parts: vec![Part {
            title: format!("{total} {}", if n == 1 { "job" } else { "jobs" }),
            note: if filter.is_read() {
                "Errors and payloads are looked through for the newest 100,000 jobs.".into()
            } else {
                String::new()
            },
            chips: states(&counts, &filter, &here),
            fields: vec![kinds(&counts, &filter), field("q", "Search", &q, &[])],
            keep: vec![("status".into(), status.clone())],
            help: "An id, part of an error, or kind: status: user: error: payload.path:".into(),
            deeds: bulk(deeds, &here, &total, &back),
            chosen: Some(chosen(filter.status.as_deref(), &back))
                .filter(|c| !c.buttons.is_empty() && rows.iter().any(|j| is_for_a_deed(j, now))),
            heads: ["", "Kind", "State", "Person", "#Attempts", "Created", "#Ran", "Error", "Actions"].map(String::from).to_vec(),
            rows: rows.iter().map(|j| row(j, now)).collect(),
            next: next.map(|c| here.href(&status, &[("before", &cursor_word(c))])).unwrap_or_default(),
            first: if before.is_empty() { String::new() } else { here.href(&status, &[]) },
            filtered: filter != Filter::default() || !before.is_empty(),
            empty: "The first delivery makes the first job.".into(),
            ..Part::default()
        }],
        shared: forms(&back),
        ..Shown::default()
    })
}

fn sum(counts: &[Count], status: Option<&str>, kind: Option<&str>) -> i64 {
    counts.iter().filter(|c| status.is_none_or(|s| s == c.status) && kind.is_none_or(|k| k == c.kind)).map(|c| c.count).sum::<i64>().max(0)
}

/// One for each state, with its count where that is known without counting.
fn states(counts: &[Count], filter: &Filter, here: &Here<'_>) -> Vec<super::Chip> {
    let count =
        |status: Option<&str>| if filter.is_counted() { text::count(sum(counts, status, filter.kind.as_deref())) } else { String::new() };
    let state = filter.status.as_deref();
    let mut chips = vec![chip("all", count(None), here.href("", &[]), state.is_none())];
    chips.extend(JobState::ALL.iter().map(|s| chip(s.word(), count(Some(s.word())), here.href(s.word(), &[]), state == Some(s.word()))));
    chips
}

/// Every kind there is, with how many of it are in the chosen state.
fn kinds(counts: &[Count], filter: &Filter) -> super::Field {
    let mut names: Vec<&str> = counts.iter().map(|c| c.kind.as_str()).collect();
    names.dedup();
    let mut options = vec![(String::new(), "any".to_owned())];
    options.extend(
        names
            .into_iter()
            .take(200)
            .map(|k| (k.to_owned(), format!("{k} ({})", text::count(sum(counts, filter.status.as_deref(), Some(k)))))),
    );
    super::Field { options, ..field("kind", "Kind", filter.kind.as_deref().unwrap_or_default(), &[]) }
}

/// What can be done to all jobs in a state.
fn deeds(status: Option<&str>) -> &'static [Deed] {
    match status {
        Some("failed") => &[Deed::Retry, Deed::Cancel],
        Some("pending") => &[Deed::RunNow, Deed::PutOff, Deed::Cancel],
        Some("processing") => &[Deed::Cancel],
        _ => &[],
    }
}

/// What can be done to one job.
fn deeds_of(status: &str, scheduled_at: Instant, now: Instant) -> &'static [Deed] {
    match status {
        "pending" if scheduled_at <= now => &[Deed::PutOff, Deed::Cancel],
        other => deeds(Some(other)),
    }
}

/// Buttons for all that match; cancelling asks first.
fn bulk(deeds: &[Deed], here: &Here<'_>, total: &str, back: &str) -> Vec<Cell> {
    let send = |deed: Deed, label: String| {
        let mut fields = here.fields(back);
        fields.push(("deed".into(), deed.word().into()));
        Cell::Buttons(vec![(label, ActOnJobs::url().into(), fields)])
    };
    deeds
        .iter()
        .map(|deed| match deed {
            Deed::Retry => send(Deed::Retry, format!("Retry all {total}")),
            Deed::RunNow => send(Deed::RunNow, "Run now what waits for later".into()),
            Deed::PutOff => send(Deed::PutOff, format!("Put off all {total} by an hour")),
            Deed::Cancel => Cell::Link(here.href(here.status, &[("ask", "cancel")]), format!("Cancel all {total}…")),
        })
        .collect()
}

/// Buttons for the ticked rows of the page.
fn chosen(status: Option<&str>, back: &str) -> Chosen {
    let deeds = status.map_or(Deed::ALL.as_slice(), |s| deeds(Some(s)));
    Chosen {
        action: ActOnChosen::url().into(),
        hidden: vec![("back".into(), back.to_owned())],
        buttons: deeds.iter().map(|d| (d.label().to_owned(), d.word().to_owned())).collect(),
    }
}

fn question(here: &Here<'_>, total: &str, back: &str) -> Question {
    let mut fields = here.fields(back);
    fields.push(("deed".into(), Deed::Cancel.word().into()));
    Question {
        text: format!("Cancel all {total} jobs that this view shows? They will not run again; running ones are asked to stop."),
        verb: format!("Cancel {total}"),
        action: ActOnJobs::url().into(),
        fields,
        back: back.to_owned(),
        ..Question::default()
    }
}

/// The forms that the rows' buttons send.
fn forms(back: &str) -> Vec<(String, String, Vec<(String, String)>)> {
    let form = |deed: Deed| {
        (
            format!("do-{}", deed.word()),
            ActOnJob::url().to_owned(),
            vec![("deed".to_owned(), deed.word().to_owned()), ("back".to_owned(), back.to_owned())],
        )
    };
    Deed::ALL.map(form).to_vec()
}

fn presses(deeds: &[Deed], id: Uuid, kind: &str) -> Cell {
    if deeds.is_empty() {
        return Cell::None;
    }
    Cell::Presses(deeds.iter().map(|d| (d.label().to_owned(), format!("do-{}", d.word()))).collect(), id.to_string(), kind.to_owned())
}

fn attempts(attempts: i32, most: Option<i32>) -> String {
    most.map_or_else(|| attempts.to_string(), |m| format!("{attempts} of {m}"))
}

/// Whether anything can be done to a job: only then its row can be ticked.
fn is_for_a_deed(j: &Row, now: Instant) -> bool {
    !deeds_of(&j.status, j.scheduled_at, now).is_empty()
}

fn row(j: &Row, now: Instant) -> Vec<Cell> {
    let href = format!("/admin/jobs/{}", j.id);
    let deeds = deeds_of(&j.status, j.scheduled_at, now);
    vec![
        if deeds.is_empty() { Cell::Text(String::new()) } else { Cell::Pick(j.id.to_string(), j.kind.clone()) },
        if j.status == "pending" && j.scheduled_at > now {
            Cell::Noted(href, j.kind.clone(), format!("due {}", text::moment(j.scheduled_at, now).ago))
        } else {
            Cell::Link(href, j.kind.clone())
        },
        Cell::State(j.status.clone()),
        person(j.user_id.as_deref()),
        Cell::Number(attempts(j.attempts, j.max_attempts)),
        time(Some(j.created_at), now),
        j.started_at.map_or(Cell::None, |s| Cell::Number(took(j.completed_at.unwrap_or(now) - s))),
        words(j.error.as_deref().map(|e| text::cut(e, 120)).as_deref()),
        presses(deeds, j.id, &j.kind),
    ]
}

pub(super) async fn one(conn: &mut PgConnection, id: Uuid, now: Instant) -> sqlx::Result<Option<Shown>> {
    let Some(j) = list::find(conn, id).await? else { return Ok(None) };
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
    let mut texts = vec![("Payload".to_owned(), pretty(&j.payload.0))];
    if let Some(result) = &j.result {
        texts.push(("Result".to_owned(), pretty(&result.0)));
    }
    Ok(Some(Shown {
        title: format!("Job: {}", j.kind),
        lead: id.to_string(),
        up: Some(("/admin/jobs".into(), "Jobs".into())),
        taken: Some(text::moment(now, now)),
        deeds: match deeds_of(&j.status, j.scheduled_at, now) {
            [] => Vec::new(),
            deeds => vec![presses(deeds, id, &j.kind)],
        },
        warning: j.error.clone().filter(|_| j.status == "failed").unwrap_or_default(),
        steps: steps(&j, now),
        facts,
        texts,
        parts: errors(&j, now),
        shared: forms(&format!("/admin/jobs/{id}")),
        ..Shown::default()
    }))
}

/// Created, due, started, ended: what happened with its time, what did not yet without.
fn steps(j: &JobRow, now: Instant) -> Vec<Step> {
    let step = |words: &str, at: Option<Instant>, note: String| Step { words: words.into(), at: at.map(|t| text::moment(t, now)), note };
    let started =
        j.started_at.map(|s| format!("attempt {}, waited {}", j.attempts, took(s - j.scheduled_at.max(j.created_at)))).unwrap_or_default();
    let ran = j.started_at.zip(j.completed_at).map(|(s, c)| format!("ran {}", took(c - s))).unwrap_or_default();
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
mod tests {
    use super::*;

    #[test]
    fn the_urls_parts_win_and_plain_words_are_errors_or_an_id() {
        let (f, c) = filter("failed", "", "status:pending kind:vacuum timed out");
        assert_eq!(
            (f.status.as_deref(), f.kind.as_deref(), f.error.as_deref(), c.as_str()),
            (Some("failed"), Some("vacuum"), Some("timed out"), "")
        );
        let id = Uuid::from_u128(9);
        assert_eq!(filter("", "", &id.to_string()).0, Filter { ids: Some(vec![id]), ..Filter::default() });
        assert_eq!(filter("", "", "id:nonsense").0.ids, Some(vec![]));
        let (f, c) = filter("lost", "", "colour:red");
        assert_eq!(f, Filter::default());
        assert!(c.contains("colour:") && c.contains("lost"), "{c}");
    }

    #[test]
    fn cursors_survive_the_url() {
        let done = chrono::DateTime::from_timestamp_micros(1_763_900_000_123_456).map(|t| (t, Uuid::from_u128(7)));
        for c in [
            Cursor::default(),
            Cursor { hot: Some(Uuid::from_u128(5)), done: None },
            Cursor { hot: None, done },
            Cursor { hot: Some(Uuid::from_u128(5)), done },
        ] {
            assert_eq!(cursor(&cursor_word(c)), c);
        }
        assert_eq!(cursor("nonsense"), Cursor::default());
    }
}
