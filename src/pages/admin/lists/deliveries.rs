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
        person_jobs, tombstones,
        webhook_lists::{self as store, COUNTED, Detail, Filter, Row, WINDOW},
    },
    terra::EventKind,
};
use chrono::TimeDelta;
use leptos::server_fn::ServerFn;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

const STATES: [&str; 9] = ["", "pending", "processing", "completed", "failed", "parked", "ignored", "conflict", "invalid"];

/// Every type that is understood, and any.
pub(super) fn types() -> Vec<&'static str> {
    std::iter::once("").chain(EventKind::WORDS).collect()
}

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
    // Counted is the newest window; further back there may be more.
    let n = n.max(rows.len() as i64);
    let here =
        |before: &str| Query::href("webhooks", &[("status", &status), ("type", &kind), ("q", &q), ("since", &since), ("before", before)]);
    let further = if more { None } else { store::window_end(conn, &filter, query.before()).await? };
    let which = filter
        .window()
        .map(|n| format!("the {} {}", if query.before().is_some() { "next" } else { "newest" }, text::count(n)))
        .unwrap_or_default();
    Ok(Shown {
        title: "Webhooks".into(),
        lead: "Every delivery that carried a valid signature, exactly as it came.".into(),
        taken: Some(text::moment(now, now)),
        tabs: tabs(""),
        complaint: search.complaint(&KNOWN),
        parts: vec![Part {
            title: format!("{} {}, newest first", counted(n, COUNTED), if n == 1 { "delivery" } else { "deliveries" }),
            note: match filter.window() {
                _ if whole && further.is_none() => String::new(), // all there are were looked through
                None => String::new(),
                Some(store::READ) => format!("Headers and bodies are looked through for {which} deliveries."),
                Some(_) => format!("State, type and provider are looked for among {which} deliveries."),
            },
            deeds: further.map(|end| Cell::Link(here(&place(end)), "Search further back".into())).into_iter().collect(),
            fields: vec![
                field("status", "State", &status, &STATES),
                field("type", "Type", &kind, &types()),
                since_field(&since),
                field("q", "Search", &q, &[]),
            ],
            help: "A trace id, or user: provider: trace: body: header:".into(),
            heads: ["Type", "State", "Signature", "Provider", "Person", "Received", "#Until processed", "#Readings", "#Findings", "Remark"]
                .map(String::from)
                .to_vec(),
            rows: rows.iter().map(|d| row(d, now)).collect(),
            sorted: Some(5),
            next: rows.last().filter(|_| more).map(|r| here(&place((r.created_at, r.id)))).unwrap_or_default(),
            first: if query.before().is_some() { here("") } else { String::new() },
            // An empty window says so itself: that nothing matches at all is not known.
            filtered: further.is_none() && (filter != Filter::default() || query.before().is_some()),
            empty: if further.is_some() {
                format!("None of {which} deliveries matches. Older ones were not looked through.")
            } else {
                "Nothing has been delivered yet. Send a test event, or give Terra this server’s address.".into()
            },
            ..Part::default()
        }],
        ..Shown::default()
    })
}

fn row(d: &Row, now: Instant) -> Vec<Cell> {
    vec![
        Cell::Link(format!("/admin/webhooks/{}", d.id), if d.kind.is_empty() { "no type".into() } else { d.kind.clone() }),
        Cell::State(d.status.clone()),
        d.signed_by.as_ref().map_or(Cell::None, |_| Cell::Text("valid".into())),
        provider(d),
        person(d.user_id.as_deref()),
        time(Some(d.created_at), now),
        latency(d),
        Cell::Number(text::count(i64::from(d.processed_count))),
        Cell::Number(text::count(i64::from(d.findings))),
        words(d.error.as_deref().map(|e| text::cut(e, 120)).as_deref()),
    ]
}

fn provider(d: &Row) -> Cell {
    words(d.provider.as_deref().map(|p| Source::from_provider(p).name()).as_deref())
}

fn latency(d: &Row) -> Cell {
    d.processed_at.map_or(Cell::None, |at| Cell::Number(took(at - d.created_at)))
}

/// What is known of a stored delivery's signature. It was verified before it was stored; one that does not hold is turned away.
fn signature(d: &Row) -> Cell {
    Cell::Text(match &d.signed_by {
        Some(key) => format!("valid (key {key})"),
        None => "valid; with which key was not noted".into(),
    })
}

