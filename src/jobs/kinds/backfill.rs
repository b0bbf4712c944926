//! Asks Terra for the days of a gap. The answer comes as deliveries through the gateway, like everything of Terra's.
//!
//! A wish for a longer gap, or for several models, becomes one job a request, all in one commit. So a limit puts off
//! just the requests that it concerns, and none is made twice because another failed.

use super::text;
use crate::jobs::{Claimed, Ctx, JobKind, Outcome, job};
use crate::model::Model;
use crate::outbound::{Client, MAX_DAYS, TerraError};
use crate::store::{Db, audit, audit::Actor, connections, jobs::NewJob, jobs::enqueue};
use chrono::{Days, NaiveDate};
use serde_json::json;
use std::time::Duration;

/// Models that give values, in the order in which they are asked for.
pub const MODELS: [Model; 5] = [Model::Daily, Model::Sleep, Model::Body, Model::Activity, Model::Nutrition];
/// The longest gap, in days: ten years.
const LONGEST: i64 = 3653;

/// Asks Terra for the days of a gap.
pub struct Backfill {
    client: Option<Client>,
}

impl Backfill {
    /// With the client of Terra's REST side; `None`: it is not configured, and every such job dies saying so.
    pub const fn new(client: Option<Client>) -> Self {
        Self { client }
    }
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Gap {
    /// Terra's id of the connection.
    pub terra_user_id: String,
    /// The first day that is missing.
    pub from: NaiveDate,
    /// The last day that is missing.
    pub to: NaiveDate,
    /// Words of models; none: all of [`MODELS`].
    #[serde(default)]
    pub models: Vec<String>,
    /// Whose the connection is, where known.
    #[serde(default)]
    pub user_id: Option<String>,
}

impl Gap {
    /// What is wrong with it, in a sentence.
    fn problem(&self) -> Option<String> {
        if self.from > self.to {
            return Some(format!("The gap begins on {} and ends before that, on {}.", self.from, self.to));
        }
        if (self.to - self.from).num_days() >= LONGEST {
            return Some(format!("The gap is longer than {LONGEST} days. Ask for a part of it."));
        }
        self.models.iter().find(|word| Model::from_word(word).is_none()).map(|word| format!("There is no model named '{word}'."))
    }

    /// The gap as single requests: a model and at most [`MAX_DAYS`] days each, newest days first, since those are
    /// looked at first.
    fn requests(&self) -> Vec<Gap> {
        let all = || MODELS.iter().map(|model| model.word().to_owned()).collect();
        let models: Vec<String> = if self.models.is_empty() { all() } else { self.models.clone() };
        let mut requests = Vec::new();
        let mut to = self.to;
        while to >= self.from {
            let from = to.checked_sub_days(Days::new(u64::from(MAX_DAYS) - 1)).map_or(self.from, |from| from.max(self.from));
            requests.extend(models.iter().map(|model| Gap { from, to, models: vec![model.clone()], ..self.clone() }));
            let Some(before) = from.pred_opt() else { break };
            to = before;
        }
        requests
    }
}

impl JobKind for Backfill {
    const NAME: &'static str = "backfill";
    const PRIORITY: i16 = 6;
    const MAX_ATTEMPTS: i32 = 8;
    const TIMEOUT: Duration = Duration::from_secs(90);
    const SLOW: bool = true;
    type Payload = Gap;

    fn unique_key(gap: &Gap) -> Option<String> {
        Some(format!("backfill:{}:{}:{}:{}", gap.terra_user_id, gap.from, gap.to, gap.models.join("+")))
    }

    fn user_id(gap: &Gap) -> Option<String> {
        gap.user_id.clone()
    }

    async fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Gap>]) -> Result<Vec<Outcome>, String> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            outcomes.push(self.one(ctx, job).await?);
        }
        Ok(outcomes)
    }
}

