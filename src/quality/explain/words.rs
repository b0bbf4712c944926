//! The sentences of the bars. Numbers in the units people use; never a name or an id.

use crate::model::Metric;
use crate::quality::arrange::Arranged;
use crate::quality::assessed::Assessed;
use crate::quality::completeness::{Completeness, NightLimits};
use crate::quality::registry::{EvidenceRow, Grounds, Needs, Prior, Scale, Tolerance};
use crate::quality::{Registry, Verdict, provenance as way};

/// A value with its unit, durations as hours and minutes.
pub fn amount(metric: Metric, value: f64) -> String {
    match metric.unit() {
        "s" => {
            let minutes = (value / 60.0).round();
            format!("{:.0} h {:02.0} min", (minutes / 60.0).floor(), minutes.rem_euclid(60.0))
        }
        "count" => format!("{value:.0}"),
        "" => format!("{value:.1}"),
        unit if value.abs() >= 1000.0 => format!("{value:.0} {unit}"),
        unit => format!("{value:.1} {unit}"),
    }
}

/// The tolerance in words.
pub fn tolerance(metric: Metric, tolerance: Tolerance) -> String {
    match tolerance {
        Tolerance::Relative(f) => format!("±{:.0} %", f * 100.0),
        Tolerance::Absolute(d) if metric.unit() == "s" => format!("±{:.0} min", d / 60.0),
        Tolerance::Absolute(d) => format!("±{d} {}", metric.unit()).trim_end().to_owned(),
    }
}

/// How much was seen, and what limited it, in words.
pub fn seen(c: &Completeness) -> String {
    let parts = [("seen", hours_seen(c)), ("limited by", limits(&c.limits))];
    let said: Vec<String> =
        parts.iter().filter(|(_, what)| !what.is_empty()).map(|(how, what)| format!("{how}: {}", what.join(", "))).collect();
    if said.is_empty() { "the payload does not say how much was seen".to_owned() } else { said.join("; ") }
}

fn hours_seen(c: &Completeness) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(h) = c.night_hours {
        parts.push(format!("{h:.1} h of the night"));
    }
    if let Some(h) = c.movement_hours {
        parts.push(format!("{h:.1} h with movement"));
    }
    if let Some(h) = c.worn_hours {
        parts.push(format!("{h:.1} h worn"));
    }
    if let Some(share) = c.samples_share {
        parts.push(format!("{:.0} % of the usual heart-rate samples", 100.0 * share));
    }
    if let Some(h) = c.cut_hours {
        parts.push(format!("delivered {h:.1} h into the day"));
    }
    parts
}

fn limits(l: &NightLimits) -> Vec<String> {
    let samples = l.samples.map(|n| if n == 1 { "only 1 sample".to_owned() } else { format!("only {n} samples") });
    let hypnogram = l.hypnogram_hours.map(|h| format!("a hypnogram of {h:.1} h"));
    let unmeasured = l.unmeasured_hours.map(|h| format!("{h:.1} h that could not be measured"));
    let cut = l.cut_hours.map(|h| format!("a delivery {h:.1} h into the night"));
    [samples, hypnogram, unmeasured, cut].into_iter().flatten().collect()
}

/// What a prior starts from. Nothing but a study of the brand is called a study.
fn prior(p: &Prior, registry: &Registry) -> String {
    let share = format!("{:.0} of 100", 100.0 * p.probability);
    match p.grounds {
        Grounds::Studied => {
            let of = if p.studies == 1 { "study".to_owned() } else { format!("{} studies", p.studies) };
            format!("{share} within it, from {of} worth {:.0} observations", p.observations)
        }
        Grounds::Required(row) => {
            let standard = registry.evidence().get(row).map_or("a standard", EvidenceRow::standard);
            format!("{share} within it, required by {standard}, no study: interval wide")
        }
        Grounds::Assumed => format!("{share} within it, assumed by this registry, no study: interval wide"),
        Grounds::Borrowed => format!("no study found that gives a probability: {share} borrowed from other devices, interval wide"),
        Grounds::Mixed => format!(
            "no study found that gives a probability: {share}, partly borrowed from other devices and partly assumed by this registry, interval wide"
        ),
    }
}

pub(super) fn evidence(a: &Assessed<'_>, registry: &Registry) -> (String, String) {
    let name = a.rule.metric.name();
    let rule = format!("{name} is good enough within {} ({}).", tolerance(a.rule.metric, a.rule.tolerance), a.rule.tolerance_source);
    let numbers = prior(a.prior, registry);
    let numbers = match a.record {
        Some(r) => format!(
            "{numbers}; with this person it agreed with another source on {} of the last {} common days, where {:.0} were to be expected: {:+.2} log-odds",
            r.agreed, r.days, r.expected, r.shift
        ),
        None => numbers,
    };
    (rule, numbers)
}

