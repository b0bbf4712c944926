//! What the browser has of these pages: it asks the server for the one of its address and puts it in place. When
//! something changed while the reader is at work in the page (something has the focus, or was opened), it says so and waits, so
//! that nothing moves under the hand; else the page shows it at once.

use crate::{
    components::{Trouble, use_live},
    error::AppError,
};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_url};
use serde::{Deserialize, Serialize};

/// A page made by the server: HTML in which every text was escaped by the `view!` macro.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// What stands inside of the page.
    pub html: String,
}

/// The list of clients the caller may see.
///
/// # Errors
/// Nobody is logged in, or the database is away.
#[server(endpoint = "clients")]
pub async fn load_clients(
    /// The address's query: what to show, and how.
    #[server(default)]
    query: String,
) -> Result<Made, AppError> {
    super::list::load(&query).await
}

/// A person's page, one metric of it, or why one day's score is what it is.
///
/// # Errors
/// Nobody is logged in; there is no such person, metric or day, or not for the caller; the database is away.
#[server(endpoint = "client")]
pub async fn load_client(
    /// Whose.
    user_id: String,
    /// A metric's key; empty: all.
    #[server(default)]
    metric: String,
    /// A day such as `2026-11-23`; empty: over time.
    #[server(default)]
    day: String,
    /// The address's query.
    #[server(default)]
    query: String,
) -> Result<Made, AppError> {
    super::person::load(&user_id, &metric, &day, &query).await
}

/// Takes a person's metric from this source from now on; an empty source leaves it to the evidence.
///
/// # Errors
/// Nobody is logged in; the person is not the caller's; a metric or source that is none; the database is away.
#[server(endpoint = "choose_source")]
pub async fn choose_source(
    /// Whose.
    user_id: String,
    /// Which metric.
    metric: String,
    /// From which source; empty: the evidence decides.
    #[server(default)]
    source: String,
) -> Result<(), AppError> {
    super::metric::choose(&user_id, &metric, &source).await
}

/// The page `/clients`.
#[component]
pub fn Clients() -> impl IntoView {
    framed("People", &["scores"], || (), |(), query| load_clients(query))
}

/// The pages `/clients/{user_id}`, `/clients/{user_id}/{metric}` and `/clients/{user_id}/{metric}/{day}`.
#[component]
pub fn Client() -> impl IntoView {
    let params = use_params_map();
    let which = move || {
        let params = params.read();
        let word = |name: &str| params.get_str(name).unwrap_or_default().to_owned();
        (word("user_id"), word("metric"), word("day"))
    };
    // No name in the title: it ends up in histories and logs.
    framed("Person", &["scores"], which, |(user_id, metric, day), query| load_client(user_id, metric, day, query))
}

/// Whether nothing of the page has the focus or was opened.
#[cfg(feature = "hydrate")]
fn untouched() -> bool {
    let document = document();
    let at_work = document.active_element().is_some_and(|e| e.tag_name() != "BODY");
    !at_work && document.query_selector(".page details[open]").ok().flatten().is_none()
}

/// No page is open on the server.
#[cfg(not(feature = "hydrate"))]
fn untouched() -> bool {
    false
}

fn framed<W, F>(
    title: &'static str,
    topics: &'static [&'static str],
    which: impl Fn() -> W + Send + Sync + 'static,
    load: impl Fn(W, String) -> F + Send + Sync + 'static,
) -> impl IntoView
where
    W: Clone + PartialEq + Send + Sync + 'static,
    F: Future<Output = Result<Made, AppError>> + Send + 'static,
{
    let (live, url, seen) = (use_live(topics), use_url(), RwSignal::new(0_u32));
    let which = Memo::new(move |_| which());
    let query = Memo::new(move |_| url.read().search().to_owned());
    let data = Resource::new(move || (which.get(), query.get(), seen.get()), move |(which, query, _)| load(which, query));
    Effect::new(move |_| {
        let newest = live.version.get();
        if untouched() {
            seen.set(newest);
        }
    });
    let news = move || {
        (live.version.get() != seen.get()).then(|| {
            view! { <button class="quiet" type="button" on:click=move |_| seen.set(live.version.get_untracked())>"Newer data came. Show them"</button> }
        })
    };
    view! {
        <Title text=title/>
        <div class="page">
            <div class="news with-js" aria-live="polite">{news}</div>
            <Transition fallback=|| view! { <p class="soft">"Loading…"</p> }>
                {move || Suspend::new(async move {
                    match data.await {
                        Ok(made) => view! { <div class="page" inner_html=made.html></div> }.into_any(),
                        Err(error) => view! { <h1 class="sr-only">{title}</h1><Trouble error/> }.into_any(),
                    }
                })}
            </Transition>
        </div>
    }
    .into_any()
}
