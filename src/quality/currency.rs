//! Currency: how far a value still speaks for today. Worked out when a page is read, never stored: the validity of a
//! value does not age, so what is stored does not go stale.

use super::Registry;
use crate::model::{Instant, Metric};
use chrono::{NaiveDate, NaiveTime, TimeDelta};

/// The end of a day.
pub fn end_of_day(day: NaiveDate) -> Instant {
    day.and_time(NaiveTime::MIN).and_utc() + TimeDelta::days(1)
}

/// When the measuring of a day's value ended: as told, else with its day, but not after it came. Deliveries of a running day
/// name its end, and clocks of devices may be ahead.
pub fn measured(measured_at: Option<Instant>, day: NaiveDate, received_at: Instant) -> Instant {
    measured_at.unwrap_or_else(|| end_of_day(day)).min(received_at)
}

/// Hours since the measuring of a day's value ended, 0 when that is to come: what every page and the API take its currency from.
pub fn age_hours(measured_at: Option<Instant>, day: NaiveDate, received_at: Instant, now: Instant) -> f64 {
    (now - measured(measured_at, day, received_at)).num_seconds().max(0) as f64 / 3600.0
}

/// The factor for a value of this age: 2^(−age / half-life), 1 for a value of the future. `None` for metrics that are
/// not scored.
pub fn currency(registry: &Registry, metric: Metric, age_hours: f64) -> Option<f64> {
    let rule = registry.rule(metric)?;
    Some(libm::exp2(-age_hours.max(0.0) / rule.half_life_hours))
}

/// The live view of a stored probability: what the value still says about now, 0–100.
pub fn live_score(registry: &Registry, metric: Metric, probability: f64, age_hours: f64) -> Option<i32> {
    currency(registry, metric, age_hours).map(|c| (100.0 * probability * c).round() as i32)
}

/// The age in words: "9 hours old".
pub fn age_in_words(age_hours: f64) -> String {
    let counted = |n: f64, one: &str, many: &str| {
        let n = n.round();
        if n == 1.0 { format!("1 {one} old") } else { format!("{n:.0} {many} old") }
    };
    match age_hours.max(0.0) {
        h if h < 1.0 => "less than an hour old".to_owned(),
        h if h < 48.0 => counted(h, "hour", "hours"),
        h if h < 24.0 * 60.0 => counted(h / 24.0, "day", "days"),
        h => counted(h / 24.0 / 30.44, "month", "months"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn halves_with_each_half_life_and_never_exceeds_one() {
        let registry = Registry::built_in();
        let half = registry.rule(Metric::HrvRmssd).unwrap().half_life_hours;
        assert_eq!(currency(registry, Metric::HrvRmssd, half), Some(0.5));
        assert_eq!(currency(registry, Metric::HrvRmssd, 0.0), Some(1.0));
        assert_eq!(currency(registry, Metric::HrvRmssd, -5.0), Some(1.0));
        assert_eq!(currency(registry, Metric::SleepScore, 1.0), None);
        assert_eq!(live_score(registry, Metric::HrvRmssd, 0.8, half), Some(40));
    }

    #[test]
    fn age_counts_from_the_end_of_measuring_else_of_the_day_but_from_when_it_came_at_the_latest() {
        let at = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap().to_utc();
        let (day, now) = (NaiveDate::from_ymd_opt(2026, 3, 10).unwrap(), at("2026-03-12T12:00:00Z"));
        let (soon, late) = (at("2026-03-10T09:00:00Z"), at("2026-03-11T09:00:00Z"));
        assert_eq!(age_hours(Some(at("2026-03-10T06:00:00Z")), day, soon, now), 54.0);
        assert_eq!(age_hours(None, day, soon, now), 51.0, "it came before its day was over");
        assert_eq!(age_hours(None, day, late, now), 36.0);
        assert_eq!(age_hours(Some(at("2026-03-13T00:00:00Z")), day, late, now), 27.0, "a clock that is fast");
        assert_eq!(age_hours(Some(at("2026-03-11T00:00:00Z")), day, soon, now), 51.0, "the end of a day that was not over");
        assert_eq!(age_hours(None, day, soon, soon), 0.0, "a day that is not over");
    }

    #[test]
    fn ages_read_as_people_say_them() {
        assert_eq!(age_in_words(9.2), "9 hours old");
        assert_eq!(age_in_words(1.2), "1 hour old");
        assert_eq!(age_in_words(72.0), "3 days old");
        assert_eq!(age_in_words(0.2), "less than an hour old");
    }
}
