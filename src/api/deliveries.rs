//! A person's deliveries, newest first: where a number came from (`delivery_id`) and what became of what was sent. Bodies
//! are not given out here.

use super::{
    Api,
    answer::{Line, Page, maybe, moment, text},
    clients::ClientParams,
    cursor,
    gate::{Ask, Person, no_such_person},
    problem::{Problem, Refusals},
};
use crate::store::read_api::{self, DeliveryRow};
use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Delivery {
    /// Its id, as in a value's `delivery_id`.
    pub id: Uuid,
    /// When it reached us.
    pub received_at: DateTime<Utc>,
    /// Terra's trace id, by which a repetition is known.
    pub trace_id: String,
    /// Terra's type: daily, sleep, body, …
    pub r#type: String,
    /// The provider, in lower case.
    pub source: Option<String>,
    /// pending, processing, completed, failed, parked, ignored, conflict or invalid.
    pub status: String,
    /// Readings it gave.
    pub readings: i32,
    /// What was left out of it, or why it could not be used.
    pub note: Option<String>,
    /// When it was dealt with.
    pub processed_at: Option<DateTime<Utc>>,
}

impl From<DeliveryRow> for Delivery {
    fn from(row: DeliveryRow) -> Self {
        Self {
            id: row.id,
            received_at: row.created_at,
            trace_id: row.trace_id,
            r#type: row.kind,
            source: row.provider,
            status: row.status,
            readings: row.processed_count,
            note: row.error,
            processed_at: row.processed_at,
        }
    }
}

impl Line for Delivery {
    fn columns() -> Vec<&'static str> {
        vec!["id", "received_at", "trace_id", "type", "source", "status", "readings", "note", "processed_at"]
    }

    fn fields(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            moment(self.received_at),
            text(&self.trace_id),
            text(&self.r#type),
            self.source.as_deref().map(text).unwrap_or_default(),
            text(&self.status),
            self.readings.to_string(),
            self.note.as_deref().map(text).unwrap_or_default(),
            maybe(self.processed_at.map(moment)),
        ]
    }
}

/// A person's deliveries, newest first
#[utoipa::path(
    get, path = "/clients/{user_id}/deliveries", tag = "deliveries", operation_id = "list_deliveries",
    params(("user_id" = String, Path, description = "Whose, percent-encoded"), ClientParams),
    responses(
        (status = 200, description = "A page of deliveries",
            headers(("ETag" = String, description = "Of this content"), ("Link" = String, description = "The next page (RFC 8288)")),
            content((Page<Delivery> = "application/json"), (String = "text/csv"))),
        Refusals
    ),
    security(("key" = ["deliveries:read"]))
)]
pub async fn list_deliveries(State(_): State<Api>, Person(user_id): Person, ask: Ask) -> Result<Response, Problem> {
    let (mut query, form) = ask.query()?;
    let limit = query.limit();
    let question = cursor::question(&["deliveries", &user_id]);
    let before: Option<(DateTime<Utc>, Uuid)> = query.cursor(&question);
    query.done()?;
    let mut tx = ask.read().await?;
    if !read_api::exists(&mut tx, &user_id).await.map_err(|e| ask.db(&e))? {
        return Err(no_such_person());
    }
    let mut rows = read_api::deliveries(&mut tx, &user_id, before, limit + 1).await.map_err(|e| ask.db(&e))?;
    drop(tx);
    ask.note_reading(&user_id).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    rows.truncate(size);
    let next = rows.last().filter(|_| more).map(|row| cursor::write(&question, &(row.created_at, row.id)));
    Ok(ask.page(form, rows.into_iter().map(Delivery::from).collect(), next))
}
