//! What OWASP lists for sessions, forgery and redirects, tried through the middlewares on a router of one page each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot prepare must stop")]

use super::{
    Access, Identity, Site, Vault, account, downloads, forms, forms::Forms, guard, headers, identify, login, login::Attempt, origin,
    session,
};
use crate::{
    model::Role,
    store::{Token, accounts, audit::Actor, testing},
};
use axum::{
    Extension, Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http_body_util::BodyExt;
use std::sync::Arc;
use tower::ServiceExt;

const PASSWORD: &str = "correct horse battery";
const SECRET: &str = "the rendered page";

pub(super) struct World {
    pub(super) t: testing::TestDb,
    pub(super) access: Access,
    app: Router,
}

async fn whoami(Extension(identity): Extension<Identity>) -> Response {
    match identity.caller() {
        Ok(caller) => caller.role.word().into_response(),
        Err(_) => StatusCode::UNAUTHORIZED.into_response(),
    }
}

impl World {
    pub(super) async fn new() -> Self {
        Self::at(None).await
    }

    async fn at(public_url: Option<&str>) -> Self {
        let t = testing::database().await;
        let access =
            Access { db: t.db.clone(), site: Arc::new(Site::new(public_url).unwrap()), vault: Vault::new(&"k".repeat(32)).map(Arc::new) };
        let page = || async { axum::response::Html(SECRET) };
        let router = Router::new()
            .route("/", get(page))
            .route("/admin", get(page))
            .route("/clients", get(page))
            .route("/status", get(page))
            .route("/_fn/act", post(whoami))
            .route("/functions/v1/webhook-terra", post(|| async { "taken" }))
            .merge(downloads::router(access.clone()))
            .merge(forms::router(Forms {
                access: access.clone(),
                limit: Arc::new(|_, _| Ok(())),
                frame: Arc::new(forms::plain_frame),
                terra: None,
            }))
            .fallback(|| async { (StatusCode::NOT_FOUND, "no such page") });
        let app = router
            .layer(from_fn(guard::guard))
            .layer(from_fn_with_state(access.clone(), identify::identify))
            .layer(from_fn_with_state(access.clone(), origin::same_origin))
            .layer(from_fn_with_state(access.clone(), headers::security_headers));
        Self { app, access, t }
    }

    pub(super) async fn account(&self, email: &str, role: Role) -> uuid::Uuid {
        let hash = super::password::hash(PASSWORD.into()).await.unwrap();
        accounts::add(self.t.db.service(), email, "", role, Some(&hash)).await.unwrap().unwrap()
    }

    pub(super) async fn login(&self, email: &str, old: Option<Token>) -> Token {
        login::login(&self.access, |_, _| async { Ok(()) }, attempt(email, PASSWORD, old)).await.unwrap().token
    }

    pub(super) async fn send(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    pub(super) async fn get(&self, path: &str, token: Option<&Token>) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::get(path).header(header::HOST, "127.0.0.1:3000");
        if let Some(token) = token {
            request = request.header(header::COOKIE, format!("{}={}", session::cookie_name(&self.access.site), token.expose()));
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)]) -> StatusCode {
        let mut request = Request::post(path).header(header::HOST, "127.0.0.1:3000");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await.0
    }

    async fn sql(&self, sql: &'static str) {
        sqlx::query(sql).execute(self.t.db.service()).await.unwrap();
    }
}

fn attempt<'a>(email: &'a str, password: &'a str, old_session: Option<Token>) -> Attempt<'a> {
    Attempt { email, password, code: None, address: "192.0.2.1", user_agent: Some("test"), request_id: None, old_session, now: 0 }
}

