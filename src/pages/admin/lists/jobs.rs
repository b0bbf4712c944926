//! `/admin/jobs`: every job, narrowed and acted on one by one or all that match.

use super::{
    super::{
        job_deeds::{ActOnChosen, ActOnJob, ActOnJobs, Deed, NOT_TICKED, shown_at},
        screen::{Cell, Chosen, Part, Question, Shown},
        search::Search,
    },
    PAGE, Query, chip, counted, field, person, place, placed, text, time, took, words,
};
use crate::{
    model::{Instant, JobState},
    store::{
        job_lists::{self as store, COUNTED, Cursor, Filter, Row, WINDOW},
        jobs::counts::{self, Count},
    },
};
use leptos::server_fn::ServerFn;
use sqlx::PgConnection;
use uuid::Uuid;

/// In an address, the question before all that match are cancelled. With a word of its own: the button of the ticked rows asks
/// for `cancel`, also when none is ticked.
const CANCEL_ALL: &str = "cancel-all";
/// The ticked rows in an address.
const TICKED: &str = "ids[]";
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
        until: None,
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
    let store::Page { rows, next, further } = store::search(conn, &filter, cursor(&before), PAGE as i64).await?;
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
    let later = if deeds.contains(&Deed::RunNow) { later(conn, &filter, &counts).await? } else { 0 };
    let ticked = ticked(query);
    let (question, unticked) = match (query.get("ask").as_str(), ticked.as_slice()) {
        (CANCEL_ALL, _) => (deeds.contains(&Deed::Cancel).then(|| question(&here, (n, &total), &back, now)), ""),
        ("cancel", []) => (None, NOT_TICKED),
        ("cancel", ids) => (Some(ask(ids, &back)), ""),
        _ => (None, ""),
    };
    let older = |c: Option<Cursor>| c.map(|c| here.href(&status, &[("before", &cursor_word(c))])).unwrap_or_default();
    let which = newest(!before.is_empty());
    // A history that fits into one window is looked through as a whole.
    let windowed = !before.is_empty() || counts.iter().map(|c| c.count).sum::<i64>() > WINDOW;
    let all = if n == 1 { "the one".to_owned() } else { format!("all {total}") };
    let mut bulk = bulk(deeds, &here, (&all, later), &back, now);
    bulk.extend(further.map(|c| Cell::Link(older(Some(c)), "Search further back".into())));
    Ok(Shown {
        title: "Jobs".into(),
        lead: "What waits, runs, failed and was done, newest first. A failed job stays until somebody retries or cancels it.".into(),
        taken: Some(text::moment(now, now)),
        complaint: if complaint.is_empty() { unticked.into() } else { complaint },
        question,
        parts: vec![Part {
            title: format!("{total} {}", if n == 1 { "job" } else { "jobs" }),
            note: if windowed { looked_through(&filter, &which) } else { String::new() },
            chips: states(&counts, &filter, &here),
            fields: vec![kinds(&counts, &filter, &kind), field("q", "Search", &q, &[])],
            keep: vec![("status".into(), status.clone())],
            help: "An id, part of an error, or kind: status: user: error: payload.path:".into(),
            deeds: bulk,
            chosen: rows.iter().any(|j| is_for_a_deed(j, now)).then(|| chosen(filter.status.as_deref(), &here, &before, &back)),
            heads: ["", "Kind", "State", "Person", "#Attempts", "Created", "#Ran", "Error", "Actions"].map(String::from).to_vec(),
            rows: rows.iter().map(|j| row(j, &here, &before, now)).collect(),
            next: older(next),
            first: if before.is_empty() { String::new() } else { here.href(&status, &[]) },
            // An empty window says so itself: that nothing matches at all is not known.
            filtered: further.is_none() && (filter != Filter::default() || !before.is_empty()),
            empty: if further.is_some() {
                format!("None of {which} jobs matches. Older ones were not looked through.")
            } else {
                "The first delivery makes the first job.".into()
            },
            ..Part::default()
        }],
        shared: forms(&back),
        ..Shown::default()
    })
}

/// The jobs of a window: those of the first one, or of one further back.
fn newest(later: bool) -> String {
    format!("the {} {}", if later { "next" } else { "newest" }, text::count(WINDOW))
}

