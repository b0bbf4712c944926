//! The way through a person's values: series by series, day by day, each value judged with the windows as they stood
//! before it.
//!
//! Two passes. The first works out each value's distance from the person's own baseline, the second judges: a
//! disagreement can only be shared out when it is known which of the two is further from its own past.

use super::arrange::{Arranged, Day, Item, Series};
use super::completeness::{Assume, Completeness};
use super::concordance::{Concordance, Other};
use super::consistency::{Consistency, Given, Linked};
use super::links::Link;
use super::plausibility::Plausibility;
use super::registry::{MetricRule, Prior, Registry};
use super::repeats::{Repeat, Repeats};
use super::window::{Baseline, Rolling};
use super::{completeness, concordance, consistency, math, plausibility, provenance, Parts, Verdict, Z90};
use crate::model::{DayValue, Device, Finding, FindingKind, UploadKind};

/// Days over which pairs of sources, linked metrics and hours of measuring are learned.
const PAIR_DAYS: i32 = 28;
/// What is left of a value that cannot be.
const IMPOSSIBLE: f64 = 0.005;
/// What is left of a value that a person confirmed as a fault.
const CONFIRMED: f64 = 0.01;

/// Everything found about one value.
#[derive(Debug)]
pub struct Assessed<'a> {
    /// The metric's rule.
    pub rule: &'a MetricRule,
    /// The value.
    pub value: &'a DayValue,
    /// What is known of the device.
    pub prior: &'a Prior,
    /// Findings of each part.
    pub plausibility: Plausibility,
    /// How much was seen.
    pub completeness: Completeness,
    /// Other sources.
    pub concordance: Concordance,
    /// Fit with the rest of the delivery and the past.
    pub consistency: Consistency,
    /// What a person said.
    pub verdict: Option<Verdict>,
    /// Log-odds by part.
    pub parts: Parts,
    /// P(|reported − true| ≤ tolerance).
    pub probability: f64,
    /// Standard deviation of its log-odds.
    pub sd: f64,
}

