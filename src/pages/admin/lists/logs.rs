//! `/admin/logs`: what the functions wrote down.

use super::{super::screen::{Cell, Part, Shown}, PAGE, Query, field, text, time, words};
use crate::{model::Instant, store::browse};
use sqlx::PgConnection;

const LEVELS: [&str; 5] = ["", "error", "warn", "info", "debug"];

pub(super) async fn list(conn: &mut PgConnection, query: &Query, now: Instant) -> sqlx::Result<Shown> {
    let level = Some(query.get("level")).filter(|l| LEVELS.contains(&l.as_str())).unwrap_or_default();
    let (function, words_in, before) = (query.get("function"), query.get("q"), query.before());
    let mut rows = browse::logs(conn, &level, &function, &words_in, before, PAGE as i64 + 1).await?;
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let here = |before: &str| Query::href("logs", &[("level", &level), ("function", &function), ("q", &words_in), ("before", before)]);
    Ok(Shown {
        title: "Logs".into(),
        lead: "The last 31 days of what the functions wrote down.".into(),
        parts: vec![Part {
            title: "Lines, newest first".into(),
            fields: vec![field("level", "Level", &level, &LEVELS), field("function", "Function", &function, &[]), field("q", "Text or request id", &words_in, &[])],
            heads: ["Time (UTC)", "Level", "Function", "Message", "Request", "#ms"].map(String::from).to_vec(),
            rows: rows
                .iter()
                .map(|l| {
                    vec![
                        time(Some(l.timestamp), now),
                        Cell::State(l.level.clone()),
                        Cell::Code(l.function_name.clone()),
                        Cell::Text(text::cut(&l.message, 400)),
                        words(l.request_id.as_deref()),
                        l.duration_ms.map_or(Cell::None, |ms| Cell::Number(text::count(i64::from(ms)))),
                    ]
                })
                .collect(),
            next: rows.last().filter(|_| more).map(|r| here(&r.timestamp.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))).unwrap_or_default(),
            first: if before.is_some() { here("") } else { String::new() },
            filtered: !level.is_empty() || !function.is_empty() || !words_in.is_empty() || before.is_some(),
            empty: "Nothing was written down yet.".into(),
            ..Part::default()
        }],
        ..Shown::default()
    })
}
