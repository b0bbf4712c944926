//! `/admin/audit`: who did what to what, when and from where; searched here, taken away as a file. Administrators only.

use super::{Forms, Html, Visitor, field, html};
use crate::{access::downloads::AuditQuery, store::audit};
use axum::{
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use uuid::Uuid;

const TITLE: &str = "Audit log";
const PAGE: i64 = 100;

/// Where the page begins, apart from the filter.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Place {
    /// The last entry of the page before.
    #[serde(default)]
    before: String,
}

pub(super) async fn show(
    State(forms): State<Forms>,
    visitor: Visitor,
    Query(query): Query<AuditQuery>,
    Query(place): Query<Place>,
) -> Response {
    let caller = match visitor.identity.admin() {
        Ok(caller) => caller,
        Err(denied) => return denied.into_response(),
    };
    let before = place.before.parse::<Uuid>().ok();
    let mut entries = match audit::search(&forms.access.db, caller, &query.filter(), before, PAGE + 1).await {
        Ok(entries) => entries,
        Err(error) => return forms.failed(&visitor, &error.into(), "/admin/settings"),
    };
    let more = entries.len() > PAGE as usize;
    entries.truncate(PAGE as usize);
    let narrowed = !query.address().is_empty();
    let fields = [
        field::filled("Who or what", "text", "search", &query.text, ""),
        field::filled("Action begins with", "action", "search", &query.action, ""),
        field::filled("From", "from", "date", &query.from, ""),
        field::filled("Until", "until", "date", &query.until, ""),
    ];
    let mut page = Html::new()
        .heading(TITLE)
        .text("Every login and every change, and each time a trainer looked at a person’s data. Nobody can change an entry here.")
        .section("Entries")
        .query_form("/admin/audit", &fields, "Search");
    page = match (entries.is_empty(), narrowed || before.is_some()) {
        (true, true) => page.text("No entry matches.").link("/admin/audit", "Show all entries"),
        (true, false) => page.text("There is no entry yet."),
        (false, _) => {
            let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
            page.table("Entries of the audit log, newest first", &["When", "Who", "What", "To what", "Details", "From"], &rows)
        }
    };
    if let Some(last) = entries.last().filter(|_| more) {
        page = page.link(&format!("/admin/audit?before={}{}", last.id, query.address()), "Older entries");
    }
    let file = query.address();
    let file = if file.is_empty() { "/admin/audit.csv".to_owned() } else { format!("/admin/audit.csv?{}", file.trim_start_matches('&')) };
    page = page.link(&file, "Take away as CSV");
    forms.page(&visitor, StatusCode::OK, TITLE, page)
}

fn row(e: &audit::Entry) -> Vec<String> {
    // "{}" says nothing.
    let detail = e.detail.as_object().filter(|d| !d.is_empty()).map(|_| e.detail.to_string()).unwrap_or_default();
    let detail = if detail.is_empty() { detail } else { format!("<code class=\"remark\">{}</code>", html::escape(&detail)) };
    let from = e.address.as_deref().map(html::escape).unwrap_or_default();
    let request = e.request_id.as_deref().map(|r| format!("<span class=\"remark\">{}</span>", html::escape(r))).unwrap_or_default();
    vec![
        html::time(e.at),
        html::escape(&e.actor),
        format!("<code>{}</code>", html::escape(&e.action)),
        e.account.as_deref().or(e.subject.as_deref()).map(html::escape).unwrap_or_default(),
        detail,
        format!("{from}{request}"),
    ]
}
