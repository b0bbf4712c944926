//! A request's parameters: each is read whole or refused by name, and one that is not known is refused too, because a
//! misspelt filter that is silently ignored answers another question than the one asked.

use super::{
    cursor,
    problem::{FieldError, Problem},
};
use crate::model::Metric;
use chrono::NaiveDate;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// Rows of a page where none is asked for.
pub const PAGE: i64 = 100;
/// Rows of a page at most.
pub const LARGEST_PAGE: i64 = 1000;

/// The parameters that were not taken yet, and what was wrong with those that were.
#[derive(Debug)]
pub struct Query {
    given: BTreeMap<String, String>,
    errors: Vec<FieldError>,
}

impl Query {
    /// From what stands after the question mark.
    pub fn new(raw: &str) -> Self {
        let (mut given, mut errors) = (BTreeMap::new(), Vec::new());
        for pair in raw.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name).unwrap_or_else(|| "?".to_owned());
            match decoded(value) {
                Some(value) if !value.contains('\0') => {
                    if given.insert(name.clone(), value).is_some() {
                        errors.push(FieldError { field: shown(&name), detail: "Give it once.".to_owned() });
                    }
                }
                _ => errors.push(FieldError { field: shown(&name), detail: "It is not UTF-8 text.".to_owned() }),
            }
        }
        Self { given, errors }
    }

    /// Notes what is wrong with a field.
    pub fn refuse(&mut self, field: &str, detail: impl Into<String>) {
        self.errors.push(FieldError { field: field.to_owned(), detail: detail.into() });
    }

    /// The text of a parameter.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.given.remove(name)
    }

    /// Rows a page.
    pub fn limit(&mut self) -> i64 {
        let Some(text) = self.text("limit") else { return PAGE };
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<i64>() {
            Ok(n) if digits && (1..=LARGEST_PAGE).contains(&n) => n,
            _ => {
                self.refuse("limit", format!("A whole number from 1 to {LARGEST_PAGE}."));
                PAGE
            }
        }
    }

    /// Metrics by their keys, with commas between; empty: all.
    pub fn metrics(&mut self) -> Vec<String> {
        let Some(text) = self.text("metric") else { return Vec::new() };
        let mut keys: Vec<String> = Vec::new();
        for key in text.split(',') {
            match Metric::from_key(key) {
                Some(metric) => keys.push(metric.key().to_owned()),
                None => {
                    self.refuse("metric", format!("{} is no metric; /api/v1/metrics lists them.", shown(key)));
                    return Vec::new();
                }
            }
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// A source: lower-case letters, digits, `_` and `-`.
    pub fn source(&mut self) -> Option<String> {
        let text = self.text("source")?;
        if is_source(&text) {
            return Some(text);
        }
        self.refuse("source", "A provider in lower case, such as garmin.");
        None
    }

    /// First and last day, both included.
    pub fn days(&mut self) -> (NaiveDate, NaiveDate) {
        let from = self.day("from").unwrap_or(FIRST_DAY);
        let to = self.day("to").unwrap_or(LAST_DAY);
        if from > to {
            self.refuse("to", "It lies before `from`.");
        }
        (from, to)
    }

    fn day(&mut self, name: &str) -> Option<NaiveDate> {
        let text = self.text(name)?;
        let found = day(&text);
        if found.is_none() {
            self.refuse(name, "A day as YYYY-MM-DD, from 1900-01-01 to 2199-12-31.");
        }
        found
    }

    /// The key behind which the page begins.
    pub fn cursor<K: DeserializeOwned>(&mut self, question: &str) -> Option<K> {
        let text = self.text("cursor")?;
        let key = cursor::read(question, &text);
        if key.is_none() {
            self.refuse("cursor", "It belongs to another question. Take `next` from the page before, with the same filters.");
        }
        key
    }

    /// Everything was taken and nothing was wrong.
    ///
    /// # Errors
    /// 422 with the fields.
    pub fn done(mut self) -> Result<(), Problem> {
        let left: Vec<String> = self.given.keys().map(|name| shown(name)).collect();
        for name in left {
            self.refuse(&name, "There is no such parameter here.");
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::fields(self.errors)) }
    }
}

const FIRST_DAY: NaiveDate = match NaiveDate::from_ymd_opt(1900, 1, 1) {
    Some(day) => day,
    None => NaiveDate::MIN,
};
const LAST_DAY: NaiveDate = match NaiveDate::from_ymd_opt(2199, 12, 31) {
    Some(day) => day,
    None => NaiveDate::MAX,
};

/// A day as `YYYY-MM-DD`.
pub fn day(text: &str) -> Option<NaiveDate> {
    let shaped = text.len() == 10 && text.bytes().enumerate().all(|(i, b)| if matches!(i, 4 | 7) { b == b'-' } else { b.is_ascii_digit() });
    NaiveDate::parse_from_str(Some(text).filter(|_| shaped)?, "%Y-%m-%d").ok().filter(|d| (FIRST_DAY..=LAST_DAY).contains(d))
}

/// Whether a word can be a source.
pub fn is_source(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

/// Foreign text in a sentence: short and printable.
fn shown(text: &str) -> String {
    let short: String = text.chars().filter(|c| !c.is_control()).take(60).collect();
    if short.is_empty() { "An empty word".to_owned() } else { short }
}

/// Percent-decoded, `+` as a space; `None` unless it is UTF-8.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&b, tail)) = rest.split_first() {
        let hex = (b == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .filter(|d| d.iter().all(u8::is_ascii_hexdigit))
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u8::from_str_radix(d, 16).ok());
        bytes.push(hex.unwrap_or(if b == b'+' { b' ' } else { b }));
        rest = if hex.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;

    fn errors(raw: &str) -> Vec<String> {
        let mut query = Query::new(raw);
        let _ = (query.limit(), query.metrics(), query.source(), query.days());
        query.done().err().map(|p| p.errors.into_iter().map(|e| e.field).collect()).unwrap_or_default()
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for good in ["", "limit=1000&metric=steps,hrv_rmssd&source=oura&from=2026-01-01&to=2026-01-01", "metric=steps%2Cweight", "&&"] {
            assert_eq!(errors(good), [""; 0], "{good}");
        }
        for (bad, field) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=-1", "limit"),
            ("limit=%2B5", "limit"),
            ("limit=", "limit"),
            ("limit=99999999999999999999", "limit"),
            ("limit=1&limit=2", "limit"),
            ("metric=hr", "metric"),
            ("metric=", "metric"),
            ("metric=steps,,weight", "metric"),
            ("source=Oura", "source"),
            ("source=%00", "source"),
            ("source=%ff", "source"),
            ("from=2026-02-30", "from"),
            ("from=26-02-03", "from"),
            ("to=%2B2026-02-3", "to"),
            ("from=2026-01-02&to=2026-01-01", "to"),
            ("metrics=steps", "metrics"),
            ("=1", "An empty word"),
        ] {
            assert_eq!(errors(bad), [field], "{bad}");
        }
        assert_eq!(errors("limit=x&source=X&y=1"), ["limit", "source", "y"]);
    }
}
