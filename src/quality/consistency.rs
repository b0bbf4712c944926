//! Consistency: does the number fit the other numbers of its own delivery and its own past, and if not, which fault
//! would explain it?
//!
//! Suspicions only: each names the fault and, where there is one, the reading that would fit; the value stays as it is.

use super::arrange::{Day, kind_of};
use super::delivery;
use super::links::Link;
use super::math;
use super::plausibility::Plausibility;
use super::registry::MetricRule;
use super::repeats::Repeat;
use super::units;
use super::window::Baseline;
use crate::model::{DayValue, Finding, FindingKind, Metric};

/// How often a sensor sticks.
const STUCK: f64 = 0.003;
/// How often a day is filed under its neighbour's date.
const SHIFTED: f64 = 0.003;
/// How often RMSSD and SDNN are taken for each other.
const EXCHANGED: f64 = 0.003;
/// How often one of two linked numbers is wrong.
const UNLINKED: f64 = 0.02;
/// What is left to a number that contradicts another one of the same delivery.
const CONTRADICTED: f64 = 0.35;
/// Suspicion from which a finding is written.
const WORTH_SAYING: f64 = 0.5;

/// A linked metric of the same day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Linked {
    /// The partner.
    pub partner: Metric,
    /// ln of their ratio.
    pub ratio: f64,
    /// The person's usual ratio.
    pub usual: Option<Baseline>,
    /// The partner's own distance from the person's median, in spreads.
    pub z: f64,
}

/// What consistency is judged from.
#[derive(Debug)]
pub struct Given<'a> {
    /// The metric's rule.
    pub rule: &'a MetricRule,
    /// The value.
    pub value: &'a DayValue,
    /// On the metric's scale.
    pub x: f64,
    /// The source's day.
    pub day: &'a Day,
    /// Its plausibility.
    pub plausibility: &'a Plausibility,
    /// Repeats.
    pub repeat: Repeat,
    /// Hours from the day's midnight (UTC) to the end of measuring, and what is usual.
    pub ended: Option<(f64, Baseline)>,
    /// The linked metric.
    pub linked: Option<Linked>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Consistency {
    /// Probability that none of the suspicions is true.
    pub keeps: f64,
    /// The suspicions worth saying, strongest first.
    pub findings: Vec<Finding>,
    /// The strongest suspicion that is too weak for a finding, and its probability: it still takes points, so the
    /// explanation must be able to name it.
    pub faint: Option<(f64, String)>,
}

impl Consistency {
    fn suspect(&mut self, suspicion: f64, finding: impl FnOnce() -> (FindingKind, String, Option<f64>), metric: Metric) {
        self.keeps *= 1.0 - suspicion;
        if suspicion >= WORTH_SAYING {
            let (kind, detail, proposed) = finding();
            self.findings.push(Finding { kind, metric: Some(metric), detail, proposed });
        } else if suspicion > self.faint.as_ref().map_or(0.03, |(strongest, _)| *strongest) {
            self.faint = Some((suspicion, finding().1));
        }
    }
}

/// Judges one value.
pub fn judge(given: &Given<'_>) -> Consistency {
    let mut found = Consistency { keeps: 1.0, findings: Vec::new(), faint: None };
    unit(given, &mut found);
    if !given.plausibility.impossible {
        stuck(given, &mut found);
        shifted(given, &mut found);
        misplaced(given, &mut found);
        exchanged_level(given, &mut found);
        linked(given, &mut found);
        arithmetic(given, &mut found);
    }
    found
}

/// A unit mixed up: another reading of the same digits is far more believable.
fn unit(given: &Given<'_>, found: &mut Consistency) {
    let plausibility = given.plausibility;
    if plausibility.keeps > 0.9 && plausibility.z.abs() < 3.0 {
        return;
    }
    let Some(reading) = units::best(given.rule, given.value.value, given.x, plausibility.baseline) else { return };
    found.suspect(reading.suspicion, || (reading.kind, reading.words(given.rule), Some(reading.proposed)), given.rule.metric);
}

