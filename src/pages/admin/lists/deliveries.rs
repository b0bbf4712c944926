//! `/admin/webhooks`: deliveries as they came, what came of one, and those that were turned away.

use super::{
    super::{
        screen::{Cell, Part, Shown},
        search::Search,
        webhook_deeds::ReplayDelivery,
    },
    Chip, PAGE, Query, chip, counted, field, person, place, pretty, since_field, text, time, took, words,
};
use crate::{
    model::{Instant, Metric, Source},
    store::{
        job_lists,
        webhook_lists::{self as store, COUNTED, Detail, Filter, Row},
    },
};
use chrono::TimeDelta;
use leptos::server_fn::ServerFn;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

const STATES: [&str; 9] = ["", "pending", "processing", "completed", "failed", "parked", "ignored", "conflict", "invalid"];
pub(super) const TYPES: [&str; 12] =
    ["", "daily", "sleep", "activity", "body", "nutrition", "menstruation", "athlete", "auth", "deauth", "user_reauth", "healthcheck"];
/// What can stand before a colon in the search box.
const KNOWN: [&str; 7] = ["user", "provider", "trace", "type", "status", "body", "header"];

/// The views of the page.
pub(super) fn tabs(current: &str) -> Vec<Chip> {
    [("", "Deliveries"), ("refused", "Turned away"), ("replay", "Replay"), ("test", "Send a test event")]
        .map(|(tab, words)| chip(words, String::new(), Query::href("webhooks", &[("tab", tab)]), tab == current))
        .to_vec()
}

pub(super) async fn list(conn: &mut PgConnection, service: &PgPool, query: &Query, now: Instant) -> sqlx::Result<Shown> {
    let (status, kind, q, (since, from)) = (query.get("status"), query.get("type"), query.get("q"), query.since(now));
    let search = Search::parse(&q, &KNOWN);
    let or = |own: &str, name: &str| if own.is_empty() { search.get(name) } else { Some(own.to_owned()) };
    let filter = Filter {
        status: or(&status, "status"),
        kind: or(&kind, "type"),
        provider: search.get("provider").map(|p| p.to_lowercase()),
        user_id: search.get("user"),
        since: from,
        // A plain word is a trace id: the one thing people paste here.
        trace: match search.get("trace").or_else(|| search.plain()) {
            Some(trace) => {
                let ids = store::by_trace(service, &trace).await?;
                Some((trace, ids))
            }
            None => None,
        },
        body: search.get("body"),
        header: search.get("header"),
    };
    let mut rows = store::page(conn, &filter, query.before(), PAGE as i64 + 1).await?;
    let more = rows.len() > PAGE;
    let whole = !more && query.before().is_none();
    let n = if whole { rows.len() as i64 } else { store::count(conn, &filter).await? };
    rows.truncate(PAGE);
    let here =
        |before: &str| Query::href("webhooks", &[("status", &status), ("type", &kind), ("q", &q), ("since", &since), ("before", before)]);
    let narrowed = filter.status.is_some() || filter.kind.is_some() || filter.provider.is_some();
    Ok(Shown {
        title: "Webhooks".into(),
        lead: "Every delivery that carried a valid signature, exactly as it came.".into(),
        taken: Some(text::moment(now, now)),
        tabs: tabs(""),
        complaint: search.complaint(&KNOWN),
        parts: vec![Part {
            title: format!("{} {}, newest first", counted(n, COUNTED), if n == 1 { "delivery" } else { "deliveries" }),
            note: if filter.body.is_some() || filter.header.is_some() {
                "Headers and bodies are looked through for the newest 10,000 deliveries.".into()
            } else if narrowed {
                "State, type and provider are looked for among the newest 100,000 deliveries.".into()
            } else {
                String::new()
            },
            fields: vec![
                field("status", "State", &status, &STATES),
                field("type", "Type", &kind, &TYPES),
                since_field(&since),
                field("q", "Search", &q, &[]),
            ],
            help: "A trace id, or user: provider: trace: body: header:".into(),
            heads: ["Type", "State", "Provider", "Person", "Received", "#Until processed", "#Readings", "Remark"]
                .map(String::from)
                .to_vec(),
            rows: rows.iter().map(|d| row(d, now)).collect(),
            next: rows.last().filter(|_| more).map(|r| here(&place((r.created_at, r.id)))).unwrap_or_default(),
            first: if query.before().is_some() { here("") } else { String::new() },
            filtered: filter != Filter::default() || query.before().is_some(),
            empty: "Nothing has been delivered yet. Send a test event, or give Terra this server’s address.".into(),
            ..Part::default()
        }],
        ..Shown::default()
    })
}

