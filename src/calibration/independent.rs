//! Truth that nobody planted: minutes of wear, half days delivered again, a second device, an ECG. Text in, figures out;
//! opening files is the caller's.

use super::baselines;
use super::bootstrap::Draws;
use super::lines::{Line, Told, areas};
use super::recorded::{self, Persons};
use crate::model::{Coverage, DayValue, Metric, Model, Ordering, Origin, Source, UploadKind};
use crate::quality::{Registry, Reviews, score_person};
use chrono::{DateTime, Days, NaiveDate};
use std::collections::{BTreeMap, HashMap};

/// Recorded data, as far as it is there.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// Deliveries of many persons, and their minutes of wear by day as CSV.
    pub wear: Option<(String, String)>,
    /// Deliveries in which one day comes half and later whole.
    pub half_days: Option<String>,
    /// Deliveries of one person with two devices.
    pub two_devices: Option<String>,
    /// Readings of wearables next to an ECG, a CSV a person.
    pub ecg: Vec<String>,
}

/// A forecast of ours, the baselines', and what came true.
#[derive(Debug, Clone, Copy)]
struct Case {
    ours: f64,
    baselines: [f64; 3],
    good: bool,
}

/// A person's scores by metric, source and day, with what the baselines say.
type Scored = HashMap<(Metric, Source, NaiveDate), (f64, [f64; 3])>;

fn score(values: &[DayValue], registry: &Registry) -> Scored {
    let own = baselines::of_person(values, registry);
    let by: HashMap<_, _> = values.iter().zip(own).map(|(v, b)| ((v.metric, &v.source, v.date), b)).collect();
    score_person(values, &Reviews::none(), registry, NaiveDate::MIN..=NaiveDate::MAX)
        .into_iter()
        .filter_map(|s| {
            let b = *by.get(&(s.metric, &s.source, s.date))?;
            Some(((s.metric, s.source, s.date), (s.probability, b)))
        })
        .collect()
}

/// A line of persons' cases, each its person's own.
fn line(name: &str, persons: &[Vec<Case>], draws: u32, seed: u64) -> Line {
    let told = |person: usize, c: &Case| Told { person, ours: c.ours, baselines: c.baselines, good: c.good };
    let all: Vec<Told> = persons.iter().enumerate().flat_map(|(person, cases)| cases.iter().map(move |c| told(person, c))).collect();
    areas(name, &[all], &Draws::new(persons.len(), draws, seed))
}

/// The same within each person: what one person's days differ in, not what persons differ in.
fn line_within(name: &str, persons: &[Vec<Case>], draws: u32, seed: u64) -> Line {
    let told = |person: usize, c: &Case| Told { person, ours: c.ours, baselines: c.baselines, good: c.good };
    let strata: Vec<Vec<Told>> =
        persons.iter().enumerate().map(|(person, cases)| cases.iter().map(|c| told(person, c)).collect()).collect();
    areas(name, &strata, &Draws::new(persons.len(), draws, seed))
}

/// How many persons are behind some cases, for a name.
fn behind(persons: &[Vec<Case>]) -> String {
    match persons.iter().filter(|p| !p.is_empty()).count() {
        1 => "1 person".to_owned(),
        n => format!("{n} persons"),
    }
}

/// All figures for which there are data.
pub fn lines(recorded: &Recorded, registry: &Registry, draws: u32, seed: u64) -> Vec<Line> {
    let mut all = Vec::new();
    if let Some((events, truth)) = &recorded.wear {
        all.extend(wear(&recorded::persons(events).0, truth, registry, draws, seed));
    }
    if let Some(events) = &recorded.half_days {
        all.push(half_days(events, registry, draws, seed));
    }
    if let Some(events) = &recorded.two_devices {
        all.extend(two_devices(&recorded::persons(events).0, registry, draws, seed));
    }
    if !recorded.ecg.is_empty() {
        all.extend(ecg(&recorded.ecg, registry, draws, seed));
    }
    all
}

