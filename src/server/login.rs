//! The login and logout forms: plain POSTs, so that they work without script and before it has loaded.
//!
//! Every answer is a redirect (303) with an empty body; a refusal goes back to the form with a code in the address,
//! never with what was typed.

use super::Services;
use crate::access::{
    self, Access, Enrolling, Identity, guard,
    login::{self, Attempt, LoginError},
    next, session,
};
use crate::gateway::{address::limited_as, limiter::Policy};
use crate::store::audit::Actor;
use axum::{
    Extension, Form, Router,
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
        .route("/logout", post(leave).with_state(access.clone()))
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
        let key = counted_as(policy, key);
        gateway.limiter().check(&Policy { name: policy, ..Policy::LOGIN }, &key, Instant::now()).retry_after.map_or(Ok(()), Err)
    })
}

/// A whole /64 of IPv6 addresses belongs to one customer, so it is one caller. The audit log keeps the address itself.
fn counted_as(policy: &str, key: String) -> String {
    match key.parse() {
        Ok(address) if policy == login::LIMIT_ADDRESS => limited_as(address),
        _ => key,
    }
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

async fn leave(
    State(access): State<Access>,
    Extension(identity): Extension<Identity>,
    enrolling: Option<Extension<Enrolling>>,
    headers: HeaderMap,
) -> Response {
    // Whoever is held at enrolling has no identity, but a session.
    let caller = identity.0.or_else(|| enrolling.map(|Extension(Enrolling(caller))| caller));
    let actor = caller.as_ref().map(|caller| Actor::of(caller, None, None));
    if let Some(token) = session::token_of(&headers, &access.site)
        && let Err(error) = login::logout(&access, &token, actor.as_ref()).await
    {
        tracing::warn!(%error, "a session could not be ended in the database; its cookie is removed");
    }
    with_cookie(guard::redirect("/login?notice=logged_out"), session::removal(&access.site))
}

fn with_cookie(mut response: Response, cookie: axum::http::HeaderValue) -> Response {
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
mod tests {
    use super::*;
    use crate::{
        access::{Site, Vault, identify},
        model::Role,
        store::{Token, accounts, sessions, testing},
    };
    use axum::{
        body::Body,
        http::{Request, StatusCode},
        middleware::from_fn_with_state,
    };
    use tower::ServiceExt;

    #[test]
    fn a_customer_with_many_addresses_is_one_caller_and_accounts_are_not_touched() {
        let counted = |key: &str| counted_as(login::LIMIT_ADDRESS, key.to_owned());
        assert_eq!(counted("2001:db8:1:2::1"), counted("2001:db8:1:2:ffff::9"));
        assert_ne!(counted("2001:db8:1:2::1"), counted("2001:db8:1:3::1"));
        assert_eq!((counted("192.0.2.1").as_str(), counted("unknown").as_str()), ("192.0.2.1", "unknown"));
        assert_eq!(counted_as(login::LIMIT_ACCOUNT, "2001:db8::1".into()), "2001:db8::1");
    }

    /// Somebody logged in, somebody held at enrolling, and a session that has run out, of which nobody is known.
    #[tokio::test]
    async fn logging_out_ends_the_session_whoever_it_belongs_to() {
        let t = testing::database().await;
        let access = Access { db: t.db.clone(), site: Arc::new(Site::default()), vault: Vault::new(&"k".repeat(32)).map(Arc::new) };
        let app: Router = Router::new()
            .route("/logout", post(leave).with_state(access.clone()))
            .layer(from_fn_with_state(access.clone(), identify::identify));
        let id = accounts::add(t.db.service(), "a@example.com", "", Role::Admin, Some("x")).await.unwrap().unwrap();
        for (seed, demanded, idle, entries) in [(1, false, 3600, 1_i64), (2, true, 3600, 2), (3, true, -1, 2)] {
            sqlx::query("INSERT INTO settings (key, value) VALUES ($1, to_jsonb($2::boolean)) ON CONFLICT (key) DO UPDATE SET value = excluded.value")
                .bind(sessions::SECOND_FACTOR_SETTING)
                .bind(demanded)
                .execute(t.db.service())
                .await
                .unwrap();
            let token = Token::from_bytes([seed; 32]);
            sessions::add(t.db.service(), &token, id, idle, 3600, None, None).await.unwrap();
            let found = sessions::find(&t.db, &token, 60).await.unwrap();
            assert_eq!(found.map(|f| f.must_enrol), (idle > 0).then_some(demanded));

            let cookie = format!("{}={}", session::cookie_name(&access.site), token.expose());
            let request = Request::post("/logout").header(header::COOKIE, cookie).body(Body::empty()).unwrap();
            let response = app.clone().oneshot(request).await.unwrap();
            let to = response.headers()[header::LOCATION].to_str().unwrap();
            assert_eq!((response.status(), to), (StatusCode::SEE_OTHER, "/login?notice=logged_out"));
            let left: i64 = sqlx::query_scalar("SELECT count(*) FROM login_sessions").fetch_one(t.db.service()).await.unwrap();
            let noted: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_log WHERE action = 'logout' AND account_id = $1")
                .bind(id)
                .fetch_one(t.db.service())
                .await
                .unwrap();
            assert_eq!((left, noted), (0, entries), "session {seed}");
        }
    }
}
