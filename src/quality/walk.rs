//! The way through a person's values: series by series, day by day, each value judged with the windows as they stood
//! before it.
//!
//! Two passes. The first works out each value's distance from the person's own baseline, the second judges: a
//! disagreement can only be shared out when it is known which of the two is further from its own past.

use super::arrange::{Arranged, Day, Item, Series, kind_of};
use super::assessed::Assessed;
use super::completeness::{Assume, Completeness};
use super::concordance::{Concordance, Other};
use super::consistency::{Consistency, Given, Linked};
use super::links::Link;
use super::plausibility::Plausibility;
use super::record::{self, Record};
use super::registry::{MetricRule, Prior, Registry};
use super::repeats::{Repeat, Repeats};
use super::window::{Baseline, Rolling};
use super::{Parts, Verdict, completeness, concordance, consistency, delivery, math, plausibility, provenance};
use crate::model::{DayValue, Device, Metric, UploadKind};

/// Days over which pairs of sources, linked metrics and hours of measuring are learned.
const PAIR_DAYS: i32 = 28;
/// What is left of a value that cannot be.
const IMPOSSIBLE: f64 = 0.005;
/// What is left of a value that a person confirmed as a fault.
const CONFIRMED: f64 = 0.01;

/// Judges every value whose day lies in `days`, or of them those of one metric, and hands it to `sink`, by metric, source
/// and day.
pub fn walk<'a>(
    arranged: &mut Arranged<'a>,
    registry: &'a Registry,
    days: (i32, i32),
    only: Option<Metric>,
    assume: Assume,
    mut sink: impl FnMut(&Arranged<'a>, &Assessed<'_>),
) {
    let baselines = baselines(arranged, days);
    for index in 0..arranged.series.len() {
        if only.is_some_and(|m| m != arranged.series[index].rule.metric) {
            continue; // the first pass knows all that one series needs of another
        }
        judge_series(arranged, registry, index, days, assume, &baselines, &mut sink);
    }
}

/// First pass: each item's own baseline, and its distance from it written into its day.
fn baselines(arranged: &mut Arranged<'_>, days: (i32, i32)) -> Vec<Option<Baseline>> {
    let mut all = vec![None; arranged.items.len()];
    let mut window = Rolling::new(0);
    for series in &arranged.series {
        let rule = series.rule;
        window.reset(rule.baseline_days);
        let mut before: Option<(i32, f64)> = None;
        for (item, own) in arranged.items[series.start..series.end].iter().zip(&mut all[series.start..series.end]) {
            if item.day > days.1 {
                break;
            }
            if item.day >= days.0 {
                window.advance(item.day);
                *own = window.baseline(rule.floor);
                let day = &mut arranged.days[series.source].days[item.slot as usize];
                let kind = kind_of(arranged.values[item.at as usize].model);
                if let Some(b) = own {
                    day.z[rule.metric as usize] = ((item.x - b.median) / plausibility::predictive_spread(rule, *b)) as f32;
                    if item.usable {
                        day.foreign[kind] += delivery::foreign(rule, item.x, *b);
                    }
                }
                if let Some((_, value)) = before.filter(|(day, value)| *day == item.day - 1 && *value != 0.0) {
                    day.again[kind] += delivery::again(rule, item.value, value);
                }
            }
            before = Some((item.day, item.value));
            if item.usable {
                window.push(item.day, item.x);
            }
        }
    }
    all
}

/// The windows a series carries along.
struct Windows {
    repeats: Repeats,
    ended: Rolling,
    linked: Rolling,
    pairs: Vec<Pair>,
    others: Vec<Other>,
}

/// Differences to one other source.
struct Pair {
    source: usize,
    near: usize,
    /// What studies say of it.
    prior: f64,
    differences: Rolling,
    /// The same in tolerances of the day they are of.
    apart: Rolling,
}

impl Windows {
    fn new(arranged: &Arranged<'_>, registry: &Registry, series: &Series<'_>) -> Self {
        let prior = |source: usize| registry.prior(series.rule.metric, arranged.sources[source].as_str(), None).probability;
        let pairs = arranged
            .series
            .iter()
            .filter(|s| s.rule.metric == series.rule.metric && s.source != series.source)
            .map(|s| Pair {
                source: s.source,
                near: 0,
                prior: prior(s.source),
                differences: Rolling::new(PAIR_DAYS),
                apart: Rolling::new(PAIR_DAYS),
            })
            .collect();
        Self {
            repeats: Repeats::new(PAIR_DAYS),
            ended: Rolling::new(PAIR_DAYS),
            linked: Rolling::new(PAIR_DAYS),
            pairs,
            others: Vec::new(),
        }
    }

    /// The source's record next to the one with the most common days; of equals the first.
    fn record(&self, rule: &MetricRule, own: f64) -> Option<Record> {
        let records = self.pairs.iter().filter_map(|p| record::judge(rule, own, p.prior, &p.apart));
        records.reduce(|a, b| if b.days > a.days { b } else { a })
    }