/// Short wear against whole days, on every second person: the wear curve was fitted on the others.
fn wear(persons: &Persons, truth: &str, registry: &Registry, draws: u32, seed: u64) -> Vec<Line> {
    let minutes: BTreeMap<(&str, NaiveDate), u32> = truth
        .lines()
        .skip(1)
        .filter_map(|l| {
            let mut f = l.split(',');
            Some(((f.next()?, f.next()?.parse().ok()?), f.next()?.parse().ok()?))
        })
        .collect();
    let mut ids: Vec<&str> = minutes.keys().map(|k| k.0).collect();
    ids.dedup();
    let held_out: Vec<(&str, Scored)> =
        ids.iter().skip(1).step_by(2).filter_map(|id| Some((*id, score(persons.get(*id)?, registry)))).collect();
    let mut all = Vec::new();
    for metric in [Metric::Steps, Metric::TotalCalories, Metric::RestingHeartRate] {
        for (low, high) in [(0, 600), (600, 1200)] {
            let cases: Vec<Vec<Case>> = held_out
                .iter()
                .map(|(id, scored)| {
                    let mut found: Vec<_> = scored
                        .iter()
                        .filter(|((m, ..), _)| *m == metric)
                        .filter_map(|((_, _, date), (ours, baselines))| {
                            let worn = *minutes.get(&(*id, *date))?;
                            let case = Case { ours: *ours, baselines: *baselines, good: worn >= 1200 };
                            ((low..high).contains(&worn) || worn >= 1200).then_some((*date, case))
                        })
                        .collect();
                    found.sort_by_key(|f| f.0);
                    found.into_iter().map(|f| f.1).collect()
                })
                .collect();
            let name = format!("worn {low}–{} min, {}", high - 1, metric.key());
            if metric == Metric::RestingHeartRate {
                // Whoever seldom wears a device has other days too than whoever always does.
                all.push(line(&format!("{name} (0.5: flat in wear)"), &cases, draws, seed));
                all.push(line_within(&format!("{name}, within each person (0.5: flat in wear)"), &cases, draws, seed));
            } else {
                all.push(line(&name, &cases, draws, seed));
            }
        }
    }
    all
}

/// The day that came half, against the same day when it was whole.
fn half_days(events: &str, registry: &Registry, draws: u32, seed: u64) -> Line {
    /// When the cut deliveries end (13 April 2016) and which day they cut.
    const UNTIL_MS: i64 = 1_460_500_000_000;
    let day = NaiveDate::from_ymd_opt(2016, 4, 12).unwrap_or_default();
    let early = |l: &&str| {
        let ms = serde_json::from_str::<serde_json::Value>(l).ok().and_then(|v| v.get("ordering_ms")?.as_i64());
        ms.is_some_and(|ms| ms < UNTIL_MS)
    };
    let first: String = events.lines().filter(early).flat_map(|l| [l, "\n"]).collect();
    let of_day = |text: &str| -> BTreeMap<String, (f64, [f64; 3])> {
        let scored = recorded::persons(text).0.into_iter().map(|(id, values)| (id, score(&values, registry)));
        let steps = |s: Scored| s.into_iter().find(|((m, _, d), _)| *m == Metric::Steps && *d == day).map(|(_, found)| found);
        scored.filter_map(|(id, s)| Some((id, steps(s)?))).collect()
    };
    let (half, whole) = (of_day(&first), of_day(events));
    let cases: Vec<Vec<Case>> = half
        .iter()
        .filter_map(|(id, h)| {
            let w = whole.get(id)?;
            Some([(h, false), (w, true)].map(|((ours, baselines), good)| Case { ours: *ours, baselines: *baselines, good }).to_vec())
        })
        .collect();
    line("half day against the whole one, steps", &cases, draws, seed)
}

