//! Numbers and times as people read them; used on the server only, and the time is an argument. What a reader may choose
//! (zone, units, dates) is in `preferences`.

#[cfg(feature = "ssr")]
use super::{Moment, preferences};
#[cfg(feature = "ssr")]
use crate::model::{Instant, Metric};
#[cfg(feature = "ssr")]
use chrono::{NaiveDate, TimeDelta};

/// `1234567` as `1,234,567`.
pub fn count(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if n < 0 {
        out.push('−');
    }
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with its noun, and with its verb where one follows: `1 job`, `1,200 jobs`.
pub fn plural(n: i64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// A share as a percentage that never claims more than is true: 100 % only when nothing is missing, 0 % only when
/// there is nothing. Of nothing there is no share.
pub fn percent(part: i64, whole: i64) -> String {
    if whole <= 0 {
        return "–".into();
    }
    let tenths = (part.clamp(0, whole) * 1000 + whole / 2) / whole;
    match tenths {
        1000 if part < whole => "99.9 %".into(),
        0 if part > 0 => "0.1 %".into(),
        t if t % 10 == 0 => format!("{} %", t / 10),
        t => format!("{}.{} %", t / 10, t % 10),
    }
}

#[cfg(feature = "ssr")]
/// A span in its largest unit that fits: `12 s`, `3 min`, `5 h`, `2 days`.
pub fn span(delta: TimeDelta) -> String {
    let s = delta.num_seconds().max(0);
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min", s / 60),
        3600..172_800 => format!("{} h", s / 3600),
        _ => format!("{} days", s / 86_400),
    }
}

/// A moment for a page, as the reader at hand wants to see times: machine-readable, absolute and relative to `now`.
#[cfg(feature = "ssr")]
pub fn moment(at: Instant, now: Instant) -> Moment {
    preferences::current().moment(at, now)
}

/// A day: `23 Nov`, with the year when it is not this one's.
#[cfg(feature = "ssr")]
pub fn day(date: NaiveDate, today: NaiveDate) -> String {
    preferences::current().day(date, today)
}

/// A day with its year, whichever this one is.
#[cfg(feature = "ssr")]
pub fn date(date: NaiveDate) -> String {
    preferences::current().date(date)
}

/// A stored value with its unit as the reader at hand reads it.
#[cfg(feature = "ssr")]
pub fn value(metric: Metric, value: f64) -> (String, &'static str) {
    preferences::current().value(metric, value)
}

/// Cuts a long text at a character border and says so.
pub fn cut(text: &str, at: usize) -> String {
    match text.char_indices().nth(at) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Percent-encodes one segment of a path: a `user_id` may be any string.
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'~') || (b == b'.' && text != "." && text != "..") {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn at(text: &str) -> Instant {
        DateTime::parse_from_rfc3339(text).map(|t| t.to_utc()).unwrap_or_default()
    }

    #[test]
    fn numbers_are_grouped() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567"), (-1000, "−1,000")] {
            assert_eq!(count(n), text);
        }
    }

    #[test]
    fn one_is_not_many() {
        for (n, text) in [(0, "0 jobs wait"), (1, "1 job waits"), (2, "2 jobs wait"), (1200, "1,200 jobs wait")] {
            assert_eq!(plural(n, "job waits", "jobs wait"), text);
        }
    }

    #[test]
    fn a_share_is_whole_only_when_it_is() {
        for (part, whole, text) in [
            (0, 0, "–"),
            (0, 5, "0 %"),
            (5, 5, "100 %"),
            (99_999, 100_000, "99.9 %"),
            (1, 100_000, "0.1 %"),
            (1, 3, "33.3 %"),
            (1, 2, "50 %"),
        ] {
            assert_eq!(percent(part, whole), text, "{part}/{whole}");
        }
    }

    #[test]
    fn times_say_when_and_how_long_ago() {
        let now = at("2026-11-23T18:00:00Z");
        let m = moment(at("2026-11-23T17:57:10Z"), now);
        assert_eq!((m.text.as_str(), m.ago.as_str(), m.iso.as_str()), ("17:57:10", "2 min ago", "2026-11-23T17:57:10Z"));
        assert_eq!(moment(at("2026-11-20T17:57:10Z"), now).text, "20 Nov 17:57");
        assert_eq!(moment(at("2026-11-23T18:10:00Z"), now).ago, "in 10 min");
    }

    #[test]
    fn values_are_shown_in_the_unit_people_use() {
        assert_eq!(value(Metric::SleepDuration, 27_720.0), ("7:42".into(), "h:min"));
        assert_eq!(value(Metric::Distance, 5432.0), ("5.43".into(), "km"));
        assert_eq!(value(Metric::Steps, 12_345.0), ("12,345".into(), ""));
        assert_eq!(value(Metric::Spo2, 96.54), ("96.5".into(), "%"));
    }

    #[test]
    fn any_string_fits_into_a_path() {
        assert_eq!(segment("a/b?c#d é"), "a%2Fb%3Fc%23d%20%C3%A9");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(cut("Zürich", 2), "Zü…");
    }
}
