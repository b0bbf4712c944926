//! From stored deliveries to readings, many deliveries in a few statements.
//!
//! One call works in the caller's transaction and promises: its effect is there once, whatever the order and number of
//! deliveries, because records merge by [`terra::merge`] under the lock of the person's row; one bad delivery never costs
//! another its effect; a delivery whose person is not known yet is parked, and wakes when the authorisation arrives;
//! what Terra still sends for a person who was erased is emptied and makes nobody anew; a simulated person of whom Terra
//! sends something is real from then on.
//!
//! The way: connections and persons locked → events of connections applied → whose is it → normalised → merged into
//! `records` → days made anew → what changed written to `unified_metrics` → deliveries settled.

mod days;
mod erased;
mod identity;
mod real;

use crate::model::{FindingKind, Instant, Ordering, Source};
use crate::store::connections;
use crate::store::raw::{self, RawDelivery, Settled};
use crate::terra::{self, Event, EventKind, NoUse, Normalised, Stamp, StoredRecord};
use chrono::NaiveDate;
use identity::Identities;
use sqlx::{Connection, PgConnection};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What became of one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Done; it gave this many values, which may be none.
    Completed {
        /// Values in its records.
        readings: u32,
        /// What was left out of it, for people.
        note: Option<String>,
    },
    /// It can never be used, for this reason.
    Failed(String),
    /// Nobody is known behind its connection yet.
    Parked(String),
    /// What it speaks of lies behind a link and must be fetched first; the caller asks for that.
    Linked(String),
    /// Of no use to us, for this reason.
    Ignored(String),
}

/// One delivery's outcome. It is already written to the delivery's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The delivery's row.
    pub id: Uuid,
    /// When it was received.
    pub created_at: Instant,
    /// Whose it is, where known.
    pub user_id: Option<String>,
    /// What became of it.
    pub status: Status,
    /// What was suspicious about it and its records.
    pub findings: u32,
}

/// What a batch did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// One for each delivery, in the order given.
    pub outcomes: Vec<Outcome>,
    /// Persons whose day values changed, with the earliest such day: what is to be scored anew.
    pub changed: BTreeMap<String, NaiveDate>,
    /// Persons whose day values were made anew, with the earliest such day, also where nothing changed.
    pub touched: BTreeMap<String, NaiveDate>,
    /// Deliveries that were parked and now have new jobs.
    pub released: i64,
}

impl Batch {
    fn add(&mut self, other: Batch) {
        self.outcomes.extend(other.outcomes);
        self.released += other.released;
        note(&mut self.changed, other.changed);
        note(&mut self.touched, other.touched);
    }
}

/// Keeps each person's earliest day.
fn note(days: &mut BTreeMap<String, NaiveDate>, more: impl IntoIterator<Item = (String, NaiveDate)>) {
    for (user_id, date) in more {
        days.entry(user_id).and_modify(|known| *known = date.min(*known)).or_insert(date);
    }
}

/// Processes deliveries inside the caller's transaction, which belongs to the service. Nothing is committed here.
///
/// A delivery that the database refuses is found by working one by one, and fails alone.
///
/// # Errors
/// The database's, when the batch should be tried again as a whole: the connection was lost, a deadlock, a time-out.
pub async fn process(tx: &mut PgConnection, deliveries: &[RawDelivery]) -> sqlx::Result<Batch> {
    match attempt(tx, deliveries).await {
        Ok(batch) => Ok(batch),
        Err(error) if is_about_data(&error) => {
            let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
            tracing::warn!(deliveries = deliveries.len(), code, "the database refused a value; looking for its delivery one by one");
            one_by_one(tx, deliveries).await
        }
        Err(error) => Err(error),
    }
}

/// One attempt, undone when the database refuses a value. Whether somebody was erased is only known for certain under
/// the locks of the connections and persons (an erasure may be about to commit): then it is undone and made without them.
async fn attempt(tx: &mut PgConnection, deliveries: &[RawDelivery]) -> sqlx::Result<Batch> {
    let mut erased = BTreeSet::new();
    loop {
        let mut attempt = tx.begin().await?;
        match together(&mut attempt, deliveries, &erased).await {
            Ok(Attempt::Whole(batch)) => {
                attempt.commit().await?;
                return Ok(batch);
            }
            Ok(Attempt::Without(more)) => {
                attempt.rollback().await?;
                erased.extend(more);
            }
            Err(error) => {
                if is_about_data(&error) {
                    attempt.rollback().await?;
                }
                return Err(error);
            }
        }
    }
}

/// What came of an attempt.
enum Attempt {
    Whole(Batch),
    /// These deliveries belong to persons who were erased: again, without them.
    Without(BTreeSet<Uuid>),
}

