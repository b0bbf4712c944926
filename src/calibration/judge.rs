//! Scores held against a truth that is known: a simulated world is sent through normalisation and scorer, and each score
//! meets the value that was true.

use super::baselines;
use super::recorded::Collector;
use super::simulator::{Fault, World};
use crate::model::{Metric, Source};
use crate::quality::{Registry, Reviews, score_person};
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
    /// What made the value wrong, if anything beyond the device's own error did.
    pub fault: Option<Fault>,
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
    let mut truths: HashMap<(String, Metric, Source, NaiveDate), (f64, Option<Fault>)> = HashMap::new();
    for t in world.truths() {
        truths.insert((t.user_id, t.metric, t.source, t.date), (t.truth, t.fault));
    }
    let mut all = Vec::new();
    for (user, values) in collector.persons() {
        let own = baselines::of_person(&values, registry);
        let by_key: HashMap<_, _> = values.iter().zip(own).map(|(v, b)| ((v.metric, &v.source, v.date), (v.value, b))).collect();
        let mut person = Vec::new();
        for score in score_person(&values, &Reviews::none(), registry, NaiveDate::MIN..=NaiveDate::MAX) {
            let Some((value, baselines)) = by_key.get(&(score.metric, &score.source, score.date)).copied() else { continue };
            let key = (user.clone(), score.metric, score.source.clone(), score.date);
            let (Some((truth, fault)), Some(rule)) = (truths.get(&key), registry.rule(score.metric)) else { continue };
            let tolerance = rule.tolerance.at(*truth);
            if tolerance > 0.0 {
                person.push(Judged {
                    metric: score.metric,
                    source: score.source,
                    date: score.date,
                    probability: score.probability,
                    error: (value - truth).abs() / tolerance,
                    fault: *fault,
                    baselines,
                });
            }
        }
        all.push(person);
    }
    all
}
