//! `POST /functions/v1/job-worker`: works off what is due, now, and says what came of it.
//!
//! For the checklist and for whoever runs the program without its own workers: a call also does what a leader does, once, if
//! nobody leads. Bounded in time and number: a job that takes longer than a call may fails saying so, because only a worker has
//! the time for it. It works under a worker's identity of its own, so everything that holds for workers holds here; and to its
//! end, also when the caller hangs up.

use super::{
    Kinds, Outcome, Settings,
    board::Board,
    engine::{Engine, Settled},
    leader,
    presence::{self, Identity},
    worker,
};
use crate::logbook::{self, Level, Line};
use crate::store::{Db, workers};
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use subtle::ConstantTimeEq;
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Where a call ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// It handles at most about so many jobs.
    pub jobs: usize,
    /// It takes no new batch after so long.
    pub claims: Duration,
    /// After so long it stops what still runs.
    pub runs: Duration,
}

const BOUNDS: Bounds = Bounds { jobs: 1000, claims: Duration::from_secs(20), runs: Duration::from_secs(30) };
/// What becomes of a job that was stopped.
const TOO_LONG: &str = "It takes longer than a call of job-worker may. A worker process has the time for it.";
/// So often a claim may come back empty: somebody else took the jobs, or a limit is reached.
const EMPTY: usize = 10;

/// What the route needs.
#[derive(Clone)]
pub struct RouterState {
    /// The pools.
    pub db: Db,
    /// The kinds it may work on.
    pub kinds: Kinds,
    /// The bearer key; `None`: the route answers 503 and says so.
    pub service_key: Option<Arc<str>>,
}

/// The route, ready to be merged.
pub fn router(state: RouterState) -> Router {
    // One drain at a time a process: a second caller would only contend for the same jobs.
    Router::new().route("/functions/v1/job-worker", post(drain)).with_state((state, Arc::new(Semaphore::new(1))))
}

fn answer(status: StatusCode, body: Value) -> Response {
    (status, Json(body)).into_response()
}

