//! `/admin/connect`: a link under which a person connects a wearable, and asking Terra for the days of a gap.
//!
//! A plain page and forms: the link connects a provider to the person for whoever opens it, so it is in the one answer
//! to the one who asked, and neither kept, nor logged, nor in an address.

use super::{Services, frame};
use crate::{
    access::{Identity, forms::Sheet},
    jobs::kinds::backfill,
    model::{Role, looks_like_email},
    outbound::{NotLinked, connect_person},
    store::audit::Actor,
};
use axum::{
    Form, Router,
    extract::{DefaultBodyLimit, Extension, Query, State},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use chrono::NaiveDate;
use serde::Deserialize;
use std::sync::Arc;

#[derive(Clone)]
struct Page {
    services: Arc<Services>,
    stylesheet: Arc<str>,
}

/// The page and its two forms; for administrators.
pub(super) fn router(services: Arc<Services>, stylesheet: Arc<str>) -> Router {
    Router::new()
        .route("/admin/connect", get(show))
        .route("/admin/connect/link", post(link))
        .route("/admin/connect/backfill", post(fill))
        .layer(DefaultBodyLimit::max(8 * 1024))
        .with_state(Page { services, stylesheet })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Asked {
    user: String,
    from: String,
    to: String,
}

impl Page {
    fn answer(&self, status: StatusCode, said: &str, asked: &Asked) -> Response {
        let body = &body(said, asked, self.services.terra.is_some());
        let sheet = Sheet { title: "Connect a person", body, role: Some(Role::Admin) };
        (status, Html(frame::document(&self.stylesheet, &sheet))).into_response()
    }

    fn refused(&self, status: StatusCode, sentence: &str, asked: &Asked) -> Response {
        self.answer(status, &alert("bad", "Problem", &escape(sentence)), asked)
    }

    fn away(&self, error: &sqlx::Error, asked: &Asked) -> Response {
        tracing::warn!(%error, "the page for connecting a person failed");
        self.refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "The database does not answer just now. Nothing was changed; try again in a moment.",
            asked,
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

fn alert(tone: &str, word: &str, html: &str) -> String {
    format!(
        "<div class=\"alert {tone}\" role=\"status\"><strong class=\"alert-word\">{word}</strong><div class=\"alert-body\">{html}</div></div>"
    )
}

/// What to think of before the link is handed over; empty when there is nothing.
fn advice(user: &str) -> String {
    let text =
        "This id looks like an e-mail address. It will stand in addresses, lists and logs: better a pseudonym, such as a number of yours.";
    if looks_like_email(user.trim()) { alert("warn", "Attention", text) } else { String::new() }
}

fn body(said: &str, asked: &Asked, configured: bool) -> String {
    let crumbs = "<nav class=\"crumbs\" aria-label=\"Where you are\"><a href=\"/admin/connections\">Connections</a></nav>";
    if !configured {
        return format!(
            "{crumbs}<h1>Connect a person</h1><p class=\"lead\">Terra’s REST side is not configured here. Set TERRA_API_KEY and TERRA_DEV_ID and restart; then this page makes links.</p>"
        );
    }
    let (user, from, to) = (escape(&asked.user), escape(&asked.from), escape(&asked.to));
    format!(
        "{crumbs}<h1>Connect a person</h1>{said}\
         <form class=\"form\" method=\"post\" action=\"/admin/connect/link\"><h2>A link for the person</h2>\
         <p class=\"soft\">The person opens it, chooses a wearable and allows it. The person need not be known here yet.</p>\
         <label for=\"user\">Id of the person</label><input id=\"user\" name=\"user\" value=\"{user}\" maxlength=\"512\" required autocomplete=\"off\">\
         <button class=\"button primary\" type=\"submit\">Make a link</button></form>\
         <form class=\"form\" method=\"post\" action=\"/admin/connect/backfill\"><h2>Fetch days that are missing</h2>\
         <p class=\"soft\">Terra sends them again as deliveries, within minutes.</p>\
         <label for=\"who\">Id of the person</label><input id=\"who\" name=\"user\" value=\"{user}\" maxlength=\"512\" required autocomplete=\"off\">\
         <label for=\"from\">First day</label><input id=\"from\" name=\"from\" type=\"date\" value=\"{from}\" required>\
         <label for=\"to\">Last day</label><input id=\"to\" name=\"to\" type=\"date\" value=\"{to}\" required>\
         <button class=\"button\" type=\"submit\">Ask Terra</button></form>"
    )
}

async fn show(State(page): State<Page>, Extension(identity): Extension<Identity>, Query(asked): Query<Asked>) -> Response {
    match identity.admin() {
        Ok(_) => page.answer(StatusCode::OK, &advice(&asked.user), &asked),
        Err(denied) => denied.into_response(),
    }
}

async fn link(
    State(page): State<Page>,
    Extension(identity): Extension<Identity>,
    Extension(visit): Extension<crate::access::Visit>,
    Form(asked): Form<Asked>,
) -> Response {
    let admin = match identity.admin() {
        Ok(admin) => admin,
        Err(denied) => return denied.into_response(),
    };
    let Some(terra) = &page.services.terra else { return page.answer(StatusCode::SERVICE_UNAVAILABLE, "", &asked) };
    let actor = Actor::of(admin, visit.address, visit.request_id);
    let back = page.services.config.public_url.clone();
    match connect_person(&page.services.db, terra, &actor, asked.user.trim(), back.as_deref()).await {
        Ok(link) => {
            let html = format!(
                "Hand this link to the person. It is shown once{}.<p><code>{}</code></p>",
                link.expires_in.map(|s| format!(" and ends in {} minutes", (s / 60.0).floor())).unwrap_or_default(),
                escape(&link.url)
            );
            page.answer(StatusCode::OK, &format!("{}{}", advice(&asked.user), alert("good", "Done", &html)), &asked)
        }
        Err(NotLinked::Database(error)) => page.away(&error, &asked),
        Err(NotLinked::Person(sentence)) => page.refused(StatusCode::UNPROCESSABLE_ENTITY, sentence, &asked),
        Err(error @ NotLinked::Terra(_)) => page.refused(StatusCode::BAD_GATEWAY, &error.to_string(), &asked),
    }
}

async fn fill(
    State(page): State<Page>,
    Extension(identity): Extension<Identity>,
    Extension(visit): Extension<crate::access::Visit>,
    Form(asked): Form<Asked>,
) -> Response {
    let admin = match identity.admin() {
        Ok(admin) => admin,
        Err(denied) => return denied.into_response(),
    };
    if page.services.terra.is_none() {
        return page.answer(StatusCode::SERVICE_UNAVAILABLE, "", &asked);
    }
    let day = |text: &str| text.parse::<NaiveDate>().ok();
    let (Some(from), Some(to)) = (day(&asked.from), day(&asked.to)) else {
        return page.refused(StatusCode::UNPROCESSABLE_ENTITY, "Enter the first and the last day; nothing was asked for.", &asked);
    };
    let actor = Actor::of(admin, visit.address, visit.request_id);
    match backfill::start_for_person(&page.services.db, &actor, asked.user.trim(), from, to, &backfill::MODELS).await {
        Ok(n) => {
            let jobs =
                format!("/admin/jobs?kind=backfill&q={}", crate::components::text::segment(&format!("user:\"{}\"", asked.user.trim())));
            let connections = if n == 1 { "connection" } else { "connections" };
            let html = format!("Asked for the days of {n} {connections}. <a href=\"{}\">See the jobs</a>", escape(&jobs));
            page.answer(StatusCode::OK, &alert("good", "Done", &html), &asked)
        }
        Err(backfill::NotAsked::Gap(sentence)) => page.refused(StatusCode::UNPROCESSABLE_ENTITY, &sentence, &asked),
        Err(backfill::NotAsked::Database(error)) => page.away(&error, &asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_comes_back_escaped_and_an_unconfigured_page_offers_no_button() {
        let asked = Asked { user: "a\"><script>".into(), ..Asked::default() };
        let html = body(&alert("bad", "Problem", &escape("<b>")), &asked, true);
        assert!(html.contains("a&quot;>&lt;script>") && !html.contains("<script") && !html.contains("<b>"));
        assert!(!body("", &asked, false).contains("<form"));
    }

    #[test]
    fn an_id_that_names_somebody_is_warned_of_without_repeating_it() {
        let said = advice(" a@b.ch ");
        assert!(said.contains("alert warn") && said.contains("e-mail") && !said.contains("a@b.ch"), "{said}");
        assert_eq!(advice("a-b"), "");
    }
}
