//! How well a fault could be seen at most: an oracle that knows what no scorer may know.
//!
//! It knows each person's own level and spread from all sound days, past and to come, and how values of the fault lie about that
//! level. It ranks by the likelihood ratio of the two, which no rule on the number alone can beat (Neyman and Pearson). What
//! else a delivery carries (its other numbers, the day before, how much was seen) it does not look at.

use super::figures::{Forecast, auroc};
use super::judge::Judged;
use super::simulator::Fault;
use crate::model::Metric;
use crate::quality::Registry;
use std::collections::BTreeMap;

/// Smallest spread of anything, in spreads of the person: a few faulty values alike are no certainty.
const LEAST: f64 = 0.3;
/// Sound days before a person's level is known.
const ENOUGH: usize = 10;
/// Faulty values before their shape is known.
const SHAPE: usize = 4;

/// A value's distance from its person's sound days, in their spreads.
struct Placed {
    stratum: (Metric, String),
    z: f64,
    faulty: bool,
}

/// The area under the oracle's ROC curve, within metric and source, weighed by the faulty values; `None` without enough.
pub fn of(fault: Fault, persons: &[Vec<&Judged>], registry: &Registry) -> Option<f64> {
    let placed = place(fault, persons, registry);
    let mut strata: BTreeMap<&(Metric, String), Vec<&Placed>> = BTreeMap::new();
    for p in &placed {
        strata.entry(&p.stratum).or_default().push(p);
    }
    let (mut sum, mut weight) = (0.0, 0.0);
    for ((metric, _), values) in &strata {
        let own: Vec<f64> = values.iter().filter(|p| p.faulty).map(|p| p.z).collect();
        let shape = if own.len() >= SHAPE {
            own.clone()
        } else {
            placed.iter().filter(|p| p.faulty && p.stratum.0 == *metric).map(|p| p.z).collect()
        };
        let (mean, sd) = moments(&shape);
        // The more the fault explains it, the less it is trusted.
        let trust = |z: f64| ((z - mean) / sd).powi(2) - z * z;
        let forecasts: Vec<Forecast> = values.iter().map(|p| (trust(p.z), !p.faulty)).collect();
        if let Some(area) = auroc(&forecasts) {
            sum += area * own.len() as f64;
            weight += own.len() as f64;
        }
    }
    (weight > 0.0).then(|| sum / weight)
}

fn place(fault: Fault, persons: &[Vec<&Judged>], registry: &Registry) -> Vec<Placed> {
    let mut placed = Vec::new();
    for person in persons {
        let mut series: BTreeMap<(Metric, &str), Vec<&Judged>> = BTreeMap::new();
        for j in person.iter().filter(|j| j.fault.is_none() || j.fault == Some(fault)) {
            series.entry((j.metric, j.source.as_str())).or_default().push(j);
        }
        for ((metric, source), values) in series {
            let Some(rule) = registry.rule(metric) else { continue };
            let sound: Vec<f64> = values.iter().filter(|j| j.fault.is_none()).map(|j| rule.scaled(j.value)).collect();
            if sound.len() < ENOUGH {
                continue;
            }
            let (mean, sd) = moments(&sound);
            let sd = sd.max(1e-9);
            placed.extend(values.iter().map(|j| Placed {
                stratum: (metric, source.to_owned()),
                z: ((rule.scaled(j.value) - mean) / sd).clamp(-20.0, 20.0),
                faulty: j.fault.is_some(),
            }));
        }
    }
    placed
}

fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    (mean, variance.sqrt().max(if values.len() < ENOUGH { LEAST } else { 0.0 }))
}
