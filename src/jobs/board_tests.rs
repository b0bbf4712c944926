//! Which lane comes next, and what a floor may hide.

use super::*;
use crate::jobs::{JobKind, kinds::S3Fetch};
use proptest::prelude::*;

fn at(s: i64) -> DateTime<Utc> {
    DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(s)
}

fn board(lanes: &[(&str, i16, i64)]) -> Board {
    let board = Board::new(lanes.iter().map(|l| l.0.to_owned()).collect(), Duration::from_secs(1));
    for (kind, priority, waited) in lanes {
        board.state().put(kind, *priority, at(10_000 - waited));
    }
    board
}

fn best(board: &Board) -> Option<String> {
    board.best().map(|p| p.kind)
}

#[test]
fn urgent_first_but_nothing_starves() {
    assert_eq!(best(&board(&[("recalculation", 8, 100), ("webhook_processing", 2, 0)])).as_deref(), Some("webhook_processing"));
    assert_eq!(best(&board(&[("recalculation", 8, 181), ("webhook_processing", 2, 0)])).as_deref(), Some("recalculation"));
}

#[test]
fn what_has_a_deadline_goes_before_any_backlog_but_a_flood_of_it_leaves_others_their_turn() {
    let board = board(&[("replay", 8, 3_600), ("backfill", 6, 3_600), (S3Fetch::NAME, S3Fetch::PRIORITY, 0)]);
    let mut taken = Vec::new();
    for n in 0..6 {
        let Some(pick) = board.best() else { unreachable!("three lanes were put there") };
        board.claimed(&pick, Some((at(6_000), Uuid::from_u128(n))), true); // each lane always has more
        taken.push(pick.kind);
    }
    let link = S3Fetch::NAME;
    assert_eq!(taken, [link, link, link, "backfill", link, link]);
}

#[test]
fn after_a_few_in_a_row_what_has_a_deadline_still_goes_first_where_nothing_has_waited_for_long() {
    let board = board(&[("replay", 8, 100), (S3Fetch::NAME, S3Fetch::PRIORITY, 0)]);
    board.state().in_a_row = IN_A_ROW;
    assert_eq!(best(&board).as_deref(), Some(S3Fetch::NAME));
}

proptest! {
    /// Against a flood of any priorities that comes second by second, the oldest and least urgent job is taken
    /// within four and a half minutes of its time and the few claims that jobs with a deadline may make in a row.
    #[test]
    fn whatever_floods_the_queue_a_job_waits_no_longer_than_its_priority_says(priority in 0_i16..10, flood in prop::collection::vec(0_i16..10, 300)) {
        let board = Board::new(vec!["old".into(), "flood".into()], Duration::from_secs(1));
        board.state().put("old", priority, at(0));
        let mut taken = None;
        for (second, urgent) in flood.into_iter().enumerate() {
            board.state().put("flood", urgent, at(second as i64));
            let Some(pick) = board.best() else { unreachable!("two lanes were put there") };
            if pick.kind == "old" {
                taken = Some(second as i64);
                break;
            }
            board.claimed(&pick, Some((at(second as i64), Uuid::nil())), false);
        }
        let most = i64::from(priority) * 30 + 1 + i64::from(IN_A_ROW);
        prop_assert!(taken.is_some_and(|s| s <= most), "taken after {taken:?} s with priority {priority}");
    }
}

#[test]
fn a_job_of_a_paused_kind_that_is_heard_of_during_the_look_is_left_where_it_is() {
    let board = board(&[("a", 5, 10), ("b", 5, 10)]);
    let (a, b) = ("a".to_owned(), "b".to_owned());
    let asks = [&a, &b].map(|kind| Ask { kind: kind.clone(), priority: 5, floor: None });
    let turn = board.state().turn();
    board.hear(&format!("a@{}@5", at(9_998).timestamp_micros()));
    board.hear(&format!("b@{}@5", at(9_998).timestamp_micros()));
    let head = |kind: &str, paused| LaneHead { kind: kind.into(), priority: 5, head: None, paused, limited: false };
    board.state().found(&[&a, &b], &asks, at(10_000), &[head("a", true), head("b", false)], turn);
    assert_eq!(board.state().lanes.iter().map(|l| l.kind.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_drained_lane_goes_and_a_floor_only_rises_with_claims() {
    let board = board(&[("a", 5, 10)]);
    let Some(pick) = board.best() else { unreachable!("a lane was put there") };
    let floor = |s: i64| (at(s), Uuid::nil());
    board.claimed(&pick, Some(floor(9_995)), true);
    board.claimed(&pick, Some(floor(9_992)), true); // another slot's older claim comes home later
    assert_eq!(board.best().and_then(|p| p.floor), Some(floor(9_995)));
    board.claimed(&pick, None, false);
    assert!(board.best().is_none());
}

#[test]
fn what_is_heard_while_a_claim_is_under_way_is_not_forgotten_and_lowers_the_floor() {
    let board = board(&[("a", 5, 10)]);
    let Some(pick) = board.best() else { unreachable!("a lane was put there") };
    board.claimed(&pick, Some((at(9_999), Uuid::nil())), true);
    board.hear(&format!("a@{}@5", at(9_998).timestamp_micros()));
    board.claimed(&pick, None, false); // it began before that
    let Some(again) = board.best() else { unreachable!("it was heard of") };
    assert_eq!(again.floor, Some(under(at(9_998))));
    board.claimed(&again, None, false);
    assert!(board.best().is_none());
    for word in ["b@1@5", "cancel:1", "a@x@5"] {
        board.hear(word); // not ours, not for us, or without a time: no lane
    }
    assert!(board.best().is_none() && board.state().asked.contains("a"));
}
