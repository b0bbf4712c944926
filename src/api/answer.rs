//! What goes out: JSON or CSV, with an ETag of its content, and 304 where the asker has it already.
//!
//! The tag is weak, because a proxy or our own compression may recode the bytes. It changes whenever a number, its
//! quality or its currency (to two decimals) does: nothing in an answer is a clock.

use super::{
    gate::{Ask, if_none_match},
    problem::Problem,
    query::Query,
};
use crate::store::audit::csv_field;
use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

/// The forms an answer comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Form {
    /// `application/json`.
    Json,
    /// `text/csv` (RFC 4180, UTF-8, with a header line).
    Csv,
}

impl Form {
    /// By `format`, else by `Accept`, else JSON.
    ///
    /// # Errors
    /// 406 when `Accept` allows neither.
    pub fn wanted(query: &mut Query, headers: &HeaderMap) -> Result<Self, Problem> {
        match query.text("format").as_deref() {
            Some("json") => return Ok(Self::Json),
            Some("csv") => return Ok(Self::Csv),
            Some(_) => query.refuse("format", "json or csv."),
            None => {}
        }
        let accept: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).collect();
        if accept.is_empty() {
            return Ok(Self::Json);
        }
        let (json, csv) = (quality(&accept, "application", "json"), quality(&accept, "text", "csv"));
        match (json > 0.0, csv > json) {
            (_, true) => Ok(Self::Csv),
            (true, false) => Ok(Self::Json),
            (false, false) => Err(Problem::not_acceptable()),
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }
}

/// How much a media type is wanted, 0–1: the most specific range that fits it decides (RFC 9110, 12.5.1).
fn quality(accept: &[&str], kind: &str, form: &str) -> f32 {
    let mut best = (0, 0.0);
    for range in accept {
        let mut words = range.split(';').map(str::trim);
        let Some((k, f)) = words.next().and_then(|r| r.split_once('/')) else { continue };
        let specific = match (k.eq_ignore_ascii_case(kind), f.eq_ignore_ascii_case(form), k, f) {
            (true, true, ..) => 3,
            (true, _, _, "*") => 2,
            (_, _, "*", "*") => 1,
            _ => continue,
        };
        let q = words.find_map(|w| w.strip_prefix("q=").or_else(|| w.strip_prefix("Q="))).map_or(1.0, |q| q.parse().unwrap_or(0.0));
        if specific > best.0 {
            best = (specific, q);
        }
    }
    best.1
}

/// A page of rows.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// The next page's cursor; null on the last page. The whole address stands in the header `Link`.
    pub next: Option<String>,
}

/// What can be a line of CSV.
pub trait Line {
    /// Names of the columns.
    fn columns() -> Vec<&'static str>;
    /// The fields, in the columns' order; texts are quoted and guarded here, by [`text`].
    fn fields(&self) -> Vec<String>;
}

/// A text in CSV, quoted, and guarded against spreadsheets that would run it.
pub fn text(text: &str) -> String {
    csv_field(text)
}

