//! What a kind of job is: a name, its limits, a typed and versioned payload, and a handler of batches.
//!
//! A handler gets a whole batch, so that a thousand deliveries cost one commit. If it fails as a whole (an error,
//! a panic, a timeout) nothing of it may have been committed; the engine then halves the batch until the job
//! that is to blame stands alone, and only that one fails.

use super::Ctx;
use crate::store::jobs::{NewJob, claim::ClaimedRow};
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};
use uuid::Uuid;

/// What became of a job, in its handler's words.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Done; the engine finishes it.
    Done,
    /// Done, with a result worth keeping.
    DoneWith(Value),
    /// Done and already finished in the handler's own transaction by [`Ctx::complete_in`].
    Committed,
    /// Not ours any more, or cancelled by a person; nothing was done for it.
    Lost,
    /// It failed and is tried again after its kind's backoff, while attempts are left.
    Retry(String),
    /// It cannot succeed; it dies at once.
    Dead(String),
    /// Not now: again after so long, and this attempt does not count.
    Snooze(Duration),
}

/// A job in a handler's hands.
#[derive(Debug, Clone)]
pub struct Claimed<P> {
    /// The job.
    pub id: Uuid,
    /// What is to be done.
    pub payload: P,
    /// This attempt, from 1.
    pub attempt: i32,
    /// Whether no attempt is left after this one.
    pub last: bool,
    /// When it became due.
    pub scheduled_at: DateTime<Utc>,
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// Whose data it works on.
    pub user_id: Option<String>,
}

/// A kind of job. One file each in `jobs/kinds/`.
pub trait JobKind: Send + Sync + 'static {
    /// The name in the table's `type`.
    const NAME: &'static str;
    /// 1 first, 9 last: a job waits at most half a minute longer a step. 0: it has a deadline, and goes before all others however long
    /// they have waited; for few and short jobs only.
    const PRIORITY: i16 = 5;
    /// Attempts before it is dead.
    const MAX_ATTEMPTS: i32 = 5;
    /// How long a batch may take.
    const TIMEOUT: Duration = Duration::from_secs(60);
    /// How many jobs the handler takes at once.
    const BATCH: i64 = 1;
    /// Whether it runs in the slow slots, so that quick kinds never wait for it.
    const SLOW: bool = false;
    /// The payload's version.
    const VERSION: u64 = 1;
    /// What is to be done. Serialises to a JSON object and ignores unknown fields.
    type Payload: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Jobs with equal keys that wait are one job.
    fn unique_key(_payload: &Self::Payload) -> Option<String> {
        None
    }

    /// Whose data it works on, where it is one person's.
    fn user_id(_payload: &Self::Payload) -> Option<String> {
        None
    }

    /// How long to wait after a failed attempt.
    fn backoff(attempt: i32, jitter: f64) -> Duration {
        super::exponential(attempt, jitter)
    }

    /// Brings the payload of an older version up to this one.
    ///
    /// # Errors
    /// A sentence, when that version is not known; the job dies of it.
    fn upgrade(version: u64, _payload: Value) -> Result<Value, String> {
        Err(format!("A payload of version {version} is not known; this program knows version {}.", Self::VERSION))
    }

    /// Does the work: one outcome a job, in order.
    ///
    /// # Errors
    /// A sentence, when the batch failed as a whole and nothing of it was committed.
    fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Self::Payload>]) -> impl Future<Output = Result<Vec<Outcome>, String>> + Send;
}

/// A new job of a kind, due now.
///
/// # Errors
/// When the payload does not serialise to a JSON object.
pub fn job<K: JobKind>(payload: &K::Payload) -> Result<NewJob, String> {
    let mut text = serde_json::to_string(payload).map_err(|e| format!("The payload of a {} job cannot be written: {e}.", K::NAME))?;
    if !(text.starts_with('{') && text.pop() == Some('}')) {
        return Err(format!("The payload of a {} job is not an object.", K::NAME));
    }
    let comma = if text.len() > 1 { "," } else { "" };
    text.push_str(&format!("{comma}\"v\":{}}}", K::VERSION));
    Ok(NewJob {
        id: Uuid::now_v7(),
        kind: K::NAME.into(),
        priority: K::PRIORITY,
        payload: text,
        max_attempts: K::MAX_ATTEMPTS,
        scheduled_at: None,
        unique_key: K::unique_key(payload),
        user_id: K::user_id(payload),
    })
}

