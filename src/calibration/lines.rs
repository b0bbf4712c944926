//! A line of the report: a figure of the score next to the same figure of each baseline, all with their intervals.

use super::bootstrap::{Drawn, Draws, Estimate};
use super::figures::{Case, Sample, auroc, persons_of_each, within};
use serde::{Deserialize, Serialize};

/// One figure of the score next to the same figure of each baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What it is about: a fault kind, a metric, or everything.
    pub name: String,
    /// Values in question: faulty ones, or all.
    pub n: u64,
    /// Ours.
    pub ours: Option<Estimate>,
    /// The baselines', in the order of [`super::baselines::NAMES`].
    pub baselines: [Option<Estimate>; 3],
}

/// What was forecast of a value, and what came true.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told {
    /// Position of the person.
    pub person: usize,
    /// Our forecast.
    pub ours: f64,
    /// The baselines'.
    pub baselines: [f64; 3],
    /// Whether the value was good.
    pub good: bool,
}

/// AUROC of good against bad values within each stratum, averaged by the number of bad ones.
pub fn areas(name: &str, strata: &[Vec<Told>], draws: &Draws) -> Line {
    line(name, strata, draws, auroc)
}

/// Any figure within each stratum, averaged by the number of bad ones.
pub fn line(name: &str, strata: &[Vec<Told>], draws: &Draws, figure: fn(&Sample<bool>, Drawn<'_>) -> Option<f64>) -> Line {
    let of = |forecast: &dyn Fn(&Told) -> f64| {
        let case = |t: &Told| Case { forecast: forecast(t), outcome: t.good, person: t.person };
        let samples: Vec<Sample<bool>> = strata.iter().map(|told| Sample::new(told.iter().map(case))).collect();
        Some(draws.of(persons_of_each(&samples), |drawn| within(&samples, drawn, figure))?.percentile())
    };
    Line {
        name: name.to_owned(),
        n: strata.iter().flatten().filter(|t| !t.good).count() as u64,
        ours: of(&|t| t.ours),
        baselines: [0, 1, 2].map(|i| of(&|t| t.baselines[i])),
    }
}
