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
}
