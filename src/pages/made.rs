//! Pages that are read, not operated: tables, drawings, links and forms. The server makes their HTML, with the same
//! `view!` macro as everywhere, and all that the browser has of them is this file: it asks for the page of its address
//! and puts it in place. A new page costs the browser nothing.
//!
//! The overview and one person's pages are kept up to date by themselves, and so is what is followed, such as a log or
//! something that goes on. When something of a list changed, the page says so and waits, so that no row moves under the
//! reader.

use crate::{
    components::{Announcer, LiveControl, Placed, Trouble, use_live},
    error::AppError,
};
use leptos::{
    prelude::*,
    server::codee::{Decoder, Encoder, string::JsonSerdeCodec},
};
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_url};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is followed is read anew after this time.
const AGAIN: Duration = Duration::from_secs(2);

/// A page made by the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// For the window. It never names a person: it ends up in histories and logs.
    pub title: String,
    /// HTML in which every text was escaped by the `view!` macro.
    pub html: String,
    /// When it was read, as text; empty: the page does not say.
    pub taken: String,
    /// Whether it is brought up to date by itself.
    pub follow: bool,
}

impl Made {
    /// A page of what held at a moment.
    #[cfg(feature = "ssr")]
    pub fn at(title: &str, html: String, now: crate::model::Instant) -> Self {
        Self { title: title.into(), html, taken: crate::components::text::moment(now, now).text, follow: false }
    }
}

type Answer = Result<Made, AppError>;

/// How a page travels inside its document: without the HTML, which stands there already.
struct Bare;

impl Encoder<Answer> for Bare {
    type Error = <JsonSerdeCodec as Encoder<Answer>>::Error;
    type Encoded = String;

    fn encode(answer: &Answer) -> Result<String, Self::Error> {
        let bare = |m: &Made| Made { title: m.title.clone(), html: String::new(), taken: m.taken.clone(), follow: m.follow };
        JsonSerdeCodec::encode(&answer.as_ref().map(bare).map_err(AppError::clone))
    }
}

impl Decoder<Answer> for Bare {
    type Error = <JsonSerdeCodec as Decoder<Answer>>::Error;
    type Encoded = str;

    fn decode(text: &str) -> Result<Answer, Self::Error> {
        JsonSerdeCodec::decode(text)
    }
}

/// Which page: the room it lies in, the words of its address, and its query.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    room: &'static str,
    words: [String; 3],
    query: String,
}

impl Address {
    /// Whether each news is shown at once: the overview and one person's pages do not change their order by it.
    fn keeps_up(&self) -> bool {
        self.room == "overview" || self.room == "clients" && !self.words[0].is_empty()
    }
}

/// The page of an address. Whom it is for is decided by the room.
///
/// # Errors
/// Nobody is logged in, or it is not for the caller; there is no such page; the database is away.
#[server(endpoint = "page")]
pub async fn load_page(
    /// `overview`, `admin`, `registry`, `clients` or `status`.
    room: String,
    /// The first word after the room's own.
    #[server(default)]
    first: String,
    /// The second.
    #[server(default)]
    second: String,
    /// The third.
    #[server(default)]
    third: String,
    /// The address's query.
    #[server(default)]
    query: String,
) -> Result<Made, AppError> {
    match room.as_str() {
        "status" => super::status::page().await,
        "clients" => super::clients::page(&first, &second, &third, &query).await,
        "overview" => super::admin::page("", "", &query).await,
        "admin" => super::admin::page(&first, &second, &query).await,
        "registry" => super::admin::page("settings/registry", &second, &query).await,
        _ => Err(AppError::not_found("This page")),
    }
}

/// What news mean for a room's pages.
fn topics(room: &str) -> &'static [&'static str] {
    match room {
        "overview" => &["scores", "jobs", "operation", "deliveries"],
        "clients" => &["scores"],
        "status" => &[],
        _ => &["jobs", "deliveries", "operation"],
    }
}

/// Whether nothing of the page has the focus or was opened: then news may be shown without being asked for.
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

/// The page of the present address in a room.
#[component]
pub fn Page(
    /// Its room.
    room: &'static str,
) -> impl IntoView {
    let (params, url) = (use_params_map(), use_url());
    let topics = topics(room);
    let live = use_live(topics);
    let seen = RwSignal::new(0_u32);
    let address = Memo::new(move |_| {
        let params = params.read();
        let word = |names: &[&str]| names.iter().find_map(|n| params.get_str(n)).unwrap_or_default().to_owned();
        let words = [word(&["user_id", "list"]), word(&["metric", "id"]), word(&["day"])];
        Address { room, words, query: url.read().search().to_owned() }
    });
    let ask = |(a, _): (Address, u32)| {
        let [first, second, third] = a.words;
        load_page(a.room.to_owned(), first, second, third, a.query)
    };
    let by_itself = move || address.with(Address::keeps_up);
    let data = Resource::<Answer, Bare>::new_with_options(move || (address.get(), seen.get()), ask, false);
    let again = move || seen.update(|n| *n = n.wrapping_add(1));
    // Not while the reader is at work in the page: it is replaced as a whole, and what had the focus would lose it.
    Effect::new(move |before: Option<u32>| {
        let version = live.version.get();
        if before.is_some_and(|b| b != version) && address.with_untracked(Address::keeps_up) && untouched() {
            again();
        }
        version
    });
    Effect::new(move |before: Option<bool>| {
        let follow = matches!(&*data.read(), Some(Ok(made)) if made.follow);
        if follow && !live.paused.get() {
            let timer = set_timeout_with_handle(again, AGAIN);
            on_cleanup(move || drop(timer.map(|t| t.clear())));
        } else if before == Some(true) && !follow {
            Announcer::say("What was going on has ended.");
        }
        follow
    });
    // The news that what is shown holds already, and how many changes they told of.
    let shown = RwSignal::new((0_u32, 0_u32));
    Effect::new(move |_| {
        data.track();
        shown.set((live.version.get_untracked(), live.changes.get_untracked()));
    });
    let news = move || {
        let (version, changes) = shown.get();
        (live.version.get() != version && !(by_itself() && untouched())).then(|| {
            let n = move || live.changes.get().saturating_sub(changes);
            // The number is for the eye: said each time, it would speak without end.
            let count = move || (n() > 1).then(|| view! { <span class="soft" aria-hidden="true">{format!(" · {} changes", n())}</span> });
            view! { <button class="quiet" type="button" on:click=move |_| again()>"Something changed. Show it"{count}</button> }
        })
    };
    view! {
        <div class="page">
            <div class="news with-js" aria-live="polite">{news}</div>
            <Transition fallback=|| view! { <p class="soft">"Loading…"</p> }>
                {move || Suspend::new(async move {
                    match data.await {
                        Ok(made) => {
                            let placed = Placed { html: made.html };
                            let control = (!topics.is_empty()).then(|| view! { <LiveControl live taken_at=made.taken/> });
                            view! { <Title text=made.title/>{control}{placed.into_view()} }.into_any()
                        }
                        Err(error) => view! { <Title text="Not shown"/><h1 class="sr-only">"This page is not shown"</h1><Trouble error/> }.into_any(),
                    }
                })}
            </Transition>
        </div>
    }
    .into_any()
}
