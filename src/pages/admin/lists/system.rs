//! The machinery: nodes, schedules, rate limits, connections. Views of one page, each with an address of its own.

use super::{
    super::{
        deeds::ScheduleDeed,
        screen::{Cell, Part, Shown},
        search::Search,
    },
    Chip, PAGE, Query, chip, field, person, text, time, took, words,
};
use crate::{
    model::{Instant, Source},
    quality::arrival::Pulse,
    store::{
        arrivals::{self, Gap},
        audit, dashboard,
        schedules::{self, ScheduleRow},
        system_lists::{self as store, Connection, ConnectionFilter, Limited},
        workers::{self, WorkerRow},
    },
};
use chrono::TimeDelta;
use leptos::server_fn::ServerFn;
use sqlx::{PgConnection, PgPool};
use std::collections::HashMap;
use uuid::Uuid;

/// Keys of the rate limiter shown at most.
const LIMITED: i64 = 200;

pub(super) fn tabs(current: &str) -> Vec<Chip> {
    [
        ("nodes", "Nodes"),
        ("schedules", "Schedules"),
        ("kinds", "Kinds of jobs"),
        ("limits", "Rate limits"),
        ("connections", "Connections"),
        ("trainers", "Trainers and clients"),
        ("settings", "Settings"),
    ]
    .map(|(list, words)| chip(words, String::new(), Query::href(list, &[]), list == current))
    .to_vec()
}

fn shown(list: &str, title: &str, lead: &str, now: Instant, parts: Vec<Part>) -> Shown {
    Shown { title: title.into(), lead: lead.into(), taken: Some(text::moment(now, now)), tabs: tabs(list), parts, ..Shown::default() }
}

fn heads<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(String::from).to_vec()
}

