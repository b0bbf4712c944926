//! The comparison with a stand-in of Terra, through the worker; and leaving Terra before an erasure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where its expectation fails")]

use super::super::rig::{Rig, daily, user};
use super::*;
use crate::jobs::{job, kinds};
use crate::outbound::stand_in::Terra;
use crate::outbound::{Left, deauthenticate_person};
use crate::store::jobs::enqueue;
use axum::http::StatusCode;

async fn reconcile(rig: &Rig) {
    enqueue(&mut rig.t.db.service().acquire().await.unwrap(), vec![job::<Reconcile>(&Nothing {}).unwrap()]).await.unwrap();
    rig.quiet(true).await;
}

async fn auth(rig: &Rig, id: &str, person: &str, kind: &str, ordering_ms: i64) {
    let body = serde_json::json!({ "type": kind, "status": "success", "user": user(id, Some(person)) });
    rig.deliver(&format!("{kind}-{id}"), ordering_ms, &body).await;
}

const STATES: &str = "SELECT concat_ws(' ', terra_user_id, state, user_id, reason) FROM connections ORDER BY terra_user_id";
const RESULT: &str = "SELECT result::text FROM job_history WHERE type = 'reconcile' ORDER BY completed_at DESC LIMIT 1";

#[tokio::test]
async fn missed_events_are_made_up_for() {
    let terra = Terra::start().await;
    let mut rig = Rig::new(kinds::with_terra(Some(terra.client()))).await;
    for id in ["a-same", "b-gone", "c-back", "d-idle", "e-shut", "f-error", "g-fresh", "h-sim", "i-ended"] {
        auth(&rig, id, &format!("p-{id}"), "auth", 1_000).await;
    }
    auth(&rig, "c-back", "p-c-back", "access_revoked", 2_000).await;
    auth(&rig, "f-error", "p-f-error", "connection_error", 2_000).await;
    auth(&rig, "i-ended", "p-i-ended", "deauth", 2_000).await;
    // An event of this very moment is newer than any comparison.
    auth(&rig, "g-fresh", "p-g-fresh", "user_reauth", Utc::now().timestamp_millis()).await;
    // Data came, the authorisation never did.
    rig.deliver("parked", 3_000, &daily("j-new", None, "2026-07-01".parse().unwrap(), 1234)).await;
    rig.quiet(true).await;
    rig.run("UPDATE persons SET simulated = true WHERE user_id = 'p-h-sim'").await;
    for (id, active) in [("a-same", true), ("c-back", true), ("d-idle", false), ("e-shut", false), ("f-error", true)] {
        terra.user(id, Some(&format!("p-{id}")), active);
    }
    terra.shut_out("e-shut");
    terra.user("j-new", Some("late"), true);
    terra.user("k-never-seen", Some("other"), true);
    terra.user("l-nobody", None, true);

    reconcile(&rig).await;
    let expected = [
        "a-same active p-a-same",
        "b-gone deauthorised p-b-gone Terra does not know this connection any more.",
        "c-back active p-c-back",
        "d-idle error p-d-idle Terra gets no data for this connection.",
        "e-shut error p-e-shut Terra gets no data for this connection.",
        "f-error active p-f-error",
        "g-fresh reauthorised p-g-fresh",
        "h-sim active p-h-sim",
        "i-ended deauthorised p-i-ended",
        "j-new active late",
        "k-never-seen active other",
    ];
    assert_eq!(rig.texts(STATES).await, expected);
    assert_eq!(
        rig.number("SELECT value::bigint FROM unified_metrics WHERE user_id = 'late' AND metric_name = 'steps'").await,
        1234,
        "its parked data woke"
    );
    let result: serde_json::Value = serde_json::from_str(&rig.texts(RESULT).await[0]).unwrap();
    assert_eq!((result["changed"].as_i64(), result["at_terra"].as_i64()), (Some(7), Some(8)));
    // Again: nothing differs but what is newer, and of that Terra is asked.
    let before = rig.texts("SELECT concat_ws(' ', xmin, to_jsonb(c)) FROM connections c ORDER BY id").await;
    reconcile(&rig).await;
    assert_eq!(rig.texts("SELECT concat_ws(' ', xmin, to_jsonb(c)) FROM connections c ORDER BY id").await, before);
    // An older event that arrives late does not undo what Terra said; a newer one counts.
    auth(&rig, "b-gone", "p-b-gone", "permission_change", 5_000).await;
    auth(&rig, "d-idle", "p-d-idle", "permission_change", Utc::now().timestamp_millis()).await;
    rig.quiet(true).await;
    let states = rig.texts(STATES).await;
    assert!(states[1].starts_with("b-gone deauthorised") && states[3].starts_with("d-idle active"), "{states:?}");
    rig.stop().await;
}

#[tokio::test]
async fn a_terra_that_is_away_or_refuses_changes_nothing() {
    let terra = Terra::start().await;
    let mut rig = Rig::new(kinds::with_terra(Some(terra.client()))).await;
    auth(&rig, "a", "p", "auth", 1_000).await;
    rig.quiet(true).await;
    for _ in 0..3 {
        terra.answer_next(StatusCode::NOT_FOUND); // as from a wrong TERRA_API_URL
        reconcile(&rig).await;
        terra.answer_next(StatusCode::UNAUTHORIZED);
        reconcile(&rig).await;
    }
    assert_eq!(rig.texts(STATES).await, ["a active p"]);
    // A fault in the middle: it is tried again, and then comes to its end.
    terra.answer_next(StatusCode::SERVICE_UNAVAILABLE);
    reconcile(&rig).await;
    assert!(rig.texts(STATES).await[0].starts_with("a deauthorised"));
    rig.stop().await;
    rig.work(kinds::all());
    reconcile(&rig).await;
    assert!(rig.texts(RESULT).await[0].contains("not configured"));
    rig.stop().await;
}

