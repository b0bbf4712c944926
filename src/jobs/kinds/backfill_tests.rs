//! Backfills against a stand-in of Terra, through the worker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where its expectation fails")]

use super::super::rig::{Rig, user};
use super::*;
use crate::jobs::kinds;
use crate::outbound::stand_in::Terra;
use axum::http::StatusCode;
use std::collections::BTreeMap;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn gap(from: &str, to: &str, models: &[&str]) -> Gap {
    Gap {
        terra_user_id: "t1".into(),
        from: day(from),
        to: day(to),
        models: models.iter().map(|m| (*m).to_owned()).collect(),
        user_id: None,
    }
}

#[test]
fn a_gap_becomes_requests_that_cover_each_day_once() {
    for (from, to, n) in [
        ("2026-07-01", "2026-07-01", 1),
        ("2026-07-01", "2026-07-28", 1),
        ("2026-07-01", "2026-07-29", 2),
        ("2024-01-01", "2025-12-31", 27),
    ] {
        let gap = gap(from, to, &["daily"]);
        let requests = gap.requests();
        assert_eq!(requests.len(), n, "{from} {to}");
        let days: Vec<NaiveDate> = requests.iter().rev().flat_map(|r| r.from.iter_days().take_while(|d| *d <= r.to)).collect();
        assert_eq!(days, day(from).iter_days().take_while(|d| *d <= day(to)).collect::<Vec<_>>());
        assert!(requests.iter().all(|r| (r.to - r.from).num_days() < i64::from(MAX_DAYS)));
        // A request is its own only request: it is not split again.
        assert!(requests.iter().all(|r| r.requests() == [r.clone()]));
    }
    assert_eq!(gap("2026-07-01", "2026-07-01", &[]).requests().len(), MODELS.len());
    for (bad, says) in [
        (gap("2026-07-02", "2026-07-01", &[]), "ends before"),
        (gap("2000-01-01", "2026-07-01", &[]), "longer than"),
        (gap("2026-07-01", "2026-07-01", &["auth"]), "no model"),
    ] {
        assert!(bad.problem().unwrap().contains(says), "{bad:?}");
    }
}

