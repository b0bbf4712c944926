//! The security headers of every answer, the nonce of its scripts, and a limit on what a request's headers may weigh.

use super::{Access, problem};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};
use base64::Engine;

/// The nonce that this answer's inline scripts carry: base64 of 16 random bytes, unless a layer further out put its
/// own into the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(pub String);

/// Headers together may weigh so many bytes; a request with more is refused with 431.
pub const HEAVIEST: usize = 32 * 1024;

const FIXED: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Not `no-referrer`: browsers would then send `Origin: null` with our own forms.
    (header::REFERRER_POLICY, "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "accelerometer=(), camera=(), geolocation=(), gyroscope=(), microphone=(), payment=(), usb=()",
    ),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("x-permitted-cross-domain-policies"), "none"),
];

/// The middleware. Outermost of this room's, so that refusals of the others carry the headers too.
pub async fn security_headers(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    let weight: usize = request.headers().iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
    // The renderer of pages may have minted one already: the policy and the scripts must carry the same.
    let minted = request.extensions().get::<Nonce>().map(|n| n.0.clone());
    let nonce = minted.unwrap_or_else(|| base64::engine::general_purpose::STANDARD.encode(rand::random::<[u8; 16]>()));
    let mut response = if weight > HEAVIEST {
        problem(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "Request headers too large",
            "The request's headers are larger than 32 KiB. Delete this site's cookies and try again.",
        )
    } else {
        request.extensions_mut().insert(Nonce(nonce.clone()));
        next.run(request).await
    };
    decorate(response.headers_mut(), &nonce, access.site.is_secure());
    response
}

fn decorate(headers: &mut HeaderMap, nonce: &str, secure: bool) {
    for (name, value) in FIXED {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(&content_security_policy(nonce)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    if secure {
        // For this host; its subdomains are not ours to decide about.
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let is_data = ["text/html", "application/json", "text/csv"].iter().any(|t| kind.starts_with(t));
    // A page may hold a person's data; an answer that gives somebody a cookie must not be kept either.
    if (is_data && !headers.contains_key(header::CACHE_CONTROL))
        || kind.starts_with("text/html")
        || headers.contains_key(header::SET_COOKIE)
    {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

fn content_security_policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; \
         font-src 'self'; manifest-src 'self'; connect-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; form-action 'self'"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop")]
mod tests {
    use super::*;

    #[test]
    fn pages_are_not_kept_and_assets_keep_their_own_word() {
        let mut page = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (header::CACHE_CONTROL, HeaderValue::from_static("public")),
        ]);
        decorate(&mut page, "abc", true);
        assert_eq!(page[header::CACHE_CONTROL], "no-store");
        assert_eq!(page[header::STRICT_TRANSPORT_SECURITY], "max-age=31536000");
        let policy = page[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        for part in [
            "script-src 'self' 'nonce-abc' 'wasm-unsafe-eval';",
            "style-src 'self';",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "object-src 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.contains(part), "{part}");
        }
        assert!(!policy.contains("unsafe-inline") && !policy.contains("'unsafe-eval'"));
        let mut asset = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("application/wasm")),
            (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
        ]);
        decorate(&mut asset, "abc", false);
        assert_eq!(asset[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
        assert_eq!(asset[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(!asset.contains_key(header::STRICT_TRANSPORT_SECURITY));
    }
}
