//! The login and logout forms: plain POSTs, so that they work without script and before it has loaded.
//!
//! Every answer is a redirect (303) with an empty body; a refusal goes back to the form with a code in the address,
//! never with what was typed.

use super::Services;
use crate::access::{
    self, Access, Identity, guard,
    login::{self, Attempt, LoginError},
    next, session,
};
use crate::gateway::limiter::Policy;
use crate::store::audit::Actor;
use axum::{
    Form, Router,
    extract::{ConnectInfo, DefaultBodyLimit, State},
    http::{HeaderMap, header},
    response::Response,
    routing::post,
};
use serde::Deserialize;
use std::{net::SocketAddr, sync::Arc, time::Instant};

#[derive(Clone)]
struct Doors {
    access: Access,
    services: Arc<Services>,
}

/// POST /login and POST /logout. GET /login is a page.
pub fn router(access: Access, services: Arc<Services>) -> Router {
    Router::new()
        .route("/login", post(enter))
        .route("/logout", post(leave))
        .layer(DefaultBodyLimit::max(16 * 1024))
        .with_state(Doors { access, services })
}

#[derive(Deserialize)]
struct Credentials {
    email: String,
    password: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    next: String,
}

/// The limiter as logins and account forms use it: `Err` is the time to wait.
pub fn limit(services: &Arc<Services>) -> access::forms::Limit {
    let gateway = Arc::clone(&services.gateway);
    Arc::new(move |policy, key| {
        gateway.limiter().check(&Policy { name: policy, ..Policy::LOGIN }, &key, Instant::now()).retry_after.map_or(Ok(()), Err)
    })
}

async fn enter(
    State(doors): State<Doors>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Form(form): Form<Credentials>,
) -> Response {
    let address = super::router::client_address(peer.ip(), &headers, &doors.services.config.trusted_proxies).to_string();
    let code = form.code.trim();
    let attempt = Attempt {
        email: &form.email,
        password: &form.password,
        code: (!code.is_empty()).then_some(code),
        address: &address,
        user_agent: headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()),
        request_id: headers.get("x-request-id").and_then(|v| v.to_str().ok()),
        old_session: session::token_of(&headers, &doors.access.site),
        now: chrono::Utc::now().timestamp(),
    };
    let limit = limit(&doors.services);
    let check = async |policy: &'static str, key: String| limit(policy, key);
    match login::login(&doors.access, check, attempt).await {
        Ok(outcome) => {
            let to = next::validated(&form.next).unwrap_or_else(|| guard::home(outcome.role));
            with_cookie(guard::redirect(to), session::cookie(&doors.access.site, &outcome.token))
        }
        Err(error) => {
            tracing::info!(status = error.status(), "a login was refused");
            guard::redirect(&back(code_of(&error), &form.next))
        }
    }
}

/// The word in the address from which the page makes its sentence.
fn code_of(error: &LoginError) -> &'static str {
    match error {
        LoginError::Refused => "invalid",
        LoginError::CodeNeeded => "code",
        LoginError::CodeRefused => "code_refused",
        LoginError::TooMany(_) => "limited",
        LoginError::NoVault => "no_vault",
        LoginError::Database(_) | LoginError::Hash(_) => "unavailable",
    }
}

fn back(code: &str, wanted: &str) -> String {
    let address = next::login_address(wanted);
    let joint = if address.contains('?') { '&' } else { '?' };
    format!("{address}{joint}error={code}")
}

async fn leave(State(doors): State<Doors>, axum::Extension(identity): axum::Extension<Identity>, headers: HeaderMap) -> Response {
    if let (Some(token), Ok(caller)) = (session::token_of(&headers, &doors.access.site), identity.caller())
        && let Err(error) = login::logout(&doors.access, &token, &Actor::of(caller, None, None)).await
    {
        tracing::warn!(%error, "a session could not be ended in the database; its cookie is removed");
    }
    with_cookie(guard::redirect("/login?notice=logged_out"), session::removal(&doors.access.site))
}

fn with_cookie(mut response: Response, cookie: axum::http::HeaderValue) -> Response {
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}
