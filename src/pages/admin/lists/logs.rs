//! `/admin/logs`: what the functions wrote down, and who did what.

use super::{
    super::{
        screen::{Cell, Part, Shown},
        search::Search,
    },
    Chip, PAGE, Query, chip, counted, field, person, place, pretty, since_field, text, time, took, words,
};
use crate::{
    model::Instant,
    server::context::Request,
    store::{
        audit,
        log_lists::{self as store, COUNTED, Filter, WINDOW},
    },
};
use chrono::TimeDelta;
use sqlx::PgConnection;
use uuid::Uuid;

const LEVELS: [&str; 5] = ["", "error", "warn", "info", "debug"];
/// What can stand before a colon in the search box of the log.
const KNOWN: [&str; 4] = ["function", "request", "user", "level"];
/// The same for the audit log.
const AUDIT_KNOWN: [&str; 1] = ["action"];

fn tabs(current: &str) -> Vec<Chip> {
    [("", "Functions"), ("audit", "Audit")]
        .map(|(tab, words)| chip(words, String::new(), Query::href("logs", &[("tab", tab)]), tab == current))
        .to_vec()
}

pub(super) async fn list(conn: &mut PgConnection, query: &Query, now: Instant) -> sqlx::Result<Shown> {
    let (level, q, (since, from)) = (query.get("level"), query.get("q"), query.since(now));
    let search = Search::parse(&q, &KNOWN);
    let filter = Filter {
        level: if level.is_empty() { search.get("level") } else { Some(level.clone()) },
        function: search.get("function"),
        request_id: search.get("request"),
        user_id: search.get("user"),
        text: search.plain(),
        since: from,
    };
    let mut rows = store::page(conn, &filter, query.before(), PAGE as i64 + 1).await?;
    let more = rows.len() > PAGE;
    let whole = !more && query.before().is_none();
    let n = if whole { rows.len() as i64 } else { store::count(conn, &filter).await? };
    rows.truncate(PAGE);
    // Counted is the newest window; further back there may be more.
    let n = n.max(rows.len() as i64);
    let here = |before: &str| Query::href("logs", &[("level", &level), ("q", &q), ("since", &since), ("before", before)]);
    let further = if more { None } else { store::window_end(conn, &filter, query.before()).await? };
    let which = format!("the {} {}", if query.before().is_some() { "next" } else { "newest" }, text::count(WINDOW));
    let follow = query.get("follow") == "on" && query.before().is_none();
    let toggle = |words: &str, on: &str| {
        Cell::Link(Query::href("logs", &[("level", &level), ("q", &q), ("since", &since), ("follow", on)]), words.to_owned())
    };
    Ok(Shown {
        title: "Logs".into(),
        lead: "What the functions wrote down, newest first.".into(),
        follow,
        deeds: vec![if follow { toggle("Stop following", "") } else { toggle("Follow", "on") }],
        taken: Some(text::moment(now, now)),
        tabs: tabs(""),
        complaint: search.complaint(&KNOWN),
        parts: vec![Part {
            title: format!("{} {}", counted(n, COUNTED), if n == 1 { "line" } else { "lines" }),
            note: if filter.is_read() { format!("Level, function and message are looked for among {which} lines.") } else { String::new() },
            deeds: further.map(|end| Cell::Link(here(&place(end)), "Search further back".into())).into_iter().collect(),
            fields: vec![
                field("level", "Level", &level, &LEVELS),
                super::Field { label: "Written".into(), ..since_field(&since) },
                field("q", "Search", &q, &[]),
            ],
            help: "Part of a message, or function: request: user:".into(),
            heads: ["Time", "Level", "Function", "Message", "Request", "#Took"].map(String::from).to_vec(),
            rows: rows
                .iter()
                .map(|l| {
                    vec![
                        time(Some(l.timestamp), now),
                        Cell::State(l.level.clone()),
                        Cell::Code(l.function_name.clone()),
                        Cell::Text(text::cut(&l.message, 400)),
                        l.request_id
                            .as_deref()
                            .map_or(Cell::None, |r| Cell::Link(Query::href("logs", &[("q", &format!("request:{r}"))]), text::cut(r, 40))),
                        l.duration_ms.map_or(Cell::None, |ms| Cell::Number(took(TimeDelta::milliseconds(ms.into())))),
                    ]
                })
                .collect(),
            next: rows.last().filter(|_| more).map(|l| here(&place((l.timestamp, l.id)))).unwrap_or_default(),
            first: if query.before().is_some() { here("") } else { String::new() },
            // An empty window says so itself: that nothing matches at all is not known.
            filtered: further.is_none() && (filter != Filter::default() || query.before().is_some()),
            empty: if further.is_some() {
                format!("None of {which} lines matches. Older ones were not looked through.")
            } else {
                "Nothing was written down yet.".into()
            },
            ..Part::default()
        }],
        ..Shown::default()
    })
}

