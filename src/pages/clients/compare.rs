//! Is this change real, and how do two devices of one person agree? The figures are the scorer's (`quality::change`);
//! here they get their days, their sentences and their drawing. Pure.

use super::{trend, words};
use crate::{
    components::text,
    model::Metric,
    quality::{
        Registry,
        change::{Agreement, ChangeVerdict, agreement, change_is_real},
    },
    store::series::Point,
};
use chrono::{Days, NaiveDate};
use std::collections::BTreeMap;

/// Days before, against which the newest are held.
pub(super) const BEFORE: u64 = 28;
/// Most days with both devices that are compared.
pub(super) const PAIR_DAYS: u64 = 365;

/// What the newest days say against the days before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Which days.
    pub days: String,
    /// In one word or two; its tone beside it.
    pub verdict: String,
    pub tone: &'static str,
    /// The change, and the smallest that could be told from noise.
    pub difference: String,
    pub smallest: String,
    /// In a sentence.
    pub sentence: String,
}

/// The newest day, the newest three and the newest seven against the 28 before each. `taken` are the values taken, by day.
pub(super) fn comparisons(registry: &Registry, metric: Metric, taken: &[&Point]) -> Vec<Comparison> {
    let Some(newest) = taken.last() else { return Vec::new() };
    if registry.rule(metric).is_none() {
        return Vec::new();
    }
    [(1, "The newest day"), (3, "The last 3 days"), (7, "The last 7 days")]
        .map(|(k, name)| compare(registry, metric, taken, newest, k, name))
        .into()
}

/// Whether two values were measured by the same device, as far as is known: another one differs by its own offset, and
/// that is no change of the person.
fn same_device(a: &Point, b: &Point) -> bool {
    a.source == b.source && (a.device.is_none() || b.device.is_none() || a.device == b.device)
}

fn compare(registry: &Registry, metric: Metric, taken: &[&Point], last: &Point, k: u64, name: &str) -> Comparison {
    let newest = last.day;
    let start = newest - Days::new(k - 1);
    let from = start - Days::new(BEFORE);
    let all = taken;
    let taken: Vec<&Point> = all.iter().filter(|p| same_device(p, last)).copied().collect();
    let others = all.iter().filter(|p| p.day >= from && !same_device(p, last)).count();
    let sound = |p: &&&Point| !trend::doubted(p) && p.probability.is_some();
    let weighed = |p: &&Point| (p.value, p.probability.unwrap_or(0.0));
    let of = |low: NaiveDate, high: NaiveDate| taken.iter().filter(move |p| p.day >= low && p.day < high);
    let after: Vec<_> = of(start, newest + Days::new(1)).filter(sound).map(weighed).collect();
    let before: Vec<_> = of(from, start).filter(sound).map(weighed).collect();
    let mut aside = left_out(of(from, newest + Days::new(1)).copied());
    if others > 0 {
        let days = if others == 1 { "One day".to_owned() } else { format!("{others} days") };
        aside.push_str(&format!(
            " {days} measured by another device or source {} left out: an offset between devices is no change.",
            if others == 1 { "was" } else { "were" }
        ));
    }
    let none = |why: &str| Comparison {
        days: name.to_owned(),
        verdict: "No verdict".to_owned(),
        tone: "unknown",
        sentence: format!("{why}{aside}"),
        ..Comparison::default()
    };
    if after.is_empty() {
        return none("No trusted value is among the newest days, and no other drives a verdict.");
    }
    let Some(change) = change_is_real(registry, metric, &before, &after) else {
        return none("There are too few trusted days before: three are needed.");
    };
    let shown = |d: f64| {
        if change.percent { format!("{}{:.1} %", if d < 0.0 { "−" } else { "+" }, d.abs()) } else { words::difference(metric, d) }
    };
    let (verdict, tone, sentence) = match change.verdict {
        ChangeVerdict::Real => ("Real".to_owned(), "good", "More than chance shows between such days.".to_owned()),
        ChangeVerdict::WithinNoise => {
            ("Within noise".to_owned(), "unknown", "This person’s days differ by as much without any reason.".to_owned())
        }
        ChangeVerdict::NeedsDays(1) => ("Needs 1 more day".to_owned(), "fair", "One more such day would decide.".to_owned()),
        ChangeVerdict::NeedsDays(n) => (format!("Needs {n} more days"), "fair", format!("{n} more such days would decide.")),
    };
    Comparison {
        days: name.to_owned(),
        verdict,
        tone,
        difference: shown(change.difference),
        smallest: change.smallest.map_or_else(|| "none can be shown".to_owned(), shown),
        sentence: format!("{sentence}{aside}"),
    }
}

