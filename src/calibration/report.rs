//! The calibration report: what a 90 is worth, figure by figure, next to the baselines, also where it falls short.
//!
//! Persons, never days, are drawn again for the intervals, and the same draws serve all figures. A fault kind is judged within a
//! metric and a source: a faulty value against sound ones of the same device, so that no device's good name hides a fault.

use super::bootstrap::{Draws, Estimate, Spread};
use super::ceiling;
use super::figures::{Case, Errors, Sample, Step, auprc_of_bad, auroc, brier, calibration_error, corp, means, persons_of_each};
use super::judge::Judged;
use super::lines::{Line, Told, areas, line};
use super::silence::{self, Silence};
use super::simulator::{Fault, World};
use crate::model::{Metric, Source};
use crate::quality::{Registry, SCORER_VERSION};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// From this AUROC on a fault counts as seen.
pub const SEEN: f64 = 0.95;

/// The Brier score and what it is made of: score = miscalibration − discrimination + uncertainty. 0 is perfect.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Brier {
    /// Mean squared difference of forecast and outcome.
    pub score: Estimate,
    /// What recalibration would win back.
    pub miscalibration: Estimate,
    /// What the forecast knows beyond the base rate.
    pub discrimination: Estimate,
    /// What the base rate alone leaves open.
    pub uncertainty: Estimate,
}

/// A fault kind that is not seen reliably: how well it could be seen in the number, where it is seen, and why not elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unseen {
    /// The fault.
    pub name: String,
    /// AUROC of an oracle that knows the person's level and the fault's shape but looks at the number alone.
    pub ceiling: Option<Estimate>,
    /// Why it cannot be seen, or not everywhere.
    pub why: String,
    /// The same within each metric.
    pub by_metric: Vec<Line>,
}

/// Calibration within one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricLine {
    /// Which metric.
    pub metric: Metric,
    /// Values.
    pub n: u64,
    /// Mean forecast.
    pub forecast: f64,
    /// Share that was good.
    pub observed: f64,
    /// Expected calibration error.
    pub calibration_error: Estimate,
    /// AUROC of good against bad values.
    pub auroc: Option<Estimate>,
}

/// The whole report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The scorer judged.
    pub scorer_version: i32,
    /// The registry it used.
    pub registry_version: i32,
    /// Persons.
    pub persons: u64,
    /// Values.
    pub values: u64,
    /// Draws of persons behind each interval.
    pub draws: u32,
    /// Expected calibration error.
    pub calibration_error: Option<Estimate>,
    /// The same of values whose device was studied: registry and simulator have its error from there.
    pub calibration_error_studied: Option<Estimate>,
    /// The same of the others: there both assume the same error, so it says nothing of real devices.
    pub calibration_error_assumed: Option<Estimate>,
    /// Brier score and its parts.
    pub brier: Option<Brier>,
    /// Rank correlation of score and error: −1 is perfect.
    pub spearman: Option<Estimate>,
    /// Mean error, in tolerances (at most 10 a value), of each tenth of the scores from the lowest up.
    pub error_by_decile: Vec<Estimate>,
    /// The CORP reliability curve.
    pub reliability: Vec<Step>,
    /// AUROC of good against bad values, all together.
    pub overall: Line,
    /// Average precision of finding the bad ones.
    pub precision: Line,
    /// AUROC by fault kind.
    pub faults: Vec<Line>,
    /// The fault kinds below [`SEEN`].
    pub not_seen: Vec<Unseen>,
    /// Values whose planted fault was undone before it was stored: a fraction read as per cent.
    pub mended: u64,
    /// AUROC of short against whole days by minutes of wear, which the deliveries do not contain.
    pub wear: Vec<Line>,
    /// Calibration by metric.
    pub metrics: Vec<MetricLine>,
    /// How sources that fall silent are noticed, where the whole world is at hand.
    pub silence: Option<Silence>,
    /// AUROC against truth that nobody planted, where recorded data are there.
    pub independent: Vec<Line>,
}

