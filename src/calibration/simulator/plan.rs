//! In which deliveries a day comes, and when.
//!
//! A task is a delivery not yet written: a few numbers instead of a body, so that a whole history is planned, put in
//! order and written one by one.

use super::Delivery;
use super::device::Kind;
use super::fault::Fault;
use super::habit::{Change, Life};
use super::news::event;
use super::observe::{CUT_S, days_on, fault_of, report};
use super::person::{Person, Sync};
use super::physiology::number;
use super::rng::{Rng, word};
use super::wire::Sender;
use crate::model::{Metric, Model};
use chrono::{DateTime, NaiveDate};

/// What a delivery is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    Event(Change),
    Night {
        tentative: bool,
    },
    Weighing,
    Workout,
    /// The summary until a local second; `None`: of the whole day.
    Day {
        until: Option<i32>,
    },
}

/// A delivery to be: sent at `at`, produced at `ordering` (Unix milliseconds). Sorts by time of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Task {
    pub at: i64,
    pub ordering: i64,
    pub person: u32,
    pub device: u8,
    pub date: NaiveDate,
    pub what: What,
}

impl Task {
    /// The model of the record, `None` for events of the connection.
    pub(crate) const fn model(&self) -> Option<Model> {
        match self.what {
            What::Event(_) => None,
            What::Night { .. } => Some(Model::Sleep),
            What::Weighing => Some(Model::Body),
            What::Workout => Some(Model::Activity),
            What::Day { .. } => Some(Model::Daily),
        }
    }
}

/// Everybody and their connections.
#[derive(Debug, Clone)]
pub(crate) struct Cast {
    pub seed: u64,
    pub share: f64,
    pub people: Vec<Person>,
    lives: Vec<Vec<Life>>,
}

const HOUR: i64 = 3_600_000;

impl Cast {
    /// `until` is the last day connections are known for.
    pub(crate) fn new(seed: u64, clients: u32, share: f64, until: NaiveDate) -> Self {
        let people: Vec<Person> = (0..clients).map(|index| Person::new(seed, index)).collect();
        let lives = people.iter().map(|p| p.devices.iter().map(|kind| Life::of(p, *kind, number(until))).collect()).collect();
        Self { seed, share, people, lives }
    }

    fn of(&self, task: &Task) -> Option<(&Person, Kind, &Life)> {
        let person = self.people.get(task.person as usize)?;
        let device = usize::from(task.device);
        Some((person, *person.devices.get(device)?, self.lives.get(task.person as usize)?.get(device)?))
    }

    /// What the record of a task reports; `None` for events, or when nothing would come.
    pub(crate) fn report(&self, task: &Task) -> Option<super::observe::Report> {
        let (person, kind, _) = self.of(task)?;
        let until = if let What::Day { until } = task.what { until } else { None };
        let model = match task.model()? {
            // A workout rides on the day it belongs to.
            Model::Activity => Model::Daily,
            model => model,
        };
        report(person, kind, model, task.date, until, self.share)
    }

    /// Whether a delivery of this person and device on this date carries a planted fault.
    pub(crate) fn fault(&self, task: &Task) -> Option<Fault> {
        let (person, kind, _) = self.of(task)?;
        fault_of(person, kind, task.model()?, task.date, self.share).map(|(fault, _)| fault)
    }

    fn uuid(&self, what: &str, task: &Task, more: i64) -> String {
        let keys = [word(what), u64::from(task.person), u64::from(task.device), number(task.date) as u64, more as u64];
        Rng::keyed(self.seed, &keys).uuid()
    }

    fn terra_id(&self, task: &Task, generation: u64) -> String {
        Rng::keyed(self.seed, &[word("terra"), u64::from(task.person), u64::from(task.device), generation]).uuid()
    }

