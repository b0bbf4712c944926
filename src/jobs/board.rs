//! Which lane to take next, for all slots of a worker.
//!
//! A lane (kind and priority) is ranked by when its head became due plus half a minute for each step of priority.
//! That is the aging: whatever comes later, a job of priority 9 is ahead of it after four and a half minutes.

use crate::store::jobs::claim::{Floor, LaneHead, due_lanes};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// How much later a job of the next priority ranks.
const STEP: TimeDelta = TimeDelta::seconds(30);
/// Looks are never closer than this, however often we are woken.
const GAP: Duration = Duration::from_millis(2);

/// A lane chosen for a claim.
#[derive(Debug, Clone)]
pub(super) struct Pick {
    pub kind: String,
    pub priority: i16,
    pub floor: Option<Floor>,
    pub limited: bool,
}

#[derive(Default)]
struct State {
    lanes: Vec<LaneHead>,
    floors: HashMap<(String, i16), Floor>,
    woken: bool,
    looked: Option<Instant>,
    cost: Duration,
}

/// The board of one group of slots (quick or slow kinds).
pub(super) struct Board {
    kinds: Vec<String>,
    poll: Duration,
    state: Mutex<State>,
    looking: tokio::sync::Mutex<()>,
    wake: Notify,
}

impl Board {
    pub fn new(kinds: Vec<String>, poll: Duration) -> Self {
        Self { kinds, poll, state: Mutex::default(), looking: tokio::sync::Mutex::default(), wake: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something may have become due.
    pub fn wake(&self) {
        self.state().woken = true;
        self.wake.notify_one();
    }

    fn best(&self) -> Option<Pick> {
        let state = self.state();
        let lane = state.lanes.iter().min_by_key(|l| rank(l.head, l.priority))?;
        let floor = state.floors.get(&(lane.kind.clone(), lane.priority)).copied();
        Some(Pick { kind: lane.kind.clone(), priority: lane.priority, floor, limited: lane.limited })
    }

    /// The lane to take after the present batch, if a look is not due first.
    pub fn ahead(&self) -> Option<Pick> {
        if self.until_look().is_zero() { None } else { self.best() }
    }

    /// How long until the next look is allowed; zero: now. A look walks dead rows that the floors spare us, so all
    /// looks together may cost a fiftieth of the time.
    fn until_look(&self) -> Duration {
        let state = self.state();
        let Some(looked) = state.looked else { return Duration::ZERO };
        let every = if state.woken { GAP } else { self.poll }.max(state.cost * 50);
        every.saturating_sub(looked.elapsed())
    }

    /// The best lane. Looks into the database when that is due; waits until there is something.
    pub async fn next(&self, pool: &PgPool) -> sqlx::Result<Pick> {
        loop {
            let wait = self.until_look();
            if wait.is_zero() {
                self.look(pool).await?;
            }
            if let Some(pick) = self.best() {
                return Ok(pick);
            }
            let wait = self.until_look();
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// The best lane now, if any; for whoever does not wait.
    pub async fn peek(&self, pool: &PgPool) -> sqlx::Result<Option<Pick>> {
        if self.best().is_none() {
            self.state().looked = None;
            self.look(pool).await?;
        }
        Ok(self.best())
    }

    async fn look(&self, pool: &PgPool) -> sqlx::Result<()> {
        let _one = self.looking.lock().await;
        if !self.until_look().is_zero() {
            return Ok(()); // another slot looked while we waited
        }
        self.state().woken = false;
        let begin = Instant::now();
        let lanes = due_lanes(&mut *pool.acquire().await?, &self.kinds).await?;
        let mut state = self.state();
        state.looked = Some(Instant::now());
        state.cost = begin.elapsed();
        for lane in &lanes {
            let key = (lane.kind.clone(), lane.priority);
            if state.floors.get(&key).is_some_and(|f| *f >= (lane.head, lane.head_id)) {
                state.floors.remove(&key); // something came in behind us: a late commit, a retry, a rescue
            }
        }
        state.lanes = lanes;
        drop(state);
        self.wake.notify_one(); // another slot may find a lane too
        Ok(())
    }

    /// What a claim gave: the last row it took, and whether the lane may have more.
    pub fn claimed(&self, pick: &Pick, last: Option<Floor>, more: bool) {
        let mut state = self.state();
        let at = state.lanes.iter().position(|l| l.kind == pick.kind && l.priority == pick.priority);
        if let Some(last) = last {
            let floor = state.floors.entry((pick.kind.clone(), pick.priority)).or_insert(last);
            *floor = (*floor).max(last);
            if let Some(lane) = at.and_then(|i| state.lanes.get_mut(i)) {
                lane.head = lane.head.max(last.0);
            }
        }
        if let (false, Some(i)) = (more, at) {
            state.lanes.swap_remove(i);
        }
        drop(state);
        if more {
            self.wake.notify_one();
        }
    }
}

fn rank(head: DateTime<Utc>, priority: i16) -> DateTime<Utc> {
    head + STEP * i32::from(priority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(kind: &str, priority: i16, waited: i64) -> LaneHead {
        LaneHead {
            kind: kind.into(),
            priority,
            head: DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(10_000 - waited),
            head_id: uuid::Uuid::nil(),
            limited: false,
        }
    }

    #[test]
    fn urgent_first_but_nothing_starves() {
        let board = Board::new(vec![], Duration::from_secs(1));
        board.state().lanes = vec![lane("recalculation", 8, 100), lane("webhook_processing", 2, 0)];
        assert_eq!(board.best().map(|p| p.kind).as_deref(), Some("webhook_processing"));
        board.state().lanes = vec![lane("recalculation", 8, 181), lane("webhook_processing", 2, 0)];
        assert_eq!(board.best().map(|p| p.kind).as_deref(), Some("recalculation"));
    }

    #[test]
    fn a_drained_lane_goes_and_a_floor_only_rises() {
        let board = Board::new(vec![], Duration::from_secs(1));
        board.state().lanes = vec![lane("a", 5, 10)];
        let Some(pick) = board.best() else { unreachable!("a lane was put there") };
        let floor = |s: i64| (DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(s), uuid::Uuid::nil());
        board.claimed(&pick, Some(floor(9_995)), true);
        board.claimed(&pick, Some(floor(9_992)), true); // another slot's older claim comes home later
        assert_eq!(board.best().and_then(|p| p.floor), Some(floor(9_995)));
        board.claimed(&pick, None, false);
        assert!(board.best().is_none());
    }
}
