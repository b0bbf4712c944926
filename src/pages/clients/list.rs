//! The list of clients: read set-wise, a page at a time, and made ready to show.

use super::{
    people::server::KEY,
    query::{LAST_PAGE, Query},
    words,
};
use crate::{
    components::{Moment, text},
    error::AppError,
    model::{Instant, Metric},
    pages::made::Made,
    quality::{Registry, currency},
    rescore,
    server::context::Request,
    store::{
        advice::{self, AdviceRow},
        clients::{self, LatestRow},
        roster::{self, Counts, LinkRow, Links, RosterRow, Sort, Wish},
    },
};
use chrono::{Days, NaiveDate, TimeDelta, Utc};
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
    /// Provider.
    pub source: String,
    /// How old, with its day where that is long ago.
    pub age: String,
    /// Whether it can be acted on today, and in which tone that is said.
    pub act: (&'static str, &'static str),
    /// What takes most from its score.
    pub reason: String,
    /// What it is suspected of.
    pub doubts: String,
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
    pub counts: Counts,
    pub more: bool,
    /// More people follow than can be leafed to.
    pub cut: bool,
    pub page: u32,
}

/// What an address asks for; unknown words are the usual ones.
pub(super) fn wish(query: &Query, registry: &Registry, now: Instant) -> Wish {
    let metric = Metric::from_key(&query.get("metric"));
    let tier = query.get("tier");
    Wish {
        search: query.get("q"),
        metric,
        tier: match tier.as_str() {
            "excellent" => Some((80, 100)),
            "good" => Some((60, 79)),
            "fair" => Some((40, 59)),
            "poor" => Some((0, 39)),
            "doubted" => Some((0, 59)),
            _ => None,
        },
        unknown: tier == "unknown",
        before: metric.filter(|_| tier == "old").map(|m| out_of_date(m, registry, now)),
        since: query.on("week").then(|| (now - TimeDelta::days(6)).date_naive()),
        links: Links::of(&query.get("links")),
        sort: Sort::of(&query.get("sort")),
    }
}

/// The day before which a metric's newest value speaks for today with less than a quarter: two half-lives after the day's end.
fn out_of_date(metric: Metric, registry: &Registry, now: Instant) -> NaiveDate {
    let hours = registry.rule(metric).map_or(48.0, |r| 2.0 * r.half_life_hours);
    (now - TimeDelta::minutes((hours * 60.0) as i64)).date_naive()
}

/// The page of an address.
pub(super) async fn load(query: &str) -> Result<Made, AppError> {
    let request = Request::current()?;
    let role = request.account()?.role;
    let db = |e: sqlx::Error| request.db(&e);
    let registry = rescore::registry(&mut *request.services.db.service().acquire().await.map_err(db)?).await.map_err(db)?;
    let mut tx = request.read().await?;
    let query = Query::parse("/clients", query);
    let now = Utc::now();
    let (wish, page) = (wish(&query, &registry, now), query.page());
    let mut rows = roster::page(&mut tx, role, &wish, now, PAGE + 1, i64::from(page - 1) * PAGE).await.map_err(db)?;
    let (more, cut) = follows(rows.len(), page);
    rows.truncate(PAGE as usize);
    let old = wish.metric.map_or(now.date_naive(), |m| out_of_date(m, &registry, now));
    let counts = roster::counts(&mut tx, role, wish.metric, old, now).await.map_err(db)?;
    let columns = wish.metric.map_or_else(|| KEY.to_vec(), |m| vec![m]);
    let mut clients = clients(&mut tx, rows, &columns, &registry, now).await.map_err(db)?;
    if wish.metric.is_some() && wish.sort == Sort::Trust {
        // The figures are newer than the order: what is shown stands in its order.
        clients.sort_by_key(|c| c.values.iter().flatten().next().map_or((true, None), |v| (v.score.is_none(), v.score)));
    }
    Ok(Made::at("People", super::list_view::shown(Roster { query, wish, columns, clients, counts, more, cut, page }).to_html(), now))
}

/// Whether a next page follows, and whether the list has to be cut off here, by how many were found of one more than a page.
fn follows(found: usize, page: u32) -> (bool, bool) {
    let more = found as i64 > PAGE;
    (more && page < LAST_PAGE, more && page >= LAST_PAGE)
}