    /// Writes the delivery of a task.
    pub(crate) fn deliver(&self, task: &Task) -> Option<Delivery> {
        let (person, kind, life) = self.of(task)?;
        let produced = DateTime::from_timestamp_millis(task.ordering + i64::from(person.zone_h) * HOUR)?;
        let generation = life.generation(number(produced.date_naive()));
        let sender = Sender {
            reference_id: &person.user_id,
            terra_id: self.terra_id(task, generation),
            provider: kind.provider(),
            kind,
            zone_h: person.zone_h,
        };
        let body = match task.what {
            What::Event(change) => event(&sender, change, self.terra_id(task, generation.saturating_sub(1))),
            What::Night { tentative } => {
                let mut report = self.report(task)?;
                if tentative {
                    shorten(&mut report.values);
                }
                sender.sleep(&report, task.date, tentative, self.uuid("night", task, 0))
            }
            What::Weighing => sender.body(&self.report(task)?, task.date, person.weighs(task.date)?, person.height_cm),
            What::Workout => {
                sender.activity(&self.report(task)?, task.date, workout_start(person, task.date), self.uuid("workout", task, 0))?
            }
            What::Day { .. } => sender.daily(&self.report(task)?, task.date),
        };
        Some(Delivery {
            trace_id: self.uuid(&format!("trace {:?}", task.model()), task, task.ordering),
            ordering_ms: task.ordering,
            body: serde_json::to_vec(&body).ok()?,
            at: DateTime::from_timestamp_millis(task.at)?,
        })
    }

    /// Adds what comes because of one date; `updates` also the many small updates of a living day.
    pub(crate) fn plan(&self, date: NaiveDate, updates: bool, tasks: &mut Vec<Task>) {
        for person in &self.people {
            for (device, kind) in person.devices.iter().enumerate() {
                let Some(life) = self.lives.get(person.index as usize).and_then(|l| l.get(device)) else { continue };
                let planner = Planner { cast: self, person, kind: *kind, device: device as u8, date };
                let first = tasks.len();
                if let Some(change) = life.change(number(date)) {
                    tasks.push(planner.task(What::Event(change), 60.0));
                }
                if !person.silent(*kind, date) {
                    planner.records(updates, tasks);
                }
                // What would be sent while access is withdrawn is never sent.
                let mut at = first;
                while at < tasks.len() {
                    let local = DateTime::from_timestamp_millis(tasks[at].at + i64::from(person.zone_h) * HOUR);
                    let flows = local.is_some_and(|t| life.connected(number(t.date_naive())));
                    if flows || tasks[at].model().is_none() {
                        at += 1
                    } else {
                        tasks.swap_remove(at);
                    }
                }
            }
        }
    }

    /// How the connections that a history begins with were made. Each lies on the day it was last renewed, so that a
    /// history that begins later tells of it in the same words; `start` is when they are sent.
    pub(crate) fn connect(&self, start: NaiveDate, tasks: &mut Vec<Task>) {
        for person in &self.people {
            for (device, kind) in person.devices.iter().enumerate() {
                let life = self.lives.get(person.index as usize).and_then(|l| l.get(device));
                let Some(life) = life.filter(|life| life.connected(number(start))) else { continue };
                let (day, renewed) = life.since(number(start));
                let planner = Planner { cast: self, person, kind: *kind, device: device as u8, date: days_on(start, day - number(start)) };
                // A renewal has its own event in the same minute, and the same moment would be the same delivery.
                let made = planner.task(What::Event(Change::Connected), if renewed { 61.0 } else { 60.0 });
                let sent = Planner { date: start, ..planner }.local(0.0);
                tasks.push(Task { at: made.at.max(sent), ..made });
            }
        }
    }
}

/// The tentative version of a night misses its last minutes.
fn shorten(values: &mut super::observe::Values) {
    for metric in [Metric::SleepDuration, Metric::SleepLight, Metric::TimeInBed] {
        if let Some(value) = values.get_mut(&metric).filter(|value| **value > 7_200.0) {
            *value -= 600.0;
        }
    }
}

fn workout_start(person: &Person, date: NaiveDate) -> f64 {
    let early = person.draw("workout", number(date)).chance(0.35);
    if early { (person.wake_h + 0.6) * 3_600.0 } else { 17.6 * 3_600.0 }
}

/// Plans the records of one person, device and date.
struct Planner<'a> {
    cast: &'a Cast,
    person: &'a Person,
    kind: Kind,
    device: u8,
    date: NaiveDate,
}