/// Rows a page of those that were turned away.
const REFUSED: i64 = 200;
/// No list of them goes on beyond this page.
const LAST_PAGE: i64 = 500;

/// Those that were turned away, by reason and address.
pub(super) async fn refused(conn: &mut PgConnection, query: &Query, now: Instant) -> sqlx::Result<Shown> {
    let (word, from) = query.since(now);
    let page = query.get("page").parse::<i64>().unwrap_or(1).clamp(1, LAST_PAGE);
    let rows = store::refused(conn, from.unwrap_or(now - TimeDelta::hours(24)), REFUSED, (page - 1) * REFUSED).await?;
    let (all, total, read) = rows.first().map_or((0, 0, 0), |r| (r.rows, r.total, r.read));
    let more = if read >= WINDOW { "+" } else { "" };
    let here = |page: &str| Query::href("webhooks", &[("tab", "refused"), ("since", &word), ("page", page)]);
    let times = [("", "last 24 hours"), ("1h", "last hour"), ("7d", "last 7 days"), ("30d", "last 30 days")];
    Ok(Shown {
        title: "Webhooks".into(),
        lead: "Requests that were no deliveries of Terra’s: counted by reason and address, nothing else of them is kept.".into(),
        taken: Some(text::moment(now, now)),
        tabs: tabs("refused"),
        parts: vec![Part {
            title: format!("{}{more} turned away", text::count(total)),
            note: if more.is_empty() {
                String::new()
            } else {
                format!("Added up are the newest {} minutes of a reason and address.", text::count(WINDOW))
            },
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
            sorted: Some(2),
            next: if page * REFUSED < all && page < LAST_PAGE { here(&(page + 1).to_string()) } else { String::new() },
            first: if page > 1 { here("") } else { String::new() },
            filtered: !word.is_empty() || page > 1,
            empty: "Nothing was turned away in the last 24 hours.".into(),
            ..Part::default()
        }],
        ..Shown::default()
    })
}

/// One delivery: as it came, and what came of it.
pub(super) async fn one(conn: &mut PgConnection, id: Uuid, now: Instant) -> sqlx::Result<Option<Shown>> {
    let Some(d) = store::one(conn, id).await? else { return Ok(None) };
    let jobs = person_jobs::of_delivery(conn, id, d.row.created_at, d.row.user_id.as_deref()).await?;
    let (records, values) = match &d.row.user_id {
        Some(user) => store::outcome(conn, id, user).await?,
        None => Default::default(),
    };
    let whole = i64::from(d.size) <= 65_536;
    let body = match serde_json::from_slice::<serde_json::Value>(&d.body) {
        Ok(json) => pretty(&json),
        Err(_) => text::cut(&String::from_utf8_lossy(&d.body), 60_000),
    };
    let erased = d.row.error.as_deref() == Some(tombstones::REASON);
    let again = !erased && !matches!(d.row.status.as_str(), "conflict" | "invalid" | "pending" | "processing");
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
        ("Signature".into(), signature(&d.row)),
        ("Remark".into(), words(d.row.error.as_deref())),
        ("Provider".into(), provider(&d.row)),
        ("Person".into(), person(d.row.user_id.as_deref())),
        ("Terra’s id of the connection".into(), d.terra_user_id.clone().map_or(Cell::None, Cell::Code)),
        ("Received".into(), time(Some(d.row.created_at), now)),
        ("Processed".into(), time(d.row.processed_at, now)),
        ("Until processed".into(), d.row.processed_at.map_or(Cell::None, |at| Cell::Text(took(at - d.row.created_at)))),
        ("Ordered by".into(), time(ordering, now)),
        ("Readings".into(), Cell::Text(text::count(i64::from(d.row.processed_count)))),
        ("Findings".into(), Cell::Text(text::count(i64::from(d.row.findings)))),
        ("Trace id".into(), Cell::Code(d.trace_id.clone())),
        ("Size".into(), Cell::Text(format!("{} bytes", text::count(i64::from(d.size))))),
    ]
}

