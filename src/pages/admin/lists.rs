//! Fills the administrator's lists. One file a list; all of them read as the caller,
//! but for the list of processes, the keys of deliveries and the audit log.

mod calibration;
mod dead_letters;
mod deliveries;
mod job;
mod jobs;
mod kinds;
mod logs;
mod registry;
mod replay;
mod settings;
mod system;
mod trainers;
mod trial;

use super::screen::{Cell, Chip, Field, Shown};
use crate::{components::text, error::AppError, model::Instant, pages::session::safe_next, server::context::Request};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

pub(super) use jobs::filter as job_filter;
pub(super) use registry::Wish;
pub(super) use replay::filter as replay_filter;
pub(super) use trial::order;

/// Rows a page.
pub(super) const PAGE: usize = 50;

/// The query of a URL.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let uri = format!("/?{}", text.trim_start_matches('?')).parse::<axum::http::Uri>();
        let pairs = uri.ok().and_then(|u| axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&u).ok());
        Self(pairs.map(|p| p.0).unwrap_or_default())
    }

    /// The value of a name, without what PostgreSQL cannot take; empty when absent.
    pub(super) fn get(&self, name: &str) -> String {
        let value = self.0.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.trim());
        text::cut(value, 400).replace('\0', "")
    }

    /// The value of a name as it is, blanks and length included: an id is taken as it stands.
    fn raw(&self, name: &str) -> String {
        self.all(name).next().unwrap_or_default().replace('\0', "")
    }

    /// All values of a name.
    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    fn some(&self, name: &str) -> Option<String> {
        Some(self.get(name)).filter(|v| !v.is_empty())
    }

    /// Where the page before ended: a time and an id; what is none is the beginning.
    fn before(&self) -> Option<(Instant, Uuid)> {
        placed(&self.get("before"))
    }

    /// The word of `since`, where it is one, and the time it means.
    fn since(&self, now: Instant) -> (String, Option<Instant>) {
        let word = self.get("since");
        match since(&word, now) {
            Some(from) => (word, Some(from)),
            None => (String::new(), None),
        }
    }

    /// The address of a list with the named values, without the empty ones.
    fn href(list: &str, pairs: &[(&str, &str)]) -> String {
        let query: Vec<String> = pairs.iter().filter(|(_, v)| !v.is_empty()).map(|(n, v)| format!("{n}={}", text::segment(v))).collect();
        if query.is_empty() { format!("/admin/{list}") } else { format!("/admin/{list}?{}", query.join("&")) }
    }
}

