//! Intervals: whole persons are drawn again with replacement, since days of one person are alike.
//!
//! They are drawn once for a whole report. A figure is then worked out with each person counted as often as drawn, so
//! nothing is copied or sorted again, and figures of one report can be compared: they saw the same draws.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How often each person was drawn; `None`: everybody once.
pub type Drawn<'d> = Option<&'d [u32]>;

/// A figure with the middle 90 % of what it would have been had other persons been drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Its 90 % interval; `None` where only one person is behind it, of whom nothing can be drawn again.
    pub interval: Option<(f64, f64)>,
}

impl fmt::Display for Estimate {
    /// `0.033 (0.030–0.043)`, with as many digits as asked for, else three.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(3);
        let minus = |x: f64| format!("{x:.digits$}").replace('-', "\u{2212}");
        match self.interval {
            Some((low, high)) => {
                let between = if low < 0.0 { " to " } else { "–" };
                write!(f, "{} ({}{between}{})", minus(self.value), minus(low), minus(high))
            }
            None => write!(f, "{} (–)", minus(self.value)),
        }
    }
}

/// Draws of persons, the same for the same seed.
#[derive(Debug, Clone)]
pub struct Draws(Vec<Vec<u32>>);

impl Draws {
    /// So many draws of so many persons.
    pub fn new(persons: usize, draws: u32, seed: u64) -> Self {
        let mut chance = seed ^ 0x9e37_79b9_7f4a_7c15;
        let mut one = |_| {
            let mut drawn = vec![0; persons];
            for _ in 0..persons {
                drawn[(next(&mut chance) % persons as u64) as usize] += 1;
            }
            drawn
        };
        Self((0..draws).map(&mut one).collect())
    }

    /// A figure of everybody and of each draw; `None` where everybody has none. `persons`: how many are behind it.
    pub fn of(&self, persons: usize, figure: impl Fn(Drawn<'_>) -> Option<f64>) -> Option<Spread> {
        self.each(persons, |drawn| figure(drawn).into_iter().collect()).pop()
    }

    /// The same for several figures that come together.
    pub fn each(&self, persons: usize, figures: impl Fn(Drawn<'_>) -> Vec<f64>) -> Vec<Spread> {
        let mut spreads: Vec<Spread> = figures(None).into_iter().map(|value| Spread { value, drawn: Vec::new() }).collect();
        if persons < 2 {
            return spreads;
        }
        for drawn in &self.0 {
            // A draw in which a figure has no meaning (nobody with the fault) says nothing about it.
            for (spread, value) in spreads.iter_mut().zip(figures(Some(drawn))) {
                spread.drawn.push(value);
            }
        }
        for spread in &mut spreads {
            spread.drawn.sort_unstable_by(f64::total_cmp);
        }
        spreads
    }
}

/// A figure, and what it was in each draw, ascending.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    value: f64,
    drawn: Vec<f64>,
}

impl Spread {
    fn at(&self, share: f64) -> Option<f64> {
        let last = self.drawn.len().checked_sub(1)?;
        self.drawn.get((last as f64 * share).round() as usize).copied()
    }

    /// With the 5th and 95th percentile of the draws.
    pub fn percentile(&self) -> Estimate {
        Estimate { value: self.value, interval: self.at(0.05).zip(self.at(0.95)) }
    }

    /// For figures that noise can only raise (calibration errors, what isotonic regression finds): a draw repeats persons,
    /// so its figure lies above the figure as that lies above the truth. The draws are mirrored at the figure (the basic
    /// bootstrap interval); never below zero, and never without the figure itself.
    pub fn mirrored(&self) -> Estimate {
        let mirror = |(low, high): (f64, f64)| {
            let value = self.value;
            ((2.0 * value - high).clamp(0.0, value.max(0.0)), (2.0 * value - low).max(value))
        };
        Estimate { value: self.value, interval: self.at(0.05).zip(self.at(0.95)).map(mirror) }
    }
}

/// splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Five values of each of twenty persons.
    fn mean(drawn: Drawn<'_>) -> Option<f64> {
        let (mut sum, mut n) = (0.0, 0.0);
        for person in 0..20 {
            let times = f64::from(drawn.map_or(1, |d| d[person]));
            sum += times * (0..5).map(|day| (person * 5 + day) as f64).sum::<f64>();
            n += times * 5.0;
        }
        Some(sum / n)
    }

    #[test]
    fn intervals_hold_the_figure_and_are_the_same_for_the_same_seed() {
        let once = Draws::new(20, 200, 7).of(20, mean).unwrap().percentile();
        let (low, high) = once.interval.unwrap();
        assert!(low < once.value && once.value < high, "{once}");
        // The mean of twenty persons evenly spread over 0–95: standard error 28.8/√20, so 90 % within ± 10.6.
        assert!((once.value - low - 10.6).abs() < 3.0 && (high - once.value - 10.6).abs() < 3.0, "{once}");
        assert_eq!(once, Draws::new(20, 200, 7).of(20, mean).unwrap().percentile());
    }

    #[test]
    fn one_person_has_a_figure_and_no_interval() {
        let alone = Draws::new(1, 200, 7).of(1, |_| Some(0.867)).unwrap().percentile();
        assert_eq!(alone, Estimate { value: 0.867, interval: None });
        assert_eq!(format!("{alone:.2}"), "0.87 (–)");
        assert_eq!(Draws::new(3, 200, 7).of(3, |_| None), None, "and where there is no figure there is none");
    }

    #[test]
    fn draws_that_lie_above_a_figure_say_that_it_is_too_high() {
        let spread = Spread { value: 0.03, drawn: (0..101).map(|i| 0.035 + 0.0001 * f64::from(i)).collect() };
        let (low, high) = spread.mirrored().interval.unwrap();
        assert!((low - 0.0155).abs() < 1e-9 && high == 0.03, "{low} {high}");
        assert_eq!(Spread { value: 0.01, drawn: vec![0.2; 9] }.mirrored().interval.unwrap(), (0.0, 0.01));
        let (low, high) = spread.percentile().interval.unwrap();
        assert!((low - 0.0355).abs() < 1e-9 && (high - 0.0445).abs() < 1e-9);
    }

    #[test]
    fn figures_are_written_with_their_interval() {
        let write = |value, interval| Estimate { value, interval }.to_string();
        assert_eq!(write(0.0331, Some((0.03, 0.0429))), "0.033 (0.030–0.043)");
        assert_eq!(write(-0.552, Some((-0.57, -0.53))), "\u{2212}0.552 (\u{2212}0.570 to \u{2212}0.530)");
    }
}
