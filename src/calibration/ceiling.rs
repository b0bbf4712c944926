//! How well a fault could be seen in the number alone: an oracle that knows what no scorer may know.
//!
//! It knows each person's own level and spread from all sound days, past and to come, and how values of the fault lie about
//! such a level, which it learned from the faulty values of everybody else. It ranks by the likelihood ratio of the two, both
//! taken for bell curves; a rule that knew their true shapes could find more, so this is a yardstick and no limit. What else a
//! delivery carries (its other numbers, the day before, how much was seen) it does not look at.

use super::bootstrap::{Draws, Estimate};
use super::figures::{Case, Sample, auroc, persons_of_each, within};
use super::judge::Judged;
use super::simulator::Fault;
use crate::model::Metric;
use crate::quality::Registry;
use std::collections::{BTreeMap, BTreeSet};

/// Smallest spread of a fault, in spreads of the person: a few faulty values alike are no certainty.
const LEAST: f64 = 0.3;
/// Sound days before a person's level is known.
const ENOUGH: f64 = 10.0;
/// Faulty values of others before the shape of a fault is known.
const SHAPE: f64 = 8.0;
/// What lies farther out is no more certain.
const FARTHEST: f64 = 20.0;

/// Where a value lies about its person's level.
struct Placed<'j> {
    person: usize,
    metric: Metric,
    source: &'j str,
    /// Distance from the person's other sound days, in their spreads.
    z: f64,
    faulty: bool,
}

/// The area under the oracle's ROC curve, within metric and source, weighed by the faulty values; `None` without enough.
pub fn of(fault: Fault, persons: &[Vec<Judged>], registry: &Registry, draws: &Draws) -> Option<Estimate> {
    let placed = place(fault, persons, registry);
    let mut of_metric: BTreeMap<Metric, Moments> = BTreeMap::new();
    let mut of_person: BTreeMap<(Metric, usize), Moments> = BTreeMap::new();
    for p in placed.iter().filter(|p| p.faulty) {
        of_metric.entry(p.metric).or_default().add(p.z);
        of_person.entry((p.metric, p.person)).or_default().add(p.z);
    }
    let others = |metric: Metric, person: usize| {
        let own = of_person.get(&(metric, person)).copied().unwrap_or_default();
        of_metric.get(&metric).copied().unwrap_or_default().without(own)
    };
    let shape = |metric: Metric, person: usize| {
        let same = others(metric, person);
        // Of a metric that is hardly hit, what the fault does to all of them.
        let known =
            if same.n >= SHAPE { same } else { of_metric.keys().map(|m| others(*m, person)).fold(Moments::default(), Moments::with) };
        // Of a fault that hardly anybody has nothing is known.
        (known.n >= SHAPE).then(|| (known.mean(), known.sd().max(LEAST)))
    };
    let mut shapes: BTreeMap<(Metric, usize), Option<(f64, f64)>> = BTreeMap::new();
    let mut strata: BTreeMap<(Metric, &str), Vec<Case<bool>>> = BTreeMap::new();
    for p in &placed {
        let known = shapes.entry((p.metric, p.person)).or_insert_with(|| shape(p.metric, p.person));
        let Some((mean, sd)) = *known else { continue };
        // The more the fault explains it, the less it is trusted.
        let forecast = ((p.z - mean) / sd).powi(2) - p.z * p.z + 2.0 * sd.ln();
        strata.entry((p.metric, p.source)).or_default().push(Case { forecast, outcome: !p.faulty, person: p.person });
    }
    let samples: Vec<Sample<bool>> = strata.into_values().map(Sample::new).collect();
    Some(draws.of(persons_of_each(&samples), |drawn| within(&samples, drawn, auroc))?.percentile())
}

