//! `/admin/dead-letters`: jobs that are out of attempts, grouped by what their errors have in common.

use super::{super::{deeds::{DiscardGroup, RedriveGroup}, screen::{Cell, Part, Question, Shown}}, PAGE, Query, person, text, time, words};
use crate::{model::Instant, store::{dead_letters::{self, Group}, jobs::settle::DeadFilter}};
use leptos::server_fn::ServerFn;
use sqlx::PgConnection;

pub(super) async fn list(conn: &mut PgConnection, query: &Query, now: Instant) -> sqlx::Result<Shown> {
    let groups = dead_letters::groups(conn, 100).await?;
    let there = dead_letters::exists(conn).await?;
    let (kind, group) = (query.some("kind"), query.some("group"));
    let filter = DeadFilter { kind: kind.clone(), fingerprint: group.clone(), ..DeadFilter::default() };
    let letters = dead_letters::list(conn, &filter, true, PAGE as i64).await?;
    let question = groups
        .iter()
        .find(|g| query.get("ask") == "discard" && Some(&g.fingerprint) == group.as_ref() && Some(&g.kind) == kind.as_ref())
        .map(|g| Question {
            text: format!("Discard {} dead letters of kind {}? Their jobs will not run again.", text::count(g.open), g.kind),
            verb: format!("Discard {}", text::count(g.open)),
            action: DiscardGroup::url().into(),
            fields: key(g),
        });
    Ok(Shown {
        title: "Dead letters".into(),
        lead: "Jobs that used up their attempts or failed for good. Mend the cause, then bring a whole group back.".into(),
        warning: if there { String::new() } else { "The dead-letter table was dropped; failed jobs are no longer copied. `assay migrate --repair` puts it back.".into() },
        question,
        parts: vec![
            Part {
                title: "Groups".into(),
                note: "Errors that differ only in ids and numbers are one group.".into(),
                heads: ["Kind", "Error", "#Open", "First (UTC)", "Last (UTC)", "Actions"].map(String::from).to_vec(),
                rows: groups.iter().map(|g| group_row(g, now)).collect(),
                empty: "No job is out of attempts.".into(),
                ..Part::default()
            },
            Part {
                title: if group.is_some() { "Letters of this group, newest first".into() } else { "Newest open letters".into() },
                heads: ["Job", "Error", "Class", "Person", "#Attempts", "Failed (UTC)"].map(String::from).to_vec(),
                rows: letters
                    .iter()
                    .map(|l| {
                        vec![
                            Cell::Link(format!("/admin/jobs/{}", l.original_job_id), l.kind.clone()),
                            words(l.error.as_deref().map(|e| text::cut(e, 160)).as_deref()),
                            Cell::Text(l.reason_class.clone()),
                            person(l.user_id.as_deref()),
                            Cell::Number(l.attempts.to_string()),
                            time(Some(l.failed_at), now),
                        ]
                    })
                    .collect(),
                first: if group.is_some() { "/admin/dead-letters".into() } else { String::new() },
                filtered: group.is_some(),
                empty: "Nothing to deal with.".into(),
                ..Part::default()
            },
        ],
        ..Shown::default()
    })
}

fn key(g: &Group) -> Vec<(String, String)> {
    vec![("kind".into(), g.kind.clone()), ("fingerprint".into(), g.fingerprint.clone())]
}

fn group_row(g: &Group, now: Instant) -> Vec<Cell> {
    let here = |ask: &str| Query::href("dead-letters", &[("kind", &g.kind), ("group", &g.fingerprint), ("ask", ask)]);
    vec![
        Cell::Code(g.kind.clone()),
        Cell::Noted(here(""), text::cut(g.error.as_deref().unwrap_or("no error text"), 120), format!("group {}", g.fingerprint)),
        Cell::Number(text::count(g.open)),
        time(Some(g.first_at), now),
        time(Some(g.last_at), now),
        Cell::Group(vec![
            Cell::Buttons(vec![("Bring back".into(), RedriveGroup::url().into(), key(g))]),
            Cell::Link(here("discard"), "Discard…".into()),
        ]),
    ]
}
