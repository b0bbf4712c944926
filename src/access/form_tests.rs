//! The forms that hand secrets out or take them in, through the same middlewares as in the program.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot prepare must stop")]

use super::{session, totp, web_tests::World};
use crate::{
    model::Role,
    store::{Token, sessions},
};
use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};

async fn post(w: &World, path: &str, token: Option<&Token>, body: &str) -> (StatusCode, HeaderMap, String) {
    let mut request = Request::post(path)
        .header(header::HOST, "127.0.0.1:3000")
        .header(header::ORIGIN, "http://127.0.0.1:3000")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(token) = token {
        request = request.header(header::COOKIE, format!("{}={}", session::cookie_name(&w.access.site), token.expose()));
    }
    w.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

/// The text between two marks of a page.
fn between<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    page.split_once(from).unwrap().1.split_once(to).unwrap().0
}

#[tokio::test]
async fn an_administrator_invites_and_the_guest_sets_a_password() {
    let w = World::new().await;
    w.account("a@example.com", Role::Admin).await;
    let admin = w.login("a@example.com", None).await;
    let (status, _, page) = post(&w, "/admin/users/invite", Some(&admin), "email=new%40example.com&name=%3Cb%3EEve&role=trainer").await;
    assert_eq!(status, StatusCode::OK);
    let link = between(&page, "<code>http://127.0.0.1:3000", "</code>").to_owned();
    let (status, headers, page) = w.get(&link, None).await;
    assert!(status == StatusCode::OK && page.contains("new@example.com") && headers[header::CACHE_CONTROL] == "no-store");
    let (status, _, page) = post(&w, &link, None, "password=short").await;
    assert!(status == StatusCode::UNPROCESSABLE_ENTITY && page.contains("too short") && !page.contains("value=\"short"));
    assert_eq!(post(&w, &link, None, "password=correct+horse+battery").await.0, StatusCode::SEE_OTHER);
    assert_eq!(post(&w, &link, None, "password=correct+horse+battery").await.0, StatusCode::NOT_FOUND);
    assert_eq!(w.get(&link, None).await.0, StatusCode::NOT_FOUND);
    let guest = w.login("new@example.com", None).await;
    let (_, _, page) = w.get("/admin/users", Some(&admin)).await;
    assert!(page.contains("&lt;b&gt;Eve") && !page.contains("<b>Eve"));

    // Not for anybody else, by any method.
    assert_eq!(w.get("/admin/users", Some(&guest)).await.0, StatusCode::FORBIDDEN);
    for path in ["/admin/users/invite", &format!("/admin/users/{}/admin", uuid::Uuid::nil())] {
        assert_eq!(post(&w, path, Some(&guest), "email=x%40y&name=&role=admin").await.0, StatusCode::FORBIDDEN);
        assert_eq!(post(&w, path, None, "email=x%40y&name=&role=admin").await.0, StatusCode::SEE_OTHER);
        assert_eq!(w.get(path, Some(&admin)).await.0, StatusCode::METHOD_NOT_ALLOWED, "state never changes over GET");
    }
    // Deeds, and the last administrator.
    let id: uuid::Uuid =
        sqlx::query_scalar("SELECT id FROM accounts WHERE email = 'a@example.com'").fetch_one(w.t.db.service()).await.unwrap();
    let (status, _, page) = post(&w, &format!("/admin/users/{id}/disable"), Some(&admin), "").await;
    assert!(status == StatusCode::CONFLICT && page.contains("last administrator"));
    assert_eq!(post(&w, &format!("/admin/users/{id}/nonsense"), Some(&admin), "").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn everybody_keeps_their_own_account() {
    let w = World::new().await;
    w.account("t@example.com", Role::Trainer).await;
    let (old, here) = (w.login("t@example.com", None).await, w.login("t@example.com", None).await);
    sqlx::query("UPDATE login_sessions SET user_agent = '<script>alert(1)</script>'").execute(w.t.db.service()).await.unwrap();
    let (status, _, page) = w.get("/account", Some(&here)).await;
    assert!(status == StatusCode::OK && page.contains("&lt;script&gt;") && !page.contains("<script>"));
    let end = format!("/account/sessions/{}/end", between(&page, "/account/sessions/", "/end"));
    assert_eq!(post(&w, &end, Some(&here), "").await.0, StatusCode::SEE_OTHER);
    assert_eq!(w.get("/account", Some(&old)).await.0, StatusCode::SEE_OTHER);

    assert_eq!(
        post(&w, "/account/password", Some(&here), "present=wrong&fresh=another+good+password").await.0,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    let (status, headers, _) =
        post(&w, "/account/password", Some(&here), "present=correct+horse+battery&fresh=another+good+password").await;
    let fresh = between(headers[header::SET_COOKIE].to_str().unwrap(), "assay=", ";").to_owned();
    assert_eq!((status, w.get("/account", Some(&here)).await.0), (StatusCode::SEE_OTHER, StatusCode::SEE_OTHER));
    let fresh = Token::parse(&fresh).unwrap();

    let (_, _, page) = post(&w, "/account/keys", Some(&fresh), "name=grafana&scope=metrics%3Aread&days=30").await;
    let key = between(&page, "<code>", "</code>").to_owned();
    let (_, _, page) = w.get("/account", Some(&fresh)).await;
    assert!(key.starts_with("assay_") && page.contains("grafana") && !page.contains(&key), "shown once");
    let revoke = format!("/account/keys/{}/revoke", between(&page, "/account/keys/", "/revoke"));
    assert_eq!(post(&w, &revoke, Some(&fresh), "").await.0, StatusCode::SEE_OTHER);
    assert_eq!(post(&w, &revoke, Some(&fresh), "").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn where_a_second_factor_is_demanded_nothing_else_opens_before_it() {
    let w = World::new().await;
    w.account("a@example.com", Role::Admin).await;
    let token = w.login("a@example.com", None).await;
    sqlx::query("INSERT INTO settings (key, value) VALUES ($1, 'true')")
        .bind(sessions::SECOND_FACTOR_SETTING)
        .execute(w.t.db.service())
        .await
        .unwrap();
    for path in ["/admin", "/clients", "/"] {
        assert_eq!(w.get(path, Some(&token)).await.1[header::LOCATION], "/account", "{path}");
    }
    assert_eq!(post(&w, "/_fn/act", Some(&token), "").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(post(&w, "/account/keys", Some(&token), "name=k&scope=metrics%3Aread&days=30").await.0, StatusCode::UNAUTHORIZED);
    let (_, _, page) = w.get("/account", Some(&token)).await;
    let sealed = between(&page, "name=\"sealed\" value=\"", "\"").to_owned();
    let id: uuid::Uuid = sqlx::query_scalar("SELECT id FROM accounts").fetch_one(w.t.db.service()).await.unwrap();
    let secret = w.access.vault.as_ref().unwrap().open(id, &hex::decode(&sealed).unwrap()).unwrap();
    let code = totp::code(&secret, chrono::Utc::now().timestamp().div_euclid(30));
    assert_eq!(post(&w, "/account/second-factor", Some(&token), &format!("sealed={sealed}&code={code}")).await.0, StatusCode::SEE_OTHER);
    assert_eq!(w.get("/admin", Some(&token)).await.0, StatusCode::OK);
    assert_eq!(
        post(&w, "/account/second-factor/off", Some(&token), "present=wrong").await.0,
        StatusCode::UNPROCESSABLE_ENTITY,
        "a borrowed browser cannot turn it off"
    );
}
