//! The list of clients: read set-wise, a page at a time, and made ready to show.

use super::{people::server::KEY, query::Query, words};
use crate::{
    components::{Moment, text},
    error::AppError,
    model::{Instant, Metric},
    pages::made::Made,
    server::context::Request,
    store::{
        advice::{self, AdviceRow},
        clients::{self, LatestRow},
        roster::{self, Links, RosterRow, Sort, Wish},
    },
};
use chrono::{Days, NaiveDate, Utc};
use leptos::prelude::RenderHtml;
use sqlx::PgConnection;
use std::collections::HashMap;

/// Clients a page.
const PAGE: i64 = 25;
/// Days of the strip.
pub(super) const STRIP: usize = 14;

/// A metric's newest value in the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Value {
    pub score: Option<i32>,
    /// With its unit.
    pub amount: String,
    /// Provider and day.
    pub source: String,
    /// How old.
    pub age: String,
    /// What takes most from its score.
    pub reason: String,
    /// Where it is explained.
    pub href: String,
}

/// What came on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// Nothing.
    Nothing,
    /// Less than four fifths of the person's most.
    Part,
    /// About as much as ever.
    Full,
}

/// A client in the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Client {
    pub name: String,
    pub href: String,
    pub simulated: bool,
    pub average: Option<i32>,
    /// By column; absent when there is no value.
    pub values: Vec<Option<Value>>,
    pub silent: Vec<String>,
    pub broken: Vec<String>,
    /// Oldest first; empty without any data.
    pub came: Vec<Came>,
    pub strip: String,
    /// Most points that can be gained, of which metric and by what; absent when nothing was worked out.
    pub gain: Option<(i32, String)>,
    pub last_data: Option<Moment>,
}

/// A page of the list.
pub(super) struct Roster {
    pub query: Query,
    pub wish: Wish,
    /// The metrics shown.
    pub columns: Vec<Metric>,
    pub clients: Vec<Client>,
    pub more: bool,
    pub page: u32,
}

/// What an address asks for; unknown words are the usual ones.
pub(super) fn wish(query: &Query) -> Wish {
    Wish {
        search: query.get("q"),
        metric: Metric::from_key(&query.get("metric")),
        tier: match query.get("tier").as_str() {
            "excellent" => Some((80, 100)),
            "good" => Some((60, 79)),
            "fair" => Some((40, 59)),
            "poor" => Some((0, 39)),
            "doubted" => Some((0, 59)),
            _ => None,
        },
        links: Links::of(&query.get("links")),
        sort: Sort::of(&query.get("sort")),
    }
}

/// The page of an address.
pub(super) async fn load(query: &str) -> Result<Made, AppError> {
    let request = Request::current()?;
    let mut tx = request.read().await?;
    let query = Query::parse("/clients", query);
    let (wish, page, now) = (wish(&query), query.page(), Utc::now());
    let db = |e: sqlx::Error| request.db(&e);
    let mut rows = roster::page(&mut tx, &wish, now, PAGE + 1, i64::from(page - 1) * PAGE).await.map_err(db)?;
    let more = rows.len() as i64 > PAGE;
    rows.truncate(PAGE as usize);
    let columns = wish.metric.map_or_else(|| KEY.to_vec(), |m| vec![m]);
    let clients = clients(&mut tx, rows, &columns, now).await.map_err(db)?;
    Ok(Made::of("People", super::list_view::shown(Roster { query, wish, columns, clients, more, page }).to_html()))
}

