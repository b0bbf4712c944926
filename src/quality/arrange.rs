//! A person's values, put in order once: one series a metric and source, one row of facts a source and day.
//!
//! Everything after this walks sorted arrays; nothing is looked up in maps.

use super::registry::{MetricRule, Registry};
use super::window::Rolling;
use super::{Reviews, Verdict};
use crate::model::{DayValue, Metric, Model, Source};
use chrono::{Datelike, NaiveDate};

/// Number of metrics, for rows of one value each.
pub const METRICS: usize = Metric::ALL.len();

/// Kinds of deliveries that carry day values: summaries, nights, everything else.
pub const MODELS: usize = 3;

/// Which of them one is.
pub const fn kind_of(model: Model) -> usize {
    match model {
        Model::Daily => 0,
        Model::Sleep => 1,
        _ => 2,
    }
}

/// Days over which the usual number of heart-rate samples is learned.
const SAMPLE_DAYS: i32 = 28;
/// Days with samples before a number counts as usual.
const ENOUGH_DAYS: u32 = 4;

/// A day as a number, so that windows are subtractions.
pub fn day_number(date: NaiveDate) -> i32 {
    date.num_days_from_ce()
}

/// One value in its place.
#[derive(Debug, Clone, Copy)]
pub struct Item {
    /// Index in the values given.
    pub at: u32,
    /// Its day.
    pub day: i32,
    /// Index of that day in the source's days.
    pub slot: u32,
    /// The value.
    pub value: f64,
    /// The value on the metric's scale.
    pub x: f64,
    /// Whether later days may learn from it: possible, and not confirmed as a fault.
    pub usable: bool,
    /// What a person said about it.
    pub verdict: Option<Verdict>,
}

/// All values of one metric from one source, by day.
#[derive(Debug)]
pub struct Series<'r> {
    /// The metric's rule.
    pub rule: &'r MetricRule,
    /// Index of the source.
    pub source: usize,
    /// Its items: a range of [`Arranged::items`].
    pub start: usize,
    /// End of the range.
    pub end: usize,
}

/// What one source said of one day.
#[derive(Debug, Clone)]
pub struct Day {
    /// Value of each metric, NaN where there is none.
    pub values: [f64; METRICS],
    /// Which of them later days may learn from, one bit a metric.
    pub usable: u64,
    /// Distance of each value from the person's own median, in spreads; 0 without a baseline.
    pub z: [f32; METRICS],
    /// By kind of delivery: how much more likely its numbers are as somebody else's than as this person's (log).
    pub foreign: [f64; MODELS],
    /// By kind of delivery: how much more likely its numbers are as those of the day before once more (log).
    pub again: [f64; MODELS],
    /// Seconds of movement (low, moderate and vigorous), where the payload says.
    pub movement_s: Option<f64>,
    /// Seconds the activity durations account for, where they claim to account for the whole day.
    pub accounted_s: Option<f64>,
    /// Whether these contain the rest, so that what they leave open was not worn (else it was slept).
    pub rest_counted: bool,
    /// Heart-rate samples of the day.
    pub heart_rate_samples: Option<u32>,
    /// What is usual of them: the median of the days before.
    pub usual_samples: Option<f64>,
    /// The day was delivered before it was over: seconds it had run.
    pub cut_s: Option<f64>,
}

impl Day {
    fn empty() -> Self {
        Self {
            values: [f64::NAN; METRICS],
            usable: 0,
            z: [0.0; METRICS],
            foreign: [0.0; MODELS],
            again: [0.0; MODELS],
            movement_s: None,
            accounted_s: None,
            rest_counted: false,
            heart_rate_samples: None,
            usual_samples: None,
            cut_s: None,
        }
    }

    /// The value of a metric, where there is one.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        let v = self.values[metric as usize];
        (!v.is_nan()).then_some(v)
    }

    /// The value of a metric, where there is one that may be learned from.
    pub fn usable(&self, metric: Metric) -> Option<f64> {
        if self.usable >> (metric as u64) & 1 == 1 { self.get(metric) } else { None }
    }
}

/// All days of one source, in order.
#[derive(Debug, Default)]
pub struct SourceDays {
    /// Day numbers, ascending.
    pub numbers: Vec<i32>,
    /// Their facts.
    pub days: Vec<Day>,
}

impl SourceDays {
    /// The facts of a day. `near` is where to look first; it moves along, so that walking forwards costs nothing.
    pub fn at(&self, day: i32, near: &mut usize) -> Option<&Day> {
        while *near < self.numbers.len() && self.numbers[*near] < day {
            *near += 1;
        }
        (self.numbers.get(*near) == Some(&day)).then(|| &self.days[*near])
    }

    /// Writes into each day how many heart-rate samples are usual.
    fn learn_samples(&mut self) {
        if self.days.iter().all(|d| d.heart_rate_samples.is_none()) {
            return;
        }
        let mut window = Rolling::new(SAMPLE_DAYS);
        for (number, day) in self.numbers.iter().zip(&mut self.days) {
            window.advance(*number);
            day.usual_samples = window.baseline(0.0).filter(|b| b.n >= ENOUGH_DAYS).map(|b| b.median);
            if let Some(n) = day.heart_rate_samples {
                window.push(*number, f64::from(n));
            }
        }
    }
}