#[tokio::test]
async fn a_page_is_refused_before_it_is_rendered_and_the_redirect_is_empty() {
    let w = World::new().await;
    w.account("t@example.com", Role::Trainer).await;
    let (status, headers, body) = w.get("/admin?x=1", None).await;
    assert_eq!(
        (status, headers[header::LOCATION].to_str().unwrap(), body.as_str()),
        (StatusCode::SEE_OTHER, "/login?next=/admin%3Fx%3D1", "")
    );
    let token = w.login("t@example.com", None).await;
    let (status, _, body) = w.get("/admin", Some(&token)).await;
    assert!(status == StatusCode::FORBIDDEN && !body.contains(SECRET));
    assert_eq!(w.get("/clients", Some(&token)).await.2, SECRET);
    assert_eq!(w.get("/", Some(&token)).await.1[header::LOCATION], "/clients");
    assert_eq!(w.get("/status", None).await.0, StatusCode::OK);
    assert_eq!(w.get("/nonsense", None).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_session_is_fresh_at_login_and_the_old_one_ends() {
    let w = World::new().await;
    w.account("a@example.com", Role::Admin).await;
    // Fixation: a token that an attacker put into the browser is no session and never becomes one.
    let planted = Token::from_bytes([9; 32]);
    assert_eq!(w.get("/admin", Some(&planted)).await.0, StatusCode::SEE_OTHER);
    let first = w.login("a@example.com", Some(planted.clone())).await;
    assert_ne!(first.expose(), planted.expose());
    assert_eq!(w.get("/admin", Some(&planted)).await.0, StatusCode::SEE_OTHER);
    let second = w.login("a@example.com", Some(first.clone())).await;
    assert_eq!(w.get("/admin", Some(&first)).await.0, StatusCode::SEE_OTHER);
    assert_eq!(w.get("/admin", Some(&second)).await.0, StatusCode::OK);
    // The database holds no token with which one could log in.
    let stored: Vec<Vec<u8>> = sqlx::query_scalar("SELECT token_hash FROM login_sessions").fetch_all(w.t.db.service()).await.unwrap();
    assert!(stored.iter().all(|h| hex::encode(h) != second.expose() && hex::encode(h) != second.proof()));
    let as_cookie = Token::parse(&second.proof()).unwrap();
    assert_eq!(w.get("/admin", Some(&as_cookie)).await.0, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_stolen_cookie_is_worthless_after_logout_expiry_and_change_of_rights() {
    let w = World::new().await;
    let id = w.account("a@example.com", Role::Admin).await;
    w.account("b@example.com", Role::Admin).await;
    let lives = async |token: &Token| w.get("/admin", Some(token)).await.0 == StatusCode::OK;

    let token = w.login("a@example.com", None).await;
    assert!(lives(&token).await);
    login::logout(&w.access, &token, Some(&Actor::system())).await.unwrap();
    assert!(!lives(&token).await);
    login::logout(&w.access, &token, Some(&Actor::system())).await.unwrap();

    for expire in ["UPDATE login_sessions SET idle_until = now()", "UPDATE login_sessions SET expires_at = now()"] {
        let token = w.login("a@example.com", None).await;
        assert!(lives(&token).await);
        sqlx::query(expire).execute(w.t.db.service()).await.unwrap();
        assert!(!lives(&token).await, "{expire}");
        // Using it does not revive it.
        w.sql("UPDATE login_sessions SET last_seen_at = now() - interval '1 hour'").await;
        assert!(!lives(&token).await, "{expire}");
    }

    let token = w.login("a@example.com", None).await;
    account::set_role(&w.t.db, &Actor::system(), id, Role::Trainer).await.unwrap();
    assert_eq!(w.get("/clients", Some(&token)).await.0, StatusCode::SEE_OTHER);
    let token = w.login("a@example.com", None).await;
    account::set_disabled(&w.t.db, &Actor::system(), id, true).await.unwrap();
    assert_eq!(w.get("/clients", Some(&token)).await.0, StatusCode::SEE_OTHER);
    // Even a role changed by hand counts with the next request.
    let token = w.login("b@example.com", None).await;
    w.sql("UPDATE accounts SET role = 'trainer' WHERE email = 'b@example.com'").await;
    assert_eq!(w.get("/admin", Some(&token)).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn use_moves_the_idle_limit_once_a_minute_and_never_past_the_end() {
    let w = World::new().await;
    w.account("a@example.com", Role::Admin).await;
    let token = w.login("a@example.com", None).await;
    let state = async || -> (f64, f64, f64) {
        sqlx::query_as("SELECT extract(epoch FROM now() - last_seen_at)::float8, extract(epoch FROM idle_until - now())::float8, extract(epoch FROM expires_at - now())::float8 FROM login_sessions")
            .fetch_one(w.t.db.service())
            .await
            .unwrap()
    };
    let (_, idle, absolute) = state().await;
    assert!((idle - f64::from(session::IDLE_SECONDS)).abs() < 60.0 && (absolute - f64::from(session::ABSOLUTE_SECONDS)).abs() < 60.0);
    w.sql("UPDATE login_sessions SET last_seen_at = now() - interval '59 seconds', idle_until = now() + interval '100 seconds'").await;
    w.get("/admin", Some(&token)).await;
    assert!(state().await.1 < 110.0, "no write within a minute");
    w.sql("UPDATE login_sessions SET last_seen_at = now() - interval '61 seconds'").await;
    w.get("/admin", Some(&token)).await;
    assert!(state().await.0 < 30.0 && state().await.1 > 40_000.0);
    w.sql("UPDATE login_sessions SET last_seen_at = now() - interval '61 seconds', expires_at = now() + interval '200 seconds'").await;
    w.get("/admin", Some(&token)).await;
    assert!(state().await.1 < 210.0);
}

#[tokio::test]
async fn forged_requests_are_refused_and_honest_ones_pass() {
    let w = World::new().await;
    w.account("a@example.com", Role::Admin).await;
    let cookie = format!("assay={}", w.login("a@example.com", None).await.expose());
    let cookie = ("cookie", cookie.as_str());
    let own = ("origin", "http://127.0.0.1:3000");
    for honest in [
        vec![cookie, own],
        vec![cookie, ("sec-fetch-site", "same-origin")],
        vec![cookie, own, ("sec-fetch-site", "same-origin")],
        vec![cookie, ("sec-fetch-site", "none")],
    ] {
        assert_eq!(w.post("/_fn/act", &honest).await, StatusCode::OK, "{honest:?}");
    }
    for forged in [
        vec![cookie],
        vec![cookie, ("origin", "http://evil.example")],
        vec![cookie, ("origin", "null")],
        vec![cookie, ("origin", "http://127.0.0.1:3001")],
        vec![cookie, ("origin", "http://127.0.0.1:3000.evil.example")],
        vec![cookie, ("sec-fetch-site", "cross-site")],
        vec![cookie, ("sec-fetch-site", "same-site")],
        vec![cookie, own, ("sec-fetch-site", "cross-site")],
        vec![cookie, ("sec-fetch-site", "same-origin"), ("origin", "null")],
        vec![cookie, ("referer", "http://127.0.0.1:3000/")],
        // A login forged from elsewhere carries no cookie yet.
        vec![("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")],
        vec![("cookie", "assay=anything"), ("origin", "http://evil.example")],
    ] {
        assert_eq!(w.post("/_fn/act", &forged).await, StatusCode::FORBIDDEN, "{forged:?}");
    }
    // Programs send neither cookie nor origin; Terra's webhooks pass, and nobody is authenticated.
    assert_eq!(w.post("/functions/v1/webhook-terra", &[]).await, StatusCode::OK);
    assert_eq!(w.post("/_fn/act", &[]).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn behind_a_proxy_the_public_address_is_the_origin_and_the_cookie_is_host_bound() {
    let w = World::at(Some("https://assay.example.com")).await;
    w.account("a@example.com", Role::Admin).await;
    let token = w.login("a@example.com", None).await;
    let cookie = format!("__Host-assay={}", token.expose());
    let cookie = ("cookie", cookie.as_str());
    assert_eq!(w.post("/_fn/act", &[cookie, ("origin", "https://assay.example.com")]).await, StatusCode::OK);
    assert_eq!(w.post("/_fn/act", &[cookie, ("origin", "http://assay.example.com")]).await, StatusCode::FORBIDDEN);
    let (status, headers, _) = w.get("/admin", Some(&token)).await;
    assert_eq!((status, headers[header::STRICT_TRANSPORT_SECURITY].to_str().unwrap()), (StatusCode::OK, "max-age=31536000"));
    // Without the prefix a subdomain could have set it.
    let tossed = format!("assay={}", token.expose());
    assert_eq!(w.post("/_fn/act", &[("cookie", tossed.as_str()), ("origin", "https://assay.example.com")]).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn files_go_to_whoever_may_see_them_and_leave_an_entry() {
    let w = World::new().await;
    w.account("a@example.com", Role::Admin).await;
    let trainer = w.account("t@example.com", Role::Trainer).await;
    w.account("u@example.com", Role::Trainer).await;
    w.sql("INSERT INTO persons (user_id) VALUES ('a/b')").await;
    sqlx::query("INSERT INTO trainer_clients (trainer_id, user_id) VALUES ($1, 'a/b')")
        .bind(trainer)
        .execute(w.t.db.service())
        .await
        .unwrap();
    let (admin, own, other) =
        (w.login("a@example.com", None).await, w.login("t@example.com", None).await, w.login("u@example.com", None).await);
    let export = "/clients/a%2Fb/export.json";
    assert_eq!(w.get(export, None).await.0, StatusCode::SEE_OTHER);
    assert_eq!(w.get(export, Some(&other)).await.0, StatusCode::NOT_FOUND);
    assert_eq!(w.get("/clients/nobody/export.json", Some(&admin)).await.0, StatusCode::NOT_FOUND);
    assert_eq!(w.get("/clients/%00/export.csv", Some(&admin)).await.0, StatusCode::NOT_FOUND);
    for token in [&admin, &own] {
        let (status, headers, body) = w.get(export, Some(token)).await;
        assert!(status == StatusCode::OK && body.contains("\"a/b\"") && headers[header::CACHE_CONTROL] == "no-store");
    }
    assert_eq!(w.get("/admin/audit.csv", Some(&own)).await.0, StatusCode::FORBIDDEN);
    let (status, _, log) = w.get("/admin/audit.csv?action=person.&from=nonsense&text=", Some(&admin)).await;
    assert!(status == StatusCode::OK && log.lines().count() == 3, "{log}");
    assert!(w.get("/admin/audit.csv?text=%00", Some(&admin)).await.2.contains("audit.export"));
}

#[tokio::test]
async fn downloads_that_nobody_reads_leave_connections_to_pages_and_the_next_one_is_told_to_wait() {
    let w = World::new().await;
    w.account("a@example.com", Role::Admin).await;
    let admin = w.login("a@example.com", None).await;
    w.sql("INSERT INTO persons (user_id) VALUES ('erika')").await;
    w.sql(
        "INSERT INTO terra_webhooks_raw (id, trace_id, type, user_id, ordering_ms, body)
         SELECT app.uuid_v7(), 'long' || n, 'daily', 'erika', n, convert_to(repeat('x', 60000), 'UTF8') FROM generate_series(1, 30) n",
    )
    .await;
    let ask = || {
        let request = Request::get("/clients/erika/export.json")
            .header(header::HOST, "127.0.0.1:3000")
            .header(header::COOKIE, format!("assay={}", admin.expose()));
        w.app.clone().oneshot(request.body(Body::empty()).unwrap())
    };
    let mut unread = Vec::new();
    for _ in 0..3 {
        unread.push(ask().await.unwrap());
    }
    assert!(unread.iter().all(|answer| answer.status() == StatusCode::OK));
    let refused = ask().await.unwrap();
    assert_eq!((refused.status(), refused.headers()[header::RETRY_AFTER].to_str().unwrap()), (StatusCode::SERVICE_UNAVAILABLE, "30"));
    // What every page begins with.
    let page = tokio::time::timeout(std::time::Duration::from_secs(10), w.t.db.begin_anonymous()).await;
    page.expect("a page waits for the downloads").unwrap();
    // One that leaves makes room.
    drop(unread);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while ask().await.unwrap().status() != StatusCode::OK {
        assert!(std::time::Instant::now() < end, "downloads that were given up keep their turns");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn every_answer_carries_the_headers_and_each_its_own_nonce() {
    let w = World::new().await;
    let mut nonces = std::collections::BTreeSet::new();
    for path in ["/status", "/admin", "/nonsense"] {
        let (_, headers, _) = w.get(path, None).await;
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.contains("frame-ancestors 'none'") && headers[header::X_CONTENT_TYPE_OPTIONS] == "nosniff", "{path}");
        assert!(headers[header::REFERRER_POLICY] == "same-origin" && headers.contains_key("permissions-policy"));
        assert!(nonces.insert(policy), "a nonce came twice");
    }
    // A nonce that an outer layer minted for the page is the one in the policy.
    let mut request = Request::get("/status").body(Body::empty()).unwrap();
    request.extensions_mut().insert(super::Nonce("outer".into()));
    assert!(w.send(request).await.1[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("'nonce-outer'"));
    assert_eq!(w.get("/status", None).await.1[header::CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn strange_and_oversize_headers_do_no_harm() {
    let w = World::new().await;
    let heavy = "a".repeat(headers::HEAVIEST);
    let request = Request::get("/status").header("x-filler", heavy).body(Body::empty()).unwrap();
    let (status, headers, _) = w.send(request).await;
    assert!(status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE && headers.contains_key(header::CONTENT_SECURITY_POLICY));
    let many = format!("{}assay=x", "a=b; ".repeat(2000));
    for cookie in ["assay", "assay=", "=", ";;;", "assay='; DROP TABLE accounts; --", "assay=%00", &many] {
        let request = Request::get("/admin").header(header::COOKIE, cookie).body(Body::empty()).unwrap();
        assert_eq!(w.send(request).await.0, StatusCode::SEE_OTHER, "{cookie:.20}");
    }
    let bytes = Request::get("/admin")
        .header(header::COOKIE, axum::http::HeaderValue::from_bytes(b"assay=\xff\xfe").unwrap())
        .body(Body::empty())
        .unwrap();
    assert_eq!(w.send(bytes).await.0, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn without_the_database_nobody_is_sent_to_the_login_page() {
    let w = World::new().await;
    w.account("a@example.com", Role::Admin).await;
    let token = w.login("a@example.com", None).await;
    w.t.db.close().await;
    let (status, headers, body) = w.get("/admin", Some(&token)).await;
    assert!(status == StatusCode::SERVICE_UNAVAILABLE && headers.contains_key(header::RETRY_AFTER) && !body.contains(SECRET));
    assert_eq!(w.get("/status", Some(&token)).await.0, StatusCode::OK);
}
