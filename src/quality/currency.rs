//! Currency: how far a value still speaks for today. Worked out when a page is read, never stored: the validity of a
//! value does not age, so what is stored does not go stale.

use super::Registry;
use crate::model::Metric;

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
    fn ages_read_as_people_say_them() {
        assert_eq!(age_in_words(9.2), "9 hours old");
        assert_eq!(age_in_words(1.2), "1 hour old");
        assert_eq!(age_in_words(72.0), "3 days old");
        assert_eq!(age_in_words(0.2), "less than an hour old");
    }
}
