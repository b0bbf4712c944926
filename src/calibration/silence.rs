//! Sources that fall silent: is it noticed, how soon, and how often is silence said where there is none?
//!
//! The simulated deliveries are taken in as they come. At noon of each day the rhythm of every metric of a source is judged
//! from what was here by then ([`crate::quality::arrival`]), as a person's page does. A source is said to be silent when any of
//! its metrics is "not synced".

use super::bootstrap::{Draws, Estimate};
use super::simulator::{Delivery, Fault, World};
use crate::model::{Instant, Metric, Ordering, Source};
use crate::quality::Registry;
use crate::quality::arrival::{self, Arrival, Known, Pulse};
use crate::terra::{self, EventKind};
use chrono::{Datelike, NaiveDate};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Days of a world in which rhythms are only learned.
const LEARNING: i32 = 14;
/// Days looked back, as `store::arrivals` does.
const BACK: i32 = 84;
/// Shortest silence that is asked for, in days: one that the end of the world cuts shorter is left out.
const SHORTEST: i32 = 4;
/// Days after a silence in which a phone that synchronises every third evening may still be silent.
const AFTERWARDS: i32 = 3;

/// How silences are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// Silences planted.
    pub spells: u64,
    /// Share of them that was noticed before data came again.
    pub noticed: Option<Estimate>,
    /// Days from the first silent day to the noon at which it was noticed, on average.
    pub delay_days: Option<Estimate>,
    /// Noons of sources that were not silent.
    pub noons: u64,
    /// Share of these at which silence was said although the missing day came later.
    pub too_soon: Option<Estimate>,
    /// Share at which it was said of days that never came without a silence planted: the device was not worn.
    pub not_worn: Option<Estimate>,
}

/// What is counted of one person.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    spells: f64,
    noticed: f64,
    delay_days: f64,
    noons: f64,
    too_soon: f64,
    not_worn: f64,
}

/// What came of one source of a person: days by number with the moment they first came, and changes of the connection.
#[derive(Debug, Default)]
struct Came {
    metrics: BTreeMap<Metric, BTreeMap<i32, Instant>>,
    connected: Vec<(Instant, bool)>,
}

type Key = (String, Source);

/// Judges every silence of a world; `None` when none is planted.
pub fn judge(world: &World, registry: &Registry, draws: &Draws) -> Option<Silence> {
    let mut came: BTreeMap<Key, Came> = BTreeMap::new();
    for delivery in world.deliveries() {
        // What says nothing gives no day.
        let _ = take_in(&delivery, &mut came);
    }
    let mut silent: BTreeMap<Key, BTreeSet<i32>> = BTreeMap::new();
    for p in world.planted().into_iter().filter(|p| p.fault == Fault::SilentSource) {
        silent.entry((p.user_id, p.source)).or_default().insert(p.date.num_days_from_ce());
    }
    let (start, end) = world.span();
    let noons = start.num_days_from_ce() + LEARNING..=end.num_days_from_ce();
    let persons: Vec<Counted> = world
        .clients()
        .into_iter()
        .map(|client| {
            let mut counted = Counted::default();
            for source in client.sources {
                let key = (client.user_id.clone(), source);
                let Some(came) = came.get(&key) else { continue };
                let days = silent.get(&key).cloned().unwrap_or_default();
                counted.add(&said(came, registry, noons.clone()), &days, came);
            }
            counted
        })
        .collect();
    let sum = |of: fn(&Counted) -> f64| persons.iter().map(of).sum::<f64>();
    if sum(|c| c.spells) == 0.0 {
        return None;
    }
    let share = |part: fn(&Counted) -> f64, whole: fn(&Counted) -> f64| {
        let behind = persons.iter().filter(|c| whole(c) > 0.0).count();
        let figure = draws.of(behind, |drawn| {
            let times = |person: usize| drawn.map_or(1.0, |d| f64::from(d[person]));
            let of = |f: fn(&Counted) -> f64| persons.iter().enumerate().map(|(i, c)| times(i) * f(c)).sum::<f64>();
            (of(whole) > 0.0).then(|| of(part) / of(whole))
        });
        figure.map(|f| f.percentile())
    };
    Some(Silence {
        spells: sum(|c| c.spells) as u64,
        noticed: share(|c| c.noticed, |c| c.spells),
        delay_days: share(|c| c.delay_days, |c| c.noticed),
        noons: sum(|c| c.noons) as u64,
        too_soon: share(|c| c.too_soon, |c| c.noons),
        not_worn: share(|c| c.not_worn, |c| c.noons),
    })
}