async fn drain(State((state, one)): State<(RouterState, Arc<Semaphore>)>, headers: HeaderMap) -> Response {
    let Some(key) = &state.service_key else {
        return answer(
            StatusCode::SERVICE_UNAVAILABLE,
            json!({ "success": false, "error": "No service key is configured; set ASSAY_SERVICE_KEY." }),
        );
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    if !given.is_some_and(|given| bool::from(given.trim().as_bytes().ct_eq(key.as_bytes()))) {
        return answer(StatusCode::UNAUTHORIZED, json!({ "success": false, "error": "The service key is missing or wrong." }));
    }
    let Ok(permit) = one.try_acquire_owned() else {
        return answer(
            StatusCode::OK,
            json!({ "success": true, "processed": 0, "failed": 0, "results": [], "note": "Another call is draining the queue." }),
        );
    };
    let begin = Instant::now();
    // In a task of its own: else a caller who hangs up would leave jobs half done, and their lease alive.
    let work = tokio::spawn(async move {
        let _permit = permit;
        drain_due(&state.db, &state.kinds, BOUNDS).await
    });
    match work.await.unwrap_or_else(|e| Err(sqlx::Error::Io(std::io::Error::other(e)))) {
        Ok(settled) => {
            let body = summary(&settled);
            log(&headers, &body, begin.elapsed());
            answer(StatusCode::OK, body)
        }
        Err(e) => {
            tracing::error!(error = %e, "job-worker could not work");
            answer(StatusCode::SERVICE_UNAVAILABLE, json!({ "success": false, "error": "The database cannot be reached; try again." }))
        }
    }
}

fn log(headers: &HeaderMap, body: &Value, took: Duration) {
    logbook::write("job-worker", Level::Info, took, || Line {
        level: Level::Info,
        function: "job-worker",
        message: "worked off what was due".into(),
        metadata: json!({ "processed": body["processed"], "failed": body["failed"] }),
        request_id: headers.get("x-request-id").and_then(|v| v.to_str().ok()).map(str::to_owned),
        user_id: None,
        took,
    });
}

fn summary(settled: &[Settled]) -> Value {
    let word = |o: &Outcome| match o {
        Outcome::Done | Outcome::DoneWith(_) | Outcome::Committed => "completed",
        Outcome::Retry(_) => "retry",
        Outcome::Dead(_) => "failed",
        Outcome::Snooze(_) => "snoozed",
        Outcome::Lost => "lost",
    };
    let bad = |o: &Outcome| matches!(o, Outcome::Retry(_) | Outcome::Dead(_));
    let results: Vec<Value> = settled
        .iter()
        .map(|s| match &s.outcome {
            Outcome::Retry(why) | Outcome::Dead(why) => json!({ "jobId": s.id, "status": word(&s.outcome), "error": why }),
            other => json!({ "jobId": s.id, "status": word(other) }),
        })
        .collect();
    let failed = settled.iter().filter(|s| bad(&s.outcome)).count();
    json!({ "success": true, "processed": settled.len() - failed, "failed": failed, "results": results })
}

/// Works off what is due until nothing is, or the bounds are reached.
pub(super) async fn drain_due(db: &Db, kinds: &Kinds, bounds: Bounds) -> sqlx::Result<Vec<Settled>> {
    let settings = Settings { role: "job-worker".into(), ..Settings::default() };
    let id = Uuid::now_v7();
    let me = Identity { id, node: settings.node.clone(), role: settings.role.clone(), detail: json!({}) };
    let session = presence::arrive(db.service(), &me).await?;
    let mut engine = Engine::new(db.clone(), kinds.clone(), settings, id);
    engine.stopped = Outcome::Retry(TOO_LONG.into());
    let engine = Arc::new(engine);
    let mut beside = JoinSet::new(); // ends with us
    beside.spawn(worker::heartbeats(Arc::clone(&engine), CancellationToken::new()));
    let hard = engine.hard.clone();
    beside.spawn(async move {
        tokio::time::sleep(bounds.runs).await;
        hard.cancel();
    });
    let mut settled = Vec::new();
    let worked = work_off(&engine, kinds, bounds, &mut settled).await;
    if let Err(e) = engine.tally.write(db, &engine.settings.node).await {
        tracing::warn!(error = %e, "what job-worker ran could not be logged");
    }
    drop(beside);
    session.end().await;
    let signed_off = async { workers::unregister(&mut *db.service().acquire().await?, id).await };
    if let Err(e) = signed_off.await {
        tracing::warn!(error = %e, "job-worker could not sign off; the leader will notice");
    }
    match worked {
        Err(e) if settled.is_empty() => Err(e),
        _ => Ok(settled),
    }
}

/// First what a leader does, so that what a dead call held is due again; then batch after batch, the slow kinds only when no
/// quick one is due: one that takes all the time of each call keeps only its like waiting.
async fn work_off(engine: &Engine, kinds: &Kinds, bounds: Bounds, settled: &mut Vec<Settled>) -> sqlx::Result<()> {
    let begin = Instant::now();
    leader::once(&engine.db, engine.worker, engine.settings.schedules).await?;
    let boards = [false, true].map(|slow| Board::new(kinds.names(Some(slow)), engine.settings.poll));
    let mut empty = 0;
    while settled.len() < bounds.jobs && begin.elapsed() < bounds.claims && empty < EMPTY && !engine.hard.is_cancelled() {
        let mut due = false;
        let mut claimed = None;
        for board in &boards {
            if let Some(pick) = board.peek(&engine.queue).await? {
                due = true;
                claimed = engine.claim(board, &pick).await?.map(|batch| (batch, board));
            }
            if claimed.is_some() {
                break;
            }
        }
        match claimed {
            Some((batch, board)) => {
                empty = 0;
                settled.extend(engine.work(batch, board, None).await.0);
            }
            None if due => empty += 1,
            None => break,
        }
    }
    Ok(())
}