/// Adds values, strips, connections and advice: one statement each for all rows.
async fn clients(
    conn: &mut PgConnection,
    rows: Vec<RosterRow>,
    columns: &[Metric],
    registry: &Registry,
    now: Instant,
) -> sqlx::Result<Vec<Client>> {
    let users: Vec<String> = rows.iter().map(|r| r.user_id.clone()).collect();
    let latest = clients::latest(conn, &users, &columns.iter().map(|m| m.key().to_owned()).collect::<Vec<_>>()).await?;
    let today = now.date_naive();
    let from = today - Days::new(STRIP as u64 - 1);
    let mut came: HashMap<String, HashMap<NaiveDate, i64>> = HashMap::new();
    for (user, day, n) in roster::came(conn, &users, from).await? {
        came.entry(user).or_default().insert(day, n);
    }
    let advice = advice::of(conn, &users).await?;
    let mut links: HashMap<String, LinkRow> = roster::links(conn, &users, now).await?.into_iter().map(|l| (l.user_id.clone(), l)).collect();
    let by_key: HashMap<(&str, &str), &LatestRow> = latest.iter().map(|l| ((l.user_id.as_str(), l.metric_name.as_str()), l)).collect();
    Ok(rows
        .into_iter()
        .map(|r| {
            let of = |m: &Metric| by_key.get(&(r.user_id.as_str(), m.key())).copied();
            let links = links.remove(&r.user_id).unwrap_or_default();
            let strip = strip(came.get(&r.user_id), from);
            Client {
                href: format!("/clients/{}", text::segment(&r.user_id)),
                average: r.average.map(|a| a.round() as i32),
                values: columns.iter().map(|m| of(m).map(|l| value(*m, l, registry, now))).collect(),
                gain: gain(columns.iter().filter_map(of), &advice, columns.len() > 1),
                strip: spoken(&strip),
                came: strip,
                silent: links.silent.iter().map(|p| words::provider(p)).collect(),
                broken: links.broken.iter().map(|p| words::provider(p)).collect(),
                last_data: links.last_data_at.map(|at| text::moment(at, now)),
                simulated: r.simulated,
                name: text::cut(r.label.as_deref().unwrap_or(&r.user_id), 60),
            }
        })
        .collect())
}

fn value(metric: Metric, l: &LatestRow, registry: &Registry, now: Instant) -> Value {
    let hours = currency::age_hours(l.measured_at, l.measurement_date, l.received_at, now);
    let doubts: Vec<String> = l.doubts.iter().map(|d| words::doubt(d)).collect();
    let act = words::act_on(l.confidence_score, registry, metric, l.measurement_date, now);
    let reason = match words::reason(words::points(l), l.confidence_score) {
        _ if metric.is_vendor_score() => "A vendor’s own scale".to_owned(),
        _ if l.confidence_score.is_none() => "Not scored yet".to_owned(),
        nothing if nothing.is_empty() && act.0 == "Out of date" => format!("Nothing newer for {}", words::age(hours)),
        reason => reason,
    };
    Value {
        score: l.confidence_score,
        amount: words::amount(metric, l.value),
        source: words::provider(&l.source),
        age: words::age(hours) + &words::old_day(hours, l.measurement_date, now.date_naive()),
        act,
        reason,
        doubts: if doubts.is_empty() { String::new() } else { format!("Suspected: {}", doubts.join(", ")) },
        href: format!("/clients/{}/{}/{}?source={}", text::segment(&l.user_id), metric.key(), l.measurement_date, text::segment(&l.source)),
    }
}

/// The best advice on the values shown. Advice on another day's value says nothing of these.
fn gain<'a>(shown: impl Iterator<Item = &'a LatestRow>, advice: &[AdviceRow], named: bool) -> Option<(i32, String)> {
    let fits = |l: &LatestRow| advice.iter().find(|a| a.speaks_of(l));
    let best = shown.filter_map(fits).max_by_key(|a| a.points)?;
    let metric = Metric::from_key(&best.metric_name)?;
    let text = if best.points > 0 && named { format!("{}: {}", metric.name(), best.advice) } else { best.advice.clone() };
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
        let now = chrono::DateTime::from_timestamp(1_763_900_000, 0).unwrap();
        let read = |query: &str| wish(&Query::parse("/clients", query), Registry::built_in(), now);
        let w = read("?metric=hrv_rmssd&tier=doubted&sort=gain&links=silent&q=an");
        assert_eq!((w.metric, w.tier, w.sort, w.links), (Some(Metric::HrvRmssd), Some((0, 59)), Sort::Gain, Links::Silent));
        assert_eq!(read("?metric=x&tier=%ff&sort=;&links=1"), Wish::default());
        assert_eq!(read("?tier=old"), Wish::default(), "what is old depends on the metric");
        assert_eq!(read("?tier=unknown"), Wish { unknown: true, ..Wish::default() });
        assert!(read("?week=1").since.is_some_and(|day| (now.date_naive() - day).num_days() == 6));
    }

    #[test]
    fn no_link_leads_beyond_the_last_page_and_the_list_says_that_it_is_cut() {
        assert_eq!(follows(26, 1), (true, false));
        assert_eq!(follows(25, 1), (false, false));
        assert_eq!(follows(26, LAST_PAGE), (false, true));
        assert_eq!(follows(3, LAST_PAGE), (false, false));
    }

    #[test]
    fn a_value_is_out_of_date_on_the_day_from_which_it_is_called_so() {
        let now = chrono::DateTime::from_timestamp(1_763_900_000, 0).unwrap();
        let registry = Registry::built_in();
        for metric in KEY {
            let first = out_of_date(metric, registry, now);
            let called = |day: NaiveDate| words::act_on(Some(90), registry, metric, day, now).0;
            assert_eq!(called(first - Days::new(1)), "Out of date", "{metric:?}");
            assert_eq!(called(first), "Yes", "{metric:?}");
        }
    }
}
