//! What people type into a search box: `kind:recalculation user:"anna b" error:timeout`. Pure.
//!
//! A word with a known name before its first colon narrows by it; of several the last counts. A name that is not known
//! is not dropped in silence: the page says which it was. Everything else are plain words.

/// No more of a search is read than this many characters.
const LONGEST: usize = 400;

/// A search, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Search {
    terms: Vec<(String, String)>,
    /// The plain words, one space between them.
    pub words: String,
    /// Names that are not known here.
    pub unknown: Vec<String>,
}

impl Search {
    /// Takes a text apart.
    pub(super) fn parse(text: &str, known: &[&str]) -> Self {
        let mut search = Self::default();
        let text: String = text.chars().filter(|c| *c != '\0').take(LONGEST).collect();
        for token in tokens(&text) {
            match token {
                (Some(name), value) if (known.contains(&name.as_str()) && !name.ends_with('.')) || is_path(&name, known) => {
                    search.terms.retain(|(n, _)| *n != name);
                    if !value.is_empty() {
                        search.terms.push((name, value));
                    }
                }
                (Some(name), _) => {
                    if !search.unknown.contains(&name) {
                        search.unknown.push(name);
                    }
                }
                (None, word) if word.is_empty() => {}
                (None, word) => {
                    if !search.words.is_empty() {
                        search.words.push(' ');
                    }
                    search.words.push_str(&word);
                }
            }
        }
        search
    }

    /// What stood behind a name.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.terms.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
    }

    /// What stood behind a name with a path, such as `payload.filter.kind`: the path's parts after the name.
    pub(super) fn path(&self, name: &str) -> Option<(Vec<String>, String)> {
        let parts = |n: &str| n.split('.').skip(1).map(str::to_owned).collect();
        self.terms.iter().find(|(n, _)| n.split('.').next() == Some(name) && n.contains('.')).map(|(n, v)| (parts(n), v.clone()))
    }

    /// The plain words, if there are any.
    pub(super) fn plain(&self) -> Option<String> {
        (!self.words.is_empty()).then(|| self.words.clone())
    }

    /// What to tell the reader about names that are not known; empty when all are.
    pub(super) fn complaint(&self, known: &[&str]) -> String {
        if self.unknown.is_empty() {
            return String::new();
        }
        let names = |list: &mut dyn Iterator<Item = String>| list.collect::<Vec<_>>().join(", ");
        format!(
            "Not understood and left out: {}. Known here: {}.",
            names(&mut self.unknown.iter().map(|n| format!("{}:", n))),
            names(&mut known.iter().map(|n| format!("{n}:")))
        )
    }
}

/// Whether a name is a path below one that takes paths: those are known with a dot at their end.
fn is_path(name: &str, known: &[&str]) -> bool {
    known.iter().any(|k| k.ends_with('.') && name.len() > k.len() && name.starts_with(k) && !name.ends_with('.'))
}

/// Words with the name before their colon. Quotes keep spaces; a quote that does not end runs to the end of the text.
fn tokens(text: &str) -> Vec<(Option<String>, String)> {
    let mut tokens = Vec::new();
    let (mut name, mut word, mut quoted, mut was_quoted) = (None, String::new(), false, false);
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            c if c.is_whitespace() && !quoted => {
                if name.is_some() || !word.is_empty() || was_quoted {
                    tokens.push((name.take(), std::mem::take(&mut word)));
                }
                was_quoted = false;
            }
            ':' if !quoted && !was_quoted && name.is_none() && is_name(&word) => {
                let typed = std::mem::take(&mut word);
                // The keys of a document have a case of their own.
                name = Some(if typed.contains('.') { typed } else { typed.to_ascii_lowercase() });
            }
            c => word.push(c),
        }
    }
    if name.is_some() || !word.is_empty() {
        tokens.push((name, word));
    }
    tokens
}

/// Whether a word can be a qualifier's name: `12:30` and `a/b:c` are plain words.
fn is_name(word: &str) -> bool {
    let path = word.contains('.');
    !word.is_empty()
        && word.len() <= if path { 100 } else { 24 }
        && word.bytes().all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'.') || path && b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::Search;

    const KNOWN: [&str; 4] = ["kind", "status", "user", "error"];

    fn parse(text: &str) -> (Vec<(String, String)>, String, Vec<String>) {
        let s = Search::parse(text, &KNOWN);
        (s.terms, s.words, s.unknown)
    }

    fn terms(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn names_values_and_plain_words_are_told_apart() {
        for (text, expected, words) in [
            ("", vec![], ""),
            ("  timed  out ", vec![], "timed out"),
            ("kind:recalculation", vec![("kind", "recalculation")], ""),
            ("KIND:vacuum retry", vec![("kind", "vacuum")], "retry"),
            ("user:\"anna b\" error:timeout", vec![("user", "anna b"), ("error", "timeout")], ""),
            ("user:a:b", vec![("user", "a:b")], ""),
            ("user:a user:b", vec![("user", "b")], ""),
            ("user:", vec![], ""),
            ("12:30 a/b:c", vec![], "12:30 a/b:c"),
            ("\"kind:vacuum\"", vec![], "kind:vacuum"),
            ("error:\"never ends", vec![("error", "never ends")], ""),
            ("a\0b", vec![], "ab"),
        ] {
            assert_eq!(parse(text), (terms(&expected), words.to_owned(), vec![]), "{text:?}");
        }
    }

    #[test]
    fn unknown_names_are_named_once_and_do_not_narrow() {
        let s = Search::parse("colour:red kind:vacuum colour:blue", &KNOWN);
        assert_eq!((s.unknown.clone(), s.get("kind").as_deref(), s.get("colour")), (vec!["colour".to_owned()], Some("vacuum"), None));
        assert_eq!(s.complaint(&KNOWN), "Not understood and left out: colour:. Known here: kind:, status:, user:, error:.");
        assert_eq!(Search::parse("kind:vacuum", &KNOWN).complaint(&KNOWN), "");
    }

    #[test]
    fn a_path_into_the_payload_keeps_its_case() {
        let s = Search::parse("payload.filter.Kind2:daily kind:x", &["kind", "payload."]);
        assert_eq!(s.path("payload"), Some((vec!["filter".to_owned(), "Kind2".to_owned()], "daily".to_owned())));
        assert_eq!((s.get("kind").as_deref(), s.unknown.len()), (Some("x"), 0));
        for odd in ["payload.:x", "payload:x", "other.path:x"] {
            let s = Search::parse(odd, &["payload."]);
            assert_eq!((s.path("payload"), s.unknown.len()), (None, 1), "{odd}");
        }
    }

    #[test]
    fn a_search_without_end_is_cut() {
        assert_eq!(Search::parse(&"x".repeat(5000), &KNOWN).words.len(), super::LONGEST);
    }
}
