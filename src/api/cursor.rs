//! Where a page ended: the last row's key, opaque to the caller. It names a row, not a number of rows, so rows that
//! arrive or go meanwhile neither repeat nor hide others. It belongs to one question: with other filters it is refused.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

/// Longest cursor that is read: a `user_id` of 512 characters fits.
const LONGEST: usize = 4096;

/// Which question a cursor belongs to: the path and every filter.
pub fn question(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(&hash.finalize()[..6])
}

/// The cursor behind a row.
pub fn write(question: &str, key: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&(question, key)).unwrap_or_default())
}

/// The key in a cursor; `None`: not one of ours, or of another question.
pub fn read<K: DeserializeOwned>(question: &str, text: &str) -> Option<K> {
    let bytes = URL_SAFE_NO_PAD.decode(Some(text).filter(|t| t.len() <= LONGEST)?).ok()?;
    let (asked, key): (String, K) = serde_json::from_slice(&bytes).ok()?;
    (asked == question).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cursor_belongs_to_its_question() {
        let (one, other) = (question(&["history", "a"]), question(&["historya", ""]));
        let text = write(&one, &("2026-01-01", "steps", "oura"));
        assert_eq!(read::<(String, String, String)>(&one, &text).map(|k| k.1).as_deref(), Some("steps"));
        assert_eq!(read::<(String, String, String)>(&other, &text), None);
        assert_eq!(read::<String>(&one, &text), None);
    }

    proptest! {
        #[test]
        fn any_key_comes_back_and_nothing_else_is_read(key in ".{0,512}", noise in ".{0,300}") {
            let asked = question(&["clients"]);
            prop_assert_eq!(read::<String>(&asked, &write(&asked, &key)), Some(key));
            prop_assert_eq!(read::<String>(&asked, &noise), None);
        }
    }
}