/// Processes deliveries by id and time of receipt, loading their bodies a few megabytes at a time. Otherwise as
/// [`process`]. Deliveries that are not there, conflicts and invalid ones have no outcome.
///
/// # Errors
/// As [`process`].
pub async fn process_stored(tx: &mut PgConnection, keys: &[(Uuid, Instant)]) -> sqlx::Result<Batch> {
    let mut whole = Batch::default();
    let mut rest = keys;
    while !rest.is_empty() {
        let (deliveries, taken) = raw::load_some(tx, rest).await?;
        if !deliveries.is_empty() {
            whole.add(process(tx, &deliveries).await?);
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(whole)
}

/// Whether the database refused a value, so that trying again would not help: data exceptions, violated constraints,
/// limits of an index entry.
fn is_about_data(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
}

async fn one_by_one(tx: &mut PgConnection, deliveries: &[RawDelivery]) -> sqlx::Result<Batch> {
    let mut whole = Batch::default();
    for delivery in deliveries {
        match attempt(tx, std::slice::from_ref(delivery)).await {
            Ok(batch) => whole.add(batch),
            Err(error) if is_about_data(&error) => {
                let why = error.as_database_error().map_or("", |error| error.message());
                let status = Status::Failed(format!("The database refused a value of this delivery: {why}."));
                let outcome = Outcome { id: delivery.id, created_at: delivery.created_at, user_id: None, status, findings: 0 };
                settle(tx, std::slice::from_ref(&outcome)).await?;
                whole.outcomes.push(outcome);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(whole)
}

/// A delivery on its way through the batch: what it says, or why it says nothing.
struct Parsed<'d> {
    delivery: &'d RawDelivery,
    said: Result<(Event, Normalised), Status>,
}

async fn together(tx: &mut PgConnection, deliveries: &[RawDelivery], erased: &BTreeSet<Uuid>) -> sqlx::Result<Attempt> {
    let parsed: Vec<Parsed<'_>> = deliveries.iter().map(parse).collect();
    let known = || parsed.iter().filter(|p| !erased.contains(&p.delivery.id)).filter_map(|p| Some((p.delivery, &p.said.as_ref().ok()?.0)));
    let mut identities = Identities::new(known());
    identities.learn(connections::lock(tx, &identities.wanted()).await?);
    let simulated = connections::lock_persons(tx, &identities.persons()).await?;
    let more = erased::among(tx, known()).await?;
    if !more.is_empty() {
        return Ok(Attempt::Without(more));
    }
    real::notice(tx, known(), &identities, &simulated).await?;
    let mut outcomes = Vec::with_capacity(parsed.len());
    let mut records = Vec::new();
    for item in parsed {
        let gone = erased.contains(&item.delivery.id);
        outcomes.push(if gone { erased::outcome(item.delivery) } else { outcome(item, &identities, &mut records) });
    }
    let (written, merged) = identities.changes();
    connections::write(tx, &written, &merged).await?;
    let mut batch = Batch::default();
    note(&mut batch.touched, records.iter().map(|(user_id, stored)| (user_id.clone(), stored.record.date)));
    note(&mut batch.changed, days::store(tx, records).await?);
    settle(tx, &outcomes).await?;
    batch.outcomes = outcomes;
    batch.released = raw::give_to(tx, &identities.found()).await?;
    erased::redact(tx, deliveries, erased).await?;
    Ok(Attempt::Whole(batch))
}

/// Reads one delivery. Its document is dropped here: a batch of large bodies must not lie in memory as trees.
fn parse(delivery: &RawDelivery) -> Parsed<'_> {
    let read = || {
        let mut event = terra::parse(&delivery.body).map_err(|why| Status::Failed(why.to_string()))?;
        if let Some(why) = of_no_use(delivery, &event) {
            return Err(Status::Ignored(why.to_string()));
        }
        let normalised = terra::normalise(&event, Instant::from_timestamp_millis(delivery.ordering_ms));
        event.body = serde_json::Value::Null;
        Ok((event, normalised))
    };
    Parsed { delivery, said: read() }
}

/// Why it is of no use, in the gateway's words where it would not let it on to us, so that a replay leaves its row as it is; or
/// an id that only the whole body shows to be unusable. Nearly every delivery is beyond doubt without a second look.
fn of_no_use(delivery: &RawDelivery, event: &Event) -> Option<NoUse> {
    if event.problem.is_none() && !delivery.kind.is_empty() && !matches!(event.kind, EventKind::Unknown(_)) {
        return None;
    }
    let at_the_gateway = terra::envelope(&delivery.body).ok().and_then(|envelope| envelope.of_no_use());
    at_the_gateway.or_else(|| event.problem.clone().map(NoUse::UnusableId))
}

/// What becomes of a delivery, now that everybody in the batch is known. Its records are added to `records`.
fn outcome(item: Parsed<'_>, identities: &Identities, records: &mut Vec<(String, StoredRecord)>) -> Outcome {
    let Parsed { delivery, said } = item;
    let user_id = said.as_ref().ok().and_then(|(event, _)| identities.user_of(event.user.as_ref()));
    let findings = said.as_ref().map_or(0, |(_, said)| said.findings.len() + said.records.iter().map(|r| r.findings.len()).sum::<usize>());
    let findings = u32::try_from(findings).unwrap_or(u32::MAX);
    let status = match said {
        Err(status) => status,
        Ok((event, normalised)) => match (&event.kind, &user_id) {
            (EventKind::Data(_), Some(user_id)) => data(delivery, &event, normalised, user_id, records),
            (EventKind::Data(_), None) => nobody(&event),
            (EventKind::Unknown(word), _) => Status::Ignored(NoUse::of_word(word).to_string()),
            (EventKind::S3Payload, _) => Status::Linked("The payload lies behind a link and is being fetched.".to_owned()),
            _ => Status::Completed { readings: 0, note: None },
        },
    };
    Outcome { id: delivery.id, created_at: delivery.created_at, user_id, status, findings }
}

fn nobody(event: &Event) -> Status {
    match event.user.as_ref().and_then(|user| user.user_id.as_ref()) {
        Some(_) => Status::Parked("Nobody is known behind this connection yet; it is processed when the authorisation arrives.".to_owned()),
        None => Status::Failed("The body names no user: neither user.user_id nor user.reference_id.".to_owned()),
    }
}

fn data(delivery: &RawDelivery, event: &Event, said: Normalised, user_id: &str, records: &mut Vec<(String, StoredRecord)>) -> Status {
    let source = event.user.as_ref().map_or_else(|| Source::from_provider(""), |user| user.provider.clone());
    let Normalised { records: found, findings, refused } = said;
    let note = findings.iter().map(|finding| finding.detail.as_str()).collect::<Vec<_>>().join("; ");
    let unusable = found.iter().all(|record| {
        record.values.is_empty() && !record.deleted && record.findings.iter().any(|finding| finding.kind == FindingKind::BadField)
    });
    if (refused > 0 || !found.is_empty()) && unusable {
        let details: Vec<&str> = found.iter().flat_map(|record| &record.findings).map(|finding| finding.detail.as_str()).collect();
        let why = if details.is_empty() { note } else { [note.as_str(), details.join("; ").as_str()].join(" ").trim().to_owned() };
        return Status::Failed(format!("Nothing in it could be used: {}.", cut(&why)));
    }
    let readings = found.iter().map(|record| record.values.len()).sum::<usize>();
    let stamp = Stamp {
        ordering: Ordering { ms: delivery.ordering_ms, trace_id: delivery.trace_id.clone() },
        delivery_id: delivery.id,
        received_at: delivery.created_at,
    };
    records.extend(found.into_iter().map(|record| (user_id.to_owned(), StoredRecord::new(record, source.clone(), stamp.clone()))));
    Status::Completed { readings: u32::try_from(readings).unwrap_or(u32::MAX), note: (!note.is_empty()).then(|| cut(&note)) }
}

/// At most 500 characters.
fn cut(text: &str) -> String {
    text.chars().take(500).collect()
}

async fn settle(tx: &mut PgConnection, outcomes: &[Outcome]) -> sqlx::Result<()> {
    let settled: Vec<Settled<'_>> = outcomes
        .iter()
        .map(|outcome| {
            let (status, error, readings) = match &outcome.status {
                Status::Completed { readings, note } => ("completed", note.as_deref(), i32::try_from(*readings).unwrap_or(i32::MAX)),
                Status::Failed(why) => ("failed", Some(why.as_str()), 0),
                Status::Parked(why) => ("parked", Some(why.as_str()), 0),
                Status::Linked(why) => ("processing", Some(why.as_str()), 0),
                Status::Ignored(why) => ("ignored", Some(why.as_str()), 0),
            };
            let findings = i32::try_from(outcome.findings).unwrap_or(i32::MAX);
            let (id, created_at) = (outcome.id, outcome.created_at);
            Settled { id, created_at, status, error, readings, findings, user_id: outcome.user_id.as_deref() }
        })
        .collect();
    raw::settle(tx, &settled).await
}

#[cfg(test)]
mod tests;
