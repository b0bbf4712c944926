//! What the findings mean. Pure, but for the age of the backup's stamp.

use crate::health::Room;
use crate::server::config::Config;
use crate::store::verify::Found;
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// An older backup is worth a look.
const OLD_BACKUP: Duration = Duration::from_secs(36 * 3600);
/// Signatures are checked against this machine's clock, ages against the database's.
const SKEW_S: f64 = 5.0;

/// How a check came out, worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Ok,
    Warning,
    Failed,
}

/// One check.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub check: &'static str,
    pub verdict: Verdict,
    pub note: String,
}

impl Row {
    pub(super) fn failed(check: &'static str, note: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Failed, note: note.into() }
    }
}

fn row(check: &'static str, ok: bool, otherwise: Verdict, well: impl Into<String>, badly: impl Into<String>) -> Row {
    if ok { Row { check, verdict: Verdict::Ok, note: well.into() } } else { Row { check, verdict: otherwise, note: badly.into() } }
}

/// A list that should be empty.
fn none(check: &'static str, list: &[String], otherwise: Verdict, well: &str, badly: &str) -> Row {
    row(check, list.is_empty(), otherwise, well, format!("{badly}: {}", list.join(", ")))
}

/// The parts that are switched off.
pub(super) fn configuration(config: &Config) -> Vec<Row> {
    let off = config.switched_off();
    let weak = config.weak();
    vec![
        row("secrets", off.is_empty(), Verdict::Warning, "every part has its secrets", off.join("; ")),
        row("strength of secrets", weak.is_empty(), Verdict::Warning, "none looks easy to guess", weak.join("; ")),
    ]
}

/// The database: what is there, and what runs.
pub(super) fn database(f: &Found) -> Vec<Row> {
    use Verdict::{Failed, Warning};
    const REPAIR: &str = "run assay migrate --repair";
    let version = format!("PostgreSQL {}", f.server_version / 10_000);
    vec![
        row(
            "server version",
            f.server_version >= 150_000,
            Failed,
            version.clone(),
            format!("{version} is too old; Assay needs 15 or newer"),
        ),
        none("extensions", &f.missing_extensions, Failed, "plpgsql is there; no other is needed", "missing"),
        row("schema", f.schema_current, Failed, "it is the one of this program", "it is not the one of this program: run assay migrate"),
        none("durability", &f.not_durable, Warning, "a commit is on disk before it is answered", "commits may be lost in a crash"),
        none("tables and views", &f.missing_objects, Failed, "all tables, views and functions are there", &format!("missing ({REPAIR})")),
        row(
            "dead-letter trigger",
            f.trigger,
            Failed,
            "on_max_retries_exceeded is in place",
            format!("on_max_retries_exceeded is missing: {REPAIR}"),
        ),
        none("row-level security", &f.unforced_tables, Failed, "forced on every table", &format!("not forced ({REPAIR}) on")),
        row(
            "policies",
            f.policies > 0 && f.tables_without_policy.is_empty(),
            Failed,
            format!("{} policies named …admin_trainer…, every table has its owner's and the service's", f.policies),
            format!(
                "policies are missing ({REPAIR}) on: {}",
                if f.policies == 0 { "every table".into() } else { f.tables_without_policy.join(", ") }
            ),
        ),
        none("roles", &f.missing_roles, Failed, "all five are there and may become what they need", "missing (run assay migrate)"),
        none("rights of roles", &f.mighty_roles, Failed, "no role may do more than its part", "these may do more than they should"),
        none(
            "logins",
            &f.locked_out,
            Failed,
            "assay_web and assay_worker can log in",
            "cannot log in (run assay migrate --repair as the owner)",
        ),
        none("indexes", &f.invalid_indexes, Failed, "all are valid", "invalid (REINDEX INDEX CONCURRENTLY each)"),
        none(
            "hot queries",
            &f.queries_without_index,
            Failed,
            if f.latest_uses_index {
                "each has its index, and the latest-metrics query uses it now"
            } else {
                "each has its index; small tables are still scanned"
            },
            &format!("no index answers ({REPAIR})"),
        ),
        none(
            "partitions",
            &f.missing_partitions,
            Warning,
            "those of today and of the time to come are there",
            "missing (a worker makes them daily; rows go to the default partition)",
        ),
        row(
            "workers",
            f.workers_alive > 0,
            Warning,
            format!("{} alive", f.workers_alive),
            "none is alive: start one with ASSAY_ROLE=all or worker",
        ),
        scheduler(f),
        row(
            "confidence cache",
            f.cache_rows,
            Warning,
            "filled",
            if f.values_exist { "empty, though values are stored: run Recalculate All" } else { "empty: nothing was delivered yet" },
        ),
        row(
            "dead letters",
            f.dead_letters == Some(0),
            Warning,
            "none is open",
            f.dead_letters
                .map_or_else(|| format!("their table is missing: {REPAIR}"), |n| format!("{n} wait for a decision on /admin/dead-letters")),
        ),
        row(
            "clock",
            f.clock_skew_s.abs() < SKEW_S,
            Warning,
            format!("this machine and the database differ by {:.1} s", f.clock_skew_s.abs()),
            format!(
                "this machine and the database differ by {:.1} s: set both by NTP, or signatures are refused as stale",
                f.clock_skew_s.abs()
            ),
        ),
    ]
}