/// How far a search goes that no index narrows.
fn looked_through(filter: &Filter, which: &str) -> String {
    match (&filter.error, &filter.payload) {
        (None, None) if filter.looks_through_history() && filter.ids.is_none() => {
            format!("State and kind of finished jobs are looked for among {which}.")
        }
        (None, None) => String::new(),
        (None, Some(_)) => format!("Payloads are looked through for {which} jobs."),
        (Some(_), _) => format!("Errors are looked through for {which} jobs, of the finished ones for {which} that had one."),
    }
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

/// Every kind there is, with how many of it are in the chosen state. Chosen is the one of the address, not one of the search
/// text: the form sends both, and the address's wins.
fn kinds(counts: &[Count], filter: &Filter, chosen: &str) -> super::Field {
    let mut names: Vec<&str> = counts.iter().map(|c| c.kind.as_str()).collect();
    names.dedup();
    names.truncate(200);
    if !chosen.is_empty() && !names.contains(&chosen) {
        names.push(chosen);
    }
    let mut options = vec![(String::new(), "any".to_owned())];
    options.extend(
        names.into_iter().map(|k| (k.to_owned(), format!("{k} ({})", text::count(sum(counts, filter.status.as_deref(), Some(k)))))),
    );
    super::Field { options, ..field("kind", "Kind", chosen, &[]) }
}

/// How many of the jobs wait for a later time.
async fn later(conn: &mut PgConnection, filter: &Filter, counts: &[Count]) -> sqlx::Result<i64> {
    if !filter.is_counted() {
        return store::count(conn, &Filter { not_due: true, ..filter.clone() }).await;
    }
    let waits = |c: &&Count| c.status == "pending" && c.count > 0 && filter.kind.as_ref().is_none_or(|k| *k == c.kind);
    let kinds: Vec<String> = counts.iter().filter(waits).map(|c| c.kind.clone()).collect();
    store::count_later(conn, &kinds).await
}

/// The rows of a page that were ticked before a question was asked.
fn ticked(query: &Query) -> Vec<Uuid> {
    query.all(TICKED).filter_map(|id| Uuid::try_parse(id).ok()).take(PAGE).collect()
}

/// What can be done to all jobs in a state.
pub(super) fn deeds(status: Option<&str>) -> &'static [Deed] {
    match status {
        Some("failed") => &[Deed::Retry, Deed::Cancel],
        Some("pending") => &[Deed::RunNow, Deed::PutOff, Deed::Cancel],
        Some("processing") => &[Deed::Cancel],
        _ => &[],
    }
}

/// What can be done to one job.
pub(super) fn deeds_of(status: &str, scheduled_at: Instant, now: Instant) -> &'static [Deed] {
    match status {
        "pending" if scheduled_at <= now => &[Deed::PutOff, Deed::Cancel],
        other => deeds(Some(other)),
    }
}

/// Buttons for all that match at this moment; cancelling asks first.
fn bulk(deeds: &[Deed], here: &Here<'_>, (all, later): (&str, i64), back: &str, now: Instant) -> Vec<Cell> {
    let send = |deed: Deed, label: String| {
        let mut fields = here.fields(back);
        fields.extend([("deed".into(), deed.word().into()), shown_at(now)]);
        Cell::Buttons(vec![(label, ActOnJobs::url().into(), fields)])
    };
    deeds
        .iter()
        .filter(|deed| **deed != Deed::RunNow || later > 0)
        .map(|deed| match deed {
            Deed::Retry => send(Deed::Retry, format!("Retry {all}")),
            Deed::RunNow if later == 1 => send(Deed::RunNow, "Run now the one that waits for later".into()),
            Deed::RunNow => send(Deed::RunNow, format!("Run now the {} that wait for later", counted(later, COUNTED))),
            Deed::PutOff => send(Deed::PutOff, format!("Put off {all} by an hour")),
            Deed::Cancel => Cell::Link(here.href(here.status, &[("ask", CANCEL_ALL)]), format!("Cancel {all}…")),
        })
        .collect()
}

/// Buttons for the ticked rows of the page; cancelling asks first, at the address of this very page.
fn chosen(status: Option<&str>, here: &Here<'_>, before: &str, back: &str) -> Chosen {
    let deeds = status.map_or(Deed::ALL.as_slice(), |s| deeds(Some(s)));
    let mut hidden = here.fields(back);
    hidden.push(("before".into(), before.to_owned()));
    Chosen {
        action: ActOnChosen::url().into(),
        hidden: hidden.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
        buttons: at_once(deeds).map(|d| (d.label().to_owned(), d.word().to_owned())).collect(),
        ask: deeds.contains(&Deed::Cancel).then(|| (Query::href("jobs", &[]), format!("{}…", Deed::Cancel.label()), "cancel".to_owned())),
    }
}

