//! A metric over time as a drawing: the values that were taken, those of other sources, the person's own band, the
//! values that were doubted, and where the device changed. Pure; rounded to a tenth, so the page is the same every time.

use super::words;
use crate::{
    components::text,
    model::Metric,
    quality::{MetricRule, math, registry::Scale},
    store::series::Point,
};
use chrono::{Days, NaiveDate};

/// Days before a day that make its band.
pub(super) const BAND_DAYS: u64 = 28;
/// Fewer values make no band.
const BAND_LEAST: usize = 5;
/// Below this a value counts as doubted, and is no part of the band or of a verdict.
pub(super) const DOUBTED: i32 = 40;
/// More changes of device than this are in the table only.
const MOST_SWITCHES: usize = 12;

/// A drawing in a box of 1000 × 100.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Trend {
    pub band: String,
    pub line: String,
    pub dots: String,
    pub others: String,
    pub doubted: String,
    pub switches: String,
    /// What changed, and when.
    pub switched: Vec<(String, String)>,
    /// Labels of the scale: top, middle, bottom.
    pub scale: [String; 3],
    /// Labels of the days.
    pub ticks: Vec<String>,
    /// What it shows, for those who do not see it.
    pub spoken: String,
    pub empty: bool,
}

/// The value of each day that is taken: the first of the day, as the points come in order.
pub(super) fn taken(points: &[Point]) -> Vec<&Point> {
    let mut taken: Vec<&Point> = Vec::new();
    for p in points {
        if taken.last().is_none_or(|last| last.day != p.day) {
            taken.push(p);
        }
    }
    taken
}

/// Whether something speaks against a value.
pub(super) fn doubted(p: &Point) -> bool {
    p.verdict.as_deref() != Some("dismissed") && (p.score.is_some_and(|s| s < DOUBTED) || p.verdict.is_some())
}

/// Median and spread of the days before, on the scale on which the metric scatters evenly.
fn baseline(rule: Option<&MetricRule>, taken: &[&Point], day: NaiveDate) -> Option<(f64, f64)> {
    let from = day.checked_sub_days(Days::new(BAND_DAYS))?;
    let scaled = |v: f64| rule.map_or(v, |r| r.scaled(v));
    let mut values: Vec<f64> = taken.iter().filter(|p| p.day >= from && p.day < day && !doubted(p)).map(|p| scaled(p.value)).collect();
    if values.len() < BAND_LEAST {
        return None;
    }
    let median = math::median(&mut values)?;
    let mut off: Vec<f64> = values.iter().map(|v| (v - median).abs()).collect();
    let spread = (1.4826 * math::median(&mut off)?).max(rule.map_or(0.0, |r| r.floor));
    let back = |x: f64| match rule.map(|r| r.scale) {
        Some(Scale::Log(offset)) => libm::exp(x) - offset,
        _ => x,
    };
    Some((back(median - 2.0 * spread), back(median + 2.0 * spread)))
}

/// Whether a value is drawn when only those that can be trusted are asked for.
pub(super) fn is_sound(score: Option<i32>) -> bool {
    score.is_some_and(|s| s >= 60)
}