/// The page of a list, or of one thing of it.
pub(super) async fn load(list: &str, id: &str, query: &str) -> Result<Shown, AppError> {
    let request = Request::current()?;
    request.admin()?;
    let mut tx = request.read().await?;
    let (query, now) = (Query::parse(query), Utc::now());
    let db = |e: sqlx::Error| request.db(&e);
    let one = |what: &str| id.parse::<Uuid>().map_err(|_| AppError::not_found(what));
    match (list, id) {
        ("jobs", "") => jobs::list(&mut tx, &query, now).await.map_err(db),
        ("jobs", _) => job::one(&mut tx, one("This job")?, &query, now).await.map_err(db)?.ok_or_else(|| AppError::not_found("This job")),
        ("dead-letters", "") => dead_letters::list(&mut tx, &query, now).await.map_err(db),
        ("webhooks", "") => match query.get("tab").as_str() {
            "test" => trial::page(&request, &query).await,
            "refused" => deliveries::refused(&mut tx, &query, now).await.map_err(db),
            "replay" => replay::page(&mut tx, &query, now).await.map_err(db),
            _ => deliveries::list(&mut tx, request.services.db.service(), &query, now).await.map_err(db),
        },
        ("webhooks", _) => {
            deliveries::one(&mut tx, one("This delivery")?, now).await.map_err(db)?.ok_or_else(|| AppError::not_found("This delivery"))
        }
        ("logs", "") if query.get("tab") == "audit" => {
            drop(tx); // the log is read in a transaction of its own
            logs::audit(&request, &query, now).await.map_err(db)
        }
        ("logs", "") => logs::list(&mut tx, &query, now).await.map_err(db),
        ("calibration", "") => calibration::page(&mut tx, now).await.map_err(db),
        (registry::PATH, "") => match query.get("tab").as_str() {
            "studies" => registry::studies(&mut tx, &query).await.map_err(db),
            "shadow" => registry::beside(&mut tx, &query, now).await.map_err(db),
            _ => registry::metrics(&mut tx, &query).await.map_err(db),
        },
        (registry::PATH, metric) => registry::one(&mut tx, request.services.db.service(), metric, &query)
            .await
            .map_err(db)?
            .ok_or_else(|| AppError::not_found("This metric")),
        ("kinds", "") => kinds::list(&request.services.db, now).await.map_err(db),
        ("kinds", kind) => kinds::one(&request.services.db, kind, now).await.map_err(db)?.ok_or_else(|| AppError::not_found("This kind")),
        ("nodes", "") => system::nodes(request.services.db.service(), now).await.map_err(db),
        ("schedules", "") => system::schedules(&mut tx, now).await.map_err(db),
        ("limits", "") => system::limits(&mut tx, now).await.map_err(db),
        ("connections", "") => {
            let pulses = crate::store::arrivals::pulses_lately(&request.services.db, now).await.map_err(db)?;
            system::connections(&mut tx, &pulses, &query, now).await.map_err(db)
        }
        ("trainers", "") => trainers::list(&mut tx, &query, now).await.map_err(db),
        ("trainers", _) => {
            trainers::one(&mut tx, one("This trainer")?, &query, now).await.map_err(db)?.ok_or_else(|| AppError::not_found("This trainer"))
        }
        ("settings", "") => settings::list(&mut tx, now).await.map_err(db),
        _ => Err(AppError::not_found("This page")),
    }
}

/// In the window's title; one thing's name stands in the singular. It names nobody.
pub(super) fn title(list: &str, id: &str) -> &'static str {
    match (list, id.is_empty()) {
        ("jobs", true) => "Jobs",
        ("jobs", false) => "Job",
        ("dead-letters", _) => "Dead letters",
        ("webhooks", true) => "Webhooks",
        ("webhooks", false) => "Delivery",
        ("logs", _) => "Logs",
        ("nodes", _) => "Nodes",
        ("schedules", _) => "Schedules",
        ("kinds", _) => "Kinds of jobs",
        ("limits", _) => "Rate limits",
        ("connections", _) => "Connections",
        ("trainers", true) => "Trainers and clients",
        ("trainers", false) => "Trainer",
        ("settings", _) => "Settings",
        (registry::PATH, _) => "Registry",
        ("calibration", _) => "Calibration",
        _ => "Administration",
    }
}

fn time(at: Option<Instant>, now: Instant) -> Cell {
    at.map_or(Cell::None, |at| Cell::Time(text::moment(at, now)))
}

/// Who did something, and when.
fn by(entry: &crate::store::audit::Entry, now: Instant) -> Cell {
    Cell::Group(vec![Cell::Text(entry.actor.clone()), time(Some(entry.at), now)])
}

/// The fact who changed something last.
fn changed(entries: &[crate::store::audit::Entry], now: Instant) -> (String, Cell) {
    ("Last changed by".into(), entries.first().map_or(Cell::None, |e| by(e, now)))
}

fn words(text: Option<&str>) -> Cell {
    text.filter(|t| !t.is_empty()).map_or(Cell::None, |t| Cell::Text(t.to_owned()))
}

fn person(user_id: Option<&str>) -> Cell {
    user_id.map_or(Cell::None, |u| Cell::Link(format!("/clients/{}", text::segment(u)), text::cut(u, 40)))
}

/// An input; with words it is a choice, whose empty word means any.
fn field(name: &str, label: &str, value: &str, options: &[&str]) -> Field {
    let options = options.iter().map(|o| ((*o).to_owned(), if o.is_empty() { "any".into() } else { (*o).to_owned() })).collect();
    Field { name: name.into(), label: label.into(), value: value.into(), options, kind: "" }
}