/// A number, or nothing.
pub fn maybe<T: ToString>(value: Option<T>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

/// A moment as the JSON has it.
pub fn moment(at: chrono::DateTime<chrono::Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

impl Ask {
    /// A page in the wanted form.
    pub fn page<T: Serialize + Line>(&self, form: Form, data: Vec<T>, next: Option<String>) -> Response {
        let link = next.as_deref().map(|cursor| self.next_address(cursor));
        let body = match form {
            Form::Json => serde_json::to_string(&Page { data, next }).unwrap_or_default(),
            Form::Csv => lines(&data),
        };
        let mut response = tagged(self.headers(), form.content_type(), body);
        if let Some(value) = link.and_then(|l| HeaderValue::from_str(&l).ok()) {
            response.headers_mut().insert(header::LINK, value);
        }
        response
    }

    /// One thing; as CSV a single line.
    pub fn one<T: Serialize + Line>(&self, form: Form, thing: &T) -> Response {
        let body = match form {
            Form::Json => serde_json::to_string(thing).unwrap_or_default(),
            Form::Csv => lines(std::slice::from_ref(thing)),
        };
        tagged(self.headers(), form.content_type(), body)
    }

    /// This request with another cursor (RFC 8288).
    fn next_address(&self, cursor: &str) -> String {
        let kept: Vec<&str> = self.raw_query.split('&').filter(|p| !p.is_empty() && !p.starts_with("cursor=")).collect();
        let and = if kept.is_empty() { "" } else { "&" };
        format!("<{}?{}{and}cursor={cursor}>; rel=\"next\"", self.path, kept.join("&"))
    }
}

fn lines<T: Line>(rows: &[T]) -> String {
    let mut out = T::columns().join(",");
    out.push_str("\r\n");
    for row in rows {
        out.push_str(&row.fields().join(","));
        out.push_str("\r\n");
    }
    out
}

/// The description itself: public, the same for everybody until the next version.
pub fn document(body: &str, headers: &HeaderMap) -> Response {
    tagged(headers, "application/json", body.to_owned())
}

/// An answer with its tag, or 304.
fn tagged(asked: &HeaderMap, kind: &'static str, body: String) -> Response {
    let digest = Sha256::new().chain_update(kind.as_bytes()).chain_update([0]).chain_update(body.as_bytes()).finalize();
    let tag = format!("W/\"{}\"", hex::encode(&digest[..12]));
    let known = if_none_match(asked).any(|t| t == "*" || t.trim_start_matches("W/") == tag.trim_start_matches("W/"));
    let headers = [
        (header::ETAG, HeaderValue::from_str(&tag).unwrap_or_else(|_| HeaderValue::from_static("W/\"\""))),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
        (header::VARY, HeaderValue::from_static("accept, authorization")),
    ];
    if known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, kind)], body).into_response()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_the_one_most_wanted() {
        let wanted = |raw: &str, accept: &'static str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            Form::wanted(&mut Query::new(raw), &headers).ok()
        };
        for (raw, accept, form) in [
            ("", "*/*", Some(Form::Json)),
            ("", "text/csv", Some(Form::Csv)),
            ("", "text/*", Some(Form::Csv)),
            ("", "application/json;q=0.5, text/csv;q=0.4", Some(Form::Json)),
            ("", "application/json;q=0.5, text/csv", Some(Form::Csv)),
            ("", "text/csv;q=0, */*", Some(Form::Json)),
            ("", "text/html,application/xhtml+xml,*/*;q=0.8", Some(Form::Json)),
            ("", "image/png", None),
            ("", "application/json;q=0", None),
            ("format=csv", "image/png", Some(Form::Csv)),
            ("format=json", "text/csv", Some(Form::Json)),
        ] {
            assert_eq!(wanted(raw, accept), form, "{raw} {accept}");
        }
        assert_eq!(Form::wanted(&mut Query::new(""), &HeaderMap::new()).ok(), Some(Form::Json));
    }

    #[test]
    fn an_answer_the_asker_has_is_not_sent_again() {
        let first = tagged(&HeaderMap::new(), "application/json", "[]".into());
        let tag = first.headers()[header::ETAG].clone();
        let ask =
            |value: HeaderValue| tagged(&HeaderMap::from_iter([(header::IF_NONE_MATCH, value)]), "application/json", "[]".into()).status();
        assert_eq!(ask(tag.clone()), 304);
        assert_eq!(ask(HeaderValue::from_static("*")), 304);
        let strong = tag.to_str().unwrap().trim_start_matches("W/").to_owned();
        assert_eq!(ask(HeaderValue::from_str(&format!("\"x\", {strong}")).unwrap()), 304);
        assert_eq!(ask(HeaderValue::from_static("\"x\"")), 200);
        assert_ne!(tagged(&HeaderMap::new(), "text/csv", "[]".into()).headers()[header::ETAG], tag);
    }
}