/// Judges every value whose day lies in `days` and hands it to `sink`, by metric, source and day.
pub fn walk<'a>(
    arranged: &mut Arranged<'a>,
    registry: &'a Registry,
    days: (i32, i32),
    assume: Assume,
    mut sink: impl FnMut(&Arranged<'a>, &Assessed<'_>),
) {
    let baselines = baselines(arranged, days);
    for index in 0..arranged.series.len() {
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
        for i in series.start..series.end {
            let item = arranged.items[i];
            if item.day > days.1 {
                break;
            }
            if item.day >= days.0 {
                window.advance(item.day);
                all[i] = window.baseline(rule.floor);
                if let Some(b) = all[i] {
                    let z = (item.x - b.median) / b.spread;
                    arranged.days[series.source].days[item.slot as usize].z[rule.metric as usize] = z as f32;
                }
            }
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
    differences: Rolling,
}

impl Windows {
    fn new(arranged: &Arranged<'_>, series: &Series<'_>) -> Self {
        let pairs = arranged
            .series
            .iter()
            .filter(|s| s.rule.metric == series.rule.metric && s.source != series.source)
            .map(|s| Pair { source: s.source, near: 0, differences: Rolling::new(PAIR_DAYS) })
            .collect();
        Self {
            repeats: Repeats::new(PAIR_DAYS),
            ended: Rolling::new(PAIR_DAYS),
            linked: Rolling::new(PAIR_DAYS),
            pairs,
            others: Vec::new(),
        }
    }

    fn advance(&mut self, day: i32) {
        self.repeats.advance(day);
        self.ended.advance(day);
        self.linked.advance(day);
        for pair in &mut self.pairs {
            pair.differences.advance(day);
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
    let mut windows = Windows::new(arranged, series);
    let mut device: Option<&Device> = None;
    let mut prior = registry.prior(rule.metric, source, None);
    for i in series.start..series.end {
        let item = &arranged.items[i];
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
            let assessed = assess(rule, item, value, day, &prior, baselines[i], seen, &mut windows, assume);
            sink(arranged, &assessed);
        }
        windows.learn(item, seen);
    }
}

/// What today's value brings to the windows.
#[derive(Clone, Copy)]
struct Seen {
    /// Hours from the day's midnight (UTC) to the end of measuring.
    ended: Option<f64>,
    /// Ratio to the linked metric, the partner's z and whether both may be learned from.
    ratio: Option<(crate::model::Metric, f64, f64, bool)>,
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
    fn learn(&mut self, item: &Item, seen: Seen) {
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
    let mut chain = Chain::new(prior.probability);
    let plausible = match (plausibility.impossible, dismissed) {
        (true, _) => chain.at_most(IMPOSSIBLE),
        (false, true) => 0.0,
        (false, false) => chain.keep(plausibility.keeps),
    };
    let completeness_part = chain.keep(complete.keeps);
    for other in &mut windows.others {
        let pair = windows.pairs.iter().find(|p| p.source == other.source);
        other.usual = pair.and_then(|p| p.differences.baseline(rule.floor * 0.7));
    }
    let mut concord = concordance::judge(rule, item.value, plausibility.z, plausible, &windows.others);
    if plausibility.impossible {
        concord.gain = 0.0;
    }
    let concordance_part = chain.add(concord.gain) + chain.keep(concord.keeps);
    let provenance_part = chain.keep(if dismissed && value.origin.upload != UploadKind::Manual {
        1.0
    } else {
        provenance::judge(rule, value)
    });
    let consist = judge_consistency(rule, item, value, day, &plausibility, seen, windows);
    let consistency_part = match item.verdict {
        Some(Verdict::Confirmed) => chain.at_most(CONFIRMED),
        Some(Verdict::Dismissed) => 0.0,
        None => chain.keep(consist.keeps),
    };
    let parts = Parts {
        evidence: math::logit(prior.probability),
        plausibility: plausible,
        completeness: completeness_part,
        concordance: concordance_part,
        provenance: provenance_part,
        consistency: consistency_part,
    };
    let sd = spread(prior, &plausibility, &complete, &concord, item.verdict);
    Assessed {
        rule,
        value,
        prior,
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
    let repeat = if item.usable { windows.repeats.of(item.value, rule.repeats) } else { Repeat { run: 0, chance: 1.0 } };
    let ended = seen.ended.and_then(|hours| Some((hours, windows.ended.baseline(1.5)?)));
    consistency::judge(&Given { rule, value, x: item.x, day, plausibility, repeat, ended, linked })
}

/// How wide the interval is, in log-odds: what the studies leave open, wider where the payload says nothing of how
/// much was seen and where the person has no past, narrower with a second source.
fn spread(prior: &Prior, p: &Plausibility, c: &Completeness, o: &Concordance, verdict: Option<Verdict>) -> f64 {
    let unseen: f64 = if c.known { 0.0 } else { 0.5 };
    let n = p.baseline.map_or(0.0, |b| f64::from(b.n));
    let young = 0.5 * 3.0 / (n + 3.0);
    let sd = (prior.sd() * prior.sd() + unseen * unseen + young * young).sqrt();
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

impl Assessed<'_> {
    /// 10th and 90th percentile of the probability.
    pub fn interval(&self) -> (f64, f64) {
        let middle = math::logit(self.probability);
        (math::sigmoid(middle - Z90 * self.sd), math::sigmoid(middle + Z90 * self.sd))
    }

    /// The score, 0–100.
    pub fn score(&self) -> i32 {
        (100.0 * self.probability).round() as i32
    }

    /// All suspicions, in words.
    pub fn findings(&self, sources: &[&crate::model::Source]) -> Vec<Finding> {
        let mut found = Vec::new();
        let metric = Some(self.rule.metric);
        let mut say = |kind, detail: String| found.push(Finding { kind, metric, detail, proposed: None });
        let unit = self.rule.metric.unit();
        if self.plausibility.impossible {
            let (low, high) = self.rule.hard;
            let kind = if self.value.value == 0.0 { FindingKind::ZeroForMissing } else { FindingKind::Impossible };
            say(kind, format!("{} {unit} is outside {low}–{high} {unit}", self.value.value));
        } else if self.plausibility.keeps < 0.5 && self.consistency.findings.is_empty() {
            let detail = match self.plausibility.baseline {
                Some(b) if b.n >= 3 => format!("{:.1} spreads from this person's own median of {} days", self.plausibility.z.abs(), b.n),
                _ => "far from what people show".to_owned(),
            };
            say(self.kind_of_outlier(), detail);
        }
        if self.completeness.keeps < 0.5 {
            let kind = if self.value.value == 0.0 { FindingKind::ZeroForMissing } else { FindingKind::Incomplete };
            say(kind, super::explain::words::seen(&self.completeness));
        }
        if self.concordance.keeps < 0.7
            && let Some((source, r, other)) = self.concordance.nearest
        {
            let name = sources.get(source).map_or_else(String::new, |s| s.name());
            say(FindingKind::Disagreement, format!("{name} says {other:.1} {unit}: {:.1} usual spreads apart", r.abs()));
        }
        if self.concordance.copies > 0 {
            say(FindingKind::Copied, "the same number to the last digit as another source: counted once".to_owned());
        }
        found.extend(self.consistency.findings.iter().cloned());
        found
    }

    /// A body measurement far off, yet ordinary for people, is probably somebody else's.
    fn kind_of_outlier(&self) -> FindingKind {
        use crate::model::Metric as M;
        let body = matches!(self.rule.metric, M::Weight | M::BodyFat | M::MuscleMass | M::Bmi);
        let ordinary = ((self.rule.scaled(self.value.value) - self.rule.scaled(self.rule.usual)) / self.rule.usual_spread).abs() < 2.5;
        if body && ordinary { FindingKind::OtherPerson } else { FindingKind::Implausible }
    }
}
