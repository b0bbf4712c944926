//! What would raise a score: each answer is the score worked out again with one thing changed, so the points promised
//! are the points gained.

use super::{Which, assess_one, points, rule_and_numbers};
use crate::model::{DayValue, Finding, FindingKind, Source, UploadKind};
use crate::quality::arrange::Arranged;
use crate::quality::assessed::Assessed;
use crate::quality::completeness::Assume;
use crate::quality::registry::Needs;
use crate::quality::{Part, Registry, Reviews, Score, Verdict};
use chrono::Days;
use serde::{Deserialize, Serialize};

/// Hours of night that count as seen.
const NIGHT: f64 = 5.0;
/// Hours of movement of a day that was worn throughout (median of real days).
const MOVEMENT: f64 = 4.0;
/// Score from which a device is called good rather than capped.
const GOOD: i32 = 60;
/// Days a new second source is imagined to agree.
pub const SECOND_SOURCE_DAYS: u64 = 7;

/// One thing that would raise the score, and by how much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// The part it works on.
    pub part: Part,
    /// What to do.
    pub text: String,
    /// Points gained; 0 only in "nothing would".
    pub points: i32,
}

/// All that would raise a score, best first. Never empty, as long as the value is among `values`: where nothing helps, it
/// says so and why.
pub(super) fn what_would_raise(
    values: &[DayValue],
    reviews: &Reviews,
    registry: &Registry,
    which: Which<'_>,
    score: &Score,
) -> Vec<Advice> {
    let again = |values: &[DayValue], assume: Assume| {
        let mut new = score.score;
        assess_one(values, reviews, registry, which, assume, |_, assessed| new = assessed.score());
        new - score.score
    };
    let mut all = Vec::new();
    let mut offer = |part: Part, text: &str, points: i32| {
        if points > 0 {
            all.push(Advice { part, text: text.to_owned(), points });
        }
    };
    wear(registry, which, |text, assume| offer(Part::Completeness, text, again(values, assume)));
    if let Some(changed) = measured(values, which) {
        offer(Part::Provenance, "a measurement by the device instead of an entry by hand", again(&changed, Assume::default()));
    }
    let joined = second_source(values, which);
    offer(Part::Concordance, "a second source that agrees for a week", again(&joined, Assume::default()));
    all.sort_by(|a, b| b.points.cmp(&a.points).then(a.part.cmp(&b.part)));
    if all.is_empty() {
        assess_one(values, reviews, registry, which, Assume::default(), |arranged, assessed| {
            all.push(nothing(arranged, assessed, registry));
        });
    }
    all
}

fn wear(registry: &Registry, which: Which<'_>, mut offer: impl FnMut(&str, Assume)) {
    let needs = registry.rule(which.metric).map_or(Needs::Nothing, |r| r.needs);
    let night = Some(NIGHT);
    let movement = Some(MOVEMENT);
    match needs {
        Needs::WholeDay | Needs::PartOfDay | Needs::Rest => {
            offer("the night worn as well (five hours or more)", Assume { night_hours: night, ..Assume::default() });
            offer("the waking day worn throughout", Assume { movement_hours: movement, ..Assume::default() });
            offer(
                "day and night worn throughout",
                Assume { night_hours: night, movement_hours: movement, worn_throughout: true, day_over: false },
            );
            offer("the delivery after the day is over", Assume { day_over: true, ..Assume::default() });
        }
        Needs::WholeNight | Needs::PartOfNight => {
            offer("five hours or more of the night seen", Assume { night_hours: night, ..Assume::default() });
            offer("the delivery after the night is over", Assume { day_over: true, ..Assume::default() });
        }
        Needs::Nothing => {}
    }
}

/// The values with this one measured by the device; `None` when it was.
fn measured(values: &[DayValue], which: Which<'_>) -> Option<Vec<DayValue>> {
    let at = values.iter().position(|v| is(v, which))?;
    if values[at].origin.upload != UploadKind::Manual {
        return None;
    }
    let mut changed = values.to_vec();
    changed[at].origin.upload = UploadKind::Automatic;
    Some(changed)
}

