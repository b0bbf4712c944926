//! How a reader wants to see times and values: zone, units, and the way dates are written. Kept in the account where
//! somebody is logged in, else in a cookie. The values in the database and in the API never depend on it.
//!
//! The formatting is pure. What belongs to the request at hand is found by [`current`], so that a page formats with
//! `text::moment` and need not carry the preferences through every function.

use super::Moment;
use crate::model::{Instant, Metric};
use chrono::{Datelike, NaiveDate, TimeDelta};
use chrono_tz::Tz;
use serde_json::{Value, json};

/// Metric or imperial.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Units {
    /// kg, km.
    #[default]
    Metric,
    /// lb, mi.
    Imperial,
}

/// How a date is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dates {
    /// 23 Nov 2026
    #[default]
    British,
    /// Nov 23, 2026
    American,
    /// 23. Nov. 2026
    German,
    /// 23 nov. 2026
    French,
    /// 23 nov 2026
    Spanish,
    /// 2026-11-23
    Iso,
}

impl Units {
    /// All, with their word and what people read.
    pub const ALL: [(Units, &'static str, &'static str); 2] =
        [(Units::Metric, "metric", "Kilograms and kilometres"), (Units::Imperial, "imperial", "Pounds and miles")];
}

impl Dates {
    /// All, with their word and an example.
    pub const ALL: [(Dates, &'static str, &'static str); 6] = [
        (Dates::British, "en-GB", "English: 23 Nov 2026"),
        (Dates::American, "en-US", "American: Nov 23, 2026"),
        (Dates::German, "de", "Deutsch: 23. Nov. 2026"),
        (Dates::French, "fr", "Français: 23 nov. 2026"),
        (Dates::Spanish, "es", "Español: 23 nov 2026"),
        (Dates::Iso, "iso", "ISO 8601: 2026-11-23"),
    ];

    const fn months(self) -> [&'static str; 12] {
        match self {
            Dates::German => ["Jan.", "Feb.", "März", "Apr.", "Mai", "Juni", "Juli", "Aug.", "Sep.", "Okt.", "Nov.", "Dez."],
            Dates::French => ["janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."],
            Dates::Spanish => ["ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sept", "oct", "nov", "dic"],
            _ => ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
        }
    }

    /// A date, with its year where that is not clear.
    fn write(self, date: NaiveDate, year: bool) -> String {
        let (d, y) = (date.day(), date.year());
        let month = self.months().get(date.month0() as usize).copied().unwrap_or_default();
        match (self, year) {
            (Dates::Iso, _) => date.format("%Y-%m-%d").to_string(),
            (Dates::American, false) => format!("{month} {d}"),
            (Dates::American, true) => format!("{month} {d}, {y}"),
            (Dates::German, false) => format!("{d}. {month}"),
            (Dates::German, true) => format!("{d}. {month} {y}"),
            (_, false) => format!("{d} {month}"),
            (_, true) => format!("{d} {month} {y}"),
        }
    }
}

/// What a reader chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preferences {
    /// The zone times are shown in.
    pub zone: Tz,
    /// Units of weights and distances.
    pub units: Units,
    /// How dates are written.
    pub dates: Dates,
}

impl Default for Preferences {
    fn default() -> Self {
        Self { zone: Tz::UTC, units: Units::default(), dates: Dates::default() }
    }
}

impl Preferences {
    /// From words; one that is not known is the default.
    pub fn from_words(zone: &str, units: &str, dates: &str) -> Self {
        let unit = Units::ALL.iter().find(|u| u.1 == units).map(|u| u.0);
        let date = Dates::ALL.iter().find(|d| d.1 == dates).map(|d| d.0);
        Self { zone: zone.parse().unwrap_or(Tz::UTC), units: unit.unwrap_or_default(), dates: date.unwrap_or_default() }
    }

    /// The words: zone, units, dates.
    pub fn words(self) -> [&'static str; 3] {
        let unit = Units::ALL.iter().find(|u| u.0 == self.units).map_or("", |u| u.1);
        let date = Dates::ALL.iter().find(|d| d.0 == self.dates).map_or("", |d| d.1);
        [self.zone.name(), unit, date]
    }

    /// The value of the cookie.
    pub fn cookie(self) -> String {
        self.words().join("~")
    }

    /// From the cookie's value.
    pub fn from_cookie(value: &str) -> Self {
        let mut words = value.splitn(3, '~');
        let mut next = || words.next().unwrap_or_default();
        Self::from_words(next(), next(), next())
    }

    /// As an account keeps them.
    pub fn to_json(self) -> Value {
        let [zone, units, dates] = self.words();
        json!({ "zone": zone, "units": units, "dates": dates })
    }

    /// From an account; `None` while it never chose.
    pub fn from_json(value: &Value) -> Option<Self> {
        let word = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        value.get("zone").map(|_| Self::from_words(word("zone"), word("units"), word("dates")))
    }

