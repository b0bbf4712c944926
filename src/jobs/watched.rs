//! Persons somebody is looking at: their scores are made before everybody else's, so that an open page shows a new value
//! within a second also when thousands of others wait to be scored.
//!
//! Each open page says so again and again by a notification that every worker hears. Nothing is stored: a worker that
//! missed it scores in the usual order until the page speaks again.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long a word holds; a page says it every twenty seconds.
const HOLDS: Duration = Duration::from_secs(45);
/// So many are remembered at most: when everybody is looked at, nobody comes first.
const MOST: usize = 10_000;

/// Who is being looked at, as far as this worker heard.
#[derive(Debug, Default)]
pub(super) struct Watched(Mutex<HashMap<String, Instant>>);

impl Watched {
    /// Somebody looks at this person.
    pub fn hear(&self, user_id: &str, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST && !known.contains_key(user_id) {
            known.retain(|_, heard| now.duration_since(*heard) < HOLDS);
        }
        if known.len() < MOST || known.contains_key(user_id) {
            known.insert(user_id.to_owned(), now);
        }
    }

    /// Which of these persons are looked at.
    pub fn among<'u>(&self, users: impl Iterator<Item = &'u str>, now: Instant) -> Vec<&'u str> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        users.filter(|user| known.get(*user).is_some_and(|heard| now.duration_since(*heard) < HOLDS)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_for_a_while_and_a_new_one_longer() {
        let (watched, begin) = (Watched::default(), Instant::now());
        let who = |after: Duration| watched.among(["a", "b"].into_iter(), begin + after);
        watched.hear("a", begin);
        assert_eq!(who(Duration::ZERO), ["a"]);
        assert_eq!(who(HOLDS), Vec::<&str>::new());
        watched.hear("a", begin + HOLDS / 2);
        assert_eq!(who(HOLDS), ["a"]);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_over_makes_room() {
        let (watched, begin) = (Watched::default(), Instant::now());
        for n in 0..=MOST {
            watched.hear(&n.to_string(), begin);
        }
        let last = MOST.to_string();
        assert!(watched.among([last.as_str()].into_iter(), begin).is_empty());
        watched.hear("0", begin); // known already
        watched.hear(&last, begin + HOLDS);
        assert_eq!(watched.among([last.as_str()].into_iter(), begin + HOLDS), [last.as_str()]);
        assert_eq!(watched.0.lock().unwrap_or_else(PoisonError::into_inner).len(), 1);
    }
}