/// Largest error that counts, in tolerances: one absurd value must not be the mean of a tenth.
const MOST: f64 = 10.0;

/// A value and the position of its person.
type Of<'j> = (usize, &'j Judged);

/// Makes the report. `draws` of persons make the intervals; `seed` makes them the same each time.
pub fn report(judged: &[Vec<Judged>], registry: &Registry, draws: u32, seed: u64) -> Report {
    let all: Vec<Of<'_>> = judged.iter().enumerate().flat_map(|(person, values)| values.iter().map(move |j| (person, j))).collect();
    let sample = sample(all.iter());
    let many = Draws::new(judged.len(), draws, seed);
    let errors = Errors::new(all.iter().map(|(person, j)| Case { forecast: j.probability, outcome: j.error.min(MOST), person: *person }));
    let calibrated = |which: &dyn Fn(&Judged) -> bool| calibration(&self::sample(all.iter().filter(|(_, j)| which(j))), &many);
    let whole: [Vec<Told>; 1] = [all.iter().copied().map(|of| told(of, Judged::good)).collect()];
    let faults: Vec<(Fault, Line)> =
        Fault::ALL.iter().filter(|f| f.alters_value()).filter_map(|f| Some((*f, fault(*f, &all, &many)?))).collect();
    Report {
        scorer_version: SCORER_VERSION,
        registry_version: registry.version,
        persons: judged.len() as u64,
        values: all.len() as u64,
        draws,
        calibration_error: calibration(&sample, &many),
        calibration_error_studied: calibrated(&|j| j.studied),
        calibration_error_assumed: calibrated(&|j| !j.studied),
        brier: parts(&sample, &many),
        spearman: many.of(errors.persons(), |drawn| errors.spearman(drawn)).map(|s| s.percentile()),
        error_by_decile: many.each(errors.persons(), |drawn| errors.by_decile(drawn)).iter().map(Spread::percentile).collect(),
        reliability: corp(&sample, None),
        overall: Line { n: all.len() as u64, ..areas("good against bad", &whole, &many) },
        precision: Line { n: all.len() as u64, ..line("finding the bad", &whole, &many, auprc_of_bad) },
        not_seen: faults.iter().filter(|(_, l)| below(l)).map(|(f, _)| unseen(*f, judged, &all, registry, &many)).collect(),
        faults: faults.into_iter().map(|(_, line)| line).collect(),
        mended: all.iter().filter(|(_, j)| j.mended.is_some()).count() as u64,
        wear: wear(&all, &many),
        metrics: Metric::ALL.iter().filter_map(|m| metric(*m, &all, &many)).collect(),
        silence: None,
        independent: Vec::new(),
    }
}

/// A world of wearers whose truth is known, made and judged: `clients` persons over `days` days, one fault in twenty records.
/// It ends on a fixed day, so that the same seed gives the same report on any day.
pub fn planted(seed: u64, clients: u32, days: u32, draws: u32, registry: &Registry) -> Report {
    let end = chrono::NaiveDate::from_ymd_opt(2026, 6, 30).unwrap_or_default();
    let world = World::with(seed, clients, days, end, 0.05, 4);
    let silence = silence::judge(&world, registry, &Draws::new(clients as usize, draws, seed));
    Report { silence, ..report(&super::judge::world(&world, registry), registry, draws, seed) }
}

fn sample<'j>(values: impl Iterator<Item = &'j Of<'j>>) -> Sample<bool> {
    Sample::new(values.map(|(person, j)| Case { forecast: j.probability, outcome: j.good(), person: *person }))
}

fn told((person, j): Of<'_>, good: impl Fn(&Judged) -> bool) -> Told {
    Told { person, ours: j.probability, baselines: j.baselines, good: good(j) }
}

fn calibration(sample: &Sample<bool>, draws: &Draws) -> Option<Estimate> {
    Some(draws.of(sample.persons(), |drawn| calibration_error(sample, drawn))?.mirrored())
}

