//! Which provider a number came from.

use serde::{Deserialize, Serialize};

/// A provider in lower case, one word an ecosystem: `whoop`, `garmin`, `apple`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source(String);

impl Source {
    /// From Terra's upper-case provider name. Names of one ecosystem fold into one: `APPLE_HEALTH` is `apple`.
    /// Only letters, digits, `_` and `-` are kept; nothing left gives `unknown`.
    pub fn from_provider(provider: &str) -> Self {
        let word: String = provider
            .trim()
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
            .take(64)
            .collect::<String>()
            .to_ascii_lowercase();
        Self(match word.as_str() {
            "" => "unknown".into(),
            "apple_health" | "applehealth" | "healthkit" => "apple".into(),
            "googlefit" | "google_fit" => "google".into(),
            "omronus" => "omron".into(),
            _ => word,
        })
    }

    /// The word as stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What people call it: `WHOOP`, `Garmin`.
    pub fn name(&self) -> String {
        match self.0.as_str() {
            "whoop" => "WHOOP".into(),
            word => {
                let mut letters = word.chars();
                letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
            }
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_become_one_lower_case_word() {
        assert_eq!(Source::from_provider("WHOOP").as_str(), "whoop");
        assert_eq!(Source::from_provider("APPLE_HEALTH").as_str(), "apple");
        assert_eq!(Source::from_provider(" ").as_str(), "unknown");
        assert_eq!(Source::from_provider("a\0<b>").as_str(), "ab");
        assert_eq!(Source::from_provider("garmin").name(), "Garmin");
    }
}
