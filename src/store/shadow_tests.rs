//! Which registry is tried, and that promoting it takes nothing back.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::*;
use crate::jobs::operations::{change_registry, promote_shadow};
use crate::model::Metric;
use crate::quality::Tolerance;
use crate::store::testing::{TestDb, database};

/// One person with one value: somebody to score, so that a shadow runs until its chunk is done.
async fn plant(t: &TestDb) {
    sqlx::query(
        "INSERT INTO unified_metrics (user_id, metric_name, source, measurement_date, value, unit, ordering_ms, trace_id, received_at, delivery_id)
         VALUES ('p', 'steps', 'whoop', current_date, 1, 'count', 1, 't', now(), app.uuid_v7())",
    )
    .execute(t.db.service())
    .await
    .unwrap();
}

/// The registry with another tolerance of this metric, under no version yet.
fn with(registry: &Registry, metric: Metric) -> Overrides {
    let mut overrides = Overrides { version: 0, ..registry.overrides() };
    overrides.tolerances.insert(metric, Tolerance::Relative(0.25));
    overrides
}

async fn in_force(t: &TestDb) -> Registry {
    let mut conn = t.db.service().acquire().await.unwrap();
    confidence::registry(&mut conn).await.unwrap().into_owned()
}

fn changed(registry: &Registry) -> Vec<Metric> {
    registry.overrides().tolerances.into_keys().collect()
}

async fn begin(t: &TestDb, overrides: Option<&Overrides>) -> Result<Operation, Refused> {
    let mut conn = t.db.service().acquire().await?;
    start(&mut conn, overrides, "anna", 25, 8).await
}

async fn completed(t: &TestDb, operation: &Operation) {
    let mut conn = t.db.service().acquire().await.unwrap();
    let now = operations::progress(&mut conn, operation.id, operation.total, 0, 1).await.unwrap().unwrap();
    assert_eq!(now.state, "completed");
}

/// As the page's buttons do it: refused, nothing is committed.
async fn apply(t: &TestDb, overrides: Option<&Overrides>) {
    let mut tx = t.db.begin_service().await.unwrap();
    change_registry(&mut tx, overrides, &Actor::system()).await.unwrap();
    tx.commit().await.unwrap();
}

async fn promoted(t: &TestDb) -> Result<Option<u64>, Refused> {
    let mut tx = t.db.begin_service().await?;
    let changed = promote_shadow(&mut tx, &Actor::system()).await?;
    tx.commit().await?;
    Ok(changed)
}

fn refused<T>(said: Result<T, Refused>) -> String {
    match said {
        Err(Refused::Conflict(sentence)) => sentence.to_owned(),
        Err(Refused::Database(cause)) => format!("the database: {cause}"),
        Ok(_) => "nothing stood in the way".to_owned(),
    }
}

#[tokio::test]
async fn while_one_registry_is_tried_no_other_is_and_the_same_one_is_joined() {
    let t = database().await;
    plant(&t).await;
    let registry = in_force(&t).await;
    let (weight, hrv) = (with(&registry, Metric::Weight), with(&registry, Metric::HrvRmssd));
    let tried = begin(&t, Some(&weight)).await.unwrap();
    assert_eq!(begin(&t, Some(&weight)).await.unwrap().id, tried.id, "a second press joins");
    for running in [true, false] {
        assert_eq!(refused(begin(&t, Some(&hrv)).await), ANOTHER);
        assert_eq!(refused(begin(&t, None).await), ANOTHER);
        if running {
            completed(&t, &tried).await;
        }
    }
    assert_eq!(promoted(&t).await.unwrap(), Some(0));
    assert_eq!(changed(&in_force(&t).await), [Metric::Weight], "what was said to run beside is what is in force");
    // Now it is free for another, and one that was stopped is in nobody's way.
    let other = begin(&t, Some(&with(&in_force(&t).await, Metric::HrvRmssd))).await.unwrap();
    assert!(operations::cancel(&mut t.db.service().acquire().await.unwrap(), other.id).await.unwrap());
    let program = begin(&t, None).await.unwrap();
    assert_eq!((overrides_of(&program), program.state.as_str()), (None, "running"));
}

#[tokio::test]
async fn what_was_changed_since_is_not_taken_back_by_a_promotion() {
    let t = database().await;
    plant(&t).await;
    let registry = in_force(&t).await;
    let (weight, hrv) = (with(&registry, Metric::Weight), with(&registry, Metric::HrvRmssd));
    let tried = begin(&t, Some(&weight)).await.unwrap();
    completed(&t, &tried).await;
    assert!(!outdated(&mut t.db.service().acquire().await.unwrap(), &tried).await.unwrap());
    apply(&t, Some(&hrv)).await;
    let applied = in_force(&t).await;
    assert_ne!(applied.version, overrides_of(&tried).unwrap().version, "two registries, two versions");
    assert_eq!(refused(promoted(&t).await), CHANGED);
    assert!(outdated(&mut t.db.service().acquire().await.unwrap(), &tried).await.unwrap());
    assert_eq!(in_force(&t).await, applied);
    // Run beside again it is upon what is in force, and keeps both.
    let again = begin(&t, Some(&with(&applied, Metric::Weight))).await.unwrap();
    assert_ne!(again.id, tried.id);
    completed(&t, &again).await;
    assert_eq!(promoted(&t).await.unwrap(), Some(0));
    let mut both = changed(&in_force(&t).await);
    both.sort_by_key(|m| m.key());
    assert_eq!(both, [Metric::HrvRmssd, Metric::Weight]);
}

#[tokio::test]
async fn a_shadow_that_runs_upon_a_registry_changed_since_is_not_joined() {
    let t = database().await;
    plant(&t).await;
    begin(&t, None).await.unwrap();
    apply(&t, Some(&with(&in_force(&t).await, Metric::HrvRmssd))).await;
    assert_eq!(refused(begin(&t, None).await), CHANGED, "it was begun under another");
}

#[tokio::test]
async fn a_version_is_given_once() {
    let t = database().await;
    let built_in = in_force(&t).await;
    let mut given = Vec::new();
    for metric in [Metric::Weight, Metric::HrvRmssd] {
        apply(&t, Some(&with(&built_in, metric))).await;
        given.push(in_force(&t).await.version);
        // Back to the built-in registry, and on from there.
        apply(&t, None).await;
        assert_eq!(in_force(&t).await, built_in);
        // Tried and dropped: with nobody to score it is complete at once.
        given.push(overrides_of(&begin(&t, Some(&with(&built_in, metric))).await.unwrap()).unwrap().version);
        let mut tx = t.db.begin_service().await.unwrap();
        assert!(discard(&mut tx, &Actor::system()).await.unwrap());
        tx.commit().await.unwrap();
    }
    let first = built_in.next_version();
    assert_eq!(given, [first, first + 1, first + 2, first + 3]);
}