impl Backfill {
    async fn one(&self, ctx: &Ctx, claimed: &Claimed<Gap>) -> Result<Outcome, String> {
        let gap = &claimed.payload;
        let Some(client) = &self.client else {
            return Ok(Outcome::Dead("Terra's REST side is not configured. Set TERRA_API_KEY and TERRA_DEV_ID, then retry.".into()));
        };
        if let Some(problem) = gap.problem() {
            return Ok(Outcome::Dead(problem));
        }
        match gap.requests().as_slice() {
            [only] if only == gap => Ok(request(client, gap).await),
            requests => split(ctx, claimed, requests).await,
        }
    }
}

/// One job a request, in the commit that finishes this one.
async fn split(ctx: &Ctx, claimed: &Claimed<Gap>, requests: &[Gap]) -> Result<Outcome, String> {
    let jobs: Result<Vec<NewJob>, String> = requests.iter().map(job::<Backfill>).collect();
    let mut tx = ctx.begin().await.map_err(text)?;
    if ctx.lock_ours(&mut tx, &[claimed.id]).await.map_err(text)?.is_empty() {
        return Ok(Outcome::Lost);
    }
    enqueue(&mut tx, jobs?).await.map_err(text)?;
    if ctx.complete_in(&mut tx, &[claimed.id]).await.map_err(text)? != 1 {
        return Err("The job was lost while it was locked.".into()); // rolls back
    }
    tx.commit().await.map_err(text)?;
    Ok(Outcome::Committed)
}

async fn request(client: &Client, gap: &Gap) -> Outcome {
    let model = gap.models.first().and_then(|word| Model::from_word(word));
    let (Some(model), Some(until)) = (model, gap.to.succ_opt()) else {
        return Outcome::Dead("The request names no model or no day.".into());
    };
    match client.request_data(model, &gap.terra_user_id, gap.from, until).await {
        Ok(()) => Outcome::Done,
        Err(TerraError::Limited(wait)) => Outcome::Snooze(wait),
        Err(error) if error.may_pass() => Outcome::Retry(error.to_string()),
        Err(error) => Outcome::Dead(error.to_string()),
    }
}

/// Why a backfill was not started.
#[derive(Debug, thiserror::Error)]
pub enum NotAsked {
    /// The gap cannot be asked for; a sentence for the person.
    #[error("{0}")]
    Gap(String),
    /// The database's.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Starts a backfill of the days `from` to `to`, both included, for all connections of a person that Terra still gets data
/// for; of all models, if none is named. Returns how many connections those are. The days come as deliveries within
/// minutes; the jobs of kind `backfill` with this person's id show how far it is. The jobs and their audit entry are one
/// commit. The caller has checked that the actor may do that and that Terra is configured.
///
/// # Errors
/// A gap that is none, a person without such a connection; the database's.
pub async fn start_for_person(
    db: &Db,
    actor: &Actor,
    user_id: &str,
    from: NaiveDate,
    to: NaiveDate,
    models: &[Model],
) -> Result<usize, NotAsked> {
    let mut tx = db.begin_service().await?;
    let ids = connections::giving(&mut tx, user_id).await?;
    if ids.is_empty() {
        return Err(NotAsked::Gap(
            "This person has no active connection at Terra, so there is nobody to ask. Make a connect link first.".into(),
        ));
    }
    let words: Vec<String> = models.iter().map(|model| model.word().to_owned()).collect();
    let mut jobs = Vec::with_capacity(ids.len());
    for id in &ids {
        let gap = Gap { terra_user_id: id.clone(), from, to, models: words.clone(), user_id: Some(user_id.to_owned()) };
        if let Some(problem) = gap.problem() {
            return Err(NotAsked::Gap(problem));
        }
        jobs.push(job::<Backfill>(&gap).map_err(NotAsked::Gap)?);
    }
    enqueue(&mut tx, jobs).await?;
    let detail = json!({ "connections": &ids, "from": from, "to": to, "models": words });
    audit::write(&mut *tx, actor, "backfill.start", Some(user_id), &detail).await?;
    tx.commit().await?;
    Ok(ids.len())
}

#[cfg(test)]
#[path = "backfill_tests.rs"]
mod tests;
