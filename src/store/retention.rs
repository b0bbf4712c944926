//! How long things are kept: one row of `settings`, read by the job that removes what is older and written by the
//! administrators' page. A field that is absent has its default; `None` is "for ever".

use super::{Caller, Db, audit, audit::Actor};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{PgExecutor, types::Json};

/// The row's key.
pub const KEY: &str = "retention";

/// Days after which things go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retention {
    /// Deliveries as they came (`terra_webhooks_raw`), once they are settled. `None`, the default: for ever.
    pub raw_days: Option<i32>,
    /// Deliveries of no use: ignored ones, conflicts, bodies that are not JSON. `None`, the default: as the others.
    pub useless_days: Option<i32>,
    /// Keys of deliveries (`delivery_keys`): how long a repeated delivery is known again. `None`, the default: for ever.
    pub key_days: Option<i32>,
    /// Finished jobs (`job_history`).
    pub history_days: i32,
    /// Log lines (`edge_function_logs`).
    pub log_days: i32,
    /// Settled dead letters, refused deliveries, the gateway's counts, health snapshots.
    pub letter_days: i32,
    /// Figures that were summed up, operations.
    pub figure_days: i32,
    /// Entries of the audit log. `None`, the default: for ever.
    pub audit_days: Option<i32>,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            raw_days: None,
            key_days: None,
            useless_days: None,
            history_days: 14,
            log_days: 14,
            letter_days: 90,
            figure_days: 400,
            audit_days: None,
        }
    }
}

/// The longest time that can be set: a hundred years.
pub const LONGEST: i32 = 36_500;

/// Field, what it is about, fewest days, and whether "for ever" can be said. The page and [`Retention::checked`] use it.
pub const FIELDS: [(&str, &str, i32, bool); 8] = [
    ("raw_days", "Deliveries as they came", 30, true),
    ("key_days", "Keys that recognise a repeated delivery", 30, true),
    ("history_days", "Finished jobs", 1, false),
    ("log_days", "Log lines", 1, false),
    ("letter_days", "Settled dead letters, refused deliveries, health history", 1, false),
    ("figure_days", "Daily figures and operations", 30, false),
    ("audit_days", "Audit log", 90, true),
    ("useless_days", "Deliveries of no use: ignored, conflicts, not JSON", 30, true),
];

impl Retention {
    /// The fields in the order of [`FIELDS`].
    pub fn days(&self) -> [Option<i32>; 8] {
        [
            self.raw_days,
            self.key_days,
            Some(self.history_days),
            Some(self.log_days),
            Some(self.letter_days),
            Some(self.figure_days),
            self.audit_days,
            self.useless_days,
        ]
    }

    /// What cannot be: the sentence says which field and why.
    ///
    /// # Errors
    /// The sentence.
    pub fn checked(self) -> Result<Self, String> {
        for ((_, about, fewest, for_ever), days) in FIELDS.into_iter().zip(self.days()) {
            let fits = days.map_or(for_ever, |d| (fewest..=LONGEST).contains(&d));
            if !fits {
                return Err(format!("{about}: between {fewest} and {LONGEST} days{}.", if for_ever { ", or empty for ever" } else { "" }));
            }
        }
        // A delivery whose key is gone would be taken as new, and its row would be there twice.
        match (self.raw_days, self.key_days) {
            (None, Some(_)) => Err("Keys must be kept as long as the deliveries: leave both empty, or shorten the deliveries too.".into()),
            (Some(raw), Some(key)) if key < raw => Err("Keys must be kept at least as long as the deliveries.".into()),
            _ => Ok(self),
        }
    }

