//! What Terra still sends for a person who was erased.

use super::{Outcome, Status};
use crate::store::raw::RawDelivery;
use crate::store::tombstones;
use crate::terra::{Event, EventKind};
use sqlx::PgConnection;
use std::collections::BTreeSet;
use uuid::Uuid;

/// The deliveries that must not be used. A connection that was erased is over for good. Under a person's name only what
/// was produced after the erasure counts, and only what says that somebody is there again: an authorisation, or data of
/// a connection that is not one of the erased; never the news that something ended.
pub(super) async fn among<'e>(
    conn: &mut PgConnection,
    events: impl Iterator<Item = (&'e RawDelivery, &'e Event)> + Clone,
) -> sqlx::Result<BTreeSet<Uuid>> {
    let users = || events.clone().filter_map(|(_, event)| event.user.as_ref());
    let persons: Vec<&str> = users().filter_map(|user| user.reference_id.as_deref()).collect();
    let connections: Vec<&str> = users().filter_map(|user| user.user_id.as_deref()).collect();
    if persons.is_empty() && connections.is_empty() {
        return Ok(BTreeSet::new());
    }
    let erased = tombstones::among(conn, &persons, &connections).await?;
    let gone = |delivery: &RawDelivery, event: &Event| {
        let Some(user) = &event.user else { return false };
        let connection = user.user_id.as_ref().is_some_and(|id| erased.connections.contains(id));
        let person = user.reference_id.as_ref().and_then(|id| erased.persons.get(id));
        connection || person.is_some_and(|at| delivery.ordering_ms <= at.timestamp_millis() || !begins(&event.kind))
    };
    Ok(events.filter(|(delivery, event)| gone(delivery, event)).map(|(delivery, _)| delivery.id).collect())
}

/// Whether a kind of event says that somebody is there.
pub(super) fn begins(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Auth | EventKind::UserReauth | EventKind::Data(_) | EventKind::S3Payload)
}

/// What became of such a delivery.
pub(super) fn outcome(delivery: &RawDelivery) -> Outcome {
    let status = Status::Ignored(tombstones::REASON.to_owned());
    Outcome { id: delivery.id, created_at: delivery.created_at, user_id: None, status, findings: 0 }
}

/// Takes everything out of such deliveries.
pub(super) async fn redact(conn: &mut PgConnection, deliveries: &[RawDelivery], erased: &BTreeSet<Uuid>) -> sqlx::Result<()> {
    if erased.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = deliveries.iter().filter(|d| erased.contains(&d.id)).map(|d| (d.id, d.created_at)).collect();
    tombstones::redact(conn, &rows).await
}
