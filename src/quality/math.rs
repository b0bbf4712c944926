//! The few functions the scorer needs, with the same bits on every machine: logarithm, exponential and error
//! function come from the pure-Rust `libm`, everything else is IEEE arithmetic.

/// Natural logarithm.
pub fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// `1 / (1 + e^-x)`.
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

/// Log-odds of a probability, which is first kept away from 0 and 1 by a millionth.
pub fn logit(p: f64) -> f64 {
    let p = clamp_probability(p);
    ln(p / (1.0 - p))
}

/// No probability of ours is certain: between one in a million and its opposite.
pub fn clamp_probability(p: f64) -> f64 {
    p.clamp(1e-6, 1.0 - 1e-6)
}

/// P(Z ≤ z) of a standard normal.
pub fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2)
}

/// The standard deviation of an error around zero that stays within 1 with probability `p`.
pub fn sd_within_one(p: f64) -> f64 {
    1.0 / normal_quantile((1.0 + clamp_probability(p)) / 2.0)
}

/// The z with P(Z ≤ z) = `q` for `q` from one half up: the rational approximation of Abramowitz & Stegun 26.2.23, good to
/// 0.0005, which is far finer than anything a prior knows.
fn normal_quantile(q: f64) -> f64 {
    let t = (-2.0 * ln(1.0 - q)).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    (t - above / below).max(1e-3)
}

/// Density of Student's t with seven degrees of freedom: tails heavy enough for an unusual day, light enough to doubt a
/// day ten spreads away.
pub fn t7(z: f64) -> f64 {
    let u = 1.0 + z * z / 7.0;
    0.384_991_4 / (u * u * u * u)
}

/// Density of Student's t with four degrees of freedom: a bell with heavy tails, so that an unusual day of a
/// real life is unusual, not impossible.
pub fn t4(z: f64) -> f64 {
    let u = 1.0 + z * z / 4.0;
    0.375 / (u * u * u.sqrt())
}

/// The density of a fault that could be anything, against that of a sound value: P(fault | seen).
pub fn posterior(prior: f64, density_fault: f64, density_sound: f64) -> f64 {
    let fault = prior * density_fault;
    let sound = (1.0 - prior) * density_sound;
    if fault + sound > 0.0 { fault / (fault + sound) } else { 1.0 }
}

/// What looking for a fault's traces takes from the probability that there is none, as a share of it. How often such faults are is
/// part of what studies found: a check that finds nothing, or that cannot tell, costs nothing.
pub fn excess(prior: f64, density_fault: f64, density_sound: f64) -> f64 {
    ((posterior(prior, density_fault, density_sound) - prior) / (1.0 - prior)).max(0.0)
}

/// Median of a slice, sorting it in place; `None` when empty.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len();
    match n {
        0 => None,
        _ if n % 2 == 1 => Some(values[n / 2]),
        _ => Some((values[n / 2 - 1] + values[n / 2]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_points() {
        assert!((normal_cdf(1.959_963_985) - 0.975).abs() < 1e-9);
        assert!((sigmoid(logit(0.2)) - 0.2).abs() < 1e-12);
        assert!((t4(0.0) - 0.375).abs() < 1e-12);
        for p in [0.05, 0.3, 0.68, 0.95] {
            let sd = sd_within_one(p);
            assert!((normal_cdf(1.0 / sd) - normal_cdf(-1.0 / sd) - p).abs() < 1e-3, "{p}: {sd}");
        }
        let whole: f64 = (-4000..4000).map(|i| t7(f64::from(i) / 100.0) / 100.0).sum();
        assert!((whole - 1.0).abs() < 1e-4);
        assert_eq!(median(&mut [3.0, 1.0, 2.0, 10.0]), Some(2.5));
        assert_eq!(median(&mut []), None);
    }
}
