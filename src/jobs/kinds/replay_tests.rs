//! Replays on a real PostgreSQL, through the worker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where its expectation fails")]

use super::super::rig::{Rig, daily, user};
use crate::jobs::kinds;
use crate::store::audit::Actor;
use crate::store::replay::{self, Filter};
use crate::store::tombstones;
use chrono::{Days, NaiveDate, Utc};
use serde_json::json;
use uuid::Uuid;

/// Two persons with 120 days each, and what is no value: 243 deliveries.
async fn filled() -> Rig {
    let rig = Rig::new(kinds::all()).await;
    let first: NaiveDate = "2026-03-01".parse().unwrap();
    for n in 0..120_u32 {
        let day = first + Days::new(n.into());
        for (person, base) in [("anna", 4000), ("ben", 9000)] {
            rig.deliver(
                &format!("{person}-{n}"),
                1_000 + i64::from(n),
                &daily(&format!("t-{person}"), Some(person), day, base + i64::from(n * 37 % 500)),
            )
            .await;
        }
    }
    rig.deliver("health", 1, &json!({ "type": "healthcheck" })).await;
    rig.deliver("bad", 2, &json!({ "type": "sleep", "user": user("t-anna", Some("anna")), "data": [{ "metadata": 7 }] })).await;
    rig.deliver("odd", 3, &json!({ "type": "hormone", "user": user("t-anna", Some("anna")) })).await;
    rig.quiet(true).await;
    rig
}

/// Values, records and scores with the very versions of their rows: equal means not even written. And what was delivered,
/// which nothing ever changes.
async fn derived(rig: &Rig) -> Vec<String> {
    let mut all = Vec::new();
    for sql in [
        "SELECT concat_ws(' ', xmin, ctid, to_jsonb(t)) FROM unified_metrics t ORDER BY user_id, metric_name, source, measurement_date",
        "SELECT concat_ws(' ', xmin, ctid, to_jsonb(t)) FROM records t ORDER BY user_id, source, model, key",
        "SELECT concat_ws(' ', xmin, ctid, to_jsonb(t)) FROM metric_confidence_cache t ORDER BY user_id, metric_name, source, measurement_date",
        "SELECT concat_ws(' ', xmin, to_jsonb(t)) FROM connections t ORDER BY id",
        "SELECT concat_ws(' ', id, status, error, processed_count, user_id, sha256(body), headers, ordering_ms, trace_id) FROM terra_webhooks_raw ORDER BY id",
    ] {
        all.extend(rig.texts(sql).await);
    }
    all
}

async fn unchanged(rig: &Rig, before: &[String]) {
    let after = derived(rig).await;
    let differ: Vec<_> = before.iter().zip(&after).filter(|(b, a)| b != a).collect();
    assert!(differ.is_empty() && before.len() == after.len(), "{} rows differ, such as {:#?}", differ.len(), differ.first());
}

async fn count(rig: &Rig, filter: &Filter) -> i64 {
    replay::count(&mut rig.t.db.service().acquire().await.unwrap(), filter).await.unwrap()
}

async fn operation(rig: &Rig, id: Uuid) -> (String, i64, i64, i64) {
    let o = crate::store::operations::find(&mut rig.t.db.service().acquire().await.unwrap(), id).await.unwrap().unwrap();
    assert_eq!(o.finished_at.is_some(), o.state != "running");
    (o.state, o.total, o.done, o.failed)
}

fn of(user_id: &str) -> Filter {
    Filter { user_id: Some(user_id.into()), ..Filter::default() }
}

