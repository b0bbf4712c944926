//! `/preferences`: how the reader wants times and values shown. For everybody, logged in or not; a plain page and form.
//!
//! [`apply`] finds what was chosen for each request: the account's choice where somebody is logged in, else the cookie's.

use super::{Services, frame};
use crate::{
    access::Identity,
    access::forms::Sheet,
    components::preferences::{Dates, Preferences, REQUEST, Units},
    pages::session::safe_next,
};
use axum::{
    Form, Router,
    extract::{DefaultBodyLimit, Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use serde::Deserialize;
use std::{fmt::Write, sync::Arc};

const COOKIE: &str = "preferences";

/// The value of a cookie.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    all.filter_map(|c| c.trim().split_once('=')).find(|(n, _)| *n == name).map(|(_, v)| v)
}

/// The middleware, inside [`crate::access::identify::identify`].
pub(super) async fn apply(mut request: Request, next: Next) -> Response {
    let of_account = request.extensions().get::<Identity>().and_then(|i| i.0.as_ref()).and_then(|c| Preferences::from_json(&c.preferences));
    let chosen = of_account.or_else(|| cookie(request.headers(), COOKIE).map(Preferences::from_cookie)).unwrap_or_default();
    let theme = frame::Theme::from_cookie(cookie(request.headers(), "theme"));
    request.extensions_mut().insert(chosen);
    let view = frame::View::of(request.method(), request.uri(), theme);
    frame::VIEW.scope(view, REQUEST.scope(chosen, next.run(request))).await
}

#[derive(Clone)]
struct Page {
    services: Arc<Services>,
    stylesheet: Arc<str>,
}

/// GET and POST of the page.
pub(super) fn router(services: Arc<Services>, stylesheet: Arc<str>) -> Router {
    Router::new()
        .route("/preferences", get(show).post(save))
        .layer(DefaultBodyLimit::max(4 * 1024))
        .with_state(Page { services, stylesheet })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Asked {
    back: String,
    saved: String,
}

async fn show(
    State(page): State<Page>,
    axum::Extension(identity): axum::Extension<Identity>,
    axum::Extension(chosen): axum::Extension<Preferences>,
    Query(asked): Query<Asked>,
) -> Response {
    let body = form(chosen, safe_next(&asked.back), !asked.saved.is_empty());
    axum::response::Html(frame::document(&page.stylesheet, &Sheet { title: "Preferences", body: &body, role: identity.role() }))
        .into_response()
}

fn options<'a>(out: &mut String, all: impl Iterator<Item = (&'a str, &'a str)>, chosen: &str) {
    for (word, text) in all {
        let selected = if word == chosen { " selected" } else { "" };
        // Infallible: a String grows.
        let _ = write!(out, "<option value=\"{word}\"{selected}>{text}</option>");
    }
}

fn form(chosen: Preferences, back: &str, saved: bool) -> String {
    let [zone, units, dates] = chosen.words();
    let mut html =
        String::from("<h1>Preferences</h1><p class=\"lead\">How times and values are shown to you. What is stored does not change.</p>");
    if saved {
        html.push_str("<div class=\"alert good\" role=\"status\"><strong class=\"alert-word\">Done</strong><div class=\"alert-body\">Preferences saved.</div></div>");
    }
    html.push_str("<form class=\"form\" method=\"post\" action=\"/preferences\"><label for=\"zone\">Time zone</label><select id=\"zone\" name=\"zone\">");
    let zones = chrono_tz::TZ_VARIANTS.iter().map(|z| z.name()).filter(|n| *n == "UTC" || n.contains('/') && !n.starts_with("Etc/"));
    options(&mut html, zones.map(|n| (n, n)), zone);
    html.push_str("</select><label for=\"units\">Weights and distances</label><select id=\"units\" name=\"units\">");
    options(&mut html, Units::ALL.iter().map(|u| (u.1, u.2)), units);
    html.push_str("</select><label for=\"dates\">Dates</label><select id=\"dates\" name=\"dates\">");
    options(&mut html, Dates::ALL.iter().map(|d| (d.1, d.2)), dates);
    let back = back.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let _ = write!(
        html,
        "</select><input type=\"hidden\" name=\"back\" value=\"{back}\"><button class=\"button primary\" type=\"submit\">Save</button></form><p><a href=\"{back}\">Back to the page</a></p>"
    );
    html
}

#[derive(Deserialize)]
struct Wish {
    #[serde(default)]
    zone: String,
    #[serde(default)]
    units: String,
    #[serde(default)]
    dates: String,
    #[serde(default)]
    back: String,
}

async fn save(State(page): State<Page>, axum::Extension(identity): axum::Extension<Identity>, Form(wish): Form<Wish>) -> Response {
    let chosen = Preferences::from_words(&wish.zone, &wish.units, &wish.dates);
    if let Ok(caller) = identity.caller()
        && let Err(error) = crate::store::browse::set_preferences(page.services.db.service(), caller.account_id, &chosen.to_json()).await
    {
        tracing::warn!(%error, "preferences could not be saved");
        let body = "<h1>Not saved</h1><p>The database does not answer just now. Nothing was changed; try again in a moment.</p><p><a href=\"/preferences\">Back to the form</a></p>";
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            axum::response::Html(frame::document(&page.stylesheet, &Sheet { title: "Not saved", body, role: identity.role() })),
        )
            .into_response();
    }
    let mut to = String::from("/preferences?saved=1&back=");
    to.push_str(&crate::components::text::segment(safe_next(&wish.back)));
    let secure = if page.services.site.is_secure() { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly{secure}", chosen.cookie());
    let mut response = Redirect::to(&to).into_response();
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_shows_what_is_chosen_and_leads_back_to_our_pages_only() {
        let html = form(Preferences::from_words("Europe/Zurich", "imperial", "iso"), safe_next("/clients?tier=poor&q=\"x"), true);
        for part in [
            "value=\"Europe/Zurich\" selected",
            "value=\"imperial\" selected",
            "value=\"iso\" selected",
            "Preferences saved.",
            "tier=poor&amp;q=&quot;x",
        ] {
            assert!(html.contains(part), "{part}");
        }
        assert_eq!(html.matches(" selected").count(), 3);
        assert!(form(Preferences::default(), safe_next("//evil.example"), false).contains("href=\"/\""));
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("x_preferences=no; preferences=UTC~metric~iso; theme=dark"));
        assert_eq!(cookie(&headers, "preferences"), Some("UTC~metric~iso"));
        assert_eq!(cookie(&headers, "theme"), Some("dark"));
        assert_eq!(cookie(&headers, "them"), None);
    }
}
