//! One flush: what a batch of deliveries becomes, and who is told what.

use super::body::Held;
use super::committer::Unavailable;
use crate::store::deliveries::{self, NewDelivery, Status};
use sqlx::PgConnection;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use uuid::Uuid;

/// How a delivery was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// It is new; this is its row.
    New(Uuid),
    /// The same trace id with the same body was stored before.
    Duplicate,
    /// The same trace id came with another body before; both are kept, this one is not processed.
    Conflict,
}

/// The type of a delivery whose payload is fetched, from a link that lives for some five minutes.
const LINK: &str = "s3_payload";

/// A delivery whose sender waits.
pub(super) struct Pending {
    pub delivery: NewDelivery,
    /// The memory it occupies, given back when it is answered.
    #[allow(dead_code, reason = "held for its drop")]
    pub held: Held,
    pub reply: oneshot::Sender<Result<Committed, Unavailable>>,
}

impl Pending {
    fn answer(self, result: Result<Committed, Unavailable>) {
        let _ = self.reply.send(result); // a sender that hung up is not told
    }
}

/// After a delivery that was stored before, more of them are likely: for so long each batch is looked up first.
const CAUTIOUS: Duration = Duration::from_secs(10);

/// Whether deliveries that were stored before are to be expected. Without them a batch costs a third less; the first one
/// costs its batch a second statement.
#[derive(Debug, Default)]
pub(super) struct Caution(Option<Instant>);

impl Caution {
    fn is_on(&self) -> bool {
        self.0.is_some_and(|since| since.elapsed() < CAUTIOUS)
    }

    fn turn_on(&mut self) {
        self.0 = Some(Instant::now());
    }
}

/// Tells all of them that nothing was stored.
pub(super) fn refuse(waiting: impl IntoIterator<Item = Pending>) {
    for pending in waiting {
        pending.answer(Err(Unavailable));
    }
}

/// Stores a batch and answers each of its senders. Gives whether there is new work for the workers.
///
/// # Errors
/// Only when the connection is of no more use. Everybody not yet answered is then told "unavailable".
pub(super) async fn flush(conn: &mut PgConnection, mut batch: Vec<Pending>, caution: &mut Caution) -> sqlx::Result<bool> {
    // In the order of keys, so that two flushes cannot lock each other out; equal keys keep their order of arrival.
    batch.sort_by(|a, b| a.delivery.key.cmp(&b.delivery.key));
    let (mut first, mut again): (Vec<Pending>, Vec<Pending>) = (Vec::with_capacity(batch.len()), Vec::new());
    for pending in batch {
        let repeated = first.last().is_some_and(|p| p.delivery.key == pending.delivery.key);
        if repeated { again.push(pending) } else { first.push(pending) }
    }
    let Stored { new_work, seen, links } = store(conn, first, caution).await?;
    again.extend(seen);
    if !again.is_empty() {
        compare(conn, again).await?;
    }
    if !links.is_empty()
        && let Err(error) = deliveries::hasten(conn, &links).await
    {
        if is_away(&error) {
            return Err(error); // everybody has been answered
        }
        tracing::warn!(%error, "links that expire wait in line behind other deliveries");
    }
    Ok(new_work)
}

/// What became of a batch, beside the answers.
#[derive(Default)]
struct Stored {
    /// Whether there is new work for the workers.
    new_work: bool,
    /// What was there before.
    seen: Vec<Pending>,
    /// New ones whose payload lies behind a link.
    links: Vec<Uuid>,
}

/// Stores what is new, answers it, and gives back what was there before. A batch that the database refuses because
/// of its content is halved until the row that is to blame stands alone.
async fn store(conn: &mut PgConnection, batch: Vec<Pending>, caution: &mut Caution) -> sqlx::Result<Stored> {
    let (mut todo, mut stored) = (vec![batch], Stored::default());
    while let Some(mut batch) = todo.pop() {
        match insert(conn, &batch, caution).await {
            Ok(new) => {
                for pending in batch {
                    let id = pending.delivery.id;
                    if new.as_ref().is_none_or(|new| new.contains(&id)) {
                        let work = pending.delivery.status == Status::Pending;
                        stored.new_work |= work;
                        stored.links.extend((work && pending.delivery.kind == LINK).then_some(id));
                        pending.answer(Ok(Committed::New(id)));
                    } else {
                        stored.seen.push(pending);
                    }
                }
            }
            Err(error) if is_away(&error) => return Err(error),
            Err(error) if batch.len() > 1 && is_content(&error) => {
                let half = batch.split_off(batch.len() / 2);
                todo.extend([half, batch]);
            }
            Err(error) => {
                tracing::error!(%error, deliveries = batch.len(), "deliveries could not be stored; Terra is told to send them again");
                crate::meter::FLUSH_REFUSED.add(1);
                refuse(batch);
            }
        }
    }
    Ok(stored)
}