#[tokio::test]
async fn a_replay_goes_all_the_way_and_changes_nothing_when_nothing_changed() {
    let mut rig = filled().await;
    // What the gateway stores without a job: an id that cannot be used, no type. And what an erased person left.
    let long = "x".repeat(crate::terra::MAX_USER_ID + 1);
    rig.deliver("long", 4, &json!({ "type": "daily", "user": user("t-long", Some(&long)), "data": [] })).await;
    rig.deliver("untyped", 5, &json!({ "user": { "provider": "GARMIN", "reference_id": "anna" } })).await;
    let gone = rig.deliver("gone", 6, &json!({ "type": "hormone", "user": user("t-eve", Some("eve")) })).await;
    let at = sqlx::query_scalar("SELECT created_at FROM terra_webhooks_raw WHERE id = $1").bind(gone).fetch_one(rig.t.db.service()).await;
    tombstones::redact(&mut rig.t.db.service().acquire().await.unwrap(), &[(gone, at.unwrap())]).await.unwrap();
    let words = rig.texts(
        "SELECT concat(status, ': ', error) FROM terra_webhooks_raw WHERE trace_id IN ('gone', 'long', 'untyped') ORDER BY trace_id",
    );
    assert_eq!(
        words.await,
        [
            format!("ignored: {}", tombstones::REASON),
            "ignored: An id in the body cannot be used: reference_id is longer than 512 characters.".to_owned(),
            "ignored: The body names neither an event type nor a connection.".to_owned(),
        ]
    );
    let before = derived(&rig).await;
    assert_eq!(rig.number("SELECT count(*) FROM metric_confidence_cache").await, 480);
    let scored = "SELECT count(*) FROM job_history WHERE type = 'confidence_calculation'";
    let scorings = rig.number(scored).await;

    assert_eq!(count(&rig, &Filter::default()).await, 245, "not what an erased person left");
    let started = replay::start(&rig.t.db, &Actor::system(), &Filter::default()).await.unwrap();
    assert_eq!((started.kind.as_str(), started.state.as_str(), started.total), ("replay", "running", 245));
    rig.quiet(true).await;
    assert_eq!(operation(&rig, started.id).await, ("completed".into(), 245, 244, 1));
    assert!(rig.number(scored).await > scorings, "the scores were made again");
    unchanged(&rig, &before).await;
    assert_eq!(rig.number("SELECT count(*) FROM job_history WHERE type = 'replay'").await, 3);
    assert_eq!(replay::one(&rig.t.db, &Actor::system(), gone).await.unwrap(), None);

    // What is lost comes back, with the values and scores it had.
    let value = "SELECT (to_jsonb(m) - 'updated_at' - 'created_at')::text || c.confidence_score FROM unified_metrics m
                   JOIN metric_confidence_cache c USING (user_id, metric_name, source, measurement_date) ORDER BY 1";
    let values = rig.texts(value).await;
    for sql in [
        "DELETE FROM unified_metrics WHERE user_id = 'ben'",
        "DELETE FROM records WHERE user_id = 'ben'",
        "DELETE FROM metric_confidence_cache WHERE user_id = 'ben'",
    ] {
        assert!(rig.run(sql).await > 0);
    }
    let again = replay::start(&rig.t.db, &Actor::system(), &of("ben")).await.unwrap();
    assert_eq!(again.total, 120);
    rig.quiet(true).await;
    assert_eq!(operation(&rig, again.id).await, ("completed".into(), 120, 120, 0));
    assert_eq!(rig.texts(value).await, values);
    let entries = rig
        .texts(
            "SELECT concat_ws(' ', actor, subject, detail ->> 'deliveries') FROM audit_log WHERE action = 'deliveries.replay' ORDER BY at",
        )
        .await;
    assert_eq!(entries, ["system 245", "system ben 120"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_filter_takes_what_it_says() {
    let mut rig = filled().await;
    rig.stop().await;
    rig.run("UPDATE terra_webhooks_raw SET status = 'conflict' WHERE trace_id = 'ben-7'").await;
    rig.run("UPDATE terra_webhooks_raw SET status = 'invalid' WHERE trace_id = 'ben-8'").await;
    let middle = sqlx::query_scalar("SELECT created_at FROM terra_webhooks_raw WHERE trace_id = 'anna-60'")
        .fetch_one(rig.t.db.service())
        .await
        .unwrap();
    let ids: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM terra_webhooks_raw WHERE trace_id IN ('anna-1', 'anna-2', 'ben-7')")
        .fetch_all(rig.t.db.service())
        .await
        .unwrap();
    let all = Filter::default;
    let (until, from) = (Filter { until: Some(middle), ..all() }, Filter { from: Some(middle), ..all() });
    for (filter, n) in [
        (all(), 241),
        (of("ben"), 118),
        (of("anna"), 122),
        (of("nobody"), 0),
        (Filter { ids: Some(ids), ..all() }, 2),
        (Filter { ids: Some(vec![]), ..all() }, 0),
        (Filter { kind: Some("sleep".into()), ..all() }, 1),
        (Filter { provider: Some("garmin".into()), ..all() }, 240),
        (Filter { provider: Some("GARMIN".into()), ..all() }, 0),
        (Filter { status: Some("failed".into()), ..all() }, 1),
        (Filter { status: Some("ignored".into()), ..all() }, 1),
        (Filter { error: Some("NOTHING in it".into()), ..all() }, 1),
        (Filter { error: Some("%".into()), ..all() }, 0),
        (Filter { user_id: Some("anna".into()), kind: Some("daily".into()), ..all() }, 120),
    ] {
        assert_eq!(count(&rig, &filter).await, n, "{filter:?}");
        let text = serde_json::to_string(&filter).unwrap();
        assert_eq!(serde_json::from_str::<Filter>(&text).unwrap(), filter);
    }
    assert!(count(&rig, &until).await > 50 && count(&rig, &from).await > 50);
    assert_eq!(count(&rig, &until).await + count(&rig, &from).await, 241);
    // A replay of nothing is complete at once.
    let nothing = replay::start(&rig.t.db, &Actor::system(), &of("nobody")).await.unwrap();
    assert_eq!((nothing.state.as_str(), nothing.total, nothing.finished_at.is_some()), ("completed", 0, true));
}

#[test]
fn a_filter_that_can_match_nothing_says_so() {
    let now = Utc::now();
    for (filter, says) in [
        (Filter { from: Some(now), until: Some(now), ..Filter::default() }, "begins after"),
        (Filter { status: Some("conflict".into()), ..Filter::default() }, "never processed"),
        (Filter { status: Some("lost".into()), ..Filter::default() }, "no status named 'lost'"),
        (Filter { error: Some("a\0b".into()), ..Filter::default() }, "no delivery has"),
        (Filter { ids: Some(vec![Uuid::nil(); 1001]), ..Filter::default() }, "Narrow"),
    ] {
        assert!(filter.problem().unwrap().contains(says), "{filter:?}");
    }
    for word in replay::STATUSES {
        assert_eq!(Filter { status: Some(word.into()), ..Filter::default() }.problem(), None);
    }
}

#[tokio::test]
async fn a_replay_can_be_cancelled_and_a_dead_chunk_is_counted() {
    let mut rig = filled().await;
    rig.stop().await;
    let chunks = "SELECT count(*) FROM background_jobs WHERE type = 'replay'";
    let first = replay::start(&rig.t.db, &Actor::system(), &Filter::default()).await.unwrap();
    assert_eq!(rig.number(chunks).await, 3);
    let cancel = async |id| crate::jobs::operations::cancel(&rig.t.db, id, &Actor::system()).await.unwrap();
    assert!(cancel(first.id).await);
    assert_eq!((rig.number(chunks).await, operation(&rig, first.id).await), (0, ("cancelled".into(), 243, 0, 0)));
    assert!(!cancel(first.id).await && !cancel(Uuid::now_v7()).await);
    let entries = rig.texts("SELECT concat_ws(' ', action, subject) FROM audit_log WHERE action LIKE 'operation%'").await;
    assert_eq!(entries, [format!("operation.cancel {}", first.id)]);
    // One chunk that nobody can read: the others are done, and the operation ends.
    let second = replay::start(&rig.t.db, &Actor::system(), &Filter::default()).await.unwrap();
    let torn = "UPDATE background_jobs SET payload = payload - 'first' WHERE id = (SELECT id FROM background_jobs WHERE type = 'replay' ORDER BY id LIMIT 1)";
    assert_eq!(rig.run(torn).await, 1);
    rig.work(kinds::all());
    rig.quiet(true).await;
    let (state, total, done, failed) = operation(&rig, second.id).await;
    assert_eq!((state.as_str(), total, done + failed), ("completed", 243, 243));
    assert!(failed == 43 || failed >= 100, "{failed}");
    rig.stop().await;
}

#[tokio::test]
async fn one_delivery_is_replayed_ahead_of_all() {
    let mut rig = filled().await;
    let before = derived(&rig).await;
    let id: Uuid =
        sqlx::query_scalar("SELECT id FROM terra_webhooks_raw WHERE trace_id = 'anna-3'").fetch_one(rig.t.db.service()).await.unwrap();
    rig.stop().await;
    let job = replay::one(&rig.t.db, &Actor::system(), id).await.unwrap();
    assert_eq!(replay::one(&rig.t.db, &Actor::system(), id).await.unwrap(), job, "a second press joins the first");
    let jobs = async |rig: &Rig| {
        let at = "SELECT created_at FROM terra_webhooks_raw WHERE id = $1";
        let at = sqlx::query_scalar(at).bind(id).fetch_one(rig.t.db.service()).await.unwrap();
        let mut conn = rig.t.db.service().acquire().await.unwrap();
        let jobs = crate::store::person_jobs::of_delivery(&mut conn, id, at, Some("anna")).await.unwrap();
        jobs.into_iter().map(|j| (j.kind, j.status, Some(j.id) == job)).collect::<Vec<_>>()
    };
    let shown = |status: &str| ("replay".to_owned(), status.to_owned(), true);
    assert_eq!(jobs(&rig).await.last(), Some(&shown("pending")), "the delivery's page shows it");
    assert_eq!(replay::one(&rig.t.db, &Actor::system(), Uuid::now_v7()).await.unwrap(), None);
    rig.work(kinds::all());
    rig.quiet(true).await;
    unchanged(&rig, &before).await;
    let did = rig.texts("SELECT concat_ws(' ', type, status, priority) FROM job_history WHERE payload ->> 'deliveries' = '1'").await;
    assert_eq!(did, ["replay completed 1"]);
    assert_eq!(jobs(&rig).await.last(), Some(&shown("completed")));
    rig.run("UPDATE terra_webhooks_raw SET status = 'conflict' WHERE trace_id = 'anna-3'").await;
    assert_eq!(replay::one(&rig.t.db, &Actor::system(), id).await.unwrap(), None);
    assert_eq!(rig.number("SELECT count(*) FROM audit_log WHERE action = 'deliveries.replay' AND subject = 'anna'").await, 2);
    rig.stop().await;
}

#[tokio::test]
async fn erasing_a_person_ends_the_replay_that_names_them() {
    let mut rig = filled().await;
    rig.stop().await;
    let theirs = replay::start(&rig.t.db, &Actor::system(), &of("anna")).await.unwrap();
    let all = replay::start(&rig.t.db, &Actor::system(), &Filter { until: Some(Utc::now()), ..Filter::default() }).await.unwrap();
    crate::store::erase::erase_person(&rig.t.db, &Actor::system(), "anna").await.unwrap();
    assert_eq!(operation(&rig, theirs.id).await.0, "cancelled");
    rig.work(kinds::all());
    rig.quiet(true).await;
    assert_eq!(operation(&rig, all.id).await.0, "completed");
    assert_eq!(rig.number("SELECT count(*) FROM unified_metrics WHERE user_id = 'anna'").await, 0);
    rig.stop().await;
}
