//! What would raise a score: each answer is the score worked out again with one thing changed, so the points promised
//! are the points gained.

use super::{Which, assess_one};
use crate::model::{DayValue, FindingKind, Source, UploadKind};
use crate::quality::completeness::Assume;
use crate::quality::registry::Needs;
use crate::quality::{Part, Registry, Reviews, Score};
use chrono::Days;
use serde::{Deserialize, Serialize};

/// Hours of night that count as seen.
const NIGHT: f64 = 5.0;
/// Hours of movement of a day that was worn throughout (median of real days).
const MOVEMENT: f64 = 4.0;
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

/// All that would raise a score, best first. Never empty: where nothing helps, it says so.
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
        all.push(nothing(score));
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
            offer("day and night worn throughout", Assume { night_hours: night, movement_hours: movement, day_over: false });
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

fn nothing(score: &Score) -> Advice {
    let name = score.metric.name().to_lowercase();
    let faulty = score.findings.iter().find(|f| matches!(f.kind, FindingKind::Impossible | FindingKind::ZeroForMissing));
    let text = match faulty {
        Some(_) => "nothing: this value is a fault; the next one will have a score of its own".to_owned(),
        None if score.score < 60 => format!("nothing: {name} from {} is capped by what studies found", score.source.name()),
        None => "nothing: it is as good as this device gets".to_owned(),
    };
    Advice { part: Part::Evidence, text, points: 0 }
}
