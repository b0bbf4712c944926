//! `assay verify`: the deployment verification as a program. It changes nothing.
//!
//! Each check is a row: what was looked at, ok / warning / failed, what it means and what to do. Exit code 0 when nothing
//! failed, 1 when something did, 2 when the database cannot be asked at all.

mod rows;

use super::{config::Config, database};
use crate::store::verify as store;
use rows::{Row, Verdict};
use std::io::Write;
use std::process::ExitCode;

/// Options of `assay verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// End with 1 on warnings too.
    #[arg(long)]
    strict: bool,
}

/// Runs all checks and prints them.
///
/// # Errors
/// A sentence when the database cannot be opened at all.
pub async fn run(config: &Config, args: VerifyArgs) -> Result<ExitCode, String> {
    let opened = database::open_to_look(config).await?;
    let found = store::look(&opened.db).await;
    opened.close().await;
    // An embedded server runs with the secrets of its data directory.
    let mut rows = rows::configuration(&database::with_kept_secrets(config));
    match found {
        Ok(found) => rows.extend(rows::database(&found)),
        Err(e) => rows.push(Row::failed("database", format!("it cannot be asked: {e}"))),
    }
    rows.push(rows::disk(&config.data_dir, crate::health::room(&config.data_dir)));
    rows.push(rows::backup(config.backup_stamp.as_deref(), std::time::SystemTime::now()));
    let worst = rows.iter().map(|r| r.verdict).max().unwrap_or(Verdict::Ok);
    let text = if args.json {
        let report = serde_json::json!({ "verdict": worst, "checks": rows });
        serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
    } else {
        rows::table(&rows)
    };
    // Whoever reads may have seen enough (`| grep -q`): that is no fault.
    let _ = std::io::stdout().write_all(text.as_bytes());
    let bad = worst == Verdict::Failed || (args.strict && worst == Verdict::Warning);
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