pub(super) fn plausibility(a: &Assessed<'_>) -> (String, String) {
    let metric = a.rule.metric;
    if a.plausibility.impossible {
        let (low, high) = a.rule.hard;
        let rule = format!("Possible is {} to {}.", amount(metric, low), amount(metric, high));
        return (rule, format!("the value is {}", amount(metric, a.value.value)));
    }
    if a.verdict == Some(Verdict::Dismissed) {
        return ("A person looked at the doubt and dismissed it.".to_owned(), String::new());
    }
    let rule = format!(
        "Compared with this person's own median of up to {} days before, and with people while those are few.",
        a.rule.baseline_days
    );
    let numbers = match a.plausibility.baseline {
        Some(b) => {
            let median = match a.rule.scale {
                Scale::Linear => b.median,
                Scale::Log(offset) => libm::exp(b.median) - offset,
            };
            format!(
                "{} against {} over {} days: {:.1} spreads away",
                amount(metric, a.value.value),
                amount(metric, median),
                b.n,
                a.plausibility.z.abs()
            )
        }
        None => format!("{}; no own days yet, people: {}", amount(metric, a.value.value), amount(metric, a.rule.usual)),
    };
    (rule, numbers)
}

pub(super) fn completeness(a: &Assessed<'_>) -> (String, String) {
    let rule = match a.rule.needs {
        Needs::WholeDay => "A total needs the whole day: what was not seen is missing from it.",
        Needs::PartOfDay => "A mean or an extreme needs most of the day.",
        Needs::WholeNight => "A night counts when most of it was seen.",
        Needs::PartOfNight => "A nightly mean needs a few hours of the night.",
        Needs::Rest => "It is taken from the quietest hours, so short wear does not matter.",
        Needs::Nothing => "One measurement is all it needs.",
    };
    let numbers = if a.rule.needs == Needs::Nothing { String::new() } else { seen(&a.completeness) };
    (rule.to_owned(), numbers)
}

pub(super) fn concordance(a: &Assessed<'_>, arranged: &Arranged<'_>) -> (String, String) {
    let c = &a.concordance;
    let rule = "Other sources of the same day, after the usual offset between the two, in units of their usual spread.";
    let mut numbers = match (c.nearest, c.others) {
        (Some((source, r, value)), _) => {
            let name = arranged.sources.get(source).map_or_else(String::new, |s| s.name());
            let verb = if c.agree > 0 { "agrees" } else { "differs" };
            format!("{name} {verb}: {}, {:.1} usual spreads apart, {} common days", amount(a.rule.metric, value), r.abs(), c.days)
        }
        (None, _) if c.voted.is_some() => c.voted.map_or_else(String::new, |(agree, of)| {
            format!("{agree} of {of} other sources of the day say the same within √2 tolerances; they have no common past yet")
        }),
        (None, 0) => "no second source that day: nothing added, nothing taken".to_owned(),
        (None, _) if c.copies > 0 => "the other source shows the same number to the last digit: one measurement, counted once".to_owned(),
        (None, _) => format!("a second source, but only {} common days so far: counts from 5", c.days),
    };
    if a.verdict == Some(Verdict::Dismissed) && c.nearest.is_some() && c.agree == 0 {
        numbers.push_str("; a person looked at the doubt and dismissed it, so that takes nothing");
    }
    (rule.to_owned(), numbers)
}

pub(super) fn provenance(a: &Assessed<'_>) -> (String, String) {
    let mut numbers = way::words(a.value.origin.upload).to_owned();
    if way::doubted(a.value) {
        numbers.push_str("; the provider itself doubts it");
    }
    ("How the number came to be, and the provider's own flags.".to_owned(), numbers)
}

pub(super) fn consistency(a: &Assessed<'_>) -> (String, String) {
    let rule = "Does it fit the other numbers of its delivery, and is it more than a repeat, a shifted day or another unit?";
    let numbers = match a.verdict {
        Some(Verdict::Confirmed) => "a person confirmed the fault".to_owned(),
        Some(Verdict::Dismissed) => "a person looked at the doubt and dismissed it".to_owned(),
        None if a.consistency.findings.is_empty() => a.consistency.faint.as_ref().map_or_else(
            || "nothing found".to_owned(),
            |(suspicion, detail)| format!("{detail}: {:.0} % likely to be a fault, too little to call it one", 100.0 * suspicion),
        ),
        None => a.consistency.findings.iter().map(|f| f.detail.as_str()).collect::<Vec<_>>().join("; "),
    };
    (rule.to_owned(), numbers)
}
