//! A world: everybody's history over some days, with its truth.

use super::fault::Fault;
use super::fault_values::cut_spoils;
use super::live::Live;
use super::observe::days_on;
use super::physiology::number;
use super::plan::{Cast, Task, What};
use super::{Delivery, Instant};
use crate::model::{Metric, Model, Source};
use chrono::NaiveDate;
use std::collections::BTreeMap;

/// Share of records that carry a planted fault.
pub const FAULT_SHARE: f64 = 0.03;

/// A person of the world, as data for assigning and showing them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Terra's reference id: `sim-001`.
    pub user_id: String,
    /// What to show: `Client 01`.
    pub name: String,
    /// Which trainer looks after them, from 0.
    pub trainer: u32,
    /// Their devices, the main one first.
    pub sources: Vec<Source>,
}

/// The truth about one reported day value.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// Whose.
    pub user_id: String,
    /// Of what.
    pub metric: Metric,
    /// Reported by whom.
    pub source: Source,
    /// The local day; of a night, that of waking.
    pub date: NaiveDate,
    /// What was true, in the metric's unit.
    pub truth: f64,
    /// What the latest delivery says, in the metric's unit; a planted unit fault included. (Normalisation reads an
    /// efficiency delivered as a fraction as per cent, so there the stored value is a hundred times this one.)
    pub reported: f64,
    /// What made this value wrong, if anything beyond the device's own error did.
    pub fault: Option<Fault>,
    /// What was planted in the record it came with, even where this value was spared.
    pub planted: Option<Fault>,
    /// Minutes of the day the device was worn; `None` for a scale.
    pub wear_minutes: Option<u32>,
}

/// A fault planted in a record or a gap of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planted {
    /// Whose.
    pub user_id: String,
    /// In what came from whom.
    pub source: Source,
    /// In which model.
    pub model: Model,
    /// On which day.
    pub date: NaiveDate,
    /// What.
    pub fault: Fault,
}

/// Everybody's history.
#[derive(Debug, Clone)]
pub struct World {
    cast: Cast,
    trainers: u32,
    start: NaiveDate,
    end: NaiveDate,
    tasks: Vec<Task>,
}

impl World {
    /// A world of `clients` persons whose history covers `days` days and ends with the whole of `end`, with the usual
    /// share of faults and four trainers. Same seed, same world.
    pub fn new(seed: u64, clients: u32, days: u32, end: NaiveDate) -> Self {
        Self::with(seed, clients, days, end, FAULT_SHARE, 4)
    }

    /// The same with a share of faulty records (0 to 1) and a number of trainers of one's own.
    pub fn with(seed: u64, clients: u32, days: u32, end: NaiveDate, fault_share: f64, trainers: u32) -> Self {
        let start = days_on(end, 1 - i64::from(days.max(1)));
        let cast = Cast::new(seed, clients, fault_share.clamp(0.0, 1.0), days_on(end, 3_650));
        let mut tasks = Vec::new();
        cast.connect(start, &mut tasks);
        for back in (0..days).rev() {
            cast.plan(days_on(end, -i64::from(back)), false, &mut tasks);
        }
        tasks.sort_unstable();
        Self { cast, trainers: trainers.max(1), start, end, tasks }
    }

    /// First and last day of the history.
    pub const fn span(&self) -> (NaiveDate, NaiveDate) {
        (self.start, self.end)
    }

    /// Everybody, in order, dealt to the trainers in turn.
    pub fn clients(&self) -> Vec<Client> {
        let client = |person: &super::person::Person| Client {
            user_id: person.user_id.clone(),
            name: format!("Client {:02}", person.index + 1),
            trainer: person.index % self.trainers,
            sources: person.devices.iter().map(|kind| kind.source()).collect(),
        };
        self.cast.people.iter().map(client).collect()
    }

