//! Which page is for whom, decided before anything is rendered.
//!
//! [`decide`] is one table, without I/O. The middleware answers refusals itself with an empty body, so that a redirect
//! never carries the page it keeps from somebody. A person's page is not decided here: row-level security gives a
//! trainer nothing of another's client, and the page says "not found".

use super::{Enrolling, Identity, identify::Unavailable, next};
use crate::model::Role;
use axum::{
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// What happens to a request for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Render it.
    Allow,
    /// Elsewhere first: 303 to this address, empty body.
    Redirect(String),
    /// Logged in, but not for this: 403.
    Forbidden,
}

/// Whom a page is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Everybody.
    Public,
    /// Whoever is logged in.
    Members,
    /// Administrators.
    Admins,
    /// The start page: sends on by role.
    Start,
}

/// The table: first segment of the path, and whom everything below it is for. A page that is not here is not ours; the
/// authorisation test asks [`audience`] for every route there is.
pub const PAGES: &[(&str, Audience)] = &[
    ("", Audience::Start),
    ("login", Audience::Public),
    ("invite", Audience::Public),
    ("status", Audience::Public),
    ("preferences", Audience::Public),
    ("account", Audience::Members),
    ("clients", Audience::Members),
    ("clients.csv", Audience::Members),
    ("admin", Audience::Admins),
];

/// Whom a path is for; `None`: no page of ours (assets, endpoints with an authorisation of their own, nothing).
/// The path is read as leniently as any router might: percent-encoding, case, doubled slashes and dot segments (which
/// the pages' router resolves) do not hide a page.
pub fn audience(path: &str) -> Option<Audience> {
    let plain = decoded(path);
    let mut segments: Vec<&str> = Vec::new();
    for segment in plain.split(['/', '\\']) {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let first = segments.first().copied().unwrap_or_default();
    PAGES.iter().find(|(name, _)| *name == first).map(|(_, audience)| *audience)
}

/// Percent-decoded once, in lower case.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        let hex = (b == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u8::from_str_radix(d, 16).ok());
        bytes.push(hex.unwrap_or(b));
        rest = if hex.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).to_lowercase()
}

/// The decision for a path with its query, and the role of whoever asks.
pub fn decide(path_and_query: &str, role: Option<Role>) -> Decision {
    let path = path_and_query.split('?').next().unwrap_or_default();
    match (audience(path), role) {
        (Some(Audience::Start), Some(role)) => Decision::Redirect(home(role).to_owned()),
        (Some(Audience::Public) | None, _) | (Some(Audience::Members), Some(_)) | (Some(Audience::Admins), Some(Role::Admin)) => {
            Decision::Allow
        }
        (Some(Audience::Admins), Some(Role::Trainer)) => Decision::Forbidden,
        (Some(_), None) => Decision::Redirect(next::login_address(path_and_query)),
    }
}

/// Where somebody of a role begins.
pub const fn home(role: Role) -> &'static str {
    match role {
        Role::Admin => "/admin",
        Role::Trainer => "/clients",
    }
}

/// The middleware. Mount it inside [`super::identify::identify`], around the pages and the fallback.
pub async fn guard(request: Request, next: Next) -> Response {
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    let extensions = request.extensions();
    let needs_login = !matches!(audience(request.uri().path()), Some(Audience::Public) | None);
    if needs_login && extensions.get::<Unavailable>().is_some() {
        let retry = [(header::RETRY_AFTER, "5")];
        let page = page("The database does not answer", "Nothing was lost. Reload this page in a moment.");
        return (StatusCode::SERVICE_UNAVAILABLE, retry, page).into_response();
    }
    if needs_login && extensions.get::<Enrolling>().is_some() {
        let at_account = audience(request.uri().path()) == Some(Audience::Members) && request.uri().path().starts_with("/account");
        return if at_account { next.run(request).await } else { redirect("/account") };
    }
    match decide(path, extensions.get::<Identity>().and_then(Identity::role)) {
        Decision::Allow => next.run(request).await,
        Decision::Redirect(to) => redirect(&to),
        Decision::Forbidden => (StatusCode::FORBIDDEN, page("For administrators", "This page is for administrators.")).into_response(),
    }
}

/// 303 with an empty body. The address is a path of ours in visible ASCII.
pub fn redirect(to: &str) -> Response {
    let to = HeaderValue::from_str(to).unwrap_or_else(|_| HeaderValue::from_static("/login"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, to), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))]).into_response()
}

/// A page that says one thing; it needs neither database nor script.
fn page(title: &str, sentence: &str) -> axum::response::Html<String> {
    axum::response::Html(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{title} · Assay</title></head>\
         <body><main><h1>{title}</h1><p>{sentence}</p><p><a href=\"/\">To the start page</a></p></main></body></html>"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_for_everybody() {
        let login = |to: &str| Decision::Redirect(to.to_owned());
        for (path, anonymous, trainer, admin) in [
            ("/", login("/login"), login("/clients"), login("/admin")),
            ("/login", Decision::Allow, Decision::Allow, Decision::Allow),
            ("/status", Decision::Allow, Decision::Allow, Decision::Allow),
            ("/invite/abc", Decision::Allow, Decision::Allow, Decision::Allow),
            ("/account", login("/login?next=/account"), Decision::Allow, Decision::Allow),
            ("/clients", login("/login?next=/clients"), Decision::Allow, Decision::Allow),
            ("/clients/a%2Fb?tab=activity", login("/login?next=/clients/a%252Fb%3Ftab%3Dactivity"), Decision::Allow, Decision::Allow),
            ("/admin", login("/login?next=/admin"), Decision::Forbidden, Decision::Allow),
            ("/admin/jobs?state=failed", login("/login?next=/admin/jobs%3Fstate%3Dfailed"), Decision::Forbidden, Decision::Allow),
            ("/pkg/assay.js", Decision::Allow, Decision::Allow, Decision::Allow),
        ] {
            assert_eq!(decide(path, None), anonymous, "{path}");
            assert_eq!(decide(path, Some(Role::Trainer)), trainer, "{path}");
            assert_eq!(decide(path, Some(Role::Admin)), admin, "{path}");
        }
    }

    #[test]
    fn no_spelling_hides_an_administrators_page() {
        for path in [
            "/admin/",
            "//admin",
            "/%61dmin",
            "/%61%64%6d%69%6e/jobs",
            "/ADMIN",
            "/./admin",
            "/admin%2Fjobs",
            "/%2Fadmin",
            "/admin\\jobs",
            "/admin?x=/login",
            "/login/../admin",
            "/login/%2e%2e/admin",
            "/pkg/../admin/jobs",
            "/../admin",
        ] {
            assert_ne!(decide(path, None), Decision::Allow, "{path}");
            assert_eq!(decide(path, Some(Role::Trainer)), Decision::Forbidden, "{path}");
        }
        assert_eq!(audience("/administration"), None);
        assert_eq!(audience("/%zz%4"), None);
    }
}
