//! What was true of a person on a day.
//!
//! Resting heart rate, variability, sleep, movement, energy and weight move together: training of the last week
//! tires, illness raises the pulse and the temperature and lowers variability, an evening out does a little of
//! both. Everything is a function of (person, date), see `rng::drift`.

use super::person::Person;
use super::rng::{Rng, drift, word};
use crate::model::Metric;
use chrono::{Datelike, NaiveDate};
use libm::{exp, sin};

/// A workout of the day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Session {
    /// Minutes it lasted.
    pub minutes: f64,
    /// 0.4 (easy) to 1 (hard).
    pub intensity: f64,
    /// Terra's activity type: 8 running, 1 biking, 80 strength.
    pub kind: u32,
}

/// The truth of one day; the night is the one that ended on it. Units as [`Metric::unit`] unless the name says so.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each field is the metric of the same name")]
pub struct Day {
    pub steps: f64,
    pub distance: f64,
    pub active_calories: f64,
    pub total_calories: f64,
    pub basal_calories: f64,
    pub low_s: f64,
    pub moderate_s: f64,
    pub vigorous_s: f64,
    pub resting_hr: f64,
    pub average_hr: f64,
    pub max_hr: f64,
    pub min_hr: f64,
    pub rmssd: f64,
    pub sdnn: f64,
    pub asleep_s: f64,
    pub deep_s: f64,
    pub rem_s: f64,
    pub in_bed_s: f64,
    /// Local second of the day at which the night ended.
    pub wake_s: f64,
    pub breaths: f64,
    pub spo2: f64,
    pub temperature: f64,
    pub weight: f64,
    pub body_fat: f64,
    pub muscle: f64,
    pub bmi: f64,
    pub vo2max: f64,
    /// 0 when well.
    pub illness: f64,
    pub session: Option<Session>,
}

impl Day {
    /// The true value of a metric in its unit; `None` where no truth exists (vendors' own scores) or none is simulated.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        Some(match metric {
            Metric::Steps => self.steps,
            Metric::Distance => self.distance,
            Metric::ActiveCalories => self.active_calories,
            Metric::TotalCalories => self.total_calories,
            Metric::ActiveMinutes => (self.moderate_s + self.vigorous_s) / 60.0,
            Metric::RestingHeartRate => self.resting_hr,
            Metric::AverageHeartRate => self.average_hr,
            Metric::MaxHeartRate => self.max_hr,
            Metric::MinHeartRate => self.min_hr,
            Metric::HrvRmssd => self.rmssd,
            Metric::HrvSdnn => self.sdnn,
            Metric::SleepDuration => self.asleep_s,
            Metric::SleepDeep => self.deep_s,
            Metric::SleepRem => self.rem_s,
            Metric::SleepLight => self.asleep_s - self.deep_s - self.rem_s,
            Metric::SleepEfficiency => 100.0 * self.asleep_s / self.in_bed_s,
            Metric::TimeInBed => self.in_bed_s,
            Metric::RespiratoryRate => self.breaths,
            Metric::Spo2 => self.spo2,
            Metric::SkinTemperatureDelta => self.temperature,
            Metric::Weight => self.weight,
            Metric::BodyFat => self.body_fat,
            Metric::MuscleMass => self.muscle,
            Metric::Bmi => self.bmi,
            Metric::Vo2max => self.vo2max,
            _ => return None,
        })
    }
}

/// Days since the common era as the key of a date.
pub(crate) fn number(date: NaiveDate) -> i64 {
    i64::from(date.num_days_from_ce())
}

impl Person {
    fn noise(&self, what: &str, day: i64, memory: f64) -> f64 {
        drift(self.seed, [word(what), u64::from(self.index)], day, memory)
    }

    pub(crate) fn draw(&self, what: &str, day: i64) -> Rng {
        Rng::keyed(self.seed, &[word(what), u64::from(self.index), day as u64])
    }