/// How many values are no part of a verdict, each for its own reason.
fn left_out<'a>(points: impl Iterator<Item = &'a Point>) -> String {
    let mut counts = [0_usize; 3];
    for p in points {
        match (p.verdict.as_deref(), p.score) {
            (Some("confirmed"), _) => counts[0] += 1,
            (None, Some(score)) if score < trend::DOUBTED => counts[1] += 1,
            _ if p.probability.is_none() => counts[2] += 1,
            _ => {}
        }
    }
    let reasons = ["confirmed as a fault", "below 40", "not scored yet"];
    let said = counts.iter().zip(reasons).filter(|(n, _)| **n > 0).map(|(n, why)| match n {
        1 => format!(" One value {why} was left out."),
        n => format!(" {n} values {} were left out.", why.replace("a fault", "faults")),
    });
    said.collect()
}

/// Two devices side by side, ready to draw in a box of 1000 × 100.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pair {
    pub first: String,
    pub second: String,
    pub agreement: Agreement,
    /// First minus second, over their mean.
    pub dots: String,
    pub bias: f64,
    pub upper: f64,
    pub lower: f64,
    pub zero: Option<f64>,
    /// Labels of the scale from top to bottom, of the means from left to right.
    pub scale: [String; 2],
    pub means: [String; 2],
    /// Day, first, second, difference; newest first.
    pub rows: Vec<[String; 4]>,
    /// In words: the usual offset, the limits, and what they mean for acting.
    pub sentences: Vec<String>,
}

/// The two sources with most common days; `None` with fewer than three. Values that a person confirmed as faults or that
/// cannot be are left out; what is merely doubted stays, or the limits would flatter.
pub(super) fn pair(registry: &Registry, metric: Metric, points: &[Point]) -> Option<Pair> {
    let fit =
        |p: &&Point| p.verdict.as_deref() != Some("confirmed") && !p.doubts.iter().any(|d| d == "impossible" || d == "zero_for_missing");
    let mut days: BTreeMap<NaiveDate, BTreeMap<&str, f64>> = BTreeMap::new();
    for p in points.iter().filter(fit) {
        days.entry(p.day).or_default().insert(&p.source, p.value);
    }
    let mut common: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for sources in days.values() {
        let names: Vec<&str> = sources.keys().copied().collect();
        for (i, a) in names.iter().enumerate() {
            names[i + 1..].iter().for_each(|b| *common.entry((a, b)).or_default() += 1);
        }
    }
    let ((a, b), _) = common.into_iter().max_by(|x, y| x.1.cmp(&y.1).then(y.0.cmp(&x.0)))?;
    let both: Vec<(NaiveDate, f64, f64)> = days.iter().filter_map(|(d, s)| Some((*d, *s.get(a)?, *s.get(b)?))).collect();
    let agreement = agreement(&both.iter().map(|p| (p.1, p.2)).collect::<Vec<_>>())?;
    Some(drawn(registry, metric, (a, b), &both, agreement))
}

fn drawn(registry: &Registry, metric: Metric, (a, b): (&str, &str), both: &[(NaiveDate, f64, f64)], agreement: Agreement) -> Pair {
    let points: Vec<(f64, f64)> = both.iter().map(|p| ((p.1 + p.2) / 2.0, p.1 - p.2)).collect();
    let extent = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let room = ((high - low) * 0.08).max(1e-9);
        (low - room, high + room)
    };
    let (left, right) = extent(&mut points.iter().map(|p| p.0));
    let limits = [agreement.limits.0, agreement.limits.1, 0.0];
    let (bottom, top) = extent(&mut points.iter().map(|p| p.1).chain(limits));
    let y = |v: f64| 100.0 - 100.0 * (v - bottom) / (top - bottom);
    let dots = points.iter().map(|p| format!("M{:.1} {:.1}h0.01", 1000.0 * (p.0 - left) / (right - left), y(p.1))).collect();
    let (first, second) = (words::provider(a), words::provider(b));
    Pair {
        dots,
        bias: tenth(y(agreement.bias)),
        upper: tenth(y(agreement.limits.1)),
        lower: tenth(y(agreement.limits.0)),
        zero: Some(tenth(y(0.0))),
        scale: [words::difference(metric, top), words::difference(metric, bottom)],
        means: [words::amount(metric, left), words::amount(metric, right)],
        rows: both
            .iter()
            .rev()
            .take(60)
            .map(|(d, x, z)| [text::date(*d), words::amount(metric, *x), words::amount(metric, *z), words::difference(metric, x - z)])
            .collect(),
        sentences: sentences(
            registry,
            metric,
            (&first, &second),
            &agreement,
            points.iter().map(|p| p.0).sum::<f64>() / points.len() as f64,
        ),
        first,
        second,
        agreement,
    }
}

