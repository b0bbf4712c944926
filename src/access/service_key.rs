//! The bearer key of the service endpoints, compared in constant time.

use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq;

/// Whether the request carries `Authorization: Bearer <key>`. An empty key never matches.
pub fn matches(headers: &HeaderMap, key: &str) -> bool {
    let Some(given) = bearer(headers) else { return false };
    // Hashes have one length, so the comparison does not tell how long the key is.
    use sha2::{Digest, Sha256};
    let equal: bool = Sha256::digest(given.as_bytes()).as_slice().ct_eq(Sha256::digest(key.as_bytes()).as_slice()).into();
    equal && !key.is_empty()
}

/// The bearer token of a request, where there is exactly one `Authorization` header.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (all.next()?, all.next());
    let (scheme, token) = first.to_str().ok()?.split_once(' ')?;
    (second.is_none() && scheme.eq_ignore_ascii_case("bearer")).then(|| token.trim()).filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn with(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for v in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_static(v));
        }
        headers
    }

    #[test]
    fn only_the_whole_key_once_is_accepted() {
        assert!(matches(&with(&["Bearer s3cret"]), "s3cret"));
        assert!(matches(&with(&["bearer s3cret"]), "s3cret"));
        for bad in
            [&["Bearer s3cre"][..], &["Bearer s3crets"], &["Basic s3cret"], &["s3cret"], &["Bearer "], &[], &["Bearer s3cret", "Bearer x"]]
        {
            assert!(!matches(&with(bad), "s3cret"), "{bad:?}");
        }
        assert!(!matches(&with(&["Bearer "]), ""));
    }
}
