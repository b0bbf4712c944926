//! Operations on dead letters, on a real PostgreSQL, through the worker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops where its expectation fails")]

use super::super::rig::Rig;
use crate::jobs::{kinds, operations};
use crate::store::audit::Actor;
use crate::store::jobs::settle::DeadFilter;
use crate::store::letter_lists;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throwing_letters_away_goes_on_until_all_are_gone_and_says_who_did_it_and_why() {
    let mut rig = Rig::idle().await;
    // More than two chunks of one death, three of another.
    rig.run(
        "INSERT INTO background_jobs (type, payload, max_attempts, error)
         SELECT 'act', '{\"v\": 1}', 1, CASE WHEN n > 3 THEN 'no answer from ' || n ELSE 'refused' END FROM generate_series(1, 1103) n",
    )
    .await;
    rig.run("UPDATE background_jobs SET status = 'failed', failed_at = now(), attempts = 1").await;
    let mut conn = rig.t.db.service().acquire().await.unwrap();
    let groups = letter_lists::groups(&mut conn, &letter_lists::Filter::default(), 9, 0).await.unwrap();
    let of = |n: usize| DeadFilter { fingerprint: Some(groups[n].fingerprint.clone()), ..DeadFilter::default() };
    let by = |name: &str| Actor { name: name.to_owned(), ..Actor::system() };
    let many = operations::start_discard(&rig.t.db, &of(0), "known", &by("ada@example.com")).await.unwrap();
    let few = operations::start_redrive(&rig.t.db, &of(1), &by("bob@example.com")).await.unwrap();
    assert_eq!((many.kind.as_str(), many.total, few.total), ("discard", 1100, 3), "counted before anything is done");
    rig.work(kinds::all()); // it does not know `act`
    for id in [many.id, few.id] {
        for n in 0.. {
            let now = crate::store::operations::find(&mut conn, id).await.unwrap().unwrap();
            if now.state == "completed" {
                assert_eq!(now.done, now.total);
                break;
            }
            assert!(n < 1000, "{now:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    rig.stop().await;
    let letters = "SELECT count(*) FROM background_jobs_dlq WHERE retried = false AND discarded_at IS NULL";
    assert_eq!((rig.number(letters).await, rig.number("SELECT count(*) FROM background_jobs WHERE type = 'act'").await), (0, 3));
    assert_eq!(rig.number("SELECT count(*) FROM job_history WHERE type = 'act' AND status = 'cancelled'").await, 1100);
    let dealt = letter_lists::dealt_with(&mut conn, None, 2000).await.unwrap();
    let said = |discarded: bool, note: &str, by: &str| {
        dealt.iter().filter(|d| (d.discarded, d.note.as_str(), d.by.as_deref()) == (discarded, note, Some(by))).count()
    };
    assert_eq!((said(true, "known", "ada@example.com"), said(false, "", "bob@example.com")), (1100, 3));
}
