//! `assay calibrate`: the report of what a 90 is worth, printed, written into a document or kept in the database. Without
//! `--store` it needs no database: the world is made, normalised and scored in memory.

use super::config::Config;
use crate::calibration::{independent, report};
use crate::quality::Registry;
use crate::store::{audit, audit::Actor, calibration};
use sqlx::Connection;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

/// Which simulated world.
pub struct World {
    /// Chance starts here.
    pub seed: u64,
    /// Persons.
    pub clients: u32,
    /// Days of each.
    pub days: u32,
    /// Draws behind each interval.
    pub draws: u32,
}

/// The marks between which a document's tables are replaced.
const BEGIN: &str = "<!-- calibration: begin (written by `assay calibrate --write`) -->";
const END: &str = "<!-- calibration: end -->";

/// Runs it.
///
/// # Errors
/// A sentence: data, document or database cannot be used.
pub async fn run(config: &Config, world: World, data: Option<&Path>, write: Option<&Path>, store: bool) -> Result<ExitCode, String> {
    let recorded = data.map(read).transpose()?;
    let document = match write {
        Some(path) => Some((path, std::fs::read_to_string(path).map_err(|e| format!("{} cannot be read: {e}.", path.display()))?)),
        None => None,
    };
    let opened = if store { Some(super::database::open_running(config).await?) } else { None };
    let registry = match &opened {
        Some(opened) => {
            let mut conn = opened.db.service().acquire().await.map_err(|e| format!("the database refused: {e}."))?;
            crate::rescore::registry(&mut conn).await.map_err(|e| format!("the registry cannot be read: {e}."))?
        }
        None => std::borrow::Cow::Borrowed(Registry::built_in()),
    };
    let mut made = report::planted(world.seed, world.clients, world.days, world.draws, &registry);
    if let Some(recorded) = &recorded {
        made.independent = independent::lines(recorded, &registry, world.draws, world.seed);
    }
    let tables = made.markdown();
    // Whoever reads may have seen enough (`| head`): that is no fault.
    let _ = writeln!(std::io::stdout(), "{tables}");
    if let Some((path, text)) = document {
        let new = replaced(&text, &tables).ok_or_else(|| format!("{} has no marks `{BEGIN}` and `{END}`.", path.display()))?;
        std::fs::write(path, new).map_err(|e| format!("{} cannot be written: {e}.", path.display()))?;
    }
    if let Some(opened) = opened {
        let mut conn = opened.db.service().acquire().await.map_err(|e| format!("the database refused: {e}."))?;
        keep(&mut conn, &made).await.map_err(|e| format!("the report was not kept: {e}."))?;
        drop(conn);
        opened.close().await;
    }
    Ok(ExitCode::SUCCESS)
}

/// Keeps the report, which is what `/admin/calibration` shows from now on, with its audit entry: both or none.
async fn keep(conn: &mut sqlx::PgConnection, made: &report::Report) -> sqlx::Result<()> {
    let mut tx = conn.begin().await?;
    calibration::put(&mut tx, "assay calibrate", made).await?;
    let actor = Actor { name: "command line".into(), ..Actor::system() };
    audit::write(&mut *tx, &actor, "calibration.run", None, &serde_json::json!({ "persons": made.persons, "draws": made.draws })).await?;
    tx.commit().await
}

/// What of the recorded data is there.
fn read(folder: &Path) -> Result<independent::Recorded, String> {
    if !folder.is_dir() {
        return Err(format!("{} is no folder.", folder.display()));
    }
    let events = folder.join("events");
    let packed = |name: &str| {
        let mut text = String::new();
        let file = std::fs::File::open(events.join(name)).ok()?;
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).ok()?;
        Some(text)
    };
    let truth = std::fs::read_to_string(events.join("lifesnaps.truth.csv")).ok();
    let mut ecg: Vec<_> = std::fs::read_dir(folder.join("wearablehrv"))
        .map(|entries| entries.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.extension().is_some_and(|x| x == "csv")).collect())
        .unwrap_or_default();
    ecg.sort();
    Ok(independent::Recorded {
        wear: packed("lifesnaps.events.jsonl.gz").zip(truth),
        half_days: packed("furberg.events.jsonl.gz"),
        two_devices: packed("garmin_whoop.events.jsonl.gz"),
        ecg: ecg.into_iter().filter_map(|p| std::fs::read_to_string(p).ok()).collect(),
    })
}

/// A document with other tables between its marks.
fn replaced(text: &str, tables: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", tables.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    async fn a_report_is_kept_with_its_audit_entry_or_not_at_all() {
        let t = crate::store::testing::database().await;
        let mut conn = t.db.service().acquire().await.unwrap();
        let made = report::planted(1, 2, 30, 2, Registry::built_in());
        keep(&mut conn, &made).await.unwrap();
        let entries = "SELECT concat_ws(' ', actor, action) FROM audit_log";
        assert_eq!(sqlx::query_scalar::<_, String>(entries).fetch_all(t.db.owner()).await.unwrap(), ["command line calibration.run"]);
        sqlx::raw_sql("ALTER TABLE audit_log RENAME TO away").execute(t.db.owner()).await.unwrap();
        assert!(keep(&mut conn, &made).await.is_err());
        assert_eq!(calibration::newest(&mut conn, 10).await.unwrap().len(), 1, "without an entry no report");
    }

    #[test]
    fn only_what_lies_between_the_marks_is_replaced() {
        let text = format!("# Title\n{BEGIN}\nold\n{END}\nrest\n");
        assert_eq!(replaced(&text, "new\n").as_deref(), Some(&*format!("# Title\n{BEGIN}\n\nnew\n\n{END}\nrest\n")));
        assert_eq!(replaced("no marks", "new"), None);
    }
}