/// A person's values in order.
#[derive(Debug)]
pub struct Arranged<'a> {
    /// The values as given.
    pub values: &'a [DayValue],
    /// The sources, by name.
    pub sources: Vec<&'a Source>,
    /// The series, by metric and source.
    pub series: Vec<Series<'a>>,
    /// All items, series after series.
    pub items: Vec<Item>,
    /// Days by source.
    pub days: Vec<SourceDays>,
}

impl<'a> Arranged<'a> {
    /// Puts values in order. Vendor scores are left out. Of two values under one key the later delivery counts.
    pub fn new(values: &'a [DayValue], reviews: &Reviews, registry: &'a Registry) -> Self {
        let mut sources: Vec<&Source> = Vec::new();
        for v in values {
            if sources.last().is_none_or(|s| *s != &v.source) && !sources.contains(&&v.source) {
                sources.push(&v.source);
            }
        }
        sources.sort();
        let mut arranged = Self { values, days: Vec::new(), series: Vec::new(), items: Vec::new(), sources };
        let order = arranged.order();
        arranged.days = arranged.spread_days(&order);
        arranged.fill(&order, reviews, registry);
        for days in &mut arranged.days {
            days.learn_samples();
        }
        arranged
    }

    /// Indices by metric, source and day; one a key.
    fn order(&self) -> Vec<(u64, u32)> {
        let mut last: (usize, &Source) = match self.values.first() {
            Some(v) => (self.sources.iter().position(|s| *s == &v.source).unwrap_or(0), &v.source),
            None => return Vec::new(),
        };
        let mut order: Vec<(u64, u32)> = Vec::with_capacity(self.values.len());
        for (i, v) in self.values.iter().enumerate() {
            if v.source != *last.1 {
                last = (self.sources.iter().position(|s| *s == &v.source).unwrap_or(0), &v.source);
            }
            let day = (i64::from(day_number(v.date)) + i64::from(i32::MAX) + 1) as u64;
            order.push(((v.metric as u64) << 56 | (last.0 as u64) << 40 | day, i as u32));
        }
        let newest = |i: u32| &self.values[i as usize].ordering;
        order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| newest(b.1).cmp(newest(a.1))).then(a.1.cmp(&b.1)));
        order.dedup_by_key(|o| o.0);
        order
    }

    /// One empty row of facts a source and day.
    fn spread_days(&self, order: &[(u64, u32)]) -> Vec<SourceDays> {
        let mut numbers: Vec<Vec<i32>> = vec![Vec::new(); self.sources.len()];
        for (key, i) in order {
            numbers[source_of(*key)].push(day_number(self.values[*i as usize].date));
        }
        numbers
            .into_iter()
            .map(|mut numbers| {
                numbers.sort_unstable();
                numbers.dedup();
                SourceDays { days: vec![Day::empty(); numbers.len()], numbers }
            })
            .collect()
    }

    fn fill(&mut self, order: &[(u64, u32)], reviews: &Reviews, registry: &'a Registry) {
        self.items.reserve(order.len());
        let mut current: Option<u64> = None;
        let mut near = 0;
        for &(key, at) in order {
            let v = &self.values[at as usize];
            let source = source_of(key);
            if current != Some(key >> 40) {
                current = Some(key >> 40);
                near = 0;
                let Some(rule) = registry.rule(v.metric) else {
                    current = None;
                    continue;
                };
                self.series.push(Series { rule, source, start: self.items.len(), end: self.items.len() });
            }
            let Some(series) = self.series.last_mut() else { continue };
            let day = day_number(v.date);
            let days = &mut self.days[source];
            while days.numbers[near] < day {
                near += 1;
            }
            let verdict = reviews.of(v.metric, &v.source, v.date);
            let usable = series.rule.possible(v.value) && verdict != Some(Verdict::Confirmed);
            let facts = &mut days.days[near];
            facts.values[v.metric as usize] = v.value;
            facts.usable |= u64::from(usable) << (v.metric as u64);
            facts.read_coverage(v);
            let x = series.rule.scaled(v.value);
            self.items.push(Item { at, day, slot: near as u32, value: v.value, x, usable, verdict });
            series.end = self.items.len();
        }
    }
}

impl Day {
    /// What the payload of a day summary says of how much of the day was seen.
    fn read_coverage(&mut self, v: &DayValue) {
        let c = &v.coverage;
        if v.model != Model::Daily {
            return;
        }
        if c.low_s.is_some() || c.active_s.is_some() {
            self.movement_s = self.movement_s.or(Some(c.low_s.unwrap_or(0.0) + c.active_s.unwrap_or(0.0)));
        }
        if c.inactive_s.is_some() && self.accounted_s.is_none() {
            self.accounted_s = c.accounted_s;
            self.rest_counted = c.rest_s.is_some();
        }
        self.heart_rate_samples = self.heart_rate_samples.or(c.heart_rate_samples);
        self.cut_s = self.cut_s.or(c.cut_s);
    }
}

fn source_of(key: u64) -> usize {
    (key >> 40 & 0xffff) as usize
}
