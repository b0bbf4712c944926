//! `/admin/dead-letters`: jobs that are out of attempts, grouped by what their errors have in common.

use super::{
    super::{
        letter_deeds::{DiscardGroup, RedriveGroup, StopOperation},
        screen::{Cell, Part, Question, Running, Shown},
    },
    PAGE, Query, person, place, since_field, text, time, words,
};
use crate::{
    model::Instant,
    store::{
        dead_letters,
        letter_lists::{self as store, Group},
        operations::{self, Operation},
    },
};
use chrono::TimeDelta;
use leptos::server_fn::ServerFn;
use sqlx::PgConnection;

/// Groups shown at most.
const GROUPS: i64 = 100;

pub(super) async fn list(conn: &mut PgConnection, query: &Query, now: Instant) -> sqlx::Result<Shown> {
    let (kind, group, (since, from)) = (query.get("kind"), query.get("group"), query.since(now));
    let there = dead_letters::exists(conn).await?;
    let groups = store::groups(conn, from, Some(kind.as_str()).filter(|k| !k.is_empty() && group.is_empty()), GROUPS).await?;
    let chosen = groups.iter().find(|g| g.fingerprint == group && g.kind == kind);
    let mut parts = Vec::new();
    if group.is_empty() {
        parts.push(table(&groups, query, &since, now));
    } else {
        parts.push(letters(conn, query, (&kind, &group, &since, from), now).await?);
    }
    Ok(Shown {
        title: "Dead letters".into(),
        lead: "Jobs that used up their attempts or failed for good. Mend the cause, then bring a whole group back.".into(),
        up: (!group.is_empty()).then(|| (Query::href("dead-letters", &[("since", &since)]), "All groups".into())),
        taken: Some(text::moment(now, now)),
        warning: if there {
            String::new()
        } else {
            "The dead-letter table was dropped; failed jobs are no longer copied. `assay migrate --repair` puts it back.".into()
        },
        running: operations::list(conn, 20).await?.iter().filter(|o| shows(o, now)).map(running).collect(),
        deeds: chosen.map(|g| vec![redrive(g, &since, &back(g, &since))]).unwrap_or_default(),
        question: chosen.filter(|_| query.get("ask") == "discard").map(|g| question(g, &since)),
        parts,
        ..Shown::default()
    })
}

fn back(g: &Group, since: &str) -> String {
    Query::href("dead-letters", &[("kind", &g.kind), ("group", &g.fingerprint), ("since", since)])
}

fn table(groups: &[Group], query: &Query, since: &str, now: Instant) -> Part {
    let open: i64 = groups.iter().map(|g| g.open).sum();
    Part {
        title: format!("{} open letters in {} groups", text::count(open), groups.len()),
        note: if open >= store::WINDOW {
            "Errors that differ only in ids and numbers are one group. Counted are the newest 100,000 letters.".into()
        } else {
            "Errors that differ only in ids and numbers are one group.".into()
        },
        fields: vec![super::Field { label: "Died".into(), ..since_field(since) }, super::field("kind", "Kind", &query.get("kind"), &[])],
        heads: ["Error", "Kind", "How", "#Open", "First", "Last", "Actions"].map(String::from).to_vec(),
        rows: groups.iter().map(|g| group_row(g, since, now)).collect(),
        filtered: !since.is_empty() || query.some("kind").is_some(),
        empty: "No job is out of attempts.".into(),
        ..Part::default()
    }
}

fn key(g: &Group, since: &str, back: &str) -> Vec<(String, String)> {
    [("kind", g.kind.as_str()), ("fingerprint", &g.fingerprint), ("since", since), ("back", back)]
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .to_vec()
}

fn redrive(g: &Group, since: &str, back: &str) -> Cell {
    let discard = Query::href("dead-letters", &[("kind", &g.kind), ("group", &g.fingerprint), ("since", since), ("ask", "discard")]);
    Cell::Group(vec![
        Cell::Buttons(vec![(format!("Bring {} back", text::count(g.open)), RedriveGroup::url().into(), key(g, since, back))]),
        Cell::Link(discard, format!("Discard {}…", text::count(g.open))),
    ])
}

fn question(g: &Group, since: &str) -> Question {
    let back = back(g, since);
    Question {
        text: format!("Discard {} dead letters of kind {}? Their jobs are closed and will not run again.", text::count(g.open), g.kind),
        verb: format!("Discard {}", text::count(g.open)),
        action: DiscardGroup::url().into(),
        fields: key(g, since, &Query::href("dead-letters", &[("since", since)])),
        remark: "note".into(),
        back,
    }
}

fn group_row(g: &Group, since: &str, now: Instant) -> Vec<Cell> {
    vec![
        Cell::Noted(back(g, since), text::cut(g.error.as_deref().unwrap_or("no error text"), 160), format!("group {}", g.fingerprint)),
        Cell::Code(g.kind.clone()),
        Cell::Text(g.reason_class.clone()),
        Cell::Number(text::count(g.open)),
        time(Some(g.first_at), now),
        time(Some(g.last_at), now),
        redrive(g, since, &Query::href("dead-letters", &[("since", since)])),
    ]
}

async fn letters(
    conn: &mut PgConnection,
    query: &Query,
    (kind, group, since, from): (&str, &str, &str, Option<Instant>),
    now: Instant,
) -> sqlx::Result<Part> {
    let mut rows = store::of_group(conn, group, kind, from, query.before(), PAGE as i64 + 1).await?;
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let here = |before: &str| Query::href("dead-letters", &[("kind", kind), ("group", group), ("since", since), ("before", before)]);
    Ok(Part {
        title: format!("Letters of group {group}, newest first"),
        heads: ["Job", "Error", "How", "Person", "#Attempts", "Died"].map(String::from).to_vec(),
        rows: rows
            .iter()
            .map(|l| {
                vec![
                    Cell::Link(format!("/admin/jobs/{}", l.original_job_id), l.kind.clone()),
                    words(l.error.as_deref().map(|e| text::cut(e, 200)).as_deref()),
                    Cell::Text(l.reason_class.clone()),
                    person(l.user_id.as_deref()),
                    Cell::Number(l.attempts.to_string()),
                    time(Some(l.failed_at), now),
                ]
            })
            .collect(),
        next: rows.last().filter(|_| more).map(|l| here(&place((l.failed_at, l.id)))).unwrap_or_default(),
        first: if query.before().is_some() { here("") } else { String::new() },
        filtered: true,
        ..Part::default()
    })
}

/// A redrive that goes on, or ended within the last ten minutes.
fn shows(o: &Operation, now: Instant) -> bool {
    o.kind == "redrive" && (o.state == "running" || o.finished_at.is_some_and(|at| now - at < TimeDelta::minutes(10)))
}

fn running(o: &Operation) -> Running {
    let share = if o.total > 0 { (o.done * 100 / o.total).clamp(0, 100) as u32 } else { 100 };
    let stop = vec![("id".to_owned(), o.id.to_string()), ("back".to_owned(), "/admin/dead-letters".to_owned())];
    Running {
        label: format!("Bringing back {} of {}, started by {}", text::count(o.done), text::count(o.total), o.started_by),
        percent: if o.state == "running" { share.min(99) } else { share },
        state: o.state.clone(),
        deed: if o.state == "running" { Cell::Buttons(vec![("Stop".into(), StopOperation::url().into(), stop)]) } else { Cell::None },
    }
}