    fn advance(&mut self, day: i32) {
        self.repeats.advance(day);
        self.ended.advance(day);
        self.linked.advance(day);
        for pair in &mut self.pairs {
            pair.differences.advance(day);
            pair.apart.advance(day);
        }
    }
}

/// Second pass over one series.
fn judge_series<'a>(
    arranged: &Arranged<'a>,
    registry: &'a Registry,
    index: usize,
    days: (i32, i32),
    assume: Assume,
    baselines: &[Option<Baseline>],
    sink: &mut impl FnMut(&Arranged<'a>, &Assessed<'_>),
) {
    let series = &arranged.series[index];
    let rule = series.rule;
    let source = arranged.sources[series.source].as_str();
    let mut windows = Windows::new(arranged, registry, series);
    let mut device: Option<&Device> = None;
    let mut prior = registry.prior(rule.metric, source, None);
    for (item, baseline) in arranged.items[series.start..series.end].iter().zip(&baselines[series.start..series.end]) {
        if item.day > days.1 {
            break;
        }
        let value = &arranged.values[item.at as usize];
        let day = &arranged.days[series.source].days[item.slot as usize];
        let seen = Seen::of(arranged, series, item, value, day, &mut windows);
        if item.day >= days.0 {
            if value.origin.device.as_ref() != device {
                device = value.origin.device.as_ref();
                prior = registry.prior(rule.metric, source, device.and_then(|d| d.name.as_deref()));
            }
            windows.advance(item.day);
            let assessed = assess(rule, item, value, day, &prior, *baseline, seen, &mut windows, assume);
            sink(arranged, &assessed);
        }
        windows.learn(rule, item, seen);
    }
}

/// What today's value brings to the windows.
#[derive(Clone, Copy)]
struct Seen {
    /// Hours from the day's midnight (UTC) to the end of measuring.
    ended: Option<f64>,
    /// Ratio to the linked metric, the partner's z and whether both may be learned from.
    ratio: Option<(Metric, f64, f64, bool)>,
}

impl Seen {
    fn of(arranged: &Arranged<'_>, series: &Series<'_>, item: &Item, value: &DayValue, day: &Day, windows: &mut Windows) -> Self {
        let metric = series.rule.metric;
        let ended = value.measured_at.map(|t| {
            let midnight = i64::from(item.day - UNIX_EPOCH_DAY) * 86_400;
            (t.timestamp() - midnight) as f64 / 3600.0
        });
        let ratio = Link::of(metric).and_then(|(link, partner)| {
            let other = day.get(partner)?;
            let ratio = link.ratio(metric, item.value, other)?;
            let learn = item.usable && day.usable(partner).is_some();
            Some((partner, ratio, f64::from(day.z[partner as usize]), learn))
        });
        windows.others.clear();
        for pair in &mut windows.pairs {
            let Some(there) = arranged.days[pair.source].at(item.day, &mut pair.near) else { continue };
            let Some(other) = there.usable(metric) else { continue };
            windows.others.push(Other {
                source: pair.source,
                value: other,
                difference: item.x - series.rule.scaled(other),
                usual: None,
                z: f64::from(there.z[metric as usize]),
            });
        }
        Self { ended, ratio }
    }
}

/// 1 January 1970 as a day number.
const UNIX_EPOCH_DAY: i32 = 719_163;

impl Windows {
    fn learn(&mut self, rule: &MetricRule, item: &Item, seen: Seen) {
        if !item.usable {
            return;
        }
        self.repeats.push(item.day, item.value);
        if let Some(hours) = seen.ended {
            self.ended.push(item.day, hours);
        }
        if let Some((_, ratio, _, true)) = seen.ratio {
            self.linked.push(item.day, ratio);
        }
        for other in &self.others {
            if let Some(pair) = self.pairs.iter_mut().find(|p| p.source == other.source) {
                pair.differences.push(item.day, other.difference);
                let reach = rule.reach(item.value.max(other.value));
                if reach > 0.0 {
                    pair.apart.push(item.day, other.difference / reach); // of two zeros nothing is said
                }
            }
        }
    }
}