impl Planner<'_> {
    /// Unix milliseconds of a local second of the date.
    fn local(&self, second: f64) -> i64 {
        let midnight = self.date.and_hms_opt(0, 0, 0).map_or(0, |t| t.and_utc().timestamp_millis());
        midnight - i64::from(self.person.zone_h) * HOUR + (second * 1_000.0) as i64
    }

    /// A task produced at a local second and sent some seconds later.
    fn task(&self, what: What, second: f64) -> Task {
        let ordering = self.local(second);
        let lag = Rng::keyed(ordering as u64, &[word("lag"), u64::from(self.person.index)]).between(800.0, 6_000.0);
        Task { at: ordering + lag as i64, ordering, person: self.person.index, device: self.device, date: self.date, what }
    }

    /// Local second (from this date's midnight) of the first evening on which the phone synchronises, this date or later.
    fn evening(&self, every: u8, from: i64) -> f64 {
        let every = i64::from(every.max(1));
        let wait = (-(number(self.date) + from + i64::from(self.person.index))).rem_euclid(every);
        (from + wait) as f64 * 86_400.0 + 19.4 * 3_600.0 + f64::from(self.person.index % 30) * 61.0
    }

    fn records(&self, updates: bool, tasks: &mut Vec<Task>) {
        let (person, kind, date) = (self.person, self.kind, self.date);
        let wear = person.wear(kind, date);
        if !kind.nightly().is_empty() && wear.night > 0.0 {
            self.night(tasks);
        }
        if !kind.daily().is_empty() && (wear.mask != 0 || kind.sends_empty_days()) {
            self.day(updates, tasks);
            if wear.movement() > 0.9
                && self.device == 0
                && let Some(session) = person.day(date).session
            {
                tasks.push(self.task(What::Workout, workout_start(person, date) + session.minutes * 60.0 + 300.0));
            }
        }
        if let Some(second) = person.weighs(date).filter(|_| !kind.body().is_empty()) {
            let task = self.task(What::Weighing, second + 45.0);
            self.push(task, tasks);
        }
    }

    /// Adds a task, twice when the fault planted in its record is a duplicate delivery.
    fn push(&self, task: Task, tasks: &mut Vec<Task>) {
        tasks.push(task);
        if self.cast.fault(&task) == Some(Fault::Duplicate) {
            let again = self.person.draw("again", number(self.date)).between(2_000.0, 900_000.0);
            tasks.push(Task { at: task.at + again as i64, ..task });
        }
    }

    fn night(&self, tasks: &mut Vec<Task>) {
        let mut r = self.person.draw("sync", number(self.date));
        let woke = self.person.day(self.date).wake_s;
        let seen = woke + r.between(600.0, 2_700.0);
        let second = match self.person.sync {
            Sync::Prompt => seen,
            Sync::Every(days) => self.evening(days, 0).max(seen),
        };
        if self.kind == Kind::Garmin && self.person.sync == Sync::Prompt && r.chance(0.3) {
            tasks.push(self.task(What::Night { tentative: true }, second));
            self.push(self.task(What::Night { tentative: false }, second + 3.0 * 3_600.0), tasks);
        } else {
            self.push(self.task(What::Night { tentative: false }, second), tasks);
        }
    }

    fn day(&self, updates: bool, tasks: &mut Vec<Task>) {
        let mut r = self.person.draw("day", number(self.date));
        let part = |second: f64| self.task(What::Day { until: Some(second as i32) }, second);
        let whole = self.task(What::Day { until: None }, 86_400.0 + (self.person.wake_h + r.between(0.2, 2.0)) * 3_600.0);
        let fault = self.cast.fault(&whole);
        if fault == Some(Fault::CutDay) {
            tasks.push(self.task(What::Day { until: Some(CUT_S) }, f64::from(CUT_S) + 90.0));
            return;
        }
        let last = match self.person.sync {
            Sync::Prompt => {
                if updates {
                    self.updates(tasks);
                } else if r.chance(0.2) {
                    // Half a day first, whole later.
                    tasks.push(part((r.between(12.0, 19.0) * 3_600.0).round()));
                }
                whole
            }
            Sync::Every(days) => {
                let today = self.evening(days, 0);
                if today < 86_400.0 {
                    tasks.push(part(today));
                }
                self.task(What::Day { until: None }, self.evening(days, 1))
            }
        };
        self.push(last, tasks);
        if fault == Some(Fault::OlderAfterNewer) {
            let older = part(13.0 * 3_600.0);
            tasks.push(Task { at: last.at + 60_000, ..older });
        }
    }

    /// The day grows every few minutes while its wearer is up, more rarely at night.
    fn updates(&self, tasks: &mut Vec<Task>) {
        let mut r = self.person.draw("updates", number(self.date));
        let mut second = r.between(1_200.0, 3_000.0);
        while second < 86_100.0 {
            tasks.push(self.task(What::Day { until: Some(second as i32) }, second.floor()));
            let hour = second / 3_600.0;
            second += if (self.person.wake_h..23.0).contains(&hour) { r.between(120.0, 300.0) } else { r.between(400.0, 1_200.0) };
        }
    }
}