fn place<'j>(fault: Fault, persons: &'j [Vec<Judged>], registry: &Registry) -> Vec<Placed<'j>> {
    let hit: BTreeSet<(Metric, &str)> =
        persons.iter().flatten().filter(|j| j.fault == Some(fault)).map(|j| (j.metric, j.source.as_str())).collect();
    let mut placed = Vec::new();
    for (person, judged) in persons.iter().enumerate() {
        let mut series: BTreeMap<(Metric, &str), Vec<&Judged>> = BTreeMap::new();
        for j in judged.iter().filter(|j| j.fault.is_none() || j.fault == Some(fault)) {
            series.entry((j.metric, j.source.as_str())).or_default().push(j);
        }
        for ((metric, source), values) in series.into_iter().filter(|(key, _)| hit.contains(key)) {
            let Some(rule) = registry.rule(metric) else { continue };
            let mut sound = Moments::default();
            for j in values.iter().filter(|j| j.fault.is_none()) {
                sound.add(rule.scaled(j.value));
            }
            if sound.n <= ENOUGH {
                continue;
            }
            placed.extend(values.iter().map(|j| {
                let x = rule.scaled(j.value);
                // A sound day is held against the others, as a faulty one is.
                let level = if j.fault.is_none() { sound.without(Moments::of(x)) } else { sound };
                let z = ((x - level.mean()) / level.sd().max(1e-9)).clamp(-FARTHEST, FARTHEST);
                Placed { person, metric, source, z, faulty: j.fault.is_some() }
            }));
        }
    }
    placed
}

/// Number, sum and sum of squares.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    n: f64,
    sum: f64,
    squares: f64,
}

impl Moments {
    fn of(x: f64) -> Self {
        Self { n: 1.0, sum: x, squares: x * x }
    }

    fn add(&mut self, x: f64) {
        *self = self.with(Self::of(x));
    }

    fn with(self, other: Self) -> Self {
        Self { n: self.n + other.n, sum: self.sum + other.sum, squares: self.squares + other.squares }
    }

    fn without(self, other: Self) -> Self {
        Self { n: self.n - other.n, sum: self.sum - other.sum, squares: self.squares - other.squares }
    }

    fn mean(self) -> f64 {
        self.sum / self.n.max(1.0)
    }

    fn sd(self) -> f64 {
        (self.squares / self.n.max(1.0) - self.mean().powi(2)).max(0.0).sqrt()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::simulator::rng::Rng;
    use super::*;
    use crate::model::Source;
    use crate::quality::Parts;
    use chrono::{Days, NaiveDate};

    /// Twelve persons with sixty nights each, of which some in a row carry a fault that does `change` to the number.
    fn world(change: impl Fn(f64) -> f64) -> Vec<Vec<Judged>> {
        let mut r = Rng::keyed(5, &[1]);
        let parts = Parts { evidence: 0.0, plausibility: 0.0, completeness: 0.0, concordance: 0.0, provenance: 0.0, consistency: 0.0 };
        let mut night = |person: u64, day: u64| {
            let sound = 50.0 + 5.0 * person as f64 + 4.0 * r.normal();
            let faulty = (20 + person..24 + person).contains(&day);
            Judged {
                metric: Metric::RespiratoryRate,
                source: Source::from_provider("oura"),
                date: NaiveDate::from_ymd_opt(2026, 1, 1).unwrap() + Days::new(day),
                probability: 0.5,
                error: 0.0,
                value: if faulty { change(sound) } else { sound },
                truth: sound,
                parts,
                wear_minutes: None,
                fault: faulty.then_some(Fault::Stuck),
                mended: None,
                studied: false,
                baselines: [0.5; 3],
            }
        };
        (0..12).map(|person| (0..60).map(|day| night(person, day)).collect()).collect()
    }

    fn area(judged: &[Vec<Judged>]) -> Estimate {
        of(Fault::Stuck, judged, Registry::built_in(), &Draws::new(judged.len(), 100, 1)).unwrap()
    }

    /// Fitted on the very values it ranks, four alike among sixty would look like a shape of their own.
    #[test]
    fn a_fault_that_changes_nothing_cannot_be_seen_in_the_number() {
        let found = area(&world(|x| x));
        let (low, high) = found.interval.unwrap();
        assert!(low < 0.5 && found.value < 0.58 && high < 0.65, "{found}");
    }

    #[test]
    fn a_fault_that_moves_the_number_far_is_seen_nearly_always() {
        let found = area(&world(|x| x + 16.0));
        assert!(found.value > 0.97, "{found}");
    }

    #[test]
    fn what_only_one_person_has_is_known_from_nobody_else() {
        let mut judged = world(|x| x + 16.0);
        for j in judged.iter_mut().skip(1).flatten() {
            j.fault = None;
        }
        assert_eq!(of(Fault::Stuck, &judged, Registry::built_in(), &Draws::new(judged.len(), 10, 1)), None);
    }
}
