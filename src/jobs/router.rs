//! `POST /functions/v1/job-worker`: works off what is due, now, and says what came of it.
//!
//! For the checklist and for whoever runs the program without its own workers. Bounded in time and number. It works
//! under a worker's identity of its own, so everything that holds for workers holds here.

use super::{
    Kinds, Outcome, Settings,
    board::Board,
    engine::{Engine, Settled},
    presence::{self, Identity},
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
use tokio::sync::Semaphore;
use uuid::Uuid;

/// A call takes no new batch after so long.
const TIME: Duration = Duration::from_secs(20);
/// A call handles at most about so many jobs.
const JOBS: usize = 1000;

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
    let Ok(_permit) = one.try_acquire() else {
        return answer(
            StatusCode::OK,
            json!({ "success": true, "processed": 0, "failed": 0, "results": [], "note": "Another call is draining the queue." }),
        );
    };
    let begin = Instant::now();
    match drain_due(&state.db, &state.kinds, JOBS, TIME).await {
        Ok(settled) => {
            let body = summary(&settled);
            log(&headers, &body, begin.elapsed());
            answer(StatusCode::OK, body)
        }
        Err(e) => {
            tracing::error!(error = %e, "job-worker could not reach the database");
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
async fn drain_due(db: &Db, kinds: &Kinds, most: usize, time: Duration) -> sqlx::Result<Vec<Settled>> {
    let begin = Instant::now();
    let settings = Settings { role: "job-worker".into(), ..Settings::default() };
    let id = Uuid::now_v7();
    let me = Identity { id, node: settings.node.clone(), role: settings.role.clone(), detail: json!({}) };
    let session = presence::arrive(db.service(), &me).await?;
    let beating = tokio::spawn({
        let (db, lease) = (db.clone(), settings.lease);
        async move {
            loop {
                tokio::time::sleep(lease / 5).await;
                if let Ok(mut conn) = db.service().acquire().await {
                    let _ = workers::heartbeat(&mut conn, id, lease).await; // a missed beat is made up by the next
                }
            }
        }
    });
    let board = Board::new(kinds.names(None), settings.poll);
    let engine = Engine::new(db.clone(), kinds.clone(), settings, id);
    let mut settled = Vec::new();
    let (mut error, mut empty) = (None, 0);
    while settled.len() < most && begin.elapsed() < time && empty < 10 {
        let claimed = async {
            let Some(pick) = board.peek(&engine.queue).await? else { return Ok(None) };
            Ok(Some(engine.claim(&board, &pick).await?))
        };
        match claimed.await {
            Ok(Some(Some(batch))) => {
                empty = 0;
                settled.extend(engine.work(batch, &board, None).await.0);
            }
            Ok(Some(None)) => empty += 1, // somebody else took it, or a limit is reached
            Ok(None) => break,
            Err(e) => {
                error = Some(e);
                break;
            }
        }
    }
    if let Err(e) = engine.tally.write(db, &engine.settings.node).await {
        tracing::warn!(error = %e, "what job-worker ran could not be logged");
    }
    beating.abort();
    session.end().await;
    if let Ok(mut conn) = db.service().acquire().await {
        workers::unregister(&mut conn, id).await?;
    }
    match error {
        Some(e) if settled.is_empty() => Err(e),
        _ => Ok(settled),
    }
}