fn stuck(given: &Given<'_>, found: &mut Consistency) {
    let Repeat { run, chance } = given.repeat;
    if run == 0 || given.value.value == 0.0 {
        return;
    }
    let by_chance = (0..run).fold(1.0, |p, _| p * chance);
    let suspicion = math::posterior(STUCK, 1.0, by_chance);
    let detail = || {
        let kind = if run == 1 { FindingKind::Copied } else { FindingKind::Stuck };
        (kind, format!("exactly the same value {} times in a row", run + 1), None)
    };
    found.suspect(suspicion, detail, given.rule.metric);
}

/// The measuring usually ends at about the same hour; a day off is a wrong date.
fn shifted(given: &Given<'_>, found: &mut Consistency) {
    let Some((hours, usual)) = given.ended else { return };
    let off = hours - usual.median;
    if usual.n < 3 || off.abs() < 12.0 {
        return;
    }
    let nearest = if off > 0.0 { off - 24.0 } else { off + 24.0 };
    let sound = math::t4(off / usual.spread);
    let suspicion = math::posterior(SHIFTED, math::t4(nearest / usual.spread), sound);
    let detail = || {
        let way = if off > 0.0 { "later" } else { "earlier" };
        (FindingKind::ShiftedDay, format!("measured {:.0} hours {way} than usual for its date", off.abs()), None)
    };
    found.suspect(suspicion, detail, given.rule.metric);
}

/// The delivery as a whole is somebody else's, or the day before's once more.
fn misplaced(given: &Given<'_>, found: &mut Consistency) {
    let kind = kind_of(given.value.model);
    let (foreign, again) = (given.day.foreign[kind], given.day.again[kind]);
    let stranger =
        || (FindingKind::OtherPerson, "the numbers of this delivery are somebody else's rather than this person's".to_owned(), None);
    found.suspect(delivery::somebody_else(foreign), stranger, given.rule.metric);
    let copy = || (FindingKind::Copied, "this delivery is the day before's to the last digit: one of the two is wrong".to_owned(), None);
    found.suspect(delivery::copied(again), copy, given.rule.metric);
}

/// RMSSD where SDNN belongs or the other way round, seen in the level alone: the value would be more ordinary for this
/// person after the usual ratio of the two.
fn exchanged_level(given: &Given<'_>, found: &mut Consistency) {
    let up = match given.rule.metric {
        Metric::HrvRmssd => 1.0,
        Metric::HrvSdnn => -1.0,
        _ => return,
    };
    let (Some(b), Some((link, _))) = (given.plausibility.baseline.filter(|b| b.n >= 5), Link::of(given.rule.metric)) else { return };
    if given.linked.is_some() {
        return; // both are there: their ratio tells
    }
    let sound = super::plausibility::own_density(given.rule, given.x, b);
    let wide = (b.spread * b.spread + link.people * link.people / 4.0).sqrt();
    let off = (given.x - b.median - up * link.usual) / wide;
    if off.abs() > 2.0 {
        return; // nor would it be usual as the other
    }
    let other = math::t4(off) / wide;
    let detail = || (FindingKind::RmssdSdnn, "it would be usual for this person as the other of RMSSD and SDNN".to_owned(), None);
    found.suspect(math::posterior(EXCHANGED, other, sound), detail, given.rule.metric);
}

/// The usual ratio to a linked metric is broken. Which of the two is wrong is not known: the one that is further from
/// its own past carries more of it.
fn linked(given: &Given<'_>, found: &mut Consistency) {
    let (Some(linked), Some((link, _))) = (given.linked, Link::of(given.rule.metric)) else { return };
    let density = |ratio: f64| {
        let people = math::t4((ratio - link.usual) / link.people) / link.people;
        let Some(b) = linked.usual else { return people };
        let n = f64::from(b.n);
        let own = math::t4((ratio - b.median) / b.spread) / b.spread;
        (n * own + 3.0 * people) / (n + 3.0)
    };
    let broken = math::excess(UNLINKED, 1.0 / 8.0, density(linked.ratio));
    let z = given.plausibility.z;
    let share = (1.0 + z * z) / (2.0 + z * z + linked.z * linked.z);
    let partner = linked.partner.name();
    let exchanged = matches!(given.rule.metric, Metric::HrvRmssd | Metric::HrvSdnn) && exchange(&linked, density);
    let detail = || {
        if exchanged {
            (FindingKind::RmssdSdnn, "RMSSD and SDNN look exchanged".to_owned(), given.day.get(linked.partner))
        } else {
            (FindingKind::Inconsistent, format!("does not go with {partner}: their usual ratio is broken"), None)
        }
    };
    let suspicion = if exchanged { broken.max(0.9) } else { broken * share };
    found.suspect(suspicion, detail, given.rule.metric);
}

