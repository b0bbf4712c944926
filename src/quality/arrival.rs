//! When a person's values usually come, and why one has not: a gap with a name instead of a bare gap.
//!
//! The rhythm is learned from the person's own days: on which share of the days that were due a value came (with one imagined
//! success and one imagined failure, so that few days say little), and how long after the day it came. A value is missed when that
//! many missed turns would come about by chance less than one time in twenty. Pure: what is known and the time go in.
//!
//! A provider is out when hardly anybody's data come from it, for longer than anybody's ordinarily keep away: a day, where
//! everybody is heard of daily, since all may synchronise in the morning; a week for scales.

use serde::{Deserialize, Serialize};

/// Days the rhythm is learned from, up to the last one with a value.
pub const DAYS: i32 = 28;
/// Silence that chance explains less often than this is a gap.
const BY_CHANCE: f64 = 0.05;
/// Values before a rhythm of one's own counts.
const ENOUGH: usize = 4;
/// Longest credible wait, in hours: a history loaded later says nothing about waiting.
const LONGEST_WAIT: f64 = 72.0;
/// Wait assumed before it was seen.
const USUAL_WAIT: f64 = 12.0;
/// Persons of a provider below which its silence is nobody's but the person's.
pub const ENOUGH_PERSONS: i64 = 5;
/// Share of a provider's persons from which data must still come.
pub const STILL_TALKS: f64 = 0.2;
/// A provider is silent when it is for so much longer than is usual.
const LONGER: f64 = 1.25;

/// Whether a metric of a person comes from a provider as it usually does, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// Nothing is due that has not come.
    OnTime,
    /// The source sent other things of the missing days: the device was there, this was not measured.
    NotWorn,
    /// The source sent nothing of the missing days: the device has not synchronised.
    NotSynced,
    /// The person's connection to the provider is revoked or in error.
    ConnectionBroken,
    /// Hardly anybody's data come from this provider just now.
    ProviderOutage,
}

impl Arrival {
    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Arrival::OnTime => "on time",
            Arrival::NotWorn => "not worn",
            Arrival::NotSynced => "not synced",
            Arrival::ConnectionBroken => "connection broken",
            Arrival::ProviderOutage => "provider outage",
        }
    }
}

/// How a provider does with everybody it serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Pulse {
    /// Persons whose data came in the weeks before its newest data: however long it is silent, they stay its persons.
    pub usual: i64,
    /// Hours since data came from more than [`STILL_TALKS`] of them.
    pub quiet_hours: f64,
    /// Hours over which the newest data of most of them are spread: so long they keep away from each other ordinarily.
    pub spread_hours: f64,
}

impl Pulse {
    /// Whether it is silent for nobody's fault, as seen by somebody whose data come every so many days.
    pub fn is_out(self, every_days: f64) -> bool {
        self.usual >= ENOUGH_PERSONS && self.quiet_hours > LONGER * self.spread_hours.max(every_days.max(1.0) * 24.0)
    }
}

/// What is known of a metric of a person from a provider. Days are day numbers.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Days with a value, ascending.
    pub days: &'a [i32],
    /// Hours from the end of each of these days until its value was here, in the same order.
    pub waits: &'a [f64],
    /// Days for which the source sent anything, ascending.
    pub source_days: &'a [i32],
    /// Days between two values by the registry.
    pub cadence_days: f64,
    /// The connection does not work.
    pub broken: bool,
    /// How the provider does.
    pub pulse: Pulse,
    /// Today.
    pub today: i32,
    /// Hours of today that are over (UTC).
    pub hour: f64,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rhythm {
    /// As usual, or why not.
    pub arrival: Arrival,
    /// Days between two values, ordinarily.
    pub every_days: f64,
    /// Hours after the day by which its value is usually here.
    pub wait_hours: f64,
    /// Days since the last value.
    pub silent_days: i32,
    /// How often so long a silence comes about by chance.
    pub chance: f64,
}

/// Judges one metric of one source; `None` when nothing ever came, which is no gap.
pub fn judge(known: &Known<'_>) -> Option<Rhythm> {
    let last = *known.days.last()?;
    let recent: Vec<i32> = known.days.iter().copied().filter(|d| *d > last - DAYS).collect();
    let every = every(&recent, known.cadence_days);
    let wait = wait(known);
    // The last day whose value should be here by now.
    let due = known.today - 1 + ((known.hour - wait) / 24.0).floor() as i32;
    let missed = (f64::from((due - last).max(0)) / every).floor();
    let first = recent.first().copied().unwrap_or(last);
    let turns = (f64::from(last - first) / every).round() + 1.0;
    let rate = ((recent.len() as f64 + 1.0) / (turns + 2.0)).clamp(0.05, 0.98);
    let chance = libm::pow(1.0 - rate, missed);
    let arrival = if missed < 1.0 || chance >= BY_CHANCE { Arrival::OnTime } else { why(known, last, every) };
    Some(Rhythm { arrival, every_days: every, wait_hours: wait, silent_days: (known.today - last).max(0), chance })
}