    /// How many deliveries the history has.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The history in order of sending, each delivery written when it is asked for. Days near the end may be sent
    /// after `end` (next morning's synchronisation, slow phones): see [`Delivery::at`].
    pub fn deliveries(&self) -> impl Iterator<Item = Delivery> + Send + '_ {
        self.tasks.iter().filter_map(|task| self.cast.deliver(task))
    }

    /// The deliveries sent in `(after, until]` of simulated time.
    pub fn deliveries_between(&self, after: Instant, until: Instant) -> impl Iterator<Item = Delivery> + Send + '_ {
        let window = after.timestamp_millis() + 1..=until.timestamp_millis();
        self.tasks.iter().filter(move |task| window.contains(&task.at)).filter_map(|task| self.cast.deliver(task))
    }

    /// How many deliveries [`World::deliveries_between`] gives.
    pub fn due_between(&self, after: Instant, until: Instant) -> usize {
        let window = after.timestamp_millis() + 1..=until.timestamp_millis();
        self.tasks.iter().filter(|task| window.contains(&task.at)).count()
    }

    /// What comes after the history: first what of it was due after `now`, and what today has brought until `now`;
    /// then on and on, in order of sending. Never ends.
    pub fn live(&self, now: Instant) -> Live {
        let late = self.tasks.iter().filter(|task| task.at > now.timestamp_millis()).copied();
        Live::new(self.cast.clone(), self.end, now, late)
    }

    /// The latest delivery of each record: what stands when all has arrived in whatever order.
    fn standing(&self) -> Vec<&Task> {
        let mut latest: BTreeMap<(u32, u8, NaiveDate, &str), &Task> = BTreeMap::new();
        for task in &self.tasks {
            let Some(model) = task.model().filter(|model| *model != Model::Activity) else { continue };
            let standing = latest.entry((task.person, task.device, task.date, model.word())).or_insert(task);
            if task.ordering > standing.ordering {
                *standing = task;
            }
        }
        latest.into_values().collect()
    }

    fn whose(&self, task: &Task) -> Option<(String, Source)> {
        let person = self.cast.people.get(task.person as usize)?;
        Some((person.user_id.clone(), person.devices.get(usize::from(task.device))?.source()))
    }

    /// The truth of every day value that stands when the whole history has arrived, by person, device, date and metric.
    pub fn truths(&self) -> Vec<Truth> {
        let mut truths = Vec::new();
        for task in self.standing() {
            let (Some(report), Some((user_id, source))) = (self.cast.report(task), self.whose(task)) else { continue };
            let unfinished = matches!(task.what, What::Day { until: Some(_) }) && report.planted.is_none();
            let wear_minutes = (task.model() != Some(Model::Body)).then(|| report.wear.until(report.until.unwrap_or(86_400)).minutes());
            for (metric, reported) in &report.values {
                let Some(truth) = report.day.get(*metric) else { continue };
                let cut = (unfinished && cut_spoils(*metric)).then_some(Fault::CutDay);
                truths.push(Truth {
                    user_id: user_id.clone(),
                    metric: *metric,
                    source: source.clone(),
                    date: task.date,
                    truth,
                    reported: *reported,
                    fault: report.labels.get(metric).copied().or(cut),
                    planted: report.planted,
                    wear_minutes,
                });
            }
        }
        truths
    }

    /// Every planted fault and every silent day of a source.
    pub fn planted(&self) -> Vec<Planted> {
        let of = |task: &Task, model, fault| {
            self.whose(task).map(|(user_id, source)| Planted { user_id, source, model, date: task.date, fault })
        };
        let mut planted: Vec<Planted> =
            self.standing().into_iter().filter_map(|task| of(task, task.model()?, self.cast.fault(task)?)).collect();
        for person in &self.cast.people {
            for kind in &person.devices {
                let silent = (number(self.start)..=number(self.end))
                    .map(|n| days_on(self.start, n - number(self.start)))
                    .filter(|date| person.silent(*kind, *date));
                let model = if kind.daily().is_empty() { Model::Body } else { Model::Daily };
                planted.extend(silent.map(|date| Planted {
                    user_id: person.user_id.clone(),
                    source: kind.source(),
                    model,
                    date,
                    fault: Fault::SilentSource,
                }));
            }
        }
        planted
    }
}