#[tokio::test]
async fn a_gap_is_asked_for_once_and_limits_only_put_off() {
    let terra = Terra::start().await;
    terra.user("t1", Some("me"), true);
    let mut rig = Rig::new(kinds::with_terra(Some(terra.client()))).await;
    rig.deliver("auth", 1, &json!({ "type": "auth", "status": "success", "user": user("t1", Some("me")) })).await;
    rig.quiet(false).await;
    let start = async |from: &str, to: &str| start_for_person(&rig.t.db, &Actor::system(), "me", day(from), day(to), &[]).await;
    assert!(matches!(start("2026-07-02", "2026-07-01").await, Err(NotAsked::Gap(_))));
    // The first answer is a limit: that request waits, the others do not.
    terra.answer_next((StatusCode::TOO_MANY_REQUESTS, [("x-terra-ratelimit-rule", "r2"), ("retry-after", "600")]));
    assert_eq!(start("2026-05-01", "2026-06-29").await.unwrap(), 1);
    rig.quiet(false).await;
    let waits = rig.texts("SELECT concat_ws(' ', status, attempts, scheduled_at > now() + interval '9 minutes', user_id) FROM background_jobs WHERE type = 'backfill'").await;
    assert_eq!(waits, vec!["pending 0 t me"; 15], "all of this connection wait for its limit");
    assert_eq!(terra.seen().len(), 1, "and Terra is not asked again before");
    assert_eq!(
        rig.texts("SELECT concat_ws(' ', action, subject, detail ->> 'from', detail ->> 'to') FROM audit_log").await,
        ["backfill.start me 2026-05-01 2026-06-29"]
    );

    // With a new allowance (a new client) each request is made once.
    rig.stop().await;
    rig.work(kinds::with_terra(Some(terra.client())));
    terra.answer_next(StatusCode::BAD_GATEWAY);
    rig.quiet(true).await;
    assert_eq!(rig.number("SELECT count(*) FROM background_jobs").await, 0);
    let mut asked: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let seen = terra.seen();
    for request in &seen {
        asked.entry(request.path.clone()).or_default().push((request.query["start_date"].clone(), request.query["end_date"].clone()));
        assert_eq!((request.query["to_webhook"].as_str(), request.query["user_id"].as_str()), ("true", "t1"));
    }
    assert_eq!(seen.len(), 16, "15 and the one that met a fault");
    assert_eq!(asked.len(), 5);
    for (path, windows) in &mut asked {
        windows.sort();
        windows.dedup();
        let expected = [("2026-05-01", "2026-05-05"), ("2026-05-05", "2026-06-02"), ("2026-06-02", "2026-06-30")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(*windows, expected, "{path}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_asked_for_dies_with_a_reason() {
    let terra = Terra::start().await;
    let mut rig = Rig::idle().await;
    let put =
        async |gap: Gap| enqueue(&mut rig.t.db.service().acquire().await.unwrap(), vec![job::<Backfill>(&gap).unwrap()]).await.unwrap();
    put(gap("2026-07-01", "2026-07-01", &["daily"])).await;
    put(gap("2026-07-02", "2026-07-01", &["daily"])).await;
    rig.work(kinds::with_terra(Some(terra.client())));
    rig.quiet(false).await;
    let dead = "SELECT error FROM background_jobs_dlq ORDER BY error";
    assert_eq!(
        rig.texts(dead).await,
        ["Terra does not know this connection.", "The gap begins on 2026-07-02 and ends before that, on 2026-07-01."]
    );
    rig.stop().await;
    rig.run("DELETE FROM background_jobs_dlq").await;
    let put =
        async |gap: Gap| enqueue(&mut rig.t.db.service().acquire().await.unwrap(), vec![job::<Backfill>(&gap).unwrap()]).await.unwrap();
    put(gap("2026-07-01", "2026-07-01", &["daily"])).await;
    rig.work(kinds::all());
    rig.quiet(false).await;
    assert_eq!(rig.texts(dead).await, ["Terra's REST side is not configured. Set TERRA_API_KEY and TERRA_DEV_ID, then retry."]);
    rig.stop().await;
}

#[tokio::test]
async fn a_persons_gap_is_asked_of_each_connection_that_gives_data() {
    let terra = Terra::start().await;
    let mut rig = Rig::new(kinds::with_terra(Some(terra.client()))).await;
    for (id, kind, at) in [("t1", "auth", 1), ("t2", "auth", 2), ("t3", "auth", 3), ("t3", "deauth", 4)] {
        terra.user(id, Some("me"), true);
        rig.deliver(&format!("{kind}-{id}"), at, &json!({ "type": kind, "status": "success", "user": user(id, Some("me")) })).await;
    }
    rig.quiet(true).await;
    let start = async |person: &str| {
        start_for_person(&rig.t.db, &Actor::system(), person, day("2026-07-01"), day("2026-07-03"), &[Model::Sleep]).await
    };
    assert_eq!(start("me").await.unwrap(), 2);
    assert!(start("you").await.unwrap_err().to_string().contains("no active connection"));
    rig.quiet(true).await;
    let asked: Vec<(String, String)> = terra.seen().into_iter().map(|seen| (seen.path, seen.query["user_id"].clone())).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked.contains(&("/sleep".into(), "t1".into())) && asked.contains(&("/sleep".into(), "t2".into())), "{asked:?}");
    assert_eq!(
        rig.texts("SELECT concat_ws(' ', action, subject, detail -> 'connections') FROM audit_log").await,
        ["backfill.start me [\"t1\", \"t2\"]"]
    );
    rig.stop().await;
}