    /// As stored, but never shorter than what the page allows: a row written by hand deletes nothing in haste.
    fn bounded(mut self) -> Self {
        let least = |days: i32, n: usize| days.clamp(FIELDS[n].2, LONGEST);
        self.raw_days = self.raw_days.map(|d| least(d, 0));
        self.key_days = self.key_days.map(|d| least(d, 1).max(self.raw_days.unwrap_or(LONGEST)));
        self.history_days = least(self.history_days, 2);
        self.log_days = least(self.log_days, 3);
        self.letter_days = least(self.letter_days, 4);
        self.figure_days = least(self.figure_days, 5);
        self.audit_days = self.audit_days.map(|d| least(d, 6));
        self.useless_days = self.useless_days.map(|d| least(d, 7));
        self
    }
}

/// What holds now.
///
/// # Errors
/// The database's, or a row that cannot be read: then nothing must be deleted.
pub async fn read<'e>(executor: impl PgExecutor<'e>) -> sqlx::Result<Retention> {
    let row: Option<Json<Retention>> =
        sqlx::query_scalar("SELECT value FROM settings WHERE key = $1").bind(KEY).fetch_optional(executor).await?;
    Ok(row.map_or_else(Retention::default, |r| r.0.bounded()))
}

/// Sets it, with the audit entry of before and after in the same transaction. Administrators only: the caller of this
/// function has checked that. Whether anything changed.
///
/// # Errors
/// The database's; then nothing was changed.
pub async fn change(db: &Db, caller: &Caller, actor: &Actor, fresh: &Retention) -> sqlx::Result<bool> {
    let mut tx = db.begin_service().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('assay.retention'))").execute(&mut *tx).await?;
    let before = read(&mut *tx).await?;
    if before == *fresh {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO settings (key, value, updated_by) VALUES ($1, $2, $3)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = now(), updated_by = excluded.updated_by",
    )
    .bind(KEY)
    .bind(Json(fresh))
    .bind(caller.account_id)
    .execute(&mut *tx)
    .await?;
    audit::write(&mut *tx, actor, "settings.change", Some(KEY), &json!({ "before": before, "after": fresh })).await?;
    tx.commit().await?;
    Ok(true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;
    use crate::store::testing;

    #[test]
    fn what_would_lose_data_is_refused() {
        let with = |change: fn(&mut Retention)| {
            let mut r = Retention::default();
            change(&mut r);
            r.checked()
        };
        assert!(with(|_| {}).is_ok());
        assert!(with(|r| r.audit_days = Some(365)).is_ok());
        assert!(with(|r| (r.raw_days, r.key_days) = (Some(400), Some(400))).is_ok());
        assert!(with(|r| r.raw_days = Some(400)).is_ok(), "keys outlive the deliveries");
        for bad in [
            with(|r| r.raw_days = Some(29)),
            with(|r| r.key_days = Some(30)),
            with(|r| (r.raw_days, r.key_days) = (Some(400), Some(399))),
            with(|r| r.history_days = 0),
            with(|r| r.log_days = -1),
            with(|r| r.figure_days = i32::MAX),
            with(|r| r.audit_days = Some(0)),
        ] {
            assert!(bad.is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_row_written_by_hand_is_bounded_and_one_that_is_nonsense_is_an_error() {
        let t = testing::database().await;
        let set = async |text: &str| {
            sqlx::query(
                "INSERT INTO settings (key, value) VALUES ('retention', $1::jsonb) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            )
            .bind(text)
            .execute(t.db.service())
            .await
        };
        assert_eq!(read(t.db.service()).await.unwrap(), Retention::default());
        set(r#"{"log_days": 0, "raw_days": 1, "key_days": 1, "unknown": 3}"#).await.unwrap();
        let found = read(t.db.service()).await.unwrap();
        assert_eq!((found.log_days, found.raw_days, found.key_days, found.history_days), (1, Some(30), Some(30), 14));
        set(r#"{"log_days": "soon"}"#).await.unwrap();
        assert!(read(t.db.service()).await.is_err(), "nothing is deleted on a guess");
        assert!(set("14").await.is_err(), "the database refuses what is no object");
    }
}
