//! What Terra still sends after a person was erased.
use super::*;
use crate::store::{audit::Actor, erase};
use chrono::Utc;

async fn ends(db: &Db) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT concat_ws(' ', status, user_id, terra_user_id, convert_from(body, 'UTF8')) FROM terra_webhooks_raw ORDER BY id",
    )
    .fetch_all(db.service())
    .await
    .unwrap()
}

async fn persons(db: &Db) -> Vec<String> {
    sqlx::query_scalar("SELECT user_id FROM persons ORDER BY 1").fetch_all(db.service()).await.unwrap()
}

#[tokio::test]
async fn a_deauth_after_an_erasure_makes_nobody_anew() {
    let t = database().await;
    let said = |n, ms, kind: &str, id| delivery(n, ms, &json!({"type": kind, "status": "success", "user": user(id, Some("me"))}));
    let before = [said(1, 1, "auth", "t1"), delivery(2, 2, &daily("t1", Some("me"), 900))];
    store(&t.db, &before).await;
    run(&t.db, &before).await;
    assert_eq!(erase::erase_person(&t.db, &Actor::system(), "me").await.unwrap().rows.iter().filter(|(_, n)| *n > 0).count(), 6);

    let later = Utc::now().timestamp_millis() + 60_000;
    let after = [
        // The news of the end that the erasure itself caused, and data that was still on its way.
        said(3, later, "deauth", "t1"),
        delivery(4, later, &daily("t1", Some("me"), 901)),
        delivery(5, later, &daily("t1", None, 902)),
        // Of a connection that was never seen here: produced before the erasure, or nothing but an end.
        delivery(6, 10, &daily("t0", Some("me"), 903)),
        said(7, later, "access_revoked", "t0"),
    ];
    let neighbour = [delivery(8, later, &daily("t8", Some("you"), 800))];
    for batch in [&after[..], &neighbour[..]] {
        store(&t.db, batch).await;
    }
    sqlx::query("UPDATE terra_webhooks_raw SET user_id = 'me' WHERE trace_id < 'trace-000008'").execute(t.db.service()).await.unwrap();
    let together: Vec<RawDelivery> = after.iter().chain(&neighbour).cloned().collect();
    let batch = run(&t.db, &together).await;
    assert!(batch.outcomes.iter().take(5).all(|o| matches!(o.status, Status::Ignored(_)) && o.user_id.is_none()), "{:?}", batch.outcomes);
    assert_eq!(persons(&t.db).await, ["you"], "the neighbour in the same batch is served");
    assert_eq!(steps(&t.db, "you").await, [800.0]);
    let ends = ends(&t.db).await;
    assert_eq!(ends[..5], ["ignored {}"; 5], "emptied");
    let named: i64 =
        sqlx::query_scalar("SELECT count(*) FROM connections WHERE terra_user_id <> 't8'").fetch_one(t.db.service()).await.unwrap();
    assert_eq!(named, 0);

    // They connect again, of their own will: that is a new connection, and counts.
    let again = [delivery(9, later, &daily("t2", Some("me"), 700)), said(10, later + 1, "auth", "t2")];
    store(&t.db, &again).await;
    run(&t.db, &again).await;
    assert_eq!(persons(&t.db).await, ["me", "you"]);
    assert_eq!(steps(&t.db, "me").await, [700.0]);
    // What the old connection says is still nothing.
    let late = [delivery(11, later + 2, &daily("t1", Some("me"), 1))];
    store(&t.db, &late).await;
    run(&t.db, &late).await;
    assert_eq!(steps(&t.db, "me").await, [700.0]);
}

#[tokio::test]
async fn an_erasure_that_is_about_to_commit_is_waited_for() {
    let t = database().await;
    let before = [delivery(1, 1, &daily("t1", Some("me"), 900))];
    store(&t.db, &before).await;
    run(&t.db, &before).await;
    let late = [delivery(2, 2, &daily("t1", Some("me"), 901))];
    store(&t.db, &late).await;
    // An erasure as far as it matters here, held open.
    let mut erasing = t.db.owner().begin().await.unwrap();
    crate::store::tombstones::bury(&mut erasing, "me", &["t1".into()], false).await.unwrap();
    for sql in ["DELETE FROM connections WHERE user_id = 'me'", "DELETE FROM persons WHERE user_id = 'me'"] {
        sqlx::query(sql).execute(&mut *erasing).await.unwrap();
    }
    let db = t.db.clone();
    let working = tokio::spawn(async move { run(&db, &late).await });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(!working.is_finished());
    erasing.commit().await.unwrap();
    assert!(matches!(working.await.unwrap().outcomes[0].status, Status::Ignored(_)));
    assert_eq!(persons(&t.db).await, [""; 0]);
}

#[tokio::test]
async fn a_simulated_person_comes_back_when_they_are_simulated_anew_and_not_by_a_feed_that_goes_on() {
    let t = database().await;
    crate::store::simulated::mark(t.db.service(), &["sim-1".into()], &["Sim".into()]).await.unwrap();
    let day = [delivery(1, 1, &daily("t1", Some("sim-1"), 900))];
    store(&t.db, &day).await;
    run(&t.db, &day).await;
    erase::erase_person(&t.db, &Actor::system(), "sim-1").await.unwrap();
    let later = i64::MAX / 2_000_000;
    let goes_on = [delivery(2, later, &daily("t1", Some("sim-1"), 901))];
    store(&t.db, &goes_on).await;
    assert!(matches!(run(&t.db, &goes_on).await.outcomes[0].status, Status::Ignored(_)));
    assert_eq!(persons(&t.db).await, [""; 0]);
    crate::store::simulated::mark(t.db.service(), &["sim-1".into()], &["Sim".into()]).await.unwrap();
    let again = [delivery(3, later + 1, &daily("t1", Some("sim-1"), 902))];
    store(&t.db, &again).await;
    run(&t.db, &again).await;
    let simulated: Vec<bool> = sqlx::query_scalar("SELECT simulated FROM persons").fetch_all(t.db.service()).await.unwrap();
    assert_eq!((persons(&t.db).await, simulated), (vec!["sim-1".to_owned()], vec![true]));
    // Who was erased as a real person is not exhumed by anybody's wish to simulate them.
    sqlx::query("UPDATE persons SET simulated = false").execute(t.db.service()).await.unwrap();
    erase::erase_person(&t.db, &Actor::system(), "sim-1").await.unwrap();
    crate::store::tombstones::exhume(&mut t.db.service().acquire().await.unwrap(), &["sim-1".into()]).await.unwrap();
    let buried: i64 = sqlx::query_scalar("SELECT count(*) FROM tombstones").fetch_one(t.db.service()).await.unwrap();
    assert_eq!(buried, 2);
}
