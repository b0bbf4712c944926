//! `/admin/webhooks`: deliveries as they came, and those that were turned away.

use super::{super::screen::{Cell, Part, Shown}, PAGE, Query, field, milliseconds, person, pretty, text, time, words};
use crate::{model::{Instant, Source}, store::browse::{self, DeliveryFilter, DeliveryRow}};
use sqlx::PgConnection;
use uuid::Uuid;

const STATES: [&str; 9] = ["", "pending", "processing", "completed", "failed", "parked", "ignored", "conflict", "invalid"];
const TYPES: [&str; 12] = ["", "daily", "sleep", "activity", "body", "nutrition", "menstruation", "athlete", "auth", "deauth", "user_reauth", "healthcheck"];

pub(super) async fn list(conn: &mut PgConnection, query: &Query, now: Instant) -> sqlx::Result<Shown> {
    let known = |name: &str, list: &[&str]| Some(query.get(name)).filter(|v| list.contains(&v.as_str())).unwrap_or_default();
    let filter = DeliveryFilter {
        status: known("status", &STATES),
        kind: known("type", &TYPES),
        provider: query.get("provider").to_lowercase(),
        user_id: query.get("user"),
        before: query.get("before").parse().ok(),
    };
    let mut rows = browse::deliveries(conn, &filter, PAGE as i64 + 1).await?;
    let refused = browse::refused(conn, 20).await?;
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let here = |before: &str| {
        Query::href("webhooks", &[("status", &filter.status), ("type", &filter.kind), ("provider", &filter.provider), ("user", &filter.user_id), ("before", before)])
    };
    let filtered = [&filter.status, &filter.kind, &filter.provider, &filter.user_id].iter().any(|v| !v.is_empty()) || filter.before.is_some();
    Ok(Shown {
        title: "Webhooks".into(),
        lead: "Every delivery that carried a valid signature, exactly as it came.".into(),
        parts: vec![
            Part {
                title: "Deliveries, newest first".into(),
                fields: vec![
                    field("status", "State", &filter.status, &STATES),
                    field("type", "Type", &filter.kind, &TYPES),
                    field("provider", "Provider", &filter.provider, &[]),
                    field("user", "Person", &filter.user_id, &[]),
                ],
                heads: ["Type", "State", "Provider", "Person", "Received (UTC)", "#Until processed, ms", "#Readings", "Remark"].map(String::from).to_vec(),
                rows: rows.iter().map(|d| row(d, now)).collect(),
                next: rows.last().filter(|_| more).map(|r| here(&r.id.to_string())).unwrap_or_default(),
                first: if filter.before.is_some() { here("") } else { String::new() },
                filtered,
                empty: "Nothing has been delivered yet. Send a test event to /functions/v1/terra-webhook-test.".into(),
                ..Part::default()
            },
            Part {
                title: "Turned away, 24 hours".into(),
                note: "Counted by reason and address; nothing of them is kept.".into(),
                heads: ["Reason", "From", "#Times", "Last (UTC)"].map(String::from).to_vec(),
                rows: refused
                    .into_iter()
                    .map(|(reason, address, n, at)| vec![Cell::Text(reason.replace('_', " ")), Cell::Code(address), Cell::Number(text::count(n)), time(Some(at), now)])
                    .collect(),
                empty: "No delivery was turned away.".into(),
                ..Part::default()
            },
        ],
        ..Shown::default()
    })
}

fn row(d: &DeliveryRow, now: Instant) -> Vec<Cell> {
    vec![
        Cell::Link(format!("/admin/webhooks/{}", d.id), d.kind.clone()),
        Cell::State(d.status.clone()),
        words(d.provider.as_deref().map(|p| Source::from_provider(p).name()).as_deref()),
        person(d.user_id.as_deref()),
        time(Some(d.created_at), now),
        milliseconds(Some(d.created_at), d.processed_at),
        Cell::Number(text::count(i64::from(d.processed_count))),
        words(d.error.as_deref().map(|e| text::cut(e, 120)).as_deref()),
    ]
}

pub(super) async fn one(conn: &mut PgConnection, id: Uuid, now: Instant) -> sqlx::Result<Option<Shown>> {
    let Some(d) = browse::delivery(conn, id).await? else { return Ok(None) };
    let body = match serde_json::from_slice::<serde_json::Value>(&d.body) {
        Ok(json) => pretty(&json),
        Err(_) => text::cut(&String::from_utf8_lossy(&d.body), 60_000),
    };
    Ok(Some(Shown {
        title: format!("Delivery: {}", d.row.kind),
        lead: id.to_string(),
        up: Some(("/admin/webhooks".into(), "Webhooks".into())),
        warning: d.row.error.clone().filter(|_| matches!(d.row.status.as_str(), "failed" | "invalid" | "conflict")).unwrap_or_default(),
        facts: vec![
            ("State".into(), Cell::State(d.row.status.clone())),
            ("Remark".into(), words(d.row.error.as_deref())),
            ("Provider".into(), words(d.row.provider.as_deref())),
            ("Person".into(), person(d.row.user_id.as_deref())),
            ("Received".into(), time(Some(d.row.created_at), now)),
            ("Processed".into(), time(d.row.processed_at, now)),
            ("Readings".into(), Cell::Text(text::count(i64::from(d.row.processed_count)))),
            ("Job".into(), Cell::Link(format!("/admin/jobs/{id}"), "The job it made".into())),
            ("Trace id".into(), Cell::Code(d.row.trace_id.clone())),
            ("Size".into(), Cell::Text(format!("{} bytes", text::count(i64::from(d.size))))),
        ],
        texts: vec![("Body".into(), body), ("Headers".into(), pretty(&d.headers.0))],
        ..Shown::default()
    }))
}
