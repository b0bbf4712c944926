//! Who looks at the page, as far as the page has to know: name, role, theme. Known before the first byte is sent and
//! embedded in it, so header and navigation need no request of their own.

use crate::{error::AppError, model::Role};
use leptos::{prelude::*, server_fn::ServerFn};
use leptos_router::hooks::use_location;
use serde::{Deserialize, Serialize};

/// The account in the header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its e-mail address.
    pub email: String,
    /// What it may do.
    pub role: Role,
}

/// What every page knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Nobody, or the caller.
    pub account: Option<Account>,
    /// `light`, `dark` or `system`.
    pub theme: String,
    /// The zone that times are shown in.
    pub zone: String,
    /// Why the form that was sent just now did not work; empty: it did, or none was sent.
    pub failure: String,
    /// Of the program.
    pub version: String,
}

/// The session of this page: made on the server, read from the page in the browser.
pub fn shared() -> Session {
    SharedValue::new(current).into_inner()
}

#[cfg(feature = "ssr")]
fn current() -> Session {
    let account = use_context::<crate::server::context::Request>().and_then(|r| r.caller).map(|c| Account { email: c.email, role: c.role });
    let zone = crate::components::preferences::current().zone.name().to_owned();
    let failure = use_context::<crate::server::failure::Failure>().map(|f| f.0).unwrap_or_default();
    Session { account, theme: theme().into(), zone, failure, version: env!("CARGO_PKG_VERSION").into() }
}

#[cfg(not(feature = "ssr"))]
fn current() -> Session {
    Session { account: None, theme: "system".into(), zone: "UTC".into(), failure: String::new(), version: env!("CARGO_PKG_VERSION").into() }
}

/// The reader's theme, from the cookie; anything else is `system`.
pub fn theme() -> &'static str {
    #[cfg(feature = "ssr")]
    {
        let parts = use_context::<axum::http::request::Parts>();
        let cookies = parts.as_ref().map(|p| p.headers.get_all("cookie"));
        let chosen = cookies
            .into_iter()
            .flatten()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(';'))
            .find_map(|c| c.trim().strip_prefix("theme="));
        known_theme(chosen.unwrap_or_default())
    }
    #[cfg(not(feature = "ssr"))]
    "system"
}

/// One of the three themes.
#[cfg(feature = "ssr")]
fn known_theme(word: &str) -> &'static str {
    match word {
        "light" => "light",
        "dark" => "dark",
        _ => "system",
    }
}

/// Where to go next: a place of this site ([`crate::model::place`] decides), else the start.
pub fn safe_next(next: &str) -> &str {
    crate::model::place(next).unwrap_or("/")
}

/// Remembers the theme for a year and returns to the page.
///
/// # Errors
/// None a reader can cause; an unknown theme is `system`.
#[server(endpoint = "set_theme")]
pub async fn set_theme(
    /// `light`, `dark` or `system`.
    theme: String,
    /// The page to return to.
    back: String,
) -> Result<(), AppError> {
    use axum::http::{HeaderValue, header::SET_COOKIE};
    let cookie = format!("theme={}; Path=/; Max-Age=31536000; SameSite=Lax", known_theme(&theme));
    if let (Some(options), Ok(value)) = (use_context::<leptos_axum::ResponseOptions>(), HeaderValue::from_str(&cookie)) {
        options.append_header(SET_COOKIE, value);
    }
    leptos_axum::redirect(safe_next(&back));
    Ok(())
}

/// Theme, and who is logged in with the way out. Opens without JavaScript.
#[component]
pub fn AccountMenu(
    /// Who and how.
    session: Session,
) -> impl IntoView {
    let location = use_location();
    let back = move || {
        let (path, search) = (location.pathname.get(), location.search.get());
        let search = search.trim_start_matches('?');
        if search.is_empty() { path } else { format!("{path}?{search}") }
    };
    let theme = session.theme;
    let choices = [("system", "System"), ("light", "Light"), ("dark", "Dark")];
    let name = session.account.as_ref().map_or_else(|| "Display".to_owned(), |a| a.email.clone());
    view! {
        <details class="menu">
            <summary><span class="menu-name">{name}</span></summary>
            <div class="menu-body">
                {session.account.as_ref().map(|a| view! { <p class="soft">"Logged in as "{a.role.word()}</p>
                    // Plain pages of the server, not of this router.
                    <a class="button wide" rel="external" href="/account">"Account"</a>
                    {(a.role == Role::Admin).then(|| view! { <a class="button wide" rel="external" href="/admin/users">"Accounts and invitations"</a> })}
                })}
                <form method="post" action=SetTheme::url() class="segments">
                    <input type="hidden" name="back" value=back/>
                    <fieldset>
                        <legend>"Theme"</legend>
                        {choices.map(|(key, word)| {
                            let pressed = if key == theme { "true" } else { "false" };
                            view! { <button type="submit" name="theme" value=key aria-pressed=pressed>{word}</button> }
                        }).into_iter().collect_view()}
                    </fieldset>
                </form>
                {match session.account {
                    Some(_) => view! { <form method="post" action="/logout"><button class="button wide" type="submit">"Log out"</button></form> }.into_any(),
                    None => view! { <a class="button wide" href="/login">"Log in"</a> }.into_any(),
                }}
            </div>
        </details>
    }
    .into_any()
}

/// The start: leads on to where the account works.
#[component]
pub fn Home() -> impl IntoView {
    let target = match use_context::<Session>().and_then(|s| s.account).map(|a| a.role) {
        Some(Role::Admin) => "/admin",
        Some(Role::Trainer) => "/clients",
        None => "/login",
    };
    #[cfg(feature = "ssr")]
    leptos_axum::redirect(target);
    #[cfg(not(feature = "ssr"))]
    {
        let navigate = leptos_router::hooks::use_navigate();
        Effect::new(move |_| navigate(target, leptos_router::NavigateOptions { replace: true, ..Default::default() }));
    }
    view! { <h1>"Assay"</h1><p><a href=target>"Go on"</a></p> }
}
