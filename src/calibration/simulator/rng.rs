//! Chance from a seed, alike on every machine.
//!
//! Each draw is keyed: the stream for "steps of person 7 on this date" does not depend on what was drawn before,
//! so a day can be made without making the days before it.

use libm::{cos, log, sqrt};

/// SplitMix64 (Steele, Lea & Flood 2014): small, fast, and good enough for a world of wearers. Not for secrets.
#[derive(Debug, Clone)]
pub struct Rng(u64);

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number for a word, to be used as a key (FNV-1a).
pub const fn word(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

/// Noise that remembers: unit variance, correlation `memory` from one day to the next. A moving average over the
/// last 16 innovations instead of a recursion, so that it needs no beginning.
pub fn drift(seed: u64, keys: [u64; 2], day: i64, memory: f64) -> f64 {
    let (mut weight, mut sum) = (1.0, 0.0);
    for back in 0..16 {
        if weight < 0.01 {
            break;
        }
        sum += weight * Rng::keyed(seed, &[keys[0], keys[1], (day - back) as u64]).normal();
        weight *= memory;
    }
    sum * sqrt(1.0 - memory * memory)
}

impl Rng {
    /// The stream of a seed and keys. Other keys, another stream.
    pub fn keyed(seed: u64, keys: &[u64]) -> Self {
        Self(keys.iter().fold(mix(seed ^ GAMMA), |state, key| mix(state ^ mix(key.wrapping_add(GAMMA)))))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// Even over [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Even over [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A whole number in 0..count; 0 when count is 0.
    pub fn below(&mut self, count: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(count)) >> 64) as u64
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Standard normal (Box–Muller, one of the pair).
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.unit(), self.unit());
        sqrt(-2.0 * log(u)) * cos(2.0 * std::f64::consts::PI * v)
    }

    /// Text in the form of a UUID (version 8: made to order).
    pub fn uuid(&mut self) -> String {
        let (a, b) = (self.bits(), self.bits());
        format!(
            "{:08x}-{:04x}-8{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            0x8000 | ((b >> 48) & 0x3fff),
            b & 0xffff_ffff_ffff
        )
    }
}