fn made(jobs: &[person_jobs::DeliveryJob], now: Instant) -> Part {
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::store::testing;

    #[tokio::test]
    async fn what_was_turned_away_is_counted_whole_and_leafed_through() {
        let t = testing::database().await;
        sqlx::raw_sql("INSERT INTO refused_deliveries SELECT now() - make_interval(mins => n % 60), 'signature_missing', '10.0.0.' || n, 2 FROM generate_series(1, 230) n")
            .execute(t.db.owner())
            .await
            .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let mut part = async |query: &str| refused(&mut conn, &Query::parse(query), chrono::Utc::now()).await.unwrap().parts.remove(0);
        let first = part("tab=refused").await;
        assert_eq!((first.title.as_str(), first.rows.len()), ("460 turned away", 200));
        assert_eq!(first.next, "/admin/webhooks?tab=refused&page=2");
        let second = part("tab=refused&page=2").await;
        assert_eq!((second.title.as_str(), second.rows.len(), second.next.as_str()), ("460 turned away", 30, ""));
        assert_eq!(second.note, "");
        let sql = "INSERT INTO refused_deliveries
                   SELECT now() - make_interval(mins => (n % 60)::int), 'signature_stale', '10.0.0.' || n, 2 FROM generate_series(1, $1::int8) n";
        sqlx::query(sql).bind(WINDOW).execute(t.db.owner()).await.unwrap();
        let cut = part("tab=refused").await;
        let said = format!("{}+ turned away", text::count(2 * WINDOW));
        assert_eq!((cut.title, cut.note.as_str()), (said, "Added up are the newest 25,000 minutes of a reason and address."));
    }

    #[tokio::test]
    async fn a_search_that_ends_at_its_window_leads_further_back() {
        let t = testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO terra_webhooks_raw (id, trace_id, type, status, ordering_ms, body, created_at)
             SELECT app.uuid_v7(), 't' || n, 'daily', 'completed', 1, CASE WHEN n > 10005 THEN 'needle' ELSE '{}' END::bytea,
                    now() - n * interval '1 millisecond'
               FROM generate_series(1, 10008) n;
             ANALYZE terra_webhooks_raw",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let now = chrono::Utc::now();
        let mut part = async |query: &str| list(&mut conn, t.db.service(), &Query::parse(query), now).await.unwrap().parts.remove(0);
        let first = part("q=body:needle").await;
        assert_eq!((first.rows.len(), first.filtered), (0, false));
        assert_eq!(first.note, "Headers and bodies are looked through for the newest 10,000 deliveries.");
        assert!(first.empty.contains("None of the newest 10,000 deliveries matches"), "{}", first.empty);
        let further = match first.deeds.as_slice() {
            [Cell::Link(href, words)] if words == "Search further back" => href.clone(),
            other => panic!("{other:?}"),
        };
        let second = part(further.split_once('?').unwrap().1).await;
        assert_eq!((second.rows.len(), second.deeds.len(), second.filtered), (3, 0, true));
        assert_eq!(second.title, "3 deliveries, newest first");
        for whole in ["q=provider:garmin", "status=failed", ""] {
            let part = part(whole).await;
            assert_eq!((part.note.as_str(), part.deeds.len()), ("", 0), "{whole}");
        }
    }

    #[tokio::test]
    async fn a_delivery_says_by_which_key_it_was_signed_and_how_much_was_found() {
        let t = testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO terra_webhooks_raw (id, created_at, trace_id, type, status, ordering_ms, body, signed_by, findings)
             SELECT id, app.received_at(id), 't', 'daily', 'completed', 1, '{}', 'abc123', 7 FROM (SELECT app.uuid_v7() AS id) made",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let now = chrono::Utc::now();
        let page = list(&mut conn, t.db.service(), &Query::parse(""), now).await.unwrap();
        let row = &page.parts[0].rows[0];
        assert_eq!((&row[2], &row[8]), (&Cell::Text("valid".into()), &Cell::Number("7".into())));
        let Cell::Link(href, _) = &row[0] else { panic!("{row:?}") };
        let id = href.rsplit('/').next().unwrap().parse().unwrap();
        let detail = one(&mut conn, id, now).await.unwrap().unwrap();
        let fact = |name: &str| detail.facts.iter().find(|(n, _)| n == name).map(|(_, c)| c.clone());
        assert_eq!(fact("Signature"), Some(Cell::Text("valid (key abc123)".into())));
        assert_eq!(fact("Findings"), Some(Cell::Text("7".into())));
    }
}