fn scheduler(f: &Found) -> Row {
    let well = format!("a worker leads, {} schedules, none is overdue", f.schedules);
    let badly = match (f.leader, f.schedules_overdue) {
        (false, _) => "no worker leads, so nothing is scheduled".to_owned(),
        (true, n) => format!("{n} schedules are more than five minutes late"),
    };
    row("scheduler", f.leader && f.schedules_overdue == 0, Verdict::Warning, well, badly)
}

/// The room beside the data directory.
pub(super) fn disk(dir: &Path, room: Option<Room>) -> Row {
    let Some(room) = room else {
        return Row { check: "disk", verdict: Verdict::Warning, note: format!("the room on the disk of {} cannot be read", dir.display()) };
    };
    let (free, share) = (room.free / 1_000_000_000, room.free.saturating_mul(100) / room.total.max(1));
    let note = format!("{free} GB ({share} %) free on the disk of the data directory");
    row("disk", free >= 5, if room.free < 1_000_000_000 { Verdict::Failed } else { Verdict::Warning }, note.clone(), note)
}

/// `ASSAY_BACKUP_STAMP` names a file that the backup touches when it has finished.
pub(super) fn backup(stamp: Option<&Path>, now: SystemTime) -> Row {
    let Some(path) = stamp else {
        let note = "ASSAY_BACKUP_STAMP is not set, so the age of the last backup is unknown".to_owned();
        return Row { check: "backup", verdict: Verdict::Warning, note };
    };
    match std::fs::metadata(path).and_then(|m| m.modified()) {
        Ok(at) => {
            let age = now.duration_since(at).unwrap_or_default();
            let note = format!("the last one is {} hours old", age.as_secs() / 3600);
            row("backup", age < OLD_BACKUP, Verdict::Failed, note.clone(), format!("{note}: see why it did not run"))
        }
        Err(e) => Row::failed("backup", format!("{} cannot be read: {e}", path.display())),
    }
}