/// Judges one value.
fn assess<'a>(
    rule: &'a MetricRule,
    item: &Item,
    value: &'a DayValue,
    day: &Day,
    prior: &'a Prior,
    baseline: Option<Baseline>,
    seen: Seen,
    windows: &mut Windows,
    assume: Assume,
) -> Assessed<'a> {
    let plausibility = plausibility::judge(rule, item.value, item.x, baseline);
    let complete = completeness::judge(rule, day, &value.coverage, assume);
    let dismissed = item.verdict == Some(Verdict::Dismissed);
    let record = windows.record(rule, prior.probability);
    let known = math::sigmoid(math::logit(prior.probability) + record.map_or(0.0, |r| r.shift));
    let mut chain = Chain::new(known);
    let plausible = match (plausibility.impossible, dismissed) {
        (true, _) => chain.at_most(IMPOSSIBLE),
        (false, true) => 0.0,
        (false, false) => chain.keep(plausibility.keeps),
    };
    // Nothing of a total is no lucky total.
    let luck = if item.value == 0.0 { 0.0 } else { completeness::lucky(chain.p, complete.lost) };
    let completeness_part = chain.keep_or(complete.keeps, luck);
    for other in &mut windows.others {
        let pair = windows.pairs.iter().find(|p| p.source == other.source);
        other.usual = pair.and_then(|p| p.differences.baseline(rule.floor * 0.7));
    }
    let mut concord = concordance::judge(rule, item.value, plausibility.z, plausible, &windows.others);
    if plausibility.impossible {
        concord.gain = 0.0;
    }
    // What disagrees stays found; a person who says that the value is right outvotes it.
    let concordance_part = chain.add(concord.gain) + chain.keep(if dismissed { 1.0 } else { concord.keeps });
    let provenance_part =
        chain.keep(if dismissed && value.origin.upload != UploadKind::Manual { 1.0 } else { provenance::judge(rule, value) });
    let consist = judge_consistency(rule, item, value, day, &plausibility, seen, windows);
    let consistency_part = match item.verdict {
        Some(Verdict::Confirmed) => chain.at_most(CONFIRMED),
        Some(Verdict::Dismissed) => 0.0,
        None => chain.keep(consist.keeps),
    };
    let parts = Parts {
        evidence: math::logit(known),
        plausibility: plausible,
        completeness: completeness_part,
        concordance: concordance_part,
        provenance: provenance_part,
        consistency: consistency_part,
    };
    let sd = spread(prior, record, &plausibility, &complete, &concord, item.verdict);
    Assessed {
        rule,
        value,
        prior,
        record,
        plausibility,
        completeness: complete,
        concordance: concord,
        consistency: consist,
        verdict: item.verdict,
        parts,
        probability: chain.p,
        sd,
    }
}

fn judge_consistency(
    rule: &MetricRule,
    item: &Item,
    value: &DayValue,
    day: &Day,
    plausibility: &Plausibility,
    seen: Seen,
    windows: &Windows,
) -> Consistency {
    let floor = Link::of(rule.metric).map_or(0.0, |(link, _)| link.floor);
    let linked = seen.ratio.map(|(partner, ratio, z, _)| Linked { partner, ratio, usual: windows.linked.baseline(floor), z });
    let repeat = if item.usable { windows.repeats.of(item.value, rule.repeats, plausibility.z) } else { Repeat { run: 0, chance: 1.0 } };
    let ended = seen.ended.and_then(|hours| Some((hours, windows.ended.baseline(1.5)?)));
    consistency::judge(&Given { rule, value, x: item.x, day, plausibility, repeat, ended, linked })
}

/// How wide the interval is, in log-odds: what the studies leave open, wider where the payload says nothing of how
/// much was seen and where the person has no past, narrower with a second source.
fn spread(prior: &Prior, record: Option<Record>, p: &Plausibility, c: &Completeness, o: &Concordance, verdict: Option<Verdict>) -> f64 {
    let unseen: f64 = if c.known { 0.0 } else { 0.5 };
    let n = p.baseline.map_or(0.0, |b| f64::from(b.n));
    let young = 0.5 * 3.0 / (n + 3.0);
    let sd = (prior.sd_with(record.map_or(0.0, |r| r.observations)).powi(2) + unseen * unseen + young * young).sqrt();
    let agreed = if o.agree > 0 { f64::from(o.days) / (f64::from(o.days) + 7.0) } else { 0.0 };
    let known = if verdict.is_some() || p.impossible { 0.5 } else { 1.0 };
    sd * (1.0 - 0.3 * agreed) * known
}

/// The probability as the parts take from it and add to it, in the table's order.
struct Chain {
    p: f64,
}

impl Chain {
    fn new(p: f64) -> Self {
        Self { p: math::clamp_probability(p) }
    }

    /// Something independent leaves the value sound with probability `q`; the log-odds this takes.
    fn keep(&mut self, q: f64) -> f64 {
        if q >= 1.0 {
            return 0.0;
        }
        let before = math::logit(self.p);
        self.p = math::clamp_probability(self.p * q);
        math::logit(self.p) - before
    }

    /// The same, where the value may be right all the same: with probability `luck` if it is not sound.
    fn keep_or(&mut self, q: f64, luck: f64) -> f64 {
        if q >= 1.0 {
            return 0.0;
        }
        let before = math::logit(self.p);
        self.p = math::clamp_probability(self.p * q + (1.0 - q) * luck);
        math::logit(self.p) - before
    }

    /// Evidence of so many log-odds.
    fn add(&mut self, log_odds: f64) -> f64 {
        if log_odds == 0.0 {
            return 0.0;
        }
        let before = math::logit(self.p);
        self.p = math::clamp_probability(math::sigmoid(before + log_odds));
        math::logit(self.p) - before
    }

    /// No more than `p` is left.
    fn at_most(&mut self, p: f64) -> f64 {
        let before = math::logit(self.p);
        self.p = self.p.min(p);
        math::logit(self.p) - before
    }
}
