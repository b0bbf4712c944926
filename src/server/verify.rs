//! `assay verify`: the deployment verification as a program.
//!
//! Each check is a row: what was looked at, ok / warning / failed, what it means. Exit code 0 when nothing failed.

use super::{config::Config, database};
use crate::store::verify as store;
use serde::Serialize;
use std::process::ExitCode;

/// Options of `assay verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    Warning,
    Failed,
}

#[derive(Debug, Serialize)]
struct Row {
    check: &'static str,
    verdict: Verdict,
    note: String,
}

/// Runs all checks and prints them.
///
/// # Errors
/// A sentence when the database cannot be opened at all.
pub async fn run(config: &Config, args: VerifyArgs) -> Result<ExitCode, String> {
    let opened = database::open_running(config).await?;
    let mut rows = configuration(config);
    let found = store::look(&opened.db).await;
    match found {
        Ok(found) => rows.extend(schema(&found)),
        Err(e) => rows.push(Row { check: "database", verdict: Verdict::Failed, note: e.to_string() }),
    }
    rows.push(disk(config));
    rows.push(backup());
    opened.close().await;
    let failed = rows.iter().any(|r| r.verdict == Verdict::Failed);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows).unwrap_or_default());
    } else {
        print_table(&rows);
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn row(check: &'static str, ok: bool, otherwise: Verdict, note: impl Into<String>) -> Row {
    Row { check, verdict: if ok { Verdict::Ok } else { otherwise }, note: note.into() }
}

fn configuration(config: &Config) -> Vec<Row> {
    let off = config.switched_off();
    let note = if off.is_empty() { "every part has its secrets".to_owned() } else { off.join("; ") };
    vec![row("secrets", off.is_empty(), Verdict::Warning, note)]
}

fn schema(f: &store::Found) -> Vec<Row> {
    let missing = |what: &str, list: &[String]| {
        if list.is_empty() { format!("all {what} are there") } else { format!("missing: {}", list.join(", ")) }
    };
    vec![
        row("server version", f.server_version >= 150_000, Verdict::Failed, format!("PostgreSQL {}", f.server_version / 10_000)),
        row("tables and views", f.missing_objects.is_empty(), Verdict::Failed, missing("tables, views and functions", &f.missing_objects)),
        row(
            "dead-letter trigger",
            f.trigger,
            Verdict::Failed,
            if f.trigger {
                "on_max_retries_exceeded is in place"
            } else {
                "on_max_retries_exceeded is missing: run assay migrate --repair"
            },
        ),
        row(
            "row-level security",
            f.unforced_tables.is_empty(),
            Verdict::Failed,
            if f.unforced_tables.is_empty() {
                "forced on every table".into()
            } else {
                format!("not forced on: {}", f.unforced_tables.join(", "))
            },
        ),
        row("policies", f.policies > 0, Verdict::Failed, format!("{} policies named …admin_trainer…", f.policies)),
        row("roles", f.missing_roles.is_empty(), Verdict::Failed, missing("roles", &f.missing_roles)),
        row(
            "latest-metrics index",
            f.latest_uses_index,
            Verdict::Warning,
            if f.latest_uses_index { "the plan uses the index" } else { "the plan scans: the view is small, or needs ANALYZE" },
        ),
        row(
            "confidence cache",
            f.cache_rows,
            Verdict::Warning,
            if f.cache_rows { "filled" } else { "empty: send a delivery, or run Recalculate All" },
        ),
        row("workers", f.workers_alive > 0, Verdict::Warning, format!("{} alive", f.workers_alive)),
        row(
            "scheduler",
            f.schedules_overdue == 0,
            Verdict::Warning,
            if f.schedules_overdue == 0 { "nothing is overdue".into() } else { format!("{} schedules are overdue", f.schedules_overdue) },
        ),
        row(
            "clock",
            f.clock_skew_s.abs() < 5.0,
            Verdict::Warning,
            format!("this machine and the database differ by {:.1} s", f.clock_skew_s),
        ),
    ]
}

fn disk(config: &Config) -> Row {
    let dir = if config.data_dir.exists() { config.data_dir.as_path() } else { std::path::Path::new(".") };
    match rustix::fs::statvfs(dir) {
        Ok(s) => {
            let free = s.f_bavail.saturating_mul(s.f_frsize) / 1_000_000_000;
            row("disk", free >= 5, Verdict::Warning, format!("{free} GB free beside the data directory"))
        }
        Err(e) => row("disk", false, Verdict::Warning, format!("the room cannot be read: {e}")),
    }
}

/// `ASSAY_BACKUP_STAMP` names a file that the backup touches when it has finished.
fn backup() -> Row {
    let Some(path) = std::env::var_os("ASSAY_BACKUP_STAMP") else {
        return row("backup", false, Verdict::Warning, "ASSAY_BACKUP_STAMP is not set, so the age of the last backup is unknown");
    };
    let age = std::fs::metadata(&path).and_then(|m| m.modified()).map(|m| m.elapsed().unwrap_or_default());
    match age {
        Ok(age) => {
            row("backup", age.as_secs() < 36 * 3600, Verdict::Warning, format!("the last one is {} hours old", age.as_secs() / 3600))
        }
        Err(e) => row("backup", false, Verdict::Failed, format!("{} cannot be read: {e}", std::path::Path::new(&path).display())),
    }
}

fn print_table(rows: &[Row]) {
    for r in rows {
        let word = match r.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED",
        };
        println!("{:<22} {:<8} {}", r.check, word, r.note);
    }
    let ok = rows.iter().filter(|r| r.verdict == Verdict::Ok).count();
    println!("{ok} of {} checks are ok", rows.len());
}