    /// How ill, 0 to 1. At most one episode in ten weeks, three to eight days long.
    pub fn illness(&self, date: NaiveDate) -> f64 {
        let day = number(date);
        let mut r = self.draw("illness", day.div_euclid(70));
        let (falls_ill, start, days, severity) = (r.chance(0.55), r.below(60) as i64, 3 + r.below(6) as i64, r.between(0.5, 1.0));
        let since = day.rem_euclid(70) - start;
        if !falls_ill || since < 0 || since >= days {
            return 0.0;
        }
        severity * if since == 0 { 0.55 } else { 1.0 - 0.6 * (since - 1) as f64 / days as f64 }
    }

    fn session(&self, date: NaiveDate) -> Option<Session> {
        let mut r = self.draw("training", number(date));
        let trains = r.chance(self.training[date.weekday().num_days_from_monday() as usize]);
        let session = Session {
            minutes: self.session_min * r.between(0.7, 1.4),
            intensity: r.between(0.4, 1.0),
            kind: [8, 8, 1, 80][r.below(4) as usize],
        };
        (trains && self.illness(date) < 0.2).then_some(session)
    }

    /// Training of the last week against the usual, about −1 to 1.5.
    fn fatigue(&self, date: NaiveDate) -> f64 {
        let usual = self.training.iter().sum::<f64>() / 7.0 * self.session_min * 0.73 + 5.0;
        let (mut weight, mut sum, mut weights) = (1.0, 0.0, 0.0);
        for back in 1..=7 {
            let load =
                date.checked_sub_days(chrono::Days::new(back)).and_then(|d| self.session(d)).map_or(0.0, |s| s.minutes * s.intensity);
            sum += weight * load;
            weights += weight;
            weight *= 0.75;
        }
        sum / weights / usual - 1.0
    }

    /// In the second half of the cycle pulse and temperature are a little higher.
    fn luteal(&self, day: i64) -> f64 {
        let offset = i64::from(self.index) * 7;
        if self.female && self.age < 50.0 && (day + offset).rem_euclid(self.cycle_days) > self.cycle_days / 2 { 1.0 } else { 0.0 }
    }

    /// Everything that was true on `date`.
    pub fn day(&self, date: NaiveDate) -> Day {
        let n = number(date);
        let weekday = date.weekday().num_days_from_monday();
        let weekend = f64::from(u8::from(weekday >= 5));
        let ill = self.illness(date);
        let session = self.session(date);
        let fatigue = self.fatigue(date);
        let stress = self.noise("stress", n, 0.6);
        // Friday and Saturday evenings show in the nights that end on Saturday and Sunday.
        let out_late = f64::from(u8::from(weekend > 0.0 && self.draw("evening", n).chance(0.3)));
        let luteal = self.luteal(n);
        let resting_hr =
            self.resting_hr + 1.2 * fatigue + 7.0 * ill + 3.0 * out_late + 0.9 * stress + 1.2 * luteal + 0.9 * self.noise("pulse", n, 0.5);
        let ln_rmssd = self.ln_rmssd - 0.05 * fatigue - 0.32 * ill - 0.16 * out_late - 0.05 * stress - 0.04 * luteal
            + 0.085 * self.noise("hrv", n, 0.3);
        let rmssd = exp(ln_rmssd);
        let mut day = Day {
            resting_hr: resting_hr.max(31.0),
            rmssd,
            // SDNN of short daytime samples lies above nightly RMSSD and less than in proportion.
            sdnn: 1.9 * exp(0.92 * ln_rmssd + 0.1 * self.noise("sdnn", n, 0.2)),
            breaths: self.breaths + 1.7 * ill + 0.3 * self.noise("breath", n, 0.4),
            spo2: (self.spo2 - 0.9 * ill + 0.3 * self.noise("oxygen", n, 0.2)).min(99.5),
            temperature: 0.11 * self.noise("warmth", n, 0.3) + 0.85 * ill + 0.25 * luteal - 0.1,
            vo2max: self.vo2max + 0.7 * sin(n as f64 / 40.0 + f64::from(self.index)),
            illness: ill,
            session,
            ..self.build(n)
        };
        self.move_about(&mut day, n, weekend, weekday, ill);
        self.sleep(&mut day, n, weekend, ill, out_late);
        day
    }

