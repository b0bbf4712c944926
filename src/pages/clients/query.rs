//! The query of an address: read leniently, and changed one word at a time for links. Defaults are left out.

use crate::components::text;

/// No list goes on beyond this page: whoever is further in it is sought, not leafed to.
pub(super) const LAST_PAGE: u32 = 2000;

/// What an address asks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    path: String,
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Takes the query of an address apart; what cannot be read is left out.
    pub(super) fn parse(path: impl Into<String>, text: &str) -> Self {
        let uri = format!("/?{}", text.trim_start_matches('?')).parse::<axum::http::Uri>();
        let pairs = uri.ok().and_then(|u| axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&u).ok());
        Self { path: path.into(), pairs: pairs.map(|p| p.0).unwrap_or_default() }
    }

    /// The value of a name, without what PostgreSQL cannot take; empty when absent.
    pub(super) fn get(&self, name: &str) -> String {
        let value = self.pairs.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.trim());
        text::cut(value, 200).replace('\0', "")
    }

    /// Whether a switch is on.
    pub(super) fn on(&self, name: &str) -> bool {
        self.get(name) == "1"
    }

    /// The value of a name where it is one of these, else the first of them.
    pub(super) fn one_of<'a>(&self, name: &str, known: &[&'a str]) -> &'a str {
        let value = self.get(name);
        known.iter().find(|k| **k == value).or(known.first()).copied().unwrap_or_default()
    }

    /// The page, from 1.
    pub(super) fn page(&self) -> u32 {
        self.get("page").parse().unwrap_or(1_u32).clamp(1, LAST_PAGE)
    }

    /// The same address with one word changed; an empty value leaves it out. Begins at the first page again.
    pub(super) fn with(&self, name: &str, value: &str) -> String {
        let kept = self.pairs.iter().filter(|(n, v)| n != name && n != "page" && n != "notice" && !v.is_empty());
        let mut words: Vec<String> = kept.map(|(n, v)| format!("{}={}", text::segment(n), text::segment(v))).collect();
        if !value.is_empty() {
            words.push(format!("{}={}", text::segment(name), text::segment(value)));
        }
        if words.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, words.join("&")) }
    }

    /// The same query at another path.
    pub(super) fn at(&self, path: &str) -> String {
        Self { path: path.to_owned(), pairs: self.pairs.clone() }.with("page", "")
    }
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn links_change_one_word_and_leave_defaults_out() {
        let q = Query::parse("/clients", "?q=a%20b&tier=poor&page=3&x=");
        assert_eq!((q.get("q").as_str(), q.page()), ("a b", 3));
        assert_eq!(q.with("tier", ""), "/clients?q=a%20b");
        assert_eq!(q.with("sort", "name"), "/clients?q=a%20b&tier=poor&sort=name");
        assert_eq!(q.at("/clients.csv"), "/clients.csv?q=a%20b&tier=poor");
        assert_eq!(Query::parse("/clients", "").with("q", ""), "/clients");
    }

    #[test]
    fn nonsense_is_the_default() {
        for odd in ["?%ff=%zz", "?<>", "page=-1", "page=99999999999999999999", "range=0&range=7"] {
            let q = Query::parse("/", odd);
            assert_eq!((q.page(), q.one_of("range", &["90", "30"]), q.on("recent")), (1, "90", false), "{odd}");
        }
    }
}