/// Draws the days from `from` to `to`. `points` begin [`BAND_DAYS`] earlier, so that the first day has its band. With
/// `sound` the others are hidden, and only hidden: which value is taken, the band and the changes of device stay.
pub(super) fn draw(metric: Metric, rule: Option<&MetricRule>, points: &[Point], sound: bool, from: NaiveDate, to: NaiveDate) -> Trend {
    let all = taken(points);
    let visible = |p: &Point| p.day >= from && p.day <= to && (!sound || is_sound(p.score));
    let band: Vec<(NaiveDate, f64, f64)> =
        from.iter_days().take_while(|d| *d <= to).filter_map(|d| baseline(rule, &all, d).map(|(low, high)| (d, low, high))).collect();
    let of_range: Vec<&Point> = all.iter().filter(|p| p.day >= from && p.day <= to).copied().collect();
    let shown: Vec<&Point> = of_range.iter().filter(|p| visible(p)).copied().collect();
    let others: Vec<&Point> =
        points.iter().filter(|p| visible(p) && !of_range.iter().any(|t| t.day == p.day && t.source == p.source)).collect();
    let Some((low, high)) = limits(if shown.is_empty() { &others } else { &shown }, &band) else {
        return Trend { empty: true, ..Trend::default() };
    };
    let days = (to - from).num_days().max(1) as f64;
    let x = |d: NaiveDate| 1000.0 * (d - from).num_days() as f64 / days;
    let y = |v: f64| 100.0 - 100.0 * ((v - low) / (high - low)).clamp(0.0, 1.0);
    let dot = |p: &Point| format!("M{:.1} {:.1}h0.01", x(p.day), y(p.value));
    let apart = rule.map_or(1.0, |r| (2.0 * r.cadence_days).floor().max(1.0)) as i64;
    let switched = switches(&of_range);
    let lines = switched.iter().take(MOST_SWITCHES).map(|(d, _)| format!("M{:.1} 0V100", x(*d)));
    let label = |v: f64| words::amount(metric, v);
    let ticks = (0..5).filter_map(|i| from.checked_add_days(Days::new((days * f64::from(i) / 4.0).round() as u64)));
    Trend {
        band: area(&band, &x, &y),
        line: path(&shown, apart, &x, &y),
        dots: shown.iter().filter(|p| !doubted(p)).map(|p| dot(p)).collect(),
        others: others.iter().map(|p| dot(p)).collect(),
        doubted: shown.iter().filter(|p| doubted(p)).map(|p| dot(p)).collect(),
        switches: lines.collect(),
        scale: [label(high), label((low + high) / 2.0), label(low)],
        ticks: ticks.map(|d| text::day(d, to)).collect(),
        spoken: format!(
            "{} from {} to {}: {} with a value, {} of them doubted",
            metric.name(),
            text::date(from),
            text::date(to),
            text::plural(shown.len() as i64, "day", "days"),
            shown.iter().filter(|p| doubted(p)).count()
        ),
        switched: switched.into_iter().map(|(d, what)| (text::day(d, to), what)).collect(),
        empty: false,
    }
}

/// The scale: from the values that are not doubted and the band; one that is doubted lies at the edge, so that a spike does
/// not flatten everything else. Without values there is none.
fn limits(shown: &[&Point], band: &[(NaiveDate, f64, f64)]) -> Option<(f64, f64)> {
    if shown.is_empty() {
        return None;
    }
    let sound: Vec<f64> = shown.iter().filter(|p| !doubted(p)).map(|p| p.value).collect();
    let values = if sound.is_empty() { shown.iter().map(|p| p.value).collect() } else { sound };
    let all = values.into_iter().chain(band.iter().flat_map(|b| [b.1, b.2]));
    let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let room = ((high - low) * 0.06).max(high.abs() * 0.01).max(1e-9);
    Some((if low >= 0.0 { (low - room).max(0.0) } else { low - room }, high + room))
}

/// Where the source or the device of the values taken is another than before.
fn switches(shown: &[&Point]) -> Vec<(NaiveDate, String)> {
    let mut found = Vec::new();
    let mut before: Option<(&str, Option<&str>)> = None;
    for p in shown {
        let device = p.device.as_deref();
        match before {
            Some((source, _)) if source != p.source => {
                found.push((p.day, format!("{} → {}", words::provider(source), words::provider(&p.source))))
            }
            Some((_, Some(old))) if device.is_some_and(|d| d != old) => {
                found.push((p.day, format!("{old} → {}", device.unwrap_or_default())))
            }
            _ => {}
        }
        let kept = before.filter(|b| b.0 == p.source).and_then(|b| b.1);
        before = Some((&p.source, device.or(kept)));
    }
    found
}

/// A line that breaks where more than `apart` days lie between two values: missing is not zero.
fn path(shown: &[&Point], apart: i64, x: &impl Fn(NaiveDate) -> f64, y: &impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let mut before: Option<NaiveDate> = None;
    for p in shown {
        let joined = before.is_some_and(|b| (p.day - b).num_days() <= apart);
        path.push_str(&format!("{}{:.1} {:.1}", if joined { 'L' } else { 'M' }, x(p.day), y(p.value)));
        before = Some(p.day);
    }
    path
}

