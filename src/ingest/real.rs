//! Simulated persons of whom a delivery comes from outside: whoever was the person of a test event before they connected.

use super::erased::begins;
use super::identity::Identities;
use crate::calibration::simulator::PREFIX;
use crate::model::Instant;
use crate::store::raw::RawDelivery;
use crate::store::simulated::make_real;
use crate::terra::Event;
use sqlx::PgConnection;
use std::collections::BTreeSet;
use uuid::Uuid;

/// Makes them real, under the lock of their rows: by an authorisation or data, never by the news that something ended. The
/// simulator's deliveries come from outside as well, so its own persons, whom their names tell, stay simulated. Costs nothing
/// where nobody else is simulated.
pub(super) async fn notice<'e>(
    conn: &mut PgConnection,
    events: impl Iterator<Item = (&'e RawDelivery, &'e Event)>,
    identities: &Identities,
    simulated: &[String],
) -> sqlx::Result<()> {
    let simulated: BTreeSet<&str> = simulated.iter().map(String::as_str).filter(|user_id| !user_id.starts_with(PREFIX)).collect();
    if simulated.is_empty() {
        return Ok(());
    }
    let signs: Vec<(Uuid, Instant, String)> = events
        .filter(|(_, event)| begins(&event.kind))
        .filter_map(|(delivery, event)| Some((delivery.id, delivery.created_at, identities.user_of(event.user.as_ref())?)))
        .filter(|(_, _, user_id)| simulated.contains(user_id.as_str()))
        .collect();
    make_real(conn, &signs).await
}