/// Nights with two devices: do the two differ by more than √2 tolerances, after their median difference of the common nights
/// before? Each device is scored as if the other were not there: given both, the scorer looks at that very difference.
fn two_devices(persons: &Persons, registry: &Registry, draws: u32, seed: u64) -> Vec<Line> {
    let mut all = Vec::new();
    for metric in [Metric::SleepDuration, Metric::RestingHeartRate, Metric::HrvRmssd, Metric::RespiratoryRate] {
        let Some(rule) = registry.rule(metric) else { continue };
        let mut cases: Vec<Vec<Case>> = Vec::new();
        for values in persons.values() {
            let alone = alone(values, registry);
            let mut days: BTreeMap<NaiveDate, Vec<&DayValue>> = BTreeMap::new();
            for v in values.iter().filter(|v| v.metric == metric) {
                days.entry(v.date).or_default().push(v);
            }
            let mut before: Vec<f64> = Vec::new();
            let mut person = Vec::new();
            for day in days.values().filter(|d| d.len() == 2) {
                let (a, b) = (day[0].min_by_source(day[1]), day[0].max_by_source(day[1]));
                let difference = a.value - b.value;
                let mut sorted: Vec<f64> = before.iter().rev().take(28).copied().collect();
                sorted.sort_by(f64::total_cmp);
                if let Some(usual) = sorted.get(sorted.len() / 2).filter(|_| sorted.len() >= 5) {
                    let good = (difference - usual).abs() <= std::f64::consts::SQRT_2 * rule.tolerance.at(b.value);
                    person.extend([a, b].iter().filter_map(|v| {
                        let (ours, baselines) = *alone.get(&(metric, v.source.clone(), v.date))?;
                        Some(Case { ours, baselines, good })
                    }));
                }
                before.push(difference);
            }
            cases.push(person);
        }
        if cases.iter().flatten().any(|c| !c.good) {
            all.push(line(&format!("two devices differ, {} ({})", metric.key(), behind(&cases)), &cases, draws, seed));
        }
    }
    all
}

/// The scores of a person's values, each source without the others.
fn alone(values: &[DayValue], registry: &Registry) -> Scored {
    let mut by_source: BTreeMap<&Source, Vec<DayValue>> = BTreeMap::new();
    for v in values {
        by_source.entry(&v.source).or_default().push(v.clone());
    }
    by_source.values().flat_map(|own| score(own, registry)).collect()
}

trait BySource {
    fn min_by_source<'a>(&'a self, other: &'a Self) -> &'a Self;
    fn max_by_source<'a>(&'a self, other: &'a Self) -> &'a Self;
}

impl BySource for DayValue {
    fn min_by_source<'a>(&'a self, other: &'a Self) -> &'a Self {
        if self.source <= other.source { self } else { other }
    }
    fn max_by_source<'a>(&'a self, other: &'a Self) -> &'a Self {
        if self.source <= other.source { other } else { self }
    }
}

/// What is read from a wearable and from the ECG, and its column.
const READ: [(Metric, &str); 3] = [(Metric::HrvRmssd, "rmssd"), (Metric::HrvSdnn, "sdnn"), (Metric::AverageHeartRate, "mean_hr")];

/// Readings of a few minutes next to an ECG; each condition counts as a day, each reading as a delivery with all it carries. A
/// device is one that nobody studied.
fn ecg(files: &[String], registry: &Registry, draws: u32, seed: u64) -> Vec<Line> {
    let persons: Vec<Readings> = files.iter().map(|text| readings(text)).collect();
    let scored: Vec<Scored> = persons.iter().map(|p| score(&p.values, registry)).collect();
    let mut all = Vec::new();
    for (metric, _) in READ {
        let Some(rule) = registry.rule(metric) else { continue };
        let case = |v: &DayValue, p: &Readings, scored: &Scored| {
            let (ours, baselines) = *scored.get(&(metric, v.source.clone(), v.date))?;
            let truth = *p.truth.get(&(metric, v.date))?;
            Some(Case { ours, baselines, good: (v.value - truth).abs() <= rule.tolerance.at(truth) })
        };
        let cases: Vec<Vec<Case>> = persons
            .iter()
            .zip(&scored)
            .map(|(p, scored)| p.values.iter().filter(|v| v.metric == metric).filter_map(|v| case(v, p, scored)).collect())
            .collect();
        if cases.iter().flatten().next().is_some() {
            all.push(line(&format!("reading off the ECG, {} ({})", metric.key(), behind(&cases)), &cases, draws, seed));
        }
    }
    all
}

/// One person's readings and what the ECG said.
#[derive(Debug, Default)]
struct Readings {
    values: Vec<DayValue>,
    truth: HashMap<(Metric, NaiveDate), f64>,
}

