//! Fills the administrator's lists. One file a list; all of them read as the caller,
//! but for the list of processes.

mod dead_letters;
mod deliveries;
mod jobs;
mod logs;
mod settings;

use super::screen::{Cell, Chip, Field, Shown};
use crate::{components::text, error::AppError, model::Instant, server::context::Request};
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Rows a page.
const PAGE: usize = 50;

/// The query of a URL.
struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Self {
        let uri = format!("/?{}", text.trim_start_matches('?')).parse::<axum::http::Uri>();
        let pairs = uri.ok().and_then(|u| axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&u).ok());
        Self(pairs.map(|p| p.0).unwrap_or_default())
    }

    /// The value of a name, without what PostgreSQL cannot take; empty when absent.
    fn get(&self, name: &str) -> String {
        let value = self.0.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.trim());
        text::cut(value, 200).replace('\0', "")
    }

    fn some(&self, name: &str) -> Option<String> {
        Some(self.get(name)).filter(|v| !v.is_empty())
    }

    fn before(&self) -> Option<Instant> {
        DateTime::parse_from_rfc3339(&self.get("before")).ok().map(|t| t.to_utc())
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
        ("jobs", _) => jobs::one(&mut tx, one("This job")?, now).await.map_err(db)?.ok_or_else(|| AppError::not_found("This job")),
        ("dead-letters", "") => dead_letters::list(&mut tx, &query, now).await.map_err(db),
        ("webhooks", "") => deliveries::list(&mut tx, &query, now).await.map_err(db),
        ("webhooks", _) => deliveries::one(&mut tx, one("This delivery")?, now).await.map_err(db)?.ok_or_else(|| AppError::not_found("This delivery")),
        ("logs", "") => logs::list(&mut tx, &query, now).await.map_err(db),
        ("settings", "") => settings::list(&mut tx, request.services.db.service(), now).await.map_err(db),
        _ => Err(AppError::not_found("This page")),
    }
}

fn time(at: Option<Instant>, now: Instant) -> Cell {
    at.map_or(Cell::None, |at| Cell::Time(text::moment(at, now)))
}

fn words(text: Option<&str>) -> Cell {
    text.filter(|t| !t.is_empty()).map_or(Cell::None, |t| Cell::Text(t.to_owned()))
}

fn person(user_id: Option<&str>) -> Cell {
    user_id.map_or(Cell::None, |u| Cell::Link(format!("/clients/{}", text::segment(u)), text::cut(u, 40)))
}

fn field(name: &str, label: &str, value: &str, options: &[&str]) -> Field {
    Field { name: name.into(), label: label.into(), value: value.into(), options: options.iter().map(|o| (*o).into()).collect() }
}

fn chip(label: &str, count: i64, href: String, current: bool) -> Chip {
    Chip { label: label.into(), count: text::count(count.max(0)), href, current }
}

fn milliseconds(from: Option<Instant>, to: Option<Instant>) -> Cell {
    match (from, to) {
        (Some(from), Some(to)) => Cell::Number(text::count((to - from).num_milliseconds().max(0))),
        _ => Cell::None,
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
        let q = Query::parse("?status=failed&kind=a%20b&before=2026-11-23T18%3A00%3A00Z&z=%00x");
        assert_eq!((q.get("status").as_str(), q.get("kind").as_str(), q.get("absent").as_str(), q.get("z").as_str()), ("failed", "a b", "", "x"));
        assert!(q.before().is_some());
        for odd in ["?%ff=%zz", "?<>", "", "?before=yesterday"] {
            assert!(Query::parse(odd).before().is_none(), "{odd}");
        }
        assert_eq!(Query::href("jobs", &[("status", "failed"), ("kind", ""), ("user", "a/b")]), "/admin/jobs?status=failed&user=a%2Fb");
    }
}
