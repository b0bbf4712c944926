//! The document around every page, and the one table of routes.

use crate::components::{Announcer, Flash, menu};
use crate::pages::{errors, login, made::Page, session};
use leptos::prelude::*;
use leptos_meta::{HashedStylesheet, MetaTags, Title, provide_meta_context};
use leptos_router::{
    SsrMode,
    components::{FlatRoutes, Route, Router},
    hooks::use_location,
    path,
};

/// The HTML document the server sends. Its theme is painted here, from the cookie, before anything loads.
pub fn shell(options: LeptosOptions) -> impl IntoView {
    view! {
        <!DOCTYPE html>
        <html lang="en" data-theme=session::theme()>
            <head>
                <meta charset="utf-8"/>
                <meta name="viewport" content="width=device-width, initial-scale=1"/>
                <meta name="color-scheme" content="light dark"/>
                <link rel="icon" href="/favicon.svg" type="image/svg+xml"/>
                <HashedStylesheet options=options.clone() id="style"/>
                <HydrationScripts options/>
                <script src="/keys.js" defer></script>
                <MetaTags/>
            </head>
            <body><App/></body>
        </html>
    }
}

/// The page: header, the routed screen, footer.
#[component]
pub fn App() -> impl IntoView {
    provide_meta_context();
    let announcer = Announcer(RwSignal::new(String::new()));
    provide_context(announcer);
    let session = session::shared();
    provide_context(session.clone());
    // Tests and styles wait for this: from here on the page is alive.
    Effect::new(|| {
        if let Some(root) = document().document_element() {
            let _ = root.set_attribute("data-hydrated", "");
        }
    });
    view! {
        <Title formatter=|title: String| if title.is_empty() { "Assay".into() } else { format!("{title} · Assay") }/>
        <Router>
            <a class="skip" href="#main">"Skip to the content"</a>
            <Masthead session=session.clone()/>
            <main id="main" tabindex="-1">
                <Flash/>
                <FlatRoutes fallback=errors::NotFound>
                    <Route path=path!("/") view=session::Home ssr=SsrMode::Async/>
                    <Route path=path!("/login") view=login::Login ssr=SsrMode::Async/>
                    <Route path=path!("/admin") view=|| view! { <Page room="overview"/> } ssr=SsrMode::Async/>
                    <Route path=path!("/admin/settings/registry") view=|| view! { <Page room="registry"/> } ssr=SsrMode::Async/>
                    <Route path=path!("/admin/settings/registry/:id") view=|| view! { <Page room="registry"/> } ssr=SsrMode::Async/>
                    <Route path=path!("/admin/:list") view=|| view! { <Page room="admin"/> } ssr=SsrMode::Async/>
                    <Route path=path!("/admin/:list/:id") view=|| view! { <Page room="admin"/> } ssr=SsrMode::Async/>
                    <Route path=path!("/clients") view=|| view! { <Page room="clients"/> } ssr=SsrMode::Async/>
                    <Route path=path!("/clients/:user_id") view=|| view! { <Page room="clients"/> } ssr=SsrMode::Async/>
                    <Route path=path!("/clients/:user_id/:metric") view=|| view! { <Page room="clients"/> } ssr=SsrMode::Async/>
                    <Route path=path!("/clients/:user_id/:metric/:day") view=|| view! { <Page room="clients"/> } ssr=SsrMode::Async/>
                    <Route path=path!("/status") view=|| view! { <Page room="status"/> } ssr=SsrMode::Async/>
                </FlatRoutes>
            </main>
            <FocusHeading/>
            <footer class="foot">
                <span>"Assay "{session.version.clone()}</span>
                <a href="/status">"Status"</a>
                <a rel="external" href="/preferences">"Preferences"</a>
                <button class="quiet with-js" type="button" data-keys>"Keyboard"</button>
                <span class="foot-note">"Times are in "{session.zone.clone()}". A confidence is the chance, in percent, that a value is close enough to act on."</span>
            </footer>
        </Router>
        <p class="sr-only" role="status">{move || announcer.0.get()}</p>
    }
}

/// After a change of page in the browser the heading takes the focus, as it would after a full load.
#[component]
fn FocusHeading() -> impl IntoView {
    let path = use_location().pathname;
    Effect::new(move |before: Option<String>| {
        let now = path.get();
        if before.is_some_and(|b| b != now) {
            focus_heading(60, false);
        }
        now
    });
}

/// The new page's heading may come with its data: it is looked for until it is there, and again when the old page's
/// heading, which had the focus, went away. Whatever the reader focuses meanwhile is left alone.
fn focus_heading(tries: u8, had: bool) {
    use leptos::wasm_bindgen::JsCast;
    let lost = document().active_element().is_none_or(|e| e.tag_name() == "BODY");
    let mut had = had;
    if (!had || lost)
        && let Ok(Some(h1)) = document().query_selector("main h1")
        && h1.set_attribute("tabindex", "-1").is_ok()
        && let Ok(h1) = h1.dyn_into::<leptos::web_sys::HtmlElement>()
    {
        had = h1.focus().is_ok();
    }
    if tries > 0 {
        set_timeout(move || focus_heading(tries - 1, had), std::time::Duration::from_millis(50));
    }
}

/// Name, navigation by role, and the account's menu.
#[component]
fn Masthead(
    /// Who is logged in.
    session: session::Session,
) -> impl IntoView {
    let path = use_location().pathname;
    let role = session.account.as_ref().map(|a| a.role);
    view! {
        <header class="mast">
            <a class="brand" href="/"><Logo/><span>"Assay"</span></a>
            <nav class="mast-nav" aria-label="Main">
                {menu::MENU.iter().filter(|entry| entry.is_for(role)).map(|entry| view! {
                    <a href=entry.href aria-current=move || entry.covers(&path.get()).then_some("page")>{entry.text}</a>
                }).collect_view()}
            </nav>
            <session::AccountMenu session/>
        </header>
    }
    .into_any()
}

/// The mark: a peak between two lines, the reading between its limits.
#[component]
fn Logo() -> impl IntoView {
    view! {
        <svg class="logo" viewBox="0 0 24 24" width="24" height="24" aria-hidden="true">
            <path class="logo-ring" d="M12 1.5 21.1 6.8V17.2L12 22.5 2.9 17.2V6.8Z"></path>
            <path class="logo-line" d="M6.5 15.5H10L12 8l2 7.5h3.5"></path>
        </svg>
    }
}