/// Who did what to what, newest first. Read as the caller, whom the database lets see it or not.
pub(super) async fn audit(request: &Request, query: &Query, now: Instant) -> sqlx::Result<Shown> {
    let Some(caller) = &request.caller else { return Ok(Shown::default()) };
    let (q, (since, from)) = (query.get("q"), query.since(now));
    let search = Search::parse(&q, &AUDIT_KNOWN);
    let filter = audit::Filter { text: search.plain(), action: search.get("action"), from, until: None };
    let before = Uuid::try_parse(&query.get("before")).ok();
    let mut rows = audit::search(&request.services.db, caller, &filter, before, PAGE as i64 + 1).await?;
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let here = |before: &str| Query::href("logs", &[("tab", "audit"), ("q", &q), ("since", &since), ("before", before)]);
    Ok(Shown {
        title: "Logs".into(),
        lead: "Who did what, when and from where. Entries are only ever added.".into(),
        taken: Some(text::moment(now, now)),
        tabs: tabs("audit"),
        complaint: search.complaint(&AUDIT_KNOWN),
        parts: vec![Part {
            title: "Entries, newest first".into(),
            fields: vec![super::Field { label: "Done".into(), ..since_field(&since) }, field("q", "Search", &q, &[])],
            keep: vec![("tab".into(), "audit".into())],
            clear: "/admin/logs?tab=audit".into(),
            help: "Who, or on what; action: is the beginning of a deed, such as action:jobs.".into(),
            heads: ["When", "Who", "What", "On what", "More", "From"].map(String::from).to_vec(),
            rows: rows
                .iter()
                .map(|e| {
                    vec![
                        time(Some(e.at), now),
                        Cell::Text(e.actor.clone()),
                        Cell::Code(e.action.clone()),
                        on_what(e),
                        detail(&e.detail),
                        words(e.address.as_deref()),
                    ]
                })
                .collect(),
            next: rows.last().filter(|_| more).map(|e| here(&e.id.to_string())).unwrap_or_default(),
            first: if before.is_some() { here("") } else { String::new() },
            filtered: !q.trim().is_empty() || !since.is_empty() || before.is_some(),
            empty: "Nothing was done yet that is written down.".into(),
            ..Part::default()
        }],
        ..Shown::default()
    })
}

/// What an entry is about: an account by its e-mail, a job or a person by its page.
fn on_what(e: &audit::Entry) -> Cell {
    let subject = e.subject.as_deref();
    match (&e.account, e.action.split('.').next()) {
        (Some(email), _) => Cell::Text(email.clone()),
        (None, Some("jobs")) => match subject.and_then(|s| Uuid::try_parse(s).ok()) {
            Some(id) => Cell::Link(format!("/admin/jobs/{id}"), id.to_string()),
            None => words(subject.map(|s| text::cut(s, 80)).as_deref()),
        },
        (None, Some("person" | "client" | "source" | "finding" | "backfill" | "test_event")) => person(subject),
        (None, _) => words(subject.map(|s| text::cut(s, 80)).as_deref()),
    }
}

/// The detail of an entry on one line; nothing where there is none.
fn detail(value: &serde_json::Value) -> Cell {
    match value {
        serde_json::Value::Null => Cell::None,
        serde_json::Value::Object(map) if map.is_empty() => Cell::None,
        other => Cell::Code(text::cut(&pretty(other).split_whitespace().collect::<Vec<_>>().join(" "), 200)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::store::testing;

    #[tokio::test]
    async fn an_empty_window_says_so_and_leads_further_back() {
        let t = testing::database().await;
        sqlx::raw_sql(
            "INSERT INTO edge_function_logs (timestamp, level, function_name, message)
             SELECT now() - n * interval '1 millisecond', 'info', CASE WHEN n > 25005 THEN 'rare' ELSE 'often' END, 'Line'
               FROM generate_series(1, 25008) n;
             ANALYZE edge_function_logs",
        )
        .execute(t.db.owner())
        .await
        .unwrap();
        let mut conn = t.db.service().acquire().await.unwrap();
        let now = chrono::Utc::now();
        let mut part = async |query: &str| list(&mut conn, &Query::parse(query), now).await.unwrap().parts.remove(0);
        let first = part("q=function:rare").await;
        assert_eq!((first.rows.len(), first.next.as_str(), first.filtered), (0, "", false));
        assert_eq!(first.note, "Level, function and message are looked for among the newest 25,000 lines.");
        assert!(first.empty.contains("None of the newest 25,000 lines matches"), "{}", first.empty);
        let further = match first.deeds.as_slice() {
            [Cell::Link(href, words)] if words == "Search further back" => href.clone(),
            other => panic!("{other:?}"),
        };
        let second = part(further.split_once('?').unwrap().1).await;
        assert_eq!((second.rows.len(), second.deeds.len(), second.filtered), (3, 0, true));
        assert_eq!(second.title, "3 lines");
        let all = part("").await;
        assert_eq!((all.note.as_str(), all.deeds.len()), ("", 0));
    }
}
