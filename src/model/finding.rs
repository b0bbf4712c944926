//! What is suspicious about a value. A finding names a fault and may propose a reading; it never changes the value.

use super::Metric;
use serde::{Deserialize, Serialize};

/// The kinds of fault a value can be suspected of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Outside what is physically possible.
    Impossible,
    /// Possible, but far from what people or this person show.
    Implausible,
    /// Pounds given as kilograms, or the other way round.
    PoundsKilograms,
    /// A factor of 60: seconds, minutes and hours mixed up.
    SecondsMinutes,
    /// A factor of 1000: grams and kilograms, metres and kilometres.
    Thousandfold,
    /// A fraction where a percentage belongs, or the other way round.
    FractionPercent,
    /// RMSSD and SDNN exchanged.
    RmssdSdnn,
    /// Parts that do not add up to their whole.
    Inconsistent,
    /// Zero where nothing was measured.
    ZeroForMissing,
    /// The same value day after day.
    Stuck,
    /// A copy of another day or source.
    Copied,
    /// A day shifted by one.
    ShiftedDay,
    /// Probably another person's value.
    OtherPerson,
    /// The day or night was seen only in part.
    Incomplete,
    /// Entered or altered by hand.
    Manual,
    /// Marked as not final by the provider.
    Provisional,
    /// The provider itself doubts it.
    ProviderFlag,
    /// Two sources disagree by more than they usually do.
    Disagreement,
    /// A field had a wrong type or an unusable value and was left out.
    BadField,
    /// A part that should be there was not.
    MissingPart,
}

/// One suspicion about one value, or about a record as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Which fault.
    pub kind: FindingKind,
    /// Which metric it concerns; `None`: the record as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
    /// What was seen, for people: names of fields and numbers, never a name or an id.
    pub detail: String,
    /// What the value might have been, in the metric's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed: Option<f64>,
}