/// The band as areas between its two edges, one for each run of days.
fn area(band: &[(NaiveDate, f64, f64)], x: &impl Fn(NaiveDate) -> f64, y: &impl Fn(f64) -> f64) -> String {
    band.chunk_by(|a, b| (b.0 - a.0).num_days() == 1)
        .map(|run| {
            let there = run.iter().map(|b| format!("{:.1} {:.1}", x(b.0), y(b.2)));
            let back = run.iter().rev().map(|b| format!("{:.1} {:.1}", x(b.0), y(b.1)));
            format!("M{}Z", there.chain(back).collect::<Vec<_>>().join("L"))
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(super) mod tests {
    use super::*;
    use crate::quality::Registry;

    pub(in super::super) fn point(day: u32, source: &str, value: f64, score: i32) -> Point {
        let first = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap();
        Point {
            source: source.to_owned(),
            day: first + Days::new(u64::from(day)),
            value,
            measured_at: None,
            received_at: chrono::DateTime::UNIX_EPOCH,
            device: None,
            score: Some(score),
            probability: Some(f64::from(score) / 100.0),
            low: None,
            high: None,
            doubts: Vec::new(),
            verdict: None,
        }
    }

    fn drawn(points: &[Point]) -> Trend {
        only(points, false)
    }

    fn only(points: &[Point], sound: bool) -> Trend {
        let first = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap();
        draw(Metric::RestingHeartRate, Registry::built_in().rule(Metric::RestingHeartRate), points, sound, first, first + Days::new(20))
    }

    #[test]
    fn hiding_doubtful_values_makes_no_other_source_the_one_taken() {
        // Of each day Garmin is taken; every third of its days is doubtful, WHOOP never is.
        let points: Vec<Point> = (0..=20)
            .flat_map(|d| [point(d, "garmin", 50.0 + f64::from(d % 2), if d % 3 == 0 { 30 } else { 85 }), point(d, "whoop", 70.0, 90)])
            .collect();
        let (all, sound) = (drawn(&points), only(&points, true));
        assert_eq!(sound.dots.matches('M').count(), 14, "Garmin's trusted days, and none of WHOOP's");
        assert_eq!((sound.others.matches('M').count(), sound.doubted.as_str()), (21, ""));
        assert_eq!((&sound.band, &sound.switches), (&all.band, &all.switches), "nothing but the hidden values changes");
        assert!(sound.switched.is_empty(), "{:?}", sound.switched);
        // Where only another source's values are left, they are drawn as that.
        let poor: Vec<Point> = (0..=20).flat_map(|d| [point(d, "garmin", 50.0, 30), point(d, "whoop", 70.0, 90)]).collect();
        let left = only(&poor, true);
        assert!(!left.empty && left.dots.is_empty() && left.line.is_empty() && left.others.matches('M').count() == 21);
        assert!(only(&poor[..1], true).empty);
    }

    #[test]
    fn a_gap_is_a_gap_and_a_spike_does_not_flatten_the_rest() {
        let mut points: Vec<Point> =
            (0..=20).filter(|d| !(8..=11).contains(d)).map(|d| point(d, "garmin", 50.0 + f64::from(d % 3), 85)).collect();
        points.push(point(20, "whoop", 55.0, 80));
        points[3].value = 255.0;
        points[3].score = Some(1);
        let t = drawn(&points);
        assert_eq!(t.line.matches('M').count(), 2, "{}", t.line);
        assert_eq!((t.doubted.matches('M').count(), t.others.matches('M').count()), (1, 1));
        assert!(t.doubted.contains(" 0.0h"), "at the upper edge: {}", t.doubted);
        assert!(t.scale[0].starts_with("5"), "{:?}", t.scale);
        assert!(!t.band.is_empty());
        assert!(t.spoken.contains("17 days with a value, 1 of them doubted"), "{}", t.spoken);
    }

    #[test]
    fn a_change_of_source_or_device_is_marked_once() {
        let mut points: Vec<Point> = (0..=20).map(|d| point(d, if d < 10 { "garmin" } else { "whoop" }, 50.0, 85)).collect();
        for p in &mut points {
            p.device = match p.source.as_str() {
                "garmin" => None,
                _ if p.day < NaiveDate::from_ymd_opt(2026, 1, 16).unwrap() => Some("4.0".into()),
                _ => Some("5.0".into()),
            };
        }
        let t = drawn(&points);
        assert_eq!(t.switched, [("11 Jan".to_owned(), "Garmin → WHOOP".to_owned()), ("16 Jan".to_owned(), "4.0 → 5.0".to_owned())]);
        assert_eq!(t.switches.matches('M').count(), 2);
    }

    #[test]
    fn without_values_there_is_nothing_to_draw() {
        assert!(drawn(&[]).empty);
        let one = drawn(&[point(4, "garmin", 50.0, 80)]);
        assert!(!one.empty && one.band.is_empty() && one.line.starts_with('M'));
    }
}
