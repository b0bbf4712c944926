//! Panels, figures, alerts, empty states, times: the furniture.

use super::text;
use crate::error::{AppError, ErrorKind};
use leptos::prelude::*;
use leptos_router::{hooks::use_location, location::Location};

/// A moment as text, made on the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moment {
    /// For machines, with the zone.
    pub iso: String,
    /// Short and absolute, UTC.
    pub text: String,
    /// Long and absolute.
    pub full: String,
    /// Relative to when the page was made.
    pub ago: String,
}

/// A time: short absolute text, and how long ago it was when the page was made.
#[component]
pub fn TimeStamp(
    /// When.
    at: Moment,
    /// Leaves the relative part out.
    #[prop(optional)]
    plain: bool,
) -> impl IntoView {
    view! {
        <time datetime=at.iso title=at.full>{at.text}</time>
        {(!plain).then(|| view! { <span class="ago">{at.ago}</span> })}
    }
}

/// A titled part of a page.
#[component]
pub fn Panel(
    /// Its heading.
    #[prop(into)]
    title: String,
    /// Names it for links and labels; unique in the page.
    #[prop(into)]
    id: String,
    /// Extra classes.
    #[prop(optional)]
    class: &'static str,
    /// A word or control at the right of the heading.
    #[prop(optional, into)]
    aside: Option<AnyView>,
    /// What it holds.
    children: Children,
) -> impl IntoView {
    let labelled = id.clone();
    view! {
        <section class=format!("panel {class}") aria-labelledby=labelled>
            <header class="panel-head"><h2 id=id>{title}</h2>{aside.map(|a| view! { <div class="panel-aside">{a}</div> })}</header>
            {children()}
        </section>
    }
    .into_any()
}

/// One figure with its name.
#[component]
pub fn Stat(
    /// What it counts.
    label: &'static str,
    /// The figure, as text.
    #[prop(into)]
    value: String,
    /// Where it leads.
    #[prop(optional, into)]
    href: Option<String>,
    /// `bad` and `warn` mark it.
    #[prop(optional)]
    tone: &'static str,
) -> impl IntoView {
    let value = match href {
        Some(href) => view! { <a href=href>{value}</a> }.into_any(),
        None => value.into_any(),
    };
    view! { <div class=format!("stat {tone}")><dt>{label}</dt><dd>{value}</dd></div> }.into_any()
}

/// A message in the page. Its tone is a word as well as a colour.
#[component]
pub fn Alert(
    /// `bad`, `warn`, `good` or `note`.
    tone: &'static str,
    /// The sentence, and what to do.
    children: Children,
) -> impl IntoView {
    let word = match tone {
        "bad" => "Problem",
        "warn" => "Attention",
        "good" => "Done",
        _ => "Note",
    };
    view! {
        <div class=format!("alert {tone}")>
            <strong class="alert-word">{word}</strong>
            <div class="alert-body">{children()}</div>
        </div>
    }
    .into_any()
}

/// Nothing to show, and why: new, or filtered away.
#[component]
pub fn Empty(
    /// In a few words.
    title: &'static str,
    /// What to do.
    children: Children,
) -> impl IntoView {
    view! { <div class="empty"><p class="empty-title">{title}</p><div class="empty-body">{children()}</div></div> }.into_any()
}

/// How far something is. Without JavaScript it shows how far it was when the page was made.
#[component]
pub fn Progress(
    /// What is going on.
    #[prop(into)]
    label: String,
    /// 0–100.
    percent: u32,
) -> impl IntoView {
    view! { <progress class="progress" aria-label=label max="100" value=percent>{percent}" %"</progress> }
}

/// Says that the persons shown are made up.
#[component]
pub fn Simulated() -> impl IntoView {
    view! { <span class="tag">"Simulated data"</span> }
}

/// Asks before something that cannot be undone: names it, and how much of it. Opened by a link, so it works without
/// JavaScript; the page behind stays where it is.
#[component]
pub fn ConfirmBox(
    /// What will happen, as a question.
    #[prop(into)]
    question: String,
    /// Where to go without doing it.
    #[prop(into)]
    back: String,
    /// The form with its button.
    children: Children,
) -> impl IntoView {
    view! {
        <dialog class="confirm" open aria-labelledby="confirm-question">
            <p id="confirm-question">{question}</p>
            <div class="actions">{children()}<a class="button" href=back>"Keep"</a></div>
        </dialog>
    }
    .into_any()
}

/// Sets the answer's status while the server renders; nothing in the browser.
pub fn set_status(status: u16) {
    #[cfg(feature = "ssr")]
    if let (Some(options), Ok(code)) = (use_context::<leptos_axum::ResponseOptions>(), axum::http::StatusCode::from_u16(status)) {
        options.set_status(code);
    }
    #[cfg(not(feature = "ssr"))]
    let _ = status;
}

/// The way to log in again and come back to where the reader is.
pub(super) fn login_address(here: &Location) -> String {
    let next = format!("{}?{}", here.pathname.get_untracked(), here.search.get_untracked().trim_start_matches('?'));
    format!("/login?error=expired&next={}", text::segment(&next))
}

/// A part or page that could not be shown: the reason, what to do, the request id to quote.
#[component]
pub fn Trouble(
    /// Why.
    error: AppError,
) -> impl IntoView {
    set_status(error.status());
    let here = use_location();
    let (title, href, words) = match error.kind {
        ErrorKind::Unauthenticated => ("You are not logged in", login_address(&here), "Log in"),
        ErrorKind::Forbidden => ("Not for this account", "/clients".into(), "Go to your people"),
        ErrorKind::NotFound => ("Not found", "/".into(), "Go to the start"),
        ErrorKind::Unavailable => ("Not reachable just now", String::new(), "Try again"),
        _ => ("That did not work", String::new(), "Try again"),
    };
    view! {
        <div class="empty trouble" role="alert">
            <p class="empty-title">{title}</p>
            <div class="empty-body">
                <p>{error.message}</p>
                {error.request_id.map(|id| view! { <p class="soft">"Request id "<code>{id}</code></p> })}
                <p><a class="button" rel="external" href=href>{words}</a></p>
            </div>
        </div>
    }
    .into_any()
}
