//! The answers of `/functions/v1/health-check`, made when something was measured, not when somebody asks. Pure.

use super::judge::{Check, Local, worst};
use crate::store::health::Figures;
use axum::body::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What who holds the service key is told while the database is silent.
const SILENT: &str =
    "it has not answered for ten seconds; whether workers are alive is not known. Deliveries are answered 503 and sent again";

/// Two bodies, ready to be sent.
#[derive(Debug, Clone)]
pub struct Answers {
    /// What a stranger sees: words.
    pub words: Bytes,
    /// What who holds the service key sees: numbers too, and what to do.
    pub all: Bytes,
}

/// Of what was just measured.
pub fn fresh(at: DateTime<Utc>, checks: &[(&'static str, Check)], figures: &Figures, local: &Local, uptime: Duration) -> Answers {
    let status = worst(checks.iter().map(|(_, c)| c.status)).word();
    let mut map: Map<String, Value> = checks.iter().map(|(name, c)| ((*name).to_owned(), json!(c.status))).collect();
    let words = body(status, at, &map, None);
    map.extend(numbers(figures, local));
    let notes: Map<String, Value> =
        checks.iter().filter(|(_, c)| !c.note.is_empty()).map(|(n, c)| ((*n).to_owned(), json!(c.note))).collect();
    map.insert("notes".into(), notes.into());
    Answers { words, all: body(status, at, &map, Some(uptime)) }
}

/// Of a database that does not answer.
pub fn silent(uptime: Duration) -> Answers {
    let mut map = Map::from_iter([("database".to_owned(), json!("error")), ("jobWorker".to_owned(), json!("error"))]);
    let words = body("unhealthy", Utc::now(), &map, None);
    map.insert("notes".into(), json!({ "database": SILENT }));
    Answers { words, all: body("unhealthy", Utc::now(), &map, Some(uptime)) }
}

fn body(status: &str, at: DateTime<Utc>, checks: &Map<String, Value>, uptime: Option<Duration>) -> Bytes {
    let mut body = json!({ "status": status, "timestamp": at.to_rfc3339_opts(SecondsFormat::Millis, true), "checks": checks });
    if let (Some(uptime), Some(map)) = (uptime, body.as_object_mut()) {
        map.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
        map.insert("uptimeSeconds".into(), json!(uptime.as_secs()));
    }
    body.to_string().into()
}

fn numbers(f: &Figures, local: &Local) -> [(String, Value); 14] {
    [
        ("databaseLatencyMs", json!((local.database_latency_ms * 100.0).round() / 100.0)),
        ("workersAlive", json!(f.workers_alive)),
        ("oldestReadySeconds", json!(f.oldest_ready_s)),
        ("oldestReadySecondsByKind", f.waiting.iter().map(|(kind, s)| (kind.clone(), json!(s))).collect::<Map<_, _>>().into()),
        ("pendingJobs", json!(f.pending)),
        ("processingJobs", json!(f.processing)),
        ("failedJobs", json!(f.failed)),
        ("deadLettersOpen", json!(f.dead_letters)),
        ("schedulesOverdue", json!(f.schedules_overdue)),
        ("webhooksAccepted24h", json!(f.webhooks_accepted)),
        ("webhooksFailed24h", json!(f.webhooks_failed)),
        ("latestViewAgeSeconds", json!(f.view_age_s)),
        ("diskFreeBytes", json!(local.disk.map(|d| d.free))),
        ("providerSilenceSeconds", f.slow.silence.iter().map(|(p, s)| (p.clone(), json!(s))).collect::<Map<_, _>>().into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    use super::super::judge::judge;
    use super::*;

    fn read(bytes: &Bytes) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn a_stranger_sees_words_and_the_service_sees_numbers_and_what_to_do() {
        let (figures, local) = (Figures { pending: 7, ..Figures::default() }, Local::default());
        let checks = judge(&figures, &local);
        let answers = fresh(Utc::now(), &checks, &figures, &local, Duration::from_secs(61));
        let (words, all) = (read(&answers.words), read(&answers.all));
        assert_eq!(words["status"], "unhealthy");
        assert_eq!(words["checks"].as_object().unwrap().len(), checks.len());
        assert!(words["checks"].as_object().unwrap().values().all(|v| ["ok", "degraded", "error"].iter().any(|w| v == w)), "{words}");
        assert_eq!(words.as_object().unwrap().len(), 3, "{words}");
        assert_eq!((&all["checks"]["pendingJobs"], &all["uptimeSeconds"]), (&json!(7), &json!(61)));
        assert!(all["checks"]["notes"]["jobWorker"].as_str().unwrap().contains("ASSAY_ROLE"));
    }

    #[test]
    fn a_silent_database_is_an_error_and_says_nothing_more_to_a_stranger() {
        let answers = silent(Duration::ZERO);
        let words = read(&answers.words);
        assert_eq!(words["checks"], json!({ "database": "error", "jobWorker": "error" }));
        assert!(read(&answers.all)["checks"]["notes"]["database"].is_string());
    }
}
