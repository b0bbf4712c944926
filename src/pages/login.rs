//! The way in. The form is an ordinary one: it is answered by `access`, which redirects on, or back here with a code.

use super::session::{Session, safe_next};
use crate::components::{Alert, Announcer};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;

/// What a code in the URL means. The sentence does not say whether the account exists.
fn sentence(code: &str) -> Option<&'static str> {
    Some(match code {
        "invalid" => "E-mail address and password do not belong together. Check both and try again.",
        "limited" => "Too many attempts. Wait a minute, then try again.",
        "code" => "This account asks for a second factor. Enter everything once more, with the six digits of your app.",
        "code_refused" => "The six digits were wrong or already used. Wait for the next ones and try again.",
        "no_vault" => "Second factors cannot be checked: the server has no ASSAY_SECRET_KEY. Tell an administrator.",
        "disabled" => "This account is switched off. Ask an administrator.",
        "expired" => "Your session has ended. Log in again to go on where you were.",
        "unavailable" => "The database does not answer just now. Try again in a moment.",
        _ => return None,
    })
}

/// The log-in form.
#[component]
pub fn Login() -> impl IntoView {
    let query = use_query_map();
    let next = move || safe_next(query.read().get_str("next").unwrap_or("/")).to_owned();
    let problem = move || query.read().get_str("error").and_then(sentence);
    Effect::new(move |_| {
        if let Some(text) = problem() {
            Announcer::say(text);
        }
    });
    let needs_code = move || query.read().get_str("error").is_some_and(|e| matches!(e, "code" | "code_refused"));
    let session = use_context::<Session>();
    let logged_in = session.and_then(|s| s.account).map(|a| a.email);
    view! {
        <Title text="Log in"/>
        <div class="gate">
            <h1>"Log in"</h1>
            <p class="lead">"How far can today’s numbers be trusted?"</p>
            {move || problem().map(|text| view! { <div id="problem"><Alert tone="bad">{text}</Alert></div> })}
            {logged_in.map(|email| view! { <Alert tone="note">"You are logged in as "{email}". "<a href="/">"Go on"</a></Alert> })}
            <form method="post" action="/login" class="form">
                <input type="hidden" name="next" value=next/>
                <label for="email">"E-mail address"</label>
                <input id="email" name="email" type="email" autocomplete="username" autocapitalize="none" spellcheck="false" required=true maxlength="254"
                    aria-invalid=move || problem().map(|_| "true") aria-describedby=move || problem().map(|_| "problem")/>
                <label for="password">"Password"</label>
                <input id="password" name="password" type="password" autocomplete="current-password" required=true maxlength="1024"
                    aria-invalid=move || problem().map(|_| "true") aria-describedby=move || problem().map(|_| "problem")/>
                {move || needs_code().then(|| view! {
                    <label for="code">"Six digits"</label>
                    <input id="code" name="code" inputmode="numeric" autocomplete="one-time-code" pattern="[0-9 ]*" maxlength="8" required=true/>
                })}
                <button class="button primary wide" type="submit">"Log in"</button>
            </form>
            <p class="soft small">"Accounts are made by an administrator. The first one is printed when Assay starts for the first time."</p>
        </div>
    }
}
