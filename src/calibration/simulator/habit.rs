//! How devices are worn, and when they are not there at all.
//!
//! Wear is kept by half hours of the local day. Steps and energy of an hour without the device are lost; a night
//! without it gives no night; the resting heart rate hardly minds.

use super::device::Kind;
use super::person::Person;
use super::physiology::number;
use super::rng::{Rng, word};
use chrono::NaiveDate;

/// Which half hours of a day the device was on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wear {
    /// Bit i: worn from half past or full hour i/2 on.
    pub mask: u64,
    /// Share of the night that ended on this day that was seen; 0: no night.
    pub night: f64,
}

/// The whole day.
pub const ALL_DAY: u64 = (1 << 48) - 1;

impl Wear {
    /// Worn from midnight to midnight and all night.
    pub const WHOLE: Wear = Wear { mask: ALL_DAY, night: 1.0 };

    /// Minutes worn.
    pub const fn minutes(self) -> u32 {
        self.mask.count_ones() * 30
    }

    /// The same day seen only until a local second of it.
    #[must_use]
    pub const fn until(self, second: i32) -> Wear {
        let slots = if second <= 0 {
            0
        } else if second >= 86_400 {
            48
        } else {
            second / 1_800
        };
        Wear { mask: self.mask & ((1_u64 << slots) - 1), night: self.night }
    }

    /// Share of the day's movement that fell into worn time.
    pub fn movement(self) -> f64 {
        let (mut seen, mut all) = (0.0, 0.0);
        for slot in 0..48 {
            let weight = movement_at(slot);
            all += weight;
            if self.mask >> slot & 1 == 1 {
                seen += weight;
            }
        }
        seen / all
    }

    /// Share of worn time that lies in the waking hours from seven to eleven in the evening; `None` if never worn.
    pub fn awake_share(self) -> Option<f64> {
        let waking = ((1_u64 << 46) - 1) & !((1_u64 << 14) - 1);
        (self.mask != 0).then(|| f64::from((self.mask & waking).count_ones()) / f64::from(self.mask.count_ones()))
    }
}

/// People move most in the morning, at noon and after work.
fn movement_at(slot: u32) -> f64 {
    match slot / 2 {
        0..=5 | 23 => 0.03,
        6 => 0.4,
        8 | 12 | 17 | 18 => 1.7,
        _ => 1.0,
    }
}

fn off(mask: u64, from_slot: u64, slots: u64) -> u64 {
    let to = (from_slot + slots).min(48);
    let below = |slot: u64| (1_u64 << slot) - 1;
    mask & !(below(to) & !below(from_slot.min(48)))
}

impl Person {
    fn habit(&self, what: &str, kind: Kind, key: i64) -> Rng {
        Rng::keyed(self.seed, &[word(what), u64::from(self.index), word(kind.provider()), key as u64])
    }

    /// How the device was worn on a day.
    pub fn wear(&self, kind: Kind, date: NaiveDate) -> Wear {
        let mut r = self.habit("wear", kind, number(date));
        let careless = 1.0 - self.care;
        let (draw, start, length) = (r.unit(), r.below(24), r.below(14));
        // Off for charging or a shower on most days.
        let charge = off(ALL_DAY, 13 + start, 1);
        let never = 0.01 + 0.045 * careless;
        let short = never + 0.05 + 0.16 * careless;
        let no_night = short + 0.02 + 0.1 * careless;
        let half_night = no_night + 0.015;
        if draw < never {
            Wear { mask: 0, night: 0.0 }
        } else if draw < short {
            Wear { mask: off(charge, 12 + start, 8 + length * 2), night: if r.chance(0.75) { 1.0 } else { 0.0 } }
        } else if draw < no_night {
            // Put on in the morning, off in the evening.
            Wear { mask: off(off(charge, 0, 14), 45, 3), night: 0.0 }
        } else if draw < half_night {
            // Flat battery in the small hours.
            Wear { mask: off(charge, 4 + r.below(6), 8), night: r.between(0.35, 0.75) }
        } else {
            Wear { mask: charge, night: 1.0 }
        }
    }

    /// Whether the device lay in a drawer (holiday, broken strap): then nothing comes, not even zeros.
    pub fn silent(&self, kind: Kind, date: NaiveDate) -> bool {
        let n = number(date);
        let mut r = self.habit("gap", kind, n.div_euclid(75));
        let (gap, start, days) = (r.chance(0.22), r.below(60) as i64, 4 + r.below(10) as i64);
        let since = n.rem_euclid(75) - start;
        gap && (0..days).contains(&since)
    }

    /// Whether this person stepped on the scale, and at which local second.
    pub fn weighs(&self, date: NaiveDate) -> Option<f64> {
        let mut r = self.habit("scale", Kind::Withings, number(date));
        r.chance(0.25 + 0.5 * self.care).then(|| (self.wake_h + r.between(0.1, 0.8)) * 3_600.0)
    }
}

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// The person gave access (again): a new Terra id.
    Connected,
    /// The person took the access away.
    Deauthorised,
    /// Terra renewed the connection under a new id.
    Renewed,
    /// The provider refused for a while.
    Refused,
    /// The person took the access away at the provider. Only as a test event.
    Revoked,
    /// The person allowed more. Only as a test event.
    Extended,
}

/// The life of one connection: changes in order of day number, and how many ids it has had.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Life(Vec<(i64, Change)>);

/// Before this day (1 January 2024) connections do not change, so that ids stay countable.
const FIRST: i64 = 738_886;
const BLOCK: i64 = 120;

impl Life {
    /// The life of a person's connection until a day.
    pub fn of(person: &Person, kind: Kind, until: i64) -> Self {
        let mut changes = Vec::new();
        let mut start = FIRST;
        while start <= until {
            let mut r = person.habit("connection", kind, start);
            let (draw, at) = (r.unit(), start + 10 + r.below(70) as i64);
            if draw < 0.07 {
                changes.push((at, Change::Deauthorised));
                changes.push((at + 8 + r.below(25) as i64, Change::Connected));
            } else if draw < 0.14 {
                changes.push((at, Change::Renewed));
            } else if draw < 0.2 {
                changes.push((at, Change::Refused));
            }
            start += BLOCK;
        }
        Self(changes)
    }

    /// The change on a day, if there is one.
    pub fn change(&self, day: i64) -> Option<Change> {
        self.0.iter().find(|(at, _)| *at == day).map(|(_, change)| *change)
    }

    /// Whether data flow on a day.
    pub fn connected(&self, day: i64) -> bool {
        self.0
            .iter()
            .rev()
            .find(|(at, change)| *at <= day && *change != Change::Refused)
            .is_none_or(|(_, change)| *change != Change::Deauthorised)
    }

    /// Since when the connection has the id it has on a day, and whether it got it by renewal. The beginning of
    /// everything where nothing ever changed.
    pub fn since(&self, day: i64) -> (i64, bool) {
        let given = |change: &Change| matches!(change, Change::Connected | Change::Renewed);
        let last = self.0.iter().rev().find(|(at, change)| *at <= day && given(change));
        last.map_or((FIRST.min(day), false), |(at, change)| (*at, *change == Change::Renewed))
    }

    /// Which of its ids the connection has on a day, from 0.
    pub fn generation(&self, day: i64) -> u64 {
        self.0.iter().filter(|(at, change)| *at <= day && matches!(change, Change::Connected | Change::Renewed)).count() as u64
    }
}
