//! Who wears: a person's constants. Drawn once from seed and index; what varies by day is in `physiology`.

use super::device::Kind;
use super::rng::{Rng, word};
use libm::{exp, log};

/// How somebody synchronises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// The phone is always near: many small updates a day.
    Prompt,
    /// Every so many days, in the evening, all at once.
    Every(u8),
}

/// A simulated person. Quantities are long-term means; units in the names.
#[derive(Debug, Clone)]
pub struct Person {
    pub(crate) seed: u64,
    /// Position in the world, from 0.
    pub index: u32,
    /// Terra's `reference_id`, our `user_id`: `sim-001` and on.
    pub user_id: String,
    /// Female physiology: cycle, lower energy need.
    pub female: bool,
    /// Years.
    pub age: f64,
    /// Height in centimetres.
    pub height_cm: f64,
    /// Weight in kilograms.
    pub weight_kg: f64,
    /// Body fat in per cent.
    pub body_fat: f64,
    /// 0 (sedentary) to 1 (athlete).
    pub fitness: f64,
    /// Resting heart rate in beats per minute.
    pub resting_hr: f64,
    /// Natural logarithm of RMSSD in milliseconds.
    pub ln_rmssd: f64,
    /// Hours of sleep.
    pub sleep_h: f64,
    /// Local hour of waking on a working day.
    pub wake_h: f64,
    /// Share of the night spent awake.
    pub restless: f64,
    /// Median steps of a day without training.
    pub steps: f64,
    /// How much the weekend changes steps (logarithm).
    pub weekend: f64,
    /// Chance of training, Monday first.
    pub training: [f64; 7],
    /// Usual minutes of a session.
    pub session_min: f64,
    /// Breaths a minute, asleep.
    pub breaths: f64,
    /// Oxygen saturation asleep, per cent.
    pub spo2: f64,
    /// VO₂max in ml/kg/min.
    pub vo2max: f64,
    /// Length of the cycle in days.
    pub cycle_days: i64,
    /// Offset of the local clock from UTC in hours.
    pub zone_h: i32,
    /// 0 (careless) to 1 (never without the device).
    pub care: f64,
    /// How the phone synchronises.
    pub sync: Sync,
    /// What they wear or stand on, the main device first.
    pub devices: Vec<Kind>,
}

impl Person {
    /// The person of a seed and index, with the devices and the `user_id` that belong to it.
    pub fn new(seed: u64, index: u32) -> Self {
        let mut r = Rng::keyed(seed, &[word("person"), u64::from(index)]);
        let female = r.chance(0.5);
        let age = r.between(21.0, 62.0);
        let fitness = (0.45 + 0.22 * r.normal()).clamp(0.02, 0.98);
        let height_cm = if female { 166.0 } else { 179.0 } + 6.5 * r.normal();
        let body_mass_index = (25.5 - 3.5 * fitness + 2.4 * r.normal()).clamp(18.5, 36.0);
        let body_fat = (if female { 31.0 } else { 22.0 } - 12.0 * (fitness - 0.4) + 0.9 * (body_mass_index - 24.0) + 2.0 * r.normal())
            .clamp(7.0, 45.0);
        let resting_hr = (67.0 - 18.0 * (fitness - 0.3) + if female { 2.0 } else { 0.0 } + 4.0 * r.normal()).clamp(36.0, 84.0);
        let ln_rmssd = log(38.0) - 0.012 * (age - 38.0) - 0.022 * (resting_hr - 62.0) + 0.24 * r.normal();
        let eager = 0.1 + 0.65 * fitness;
        let training = std::array::from_fn(|day| (eager * r.between(0.3, 1.4) * if day == 6 { 0.6 } else { 1.0 }).clamp(0.0, 0.95));
        Self {
            seed,
            index,
            user_id: format!("{}{:03}", super::PREFIX, index + 1),
            female,
            age,
            height_cm,
            weight_kg: body_mass_index * (height_cm / 100.0) * (height_cm / 100.0),
            body_fat,
            fitness,
            resting_hr,
            ln_rmssd: ln_rmssd.clamp(log(14.0), log(130.0)),
            sleep_h: (7.2 + 0.55 * r.normal()).clamp(5.6, 8.8),
            wake_h: (6.9 + 0.6 * r.normal()).clamp(5.3, 8.6),
            restless: r.between(0.05, 0.14),
            steps: exp(log(7_400.0) + 0.35 * (fitness - 0.45) + 0.3 * r.normal()),
            weekend: 0.25 * r.normal(),
            training,
            session_min: r.between(35.0, 80.0),
            breaths: (14.3 + 1.4 * r.normal()).clamp(11.0, 18.5),
            spo2: (96.4 + 0.6 * r.normal()).clamp(94.5, 98.0),
            vo2max: (31.0 + 26.0 * fitness - 0.2 * (age - 40.0) + if female { -3.0 } else { 1.0 } + 2.0 * r.normal()).clamp(20.0, 72.0),
            cycle_days: 26 + r.below(6) as i64,
            zone_h: [0, 1, 1, 2, -5][r.below(5) as usize],
            care: r.unit(),
            sync: if r.chance(0.72) { Sync::Prompt } else { Sync::Every(2 + r.below(2) as u8) },
            devices: devices(index),
        }
    }

    /// Mifflin–St Jeor basal energy in kcal a day (Mifflin 1990).
    pub fn basal_kcal(&self) -> f64 {
        10.0 * self.weight_kg + 6.25 * self.height_cm - 5.0 * self.age + if self.female { -161.0 } else { 5.0 }
    }

    /// Natural logarithm of the usual steps, for noise that multiplies.
    pub(crate) fn ln_steps(&self) -> f64 {
        log(self.steps)
    }
}

/// Devices go by index, not by chance, so that even a small world shows every kind and some pairs.
fn devices(index: u32) -> Vec<Kind> {
    use Kind::{Apple, Fitbit, Garmin, Oura, Whoop, Withings};
    match index % 10 {
        0 => vec![Whoop, Garmin],
        1 => vec![Fitbit],
        2 => vec![Oura, Withings],
        3 => vec![Garmin],
        4 => vec![Apple],
        5 => vec![Fitbit, Withings],
        6 => vec![Garmin, Withings],
        7 => vec![Whoop],
        8 => vec![Oura, Apple],
        _ => vec![Fitbit],
    }
}