fn readings(text: &str) -> Readings {
    let mut found = Readings::default();
    let mut lines = text.lines();
    let heads: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let at = |name: &str| heads.iter().position(|h| *h == name);
    let (Some(device), Some(condition), Some(beats)) = (at("device"), at("conditions"), at("nibi_after_cropping")) else { return found };
    let mut conditions: Vec<&str> = Vec::new();
    let start = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap_or_default();
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |column: usize| fields.get(column).and_then(|f| f.parse::<f64>().ok());
        let (Some(device), Some(condition)) = (fields.get(device), fields.get(condition)) else { continue };
        let day = conditions.iter().position(|c| c == condition).unwrap_or_else(|| {
            conditions.push(condition);
            conditions.len() - 1
        });
        let date = start.checked_add_days(Days::new(day as u64)).unwrap_or(start);
        for (metric, column) in READ {
            let Some(value) = at(column).and_then(number) else { continue };
            if *device == "vu" {
                found.truth.insert((metric, date), value);
                continue;
            }
            found.values.push(DayValue {
                metric,
                source: Source::from_provider(device),
                date,
                value,
                model: Model::Daily,
                measured_at: None,
                ordering: Ordering { ms: 0, trace_id: String::new() },
                received_at: DateTime::UNIX_EPOCH,
                origin: Origin { upload: UploadKind::Automatic, ..Origin::default() },
                coverage: Coverage { samples: number(beats).map(|b| b as u32), ..Coverage::default() },
                findings: Vec::new(),
            });
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_reading_far_off_the_ecg_is_told_from_one_that_is_near() {
        let mut text = String::from("rmssd,conditions,device,nibi_after_cropping\n");
        for (i, name) in ["sitting", "standing", "walking", "biking", "arithmetic", "recovery"].iter().enumerate() {
            text.push_str(&format!("40,{name},vu,300\n{},{name},strap,300\n", if i == 3 { 250.0 } else { 40.5 + i as f64 * 0.3 }));
        }
        let found = lines(&Recorded { ecg: vec![text], ..Recorded::default() }, Registry::built_in(), 10, 1);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].n, found[0].ours.unwrap().value), (1, 1.0));
    }

    /// Given both devices the scorer looks at their difference, which is what decides here; it must not be asked that way.
    #[test]
    fn two_devices_are_scored_each_as_if_alone() {
        let metric = Metric::RestingHeartRate;
        let of = |source: &str, day: u64, value: f64| DayValue {
            metric,
            source: Source::from_provider(source),
            date: NaiveDate::from_ymd_opt(2026, 1, 1).unwrap() + Days::new(day),
            value,
            model: Model::Daily,
            measured_at: None,
            ordering: Ordering { ms: 0, trace_id: String::new() },
            received_at: DateTime::UNIX_EPOCH,
            origin: Origin { upload: UploadKind::Automatic, ..Origin::default() },
            coverage: Coverage::default(),
            findings: Vec::new(),
        };
        // On the last day the second device says something else, though nothing unusual for it.
        let own = |day: u64| 52.0 + (day * 7 % 5) as f64;
        let first: Vec<DayValue> = (0..30).map(|day| of("garmin", day, own(day))).collect();
        let second: Vec<DayValue> = (0..30).map(|day| of("whoop", day, if day == 29 { 45.0 } else { own(day) - 1.0 })).collect();
        let both: Vec<DayValue> = first.iter().chain(&second).cloned().collect();
        let registry = Registry::built_in();
        let key = (metric, Source::from_provider("garmin"), first[29].date);
        let (apart, together) = (alone(&both, registry)[&key], score(&both, registry)[&key]);
        assert_eq!(apart, score(&first, registry)[&key]);
        assert_ne!(apart.0, together.0, "given both, the other device has its say");
        let found = two_devices(&[("p".to_owned(), both)].into(), registry, 50, 1);
        let line = found.iter().find(|l| l.name == "two devices differ, resting_heart_rate (1 person)").unwrap();
        assert_eq!((line.n, line.ours.unwrap().interval), (2, None), "of one person nothing can be drawn again");
    }

    #[test]
    fn without_data_there_are_no_figures() {
        assert!(lines(&Recorded::default(), Registry::built_in(), 10, 1).is_empty());
    }
}