fn row(d: &Row, now: Instant) -> Vec<Cell> {
    vec![
        Cell::Link(format!("/admin/webhooks/{}", d.id), if d.kind.is_empty() { "no type".into() } else { d.kind.clone() }),
        Cell::State(d.status.clone()),
        provider(d),
        person(d.user_id.as_deref()),
        time(Some(d.created_at), now),
        latency(d),
        Cell::Number(text::count(i64::from(d.processed_count))),
        words(d.error.as_deref().map(|e| text::cut(e, 120)).as_deref()),
    ]
}

fn provider(d: &Row) -> Cell {
    words(d.provider.as_deref().map(|p| Source::from_provider(p).name()).as_deref())
}

fn latency(d: &Row) -> Cell {
    d.processed_at.map_or(Cell::None, |at| Cell::Number(took(at - d.created_at)))
}

/// Those that were turned away, by reason and address.
pub(super) async fn refused(conn: &mut PgConnection, query: &Query, now: Instant) -> sqlx::Result<Shown> {
    let (word, from) = query.since(now);
    let rows = store::refused(conn, from.unwrap_or(now - TimeDelta::hours(24)), 200).await?;
    let sum: i64 = rows.iter().map(|r| r.count).sum();
    let times = [("", "last 24 hours"), ("1h", "last hour"), ("7d", "last 7 days"), ("30d", "last 30 days")];
    Ok(Shown {
        title: "Webhooks".into(),
        lead: "Requests that were no deliveries of Terra’s: counted by reason and address, nothing else of them is kept.".into(),
        taken: Some(text::moment(now, now)),
        tabs: tabs("refused"),
        parts: vec![Part {
            title: format!("{} turned away", text::count(sum)),
            fields: vec![super::Field {
                options: times.map(|(v, w)| (v.into(), w.into())).to_vec(),
                ..field("since", "Since", &word, &[])
            }],
            keep: vec![("tab".into(), "refused".into())],
            clear: "/admin/webhooks?tab=refused".into(),
            heads: ["Reason", "From", "#Times", "First", "Last"].map(String::from).to_vec(),
            rows: rows
                .into_iter()
                .map(|r| {
                    let (first, last) = (time(Some(r.first_at), now), time(Some(r.last_at), now));
                    vec![Cell::Text(r.reason.replace('_', " ")), Cell::Code(r.address), Cell::Number(text::count(r.count)), first, last]
                })
                .collect(),
            filtered: !word.is_empty(),
            empty: "Nothing was turned away in the last 24 hours.".into(),
            ..Part::default()
        }],
        ..Shown::default()
    })
}

/// One delivery: as it came, and what came of it.
pub(super) async fn one(conn: &mut PgConnection, id: Uuid, now: Instant) -> sqlx::Result<Option<Shown>> {
    let Some(d) = store::one(conn, id).await? else { return Ok(None) };
    let jobs = job_lists::of_delivery(conn, id, d.row.created_at, d.row.user_id.as_deref()).await?;
    let (records, values) = match &d.row.user_id {
        Some(user) => store::outcome(conn, id, user).await?,
        None => Default::default(),
    };
    let whole = i64::from(d.size) <= 65_536;
    let body = match serde_json::from_slice::<serde_json::Value>(&d.body) {
        Ok(json) => pretty(&json),
        Err(_) => text::cut(&String::from_utf8_lossy(&d.body), 60_000),
    };
    let again = !matches!(d.row.status.as_str(), "conflict" | "invalid" | "pending" | "processing");
    let mut parts = vec![made(&jobs, now)];
    if !records.is_empty() {
        parts.push(records_part(&records));
    }
    if !values.is_empty() {
        parts.push(values_part(&values));
    }
    Ok(Some(Shown {
        title: format!("Delivery: {}", if d.row.kind.is_empty() { "no type" } else { &d.row.kind }),
        lead: id.to_string(),
        up: Some(("/admin/webhooks".into(), "Webhooks".into())),
        taken: Some(text::moment(now, now)),
        deeds: if again {
            vec![Cell::Buttons(vec![("Process again".into(), ReplayDelivery::url().into(), vec![("id".into(), id.to_string())])])]
        } else {
            Vec::new()
        },
        warning: d.row.error.clone().filter(|_| matches!(d.row.status.as_str(), "failed" | "invalid" | "conflict")).unwrap_or_default(),
        facts: facts(&d, now),
        parts,
        texts: vec![(if whole { "Body".into() } else { "Body, the first 64 KiB".into() }, body), ("Headers".into(), pretty(&d.headers.0))],
        ..Shown::default()
    }))
}

