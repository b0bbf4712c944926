//! Files to take away: the audit log for administrators, all of a person's data for whoever may see the person. GET only, and
//! nothing changes but the audit log, which records each export.

use super::{Access, Identity, identify::Visit, problem, written};
use crate::store::{Caller, audit, audit::Actor, export};
use axum::{
    Extension, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::json;

/// Entries of the audit log read at once.
const AT_ONCE: i64 = 2_000;

/// `/admin/audit.csv`, `/clients/{user_id}/export.json`. Mount inside the guard.
pub fn router(access: Access) -> Router {
    Router::new().route("/admin/audit.csv", get(audit_csv)).route("/clients/{user_id}/export.json", get(person)).with_state(access)
}

/// The filter of the audit page, as its form sends it: empty fields do not narrow.
#[derive(Debug, Default, Deserialize)]
pub struct AuditQuery {
    /// In actor or subject.
    #[serde(default)]
    pub text: String,
    /// The action's beginning.
    #[serde(default)]
    pub action: String,
    /// RFC 3339 or a day, not before.
    #[serde(default)]
    pub from: String,
    /// RFC 3339, before; or a day, that day included.
    #[serde(default)]
    pub until: String,
}

impl AuditQuery {
    /// The filter; a time that cannot be read does not narrow.
    pub fn filter(&self) -> audit::Filter {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|t| !t.is_empty() && !t.contains('\0'));
        let time = |text: &str, days: u64| {
            let day = || text.trim().parse::<chrono::NaiveDate>().ok()?.checked_add_days(chrono::Days::new(days));
            let midnight = || day().map(|d| d.and_time(chrono::NaiveTime::MIN).and_utc());
            DateTime::parse_from_rfc3339(text.trim()).ok().map(|t| t.with_timezone(&Utc)).or_else(midnight)
        };
        audit::Filter { text: given(&self.text), action: given(&self.action), from: time(&self.from, 0), until: time(&self.until, 1) }
    }

    /// The filter as the rest of an address, `&text=…`; empty when nothing narrows.
    pub fn address(&self) -> String {
        [("text", &self.text), ("action", &self.action), ("from", &self.from), ("until", &self.until)]
            .into_iter()
            .filter(|(_, value)| !value.trim().is_empty())
            .map(|(name, value)| format!("&{name}={}", super::forms::segment(value.trim())))
            .collect()
    }
}

async fn audit_csv(
    State(access): State<Access>,
    Extension(identity): Extension<Identity>,
    visit: Option<Extension<Visit>>,
    Query(query): Query<AuditQuery>,
) -> Response {
    let caller = match identity.admin() {
        Ok(caller) => caller.clone(),
        Err(denied) => return denied.into_response(),
    };
    let turn = match written::turn(&access.db) {
        Ok(turn) => turn,
        Err(busy) => return busy,
    };
    let actor = actor(&caller, visit);
    if let Err(error) = audit::write(access.db.service(), &actor, "audit.export", None, &json!({})).await {
        return unavailable(&error);
    }
    let (db, filter) = (access.db, query.filter());
    written::csv(turn, "audit.csv", |send| async move {
        let (mut part, mut before) = (audit::CSV_HEAD.to_owned(), None);
        loop {
            let entries = audit::search(&db, &caller, &filter, before, AT_ONCE).await?;
            part.push_str(&audit::csv(&entries));
            let whole = (entries.len() as i64) < AT_ONCE;
            if send.send(Ok(part.into())).await.is_err() || whole {
                return Ok(());
            }
            (part, before) = (String::new(), entries.last().map(|e| e.id));
        }
    })
}

/// Everything that is stored about a person, as JSON.
async fn person(
    State(access): State<Access>,
    Extension(identity): Extension<Identity>,
    visit: Option<Extension<Visit>>,
    Path(user_id): Path<String>,
) -> Response {
    let caller = match identity.caller() {
        Ok(caller) => caller.clone(),
        Err(denied) => return denied.into_response(),
    };
    if !readable(&user_id) {
        return nobody();
    }
    let turn = match written::turn(&access.db) {
        Ok(turn) => turn,
        Err(busy) => return busy,
    };
    match export::begin(&access.db, &caller, &actor(&caller, visit), &user_id).await {
        Ok(true) => written::file(turn, "person.json", "application/json", |send| async move {
            let sent = |part: String| {
                let send = send.clone();
                async move { send.send(Ok(part.into())).await.is_ok() }
            };
            export::write(&access.db, &caller, &user_id, sent).await
        }),
        Ok(false) => nobody(),
        Err(error) => unavailable(&error),
    }
}

/// PostgreSQL's text cannot hold a NUL; nobody of that name exists.
pub(crate) fn readable(user_id: &str) -> bool {
    !user_id.contains('\0')
}

fn actor(caller: &Caller, visit: Option<Extension<Visit>>) -> Actor {
    let visit = visit.map(|v| v.0).unwrap_or_default();
    Actor::of(caller, visit.address, visit.request_id)
}

/// The answer about a person of whom the caller sees nothing.
pub(crate) fn nobody() -> Response {
    problem(StatusCode::NOT_FOUND, "Not found", "There is no such person, no data, or it is not yours to see.")
}

/// The answer when the database does not give the file.
pub(crate) fn unavailable(error: &sqlx::Error) -> Response {
    tracing::error!(%error, "an export failed");
    problem(StatusCode::SERVICE_UNAVAILABLE, "Not available", "The export could not be read just now. Try again in a moment.")
}
