//! Cross-site request forgery: whoever changes something with our cookie must come from our own pages.
//!
//! SameSite=Lax is the first fence; this is the second, and it also covers other sites on the same registrable
//! domain. Without our cookie nothing is authenticated by the browser, so webhooks and bearer endpoints pass, unless
//! the browser itself says that another site sends the request (forged login).

use super::{Access, problem, session};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};

/// The middleware. Mount it around all routes.
pub async fn same_origin(State(access): State<Access>, request: Request, next: Next) -> Response {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    // HTTP/2 has the host in the address.
    let authority = request.uri().authority().map(|a| a.as_str().to_owned());
    if safe || allowed(&access, request.headers(), authority.as_deref()) {
        return next.run(request).await;
    }
    problem(
        StatusCode::FORBIDDEN,
        "Cross-site request refused",
        "This request came from another site, or did not say where it came from. Open the page on this site and try again.",
    )
}

fn allowed(access: &Access, headers: &HeaderMap, authority: Option<&str>) -> bool {
    let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    let host = text(header::HOST.as_str()).or(authority);
    let ours = text(header::ORIGIN.as_str()).map(|o| access.site.is_ours(o, host));
    match (text("sec-fetch-site"), ours) {
        // The page's address bar or a reload of a form; another site cannot make it say so.
        (Some("same-origin" | "none"), None | Some(true)) | (None, Some(true)) => true,
        // A proxy may have changed Host without ASSAY_PUBLIC_URL being set; the browser's own word counts.
        (Some("same-origin"), Some(false)) => text(header::ORIGIN.as_str()) != Some("null"),
        (None, None) => !session::has_cookie(headers, &access.site),
        _ => false,
    }
}
