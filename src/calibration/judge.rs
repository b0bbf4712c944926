//! Scores held against a truth that is known: a simulated world is sent through normalisation and scorer, and each score
//! meets the value that was true.

use super::baselines;
use super::recorded::Collector;
use super::simulator::{Fault, Truth, World, device::Kind};
use crate::model::{Metric, Source};
use crate::quality::{Parts, Registry, Reviews, score_person};
use chrono::NaiveDate;
use std::collections::HashMap;

/// A score with its truth.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Which metric.
    pub metric: Metric,
    /// From which provider.
    pub source: Source,
    /// Which day.
    pub date: NaiveDate,
    /// The forecast: P(|reported − true| ≤ tolerance).
    pub probability: f64,
    /// |reported − true| in tolerances; at most 1 is good.
    pub error: f64,
    /// What is stored.
    pub value: f64,
    /// What was true.
    pub truth: f64,
    /// Log-odds by part of the score.
    pub parts: Parts,
    /// Minutes of the day the device was worn; `None` for a scale.
    pub wear_minutes: Option<u32>,
    /// What made the value wrong, if anything beyond the device's own error did.
    pub fault: Option<Fault>,
    /// What was planted but undone before it was stored: a fraction that normalisation reads as per cent.
    pub mended: Option<Fault>,
    /// Whether simulator and registry both have the device's error about the metric from a study; else both assume the same.
    pub studied: bool,
    /// What the three baselines say of it.
    pub baselines: [f64; 3],
}

impl Judged {
    /// Whether the value was close enough to act on.
    pub fn good(&self) -> bool {
        self.error <= 1.0
    }
}

/// Every scored value of a world that has a truth, by person, in order.
pub fn world(world: &World, registry: &Registry) -> Vec<Vec<Judged>> {
    let mut collector = Collector::default();
    for delivery in world.deliveries() {
        // What says nothing (a connection's events) gives no value.
        let _ = collector.add(&delivery.body, delivery.ordering_ms, &delivery.trace_id);
    }
    let mut truths: HashMap<(String, Metric, Source, NaiveDate), Truth> = HashMap::new();
    for t in world.truths() {
        truths.insert((t.user_id.clone(), t.metric, t.source.clone(), t.date), t);
    }
    let mut all = Vec::new();
    for (user, values) in collector.persons() {
        let own = baselines::of_person(&values, registry);
        let by_key: HashMap<_, _> = values.iter().zip(own).map(|(v, b)| ((v.metric, &v.source, v.date), (v.value, b))).collect();
        let mut person = Vec::new();
        for score in score_person(&values, &Reviews::none(), registry, NaiveDate::MIN..=NaiveDate::MAX) {
            let Some((value, baselines)) = by_key.get(&(score.metric, &score.source, score.date)).copied() else { continue };
            let key = (user.clone(), score.metric, score.source.clone(), score.date);
            let (Some(t), Some(rule)) = (truths.get(&key), registry.rule(score.metric)) else { continue };
            let tolerance = rule.tolerance.at(t.truth);
            if tolerance > 0.0 {
                // What is stored is a hundred times what was sent: the fraction was read as what it is.
                let undone = t.fault == Some(Fault::PercentFraction) && (value / t.reported - 100.0).abs() < 1.0;
                person.push(Judged {
                    metric: score.metric,
                    source: score.source,
                    date: score.date,
                    probability: score.probability,
                    error: (value - t.truth).abs() / tolerance,
                    value,
                    truth: t.truth,
                    parts: score.parts,
                    wear_minutes: t.wear_minutes,
                    fault: t.fault.filter(|_| !undone),
                    mended: t.fault.filter(|_| undone),
                    studied: studied(t, registry),
                    baselines,
                });
            }
        }
        all.push(person);
    }
    all
}

fn studied(t: &Truth, registry: &Registry) -> bool {
    let planted = Kind::of_provider(t.source.as_str()).and_then(|kind| kind.error(t.metric));
    planted.is_some_and(|error| error.study.is_some()) && registry.prior(t.metric, t.source.as_str(), None).studied
}