/// The median distance of the days with a value; of too few the registry's.
fn every(days: &[i32], cadence: f64) -> f64 {
    let mut gaps: Vec<f64> = days.windows(2).map(|w| f64::from(w[1] - w[0])).collect();
    let own = if days.len() >= ENOUGH { super::math::median(&mut gaps) } else { None };
    own.unwrap_or(cadence).max(1.0)
}

/// The 90th percentile of the waits of the last days.
fn wait(known: &Known<'_>) -> f64 {
    let mut waits: Vec<f64> =
        known.waits.iter().rev().take(DAYS as usize).copied().filter(|w| w.is_finite() && *w <= LONGEST_WAIT).map(|w| w.max(0.0)).collect();
    if waits.len() < ENOUGH {
        return USUAL_WAIT;
    }
    waits.sort_unstable_by(f64::total_cmp);
    waits[(waits.len() - 1) * 9 / 10]
}

fn why(known: &Known<'_>, last: i32, every: f64) -> Arrival {
    if known.broken {
        Arrival::ConnectionBroken
    } else if known.pulse.is_out(every) {
        Arrival::ProviderOutage
    } else if known.source_days.last().is_some_and(|d| *d > last) {
        Arrival::NotWorn
    } else {
        Arrival::NotSynced
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn known<'a>(days: &'a [i32], waits: &'a [f64]) -> Known<'a> {
        Known { days, waits, source_days: days, cadence_days: 1.0, broken: false, pulse: Pulse::default(), today: 100, hour: 12.0 }
    }

    #[test]
    fn a_daily_value_is_missed_after_its_usual_wait_and_not_before() {
        let days: Vec<i32> = (70..=98).collect();
        let waits = vec![9.0; days.len()];
        let noon = judge(&known(&days, &waits)).unwrap();
        assert_eq!((noon.arrival, noon.silent_days, noon.wait_hours), (Arrival::NotSynced, 2, 9.0));
        let morning = judge(&Known { hour: 8.0, ..known(&days, &waits) }).unwrap();
        assert_eq!(morning.arrival, Arrival::OnTime, "yesterday's value usually comes at nine");
    }

    #[test]
    fn somebody_who_wears_it_now_and_then_is_missed_later() {
        let days: Vec<i32> = (60..=95).filter(|d| d % 3 != 0).collect();
        let waits = vec![6.0; days.len()];
        assert_eq!(judge(&Known { today: 97, ..known(&days, &waits) }).unwrap().arrival, Arrival::OnTime);
        assert_eq!(judge(&Known { today: 102, ..known(&days, &waits) }).unwrap().arrival, Arrival::NotSynced);
    }

    #[test]
    fn a_weekly_scale_is_not_missed_on_tuesday() {
        let days = [58, 65, 72, 79, 86, 93];
        let weekly = Known { cadence_days: 7.0, ..known(&days, &[1.0; 6]) };
        assert_eq!(judge(&weekly).unwrap().arrival, Arrival::OnTime);
        assert_eq!(judge(&Known { today: 125, ..weekly }).unwrap().arrival, Arrival::NotSynced);
    }

    #[test]
    fn the_gap_has_a_name() {
        let days: Vec<i32> = (70..=95).collect();
        let waits = vec![6.0; days.len()];
        let it = known(&days, &waits);
        let other: Vec<i32> = (70..=99).collect();
        assert_eq!(judge(&Known { source_days: &other, ..it }).unwrap().arrival, Arrival::NotWorn);
        assert_eq!(judge(&Known { broken: true, ..it }).unwrap().arrival, Arrival::ConnectionBroken);
        let out = Pulse { usual: 40, quiet_hours: 31.0, spread_hours: 3.0 };
        assert_eq!(judge(&Known { pulse: out, ..it }).unwrap().arrival, Arrival::ProviderOutage);
        assert_eq!(judge(&Known { pulse: Pulse { quiet_hours: 1.0, ..out }, ..it }).unwrap().arrival, Arrival::NotSynced);
        assert_eq!(judge(&known(&[], &[])), None);
    }

    #[test]
    fn a_provider_is_out_when_it_is_silent_for_longer_than_is_usual() {
        let pulse = |quiet_hours, spread_hours| Pulse { usual: 5, quiet_hours, spread_hours };
        assert!(!pulse(14.0, 2.0).is_out(1.0), "the evening of a day on whose morning everybody synchronised");
        assert!(pulse(31.0, 2.0).is_out(1.0), "a morning on which nobody did");
        assert!(!pulse(7.0 * 24.0, 3.0).is_out(7.0), "all weigh on Mondays, and it is Monday");
        assert!(!pulse(50.0, 100.0).is_out(1.0), "one who weighs daily among weekly weighers");
        assert!(pulse(9.0 * 24.0, 100.0).is_out(7.0));
        assert!(!Pulse { usual: 4, ..pulse(1000.0, 2.0) }.is_out(1.0), "four persons are no provider");
    }

    #[test]
    fn a_history_loaded_at_once_says_nothing_about_waiting() {
        let days: Vec<i32> = (70..=99).collect();
        let waits: Vec<f64> = (70..=99).map(|d| f64::from(100 - d) * 24.0).collect();
        assert!(judge(&known(&days, &waits)).unwrap().wait_hours <= LONGEST_WAIT);
    }
}