    /// A moment: short in the reader's zone, long with the zone's name, and relative to `now`.
    pub fn moment(self, at: Instant, now: Instant) -> Moment {
        let (local, today, age) = (at.with_timezone(&self.zone), now.with_timezone(&self.zone).date_naive(), now - at);
        let text = if local.date_naive() == today {
            local.format("%H:%M:%S").to_string()
        } else if age < TimeDelta::days(300) {
            format!("{} {}", self.dates.write(local.date_naive(), false), local.format("%H:%M"))
        } else {
            self.dates.write(local.date_naive(), true)
        };
        let ago = match age.num_seconds() {
            i64::MIN..=-60 => format!("in {}", super::text::span(-age)),
            -59..=4 => "just now".into(),
            _ => format!("{} ago", super::text::span(age)),
        };
        Moment {
            iso: at.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
            text,
            full: format!("{}, {}", self.dates.write(local.date_naive(), true), local.format("%H:%M:%S %Z")),
            ago,
        }
    }

    /// A day, with the year when it is not this one's.
    pub fn day(self, date: NaiveDate, today: NaiveDate) -> String {
        self.dates.write(date, date.year() != today.year())
    }

    /// A day with its year.
    pub fn date(self, date: NaiveDate) -> String {
        self.dates.write(date, true)
    }

    /// A stored value with its unit as this reader reads it: seconds as hours and minutes, metres as kilometres or miles.
    pub fn value(self, metric: Metric, value: f64) -> (String, &'static str) {
        use super::text::count;
        match (metric.unit(), self.units) {
            ("s", _) => {
                let minutes = (value / 60.0).round() as i64;
                (format!("{}:{:02}", minutes / 60, minutes.abs() % 60), "h:min")
            }
            ("m", Units::Metric) => (format!("{:.2}", value / 1000.0), "km"),
            ("m", Units::Imperial) => (format!("{:.2}", value / 1609.344), "mi"),
            ("kg", Units::Imperial) => (format!("{:.1}", value / 0.453_592_37), "lb"),
            ("count", _) => (count(value.round() as i64), ""),
            (unit @ ("kcal" | "ml"), _) => (count(value.round() as i64), unit),
            (unit @ ("bpm" | "ms" | "min" | "mg/dL" | "mmHg"), _) => (format!("{value:.0}"), unit),
            (unit, _) => (format!("{value:.1}"), unit),
        }
    }
}

tokio::task_local! {
    /// Of the request at hand, in its own task: plain handlers.
    pub static REQUEST: Preferences;
}

/// Of the request at hand: from the page's context (which tasks of the renderer inherit), else from the request's task,
/// else the defaults.
pub fn current() -> Preferences {
    leptos::prelude::use_context::<Preferences>().or_else(|| REQUEST.try_with(|p| *p).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn at(text: &str) -> Instant {
        DateTime::parse_from_rfc3339(text).map(|t| t.to_utc()).unwrap_or_default()
    }

    #[test]
    fn a_moment_is_shown_in_the_readers_zone_and_hand() {
        let now = at("2026-11-23T23:30:00Z");
        let then = at("2026-11-23T22:59:10Z");
        let show = |zone, dates| Preferences::from_words(zone, "metric", dates).moment(then, now);
        assert_eq!(show("UTC", "en-GB").text, "22:59:10");
        assert_eq!(show("Europe/Zurich", "de").text, "23. Nov. 23:59");
        assert_eq!(show("Europe/Zurich", "de").full, "23. Nov. 2026, 23:59:10 CET");
        assert_eq!(show("America/New_York", "en-US").full, "Nov 23, 2026, 17:59:10 EST");
        assert_eq!(show("Asia/Tokyo", "iso").full, "2026-11-24, 07:59:10 JST");
        assert_eq!(show("Europe/Zurich", "de").iso, "2026-11-23T22:59:10Z", "for machines it stays UTC");
    }

    #[test]
    fn units_change_weights_and_distances_only() {
        let (m, i) = (Preferences::default(), Preferences { units: Units::Imperial, ..Preferences::default() });
        assert_eq!((m.value(Metric::Weight, 80.0), i.value(Metric::Weight, 80.0)), (("80.0".into(), "kg"), ("176.4".into(), "lb")));
        assert_eq!((m.value(Metric::Distance, 5432.0), i.value(Metric::Distance, 5432.0)), (("5.43".into(), "km"), ("3.38".into(), "mi")));
        assert_eq!(m.value(Metric::Steps, 12_345.0), i.value(Metric::Steps, 12_345.0));
    }

    #[test]
    fn words_survive_cookie_and_account_and_nonsense_is_the_default() {
        let p = Preferences::from_words("Europe/Zurich", "imperial", "fr");
        assert_eq!(Preferences::from_cookie(&p.cookie()), p);
        assert_eq!(Preferences::from_json(&p.to_json()), Some(p));
        for odd in ["", "~~", "Mars/Base~furlongs~tlh", "x~y~z~w", "\0"] {
            assert_eq!(Preferences::from_cookie(odd), Preferences::default(), "{odd:?}");
        }
        assert_eq!(Preferences::from_json(&json!({})), None);
    }
}