/// Notes which days of which metrics a delivery brings first. `None`: it says nothing of the kind.
fn take_in(delivery: &Delivery, came: &mut BTreeMap<Key, Came>) -> Option<()> {
    let event = terra::parse(&delivery.body).ok()?;
    let user = event.user.as_ref()?;
    let source = user.provider.clone();
    let came = came.entry((user.reference_id.clone()?, source.clone())).or_default();
    match event.kind {
        EventKind::Auth | EventKind::UserReauth => came.connected.push((delivery.at, true)),
        EventKind::Deauth | EventKind::AccessRevoked => came.connected.push((delivery.at, false)),
        _ => {}
    }
    let ordering = Ordering { ms: delivery.ordering_ms, trace_id: delivery.trace_id.clone() };
    let stamp = terra::Stamp { ordering, delivery_id: Uuid::nil(), received_at: delivery.at };
    for record in terra::normalise(&event, Some(delivery.at)).records {
        let date = record.date;
        let record = terra::StoredRecord::new(record, source.clone(), stamp.clone());
        for value in terra::day_values([&record], &source, date) {
            let days = came.metrics.entry(value.metric).or_default();
            let first = days.entry(value.date.num_days_from_ce()).or_insert(delivery.at);
            *first = delivery.at.min(*first);
        }
    }
    Some(())
}

/// What is said of a source at a noon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Noon {
    day: i32,
    /// Whether it is called silent, and the last day of which anything was here.
    silent: Option<i32>,
    connected: bool,
}

fn said(came: &Came, registry: &Registry, noons: impl Iterator<Item = i32>) -> Vec<Noon> {
    noons.filter_map(|day| at_noon(came, registry, day)).collect()
}

fn at_noon(came: &Came, registry: &Registry, today: i32) -> Option<Noon> {
    let noon = NaiveDate::from_num_days_from_ce_opt(today)?.and_hms_opt(12, 0, 0)?.and_utc();
    let hours = |day: i32, at: Instant| {
        let end = NaiveDate::from_num_days_from_ce_opt(day + 1).and_then(|d| d.and_hms_opt(0, 0, 0)).map(|t| t.and_utc());
        end.map_or(0.0, |end| (at - end).as_seconds_f64() / 3600.0)
    };
    let here = |days: &BTreeMap<i32, Instant>| -> Vec<(i32, f64)> {
        let some = days.range(today - BACK + 1..=today).filter(|(_, at)| **at <= noon);
        some.map(|(day, at)| (*day, hours(*day, *at))).collect()
    };
    let known: Vec<(Metric, Vec<(i32, f64)>)> = came.metrics.iter().map(|(metric, days)| (*metric, here(days))).collect();
    let source_days: Vec<i32> =
        known.iter().flat_map(|(_, days)| days.iter().map(|d| d.0)).collect::<BTreeSet<i32>>().into_iter().collect();
    let connected = came.connected.iter().rev().find(|(at, _)| *at <= noon).is_none_or(|(_, on)| *on);
    let missed = known.iter().any(|(metric, days)| {
        let Some(rule) = registry.rule(*metric) else { return false };
        let (days, waits): (Vec<i32>, Vec<f64>) = days.iter().copied().unzip();
        let found = arrival::judge(&Known {
            days: &days,
            waits: &waits,
            source_days: &source_days,
            cadence_days: rule.cadence_days,
            broken: !connected,
            pulse: Pulse::default(),
            today,
            hour: 12.0,
        });
        found.is_some_and(|r| r.arrival == Arrival::NotSynced)
    });
    Some(Noon { day: today, silent: source_days.last().copied().filter(|_| missed), connected })
}