    /// Weight and what it is made of; the rest of the day is filled by the caller.
    fn build(&self, n: i64) -> Day {
        let weight = self.weight_kg
            + 0.9 * sin(n as f64 / 32.0 + f64::from(self.index) * 1.7)
            + 0.36 * self.noise("weight", n, 0.7)
            + if n % 7 == 1 { 0.25 } else { 0.0 };
        let body_fat = self.body_fat + 0.35 * (weight - self.weight_kg);
        Day {
            weight,
            body_fat,
            muscle: weight * (1.0 - body_fat / 100.0) * 0.95,
            bmi: weight / (self.height_cm / 100.0) / (self.height_cm / 100.0),
            steps: 0.0,
            distance: 0.0,
            active_calories: 0.0,
            total_calories: 0.0,
            basal_calories: self.basal_kcal(),
            low_s: 0.0,
            moderate_s: 0.0,
            vigorous_s: 0.0,
            resting_hr: 0.0,
            average_hr: 0.0,
            max_hr: 0.0,
            min_hr: 0.0,
            rmssd: 0.0,
            sdnn: 0.0,
            asleep_s: 0.0,
            deep_s: 0.0,
            rem_s: 0.0,
            in_bed_s: 0.0,
            wake_s: 0.0,
            breaths: 0.0,
            spo2: 0.0,
            temperature: 0.0,
            vo2max: 0.0,
            illness: 0.0,
            session: None,
        }
    }

    fn move_about(&self, day: &mut Day, n: i64, weekend: f64, weekday: u32, ill: f64) {
        let (minutes, intensity, runs) = day.session.map_or((0.0, 0.0, false), |s| (s.minutes, s.intensity, s.kind == 8));
        let sunday = if weekday == 6 { -0.08 } else { 0.0 };
        day.steps = exp(self.ln_steps() + self.weekend * weekend + sunday - 0.9 * ill + 0.27 * self.noise("steps", n, 0.2))
            + if runs { 155.0 * minutes } else { 0.0 };
        day.distance = day.steps * self.height_cm * 0.00414;
        let rest_of_life = 260.0 * exp(0.2 * self.noise("fidget", n, 0.3));
        day.active_calories = day.steps * self.weight_kg * 0.00045 + minutes * intensity * self.weight_kg * 0.13 + rest_of_life;
        // A tenth of what is burned goes into digesting.
        day.total_calories = (day.basal_calories + day.active_calories) / 0.9;
        day.low_s = 4_000.0 + 0.7 * day.steps;
        day.moderate_s = 900.0 * exp(0.45 * self.noise("brisk", n, 0.2)) * day.steps / 8_000.0 + minutes * 60.0 * (1.0 - intensity);
        day.vigorous_s = minutes * 60.0 * intensity;
        let ceiling = 208.0 - 0.7 * self.age;
        let mut r = self.draw("beats", n);
        day.average_hr = day.resting_hr + 11.0 + 0.0004 * day.steps + 0.07 * minutes * intensity + r.normal();
        day.max_hr = if minutes > 0.0 {
            day.resting_hr + (ceiling - day.resting_hr) * (0.55 + 0.4 * intensity)
        } else {
            day.resting_hr + r.between(45.0, 70.0)
        };
        day.min_hr = day.resting_hr - r.between(2.0, 6.0);
    }

    fn sleep(&self, day: &mut Day, n: i64, weekend: f64, ill: f64, out_late: f64) {
        let mut r = self.draw("night", n);
        let hours = self.sleep_h + 0.6 * weekend - 0.5 * out_late + 0.8 * ill + 0.7 * self.noise("sleep", n, 0.2);
        day.asleep_s = hours.clamp(3.3, 11.0) * 3600.0;
        day.deep_s = day.asleep_s * (0.17 - 0.0012 * (self.age - 40.0) + 0.025 * r.normal()).clamp(0.06, 0.3);
        day.rem_s = day.asleep_s * (0.22 - 0.04 * out_late + 0.025 * r.normal()).clamp(0.08, 0.34);
        let awake = day.asleep_s * self.restless * r.between(0.6, 1.5);
        day.in_bed_s = day.asleep_s + awake + r.between(300.0, 1_500.0);
        day.wake_s = (self.wake_h + 1.1 * weekend + 0.35 * r.normal()).clamp(4.0, 11.5) * 3600.0;
    }
}
