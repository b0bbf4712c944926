//! What is noted of a batch: figures for `/metrics`, and a line for each job in `edge_function_logs`. Failures are
//! logged by the statement that stores them.

use super::kind::Outcome;
use crate::logbook::{self, Level, Line};
use crate::meter;
use crate::store::jobs::claim::ClaimedRow;
use chrono::Utc;
use serde_json::json;
use std::{collections::HashMap, time::Duration};
use uuid::Uuid;

/// So many requests of a batch are named in the process's own log; `edge_function_logs` names all.
const REQUESTS: usize = 5;

/// Counts a batch that its handler has answered, and logs the jobs that are done.
pub(super) fn batch(kind: &'static str, rows: &[ClaimedRow], outcomes: &[(Uuid, Outcome)], took: Duration) {
    meter::RUN_SECONDS.of(kind).took(took);
    let age = meter::JOB_AGE_SECONDS.of(kind);
    let now = Utc::now();
    let rows: HashMap<Uuid, &ClaimedRow> = rows.iter().map(|r| (r.id, r)).collect();
    for (id, outcome) in outcomes {
        meter::SETTLED.of(word(outcome)).add(1);
        let Some(row) = rows.get(id) else { continue };
        if !matches!(outcome, Outcome::Done | Outcome::DoneWith(_) | Outcome::Committed) {
            continue;
        }
        age.took((now - row.created_at).to_std().unwrap_or_default());
        logbook::write("job-worker", Level::Info, took, || Line {
            level: Level::Info,
            function: "job-worker",
            message: format!("{kind} completed"),
            metadata: json!({ "job_id": id, "type": kind, "attempt": row.attempt }),
            request_id: request_id(&row.payload),
            user_id: row.user_id.clone(),
            took,
        });
    }
}

/// What the process's own log says with every line about a batch: its kind and the requests at the edge it comes from.
pub(super) fn span(kind: &'static str, rows: &[ClaimedRow]) -> tracing::Span {
    let span = tracing::info_span!("jobs", kind, count = rows.len(), requests = tracing::field::Empty);
    if !span.is_disabled() {
        let requests: Vec<String> = rows.iter().take(REQUESTS).filter_map(|row| request_id(&row.payload)).collect();
        span.record("requests", requests.join(" ").as_str());
    }
    span
}

const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done | Outcome::DoneWith(_) | Outcome::Committed => "completed",
        Outcome::Lost => "lost",
        Outcome::Retry(_) => "retry",
        Outcome::Dead(_) => "dead",
        Outcome::Snooze(_) => "snoozed",
    }
}

/// The request at the edge that a job comes from, where it comes from one.
fn request_id(payload: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Origin {
        request_id: Option<String>,
    }
    serde_json::from_str::<Origin>(payload).ok()?.request_id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_found_in_whatever_people_write_into_a_payload() {
        assert_eq!(request_id(r#"{"request_id": "abc", "x": [1]}"#).as_deref(), Some("abc"));
        for none in ["{}", r#"{"request_id": 7}"#, "[]", "nonsense", r#"{"request_id": null}"#] {
            assert_eq!(request_id(none), None, "{none}");
        }
    }
}
