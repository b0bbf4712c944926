//! The client against a stand-in of Terra, and the stand-in's parameters against Terra's published description.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where its expectation fails")]

use super::stand_in::{DEV_ID, KEY, Seen, Terra};
use super::*;
use crate::model::Model;
use axum::http::StatusCode;
use chrono::NaiveDate;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn session(reference_id: &str) -> WidgetSession {
    WidgetSession {
        reference_id: reference_id.into(),
        auth_success_redirect_url: Some("https://assay.example/clients".into()),
        ..WidgetSession::default()
    }
}

#[tokio::test]
async fn a_connect_link_is_made_for_a_person() {
    let terra = Terra::start().await;
    let link = terra.client().generate_widget_session(&session("me")).await.unwrap();
    assert_eq!(link, ConnectLink { url: "https://widget.tryterra.co/session/s".into(), expires_in: Some(900.0) });
    let refused = terra.client().generate_widget_session(&session("")).await.unwrap_err();
    assert_eq!(refused.to_string(), "Terra answered 400: reference_id is missing.");
    terra.answer_next(axum::Json(serde_json::json!({ "url": "javascript:alert(1)" })));
    assert!(matches!(terra.client().generate_widget_session(&session("me")).await, Err(TerraError::Unreadable(_))));
}

#[tokio::test]
async fn a_link_is_audited_without_itself_and_not_made_for_a_simulated_person() {
    use crate::store::{audit::Actor, testing::database};
    let (terra, t) = (Terra::start().await, database().await);
    sqlx::query("INSERT INTO persons (user_id, simulated) VALUES ('sim', true), ('me', false)").execute(t.db.owner()).await.unwrap();
    let (client, system) = (terra.client(), Actor::system());
    let ask = async |person: &str| super::connect_person(&t.db, &client, &system, person, Some("https://assay.example")).await;
    assert!(ask("me").await.unwrap().url.starts_with("https://"));
    assert!(ask("not here yet").await.is_ok());
    assert_eq!(terra.seen().len(), 2);
    assert!(ask("sim").await.unwrap_err().to_string().contains("simulated"));
    for bad in ["", "a\0b", &"x".repeat(513)] {
        assert!(matches!(ask(bad).await, Err(super::NotLinked::Person(_))), "{bad}");
    }
    terra.answer_next(StatusCode::BAD_GATEWAY);
    assert!(ask("me").await.unwrap_err().to_string().contains("502"));
    let entries: Vec<String> = sqlx::query_scalar("SELECT concat_ws(' ', action, subject, detail) FROM audit_log ORDER BY id")
        .fetch_all(t.db.owner())
        .await
        .unwrap();
    assert_eq!(entries, ["person.connect_link me {\"expires_in\": 900.0}", "person.connect_link not here yet {\"expires_in\": 900.0}"]);
}