/// The beginning of a time such as `24h`; a word that is none is no limit.
pub(super) fn since(word: &str, now: Instant) -> Option<Instant> {
    let back = match word {
        "1h" => TimeDelta::hours(1),
        "24h" => TimeDelta::hours(24),
        "7d" => TimeDelta::days(7),
        "30d" => TimeDelta::days(30),
        _ => return None,
    };
    Some(now - back)
}

/// The choice of a time.
fn since_field(value: &str) -> Field {
    let options = [("", "any time"), ("1h", "last hour"), ("24h", "last 24 hours"), ("7d", "last 7 days"), ("30d", "last 30 days")];
    Field { options: options.map(|(v, w)| (v.into(), w.into())).to_vec(), ..field("since", "Received", value, &[]) }
}

fn chip(label: &str, count: String, href: String, current: bool) -> Chip {
    Chip { label: label.into(), count, href, current }
}

/// A count that is exact up to a limit.
fn counted(n: i64, exact_to: i64) -> String {
    if n > exact_to { format!("{}+", text::count(exact_to)) } else { text::count(n.max(0)) }
}

/// A time and an id as one word of a URL.
fn place((at, id): (Instant, Uuid)) -> String {
    format!("{}-{}", at.timestamp_micros(), id.simple())
}

fn placed(word: &str) -> Option<(Instant, Uuid)> {
    let (at, id) = word.rsplit_once('-')?;
    Some((DateTime::from_timestamp_micros(at.parse().ok()?)?, Uuid::try_parse(id).ok()?))
}

/// Where a form leads after its work: the page it came from, with what came of it.
pub(super) fn with_notice(back: &str, notice: &str, n: Option<u64>) -> String {
    let mut to = safe_next(back).to_owned();
    to.push(if to.contains('?') { '&' } else { '?' });
    to.push_str(&format!("notice={notice}"));
    if let Some(n) = n {
        to.push_str(&format!("&n={n}"));
    }
    to
}

/// A duration as short as it is said.
fn took(delta: TimeDelta) -> String {
    match delta.num_milliseconds().max(0) {
        ms @ 0..1000 => format!("{ms} ms"),
        ms @ 1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => text::span(delta),
    }
}

fn pretty(value: &serde_json::Value) -> String {
    text::cut(&serde_json::to_string_pretty(value).unwrap_or_default(), 60_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_whatever_they_hold() {
        let q = Query::parse("?status=failed&kind=a%20b&before=1763900000123456-00000000000000000000000000000007&z=%00x");
        assert_eq!(
            (q.get("status").as_str(), q.get("kind").as_str(), q.get("absent").as_str(), q.get("z").as_str()),
            ("failed", "a b", "", "x")
        );
        assert!(q.before().is_some());
        for odd in ["?%ff=%zz", "?<>", "", "?before=yesterday"] {
            assert!(Query::parse(odd).before().is_none(), "{odd}");
        }
        assert_eq!(Query::href("jobs", &[("status", "failed"), ("kind", ""), ("user", "a/b")]), "/admin/jobs?status=failed&user=a%2Fb");
    }

    #[test]
    fn places_survive_the_url_and_nonsense_is_the_beginning() {
        let at = DateTime::from_timestamp_micros(1_763_900_000_123_456).unwrap_or_default();
        assert_eq!(placed(&place((at, Uuid::from_u128(7)))), Some((at, Uuid::from_u128(7))));
        for bad in ["", "-", "1-2", "x-00000000000000000000000000000007", "99999999999999999999-00000000000000000000000000000007"] {
            assert_eq!(placed(bad), None, "{bad}");
        }
    }

    #[test]
    fn forms_lead_back_to_our_pages_only() {
        assert_eq!(with_notice("/admin/jobs?status=failed", "jobs-retried", Some(3)), "/admin/jobs?status=failed&notice=jobs-retried&n=3");
        assert_eq!(with_notice("//evil.example", "x", None), "/?notice=x");
    }

    #[test]
    fn counts_are_exact_or_say_that_they_are_not() {
        assert_eq!((counted(10_000, 10_000), counted(10_001, 10_000)), ("10,000".into(), "10,000+".into()));
    }
}