/// The values with a second source that said nearly the same on this day and the days of the week before.
fn second_source(values: &[DayValue], which: Which<'_>) -> Vec<DayValue> {
    let first = which.date.checked_sub_days(Days::new(SECOND_SOURCE_DAYS)).unwrap_or(which.date);
    let second = Source::from_provider("second-source");
    let mut all = values.to_vec();
    let own = values.iter().filter(|v| v.metric == which.metric && v.source == *which.source);
    all.extend(own.filter(|v| v.date >= first && v.date <= which.date).map(|v| {
        let mut twin = v.clone();
        twin.source = second.clone();
        // Not the same to the last digit: that would be a copy, not a second measurement.
        twin.value = v.value * (1.0 + 1e-6);
        twin
    }));
    all
}

fn is(v: &DayValue, which: Which<'_>) -> bool {
    v.metric == which.metric && v.source == *which.source && v.date == which.date
}

/// Why nothing would raise it: it is a fault or suspected of one, or something else took the most. Only where neither is so is
/// it the device.
fn nothing(arranged: &Arranged<'_>, a: &Assessed<'_>, registry: &Registry) -> Advice {
    let [evidence, rest @ ..] = points(&a.parts, a.score());
    let (worst, taken) = rest.into_iter().fold((Part::Evidence, 0), |worst, bar| if bar.1 < worst.1 { bar } else { worst });
    let (part, why) = match faulty(arranged, a) {
        Some(why) => (worst, why),
        // What the device costs is what the first bar leaves to a hundred.
        None if taken < evidence.1 - 100 => (worst, taken_by(worst, &rule_and_numbers(worst, a, arranged, registry).1)),
        None => (Part::Evidence, device(a)),
    };
    Advice { part, text: format!("nothing: {why}"), points: 0 }
}

/// The fault that a person confirmed or that is suspected, in the words of the findings; `None`: there is none.
fn faulty(arranged: &Arranged<'_>, a: &Assessed<'_>) -> Option<String> {
    let found = suspicions(arranged, a);
    let what = match a.verdict {
        Some(Verdict::Confirmed) => "a person confirmed that this value is a fault",
        _ if a.plausibility.impossible => "this value is a fault",
        _ if found.is_empty() => return None,
        _ if found.iter().all(|f| f.kind == FindingKind::Incomplete) => "this value is suspected to be incomplete",
        _ => "this value is suspected to be a fault",
    };
    let named = found.iter().map(|f| f.detail.as_str()).collect::<Vec<_>>().join("; ");
    let named = if named.is_empty() { named } else { format!(" ({named})") };
    Some(format!("{what}{named}; the next one will have a score of its own"))
}

/// The findings that hold the score down: not what a person dismissed, nor a copy from another source, which costs nothing.
fn suspicions(arranged: &Arranged<'_>, a: &Assessed<'_>) -> Vec<Finding> {
    let dismissed = a.verdict == Some(Verdict::Dismissed);
    let mut found = a.findings(&arranged.sources);
    found.retain(|f| match f.kind {
        _ if a.consistency.findings.contains(f) => !dismissed,
        FindingKind::Copied => false,
        FindingKind::Disagreement => a.parts.concordance < 0.0,
        FindingKind::Implausible | FindingKind::OtherPerson => !dismissed,
        _ => true,
    });
    found
}

/// What took the most where nothing is suspected strongly enough for a finding.
fn taken_by(part: Part, numbers: &str) -> String {
    let what = match part {
        Part::Plausibility | Part::Consistency => "the value itself is in doubt",
        Part::Completeness => "what was not seen of it cannot be made up for",
        Part::Concordance => "the other sources differ",
        Part::Provenance => "how it came to be holds it down",
        Part::Evidence => "what is known of the device holds it down",
    };
    format!("{what} ({numbers}); the next one will have a score of its own")
}

/// How far the device itself goes. Studies are only named where there are some.
fn device(a: &Assessed<'_>) -> String {
    let (name, source) = (a.rule.metric.name().to_lowercase(), a.value.source.name());
    if !a.prior.studied {
        format!("no study of the device exists that would allow more for {name} from {source}")
    } else if a.score() < GOOD {
        format!("{name} from {source} is capped by what studies found")
    } else {
        "it is as good as this device gets".to_owned()
    }
}
