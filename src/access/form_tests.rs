//! The forms that hand secrets out or take them in, through the same middlewares as in the program.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot prepare must stop")]

use super::{session, totp, web_tests::World};
use crate::{
    model::Role,
    store::{Token, accounts, sessions},
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
    let asks = format!("/admin/users/{}/admin", uuid::Uuid::nil());
    // State never changes over GET: where there is one, it only asks.
    for (path, get) in [("/admin/users/invite", StatusCode::METHOD_NOT_ALLOWED), (&asks, StatusCode::NOT_FOUND)] {
        assert_eq!(post(&w, path, Some(&guest), "email=x%40y&name=&role=admin").await.0, StatusCode::FORBIDDEN);
        assert_eq!(post(&w, path, None, "email=x%40y&name=&role=admin").await.0, StatusCode::SEE_OTHER);
        assert_eq!(w.get(path, Some(&admin)).await.0, get, "{path}");
    }
    // Deeds, and the last administrator.
    let id: uuid::Uuid =
        sqlx::query_scalar("SELECT id FROM accounts WHERE email = 'a@example.com'").fetch_one(w.t.db.service()).await.unwrap();
    let (status, _, page) = post(&w, &format!("/admin/users/{id}/disable"), Some(&admin), "").await;
    assert!(status == StatusCode::CONFLICT && page.contains("last administrator"));
    assert_eq!(post(&w, &format!("/admin/users/{id}/nonsense"), Some(&admin), "").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_refused_form_comes_back_as_it_was_sent_with_the_sentence_at_its_field() {
    let w = World::new().await;
    w.account("a@example.com", Role::Admin).await;
    let admin = w.login("a@example.com", None).await;
    let (status, _, page) = post(&w, "/admin/users/invite", Some(&admin), "email=nowhere&name=%3CEve%3E&role=admin").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.contains("<h1>Users</h1><div class=\"alert bad\" role=\"alert\" tabindex=\"-1\" autofocus>"), "{page}");
    assert!(page.contains("value=\"nowhere\"") && page.contains("value=\"&lt;Eve&gt;\"") && page.contains("value=\"admin\" selected"));
    assert_eq!(page.matches("aria-invalid=\"true\"").count(), 1);
    let (status, _, page) = post(&w, "/admin/users/invite", Some(&admin), "email=a%40example.com&name=Eve&role=trainer").await;
    assert!(status == StatusCode::CONFLICT && page.contains("already") && page.contains("value=\"a@example.com\""), "{page}");

    // The new password is named as the mistake, and neither is sent back.
    let (_, _, page) = post(&w, "/account/password", Some(&admin), "present=correct+horse+battery&fresh=hunter2").await;
    assert!(
        page.contains("<h1>Your account</h1>")
            && page.contains("name=\"fresh\" type=\"password\" autocomplete=\"new-password\" required id=")
    );
    assert!(!page.contains("hunter2") && !page.contains("correct horse"));
    let (status, _, page) = post(&w, "/account/keys", Some(&admin), "name=grafana&days=365").await;
    assert!(status == StatusCode::UNPROCESSABLE_ENTITY && page.contains("value=\"grafana\"") && page.contains("value=\"365\" selected"));

    // After a mistyped code it is still the secret that the app has.
    let (_, _, page) = w.get("/account", Some(&admin)).await;
    let sealed = between(&page, "name=\"sealed\" value=\"", "\"").to_owned();
    let secret = between(&page, "<code>", "</code>").to_owned();
    let (status, _, page) = post(&w, "/account/second-factor", Some(&admin), &format!("sealed={sealed}&code=12")).await;
    assert!(
        status == StatusCode::UNPROCESSABLE_ENTITY && page.contains(&secret) && page.contains(&sealed) && page.contains("value=\"12\"")
    );
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
    // It is asked first, and asking changes nothing.
    let (status, _, asked) = w.get(&revoke, Some(&fresh)).await;
    assert!(
        status == StatusCode::OK && asked.contains("A key does not come back") && asked.contains(&format!("action=\"{revoke}\"")),
        "{asked}"
    );
    assert_eq!(post(&w, &revoke, Some(&fresh), "").await.0, StatusCode::SEE_OTHER);
    assert_eq!(w.get(&revoke, Some(&fresh)).await.0, StatusCode::NOT_FOUND);
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

/// What the set-up that is shown just now would send, with the code that its app shows.
async fn set_up(w: &World, token: &Token, id: uuid::Uuid) -> String {
    let (_, _, page) = w.get("/account", Some(token)).await;
    let sealed = between(&page, "name=\"sealed\" value=\"", "\"");
    let secret = w.access.vault.as_ref().unwrap().open(id, &hex::decode(sealed).unwrap()).unwrap();
    format!("sealed={sealed}&code={}", totp::code(&secret, chrono::Utc::now().timestamp().div_euclid(30)))
}

#[tokio::test]
async fn a_set_up_shown_earlier_does_not_replace_a_second_factor_that_is_on() {
    let w = World::new().await;
    let id = w.account("a@example.com", Role::Admin).await;
    let admin = w.login("a@example.com", None).await;
    let secret = async || accounts::by_id(w.t.db.service(), id).await.unwrap().unwrap().totp_secret;
    let (first, second) = (set_up(&w, &admin, id).await, set_up(&w, &admin, id).await);
    assert_eq!(post(&w, "/account/second-factor", Some(&admin), &first).await.0, StatusCode::SEE_OTHER);
    let kept = secret().await;
    let (status, _, page) = post(&w, "/account/second-factor", Some(&admin), &second).await;
    assert!(status == StatusCode::CONFLICT && page.contains("A second factor is on already") && page.contains("Turn off"), "{page}");
    assert!(kept.is_some() && secret().await == kept);
}

#[tokio::test]
async fn a_change_of_the_second_factor_ends_the_sessions_that_began_before_it() {
    let w = World::new().await;
    w.account("a@example.com", Role::Admin).await;
    let t = w.account("t@example.com", Role::Trainer).await;
    let admin = w.login("a@example.com", None).await;
    let (one, two, here) =
        (w.login("t@example.com", None).await, w.login("t@example.com", None).await, w.login("t@example.com", None).await);
    let lives = async |token: &Token| w.get("/account", Some(token)).await.0 == StatusCode::OK;
    let noted = async || audit_entry(&w, "account.second_factor").await.unwrap()["detail"].clone();
    // Turned on: the one that did it stays.
    let form = set_up(&w, &here, t).await;
    assert_eq!(post(&w, "/account/second-factor", Some(&here), &form).await.0, StatusCode::SEE_OTHER);
    assert!(!lives(&one).await && !lives(&two).await && lives(&here).await);
    assert_eq!(noted().await, serde_json::json!({ "after": true, "sessions_ended": 2 }));
    // Turned off by its owner: the same.
    let other = session::begin(w.t.db.service(), t, None, None).await.unwrap();
    assert!(lives(&other).await);
    assert_eq!(post(&w, "/account/second-factor/off", Some(&here), "present=correct+horse+battery").await.0, StatusCode::SEE_OTHER);
    assert!(!lives(&other).await && lives(&here).await);
    assert_eq!(noted().await, serde_json::json!({ "after": false, "sessions_ended": 1 }));
    // Where there is none, an administrator turns nothing off and signs nobody out.
    let off = format!("/admin/users/{t}/second-factor-off");
    assert_eq!(post(&w, &off, Some(&admin), "").await.0, StatusCode::NOT_FOUND);
    assert!(lives(&here).await);
    // Turned off by an administrator: all of that account's end.
    let form = set_up(&w, &here, t).await;
    assert_eq!(post(&w, "/account/second-factor", Some(&here), &form).await.0, StatusCode::SEE_OTHER);
    let other = session::begin(w.t.db.service(), t, None, None).await.unwrap();
    assert_eq!(post(&w, &off, Some(&admin), "").await.0, StatusCode::SEE_OTHER);
    assert!(!lives(&other).await && !lives(&here).await && lives(&admin).await);
    assert_eq!(noted().await, serde_json::json!({ "after": false, "sessions_ended": 2 }));
}

#[tokio::test]
async fn an_administrators_own_password_and_second_factor_are_out_of_reach_without_the_password() {
    let w = World::new().await;
    let a = w.account("a@example.com", Role::Admin).await;
    let b = w.account("b@example.com", Role::Admin).await;
    let admin = w.login("a@example.com", None).await;
    let form = set_up(&w, &admin, a).await;
    assert_eq!(post(&w, "/account/second-factor", Some(&admin), &form).await.0, StatusCode::SEE_OTHER);
    let (_, _, page) = w.get("/admin/users", Some(&admin)).await;
    for word in ["link", "second-factor-off"] {
        let (own, other) = (format!("/admin/users/{a}/{word}"), format!("/admin/users/{b}/{word}"));
        assert!(!page.contains(&own) && page.contains(&other), "{word}: {page}");
        let (status, _, refused) = post(&w, &own, Some(&admin), "").await;
        assert!(
            status == StatusCode::CONFLICT && refused.contains("your account page") && refused.contains("href=\"/account\""),
            "{refused}"
        );
    }
    assert!(page.contains("<a href=\"/account\">Password and second factor</a>"), "{page}");
    assert!(accounts::by_id(w.t.db.service(), a).await.unwrap().unwrap().totp_secret.is_some());
    let links: i64 = sqlx::query_scalar("SELECT count(*) FROM invitations").fetch_one(w.t.db.service()).await.unwrap();
    assert_eq!(links, 0);
    // The other's, as before.
    assert_eq!(post(&w, &format!("/admin/users/{b}/link"), Some(&admin), "").await.0, StatusCode::OK);
}

#[tokio::test]
async fn what_cannot_simply_be_taken_back_is_asked_first_and_what_was_done_is_said() {
    let w = World::new().await;
    w.account("a@example.com", Role::Admin).await;
    let t = w.account("t@example.com", Role::Trainer).await;
    let admin = w.login("a@example.com", None).await;
    let trainer = w.login("t@example.com", None).await;
    let (_, _, page) = w.get("/admin/users", Some(&admin)).await;
    for (deed, question) in
        [("admin", "Make t@example.com an administrator?"), ("second-factor-off", "Turn the second factor of t@example.com off?")]
    {
        let path = format!("/admin/users/{t}/{deed}");
        assert!(page.contains(&format!("<a href=\"{path}\">")) && !page.contains(&format!("action=\"{path}\"")), "{deed}: {page}");
        let (status, _, asked) = w.get(&path, Some(&admin)).await;
        assert!(status == StatusCode::OK && asked.contains(question) && asked.contains(&format!("action=\"{path}\"")), "{asked}");
        assert_eq!(w.get(&path, Some(&trainer)).await.0, StatusCode::FORBIDDEN);
    }
    assert_eq!(w.get(&format!("/admin/users/{t}/sign-out"), Some(&admin)).await.0, StatusCode::NOT_FOUND, "nothing is asked there");
    assert_eq!(accounts::by_id(w.t.db.service(), t).await.unwrap().unwrap().role, Role::Trainer, "asking changes nothing");
    // Each deed leads back to a page that says what was done.
    for (path, body, sentence) in [
        (format!("/admin/users/{t}/disable"), "", "The account was shut out."),
        (format!("/admin/users/{t}/enable"), "", "The account may log in again."),
        (format!("/admin/users/{t}/admin"), "", "The account is an administrator’s now."),
        ("/account/password".to_owned(), "present=correct+horse+battery&fresh=another+good+password", "Your password was changed."),
    ] {
        let (status, headers, _) = post(&w, &path, Some(&admin), body).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{path}");
        let fresh = headers.get(header::SET_COOKIE).map(|c| Token::parse(between(c.to_str().unwrap(), "assay=", ";")).unwrap());
        let back = headers[header::LOCATION].to_str().unwrap();
        let (_, _, page) = w.get(back, Some(fresh.as_ref().unwrap_or(&admin))).await;
        assert!(page.contains(&format!("role=\"status\"><strong>{sentence}")), "{back}: {page}");
    }
}

async fn audit_entry(w: &World, action: &str) -> Option<serde_json::Value> {
    sqlx::query_scalar("SELECT to_jsonb(a) FROM audit_log a WHERE action = $1 ORDER BY at DESC LIMIT 1")
        .bind(action)
        .fetch_optional(w.t.db.service())
        .await
        .unwrap()
}

#[tokio::test]
async fn how_long_things_are_kept_is_changed_with_before_and_after() {
    let w = World::new().await;
    w.account("a@example.com", Role::Admin).await;
    let admin = w.login("a@example.com", None).await;
    let path = "/admin/settings/retention";
    let (status, _, page) = w.get(path, Some(&admin)).await;
    assert!(status == StatusCode::OK && page.contains("name=\"log_days\" type=\"number\" value=\"14\""), "{page}");
    let all = "raw_days=&key_days=&history_days=7&log_days=3&letter_days=90&figure_days=400&audit_days=365";
    assert_eq!(post(&w, path, Some(&admin), all).await.0, StatusCode::SEE_OTHER);
    let kept = crate::store::retention::read(w.t.db.service()).await.unwrap();
    assert_eq!((kept.history_days, kept.log_days, kept.raw_days, kept.audit_days), (7, 3, None, Some(365)));
    let entry = audit_entry(&w, "settings.change").await.unwrap();
    assert_eq!((&entry["detail"]["before"]["log_days"], &entry["detail"]["after"]["log_days"]), (&14.into(), &3.into()));
    // What cannot be is said, and what was typed stays in its field.
    for (bad, sentence) in [
        ("history_days=14&log_days=14&raw_days=400&key_days=30", "Keys must be kept"),
        ("history_days=14&log_days=soon", "a number of days"),
        ("log_days=14", "Finished jobs: between"),
    ] {
        let (status, _, page) = post(&w, path, Some(&admin), &format!("{bad}&letter_days=90&figure_days=400")).await;
        assert!(status == StatusCode::UNPROCESSABLE_ENTITY && page.contains(sentence), "{bad}: {page}");
    }
    assert_eq!(crate::store::retention::read(w.t.db.service()).await.unwrap(), kept);
}

#[tokio::test]
async fn the_audit_log_is_searched_paged_and_taken_away() {
    let w = World::new().await;
    w.account("a@example.com", Role::Admin).await;
    let admin = w.login("a@example.com", None).await;
    sqlx::query(
        "INSERT INTO audit_log (at, actor, action, subject, detail) SELECT now() - n * interval '1 day', 'berta@example.com', 'jobs.retry', 'job-' || n, '{\"x\": \"<b>\"}' FROM generate_series(1, 150) n",
    )
    .execute(w.t.db.service())
    .await
    .unwrap();
    let (status, _, page) = w.get("/admin/audit", Some(&admin)).await;
    assert!(status == StatusCode::OK && page.contains("<caption") && page.contains("&lt;b&gt;") && !page.contains("<b>"), "{page}");
    assert_eq!(page.matches("<th scope=\"row\">").count(), 100);
    let older = between(&page, "href=\"/admin/audit?before=", "\"").to_owned();
    let (_, _, page) = w.get(&format!("/admin/audit?before={older}"), Some(&admin)).await;
    assert!(page.matches("<th scope=\"row\">").count() < 100 && page.contains("job-150") && !page.contains("Older entries"));
    let (_, _, page) = w.get("/admin/audit?text=job-77&action=jobs.", Some(&admin)).await;
    assert!(
        page.contains("job-77") && !page.contains("job-78") && page.contains("/admin/audit.csv?text=job-77&amp;action=jobs."),
        "{page}"
    );
    let day = (chrono::Utc::now() - chrono::Duration::days(40)).format("%F").to_string();
    let (_, _, page) = w.get(&format!("/admin/audit?from={day}&until={day}"), Some(&admin)).await;
    assert_eq!(page.matches("<th scope=\"row\">").count(), 1, "{page}");
    let (_, _, page) = w.get("/admin/audit?text=nothing-like-that", Some(&admin)).await;
    assert!(page.contains("No entry matches") && page.contains("Show all entries"));
    let (status, headers, file) = w.get("/admin/audit.csv?text=job-77", Some(&admin)).await;
    assert!(
        status == StatusCode::OK
            && file.lines().count() == 2
            && headers[header::CONTENT_DISPOSITION] == "attachment; filename=\"audit.csv\""
    );
    assert!(audit_entry(&w, "audit.export").await.is_some());
}

#[tokio::test]
async fn a_person_gets_and_loses_trainers_a_name_and_at_last_everything() {
    let w = World::new().await;
    w.account("a@example.com", Role::Admin).await;
    w.account("t@example.com", Role::Trainer).await;
    let (admin, trainer) = (w.login("a@example.com", None).await, w.login("t@example.com", None).await);
    sqlx::raw_sql(
        "INSERT INTO persons (user_id) VALUES ('er/ika & <co>'), ('a@b.ch');
         INSERT INTO terra_webhooks_raw (id, trace_id, type, user_id, ordering_ms, body) VALUES (app.uuid_v7(), 't', 'daily', 'er/ika & <co>', 1, '{}')",
    )
    .execute(w.t.db.owner())
    .await
    .unwrap();
    let path = "/admin/people/er%2Fika%20%26%20%3Cco%3E";
    let (status, _, page) = w.get(path, Some(&admin)).await;
    assert!(
        status == StatusCode::OK && page.contains("removes at least 3 rows of er/ika &amp; &lt;co&gt;") && !page.contains("<co>"),
        "{page}"
    );
    let warns = |page: &str| page.contains("looks like an e-mail address");
    assert!(!warns(&page) && warns(&w.get("/admin/people/a%40b.ch", Some(&admin)).await.2));
    assert_eq!(w.get("/admin/people/nobody", Some(&admin)).await.0, StatusCode::NOT_FOUND);
    assert_eq!(w.get("/admin/people/%00", Some(&admin)).await.0, StatusCode::NOT_FOUND);
    let id: uuid::Uuid =
        sqlx::query_scalar("SELECT id FROM accounts WHERE email = 't@example.com'").fetch_one(w.t.db.service()).await.unwrap();
    let export = "/clients/er%2Fika%20%26%20%3Cco%3E/export.json";
    assert_eq!(w.get(export, Some(&trainer)).await.0, StatusCode::NOT_FOUND);
    assert_eq!(post(&w, &format!("{path}/trainers"), Some(&admin), &format!("trainer={id}")).await.0, StatusCode::SEE_OTHER);
    assert_eq!(w.get(export, Some(&trainer)).await.0, StatusCode::OK);
    assert!(w.get(path, Some(&admin)).await.2.contains(&format!("/trainers/{id}/remove")));
    assert_eq!(post(&w, &format!("{path}/label"), Some(&admin), "label=Erika+M.").await.0, StatusCode::SEE_OTHER);
    let (_, _, page) = w.get(path, Some(&admin)).await;
    assert!(page.contains("<h1>Erika M.</h1>") && page.contains("<title>Person · Assay</title>"), "the window's title names nobody");
    assert_eq!(post(&w, &format!("{path}/trainers/{id}/remove"), Some(&admin), "").await.0, StatusCode::SEE_OTHER);
    assert_eq!(w.get(export, Some(&trainer)).await.0, StatusCode::NOT_FOUND);
    for action in ["client.assign", "client.unassign", "person.label", "person.export"] {
        assert!(audit_entry(&w, action).await.is_some(), "{action}");
    }

    let (status, _, page) = post(&w, &format!("{path}/erase"), Some(&admin), "confirm=Erika+M.").await;
    assert!(status == StatusCode::UNPROCESSABLE_ENTITY && page.contains("nothing was erased") && page.contains("value=\"Erika M.\""));
    let (status, _, page) = post(&w, &format!("{path}/erase"), Some(&admin), "confirm=er%2Fika+%26+%3Cco%3E").await;
    assert!(status == StatusCode::OK && page.contains("3 rows are gone") && page.contains("terra_webhooks_raw"), "{page}");
    assert_eq!(w.get(path, Some(&admin)).await.0, StatusCode::NOT_FOUND);
    assert_eq!(post(&w, &format!("{path}/erase"), Some(&admin), "confirm=er%2Fika+%26+%3Cco%3E").await.0, StatusCode::NOT_FOUND);
    assert_eq!(audit_entry(&w, "person.erase").await.unwrap()["subject"], serde_json::Value::Null);
}

#[tokio::test]
async fn sessions_are_ended_from_here_and_by_an_administrator() {
    let w = World::new().await;
    w.account("a@example.com", Role::Admin).await;
    let t = w.account("t@example.com", Role::Trainer).await;
    let admin = w.login("a@example.com", None).await;
    let (one, two, here) =
        (w.login("t@example.com", None).await, w.login("t@example.com", None).await, w.login("t@example.com", None).await);
    assert_eq!(post(&w, "/account/sessions/end-others", Some(&here), "").await.0, StatusCode::SEE_OTHER);
    for (token, status) in [(&one, StatusCode::SEE_OTHER), (&two, StatusCode::SEE_OTHER), (&here, StatusCode::OK)] {
        assert_eq!(w.get("/account", Some(token)).await.0, status);
    }
    assert_eq!(post(&w, &format!("/admin/users/{t}/sign-out"), Some(&admin), "").await.0, StatusCode::SEE_OTHER);
    assert_eq!(w.get("/account", Some(&here)).await.0, StatusCode::SEE_OTHER);
    assert_eq!(audit_entry(&w, "account.sessions_ended").await.unwrap()["detail"]["sessions_ended"], 1);
    // A demanded second factor holds whoever has none, the one who demands it too.
    assert_eq!(post(&w, "/admin/users/second-factor", Some(&admin), "demand=on").await.0, StatusCode::SEE_OTHER);
    assert_eq!(w.get("/admin/users", Some(&admin)).await.1[header::LOCATION], "/account");
    assert_eq!(audit_entry(&w, "settings.change").await.unwrap()["detail"], serde_json::json!({ "before": false, "after": true }));
}

#[tokio::test]
async fn the_daily_retention_removes_ended_sessions_old_links_and_old_audit_entries() {
    let w = World::new().await;
    let id = w.account("a@example.com", Role::Admin).await;
    let live = w.login("a@example.com", None).await;
    for (seed, idle, absolute) in [(1, -1, 3600), (2, 3600, -1)] {
        sessions::add(w.t.db.service(), &Token::from_bytes([seed; 32]), id, idle, absolute, None, None).await.unwrap();
    }
    sqlx::query("INSERT INTO invitations (token_hash, account_id, expires_at) VALUES (sha256('a'), $1, now() - interval '40 days'), (sha256('b'), $1, now())")
        .bind(id)
        .execute(w.t.db.service())
        .await
        .unwrap();
    sqlx::raw_sql(
        "INSERT INTO audit_log (actor, action, at) VALUES ('x', 'old', now() - interval '400 days'), ('x', 'young', now() - interval '10 days');
         INSERT INTO settings (key, value) VALUES ('retention', '{\"audit_days\": 365}')",
    )
    .execute(w.t.db.owner())
    .await
    .unwrap();
    let removed: std::collections::BTreeMap<_, _> =
        crate::store::maintenance::retention(w.t.db.owner()).await.unwrap().into_iter().collect();
    assert_eq!((removed["login_sessions"], removed["invitations"], removed["audit_log"]), (2, 1, 1));
    assert!(
        audit_entry(&w, "old").await.is_none()
            && audit_entry(&w, "young").await.is_some()
            && audit_entry(&w, "audit.forget").await.is_some()
    );
    assert_eq!(w.get("/admin", Some(&live)).await.0, StatusCode::OK);
}
