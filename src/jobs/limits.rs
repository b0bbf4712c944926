//! Pausing kinds and setting their limits, for an administrator's page. Every change has its audit entry.

pub use crate::store::job_kinds::{KindRow, Limits};
use crate::store::{Db, audit::Actor, job_kinds};

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum NotSet {
    /// The input; the sentence is for whoever typed it.
    #[error("{0}")]
    Invalid(String),
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Every kind of this program and every other that has jobs or limits.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db) -> sqlx::Result<Vec<KindRow>> {
    job_kinds::list(&mut *db.service().acquire().await?, &super::kinds::all().names(None)).await
}

/// Sets the limits of a kind; no numbers lift them.
///
/// # Errors
/// Numbers that mean nothing, a kind that does not exist, or the database's error.
pub async fn set(db: &Db, actor: &Actor, kind: &str, limits: Limits) -> Result<(), NotSet> {
    let limits = limits.checked().map_err(NotSet::Invalid)?;
    exists(db, kind).await?;
    Ok(job_kinds::set_limits(&mut *db.service().acquire().await?, actor, kind, limits).await?)
}

/// Pauses or resumes a kind; `false`: it was so already.
///
/// # Errors
/// A kind that does not exist, or the database's error.
pub async fn set_paused(db: &Db, actor: &Actor, kind: &str, paused: bool) -> Result<bool, NotSet> {
    exists(db, kind).await?;
    Ok(job_kinds::set_paused(&mut *db.service().acquire().await?, actor, kind, paused).await?)
}

async fn exists(db: &Db, kind: &str) -> Result<(), NotSet> {
    if list(db).await?.iter().any(|k| k.kind == kind) {
        Ok(())
    } else {
        Err(NotSet::Invalid("There is no such kind of job. Reload the page.".into()))
    }
}
