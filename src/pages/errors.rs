//! Pages for what is not there.

use crate::components::set_status;
use leptos::prelude::*;
use leptos_meta::Title;

/// No such page.
#[component]
pub fn NotFound() -> impl IntoView {
    set_status(404);
    view! {
        <Title text="Not found"/>
        <div class="empty page-empty">
            <p class="empty-code" aria-hidden="true">"404"</p>
            <h1 class="empty-title">"This page does not exist"</h1>
            <div class="empty-body">
                <p>"The address may be mistyped, or the page has moved."</p>
                <p><a class="button primary" href="/">"Go to the start"</a></p>
            </div>
        </div>
    }
}
