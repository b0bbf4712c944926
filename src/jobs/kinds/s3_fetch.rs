//! Fetches what an `s3_payload` event points to and stores it as a delivery of its own, so that it is processed like
//! any other. Its trace id is the event's with `:s3` behind it: however often the event is processed, the payload is
//! stored once.

use super::{text, webhook_processing::Delivery};
use crate::gateway::admission;
use crate::ingest;
use crate::jobs::{Claimed, Ctx, JobKind, Outcome, job};
use crate::outbound::Fetcher;
use crate::store::deliveries::{self, NewDelivery, Status, Texts};
use crate::store::raw::{self, RawDelivery, Settled};
use crate::store::{jobs::enqueue, maintenance};
use axum::{body::Bytes, http::HeaderMap};
use chrono::Utc;
use serde_json::Value;
use sqlx::PgConnection;
use std::time::Duration;

/// Fetches what an `s3_payload` event points to.
#[derive(Default)]
pub struct S3Fetch {
    fetcher: Fetcher,
}

impl S3Fetch {
    /// With another fetcher than the usual one: other hosts, other bounds.
    pub const fn with(fetcher: Fetcher) -> Self {
        Self { fetcher }
    }
}

impl JobKind for S3Fetch {
    const NAME: &'static str = "s3_fetch";
    // The link lives for some five minutes: a deadline, so it goes before any backlog of slow work.
    const PRIORITY: i16 = 0;
    const MAX_ATTEMPTS: i32 = 6;
    const TIMEOUT: Duration = Duration::from_secs(60);
    // Waiting for others' servers must not hold up deliveries.
    const SLOW: bool = true;
    type Payload = Delivery;

    fn unique_key(event: &Delivery) -> Option<String> {
        Some(format!("s3:{}", event.delivery_id))
    }

    fn backoff(attempt: i32, jitter: f64) -> Duration {
        let seconds = 3.0 * 2_f64.powi((attempt - 1).clamp(0, 5));
        Duration::from_secs_f64(seconds * (0.8 + 0.4 * jitter))
    }

    async fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Delivery>]) -> Result<Vec<Outcome>, String> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        for job in jobs {
            outcomes.push(self.one(ctx, job).await?);
        }
        Ok(outcomes)
    }
}

impl S3Fetch {
    async fn one(&self, ctx: &Ctx, job: &Claimed<Delivery>) -> Result<Outcome, String> {
        let mut conn = ctx.db.service().acquire().await.map_err(text)?;
        let Some(event) = raw::load(&mut conn, &[(job.payload.delivery_id, job.payload.created_at)]).await.map_err(text)?.pop() else {
            return Ok(Outcome::Done); // erased meanwhile: there is nothing left to be done for it
        };
        let Some(link) = link(&event.body) else {
            return Ok(Outcome::Dead("The event names no link under which its payload lies.".into()));
        };
        let key = format!("{}:s3", event.trace_id);
        let there = deliveries::known(&mut conn, &[&key]).await.map_err(text)?.contains_key(&key);
        drop(conn); // no connection is held while we wait for others
        let mut payload = None;
        if !there {
            let body = match self.fetcher.get(&link).await {
                Ok(body) => body,
                Err(error) if error.may_pass() => return Ok(Outcome::Retry(error.to_string())),
                Err(error) => return Ok(Outcome::Dead(format!("{error} Ask Terra to send it again, or ask for the days anew."))),
            };
            match as_delivery(body, key, &event) {
                Ok(delivery) => payload = Some(delivery),
                Err(why) => return Ok(Outcome::Dead(why)),
            }
        }
        self.store(ctx, job, &event, payload).await
    }

    /// The payload, the event's end and the job's in one commit.
    async fn store(
        &self,
        ctx: &Ctx,
        job: &Claimed<Delivery>,
        event: &RawDelivery,
        payload: Option<NewDelivery>,
    ) -> Result<Outcome, String> {
        let mut tx = ctx.begin().await.map_err(text)?;
        if ctx.lock_ours(&mut tx, &[job.id]).await.map_err(text)?.is_empty() {
            return Ok(Outcome::Lost);
        }
        let user_id = payload.as_ref().and_then(|p| p.user_id.clone());
        if let Some(payload) = &payload {
            deliveries::insert(&mut tx, &[payload]).await.map_err(text)?;
        }
        let end = Settled {
            id: event.id,
            created_at: event.created_at,
            status: "completed",
            error: Some("Its payload was fetched and is a delivery of its own."),
            readings: 0,
            findings: 0,
            user_id: user_id.as_deref(),
        };
        raw::settle(&mut tx, &[end]).await.map_err(text)?;
        if ctx.complete_in(&mut tx, &[job.id]).await.map_err(text)? != 1 {
            return Err("The job was lost while it was locked.".into()); // rolls back
        }
        let users: Vec<&str> = user_id.as_deref().into_iter().collect();
        maintenance::announce(&mut tx, "deliveries", &users, 1).await.map_err(text)?;
        tx.commit().await.map_err(text)?;
        Ok(Outcome::Committed)
    }
}

/// The link of an `s3_payload` event.
fn link(body: &[u8]) -> Option<String> {
    let event: Value = serde_json::from_slice(body).ok()?;
    (event.get("type")?.as_str()? == "s3_payload").then_some(())?;
    Some(event.get("url")?.as_str()?.to_owned())
}

/// The fetched body as a delivery: judged as the gateway judges, in the place of the event that spoke of it.
fn as_delivery(body: Vec<u8>, key: String, event: &RawDelivery) -> Result<NewDelivery, String> {
    let admitted = admission::admit(Bytes::from(body), &HeaderMap::new(), Utc::now());
    let delivery = admitted.delivery;
    if delivery.status == Status::Invalid {
        let why = admitted.reason.map(|(_, sentence)| sentence).unwrap_or_default();
        return Err(format!("What lies behind the link is no payload. {why}"));
    }
    if delivery.kind == "s3_payload" {
        return Err("What lies behind the link is another link; that is not followed.".into());
    }
    let mut headers = Texts::default();
    headers.add("s3-payload-of", &event.id.to_string());
    Ok(NewDelivery { trace_id: key.clone(), key, ordering_ms: event.ordering_ms, headers, ..delivery })
}

/// Asks for the payloads of a batch's events, in the transaction that processed them.
pub(super) async fn ask(conn: &mut PgConnection, outcomes: &[ingest::Outcome]) -> Result<(), String> {
    let jobs: Result<Vec<_>, String> = outcomes
        .iter()
        .filter(|o| matches!(o.status, ingest::Status::Linked(_)))
        .map(|o| job::<S3Fetch>(&Delivery { delivery_id: o.id, created_at: o.created_at }))
        .collect();
    enqueue(conn, jobs?).await.map_err(text)?;
    Ok(())
}

#[cfg(test)]
#[path = "s3_fetch_tests.rs"]
mod tests;