/// Stores what is new and says what was; `None`: all of it.
async fn insert(conn: &mut PgConnection, batch: &[Pending], caution: &mut Caution) -> sqlx::Result<Option<HashSet<Uuid>>> {
    let rows: Vec<&NewDelivery> = batch.iter().map(|p| &p.delivery).collect();
    if !caution.is_on() {
        match deliveries::insert_new(conn, &rows).await {
            Ok(()) => return Ok(None),
            Err(error) if has_code(&error, &[TAKEN]) => caution.turn_on(),
            Err(error) if has_code(&error, &MET) => {}
            Err(error) => return Err(error),
        }
    }
    insert_carefully(conn, &rows).await.map(Some)
}

/// Two flushes that met on rows written by something else may have to be told apart by PostgreSQL: once more, then.
async fn insert_carefully(conn: &mut PgConnection, rows: &[&NewDelivery]) -> sqlx::Result<HashSet<Uuid>> {
    let new = match deliveries::insert(conn, rows).await {
        Err(error) if has_code(&error, &MET) => deliveries::insert(conn, rows).await,
        other => other,
    }?;
    Ok(new.into_iter().collect())
}

/// Tells duplicates from conflicts by the body's hash, and keeps the conflicting bodies. A conflict has a key of its
/// own, so that its repetition is not stored again.
async fn compare(conn: &mut PgConnection, seen: Vec<Pending>) -> sqlx::Result<()> {
    let keys: Vec<&str> = seen.iter().map(|p| p.delivery.key.as_str()).collect();
    let known = match deliveries::known(conn, &keys).await {
        Ok(known) => known,
        Err(error) if is_away(&error) => return Err(error),
        Err(error) => {
            tracing::error!(%error, "the keys of deliveries could not be read");
            crate::meter::FLUSH_REFUSED.add(1);
            refuse(seen);
            return Ok(());
        }
    };
    let mut conflicts: HashMap<String, Vec<Pending>> = HashMap::new();
    for mut pending in seen {
        let d = &mut pending.delivery;
        match known.get(&d.key) {
            Some(hash) if hash.as_slice() == d.body_hash => pending.answer(Ok(Committed::Duplicate)),
            Some(_) => {
                d.key = format!("{}#{}", d.key, hex::encode(d.body_hash));
                d.status = Status::Conflict;
                d.error = Some("Another body came under this trace id before. Both are kept; this one is not processed.".into());
                conflicts.entry(d.key.clone()).or_default().push(pending);
            }
            // Its key was removed by retention in this very moment: sending it again is right.
            None => pending.answer(Err(Unavailable)),
        }
    }
    let mut keys: Vec<String> = conflicts.keys().cloned().collect();
    keys.sort_unstable();
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for mut equal in keys.iter().filter_map(|k| conflicts.remove(k)) {
        first.extend(equal.pop());
        rest.extend(equal);
    }
    if first.is_empty() {
        return Ok(());
    }
    let rows: Vec<&NewDelivery> = first.iter().map(|p| &p.delivery).collect();
    match insert_carefully(conn, &rows).await {
        Ok(_) => first.into_iter().chain(rest).for_each(|p| p.answer(Ok(Committed::Conflict))),
        Err(error) if is_away(&error) => return Err(error),
        Err(error) => {
            tracing::error!(%error, "conflicting deliveries could not be stored");
            crate::meter::FLUSH_REFUSED.add(1);
            refuse(first.into_iter().chain(rest));
        }
    }
    Ok(())
}

/// A key was there before.
const TAKEN: &str = "23505";
/// A deadlock, or a serialisation that failed: once more helps.
const MET: [&str; 2] = ["40P01", "40001"];

fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    error.as_database_error().and_then(|e| e.code()).is_some_and(|code| codes.iter().any(|c| code.starts_with(c)))
}

/// What the connection had prepared gives other types now ("cached plan must not change result type"): it would fail for ever.
const OUTDATED: &str = "0A000";

/// Whether the connection is of no more use: not an answer of the server, or its goodbye.
fn is_away(error: &sqlx::Error) -> bool {
    !matches!(error, sqlx::Error::Database(_)) || has_code(error, &["57P", "08", "57014", OUTDATED])
}

/// Whether a row's content is to blame: a value, a constraint, a size.
fn is_content(error: &sqlx::Error) -> bool {
    has_code(error, &["22", "23", "54"])
}