/// The table for people.
pub(super) fn table(rows: &[Row]) -> String {
    let mut out = String::new();
    for r in rows {
        let word = match r.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED",
        };
        out.push_str(&format!("{:<20} {word:<8} {}\n", r.check, r.note));
    }
    let count = |v: Verdict| rows.iter().filter(|r| r.verdict == v).count();
    out.push_str(&format!("{} ok, {} warnings, {} failed\n", count(Verdict::Ok), count(Verdict::Warning), count(Verdict::Failed)));
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    use super::*;
    use crate::store::testing::{TestDb, database as test_database};
    use crate::store::verify::look;

    async fn verdict(t: &TestDb, check: &str) -> (Verdict, String) {
        let rows = database(&look(&t.db).await.unwrap());
        let row = rows.into_iter().find(|r| r.check == check).unwrap();
        (row.verdict, row.note)
    }

    #[tokio::test]
    async fn a_fresh_database_fails_in_nothing_and_warns_of_what_does_not_run_yet() {
        let t = test_database().await;
        let rows = database(&look(&t.db).await.unwrap());
        let failed: Vec<_> = rows.iter().filter(|r| r.verdict == Verdict::Failed).collect();
        assert!(failed.is_empty(), "{failed:?}");
        let warned: Vec<_> = rows.iter().filter(|r| r.verdict == Verdict::Warning).map(|r| r.check).collect();
        assert!(warned.contains(&"workers") && warned.contains(&"scheduler") && warned.contains(&"confidence cache"), "{warned:?}");
    }

    #[tokio::test]
    async fn each_fault_is_found_and_named() {
        let t = test_database().await;
        let faults = [
            ("DROP TRIGGER on_max_retries_exceeded ON background_jobs", "dead-letter trigger", Verdict::Failed, "--repair"),
            ("DROP TABLE rate_limits CASCADE", "tables and views", Verdict::Failed, "rate_limits"),
            ("DROP TABLE background_jobs_dlq CASCADE", "dead letters", Verdict::Warning, "missing"),
            ("DROP MATERIALIZED VIEW latest_unified_metrics", "tables and views", Verdict::Failed, "latest_unified_metrics"),
            ("ALTER TABLE unified_metrics NO FORCE ROW LEVEL SECURITY", "row-level security", Verdict::Failed, "unified_metrics"),
            ("DROP POLICY records_service ON records", "policies", Verdict::Failed, "records"),
            ("DROP INDEX edge_function_logs_time", "hot queries", Verdict::Failed, "log lines"),
            ("DROP INDEX background_jobs_ready", "hot queries", Verdict::Failed, "due job"),
            (
                "DELETE FROM schedules; INSERT INTO schedules (name, job_type, every_s, next_run_at) VALUES ('x', 'x', 60, now() - interval '1 hour'); INSERT INTO leases (name, holder, expires_at) VALUES ('jobs', gen_random_uuid(), now() + interval '1 hour')",
                "scheduler",
                Verdict::Warning,
                "late",
            ),
            ("COMMENT ON SCHEMA app IS 'assay 1 old'", "schema", Verdict::Failed, "assay migrate"),
            (
                "INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id) VALUES ('a', 'steps', 'whoop', current_date, 1, '', 1, 't', now(), gen_random_uuid())",
                "confidence cache",
                Verdict::Warning,
                "Recalculate",
            ),
        ];
        for (sql, check, expected, word) in faults {
            sqlx::raw_sql(sql).execute(t.db.owner()).await.unwrap();
            let (verdict, note) = verdict(&t, check).await;
            assert!(verdict == expected && note.contains(word), "{sql}: {check} is {verdict:?}: {note}");
        }
        crate::store::repair(&t.url).await.unwrap();
        for check in ["dead-letter trigger", "tables and views", "row-level security", "policies", "schema"] {
            assert_eq!(verdict(&t, check).await.0, Verdict::Ok, "{check} after the repair");
        }
    }

    #[tokio::test]
    async fn an_empty_database_is_not_ours_and_asking_does_not_make_it_so() {
        let t = test_database().await;
        sqlx::raw_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public").execute(t.db.owner()).await.unwrap();
        let found = look(&t.db).await.unwrap();
        assert!(found.missing_objects.len() > 10);
        assert_eq!(verdict(&t, "tables and views").await.0, Verdict::Failed);
        assert_eq!(verdict(&t, "schema").await.0, Verdict::Failed);
    }

    #[test]
    fn an_old_or_absent_backup_is_found() {
        let path = std::env::temp_dir().join(format!("assay-stamp-{}", std::process::id()));
        std::fs::write(&path, "").unwrap();
        let now = SystemTime::now();
        assert_eq!(backup(Some(&path), now).verdict, Verdict::Ok);
        assert_eq!(backup(Some(&path), now + OLD_BACKUP + Duration::from_secs(5)).verdict, Verdict::Failed);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(backup(Some(&path), now).verdict, Verdict::Failed);
        assert_eq!(backup(None, now).verdict, Verdict::Warning);
    }

    /// As everything should be.
    fn well() -> Found {
        Found {
            server_version: 170_000,
            schema_current: true,
            trigger: true,
            policies: 12,
            latest_uses_index: true,
            values_exist: true,
            cache_rows: true,
            dead_letters: Some(0),
            workers_alive: 1,
            leader: true,
            schedules: 9,
            ..Found::default()
        }
    }

    #[test]
    fn each_row_is_ok_when_all_is_well_and_turns_with_its_own_fault_alone() {
        use Verdict::{Failed, Warning};
        let some = || vec!["x".to_owned()];
        let faults: Vec<(&str, Verdict, Found)> = vec![
            ("server version", Failed, Found { server_version: 140_000, ..well() }),
            ("extensions", Failed, Found { missing_extensions: some(), ..well() }),
            ("schema", Failed, Found { schema_current: false, ..well() }),
            ("durability", Warning, Found { not_durable: some(), ..well() }),
            ("tables and views", Failed, Found { missing_objects: some(), ..well() }),
            ("dead-letter trigger", Failed, Found { trigger: false, ..well() }),
            ("row-level security", Failed, Found { unforced_tables: some(), ..well() }),
            ("policies", Failed, Found { tables_without_policy: some(), ..well() }),
            ("policies", Failed, Found { policies: 0, ..well() }),
            ("roles", Failed, Found { missing_roles: some(), ..well() }),
            ("rights of roles", Failed, Found { mighty_roles: some(), ..well() }),
            ("logins", Failed, Found { locked_out: some(), ..well() }),
            ("indexes", Failed, Found { invalid_indexes: some(), ..well() }),
            ("hot queries", Failed, Found { queries_without_index: some(), ..well() }),
            ("partitions", Warning, Found { missing_partitions: some(), ..well() }),
            ("workers", Warning, Found { workers_alive: 0, ..well() }),
            ("scheduler", Warning, Found { leader: false, ..well() }),
            ("scheduler", Warning, Found { schedules_overdue: 2, ..well() }),
            ("confidence cache", Warning, Found { cache_rows: false, ..well() }),
            ("dead letters", Warning, Found { dead_letters: Some(3), ..well() }),
            ("dead letters", Warning, Found { dead_letters: None, ..well() }),
            ("clock", Warning, Found { clock_skew_s: -7.5, ..well() }),
            ("clock", Warning, Found { clock_skew_s: 7.5, ..well() }),
        ];
        assert!(database(&well()).iter().all(|r| r.verdict == Verdict::Ok), "{:?}", database(&well()));
        for (check, verdict, found) in &faults {
            for row in database(found) {
                let expected = if row.check == *check { *verdict } else { Verdict::Ok };
                assert!(row.verdict == expected && !row.note.is_empty(), "{check}: {row:?}");
            }
        }
        let untried: Vec<_> = database(&well()).into_iter().map(|r| r.check).filter(|c| !faults.iter().any(|(f, ..)| f == c)).collect();
        assert!(untried.is_empty(), "no fault turns {untried:?}");
        assert_eq!(database(&Found { clock_skew_s: 0.4, ..well() }).iter().filter(|r| r.verdict != Verdict::Ok).count(), 0);
    }

    #[test]
    fn little_room_is_found() {
        let gb = 1_000_000_000;
        let of = |free| disk(Path::new("/"), Some(Room { free, total: 100 * gb })).verdict;
        assert_eq!((of(50 * gb), of(4 * gb), of(gb / 2)), (Verdict::Ok, Verdict::Warning, Verdict::Failed));
        assert_eq!(disk(Path::new("/"), None).verdict, Verdict::Warning);
    }
}