#[tokio::test]
async fn data_are_asked_for_in_terras_words_and_sent_to_the_webhook() {
    let terra = Terra::start().await;
    terra.user("t1", Some("me"), true);
    let client = terra.client();
    client.request_data(Model::Sleep, "t1", day("2026-07-01"), day("2026-07-29")).await.unwrap();
    let query: BTreeMap<String, String> =
        [("user_id", "t1"), ("start_date", "2026-07-01"), ("end_date", "2026-07-29"), ("to_webhook", "true"), ("with_samples", "true")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
    assert_eq!(terra.seen(), [Seen { method: "GET".into(), path: "/sleep".into(), query }]);
    // Too many days are not even tried; nor is a gap that ends before it begins.
    for (from, until) in [("2026-07-01", "2026-07-30"), ("2026-07-01", "2026-07-01"), ("2026-07-02", "2026-07-01")] {
        assert_eq!(client.request_data(Model::Daily, "t1", day(from), day(until)).await, Err(TerraError::TooWide));
    }
    assert_eq!(terra.seen(), []);
    assert_eq!(client.request_data(Model::Daily, "t9", day("2026-07-01"), day("2026-07-02")).await, Err(TerraError::Unknown));
}

#[tokio::test]
async fn limits_are_kept_and_heard() {
    let terra = Terra::start().await;
    terra.user("t1", None, true);
    terra.user("t2", None, true);
    let client = terra.client();
    let ask = async |id: &str| client.request_data(Model::Daily, id, day("2026-07-01"), day("2026-07-29")).await;
    // 214 requests of 28 days are 5,992 days.
    for _ in 0..214 {
        ask("t1").await.unwrap();
    }
    assert_eq!(terra.seen().len(), 214);
    let Err(TerraError::Limited(wait)) = ask("t1").await else { panic!("the 6,001st day was asked for") };
    assert!(wait > Duration::from_secs(3500) && wait <= Duration::from_secs(3600), "{wait:?}");
    assert_eq!(terra.seen(), [], "Terra was not bothered");
    // What Terra says counts as well: other processes may have asked too.
    terra.answer_next((StatusCode::TOO_MANY_REQUESTS, [("x-terra-ratelimit-rule", "r2"), ("retry-after", "90")]));
    assert_eq!(ask("t2").await, Err(TerraError::Limited(Duration::from_secs(90))));
    assert!(matches!(ask("t2").await, Err(TerraError::Limited(_))));
    assert_eq!(terra.seen().len(), 1, "the second was not sent");
    terra.user("t3", None, true);
    terra.answer_next((StatusCode::TOO_MANY_REQUESTS, [("x-terra-ratelimit-rule", "r1")]));
    assert_eq!(ask("t3").await, Err(TerraError::TooWide));
    terra.answer_next(([("x-terra-ratelimit-remaining", "0"), ("x-terra-ratelimit-reset-after", "30")], "{}"));
    ask("t3").await.unwrap();
    let Err(TerraError::Limited(wait)) = ask("t3").await else { panic!("nothing remained") };
    assert!(wait <= Duration::from_secs(30));
}

#[tokio::test]
async fn failures_are_sentences_without_the_key() {
    let terra = Terra::start().await;
    for (key, dev_id) in [("wrong-key", DEV_ID), (KEY, "wrong-dev")] {
        let refused = Client::new(&terra.address, key, dev_id).unwrap().user_info("t1").await.unwrap_err();
        assert_eq!(
            (refused.may_pass(), refused.to_string().as_str()),
            (false, "Terra refuses our key (answer 401). Check TERRA_API_KEY and TERRA_DEV_ID.")
        );
    }
    let client = terra.client();
    terra.answer_next(StatusCode::BAD_GATEWAY);
    assert_eq!(client.user_info("t1").await, Err(TerraError::Faulty(502)));
    terra.answer_next("no JSON");
    assert!(matches!(client.user_info("t1").await, Err(TerraError::Unreadable(_))));
    terra.answer_next((StatusCode::FOUND, [("location", "http://elsewhere.example/")]));
    assert!(matches!(client.user_info("t1").await, Err(TerraError::Answered { status: 302, .. })), "the key follows no redirect");
    let nobody = Client::new("http://127.0.0.1:1/v2", "secret-key", "dev").unwrap();
    let away = nobody.user_info("t1").await.unwrap_err();
    assert!(away.may_pass() && away.to_string().starts_with("Terra cannot be reached"), "{away}");
    assert!(!format!("{nobody:?} {away}").contains("secret-key"));
    for (base, key) in [("terra", "k"), ("ftp://x/", "k"), ("https://x", "k\n")] {
        assert!(matches!(Client::new(base, key, "d"), Err(TerraError::Settings(_))), "{base}");
    }
}

#[tokio::test]
async fn users_are_listed_page_by_page_and_asked_for_one_by_one() {
    let terra = Terra::start().await;
    for (id, reference) in [("t1", Some("me")), ("t2", Some("me")), ("t3", None)] {
        terra.user(id, reference, true);
    }
    let client = terra.client();
    let first = client.subscriptions(0).await.unwrap();
    assert_eq!((first.users.len(), first.next), (2, Some(1)));
    let second = client.subscriptions(1).await.unwrap();
    assert_eq!((second.users.len(), second.next), (1, None));
    terra.shut_out("t2");
    assert!(client.user_info("t1").await.unwrap().unwrap().is_alive());
    assert!(!client.user_info("t2").await.unwrap().unwrap().is_alive());
    assert_eq!(client.user_info("t9").await.unwrap(), None);
    // The older forms.
    terra.answer_next(r#"{"users":[{"user_id":"a","provider":"OURA"}]}"#);
    assert_eq!(client.subscriptions(0).await.unwrap().next, None);
    assert!(client.deauthenticate("t1").await.unwrap());
    assert!(!client.deauthenticate("t1").await.unwrap());
    assert_eq!(terra.users(), ["t2", "t3"]);
}

#[tokio::test]
async fn a_refusal_to_end_a_connection_is_no_end_though_it_comes_with_200() {
    let terra = Terra::start().await;
    terra.user("t1", Some("me"), true);
    let client = terra.client();
    for (answer, sentence) in [
        (r#"{"status":"error","message":"The provider did not revoke it."}"#, "Terra answered 200: The provider did not revoke it."),
        (r#"{"status":"error"}"#, "Terra answered 200: it gave no reason."),
    ] {
        terra.answer_next(answer);
        assert_eq!(client.deauthenticate("t1").await.unwrap_err().to_string(), sentence);
    }
    for unreadable in ["", "<html>"] {
        terra.answer_next(unreadable);
        assert!(matches!(client.deauthenticate("t1").await, Err(TerraError::Unreadable(_))), "{unreadable}");
    }
    assert_eq!(terra.users(), ["t1"]);
    terra.answer_next("{}"); // the word is not required
    assert_eq!(client.deauthenticate("t1").await, Ok(true));
}

#[tokio::test]
async fn an_erasure_ends_the_connections_at_terra_first_and_no_refusal_there_stops_it() {
    use crate::store::{audit::Actor, testing::database};
    let (terra, t) = (Terra::start().await, database().await);
    sqlx::raw_sql(
        "INSERT INTO persons (user_id) VALUES ('anna'), ('ben'), ('cleo'), ('dora');
         INSERT INTO connections (terra_user_id, user_id, provider, state) VALUES
           ('a1', 'anna', 'garmin', 'active'), ('a2', 'anna', 'oura', 'error'), ('a3', 'anna', 'whoop', 'deauthorised'), ('a4', 'anna', 'polar', 'revoked'),
           ('b1', 'ben', 'garmin', 'active'), ('b2', 'ben', 'oura', 'active'), ('c1', 'cleo', 'garmin', 'active'), ('c2', 'cleo', 'oura', 'active'),
           ('d1', 'dora', 'garmin', 'active')",
    )
    .execute(t.db.owner())
    .await
    .unwrap();
    for id in ["a1", "a2", "a3", "b1", "b2", "c1", "c2"] {
        terra.user(id, None, true);
    }
    let left_of = async |person: &'static str| -> i64 {
        let sql = "SELECT (SELECT count(*) FROM persons WHERE user_id = $1) + (SELECT count(*) FROM connections WHERE user_id = $1)";
        sqlx::query_scalar(sql).bind(person).fetch_one(t.db.service()).await.unwrap()
    };
    // Somebody holds the person's row, so the erasure cannot end: by then Terra must have been asked.
    let mut holder = t.db.owner().begin().await.unwrap();
    sqlx::query("SELECT FROM persons WHERE user_id = 'anna' FOR UPDATE").execute(&mut *holder).await.unwrap();
    let (db, client) = (t.db.clone(), terra.client());
    let erasing = tokio::spawn(async move { erase_person(&db, Some(&client), &Actor::system(), "anna").await });
    let begin = std::time::Instant::now();
    while terra.users().iter().any(|id| ["a1", "a2"].contains(&id.as_str())) {
        assert!(begin.elapsed() < Duration::from_secs(10), "Terra was not asked before the erasure");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(left_of("anna").await, 5);
    holder.rollback().await.unwrap();
    let (left, report) = erasing.await.unwrap().unwrap();
    assert_eq!(left, Left { ended: 2, unknown: 1, failed: Vec::new() });
    assert_eq!((report.total() >= 5, left_of("anna").await), (true, 0));
    terra.seen();
    // A wrong key: asking for the others would fail alike. A fault: the others are asked for. Nobody there: as with a wrong key.
    let system = Actor::system();
    terra.answer_next(StatusCode::UNAUTHORIZED);
    let (left, _) = erase_person(&t.db, Some(&terra.client()), &system, "ben").await.unwrap();
    assert_eq!((left.ended, left.failed.len(), terra.seen().len()), (0, 1, 1));
    assert!(left.failed[0].contains("TERRA_API_KEY"), "{left:?}");
    terra.answer_next(StatusCode::BAD_GATEWAY);
    let (left, _) = erase_person(&t.db, Some(&terra.client()), &system, "cleo").await.unwrap();
    assert_eq!((left.ended, left.failed.len(), terra.seen().len()), (1, 1, 2));
    let nobody = Client::new("http://127.0.0.1:1/v2", KEY, DEV_ID).unwrap();
    let (left, _) = erase_person(&t.db, Some(&nobody), &system, "dora").await.unwrap();
    assert_eq!((left.ended, left.failed.len()), (0, 1));
    for person in ["ben", "cleo", "dora"] {
        assert_eq!(left_of(person).await, 0, "{person}");
    }
    assert_eq!(terra.users(), ["a3", "b1", "b2", "c1"]);
}

/// The `in: query` parameters of a path's method in Terra's description, which is written with fixed indents.
fn described(yaml: &str, path: &str, method: &str) -> Option<Vec<String>> {
    let block = |text: &str, head: &str, indent: usize| -> Option<String> {
        let inside = |line: &&str| line.trim().is_empty() || line.len() - line.trim_start().len() > indent;
        let start = text.lines().position(|line| line == format!("{}{head}:", " ".repeat(indent)))?;
        Some(text.lines().skip(start + 1).take_while(inside).collect::<Vec<_>>().join("\n"))
    };
    let method = block(&block(yaml, path, 2)?, method, 4)?;
    let lines: Vec<&str> = method.lines().map(str::trim).collect();
    let named = lines.iter().enumerate().filter_map(|(i, line)| Some((line.strip_prefix("- name: ")?, lines.get(i + 1..i + 3)?)));
    Some(named.filter(|(_, next)| next.contains(&"in: query")).map(|(name, _)| name.to_owned()).collect())
}

#[tokio::test]
async fn every_request_is_one_that_terra_describes() {
    let data =
        std::env::var_os("ASSAY_TEST_DATA").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let file = data.join("terra_official/terra_v2-bundled.openapi.yaml.gz");
    let Ok(packed) = std::fs::File::open(&file) else {
        println!("skipped: Terra's description is not there ({})", file.display());
        return;
    };
    let mut yaml = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut yaml).unwrap();
    let terra = Terra::start().await;
    terra.user("t1", Some("me"), true);
    let client = terra.client();
    client.generate_widget_session(&session("me")).await.unwrap();
    for model in [Model::Activity, Model::Body, Model::Daily, Model::Sleep, Model::Nutrition, Model::Menstruation, Model::Athlete] {
        client.request_data(model, "t1", day("2026-07-01"), day("2026-07-02")).await.unwrap();
    }
    client.user_info("t1").await.unwrap();
    client.subscriptions(0).await.unwrap();
    client.deauthenticate("t1").await.unwrap();
    let seen = terra.seen();
    assert_eq!(seen.len(), 11);
    for Seen { method, path, query } in seen {
        let known = described(&yaml, &path, &method.to_lowercase()).unwrap_or_else(|| panic!("Terra describes no {method} {path}"));
        for name in query.keys() {
            assert!(known.contains(name), "{method} {path} has no parameter {name}: {known:?}");
        }
    }
    let widget = yaml
        .split("    WidgetSessionParams:")
        .nth(1)
        .unwrap()
        .split("\n    ")
        .take_while(|line| line.starts_with(' ') || line.is_empty())
        .collect::<String>();
    for name in ["reference_id", "auth_success_redirect_url", "auth_failure_redirect_url", "providers", "language"] {
        assert!(widget.contains(&format!("{name}:")), "{name}");
    }
}