/// Equal to the last digit, or fitting the other way round.
fn exchange(linked: &Linked, density: impl Fn(f64) -> f64) -> bool {
    linked.ratio == 0.0 || linked.usual.is_some_and(|b| b.n >= 5 && density(-linked.ratio) > 20.0 * density(linked.ratio))
}

/// Parts and wholes of one delivery.
fn arithmetic(given: &Given<'_>, found: &mut Consistency) {
    let own = contradiction(given.day, given.rule.metric);
    let told = || {
        let about = |f: &&Finding| f.metric.is_none_or(|m| m == given.rule.metric);
        given.value.findings.iter().filter(about).find(|f| f.kind == FindingKind::Inconsistent).map(|f| f.detail.clone())
    };
    if let Some(detail) = own.or_else(told) {
        found.suspect(1.0 - CONTRADICTED, || (FindingKind::Inconsistent, detail, None), given.rule.metric);
    }
}

/// The contradiction a metric takes part in, in words.
fn contradiction(day: &Day, metric: Metric) -> Option<String> {
    use Metric as M;
    let pair = |small: M, large: M, slack: f64| -> Option<String> {
        let (a, b) = (day.get(small)?, day.get(large)?);
        (a > b + slack).then(|| format!("{} {a:.0} {} is above {} {b:.0}", small.name(), small.unit(), large.name()))
    };
    match metric {
        M::MinHeartRate => pair(M::MinHeartRate, M::AverageHeartRate, 0.5).or_else(|| pair(M::MinHeartRate, M::MaxHeartRate, 0.0)),
        M::AverageHeartRate => pair(M::MinHeartRate, M::AverageHeartRate, 0.5).or_else(|| pair(M::AverageHeartRate, M::MaxHeartRate, 0.5)),
        M::MaxHeartRate => pair(M::AverageHeartRate, M::MaxHeartRate, 0.5).or_else(|| pair(M::MinHeartRate, M::MaxHeartRate, 0.0)),
        M::RestingHeartRate => pair(M::RestingHeartRate, M::MaxHeartRate, 0.0),
        M::ActiveCalories | M::TotalCalories => pair(M::ActiveCalories, M::TotalCalories, 1.0),
        M::SystolicBp | M::DiastolicBp => pair(M::DiastolicBp, M::SystolicBp, -1.0),
        M::Weight | M::MuscleMass => pair(M::MuscleMass, M::Weight, 0.0),
        M::SleepDuration | M::TimeInBed => {
            let slack = 120.0;
            let own = pair(M::SleepDuration, M::TimeInBed, slack);
            if metric == M::SleepDuration { own.or_else(|| stages(day)) } else { own }
        }
        M::SleepDeep | M::SleepLight | M::SleepRem => stages(day),
        M::SleepEfficiency => efficiency(day),
        _ => None,
    }
}

fn stages(day: &Day) -> Option<String> {
    let asleep = day.get(Metric::SleepDuration)?;
    let parts = [Metric::SleepDeep, Metric::SleepLight, Metric::SleepRem].map(|m| day.get(m));
    let sum: f64 = parts.iter().flatten().sum();
    let slack = (0.03 * asleep).max(180.0);
    let off = sum > asleep + slack || (parts.iter().all(Option::is_some) && sum < asleep - slack);
    off.then(|| format!("the stages add up to {:.0} min, asleep is {:.0} min", sum / 60.0, asleep / 60.0))
}

fn efficiency(day: &Day) -> Option<String> {
    let (asleep, bed) = (day.get(Metric::SleepDuration)?, day.get(Metric::TimeInBed)?);
    let given = day.get(Metric::SleepEfficiency)?;
    let ratio = 100.0 * asleep / bed.max(60.0);
    ((given - ratio).abs() > 15.0).then(|| format!("efficiency {given:.0} %, but asleep in bed is {ratio:.0} %"))
}