impl Counted {
    /// Adds one source: `silent` are the days on which it was made to say nothing.
    fn add(&mut self, noons: &[Noon], silent: &BTreeSet<i32>, came: &Came) {
        let (Some(first), Some(last)) = (noons.first().map(|n| n.day), noons.last().map(|n| n.day)) else { return };
        let spells = spells(silent);
        for (from, to) in &spells {
            // Only silences whose beginning can be judged, of a source that was connected all along.
            let during: Vec<&Noon> = noons.iter().filter(|n| (*from..=to + 1).contains(&n.day)).collect();
            if *from <= first || last - from < SHORTEST || during.iter().any(|n| !n.connected) {
                continue;
            }
            self.spells += 1.0;
            if let Some(noon) = during.iter().find(|n| n.silent.is_some_and(|last| last < *from)) {
                self.noticed += 1.0;
                self.delay_days += f64::from(noon.day - from);
            }
        }
        let quiet = |day: i32| spells.iter().any(|(from, to)| (*from..=to + AFTERWARDS).contains(&day));
        for noon in noons.iter().filter(|n| n.connected && !quiet(n.day)) {
            self.noons += 1.0;
            let Some(last) = noon.silent else { continue };
            let later = came.metrics.values().any(|days| days.range(last + 1..).next().is_some_and(|(day, _)| *day < noon.day));
            if later { self.too_soon += 1.0 } else { self.not_worn += 1.0 }
        }
    }
}

/// Runs of days without a gap.
fn spells(days: &BTreeSet<i32>) -> Vec<(i32, i32)> {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for day in days {
        match runs.last_mut() {
            Some((_, to)) if *to + 1 == *day => *to = *day,
            _ => runs.push((*day, *day)),
        }
    }
    runs
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn runs_of_days_are_spells() {
        assert_eq!(spells(&[3, 4, 5, 9, 11, 12].into()), [(3, 5), (9, 9), (11, 12)]);
    }

    /// A source that comes every morning and stops after day 40: noticed at the next noon; nothing before is called silence.
    #[test]
    fn a_source_that_stops_is_noticed_and_one_that_goes_on_is_not() {
        let day = |n: i32| NaiveDate::from_num_days_from_ce_opt(n).unwrap().and_hms_opt(7, 0, 0).unwrap().and_utc();
        let start = 739_700;
        let days: BTreeMap<i32, Instant> = (0..40).chain(50..60).map(|n| (start + n, day(start + n + 1))).collect();
        let came = Came { metrics: [(Metric::RestingHeartRate, days)].into(), connected: Vec::new() };
        let noons = said(&came, Registry::built_in(), start + 20..=start + 60);
        let mut counted = Counted::default();
        counted.add(&noons, &(start + 40..start + 50).collect(), &came);
        assert_eq!((counted.spells, counted.noticed, counted.delay_days), (1.0, 1.0, 1.0));
        assert_eq!((counted.noons, counted.too_soon, counted.not_worn), (28.0, 0.0, 0.0));
    }

    #[test]
    fn the_simulated_silences_are_noticed_within_days_and_hardly_any_is_made_up() {
        let end = NaiveDate::from_ymd_opt(2026, 3, 31).unwrap();
        let world = World::with(4, 20, 90, end, 0.05, 2);
        let found = judge(&world, Registry::built_in(), &Draws::new(20, 50, 1)).unwrap();
        println!("{found:?}");
        assert!(found.spells >= 5 && found.noticed.unwrap().value >= 0.8, "{found:?}");
        assert!(found.delay_days.unwrap().value <= 5.0 && found.too_soon.unwrap().value <= 0.05, "{found:?}");
    }
}