fn facts(d: &Detail, now: Instant) -> Vec<(String, Cell)> {
    let ordering = Instant::from_timestamp_millis(d.ordering_ms);
    vec![
        ("State".into(), Cell::State(d.row.status.clone())),
        ("Remark".into(), words(d.row.error.as_deref())),
        ("Provider".into(), provider(&d.row)),
        ("Person".into(), person(d.row.user_id.as_deref())),
        ("Terra’s id of the connection".into(), d.terra_user_id.clone().map_or(Cell::None, Cell::Code)),
        ("Received".into(), time(Some(d.row.created_at), now)),
        ("Processed".into(), time(d.row.processed_at, now)),
        ("Until processed".into(), d.row.processed_at.map_or(Cell::None, |at| Cell::Text(took(at - d.row.created_at)))),
        ("Ordered by".into(), time(ordering, now)),
        ("Readings".into(), Cell::Text(text::count(i64::from(d.row.processed_count)))),
        ("Trace id".into(), Cell::Code(d.trace_id.clone())),
        ("Size".into(), Cell::Text(format!("{} bytes", text::count(i64::from(d.size))))),
    ]
}

fn made(jobs: &[job_lists::DeliveryJob], now: Instant) -> Part {
    Part {
        title: "Jobs it made".into(),
        heads: ["Job", "State", "#Attempts", "Created", "Ended", "Error"].map(String::from).to_vec(),
        rows: jobs
            .iter()
            .map(|j| {
                vec![
                    Cell::Link(format!("/admin/jobs/{}", j.id), j.kind.clone()),
                    Cell::State(j.status.clone()),
                    Cell::Number(j.attempts.to_string()),
                    time(Some(j.created_at), now),
                    time(j.completed_at, now),
                    words(j.error.as_deref().map(|e| text::cut(e, 160)).as_deref()),
                ]
            })
            .collect(),
        empty: "None is left: it was not to be processed, or its job is older than what history keeps.".into(),
        ..Part::default()
    }
}

fn records_part(records: &[store::Record]) -> Part {
    Part {
        title: "Records as it left them".into(),
        note: "What a later delivery has written over since is not listed.".into(),
        heads: ["Record", "Day", "Kind", "#Values", "#Findings"].map(String::from).to_vec(),
        rows: records
            .iter()
            .map(|r| {
                vec![
                    Cell::Code(text::cut(&r.key, 80)),
                    Cell::Text(r.measurement_date.to_string()),
                    Cell::Text(if r.deleted { format!("{} (taken away)", r.model) } else { r.model.clone() }),
                    Cell::Number(text::count(i64::from(r.values))),
                    Cell::Number(text::count(i64::from(r.findings))),
                ]
            })
            .collect(),
        ..Part::default()
    }
}

fn values_part(values: &[store::Value]) -> Part {
    let row = |v: &store::Value| {
        let metric = Metric::from_key(&v.metric_name);
        let (value, unit) = metric.map_or_else(|| (v.value.to_string(), ""), |m| text::value(m, v.value));
        vec![
            Cell::Text(metric.map_or_else(|| v.metric_name.clone(), |m| m.name().to_owned())),
            Cell::Text(v.measurement_date.to_string()),
            Cell::Number(format!("{value} {unit}").trim_end().to_owned()),
            Cell::Score(v.confidence_score),
        ]
    };
    Part {
        title: "Day values that rest on it".into(),
        heads: ["Metric", "Day", "#Value", "Confidence"].map(String::from).to_vec(),
        rows: values.iter().map(row).collect(),
        ..Part::default()
    }
}
