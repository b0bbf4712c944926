//! `/admin/settings`: switches, schedules, and the processes that do the work.

use super::{
    super::{
        deeds::{ScheduleDeed, SetAdvanced},
        screen::{Cell, Part, Shown},
    },
    text, time, words,
};
use crate::{
    model::Instant,
    store::{
        dashboard,
        schedules::{self, ScheduleRow},
        workers::{self, WorkerRow},
    },
};
use chrono::TimeDelta;
use leptos::server_fn::ServerFn;
use sqlx::{PgConnection, PgPool};

/// Who leads is in a table only the program may read; an administrator may know it, and was admitted before.
pub(super) async fn list(conn: &mut PgConnection, service: &PgPool, now: Instant) -> sqlx::Result<Shown> {
    let advanced = dashboard::switch(conn, "advanced_metrics").await?.unwrap_or(true);
    let schedules = schedules::list(conn).await?;
    let workers = workers::list(&mut *service.acquire().await?).await?;
    let (verb, to) = if advanced { ("Hide them", "off") } else { ("Show them", "on") };
    Ok(Shown {
        title: "Settings".into(),
        lead: "Changes hold for everybody and are in the audit log.".into(),
        facts: vec![
            (
                "Advanced metrics on the dashboard".into(),
                Cell::Text(if advanced { "shown".into() } else { "hidden: basic monitoring only".into() }),
            ),
            ("Registry".into(), Cell::Link("/admin/settings/registry".into(), "tolerances, ranges, studies".into())),
            ("Change".into(), Cell::Buttons(vec![(verb.into(), SetAdvanced::url().into(), vec![("advanced".into(), to.into())])])),
            (
                "Pages".into(),
                Cell::Group(vec![
                    Cell::Plain("/admin/users".into(), "Accounts".into()),
                    Cell::Plain("/admin/audit".into(), "Audit log".into()),
                    Cell::Plain("/admin/settings/retention".into(), "How long things are kept".into()),
                ]),
            ),
        ],
        parts: vec![
            Part {
                title: "Schedules".into(),
                heads: ["Name", "State", "Kind of job", "Every", "Last run", "Next run", "#Runs", "Remark", "Actions"]
                    .map(String::from)
                    .to_vec(),
                rows: schedules.iter().map(|s| schedule(s, now)).collect(),
                empty: "A worker writes the program's schedules down when it starts.".into(),
                ..Part::default()
            },
            Part {
                title: "Processes".into(),
                heads: ["Node", "State", "Role", "Duty", "#Jobs held", "Started", "Last heard of"].map(String::from).to_vec(),
                rows: workers.iter().map(|w| worker(w, now)).collect(),
                empty: "No worker has signed on: nothing is being processed.".into(),
                ..Part::default()
            },
        ],
        ..Shown::default()
    })
}

fn schedule(s: &ScheduleRow, now: Instant) -> Vec<Cell> {
    let button = |label: &str, deed: &str| {
        (label.to_owned(), ScheduleDeed::url().to_owned(), vec![("name".to_owned(), s.name.clone()), ("deed".to_owned(), deed.to_owned())])
    };
    let toggle = if s.paused { button("Resume", "resume") } else { button("Pause", "pause") };
    vec![
        Cell::Text(s.name.clone()),
        Cell::State(if s.paused { "paused".into() } else { "active".into() }),
        Cell::Code(s.job_type.clone()),
        Cell::Text(text::span(TimeDelta::seconds(i64::from(s.every_s)))),
        time(s.last_run_at, now),
        time(Some(s.next_run_at).filter(|_| !s.paused), now),
        Cell::Number(text::count(s.runs)),
        words(s.last_error.as_deref()),
        Cell::Buttons(vec![button("Run now", "run"), toggle]),
    ]
}

fn worker(w: &WorkerRow, now: Instant) -> Vec<Cell> {
    vec![
        Cell::Text(w.node.clone()),
        Cell::State(if w.present { "active".into() } else { "unavailable".into() }),
        Cell::Text(w.role.clone()),
        words(w.leads.then_some("leads")),
        Cell::Number(text::count(w.holds)),
        time(Some(w.started_at), now),
        time(Some(w.seen_at), now),
    ]
}