/// Adds values, strips and advice: one statement each for all rows.
async fn clients(conn: &mut PgConnection, rows: Vec<RosterRow>, columns: &[Metric], now: Instant) -> sqlx::Result<Vec<Client>> {
    let users: Vec<String> = rows.iter().map(|r| r.user_id.clone()).collect();
    let latest = clients::latest(conn, &users, &columns.iter().map(|m| m.key().to_owned()).collect::<Vec<_>>()).await?;
    let hits = latest.iter().filter(|l| l.confidence_score.is_some()).count() as i64;
    clients::count_reads(hits, latest.len() as i64 - hits);
    let today = now.date_naive();
    let from = today - Days::new(STRIP as u64 - 1);
    let mut came: HashMap<String, HashMap<NaiveDate, i64>> = HashMap::new();
    for (user, day, n) in roster::came(conn, &users, from).await? {
        came.entry(user).or_default().insert(day, n);
    }
    let advice = advice::of(conn, &users).await?;
    let by_key: HashMap<(&str, &str), &LatestRow> = latest.iter().map(|l| ((l.user_id.as_str(), l.metric_name.as_str()), l)).collect();
    Ok(rows
        .into_iter()
        .map(|r| {
            let of = |m: &Metric| by_key.get(&(r.user_id.as_str(), m.key())).copied();
            let days = came.get(&r.user_id);
            let strip = strip(days, from);
            Client {
                href: format!("/clients/{}", text::segment(&r.user_id)),
                average: r.average.map(|a| a.round() as i32),
                values: columns.iter().map(|m| of(m).map(|l| value(*m, l, now))).collect(),
                gain: gain(columns.iter().filter_map(of), &advice),
                strip: spoken(&strip),
                came: strip,
                silent: r.silent.iter().map(|p| words::provider(p)).collect(),
                broken: r.broken.iter().map(|p| words::provider(p)).collect(),
                last_data: r.last_data_at.map(|at| text::moment(at, now)),
                simulated: r.simulated,
                name: text::cut(r.label.as_deref().unwrap_or(&r.user_id), 60),
            }
        })
        .collect())
}

fn value(metric: Metric, l: &LatestRow, now: Instant) -> Value {
    let age = text::moment(words::ended(l.measured_at, l.measurement_date, now), now).ago;
    Value {
        score: l.confidence_score,
        amount: words::amount(metric, l.value),
        source: words::provider(&l.source),
        age: if age == "just now" { "today".to_owned() } else { age },
        reason: words::reason(words::points(l), l.confidence_score),
        href: format!("/clients/{}/{}/{}?source={}", text::segment(&l.user_id), metric.key(), l.measurement_date, text::segment(&l.source)),
    }
}

/// The best advice on the values shown. Advice on another day's value says nothing of these.
fn gain<'a>(shown: impl Iterator<Item = &'a LatestRow>, advice: &[AdviceRow]) -> Option<(i32, String)> {
    let fits = |l: &LatestRow| {
        advice.iter().find(|a| {
            a.user_id == l.user_id && a.metric_name == l.metric_name && a.source == l.source && a.measurement_date == l.measurement_date
        })
    };
    let best = shown.filter_map(fits).max_by_key(|a| a.points)?;
    let metric = Metric::from_key(&best.metric_name)?;
    let text = if best.points > 0 { format!("{}: {}", metric.name(), best.advice) } else { best.advice.clone() };
    Some((best.points, text))
}

/// What came on each day, compared with the day on which most came.
fn strip(days: Option<&HashMap<NaiveDate, i64>>, from: NaiveDate) -> Vec<Came> {
    let Some(days) = days else { return vec![Came::Nothing; STRIP] };
    let most = days.values().copied().max().unwrap_or(0);
    from.iter_days()
        .take(STRIP)
        .map(|d| match days.get(&d).copied().unwrap_or(0) {
            0 => Came::Nothing,
            n if n * 5 >= most * 4 => Came::Full,
            _ => Came::Part,
        })
        .collect()
}

fn spoken(strip: &[Came]) -> String {
    let of = |what| strip.iter().filter(|c| **c == what).count();
    format!("Last {STRIP} days: {} full, {} partial, {} without data", of(Came::Full), of(Came::Part), of(Came::Nothing))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_day_with_less_than_usual_is_partial_and_one_without_data_is_empty() {
        let from = NaiveDate::from_ymd_opt(2026, 11, 1).unwrap();
        let days = HashMap::from([(from, 10), (from + Days::new(1), 8), (from + Days::new(2), 7)]);
        let found = strip(Some(&days), from);
        assert_eq!(found[..4], [Came::Full, Came::Full, Came::Part, Came::Nothing]);
        assert_eq!(found.len(), STRIP);
        assert_eq!(spoken(&found), "Last 14 days: 2 full, 1 partial, 11 without data");
        assert_eq!(strip(None, from), [Came::Nothing; STRIP]);
    }

    #[test]
    fn an_address_is_read_leniently() {
        let w = wish(&Query::parse("/clients", "?metric=hrv_rmssd&tier=doubted&sort=gain&links=silent&q=an"));
        assert_eq!((w.metric, w.tier, w.sort, w.links), (Some(Metric::HrvRmssd), Some((0, 59)), Sort::Gain, Links::Silent));
        assert_eq!(wish(&Query::parse("/clients", "?metric=x&tier=%ff&sort=;&links=1")), Wish::default());
    }
}
