//! Pages about access: `/invite/{token}`, `/account`, `/admin/users`, `/admin/people/{user_id}`, `/admin/audit`,
//! `/admin/settings/retention`. Plain forms and plain HTML, rendered here and not by the pages' framework, so that a
//! password, a key or a link is in one answer to one request and in nothing that is cached, hydrated or put into an
//! address, and so that none of it weighs on the browser.
//!
//! Every handler asks for its caller in its first line; the same-origin check and the guard stand in front.

mod account;
mod audit;
mod field;
mod html;
mod invite;
mod person;
mod retention;
mod said;
mod users;

use super::{Access, AccessError, Enrolling, Identity, Visit};
use crate::{
    model::Role,
    store::{Caller, audit::Actor},
};
use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequestParts},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use field::Refused;
use html::Html;
pub(super) use html::segment;
use std::{sync::Arc, time::Duration};

/// Asks a limit: policy and key; how long to wait, if refused.
pub type Limit = Arc<dyn Fn(&'static str, String) -> Result<(), Duration> + Send + Sync>;
/// Puts a document around a page: head, style sheet, navigation.
pub type Frame = Arc<dyn Fn(&Sheet<'_>) -> String + Send + Sync>;

/// A page before its document.
#[derive(Debug)]
pub struct Sheet<'a> {
    /// Text.
    pub title: &'a str,
    /// HTML.
    pub body: &'a str,
    /// Who looks: decides the navigation.
    pub role: Option<Role>,
}

/// What the handlers share.
#[derive(Clone)]
pub struct Forms {
    /// Database, address, vault.
    pub access: Access,
    /// The limiter, as for logins.
    pub limit: Limit,
    /// The document around each page.
    pub frame: Frame,
    /// Terra's REST side: whoever is erased leaves there first. `None`: not configured.
    pub terra: Option<crate::outbound::Client>,
}

/// All routes. Mount inside the guard.
pub fn router(forms: Forms) -> Router {
    Router::new()
        .route("/invite/{token}", get(invite::show).post(invite::accept))
        .route("/account", get(account::show))
        .route("/account/password", post(account::change_password))
        .route("/account/sessions/end-others", post(account::end_others))
        .route("/account/sessions/{id}/end", post(account::end_session))
        .route("/account/second-factor", post(account::second_factor))
        .route("/account/second-factor/off", post(account::second_factor_off))
        .route("/account/keys", post(account::make_key))
        .route("/account/keys/{id}/revoke", get(account::ask_revoke).post(account::revoke_key))
        .route("/admin/users", get(users::show))
        .route("/admin/users/invite", post(users::invite))
        .route("/admin/users/second-factor", post(users::demand))
        .route("/admin/users/{id}/{deed}", get(users::ask).post(users::change))
        .route("/admin/people/{user_id}", get(person::show))
        .route("/admin/people/{user_id}/label", post(person::label))
        .route("/admin/people/{user_id}/trainers", post(person::assign))
        .route("/admin/people/{user_id}/trainers/{id}/remove", post(person::unassign))
        .route("/admin/people/{user_id}/erase", post(person::erase))
        .route("/admin/audit", get(audit::show))
        .route("/admin/settings/retention", get(retention::show).post(retention::change))
        .layer(DefaultBodyLimit::max(16 * 1024))
        .with_state(forms)
}

/// A document with no style, for tests.
pub fn plain_frame(sheet: &Sheet<'_>) -> String {
    let title = html::escape(sheet.title);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} · Assay</title></head><body><main>{}</main></body></html>",
        sheet.body
    )
}

/// Who stands before the form, for the audit log too.
struct Visitor {
    identity: Identity,
    enrolling: Option<Caller>,
    visit: Visit,
    user_agent: Option<String>,
    host: Option<String>,
    /// What the deed before came to.
    said: Option<&'static str>,
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let extensions = &parts.extensions;
        Ok(Self {
            identity: extensions.get::<Identity>().cloned().unwrap_or_default(),
            enrolling: extensions.get::<Enrolling>().map(|e| e.0.clone()),
            visit: extensions.get::<Visit>().cloned().unwrap_or_default(),
            host: parts.headers.get(header::HOST).and_then(|v| v.to_str().ok()).map(str::to_owned),
            user_agent: parts.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).map(str::to_owned),
            said: said::of(&parts.uri),
        })
    }
}

impl Visitor {
    fn actor(&self, caller: &Caller) -> Actor {
        Actor::of(caller, self.visit.address.clone(), self.visit.request_id.clone())
    }

    fn address(&self) -> String {
        self.visit.address.clone().unwrap_or_else(|| "unknown".into())
    }
}

impl Forms {
    /// A page with a status.
    fn page(&self, visitor: &Visitor, status: StatusCode, title: &str, body: Html) -> Response {
        let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
        let body = body.into_string();
        let sheet = Sheet { title, body: &body, role: visitor.identity.role() };
        (status, headers, (self.frame)(&sheet)).into_response()
    }

    /// A refusal in place of the page.
    fn refusal(&self, visitor: &Visitor, status: StatusCode, title: &str, sentence: &str, back: &str) -> Response {
        self.page(visitor, status, title, Html::new().heading(title).notice(sentence).link(back, "Back"))
    }

    /// A failed action, as a page with the way back.
    fn failed(&self, visitor: &Visitor, error: &AccessError, back: &str) -> Response {
        self.refusal(visitor, status_of(error), "Not done", &error.to_string(), back)
    }

    /// Passwords asked again are limited as logins are; the refusal, if it is one.
    fn limited(&self, visitor: &Visitor, caller: Option<&Caller>) -> Option<Response> {
        let by_account = caller.map_or(Ok(()), |c| (self.limit)(super::login::LIMIT_ACCOUNT, super::fingerprint(&c.email)));
        let wait = by_account.and_then(|()| (self.limit)(super::login::LIMIT_ADDRESS, visitor.address())).err()?;
        let sentence = format!("Too many attempts. Try again in {} seconds.", wait.as_secs().max(1));
        Some(self.refusal(visitor, StatusCode::TOO_MANY_REQUESTS, "Too many attempts", &sentence, "/"))
    }
}

fn status_of(error: &AccessError) -> StatusCode {
    match error {
        AccessError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        AccessError::NotFound(_) => StatusCode::NOT_FOUND,
        AccessError::Conflict(_) => StatusCode::CONFLICT,
        AccessError::Database(cause) => {
            tracing::error!(%cause, "an account's form failed");
            StatusCode::SERVICE_UNAVAILABLE
        }
        AccessError::Hash(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
