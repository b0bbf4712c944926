//! Why a score is what it is: bars that add up to it exactly, each with its rule, its numbers and its study, and what
//! would raise it, worked out by scoring again with that one thing changed.

mod advice;
pub mod words;

pub use advice::Advice;

use super::arrange::{Arranged, day_number};
use super::assessed::Assessed;
use super::completeness::Assume;
use super::walk::walk;
use super::{Citation, Part, Parts, Registry, Reviews, SCORER_VERSION, Score, math};
use crate::model::{DayValue, Metric, Source};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

/// One bar of the waterfall.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// Which part.
    pub part: Part,
    /// Points it gives (the first) or takes and adds (the others). All bars add up to the score.
    pub points: i32,
    /// The rule, in a sentence.
    pub rule: String,
    /// The numbers it was applied to.
    pub numbers: String,
    /// The study behind it, where one was read at its source.
    pub study: Option<Citation>,
}

/// A score taken apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waterfall {
    /// The bars, in the order of the parts.
    pub bars: Vec<Bar>,
}

/// A score with its reasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The score as it would be stored.
    pub score: Score,
    /// Its bars.
    pub waterfall: Waterfall,
    /// What would raise it, best first; never empty.
    pub advice: Vec<Advice>,
}

/// One value among a person's values.
#[derive(Debug, Clone, Copy)]
pub struct Which<'a> {
    /// Which metric.
    pub metric: Metric,
    /// Which provider.
    pub source: &'a Source,
    /// The local day.
    pub date: NaiveDate,
}

/// Points of each part, whole numbers that add up to `score`. A part's share is the difference it makes to 100·σ(sum)
/// in the order of the parts, the first starting at nothing; the rounding goes to the largest remainders.
pub fn points(parts: &Parts, score: i32) -> [(Part, i32); 6] {
    let (mut sum, mut before) = (0.0, 0.0);
    let mut bars = parts.in_order().map(|(part, log_odds)| {
        sum += log_odds;
        let now = 100.0 * math::sigmoid(sum);
        let share = now - before;
        before = now;
        (part, share.floor() as i32, share - share.floor())
    });
    let mut left = score - bars.iter().map(|b| b.1).sum::<i32>();
    while left != 0 {
        // Each bar is rounded up once at most, so what got its share drops out.
        let pick = |up: bool| {
            let best = |a: &(usize, f64), b: &(usize, f64)| if up { a.1 < b.1 } else { a.1 > b.1 };
            bars.iter().map(|b| b.2).enumerate().reduce(|a, b| if best(&a, &b) { b } else { a })
        };
        let Some((i, _)) = pick(left > 0) else { break };
        bars[i].1 += left.signum();
        bars[i].2 -= f64::from(left.signum());
        left -= left.signum();
    }
    bars.map(|(part, points, _)| (part, points))
}

/// Scores one value and says why. `values` as for [`score_person`](super::score_person); `None` when the value is not
/// among them or its metric is not scored.
pub fn explain(values: &[DayValue], reviews: &Reviews, registry: &Registry, which: Which<'_>) -> Option<Explanation> {
    let mut found = None;
    assess_one(values, reviews, registry, which, Assume::default(), |arranged, assessed| {
        let (low, high) = assessed.interval();
        let score = Score {
            metric: which.metric,
            source: which.source.clone(),
            date: which.date,
            score: assessed.score(),
            probability: assessed.probability,
            low,
            high,
            parts: assessed.parts,
            findings: assessed.findings(&arranged.sources),
            scorer_version: SCORER_VERSION,
            registry_version: registry.version,
        };
        let bars = points(&score.parts, score.score).map(|(part, points)| bar(part, points, assessed, arranged, registry));
        found = Some((score, Waterfall { bars: bars.into() }));
    });
    let (score, waterfall) = found?;
    let advice = advice::what_would_raise(values, reviews, registry, which, &score);
    Some(Explanation { score, waterfall, advice })
}

/// The best advice on a score that is known. `values` as for [`explain`].
pub fn best_advice(values: &[DayValue], reviews: &Reviews, registry: &Registry, score: &Score) -> Option<Advice> {
    let which = Which { metric: score.metric, source: &score.source, date: score.date };
    advice::what_would_raise(values, reviews, registry, which, score).into_iter().next()
}

/// Judges one value and hands it over.
fn assess_one(
    values: &[DayValue],
    reviews: &Reviews,
    registry: &Registry,
    which: Which<'_>,
    assume: Assume,
    mut sink: impl FnMut(&Arranged<'_>, &Assessed<'_>),
) {
    let mut arranged = Arranged::new(values, reviews, registry);
    let day = day_number(which.date);
    walk(&mut arranged, registry, (day, day), Some(which.metric), assume, |arranged, assessed| {
        if assessed.value.metric == which.metric && assessed.value.source == *which.source {
            sink(arranged, assessed);
        }
    });
}

fn bar(part: Part, points: i32, assessed: &Assessed<'_>, arranged: &Arranged<'_>, registry: &Registry) -> Bar {
    let (rule, numbers) = rule_and_numbers(part, assessed, arranged, registry);
    let shown = (part == Part::Evidence).then_some(assessed.prior.shown).flatten();
    let study = shown.and_then(|i| registry.evidence().get(i)).and_then(super::EvidenceRow::citation);
    Bar { part, points, rule, numbers, study }
}

fn rule_and_numbers(part: Part, assessed: &Assessed<'_>, arranged: &Arranged<'_>, registry: &Registry) -> (String, String) {
    match part {
        Part::Evidence => words::evidence(assessed, registry),
        Part::Plausibility => words::plausibility(assessed),
        Part::Completeness => words::completeness(assessed),
        Part::Concordance => words::concordance(assessed, arranged),
        Part::Provenance => words::provenance(assessed),
        Part::Consistency => words::consistency(assessed),
    }
}