fn tenth(v: f64) -> f64 {
    (v * 10.0).round() / 10.0
}

fn sentences(registry: &Registry, metric: Metric, (a, b): (&str, &str), g: &Agreement, mean: f64) -> Vec<String> {
    let d = |v: f64| words::difference(metric, v);
    let more = if g.bias < 0.0 { "less" } else { "more" };
    let size = d(g.bias.abs()).trim_start_matches('+').to_owned();
    let mut all = vec![
        format!("{a} usually shows {size} {more} than {b}, over {} common days.", g.n),
        format!("19 of 20 differences lie between {} and {}.", d(g.limits.0), d(g.limits.1)),
    ];
    if g.proportional() {
        // An offset below nought that rises comes nearer to none.
        let way = if g.slope * g.bias > 0.0 { "grows" } else { "shrinks" };
        all.push(format!("The offset {way} with the value: by {:.2} for each unit.", g.slope.abs()));
    }
    if let Some(rule) = registry.rule(metric) {
        let tolerance = rule.tolerance.at(mean);
        let half = (g.limits.1 - g.limits.0) / 2.0;
        let said = d(tolerance).trim_start_matches('+').to_owned();
        all.push(if half <= tolerance {
            format!("After the offset the two can stand in for each other: what is left is within ±{said}, near enough to act on.")
        } else {
            format!("Even after the offset the two cannot stand in for each other: ±{said} would be near enough to act on. Stay with one.")
        });
    }
    all.push(format!("Concordance (Lin) {:.2}; 1 is perfect agreement.", g.ccc));
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{super::trend::tests::point, *};

    fn verdicts(points: &[Point]) -> Vec<(String, String)> {
        let taken: Vec<&Point> = points.iter().collect();
        comparisons(Registry::built_in(), Metric::RestingHeartRate, &taken).into_iter().map(|c| (c.verdict, c.sentence)).collect()
    }

    fn days(last: f64, score: i32) -> Vec<Point> {
        let mut points: Vec<Point> = (0..30).map(|d| point(d, "garmin", 50.0 + f64::from(d % 5) - 2.0, 85)).collect();
        points.push(point(30, "garmin", last, score));
        points
    }

    #[test]
    fn a_large_change_is_real_a_small_one_is_noise() {
        assert_eq!(verdicts(&days(62.0, 85))[0].0, "Real");
        assert_eq!(verdicts(&days(50.1, 85))[0].0, "Within noise");
        assert!(verdicts(&days(52.5, 85))[0].0.starts_with("Needs "));
    }

    #[test]
    fn a_low_confidence_value_never_drives_a_verdict_and_the_page_says_so() {
        // The same spike that is real when it is trusted.
        let found = verdicts(&days(255.0, 3));
        assert_eq!(found[0].0, "No verdict");
        assert!(found[0].1.contains("no other drives a verdict") && found[0].1.contains("One value below 40 was left out"), "{found:?}");
        let (with, without) = (verdicts(&days(255.0, 3)), verdicts(&days(50.0, 85)));
        assert_eq!(with[2].0, without[2].0, "nor that of the week");
    }

    #[test]
    fn each_value_left_out_is_counted_under_its_own_reason() {
        let mut points = days(50.0, 85);
        points[30].score = None;
        points[30].probability = None;
        let unscored = verdicts(&points);
        assert!(unscored[0].1.contains("One value not scored yet was left out."), "{unscored:?}");
        assert!(!unscored[0].1.contains("below 40"), "nothing was below 40: {unscored:?}");
        // A person's word counts more than the score; a value cleared by a person takes part.
        for p in &mut points[10..12] {
            p.verdict = Some("confirmed".into());
        }
        points[12].score = Some(12);
        points[13].score = Some(12);
        points[13].verdict = Some("dismissed".into());
        let found = verdicts(&points);
        for part in
            ["2 values confirmed as faults were left out.", "One value below 40 was left out.", "One value not scored yet was left out."]
        {
            assert!(found[0].1.contains(part), "{part}: {found:?}");
        }
    }

    #[test]
    fn an_offset_that_comes_nearer_to_none_shrinks_whichever_device_shows_more() {
        let said = |bias: f64, slope: f64| {
            let g = Agreement { n: 60, bias, sd: 1.0, limits: (bias - 2.0, bias + 2.0), slope, slope_error: 0.01, ccc: 0.9 };
            sentences(Registry::built_in(), Metric::RestingHeartRate, ("Garmin", "WHOOP"), &g, 60.0).join(" ")
        };
        for (bias, slope, word) in [(-6.0, 0.2, "shrinks"), (-6.0, -0.2, "grows"), (6.0, 0.2, "grows"), (6.0, -0.2, "shrinks")] {
            assert!(said(bias, slope).contains(&format!("The offset {word} with the value: by 0.20")), "{}", said(bias, slope));
        }
    }

    #[test]
    fn a_new_device_is_no_change_of_the_person() {
        // Fifteen days each: the new watch shows twelve more, and nothing else happened.
        let steady = |d: u32| 50.0 + f64::from(d % 5) - 2.0;
        let mut points: Vec<Point> = (0..15).map(|d| point(d, "garmin", steady(d), 85)).collect();
        points.extend((15..30).map(|d| point(d, "whoop", steady(d) + 12.0, 85)));
        let found = verdicts(&points);
        assert!(found.iter().all(|v| v.0 != "Real"), "{found:?}");
        assert!(found[2].1.contains("15 days measured by another device or source were left out"), "{found:?}");
        let fresh = verdicts(&points[..16]);
        assert!(fresh[0].0 == "No verdict" && fresh[0].1.contains("15 days measured by another"), "{fresh:?}");
    }

    #[test]
    fn too_little_past_is_no_verdict_and_nothing_is_nothing() {
        assert_eq!(verdicts(&[point(0, "garmin", 50.0, 85), point(1, "garmin", 60.0, 85)])[0].0, "No verdict");
        assert!(verdicts(&[]).is_empty());
        let one = point(0, "whoop", 50.0, 85);
        assert!(comparisons(Registry::built_in(), Metric::RecoveryScore, &[&one]).is_empty());
    }

    #[test]
    fn two_devices_with_a_planted_offset() {
        let noise = |d: u32| f64::from(d * 7 % 5) - 2.0;
        let points: Vec<Point> = (0..60)
            .flat_map(|d| {
                [point(d, "garmin", 55.0 + f64::from(d % 9) + 4.0 + noise(d), 80), point(d, "whoop", 55.0 + f64::from(d % 9), 80)]
            })
            .collect();
        let p = pair(Registry::built_in(), Metric::RestingHeartRate, &points).unwrap();
        assert_eq!((p.first.as_str(), p.second.as_str(), p.agreement.n), ("Garmin", "WHOOP", 60));
        assert!((p.agreement.bias - 4.0).abs() < 0.01, "{:?}", p.agreement);
        assert_eq!(p.sentences[0], "Garmin usually shows 4.0 bpm more than WHOOP, over 60 common days.");
        assert!(p.upper < p.bias && p.bias < p.lower && p.bias < p.zero.unwrap());
        assert_eq!((p.dots.matches('M').count(), p.rows.len()), (60, 60));
        assert!(pair(Registry::built_in(), Metric::RestingHeartRate, &points[..4]).is_none());
    }

    #[test]
    fn what_cannot_be_is_left_out_of_the_limits_what_is_doubted_stays() {
        let mut points: Vec<Point> =
            (0..20).flat_map(|d| [point(d, "garmin", 50.0 + f64::from(d % 4), 80), point(d, "whoop", 50.0, 80)]).collect();
        points[0].value = 255.0;
        points[0].doubts = vec!["impossible".into()];
        points[2].score = Some(10);
        assert_eq!(pair(Registry::built_in(), Metric::RestingHeartRate, &points).unwrap().agreement.n, 19);
    }
}
