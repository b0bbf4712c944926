//! Files to take away: the audit log for administrators, a person's data for whoever may see the person. GET only, and
//! nothing changes but the audit log, which records each export.

use super::{Access, Identity, identify::Visit, problem};
use crate::store::{Caller, audit, audit::Actor, persons};
use axum::{
    Extension, Router,
    extract::{Path, Query, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::json;

/// The most lines of one file of the audit log; older ones come with `until`.
const MOST_LINES: i64 = 50_000;

/// `/admin/audit.csv`, `/clients/{user_id}/export.json`, `/clients/{user_id}/export.csv`. Mount inside the guard.
pub fn router(access: Access) -> Router {
    Router::new()
        .route("/admin/audit.csv", get(audit_csv))
        .route("/clients/{user_id}/export.json", get(person).layer(Extension(Form::Json)))
        .route("/clients/{user_id}/export.csv", get(person).layer(Extension(Form::Csv)))
        .with_state(access)
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
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    let actor = actor(caller, visit);
    let found = async {
        let entries = audit::search(&access.db, caller, &query.filter(), None, MOST_LINES).await?;
        audit::write(access.db.service(), &actor, "audit.export", None, &json!({ "lines": entries.len() })).await?;
        sqlx::Result::Ok(Some(audit::csv(&entries)))
    };
    answer(found.await, "text/csv; charset=utf-8", "audit.csv")
}

/// A person's data in one of two forms: everything as JSON, or the day values as CSV.
async fn person(
    State(access): State<Access>,
    Extension(identity): Extension<Identity>,
    visit: Option<Extension<Visit>>,
    Extension(form): Extension<Form>,
    Path(user_id): Path<String>,
) -> Response {
    let caller = match identity.caller() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    let actor = actor(caller, visit);
    let found = async {
        match form {
            _ if !readable(&user_id) => Ok(None),
            Form::Json => persons::export(&access.db, caller, &actor, &user_id).await.map(|f| f.map(|v| v.to_string())),
            Form::Csv => persons::export_csv(&access.db, caller, &actor, &user_id).await,
        }
    };
    match form {
        Form::Json => answer(found.await, "application/json", "person.json"),
        Form::Csv => answer(found.await, "text/csv; charset=utf-8", "metrics.csv"),
    }
}

/// What an export is written as.
#[derive(Debug, Clone, Copy)]
enum Form {
    Json,
    Csv,
}

/// PostgreSQL's text cannot hold a NUL; nobody of that name exists.
fn readable(user_id: &str) -> bool {
    !user_id.contains('\0')
}

fn actor(caller: &Caller, visit: Option<Extension<Visit>>) -> Actor {
    let visit = visit.map(|v| v.0).unwrap_or_default();
    Actor::of(caller, visit.address, visit.request_id)
}

/// The name of the file holds no person's name: downloads lie around.
fn answer(found: sqlx::Result<Option<String>>, kind: &'static str, name: &str) -> Response {
    match found {
        Ok(Some(text)) => {
            let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""))
                .unwrap_or_else(|_| HeaderValue::from_static("attachment"));
            let kind = HeaderValue::from_static(kind);
            (
                [
                    (header::CONTENT_TYPE, kind),
                    (header::CONTENT_DISPOSITION, disposition),
                    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
                ],
                text,
            )
                .into_response()
        }
        Ok(None) => problem(StatusCode::NOT_FOUND, "Not found", "There is no such person, no data, or it is not yours to see."),
        Err(error) => {
            tracing::error!(%error, "an export failed");
            problem(StatusCode::SERVICE_UNAVAILABLE, "Not available", "The export could not be read just now. Try again in a moment.")
        }
    }
}
