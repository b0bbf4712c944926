//! Connections: who is behind an id, in any order of arrival.
use super::*;

async fn state(db: &Db, terra_user_id: &str) -> Option<(String, Option<String>)> {
    sqlx::query_as("SELECT state, user_id FROM connections WHERE terra_user_id = $1")
        .bind(terra_user_id)
        .fetch_optional(db.service())
        .await
        .unwrap()
}

#[tokio::test]
async fn data_before_the_authorisation_are_parked_and_wake_with_it() {
    let t = database().await;
    let early = [delivery(1, 1, &daily("t1", None, 900))];
    let auth = [delivery(2, 2, &json!({"type": "auth", "status": "success", "user": user("t1", Some("me"))}))];
    store(&t.db, &early).await;
    store(&t.db, &auth).await;
    let out = run(&t.db, &early).await;
    assert!(matches!(out.outcomes[0].status, Status::Parked(_)));
    assert_eq!(run(&t.db, &auth).await.released, 1);
    let (status, job): (String, Value) = sqlx::query_as(
        "SELECT r.status, j.payload FROM terra_webhooks_raw r, background_jobs j WHERE r.trace_id = 'trace-000001' AND j.type = 'webhook_processing'")
        .fetch_one(t.db.service()).await.unwrap();
    assert_eq!((status.as_str(), job["delivery_id"].as_str()), ("pending", Some(early[0].id.to_string().as_str())));
    let at: Instant = job["created_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(at, early[0].created_at);
    // A second job of the delivery, so not found by way of it, but by person.
    let theirs = crate::store::person_jobs::of_person(&mut t.db.service().acquire().await.unwrap(), "me").await.unwrap();
    assert_eq!(theirs.len(), 1);
    let out = run(&t.db, &early).await;
    assert_eq!(out.outcomes[0].user_id.as_deref(), Some("me"));
    assert_eq!(steps(&t.db, "me").await, [900.0]);
    assert_eq!(run(&t.db, &auth).await.released, 0);
}

#[tokio::test]
async fn in_one_batch_the_authorisation_counts_for_all() {
    let t = database().await;
    let out = run(
        &t.db,
        &[
            delivery(1, 1, &daily("t1", None, 900)),
            delivery(2, 2, &json!({"type": "auth", "user": user("t1", None), "reference_id": "me"})),
        ],
    )
    .await;
    assert_eq!(out.outcomes[0].status, Status::Completed { readings: 1, note: None });
    assert_eq!(steps(&t.db, "me").await, [900.0]);
}

#[tokio::test]
async fn an_older_event_never_undoes_a_newer_one() {
    let t = database().await;
    let event = |n: u32, ms: i64, kind: &str| [delivery(n, ms, &json!({"type": kind, "message": kind, "user": user("t1", Some("me"))}))];
    for (n, ms, kind, expected) in [
        (1, 10, "auth", "active"),
        (2, 5, "deauth", "active"),
        (3, 20, "connection_error", "error"),
        (4, 15, "auth", "error"),
        (5, 30, "access_revoked", "revoked"),
        (6, 25, "connection_error", "revoked"),
        (7, 40, "auth", "active"),
        (8, 42, "user_reauth", "reauthorised"),
        (9, 41, "connection_error", "reauthorised"),
        (10, 44, "connection_error", "error"),
        (11, 46, "user_reauth", "reauthorised"),
        (12, 50, "deauth", "deauthorised"),
    ] {
        run(&t.db, &event(n, ms, kind)).await;
        assert_eq!(state(&t.db, "t1").await, Some((expected.into(), Some("me".into()))), "{kind} at {ms}");
    }
    // New data show that an error has passed; they do not undo the end of a connection.
    run(&t.db, &[delivery(20, 60, &daily("t1", Some("me"), 1))]).await;
    assert_eq!(state(&t.db, "t1").await.unwrap().0, "deauthorised");
    run(&t.db, &event(21, 70, "connection_error")).await;
    run(&t.db, &[delivery(22, 80, &daily("t1", Some("me"), 1))]).await;
    assert_eq!(state(&t.db, "t1").await.unwrap().0, "active");
}

#[tokio::test]
async fn of_two_events_of_one_millisecond_the_later_trace_id_stands_whichever_came_first() {
    let event = |n: u32, kind: &str| delivery(n, 10, &json!({"type": kind, "user": user("t1", Some("me"))}));
    for (first, second, end) in [("auth", "deauth", "deauthorised"), ("deauth", "auth", "active")] {
        let both = [event(1, first), event(2, second)];
        let turned = [both[1].clone(), both[0].clone()];
        for (order, together) in [(&both, 2), (&both, 1), (&turned, 2), (&turned, 1)] {
            let t = database().await;
            store(&t.db, &both).await;
            for batch in order.chunks(together) {
                run(&t.db, batch).await;
            }
            assert_eq!(state(&t.db, "t1").await, Some((end.into(), Some("me".into()))), "{first}, then {second}");
            let since: Instant = sqlx::query_scalar("SELECT state_at FROM connections").fetch_one(t.db.service()).await.unwrap();
            assert_eq!(since, both[1].created_at);
        }
    }
}

#[tokio::test]
async fn a_reauthorisation_swaps_the_id_in_place() {
    let t = database().await;
    run(&t.db, &[delivery(1, 1, &json!({"type": "auth", "user": user("old", Some("me"))}))]).await;
    let id: Uuid = sqlx::query_scalar("SELECT id FROM connections").fetch_one(t.db.service()).await.unwrap();
    // Data of the new id come first and wait, because nobody is behind it yet.
    let early = [delivery(2, 3, &daily("new", None, 5))];
    store(&t.db, &early).await;
    assert!(matches!(run(&t.db, &early).await.outcomes[0].status, Status::Parked(_)));
    let out =
        run(&t.db, &[delivery(3, 2, &json!({"type": "user_reauth", "old_user": user("old", None), "new_user": user("new", None)}))]).await;
    assert_eq!(out.released, 1);
    let rows: Vec<(Uuid, String, Vec<String>)> =
        sqlx::query_as("SELECT id, terra_user_id, former_ids FROM connections").fetch_all(t.db.service()).await.unwrap();
    assert_eq!(rows, [(id, "new".to_owned(), vec!["old".to_owned()])]);
    let (state_at, reason): (Instant, Option<String>) =
        sqlx::query_as("SELECT state_at, reason FROM connections WHERE state = 'reauthorised'").fetch_one(t.db.service()).await.unwrap();
    assert_eq!((state_at, reason), (delivery(3, 2, &json!({})).created_at, None), "since when it is so, and nothing is wrong");
    // A late delivery under the old id still finds its person; an end of the old id ends nothing.
    let out =
        run(&t.db, &[delivery(4, 4, &daily("old", None, 6)), delivery(5, 9, &json!({"type": "deauth", "user": user("old", None)}))]).await;
    assert_eq!(out.outcomes[0].user_id.as_deref(), Some("me"));
    assert_eq!(state(&t.db, "new").await, Some(("reauthorised".into(), Some("me".into()))));
}

#[tokio::test]
async fn events_of_connections_end_the_same_in_any_order() {
    let events = [
        (1, json!({"type": "auth", "user": user("a", Some("me"))})),
        (2, json!({"type": "connection_error", "user": user("a", None)})),
        (3, json!({"type": "user_reauth", "old_user": user("a", None), "new_user": user("b", None)})),
        (4, json!({"type": "permission_change", "user": user("b", None)})),
        (5, json!({"type": "user_reauth", "old_user": user("b", None), "new_user": user("c", None)})),
        (6, json!({"type": "access_revoked", "user": user("c", None)})),
        (7, daily("c", None, 5)),
        (8, daily("a", None, 6)),
    ];
    let deliveries: Vec<RawDelivery> = events.iter().zip(1..).map(|((ms, body), n)| delivery(n, *ms, body)).collect();
    let mut expected: Option<Vec<String>> = None;
    let mut dice = Dice(7);
    for round in 0..8 {
        let t = database().await;
        store(&t.db, &deliveries).await;
        let mut order = deliveries.clone();
        if round > 0 {
            dice.shuffle(&mut order);
        }
        for chunk in order.chunks(1 + round % 3) {
            run(&t.db, chunk).await;
        }
        // Whoever was parked was woken; their jobs run.
        let woken: Vec<(Uuid, Instant)> = sqlx::query_as("SELECT id, created_at FROM terra_webhooks_raw WHERE status = 'pending'")
            .fetch_all(t.db.service())
            .await
            .unwrap();
        let mut tx = t.db.begin_service().await.unwrap();
        let woken = raw::load(&mut tx, &woken).await.unwrap();
        tx.commit().await.unwrap();
        run(&t.db, &woken).await;
        let found = tables(&t.db).await;
        match &expected {
            None => expected = Some(found),
            Some(expected) => assert_eq!(expected, &found, "round {round}: {:?}", order.iter().map(|d| d.ordering_ms).collect::<Vec<_>>()),
        }
    }
}
