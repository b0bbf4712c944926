//! `/admin/webhooks?tab=test`: a realistic delivery through the same door as Terra's, or a look at what it would be.
//!
//! The order goes to the gateway's own route inside this process, with the name of whoever asks: they were found to be an
//! administrator before, so no service key is needed. A dry run changes nothing, so it is a plain GET of this page.

use super::{
    super::{
        screen::{Cell, Form, Shown},
        webhook_deeds::SendTestEvent,
    },
    Field, Query, deliveries, field, pretty,
};
use crate::{
    calibration::simulator::TEST_KINDS,
    error::{AppError, ErrorKind},
    gateway,
    server::context::Request,
};
use axum::{body::Body, http};
use leptos::server_fn::ServerFn;
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;

const PROVIDERS: [&str; 8] = ["WHOOP", "GARMIN", "FITBIT", "OURA", "APPLE", "POLAR", "WITHINGS", "GOOGLE"];

/// The form; with a dry run in the URL, what would be sent.
pub(super) async fn page(request: &Request, query: &Query) -> Result<Shown, AppError> {
    let word = |name: &str, default: &str| query.some(name).unwrap_or_else(|| default.to_owned());
    let (kind, provider, user) = (word("type", "daily"), word("provider", PROVIDERS[0]), query.get("user"));
    let mut shown = Shown {
        title: "Webhooks".into(),
        lead: "A realistic delivery, signed and received like one of Terra’s. Its person is marked as simulated.".into(),
        tabs: deliveries::tabs("test"),
        form: Some((
            "Test event".into(),
            "A dry run stores nothing: it shows the headers, the body and what would be read from them.".into(),
            form(&kind, &provider, &user),
        )),
        ..Shown::default()
    };
    if let Some(missing) = missing(request) {
        shown.form = None;
        shown.warning = missing.to_owned();
    } else if query.get("dry") == "1" {
        match order(request, &kind, &provider, &user, true).await {
            Ok(said) => {
                let of = |name: &str| said.get(name).map(pretty).unwrap_or_default();
                shown.facts = vec![("Dry run".into(), Cell::Text(format!("{kind} of {provider}: nothing was stored.")))];
                shown.texts =
                    vec![("What is read from it".into(), of("normalised")), ("Body".into(), of("body")), ("Headers".into(), of("headers"))];
            }
            Err(error) => shown.complaint = error.message,
        }
    }
    Ok(shown)
}

fn form(kind: &str, provider: &str, user: &str) -> Form {
    let choices = |list: &[&str]| list.iter().map(|o| ((*o).to_owned(), (*o).to_owned())).collect();
    Form {
        get: String::new(),
        action: SendTestEvent::url().into(),
        fields: vec![
            Field { options: choices(&TEST_KINDS), ..field("type", "Type", kind, &[]) },
            Field { options: choices(&PROVIDERS), ..field("provider", "Provider", provider, &[]) },
            field("user", "Person (empty: the test person)", user, &[]),
        ],
        hidden: vec![("tab".into(), "test".into()), ("dry".into(), "1".into())],
        buttons: vec![("Send it".into(), String::new(), String::new())],
        ask: Some(("/admin/webhooks".into(), "Dry run".into())),
    }
}

/// What keeps this server from sending itself a test event.
fn missing(request: &Request) -> Option<&'static str> {
    let unsigned = !request.services.gateway.can_verify();
    unsigned.then_some("No signing secret is configured, so a delivery cannot be signed. Set TERRA_SIGNING_SECRETS.")
}

/// Gives an order to the gateway and returns its answer. For administrators: the caller checks that.
pub(in crate::pages::admin) async fn order(
    request: &Request,
    kind: &str,
    provider: &str,
    user: &str,
    dry_run: bool,
) -> Result<Value, AppError> {
    let mut wanted = json!({ "type": kind, "provider": provider, "dryRun": dry_run });
    if !user.is_empty() {
        wanted["user_id"] = user.into();
    }
    let internal = |e: &dyn std::fmt::Display| AppError::internal(&request.request_id, e);
    let asked = http::Request::post("/functions/v1/terra-webhook-test")
        .header(http::header::CONTENT_TYPE, "application/json")
        .extension(gateway::trial::OrderedBy(request.actor()?))
        .body(Body::from(wanted.to_string()))
        .map_err(|e| internal(&e))?;
    let door = gateway::routes().with_state(Arc::clone(&request.services.gateway));
    let answer = door.oneshot(asked).await.unwrap_or_else(|never| match never {});
    let status = answer.status();
    let bytes = axum::body::to_bytes(answer.into_body(), 4 << 20).await.map_err(|e| internal(&e))?;
    let said: Value = serde_json::from_slice(&bytes).map_err(|e| internal(&e))?;
    if status.is_success() {
        return Ok(said);
    }
    let message = said.get("message").or_else(|| said.pointer("/webhook/body/message")).and_then(Value::as_str);
    let kind = if status.is_server_error() { ErrorKind::Unavailable } else { ErrorKind::Invalid };
    Err(AppError::new(kind, message.unwrap_or("The gateway refused the test event.")))
}
