//! Which lane to take next, for all slots of a worker.
//!
//! A lane (kind and priority) is ranked by when its head became due plus half a minute for each step of priority.
//! That is the aging: whatever comes later, a job of priority 9 is ahead of it after four and a half minutes.
//! Priority 0 does not take part in it: a job with a deadline is of no use after that, so it goes first, however long the others have
//! waited, and only a few claims in a row.
//!
//! Each lane has a floor: before it this worker knows of nothing. Claims and looks begin there, so that what was taken
//! already is not walked again, however long some old transaction keeps the dead rows. Whoever puts a job behind a floor
//! says so in a notification, which lowers it, and so does whoever locked a waiting job while claims passed it by; a full look now
//! and then finds what nobody said.

use crate::store::jobs::claim::{Ask, Floor, LaneHead, due_lanes};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use uuid::Uuid;

/// How much later a job of the next priority ranks.
const STEP: TimeDelta = TimeDelta::seconds(30);
/// The priority of jobs with a deadline.
const DEADLINE: i16 = 0;
/// After so many claims in a row of jobs with a deadline one goes by rank alone: a flood of them keeps the others waiting, but not for
/// ever.
const IN_A_ROW: u32 = 3;
/// Looks are never closer than this, however often we are woken; further apart while there is work at hand.
const GAP: Duration = Duration::from_millis(2);
const BUSY_GAP: Duration = Duration::from_millis(25);
/// So often, or as seldom as keeps it below a hundredth of the time, the floors are forgotten for one look.
const FULL: Duration = Duration::from_secs(5);
/// Commits may be so much later than the times of their jobs, where a notification does not name the time.
const LATE: TimeDelta = TimeDelta::seconds(1);

type Key = (String, i16);

/// A lane chosen for a claim.
#[derive(Debug, Clone)]
pub(super) struct Pick {
    pub kind: String,
    pub priority: i16,
    pub floor: Option<Floor>,
    pub limited: bool,
    turn: u64,
}

#[derive(Debug)]
struct Lane {
    kind: String,
    priority: i16,
    head: DateTime<Utc>,
    /// When it was last said to have something: a claim that came back empty but began before says nothing.
    turn: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Rule {
    paused: bool,
    limited: bool,
}

#[derive(Default)]
struct State {
    lanes: Vec<Lane>,
    floors: HashMap<Key, Floor>,
    rules: HashMap<String, Rule>,
    /// Kinds to look at before the next round.
    asked: HashSet<String>,
    /// The floors are not to be trusted.
    forget: bool,
    looked: Option<Instant>,
    round: Option<Instant>,
    full: Option<Instant>,
    full_cost: Duration,
    turn: u64,
    /// How many of the last claims were of jobs with a deadline.
    in_a_row: u32,
}

impl State {
    fn turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    /// The lane has something that became due at `head`.
    fn put(&mut self, kind: &str, priority: i16, head: DateTime<Utc>) {
        let turn = self.turn();
        match self.lanes.iter_mut().find(|l| l.kind == kind && l.priority == priority) {
            Some(lane) => (lane.head, lane.turn) = (lane.head.min(head), turn),
            None => self.lanes.push(Lane { kind: kind.to_owned(), priority, head, turn }),
        }
    }