/// How often Terra was asked about each of these since the last time.
fn asked(terra: &Terra, ids: &[&str]) -> Vec<usize> {
    let seen = terra.seen();
    let about = |id: &str| seen.iter().filter(|s| s.path == "/userInfo" && s.query.get("user_id").is_some_and(|of| of == id)).count();
    ids.iter().copied().map(about).collect()
}

#[tokio::test]
async fn a_connection_that_terra_cannot_answer_for_keeps_none_behind_it() {
    let terra = Terra::start().await;
    let mut rig = Rig::new(kinds::with_terra(Some(terra.client()))).await;
    let ids = ["a-refused", "b-odd", "c-broken", "d-gone", "e-gone"];
    for id in ids {
        auth(&rig, id, &format!("p-{id}"), "auth", 1_000).await;
    }
    rig.quiet(true).await;
    // The second's answer comes with 200 and is no user.
    terra.fault("a-refused", StatusCode::BAD_REQUEST);
    terra.fault("b-odd", StatusCode::OK);
    terra.fault("c-broken", StatusCode::INTERNAL_SERVER_ERROR);
    reconcile(&rig).await;
    let states = rig.texts("SELECT concat_ws(' ', terra_user_id, state) FROM connections ORDER BY terra_user_id").await;
    assert_eq!(states, ["a-refused active", "b-odd active", "c-broken active", "d-gone deauthorised", "e-gone deauthorised"]);
    assert_eq!(asked(&terra, &ids), [1, 1, 2, 1, 1], "a fault may pass; nothing else is asked twice");
    let result: serde_json::Value = serde_json::from_str(&rig.texts(RESULT).await[0]).unwrap();
    let figures = ["asked", "changed", "unanswered"].map(|name| result[name].as_i64());
    assert_eq!(figures, [Some(2), Some(2), Some(3)]);
    // Of the three that are left it can answer for none: that is tried again, and fails in the end.
    reconcile(&rig).await;
    assert_eq!(asked(&terra, &ids), [3, 3, 6, 0, 0], "three attempts");
    let died = rig.texts("SELECT error FROM background_jobs WHERE type = 'reconcile' AND status = 'failed'").await;
    assert!(died.len() == 1 && died[0].starts_with("Terra answered for none of 3 connections"), "{died:?}");
    terra.mend();
    reconcile(&rig).await;
    assert_eq!(rig.number("SELECT count(*) FROM connections WHERE state = 'deauthorised'").await, 5);
    rig.stop().await;
}

#[tokio::test]
async fn many_faults_in_a_row_are_terras_and_end_the_comparison() {
    let terra = Terra::start().await;
    let mut rig = Rig::new(kinds::with_terra(Some(terra.client()))).await;
    let ids = ["a", "b", "c", "d", "e", "f"];
    for id in ids {
        auth(&rig, id, &format!("p-{id}"), "auth", 1_000).await;
    }
    rig.quiet(true).await;
    for id in &ids[..5] {
        terra.fault(id, StatusCode::BAD_GATEWAY);
    }
    reconcile(&rig).await;
    assert_eq!(asked(&terra, &ids), [3, 3, 3, 3, 3, 0], "three attempts, and none of them reached the last");
    let died = rig.texts("SELECT error FROM background_jobs WHERE type = 'reconcile' AND status = 'failed'").await;
    assert_eq!(died, ["Terra answered 502; it is tried again later."]);
    assert_eq!(rig.number("SELECT count(*) FROM connections WHERE state = 'active'").await, 6);
    rig.stop().await;
}

#[tokio::test]
async fn whoever_is_to_be_erased_leaves_terra_first() {
    let terra = Terra::start().await;
    let client = terra.client();
    let mut rig = Rig::new(kinds::all()).await;
    for (id, person) in [("a", "me"), ("b", "me"), ("c", "you"), ("d", "sim")] {
        auth(&rig, id, person, "auth", 1_000).await;
        terra.user(id, Some(person), true);
    }
    rig.quiet(true).await;
    rig.stop().await;
    rig.run("UPDATE persons SET simulated = true WHERE user_id = 'sim'").await;
    terra.forget("b");
    let left = deauthenticate_person(&rig.t.db, &client, "me").await.unwrap();
    assert_eq!(left, Left { ended: 1, unknown: 1, failed: vec![] });
    assert_eq!(deauthenticate_person(&rig.t.db, &client, "sim").await.unwrap(), Left::default());
    assert_eq!(terra.users(), ["c", "d"]);
    terra.answer_next(StatusCode::BAD_GATEWAY);
    let left = deauthenticate_person(&rig.t.db, &client, "you").await.unwrap();
    assert_eq!((left.ended, left.failed.len()), (0, 1));
    terra.answer_next(r#"{"status":"error"}"#); // with 200
    let left = deauthenticate_person(&rig.t.db, &client, "you").await.unwrap();
    assert_eq!((left.ended, left.failed.len()), (0, 1));
}