/// The question before some jobs are cancelled.
fn ask(ids: &[Uuid], back: &str) -> Question {
    let (these, them, verb) = match ids.len() {
        1 => ("this job".to_owned(), "It", "Cancel the job".to_owned()),
        n => (format!("these {n} jobs"), "They", format!("Cancel {n} jobs")),
    };
    let mut fields = vec![("deed".to_owned(), Deed::Cancel.word().to_owned()), ("back".to_owned(), back.to_owned())];
    fields.extend(ids.iter().map(|id| (TICKED.to_owned(), id.to_string())));
    Question {
        text: format!("Cancel {these}? {them} will not run again; what runs is asked to stop."),
        verb,
        action: ActOnChosen::url().into(),
        fields,
        back: back.to_owned(),
        ..Question::default()
    }
}

/// The question before all that match at this moment are cancelled.
fn question(here: &Here<'_>, (n, total): (i64, &str), back: &str, now: Instant) -> Question {
    let mut fields = here.fields(back);
    fields.extend([("deed".into(), Deed::Cancel.word().into()), shown_at(now)]);
    Question {
        text: if n == 1 {
            "Cancel the one job that this view shows? It will not run again; if it runs, it is asked to stop.".into()
        } else {
            format!("Cancel all {total} jobs that this view shows? They will not run again; running ones are asked to stop.")
        },
        verb: format!("Cancel {total}"),
        action: ActOnJobs::url().into(),
        fields,
        back: back.to_owned(),
        ..Question::default()
    }
}

/// What is done without a question: it can be taken back.
fn at_once(deeds: &[Deed]) -> impl Iterator<Item = Deed> {
    deeds.iter().copied().filter(|d| *d != Deed::Cancel)
}

/// The forms that the rows' buttons send.
pub(super) fn forms(back: &str) -> Vec<(String, String, Vec<(String, String)>)> {
    let form = |deed: Deed| {
        (
            format!("do-{}", deed.word()),
            ActOnJob::url().to_owned(),
            vec![("deed".to_owned(), deed.word().to_owned()), ("back".to_owned(), back.to_owned())],
        )
    };
    at_once(&Deed::ALL).map(form).collect()
}

/// A job's buttons, and the link to the question before it is cancelled.
pub(super) fn presses(deeds: &[Deed], id: Uuid, kind: &str, question: String) -> Cell {
    let buttons: Vec<_> = at_once(deeds).map(|d| (d.label().to_owned(), format!("do-{}", d.word()))).collect();
    let mut cells = Vec::new();
    if !buttons.is_empty() {
        cells.push(Cell::Presses(buttons, id.to_string(), kind.to_owned()));
    }
    if deeds.contains(&Deed::Cancel) {
        cells.push(Cell::Link(question, format!("{}…", Deed::Cancel.label())));
    }
    if cells.is_empty() { Cell::None } else { Cell::Group(cells) }
}

pub(super) fn attempts(attempts: i32, most: Option<i32>) -> String {
    most.map_or_else(|| attempts.to_string(), |m| format!("{attempts} of {m}"))
}

/// Whether anything can be done to a job: only then its row can be ticked.
fn is_for_a_deed(j: &Row, now: Instant) -> bool {
    !deeds_of(&j.status, j.scheduled_at, now).is_empty()
}

fn row(j: &Row, here: &Here<'_>, before: &str, now: Instant) -> Vec<Cell> {
    let href = format!("/admin/jobs/{}", j.id);
    let deeds = deeds_of(&j.status, j.scheduled_at, now);
    let question = here.href(here.status, &[("before", before), ("ask", "cancel"), ("ids%5B%5D", &j.id.to_string())]);
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
        j.ran(now).map_or(Cell::None, |d| Cell::Number(took(d))),
        words(j.error.as_deref().map(|e| text::cut(e, 120)).as_deref()),
        presses(deeds, j.id, &j.kind, question),
    ]
}

#[cfg(test)]
#[path = "jobs_tests.rs"]
mod tests;