/// Who leads is in a table only the program may read; an administrator may know it, and was admitted before.
pub(super) async fn nodes(service: &PgPool, now: Instant) -> sqlx::Result<Shown> {
    let mut conn = service.acquire().await?;
    let workers = workers::list(&mut conn).await?;
    let leases = store::leases(&mut conn).await?;
    let batches = store::batches(&mut conn, 200).await?;
    let gone = || Cell::Text("a node that is gone".into());
    let parts = vec![
        Part {
            title: "Processes".into(),
            heads: heads(["Node", "State", "Role", "Duty", "#Jobs held", "Started", "Last heard of"]),
            rows: workers.iter().map(|w| worker(w, now)).collect(),
            empty: "No worker has signed on: nothing is being processed.".into(),
            ..Part::default()
        },
        Part {
            title: "Duties".into(),
            note: "What one node at a time does for all; another takes over when its term ends or its session is gone.".into(),
            heads: heads(["Duty", "Node", "#Term", "Until"]),
            rows: leases
                .iter()
                .map(|l| {
                    let node = l.node.as_deref().map_or_else(gone, |n| Cell::Text(n.to_owned()));
                    vec![Cell::Code(l.name.clone()), node, Cell::Number(text::count(l.term)), time(Some(l.expires_at), now)]
                })
                .collect(),
            empty: "Nobody has taken a duty yet.".into(),
            ..Part::default()
        },
        Part {
            title: "Batches in work".into(),
            note: "A lease that is not renewed in time gives its jobs back to the queue.".into(),
            heads: heads(["Kind", "Node", "#Jobs", "Leased until"]),
            rows: batches
                .iter()
                .map(|b| {
                    let node = b.node.as_deref().map_or_else(gone, |n| Cell::Text(n.to_owned()));
                    let kind = Cell::Link(Query::href("jobs", &[("status", "processing"), ("kind", &b.kind)]), b.kind.clone());
                    vec![kind, node, Cell::Number(text::count(i64::from(b.jobs))), time(Some(b.lease_until), now)]
                })
                .collect(),
            empty: "No job runs just now.".into(),
            ..Part::default()
        },
    ];
    Ok(shown("nodes", "Nodes", "Which processes work, who leads, and who holds which jobs.", now, parts))
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

pub(super) async fn schedules(conn: &mut PgConnection, now: Instant) -> sqlx::Result<Shown> {
    let rows = schedules::list(conn).await?;
    let deeds = audit::newest_about(conn, &rows.iter().map(|s| s.name.clone()).collect::<Vec<_>>(), "schedule.").await?;
    let part = Part {
        title: "Schedules".into(),
        heads: heads(["Name", "State", "Kind of job", "Every", "Last run", "Next run", "#Runs", "#Missed", "Remark", "By hand", "Actions"]),
        rows: rows.iter().map(|s| schedule(s, &deeds, now)).collect(),
        empty: "A worker writes the program’s schedules down when it starts.".into(),
        ..Part::default()
    };
    let lead = "What runs by itself. Runs that were due while nobody led are caught up by one.";
    Ok(shown("schedules", "Schedules", lead, now, vec![part]))
}

fn schedule(s: &ScheduleRow, deeds: &[audit::Entry], now: Instant) -> Vec<Cell> {
    let deed = deeds.iter().find(|e| e.subject.as_deref() == Some(s.name.as_str()));
    let button = |label: &str, deed: &str| {
        (label.to_owned(), ScheduleDeed::url().to_owned(), vec![("name".to_owned(), s.name.clone()), ("deed".to_owned(), deed.to_owned())])
    };
    let toggle = if s.paused { button("Resume", "resume") } else { button("Pause", "pause") };
    let last = match (s.last_job_id, s.last_run_at) {
        (Some(job), Some(at)) => Cell::Group(vec![time(Some(at), now), Cell::Link(format!("/admin/jobs/{job}"), "job".into())]),
        (_, at) => time(at, now),
    };
    vec![
        Cell::Text(s.name.clone()),
        Cell::State(if s.paused { "paused".into() } else { "active".into() }),
        Cell::Link(Query::href("jobs", &[("kind", &s.job_type)]), s.job_type.clone()),
        Cell::Text(text::span(TimeDelta::seconds(i64::from(s.every_s)))),
        last,
        time(Some(s.next_run_at).filter(|_| !s.paused), now),
        Cell::Number(text::count(s.runs)),
        Cell::Number(text::count(s.missed)),
        words(s.last_error.as_deref()),
        deed.map_or(Cell::None, |e| {
            let word = match e.action.as_str() {
                "schedule.pause" => "paused by",
                "schedule.resume" => "resumed by",
                _ => "run by",
            };
            Cell::Group(vec![Cell::Text(format!("{word} {}", e.actor)), time(Some(e.at), now)])
        }),
        Cell::Buttons(vec![button("Run now", "run"), toggle]),
    ]
}

pub(super) async fn limits(conn: &mut PgConnection, now: Instant) -> sqlx::Result<Shown> {
    let found = store::limited(conn, LIMITED).await?;
    let warning = if found.is_none() {
        "The table of the rate limiter was dropped; each node limits by itself. `assay migrate --repair` puts it back."
    } else {
        ""
    };
    let rows = found.unwrap_or_default();
    let (all, refused) = rows.first().map_or((0, 0), |l| (l.keys, l.keys_refused));
    let part = Part {
        title: spent(all, refused),
        note: if all > rows.len() as i64 {
            format!("Shown are {}, those with the most refusals first.", text::count(rows.len() as i64))
        } else {
            String::new()
        },
        heads: heads(["Limit", "Who", "#Refused", "#Admitted", "Counted since", "Last request", "Whole again"]),
        rows: rows.iter().map(|l| limit(l, now)).collect(),
        empty: "Every sender has its whole allowance.".into(),
        ..Part::default()
    };
    let lead = "Who spends an allowance just now: senders of deliveries, logins, keys of the API.";
    Ok(Shown { warning: warning.into(), ..shown("limits", "Rate limits", lead, now, vec![part]) })
}

/// How many are limited, as far as they were counted.
fn spent(all: i64, refused: i64) -> String {
    let counted = |n: i64| super::counted(n, store::LIMITED_COUNTED);
    let have = if all == 1 {
        "1 has spent a part of its allowance".to_owned()
    } else {
        format!("{} have spent a part of their allowance", counted(all))
    };
    match (all, refused) {
        (0, _) => "Nobody is limited".into(),
        (_, 0) => format!("{have}, none was refused"),
        (_, 1) => format!("1 was refused, {have}"),
        (_, n) => format!("{} were refused, {have}", counted(n)),
    }
}

fn limit(l: &Limited, now: Instant) -> Vec<Cell> {
    let (policy, who) = l.key.split_once(':').unwrap_or((&l.key, ""));
    vec![
        Cell::Code(policy.to_owned()),
        Cell::Text(text::cut(who, 80)),
        Cell::Number(text::count(l.refused)),
        Cell::Number(text::count(l.count)),
        time(Some(l.window_start), now),
        time(Some(l.updated_at), now),
        Cell::Text(format!("in {}", took((l.tat - now).max(TimeDelta::zero())))),
    ]
}

/// What can stand before a colon in the search box of connections.
const KNOWN: [&str; 2] = ["user", "provider"];
const STATES: [&str; 8] = ["", "silent", "broken", "active", "reauthorised", "error", "revoked", "deauthorised"];

pub(super) async fn connections(
    conn: &mut PgConnection,
    pulses: &HashMap<String, Pulse>,
    query: &Query,
    now: Instant,
) -> sqlx::Result<Shown> {
    let (state, q, before) = (query.get("state"), query.get("q"), Uuid::try_parse(&query.get("before")).ok());
    let search = Search::parse(&q, &KNOWN);
    let provider = query.some("provider").or_else(|| search.get("provider")).map(|p| p.to_lowercase());
    let filter = ConnectionFilter {
        provider: provider.clone(),
        state: Some(state.clone()).filter(|s| !s.is_empty() && s != "silent" && STATES.contains(&s.as_str())),
        user_id: search.get("user").or_else(|| search.plain()),
        silent: state == "silent",
    };
    let providers = dashboard::providers(conn).await?;
    let mut rows = store::connections(conn, &filter, before, PAGE as i64 + 1).await?;
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let gaps = missing(conn, pulses, &rows, now).await?;
    let (p, s) = (provider.unwrap_or_default(), state.as_str());
    let here = |before: &str| Query::href("connections", &[("provider", &p), ("state", s), ("q", &q), ("before", before)]);
    let count = |n: i64, provider: &str, state: &str| {
        Cell::Link(Query::href("connections", &[("provider", provider), ("state", state)]), text::count(n))
    };
    let mut shown = shown(
        "connections",
        "Connections",
        "Who is connected to which provider, by Terra, and where it has become silent.",
        now,
        vec![
            Part {
                title: "Providers".into(),
                heads: heads(["Provider", "#Active", "#Silent for 2 days", "#Broken", "Last data"]),
                rows: providers
                    .iter()
                    .map(|r| {
                        vec![
                            Cell::Link(Query::href("connections", &[("provider", &r.provider)]), Source::from_provider(&r.provider).name()),
                            Cell::Number(text::count(r.active)),
                            count(r.silent, &r.provider, "silent"),
                            count(r.broken, &r.provider, "broken"),
                            time(r.last_data_at, now),
                        ]
                    })
                    .collect(),
                empty: "A provider appears when Terra reports a person’s connection, or with its first delivery.".into(),
                ..Part::default()
            },
            Part {
                title: "Connections, newest first".into(),
                fields: vec![field("state", "State", s, &STATES), field("q", "Person or provider:", &q, &[])],
                keep: if p.is_empty() { Vec::new() } else { vec![("provider".into(), p.clone())] },
                heads: heads(["Person", "Provider", "State", "State since", "Last data", "Missing", "Terra’s id", "Remark"]),
                rows: rows.iter().map(|c| connection(c, &gaps, now)).collect(),
                next: rows.last().filter(|_| more).map(|c| here(&c.id.to_string())).unwrap_or_default(),
                first: if before.is_some() { here("") } else { String::new() },
                filtered: filter != ConnectionFilter::default() || before.is_some(),
                empty: "Nobody is connected yet.".into(),
                ..Part::default()
            },
        ],
    );
    shown.complaint = search.complaint(&KNOWN);
    shown.deeds = vec![Cell::Link("/admin/connect".into(), "Connect a person".into())];
    Ok(shown)
}

/// What is missing from the sources of the persons shown, with its reason.
async fn missing(conn: &mut PgConnection, pulses: &HashMap<String, Pulse>, rows: &[Connection], now: Instant) -> sqlx::Result<Vec<Gap>> {
    let mut users: Vec<String> = rows.iter().filter_map(|c| c.user_id.clone()).collect();
    users.sort_unstable();
    users.dedup();
    Ok(arrivals::gaps(&arrivals::arrivals(conn, pulses, &users, now).await?))
}

/// The reason most of a connection's missing metrics have, and how many they are.
fn gap(c: &Connection, gaps: &[Gap]) -> Cell {
    let own = gaps.iter().filter(|g| Some(&g.user_id) == c.user_id.as_ref() && g.source.as_str() == c.provider);
    own.max_by_key(|g| g.metrics.len()).map_or(Cell::None, |g| {
        let metrics = if g.metrics.len() == 1 { "metric" } else { "metrics" };
        // Spaces that do not break: the column is narrow.
        Cell::Text(format!("{}: {} {metrics}", g.arrival.name(), g.metrics.len()).replace(' ', "\u{a0}"))
    })
}

fn connection(c: &Connection, gaps: &[Gap], now: Instant) -> Vec<Cell> {
    let who = if c.user_id.is_some() { person(c.user_id.as_deref()) } else { Cell::Text("not known yet".into()) };
    vec![
        who,
        Cell::Text(Source::from_provider(&c.provider).name()),
        Cell::State(c.state.clone()),
        time(Some(c.state_at), now),
        time(c.last_data_at, now),
        gap(c, gaps),
        Cell::Code(text::cut(&c.terra_user_id, 40)),
        words(c.reason.as_deref()),
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_is_limited_is_counted_beyond_the_list() {
        let t = crate::store::testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO rate_limits (key, tat, count, refused)
             SELECT 'login:10.0.0.' || n, now() + interval '1 hour', 5, CASE WHEN n > 201 THEN 0 ELSE 3 END FROM generate_series(1, 205) n",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let part = limits(&mut conn, chrono::Utc::now()).await.unwrap().parts.remove(0);
        assert_eq!((part.title.as_str(), part.rows.len()), ("201 were refused, 205 have spent a part of their allowance", 200));
        assert_eq!(part.note, "Shown are 200, those with the most refusals first.");
    }

    #[test]
    fn what_was_not_counted_to_the_end_says_so() {
        for (all, refused, title) in [
            (0, 0, "Nobody is limited"),
            (1, 0, "1 has spent a part of its allowance, none was refused"),
            (1, 1, "1 was refused, 1 has spent a part of its allowance"),
            (2, 1, "1 was refused, 2 have spent a part of their allowance"),
            (10_001, 10_001, "10,000+ were refused, 10,000+ have spent a part of their allowance"),
        ] {
            assert_eq!(spent(all, refused), title);
        }
    }
}
