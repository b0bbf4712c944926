//! Values, differences, ages and reasons in words. Pure.

use crate::{
    components::text,
    model::{FindingKind, Instant, Metric, Source, UploadKind},
    quality::{Part, Parts, Registry, currency, explain, registry::Tolerance},
    store::clients::LatestRow,
};
use chrono::{Days, NaiveDate};

/// A value with its unit.
pub(super) fn amount(metric: Metric, value: f64) -> String {
    let (value, unit) = text::value(metric, value);
    match unit {
        "" => value,
        "h:min" => format!("{value} h"),
        unit => format!("{value} {unit}"),
    }
}

/// A difference with its sign and unit; of durations in minutes.
pub(super) fn difference(metric: Metric, d: f64) -> String {
    let sign = if d < 0.0 { "−" } else { "+" };
    let size = d.abs();
    match metric.unit() {
        "s" => format!("{sign}{:.0} min", size / 60.0),
        "bpm" | "ms" | "mg/dL" | "mmHg" => format!("{sign}{size:.1} {}", metric.unit()),
        "%" | "°C" => format!("{sign}{size:.2} {}", metric.unit()),
        _ => format!("{sign}{}", amount(metric, size)),
    }
}

/// A tolerance as this reader reads amounts: `±0.5 kg` or `±1.1 lb`.
pub(super) fn tolerance(metric: Metric, tolerance: Tolerance) -> String {
    match tolerance {
        Tolerance::Absolute(d) => {
            let size = difference(metric, d).trim_start_matches(['+', '−']).to_owned();
            format!("±{}", size.replacen(".00 ", " ", 1).replacen(".0 ", " ", 1))
        }
        Tolerance::Relative(_) => explain::words::tolerance(metric, tolerance),
    }
}

/// Hours since then.
pub(super) fn hours(since: Instant, now: Instant) -> f64 {
    (now - since).num_seconds().max(0) as f64 / 3600.0
}

/// An age as short as can be: `26 min`, `9 h`, `3 days`, `5 weeks`, `7 months`, `10 years`.
pub(super) fn age(hours: f64) -> String {
    let days = hours / 24.0;
    let (n, unit) = match hours {
        h if h < 1.0 => (h * 60.0, "min"),
        h if h < 48.0 => (h, "h"),
        _ if days < 21.0 => (days, "days"),
        _ if days < 90.0 => (days / 7.0, "weeks"),
        _ if days < 730.0 => (days / 30.44, "months"),
        _ => (days / 365.25, "years"),
    };
    // Number and unit stay on one line.
    format!("{:.0}\u{a0}{unit}", n.floor())
}

/// The day of a value that is three weeks old or more, to stand behind its age; else nothing.
pub(super) fn old_day(hours: f64, day: NaiveDate, today: NaiveDate) -> String {
    if hours < 21.0 * 24.0 { String::new() } else { format!(", {}", text::day(day, today)) }
}