/// What the engine must know of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Its name.
    pub name: &'static str,
    /// Jobs a batch.
    pub batch: i64,
    /// How long a batch may take.
    pub timeout: Duration,
    /// Whether it runs in the slow slots.
    pub slow: bool,
    /// How long to wait after a failed attempt.
    pub backoff: fn(i32, f64) -> Duration,
}

/// A kind without its types.
pub trait AnyKind: Send + Sync {
    /// Its limits.
    fn spec(&self) -> Spec;
    /// Runs a batch; the jobs whose payload cannot be read die without reaching the handler.
    fn run(self: Arc<Self>, ctx: Ctx, rows: Vec<ClaimedRow>) -> BoxFuture<'static, Result<Vec<(Uuid, Outcome)>, String>>;
}

impl<K: JobKind> AnyKind for K {
    fn spec(&self) -> Spec {
        Spec { name: K::NAME, batch: K::BATCH.max(1), timeout: K::TIMEOUT, slow: K::SLOW, backoff: K::backoff }
    }

    fn run(self: Arc<Self>, ctx: Ctx, rows: Vec<ClaimedRow>) -> BoxFuture<'static, Result<Vec<(Uuid, Outcome)>, String>> {
        Box::pin(async move {
            let mut outcomes = Vec::with_capacity(rows.len());
            let mut jobs = Vec::with_capacity(rows.len());
            for row in rows {
                match read::<K>(&row.payload) {
                    Ok(payload) => jobs.push(Claimed {
                        id: row.id,
                        payload,
                        attempt: row.attempt,
                        last: row.attempt >= row.max_attempts,
                        scheduled_at: row.scheduled_at,
                        created_at: row.created_at,
                        user_id: row.user_id,
                    }),
                    Err(why) => outcomes.push((row.id, Outcome::Dead(why))),
                }
            }
            if !jobs.is_empty() {
                let said = self.run_batch(&ctx, &jobs).await?;
                outcomes.extend(jobs.iter().map(|j| j.id).zip(said));
            }
            Ok(outcomes)
        })
    }
}

/// Reads a payload. One without a version was written by hand and is taken for the present one.
fn read<K: JobKind>(text: &str) -> Result<K::Payload, String> {
    #[derive(serde::Deserialize)]
    struct Version {
        v: Option<u64>,
    }
    let bad = |e: serde_json::Error| format!("The payload of this {} job cannot be read: {e}.", K::NAME);
    match serde_json::from_str::<Version>(text).map_err(bad)?.v {
        Some(v) if v != K::VERSION => serde_json::from_value(K::upgrade(v, serde_json::from_str(text).map_err(bad)?)?).map_err(bad),
        _ => serde_json::from_str(text).map_err(bad),
    }
}

/// The kinds that a worker knows. It claims no others, so an old node leaves a new node's kinds alone.
#[derive(Clone, Default)]
pub struct Kinds(BTreeMap<&'static str, Arc<dyn AnyKind>>);

impl Kinds {
    /// Adds a kind.
    #[must_use]
    pub fn with(mut self, kind: impl JobKind) -> Self {
        let kind: Arc<dyn AnyKind> = Arc::new(kind);
        self.0.insert(kind.spec().name, kind);
        self
    }

    /// A kind by name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn AnyKind>> {
        self.0.get(name)
    }

    /// The names: of all, of the slow or of the quick.
    pub fn names(&self, slow: Option<bool>) -> Vec<String> {
        self.0.values().map(|k| k.spec()).filter(|s| slow.is_none_or(|w| w == s.slow)).map(|s| s.name.to_owned()).collect()
    }
}

impl std::fmt::Debug for Kinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}
