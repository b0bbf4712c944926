//! Tables that scroll in their own box, and paging by links.

use leptos::prelude::*;

/// A box a wide table scrolls in, reachable by keyboard.
#[component]
pub fn ScrollTable(
    /// Names the region and the table.
    #[prop(into)]
    caption: String,
    /// Head and body.
    children: Children,
) -> impl IntoView {
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label=caption.clone()>
            <table><caption class="sr-only">{caption.clone()}</caption>{children()}</table>
        </div>
    }
    .into_any()
}

/// Links to the page before and after. Works without JavaScript; the first page has no number in its URL.
#[component]
pub fn Pager(
    /// The page shown, from 1.
    page: u32,
    /// Whether another follows.
    more: bool,
    /// The URL without a page, with its filters: `/clients?tier=poor`.
    #[prop(into)]
    base: String,
) -> impl IntoView {
    let to = move |n: u32| match (n, base.contains('?')) {
        (..=1, _) => base.clone(),
        (n, true) => format!("{base}&page={n}"),
        (n, false) => format!("{base}?page={n}"),
    };
    (page > 1 || more)
        .then(|| {
            view! {
                <nav class="pager" aria-label="Pages">
                    {(page > 1).then(|| view! { <a class="button" rel="prev" href=to(page - 1)>"← Previous"</a> })}
                    <span class="soft">"Page "{page}</span>
                    {more.then(|| view! { <a class="button" rel="next" href=to(page + 1)>"Next →"</a> })}
                </nav>
            }
        })
        .into_any()
}
