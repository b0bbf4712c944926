//! The five badges. Thresholds are the contract's: 80, 60, 40. Unknown is not a low score and not 50.

use serde::{Deserialize, Serialize};

/// What a confidence is called. The order is from best to worst, Unknown apart at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Badge {
    /// 80 and more.
    Excellent,
    /// 60 to 79.
    Good,
    /// 40 to 59.
    Fair,
    /// Below 40.
    Poor,
    /// Not scored: nothing is known.
    Unknown,
}

impl Badge {
    /// All five in showing order.
    pub const ALL: [Badge; 5] = [Badge::Excellent, Badge::Good, Badge::Fair, Badge::Poor, Badge::Unknown];

    /// The badge of a score of 0–100, or of none.
    pub const fn of(score: Option<i32>) -> Self {
        match score {
            Some(80..) => Badge::Excellent,
            Some(60..) => Badge::Good,
            Some(40..) => Badge::Fair,
            Some(_) => Badge::Poor,
            None => Badge::Unknown,
        }
    }

    /// The word beside the shape.
    pub const fn word(self) -> &'static str {
        match self {
            Badge::Excellent => "Excellent",
            Badge::Good => "Good",
            Badge::Fair => "Fair",
            Badge::Poor => "Poor",
            Badge::Unknown => "Unknown",
        }
    }

    /// The word in URLs and class names.
    pub const fn key(self) -> &'static str {
        match self {
            Badge::Excellent => "excellent",
            Badge::Good => "good",
            Badge::Fair => "fair",
            Badge::Poor => "poor",
            Badge::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_those_of_the_contract() {
        for (score, badge) in [
            (100, Badge::Excellent),
            (80, Badge::Excellent),
            (79, Badge::Good),
            (60, Badge::Good),
            (59, Badge::Fair),
            (40, Badge::Fair),
            (39, Badge::Poor),
            (0, Badge::Poor),
        ] {
            assert_eq!(Badge::of(Some(score)), badge, "{score}");
        }
        assert_eq!(Badge::of(None), Badge::Unknown);
    }
}
