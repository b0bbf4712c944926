//! What comes after the history, for as long as somebody listens.

use super::observe::days_on;
use super::plan::{Cast, Task, What};
use super::{Delivery, Instant};
use chrono::NaiveDate;
use std::collections::{BTreeMap, BTreeSet};

/// An endless stream of deliveries in order of sending. Each carries the moment it is due ([`Delivery::at`]); what is
/// already past when the stream begins comes first, and of a day's many updates then only the newest.
#[derive(Debug, Clone)]
pub struct Live {
    cast: Cast,
    /// The last day planned.
    planned: NaiveDate,
    queue: BTreeSet<Task>,
    now_ms: i64,
}

impl Live {
    pub(crate) fn new(cast: Cast, history_end: NaiveDate, now: Instant, late: impl Iterator<Item = Task>) -> Self {
        let mut live = Self { cast, planned: history_end, queue: late.collect(), now_ms: now.timestamp_millis() };
        // Whatever the zone, tomorrow's first delivery lies after now.
        while live.planned <= now.date_naive() {
            live.plan_next();
        }
        live
    }

    fn plan_next(&mut self) {
        self.planned = days_on(self.planned, 1);
        let mut tasks = Vec::new();
        self.cast.plan(self.planned, true, &mut tasks);
        let mut newest: BTreeMap<(u32, u8, NaiveDate), Task> = BTreeMap::new();
        for task in tasks {
            if task.at <= self.now_ms && matches!(task.what, What::Day { until: Some(_) }) {
                let entry = newest.entry((task.person, task.device, task.date)).or_insert(task);
                *entry = (*entry).max(task);
            } else {
                self.queue.insert(task);
            }
        }
        self.queue.extend(newest.into_values());
    }

    /// Before this, nothing of a day not yet planned can come: its midnight in the easternmost zone.
    fn safe_until(&self) -> i64 {
        let next = days_on(self.planned, 1).and_hms_opt(0, 0, 0).map_or(i64::MAX, |t| t.and_utc().timestamp_millis());
        next - 14 * 3_600_000
    }
}

impl Iterator for Live {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        // At the end of the calendar there is no next day; far from here, and no endless loop.
        for _ in 0..64 {
            match self.queue.first() {
                Some(task) if task.at < self.safe_until() => {
                    let task = self.queue.pop_first()?;
                    if let Some(delivery) = self.cast.deliver(&task) {
                        return Some(delivery);
                    }
                }
                _ => self.plan_next(),
            }
        }
        None
    }
}