/// A sentence of the scorer with its long durations as people read them: `32220 s` as `8:57 h`.
pub(super) fn readable(detail: &str) -> String {
    let mut out = String::with_capacity(detail.len());
    let mut rest = detail;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let end = from.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(from.len());
        let (number, after) = from.split_at(end);
        let alone = after.strip_prefix(" s").filter(|tail| !tail.starts_with(|c: char| c.is_alphanumeric()));
        match (number.parse::<f64>(), alone) {
            (Ok(seconds), Some(tail)) if seconds >= 600.0 => {
                out.push_str(&amount(Metric::SleepDuration, seconds));
                rest = tail;
            }
            _ => {
                out.push_str(number);
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// The points of each part of a stored score; `None` without a score.
pub(super) fn points(l: &LatestRow) -> Option<[(Part, i32); 6]> {
    let parts: Option<Vec<f64>> = l.factors.iter().copied().collect();
    let [evidence, plausibility, completeness, concordance, provenance, consistency] = parts.and_then(|p| <[f64; 6]>::try_from(p).ok())?;
    let parts = Parts { evidence, plausibility, completeness, concordance, provenance, consistency };
    l.confidence_score.map(|score| explain::points(&parts, score))
}

/// What takes most from a score, in a few words: `Completeness −31`. Where nothing takes anything and it is low, the
/// device's evidence is the reason. Empty where there is nothing to say.
pub(super) fn reason(points: Option<[(Part, i32); 6]>, score: Option<i32>) -> String {
    let Some(points) = points else { return String::new() };
    let worst = points.iter().skip(1).min_by_key(|(_, p)| *p).filter(|(_, p)| *p < 0);
    match worst {
        Some((part, p)) => format!("{} −{}", part.name(), p.unsigned_abs()),
        None if score.is_some_and(|s| s < 60) => format!("{} gives only {}", Part::Evidence.name(), points[0].1),
        None => String::new(),
    }
}

/// A kind of fault as people say it.
pub(super) fn doubt(kind: &str) -> String {
    let words = match kind {
        "pounds_kilograms" => "pounds for kilograms",
        "seconds_minutes" => "seconds for minutes",
        "thousandfold" => "a thousandfold",
        "fraction_percent" => "a fraction for a percentage",
        "rmssd_sdnn" => "RMSSD and SDNN exchanged",
        "zero_for_missing" => "zero for missing",
        "shifted_day" => "a day shifted",
        "other_person" => "another person’s",
        "provider_flag" => "the provider doubts it",
        "missing_part" => "a part is missing",
        "bad_field" => "a field could not be read",
        "manual" => "entered by hand",
        "copied" => "a copy",
        other => return other.replace('_', " "),
    };
    words.to_owned()
}

/// The word of a kind of fault.
pub(super) fn kind_word(kind: FindingKind) -> String {
    serde_json::to_value(kind).ok().and_then(|v| v.as_str().map(doubt)).unwrap_or_default()
}

/// The name of a provider.
pub(super) fn provider(source: &str) -> String {
    Source::from_provider(source).name()
}

/// Which source was taken, and why.
pub(super) fn why_source(source: &str, choice: Option<&str>, sources: i64) -> String {
    match choice {
        Some(choice) if choice == source => "chosen for this person".to_owned(),
        Some(choice) => format!("{} was chosen, but has no value of this day", provider(choice)),
        None if sources > 1 => format!("best evidence of {sources} sources"),
        None => "only source".to_owned(),
    }
}

/// Whether a value still speaks for today with half of what it says; what has no currency is recent for two days.
pub(super) fn is_recent(currency: Option<f64>, day: NaiveDate, now: Instant) -> bool {
    currency.map_or(day >= now.date_naive() - Days::new(2), |c| c >= 0.5)
}

/// How data came to be.
pub(super) fn upload(kind: UploadKind) -> &'static str {
    match kind {
        UploadKind::Unknown => "not told",
        UploadKind::Automatic => "by the device",
        UploadKind::Manual => "entered or altered by hand",
        UploadKind::Update => "a correction by the provider",
        UploadKind::Delete => "a deletion",
        UploadKind::Pending => "not final yet",
        UploadKind::ThirdParty => "from another app",
        UploadKind::Tentative => "may still change",
        UploadKind::Indeterminate => "the provider could not tell",
    }
}

/// Whether the newest value of a metric can be acted on today. Its age counts from the end of its day, whenever in it the
/// measuring ended: the list's filter knows days only, and finds who is called out of date here.
pub(super) fn act_on(
    score: Option<i32>,
    registry: &Registry,
    metric: Metric,
    day: NaiveDate,
    now: Instant,
) -> (&'static str, &'static str) {
    act(score, currency::currency(registry, metric, hours(currency::end_of_day(day), now)))
}

/// Whether a number can be acted on today, and in which tone it is said.
fn act(score: Option<i32>, currency: Option<f64>) -> (&'static str, &'static str) {
    match (score, currency) {
        (None, _) => ("Unknown", "unknown"),
        (_, Some(c)) if c < 0.25 => ("Out of date", "unknown"),
        (Some(60..), _) => ("Yes", "excellent"),
        (Some(40..), _) => ("With care", "fair"),
        _ => ("No", "poor"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_differences_carry_their_unit() {
        assert_eq!(amount(Metric::SleepDuration, 27_720.0), "7:42 h");
        assert_eq!(amount(Metric::HrvRmssd, 41.6), "42 ms");
        assert_eq!(difference(Metric::SleepDuration, -1380.0), "−23 min");
        assert_eq!(difference(Metric::HrvRmssd, 4.25), "+4.2 ms");
        assert_eq!(difference(Metric::Steps, -1234.0), "−1,234");
    }

    #[test]
    fn a_tolerance_is_in_the_units_of_the_reader() {
        use crate::components::preferences::{Preferences, REQUEST};
        let half = Tolerance::Absolute(0.5);
        let imperial = Preferences::from_words("UTC", "imperial", "de");
        assert_eq!(tolerance(Metric::Weight, half), "±0.5 kg");
        assert_eq!(REQUEST.sync_scope(imperial, || tolerance(Metric::Weight, half)), "±1.1 lb");
        assert_eq!(tolerance(Metric::RestingHeartRate, Tolerance::Absolute(5.0)), "±5 bpm");
        assert_eq!(tolerance(Metric::SleepDuration, Tolerance::Absolute(1800.0)), "±30 min");
        assert_eq!(tolerance(Metric::Steps, Tolerance::Relative(0.1)), "±10 %");
    }

    #[test]
    fn the_reason_is_the_part_that_takes_most_else_the_evidence() {
        let bars = |p: [i32; 6]| {
            let parts = [Part::Evidence, Part::Plausibility, Part::Completeness, Part::Concordance, Part::Provenance, Part::Consistency];
            Some([0, 1, 2, 3, 4, 5].map(|i: usize| (parts[i], p[i])))
        };
        assert_eq!(reason(bars([70, -5, -31, 2, 0, 0]), Some(36)), "Completeness −31");
        assert_eq!(reason(bars([35, 0, 0, 0, 0, 0]), Some(35)), "Evidence for the device gives only 35");
        assert_eq!(reason(bars([85, 0, 0, 0, 0, 0]), Some(85)), "");
        assert_eq!(reason(None, None), "");
    }

    #[test]
    fn ages_are_short_and_long_durations_readable() {
        for (hours, text) in [
            (0.5, "30 min"),
            (9.9, "9 h"),
            (47.0, "47 h"),
            (50.0, "2 days"),
            (900.0, "5 weeks"),
            (5000.0, "6 months"),
            (92_400.0, "10 years"),
        ] {
            assert_eq!(age(hours).replace('\u{a0}', " "), text);
        }
        assert_eq!(readable("asleep 32220 s and awake 540 s, 12.5 s apart"), "asleep 8:57 h and awake 540 s, 12.5 s apart");
        assert_eq!(readable("WHOOP says 6300.0 s: 4.4 usual spreads apart"), "WHOOP says 1:45 h: 4.4 usual spreads apart");
        for same in ["", "900", "900 sec", "x 5 s", "1.2.3 s", "ü 7200 steps"] {
            assert_eq!(readable(same), same);
        }
    }

    #[test]
    fn the_source_taken_is_explained() {
        assert_eq!(why_source("garmin", None, 1), "only source");
        assert_eq!(why_source("garmin", None, 2), "best evidence of 2 sources");
        assert_eq!(why_source("whoop", Some("whoop"), 2), "chosen for this person");
        assert_eq!(why_source("garmin", Some("whoop"), 1), "WHOOP was chosen, but has no value of this day");
    }

    #[test]
    fn an_old_value_says_its_day() {
        let today = NaiveDate::default() + Days::new(200);
        let day = NaiveDate::default() + Days::new(50);
        assert_eq!(old_day(20.0 * 24.0, day, today), "");
        assert_eq!(old_day(150.0 * 24.0, day, today), format!(", {}", text::day(day, today)));
    }

    #[test]
    fn an_old_value_is_not_acted_on_however_sure_it_was() {
        assert_eq!(act(Some(90), Some(0.9)).0, "Yes");
        assert_eq!(act(Some(90), Some(0.1)).0, "Out of date");
        assert_eq!((act(Some(50), None).0, act(Some(20), Some(1.0)).0, act(None, Some(1.0)).0), ("With care", "No", "Unknown"));
    }
}