    fn lower(&mut self, kind: &str, priority: i16, to: Floor) {
        if let Some(floor) = self.floors.get_mut(&(kind.to_owned(), priority)) {
            *floor = (*floor).min(to);
        }
    }
}

/// The floor under everything that became due at `at` or later.
fn under(at: DateTime<Utc>) -> Floor {
    (at - TimeDelta::microseconds(1), Uuid::max())
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

    /// What a notification says: nothing (anything may have become due), a kind, or `kind@microseconds@priority` of
    /// the oldest of the new jobs. With the last a slot can claim at once, without looking first.
    pub fn hear(&self, word: &str) {
        let mut parts = word.split('@');
        let kind = parts.next().unwrap_or_default();
        let time = parts.next().and_then(|t| DateTime::from_timestamp_micros(t.parse().ok()?));
        let priority = parts.next().and_then(|p| p.parse().ok());
        let mut state = self.state();
        if kind.is_empty() {
            state.forget = true;
        } else if !self.kinds.iter().any(|k| k == kind) {
            return;
        } else if let (Some(at), Some(priority)) = (time, priority) {
            state.lower(kind, priority, under(at));
            if !state.rules.get(kind).is_some_and(|r| r.paused) {
                state.put(kind, priority, at);
            }
        } else {
            for priority in 0..10 {
                if let Some((at, _)) = state.floors.get(&(kind.to_owned(), priority)).copied() {
                    state.lower(kind, priority, (at - LATE, Uuid::max()));
                }
            }
            state.asked.insert(kind.to_owned());
        }
        drop(state);
        self.wake.notify_one();
    }

    fn best(&self) -> Option<Pick> {
        let state = self.state();
        let by_rank = state.in_a_row >= IN_A_ROW;
        let lane = state.lanes.iter().min_by_key(|l| (!by_rank && l.priority != DEADLINE, rank(l.head, l.priority)))?;
        let floor = state.floors.get(&(lane.kind.clone(), lane.priority)).copied();
        let limited = state.rules.get(&lane.kind).is_some_and(|r| r.limited);
        Some(Pick { kind: lane.kind.clone(), priority: lane.priority, floor, limited, turn: lane.turn })
    }

    /// The lane to take after the present batch, if a look is not due first.
    pub fn ahead(&self) -> Option<Pick> {
        if self.until_look().is_zero() { None } else { self.best() }
    }

    /// How long until the next look; zero: now.
    fn until_look(&self) -> Duration {
        let state = self.state();
        let (Some(looked), Some(round)) = (state.looked, state.round) else { return Duration::ZERO };
        // While something is at hand, taking it comes before looking around, for a while.
        let every = if state.lanes.is_empty() { self.poll } else { self.poll * 2 };
        let mut wait = every.saturating_sub(round.elapsed());
        if !state.asked.is_empty() {
            let gap = if state.lanes.is_empty() { GAP } else { BUSY_GAP };
            wait = wait.min(gap.saturating_sub(looked.elapsed()));
        }
        if state.forget {
            wait = wait.min(GAP.max(state.full_cost * 10).saturating_sub(looked.elapsed()));
        }
        wait
    }

    /// The best lane. Looks into the database when that is due; waits until there is something.
    pub async fn next(&self, pool: &PgPool) -> sqlx::Result<Pick> {
        loop {
            if self.until_look().is_zero() {
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
            self.state().round = None;
            self.look(pool).await?;
        }
        Ok(self.best())
    }

    async fn look(&self, pool: &PgPool) -> sqlx::Result<()> {
        let _one = self.looking.lock().await;
        if !self.until_look().is_zero() {
            return Ok(()); // another slot looked while we waited
        }
        let begin = Instant::now();
        let (kinds, full, asks, turn) = {
            let mut state = self.state();
            let round = state.round.is_none_or(|r| r.elapsed() >= self.poll);
            let full = state.forget || (round && state.full.is_none_or(|f| f.elapsed() >= FULL.max(state.full_cost * 100)));
            state.forget = false;
            let asked = std::mem::take(&mut state.asked);
            let kinds: Vec<&String> = self.kinds.iter().filter(|k| full || round || asked.contains(*k)).collect();
            let floor = |kind: &str, priority| if full { None } else { state.floors.get(&(kind.to_owned(), priority)).copied() };
            let asks: Vec<Ask> = kinds
                .iter()
                .flat_map(|kind| (0..10).map(|priority| Ask { kind: (*kind).clone(), priority, floor: floor(kind, priority) }))
                .collect();
            (kinds, full, asks, state.turn())
        };
        let looked = async { due_lanes(&mut *pool.acquire().await?, &asks).await };
        let (now, heads) = match looked.await {
            Ok(looked) => looked,
            Err(e) => {
                // What was asked for is still to be looked at.
                let mut state = self.state();
                state.forget |= full;
                state.asked.extend(kinds.into_iter().cloned());
                return Err(e);
            }
        };
        let mut state = self.state();
        let end = Instant::now();
        state.looked = Some(end);
        if kinds.len() == self.kinds.len() {
            state.round = Some(end);
        }
        if full {
            (state.full, state.full_cost) = (Some(end), end - begin);
        }
        state.found(&kinds, &asks, now, &heads, turn);
        let more = state.lanes.len() > 1;
        drop(state);
        if more {
            self.wake.notify_one(); // there is something for another slot too
        }
        Ok(())
    }

    /// What a claim gave: the last row it took, and whether the lane may have more.
    pub fn claimed(&self, pick: &Pick, last: Option<Floor>, more: bool) {
        let mut state = self.state();
        let at = state.lanes.iter().position(|l| l.kind == pick.kind && l.priority == pick.priority);
        let heard_since = at.and_then(|i| state.lanes.get(i)).is_some_and(|l| l.turn != pick.turn);
        if let Some(last) = last {
            state.in_a_row = if pick.priority == DEADLINE { state.in_a_row.saturating_add(1) } else { 0 };
            // What was heard of since may lie before it.
            if !heard_since {
                let floor = state.floors.entry((pick.kind.clone(), pick.priority)).or_insert(last);
                *floor = (*floor).max(last);
            }
            if let (false, Some(lane)) = (heard_since, at.and_then(|i| state.lanes.get_mut(i))) {
                lane.head = lane.head.max(last.0);
            }
        }
        if let (false, false, Some(i)) = (more, heard_since, at) {
            state.lanes.swap_remove(i);
        }
        drop(state);
        if more {
            self.wake.notify_one();
        }
    }

    /// A limited kind has room again.
    pub fn room(&self, kind: &str) {
        self.state().asked.insert(kind.to_owned());
        self.wake.notify_one();
    }
}

impl State {
    /// Takes in what a look found; what was heard while it was under way stays.
    fn found(&mut self, kinds: &[&String], asks: &[Ask], now: DateTime<Utc>, heads: &[LaneHead], turn: u64) {
        for kind in kinds {
            self.rules.remove(*kind);
        }
        for head in heads {
            self.rules.insert(head.kind.clone(), Rule { paused: head.paused, limited: head.limited });
        }
        let heard: HashSet<Key> = self.lanes.iter().filter(|l| l.turn > turn).map(|l| (l.kind.clone(), l.priority)).collect();
        let paused: HashSet<&String> = heads.iter().filter(|h| h.paused).map(|h| &h.kind).collect();
        // Of a paused kind nothing is to be taken, also when it was heard of before we knew that it is paused.
        self.lanes.retain(|l| (l.turn > turn || !kinds.contains(&&l.kind)) && !paused.contains(&l.kind));
        for ask in asks {
            let key = (ask.kind.clone(), ask.priority);
            let head = heads.iter().find(|h| h.kind == ask.kind && h.priority == ask.priority).and_then(|h| h.head);
            if !heard.contains(&key) {
                // Nothing lies before the head; where there is none, nothing before now, but for commits under way.
                let known = under(head.unwrap_or(now - LATE * 2));
                match ask.floor {
                    Some(floor) => {
                        let kept = self.floors.entry(key).or_insert(floor);
                        *kept = (*kept).max(known);
                    }
                    None => drop(self.floors.insert(key, known)),
                }
            }
            if let (Some(head), false) = (head, paused.contains(&ask.kind)) {
                let known = self.lanes.iter_mut().find(|l| l.kind == ask.kind && l.priority == ask.priority);
                match known {
                    Some(lane) => lane.head = lane.head.min(head),
                    None => self.lanes.push(Lane { kind: ask.kind.clone(), priority: ask.priority, head, turn }),
                }
            }
        }
    }
}

fn rank(head: DateTime<Utc>, priority: i16) -> DateTime<Utc> {
    head + STEP * i32::from(priority)
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
