//! How often a person's value repeats to the last digit, and for how long it has now: the sign of a stuck sensor or of
//! a copied day. Heart rates in whole beats repeat by chance, step counts do not; the person's own past tells which.

use std::collections::VecDeque;

/// Observations the registry's chance of a repeat is worth.
const PRIOR: f64 = 4.0;

/// Least share of the average chance that a value far out repeats with.
const RARE: f64 = 0.1;

/// Values of the last so-many days, with which of them repeated the one before.
#[derive(Debug)]
pub struct Repeats {
    days: i32,
    /// Day, value, and whether it equals the entry before it in the queue.
    queue: VecDeque<(i32, f64, bool)>,
    equal: u32,
}

/// What the past says about a value that repeats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Repeat {
    /// Values before this one that are exactly equal to it, one after the other.
    pub run: u32,
    /// Chance that a sound value repeats, from the past before the run.
    pub chance: f64,
}

impl Repeats {
    /// A window over the `days` days before the day asked about.
    pub fn new(days: i32) -> Self {
        Self { days, queue: VecDeque::new(), equal: 0 }
    }

    /// Adds the value of a day.
    pub fn push(&mut self, day: i32, value: f64) {
        let equal = self.queue.back().is_some_and(|(_, v, _)| *v == value);
        self.equal += u32::from(equal);
        self.queue.push_back((day, value, equal));
    }

    /// Drops what lies before the window. The first that stays has nothing before it any more.
    pub fn advance(&mut self, day: i32) {
        while let Some(&(first, _, equal)) = self.queue.front() {
            if first >= day - self.days {
                break;
            }
            self.equal -= u32::from(equal);
            self.queue.pop_front();
            if let Some(front) = self.queue.front_mut() {
                self.equal -= u32::from(front.2);
                front.2 = false;
            }
        }
    }

    /// What the window says about `value`, with the registry's chance of a repeat to start from. `z` is the value's distance
    /// from the person's median in spreads: of values scattered like a bell, one at distance z repeats √2·e^(−z²/2) times as
    /// often as they do on average.
    pub fn of(&self, value: f64, usual: f64, z: f64) -> Repeat {
        let run = self.queue.iter().rev().take_while(|(_, v, _)| *v == value).count() as u32;
        let within = run.saturating_sub(1);
        let pairs = (self.queue.len() as u32).saturating_sub(1).saturating_sub(run);
        let equal = self.equal - within.min(self.equal);
        let chance = (f64::from(equal) + usual * PRIOR) / (f64::from(pairs) + PRIOR);
        let here = std::f64::consts::SQRT_2 * libm::exp(-z * z / 2.0);
        Repeat { run, chance: (chance * here.max(RARE)).clamp(1e-4, 0.95) }
    }
}
