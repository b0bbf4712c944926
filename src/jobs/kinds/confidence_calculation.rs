//! Scores a person anew from the earliest day that changed. A thousand new values of a person make one job: while it
//! waits, further wishes are merged into it, and it begins at the earliest of their days.

use super::text;
use crate::jobs::{Claimed, Ctx, JobKind, Outcome, job};
use crate::rescore::rescore_persons;
use crate::store::{jobs::NewJob, jobs::enqueue, jobs::lane_has, maintenance};
use chrono::NaiveDate;
use sqlx::PgConnection;
use std::{collections::BTreeMap, time::Duration};
use uuid::Uuid;

/// Scores a person anew from the earliest day that changed.
pub struct ConfidenceCalculation;

/// Whose scores, from which day on.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Person {
    /// The person.
    pub user_id: String,
    /// The earliest day that changed; `None`: everything.
    #[serde(default)]
    pub since: Option<NaiveDate>,
}

impl JobKind for ConfidenceCalculation {
    const NAME: &'static str = "confidence_calculation";
    // After deliveries: under load a person's deliveries are taken in first, and then scored once.
    const PRIORITY: i16 = 6;
    const BATCH: i64 = 50;
    const TIMEOUT: Duration = Duration::from_secs(120);
    type Payload = Person;

    fn unique_key(p: &Person) -> Option<String> {
        Some(format!("confidence:{}", p.user_id))
    }

    fn user_id(p: &Person) -> Option<String> {
        Some(p.user_id.clone())
    }

    async fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Person>]) -> Result<Vec<Outcome>, String> {
        let ids: Vec<Uuid> = jobs.iter().map(|j| j.id).collect();
        let mut tx = ctx.begin().await.map_err(text)?;
        let ours = ctx.lock_ours(&mut tx, &ids).await.map_err(text)?;
        let mut persons: BTreeMap<String, Option<NaiveDate>> = BTreeMap::new();
        for job in jobs.iter().filter(|j| ours.contains(&j.id)) {
            // No day means every day, which is earlier than any.
            persons
                .entry(job.payload.user_id.clone())
                .and_modify(|since| *since = (*since).min(job.payload.since))
                .or_insert(job.payload.since);
        }
        let persons: Vec<(String, Option<NaiveDate>)> = persons.into_iter().collect();
        let scores = rescore_persons(&mut tx, &persons).await.map_err(text)?;
        let done: Vec<Uuid> = ours.iter().copied().collect();
        if ctx.complete_in(&mut tx, &done).await.map_err(text)? != done.len() as i64 {
            return Err("Jobs were lost while they were locked.".into()); // rolls back
        }
        let names: Vec<&str> = persons.iter().map(|(user_id, _)| user_id.as_str()).collect();
        maintenance::announce(&mut tx, "scores", &names, scores as i64).await.map_err(text)?;
        tx.commit().await.map_err(text)?;
        Ok(jobs.iter().map(|j| if ours.contains(&j.id) { Outcome::Committed } else { Outcome::Lost }).collect())
    }
}

/// Enqueues wishes, and tells the workers also of those that were merged into a job that waited. As long as this transaction holds
/// that job's row, claims pass it by and do not come back to it; and the merge may have brought it into another lane. Workers hear
/// of it with the commit, when the row is free.
async fn wish(conn: &mut PgConnection, jobs: Vec<NewJob>) -> Result<(), String> {
    let wished = enqueue(conn, jobs).await.map_err(text)?;
    if wished.merged > 0 {
        lane_has(conn, &wished.ids).await.map_err(text)?;
    }
    Ok(())
}

/// A replay touches a person again and again: so long the wishes are gathered.
const GATHER: chrono::TimeDelta = chrono::TimeDelta::seconds(20);

/// Asks for scores whose values did not change: after a while and behind everything else.
pub(super) async fn ask_later(conn: &mut PgConnection, touched: &BTreeMap<String, NaiveDate>) -> Result<(), String> {
    let at = chrono::Utc::now() + GATHER;
    let wishes =
        touched.iter().map(|(user_id, since)| job::<ConfidenceCalculation>(&Person { user_id: user_id.clone(), since: Some(*since) }));
    let later = wishes.map(|job| job.map(|job| NewJob { scheduled_at: Some(at), priority: 8, ..job })).collect::<Result<Vec<_>, String>>();
    wish(conn, later?).await
}

/// The priority of persons somebody is looking at: before deliveries, so that a page shows what it was told of.
const WATCHED: i16 = 1;

/// Asks for the scores of everybody whose values changed, in the transaction that changed them; of those that are watched
/// (somebody is looking at them) first.
///
/// # Errors
/// A sentence, when the database refuses.
pub async fn ask(conn: &mut PgConnection, changed: &BTreeMap<String, NaiveDate>, watched: &[&str]) -> Result<(), String> {
    let mut first = Vec::new();
    let mut jobs = Vec::with_capacity(changed.len());
    for (user_id, since) in changed {
        let job = job::<ConfidenceCalculation>(&Person { user_id: user_id.clone(), since: Some(*since) })?;
        match watched.contains(&user_id.as_str()) {
            true => first.push(NewJob { priority: WATCHED, ..job }),
            false => jobs.push(job),
        }
    }
    wish(conn, jobs).await?;
    wish(conn, first).await
}
