//! What goes wrong, and where it is planted.
//!
//! The list is the one the scorer is judged by. At most one fault is planted in a record, at a share the world is
//! made with; wearing habits (short wear, not worn) are labelled too, but come by themselves.

use super::device::Kind;
use super::rng::{Rng, word};
use crate::model::{FindingKind, Model};
use std::fmt;

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $variant:ident $key:literal $values:literal $finding:expr),+ $(,)?) => {
        /// A fault of a reading or a delivery.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Fault { $($(#[doc = $doc])+ $variant),+ }

        impl Fault {
            /// Every fault.
            pub const ALL: &'static [Fault] = &[$(Fault::$variant),+];

            /// Its word in reports.
            pub const fn key(self) -> &'static str {
                match self { $(Fault::$variant => $key),+ }
            }

            /// Whether it makes the stored value wrong. What does not (a duplicate, an older delivery after a newer)
            /// must leave no trace.
            pub const fn alters_value(self) -> bool {
                match self { $(Fault::$variant => $values),+ }
            }

            /// The finding that would name it, where one exists.
            pub const fn finding(self) -> Option<FindingKind> {
                match self { $(Fault::$variant => $finding),+ }
            }
        }
    };
}

faults! {
    /// Off for hours of the day, or for part of the night.
    ShortWear "short_wear" true Some(FindingKind::Incomplete),
    /// Not worn: a day of zeros.
    NotWorn "not_worn" true Some(FindingKind::ZeroForMissing),
    /// Pounds where kilograms belong.
    PoundsKilograms "pounds_kilograms" true Some(FindingKind::PoundsKilograms),
    /// Durations sixty times too long or too short.
    SecondsMinutes "seconds_minutes" true Some(FindingKind::SecondsMinutes),
    /// A thousandth: kilometres in metres, kilograms in grams.
    Thousandth "thousandth" true Some(FindingKind::Thousandfold),
    /// A fraction where a percentage belongs.
    PercentFraction "percent_fraction" true Some(FindingKind::FractionPercent),
    /// RMSSD and SDNN exchanged.
    RmssdSdnn "rmssd_sdnn" true Some(FindingKind::RmssdSdnn),
    /// Three times the value.
    Spike "spike" true Some(FindingKind::Implausible),
    /// The same value for seven days.
    Stuck "stuck" true Some(FindingKind::Stuck),
    /// Somebody else's value.
    OtherPerson "other_person" true Some(FindingKind::OtherPerson),
    /// The values of the day before or after.
    DayShift "day_shift" true Some(FindingKind::ShiftedDay),
    /// Cut at 14:00 and never completed.
    CutDay "cut_day" true Some(FindingKind::Incomplete),
    /// Zero where nothing was measured.
    ZeroForMissing "zero_for_missing" true Some(FindingKind::ZeroForMissing),
    /// Entered or altered by hand.
    Manual "manual" true Some(FindingKind::Manual),
    /// The same delivery twice.
    Duplicate "duplicate" false None,
    /// An older delivery arrives after a newer one.
    OlderAfterNewer "older_after_newer" false None,
    /// The source says nothing for some days.
    SilentSource "silent_source" false None,
}

impl Fault {
    /// Why a fault of this kind cannot be seen everywhere, for the report; of a kind that is ordinarily seen, a general sentence.
    pub const fn hidden_because(self) -> &'static str {
        match self {
            Fault::ShortWear => {
                "many short days lost a tenth or less and differ as little from whole ones; a mean of the heart rate hardly changes when part of the day was not seen"
            }
            Fault::RmssdSdnn => {
                "the two differ by a factor of about 1.4, which is within two spreads of a person's nights; certain only where both are sent, though an oracle that knows the person's spread finds more of them than we do"
            }
            Fault::Stuck => "whole beats and breaths repeat by chance, so the first days of a stuck run look like any others",
            Fault::OtherPerson => {
                "a number of an ordinary size could be the person's own; it shows where several numbers of a delivery are foreign together"
            }
            Fault::DayShift => {
                "a day under its neighbour's date is a day like any other where its times moved with it; it shows as a copy only after the day it copies"
            }
            _ => "ordinarily seen; in this world some faulty values lie within what the person shows anyway",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// The faults a record of this kind can carry.
fn possible(kind: Kind, model: Model) -> &'static [Fault] {
    use Fault::{
        CutDay, DayShift, Duplicate, Manual, OlderAfterNewer, OtherPerson, PercentFraction, PoundsKilograms, RmssdSdnn, SecondsMinutes,
        Spike, Thousandth, ZeroForMissing,
    };
    match (model, kind) {
        (Model::Daily, Kind::Whoop) => &[Spike, OtherPerson, DayShift, CutDay, Duplicate, OlderAfterNewer, ZeroForMissing, RmssdSdnn],
        (Model::Daily, Kind::Apple) => {
            &[Thousandth, Spike, OtherPerson, DayShift, CutDay, Duplicate, OlderAfterNewer, ZeroForMissing, Manual, RmssdSdnn]
        }
        (Model::Daily, Kind::Oura) => &[Thousandth, Spike, OtherPerson, DayShift, CutDay, Duplicate, OlderAfterNewer, Manual],
        (Model::Daily, _) => &[Thousandth, Spike, OtherPerson, DayShift, CutDay, Duplicate, OlderAfterNewer, ZeroForMissing, Manual],
        (Model::Sleep, Kind::Whoop | Kind::Apple) => {
            &[SecondsMinutes, PercentFraction, Spike, OtherPerson, DayShift, Duplicate, ZeroForMissing, Manual]
        }
        (Model::Sleep, _) => &[SecondsMinutes, PercentFraction, RmssdSdnn, Spike, OtherPerson, DayShift, Duplicate, ZeroForMissing, Manual],
        (Model::Body, _) => &[PoundsKilograms, Thousandth, PercentFraction, OtherPerson, Duplicate],
        _ => &[],
    }
}

/// Which fault is planted in a record, and a stream for its details. `day`: see `physiology::number`.
pub(crate) fn planted(seed: u64, share: f64, person: u32, kind: Kind, model: Model, day: i64) -> Option<(Fault, Rng)> {
    let keys = [word("fault"), u64::from(person), word(kind.provider()), word(model.word())];
    let mut week = Rng::keyed(seed, &[keys[0], keys[1], keys[2], keys[3], word("week"), day.div_euclid(7) as u64]);
    // A stuck week costs seven records, so it is seven times as rare as its share of one in eight.
    if model != Model::Body && week.chance(share / 8.0) {
        return Some((Fault::Stuck, week));
    }
    let mut r = Rng::keyed(seed, &[keys[0], keys[1], keys[2], keys[3], day as u64]);
    let kinds = possible(kind, model);
    // Weighings are few and carry faults of their own, so they carry them more often.
    let share = if model == Model::Body { 2.0 * share } else { share };
    if kinds.is_empty() || !r.chance(share) {
        return None;
    }
    Some((kinds[r.below(kinds.len() as u64) as usize], r))
}