fn parts(sample: &Sample<bool>, draws: &Draws) -> Option<Brier> {
    let figures = draws.each(sample.persons(), |drawn| brier(sample, drawn).map_or_else(Vec::new, Vec::from));
    let [score, miscalibration, discrimination, uncertainty] = figures.as_slice() else { return None };
    Some(Brier {
        score: score.percentile(),
        miscalibration: miscalibration.mirrored(),
        discrimination: discrimination.mirrored(),
        uncertainty: uncertainty.percentile(),
    })
}

fn fault(fault: Fault, all: &[Of<'_>], draws: &Draws) -> Option<Line> {
    let strata: BTreeSet<(Metric, &str)> =
        all.iter().filter(|(_, j)| j.fault == Some(fault)).map(|(_, j)| (j.metric, j.source.as_str())).collect();
    let mut by_stratum: BTreeMap<(Metric, &str), Vec<Told>> = BTreeMap::new();
    for of in all.iter().filter(|(_, j)| j.fault.is_none() || j.fault == Some(fault)) {
        let key = (of.1.metric, of.1.source.as_str());
        if strata.contains(&key) {
            by_stratum.entry(key).or_default().push(told(*of, |j| j.fault.is_none()));
        }
    }
    (!strata.is_empty()).then(|| areas(fault.key(), &by_stratum.into_values().collect::<Vec<_>>(), draws))
}

/// Whether a fault kind is not seen reliably.
fn below(line: &Line) -> bool {
    line.ours.is_none_or(|e| e.value < SEEN)
}

fn unseen(which: Fault, judged: &[Vec<Judged>], all: &[Of<'_>], registry: &Registry, draws: &Draws) -> Unseen {
    let by_metric = Metric::ALL.iter().filter_map(|m| {
        let some: Vec<Of<'_>> = all.iter().filter(|(_, j)| j.metric == *m).copied().collect();
        fault(which, &some, draws).map(|line| Line { name: m.key().to_owned(), ..line })
    });
    Unseen {
        name: which.key().to_owned(),
        ceiling: ceiling::of(which, judged, registry, draws),
        why: which.hidden_because().to_owned(),
        by_metric: by_metric.collect(),
    }
}

/// Short wear against whole days, as on recorded data: the scorer is told nothing of the minutes.
fn wear(all: &[Of<'_>], draws: &Draws) -> Vec<Line> {
    let mut lines = Vec::new();
    for metric in [Metric::Steps, Metric::TotalCalories] {
        for (low, high) in [(1, 600), (600, 1200)] {
            let whole = |j: &Judged| j.wear_minutes.is_some_and(|m| m >= 1200);
            let short = |j: &Judged| j.wear_minutes.is_some_and(|m| (low..high).contains(&m));
            let of_metric = all.iter().filter(|(_, j)| j.metric == metric && matches!(j.fault, None | Some(Fault::ShortWear)));
            let mut by_source: BTreeMap<&Source, Vec<Told>> = BTreeMap::new();
            for of in of_metric.filter(|(_, j)| short(j) || whole(j)) {
                by_source.entry(&of.1.source).or_default().push(told(*of, whole));
            }
            let strata: Vec<Vec<Told>> = by_source.into_values().collect();
            lines.push(areas(&format!("worn {low}–{} min, {}", high - 1, metric.key()), &strata, draws));
        }
    }
    lines.retain(|l| l.n > 0);
    lines
}

fn metric(metric: Metric, all: &[Of<'_>], draws: &Draws) -> Option<MetricLine> {
    let sample = [sample(all.iter().filter(|(_, j)| j.metric == metric))];
    let (n, forecast, observed) = means(&sample[0])?;
    Some(MetricLine {
        metric,
        n,
        forecast,
        observed,
        calibration_error: calibration(&sample[0], draws)?,
        auroc: draws.of(persons_of_each(&sample), |drawn| auroc(&sample[0], drawn)).map(|a| a.percentile()),
    })
}

impl Report {
    /// Fault kinds that the score does not see reliably: named, not hidden.
    pub fn unseen(&self) -> Vec<&str> {
        self.faults.iter().filter(|l| below(l)).map(|l| l.name.as_str()).collect()
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
