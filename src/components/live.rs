//! Live updates: the server says *that* something changed, the page fetches what it shows again, at once, but at
//! most twice a second. Paused by the reader, and by itself while the tab is hidden. A lost connection is said in words, tried
//! again with growing pauses, and followed by a full refresh. Without JavaScript there is a link to reload.

use leptos::prelude::*;

/// How the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Not tried yet, or on its way.
    Connecting,
    /// News arrive.
    Open,
    /// Lost; being tried again.
    Lost,
}

/// What a page needs for live updates. Copy it about.
#[derive(Clone, Copy)]
pub struct Live {
    /// Raised when the page should fetch again: the source of its resource.
    pub version: RwSignal<u32>,
    /// How many things changed since the page was opened, as far as the news say.
    pub changes: RwSignal<u32>,
    /// The reader's wish; remembered by the browser.
    pub paused: RwSignal<bool>,
    /// How the connection is.
    pub link: RwSignal<Link>,
}

/// One polite line for screen readers, in the page from the start.
#[derive(Clone, Copy)]
pub struct Announcer(pub RwSignal<String>);

impl Announcer {
    /// Says something, if an announcer is there.
    pub fn say(text: &str) {
        if let Some(Announcer(line)) = use_context() {
            line.set(text.to_owned());
        }
    }
}

/// Starts live updates for the page that calls it; they end with it.
pub fn use_live(topics: &'static [&'static str]) -> Live {
    let live = Live { version: RwSignal::new(0), changes: RwSignal::new(0), paused: RwSignal::new(false), link: RwSignal::new(Link::Connecting) };
    #[cfg(feature = "hydrate")]
    browser::start(live, topics);
    #[cfg(not(feature = "hydrate"))]
    let _ = topics;
    live
}

/// Live or paused, and since when what is shown is true.
#[component]
pub fn LiveControl(
    /// The page's updates.
    live: Live,
    /// When the shown data were taken; empty while nothing is shown.
    taken_at: String,
) -> impl IntoView {
    let state = move || match (live.paused.get(), live.link.get()) {
        (true, _) => ("paused", "Paused"),
        (_, Link::Open) => ("open", "Live"),
        (_, Link::Connecting) => ("connecting", "Connecting"),
        (_, Link::Lost) => ("lost", "Connection lost, trying again"),
    };
    let taken = if taken_at.is_empty() { taken_at } else { format!("as of {taken_at}") };
    view! {
        <div class="live">
            <span class="live-link">
                <a class="without-js" rel="external" href="">"Reload"</a>
                <span class=move || format!("live-state with-js {}", state().0)>{move || state().1}</span>
            </span>
            <button class="quiet with-js" type="button" aria-pressed=move || live.paused.get().to_string() on:click=move |_| live.paused.update(|p| *p = !*p)>
                "Pause"
            </button>
            <span class="soft live-time">{taken}</span>
        </div>
    }
    .into_any()
}

#[cfg(feature = "hydrate")]
mod browser {
    use super::{Announcer, Link, Live};
    use leptos::leptos_dom::helpers::{TimeoutHandle, set_timeout_with_handle, window_event_listener_untyped};
    use leptos::prelude::*;
    use std::time::Duration;
    use wasm_bindgen::{JsCast, JsValue, closure::Closure};
    use web_sys::{EventSource, MessageEvent};

    const KEY: &str = "assay-live";
    /// Not more often than once in this time is anything fetched again. The first news after a quiet time is fetched at once.
    const AT_MOST_EVERY: Duration = Duration::from_millis(500);

    /// An open stream with the closures it calls; closed when dropped.
    struct Stream {
        source: EventSource,
        _news: Closure<dyn FnMut(MessageEvent)>,
        _open: Closure<dyn FnMut()>,
        _error: Closure<dyn FnMut()>,
    }

    impl Drop for Stream {
        fn drop(&mut self) {
            self.source.close();
        }
    }

    #[derive(Clone, Copy)]
    struct Updates {
        live: Live,
        topics: &'static [&'static str],
        stream: StoredValue<Option<Stream>, LocalStorage>,
        refetch: StoredValue<Option<TimeoutHandle>, LocalStorage>,
        retry: StoredValue<Option<TimeoutHandle>, LocalStorage>,
        failures: StoredValue<u32>,
        fetched: StoredValue<f64>,
        announcer: Option<Announcer>,
    }

    pub(super) fn start(live: Live, topics: &'static [&'static str]) {
        let updates = Updates {
            live,
            topics,
            stream: StoredValue::new_local(None),
            refetch: StoredValue::new_local(None),
            retry: StoredValue::new_local(None),
            failures: StoredValue::new(0),
            fetched: StoredValue::new(0.0),
            announcer: use_context(),
        };
        Effect::new(move |before: Option<bool>| {
            if before.is_none() && remembered() {
                live.paused.set(true);
            }
            let paused = live.paused.get();
            if before.is_some() {
                remember(paused);
            }
            if paused {
                updates.close();
            } else {
                updates.open();
                if before == Some(true) {
                    updates.changed();
                }
            }
            paused
        });
        let hidden = window_event_listener_untyped("visibilitychange", move |_| {
            if document().visibility_state() == web_sys::VisibilityState::Hidden {
                updates.close();
            } else if !live.paused.get_untracked() {
                updates.open();
                updates.changed();
            }
        });
        on_cleanup(move || {
            hidden.remove();
            updates.close();
        });
    }

    impl Updates {
        /// Fetches again; many calls within the time are one.
        fn changed(self) {
            if self.refetch.try_with_value(Option::is_some).unwrap_or(true) {
                return;
            }
            let quiet = Duration::from_millis((js_sys::Date::now() - self.fetched.try_get_value().unwrap_or(0.0)).max(0.0) as u64);
            let handle = set_timeout_with_handle(
                move || {
                    let _ = self.refetch.try_set_value(None);
                    let _ = self.fetched.try_set_value(js_sys::Date::now());
                    // A reader in a dialog is not disturbed; the change waits.
                    if document().query_selector("dialog[open]").ok().flatten().is_some() {
                        self.changed();
                    } else {
                        self.live.version.try_update(|v| *v = v.wrapping_add(1));
                    }
                },
                AT_MOST_EVERY.saturating_sub(quiet),
            );
            let _ = self.refetch.try_set_value(handle.ok());
        }

        fn open(self) {
            if self.stream.try_with_value(Option::is_some).unwrap_or(true) {
                return;
            }
            // The server then says first what it announced since this document was asked for.
            let age = window().performance().map_or(0.0, |p| p.now());
            let Ok(source) = EventSource::new(&format!("/live?age={}", age as u32)) else { return };
            let news = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
                let text = event.data().as_string().unwrap_or_default();
                let n = text.bytes().filter(u8::is_ascii_digit).fold(0_u32, |n, d| n.saturating_mul(10).saturating_add(u32::from(d - b'0')));
                self.live.changes.try_update(|all| *all = all.saturating_add(n));
                self.changed();
            });
            for topic in self.topics.iter().chain(&["resync"]) {
                let _ = source.add_event_listener_with_callback(topic, news.as_ref().unchecked_ref());
            }
            let open = Closure::<dyn FnMut()>::new(move || self.opened());
            source.set_onopen(Some(open.as_ref().unchecked_ref()));
            let error = Closure::<dyn FnMut()>::new(move || self.lost());
            source.set_onerror(Some(error.as_ref().unchecked_ref()));
            let _ = self.stream.try_set_value(Some(Stream { source, _news: news, _open: open, _error: error }));
        }

        fn close(self) {
            for timer in [self.refetch, self.retry] {
                if let Some(handle) = timer.try_update_value(Option::take).flatten() {
                    handle.clear();
                }
            }
            // Dropped a turn later: this may run inside one of the stream's own closures.
            if let Some(stream) = self.stream.try_update_value(Option::take).flatten() {
                stream.source.close();
                set_timeout(move || drop(stream), Duration::ZERO);
            }
        }

        fn opened(self) {
            let was_lost = self.live.link.try_get_untracked() == Some(Link::Lost);
            self.live.link.try_set(Link::Open);
            let _ = self.failures.try_set_value(0);
            if was_lost {
                self.announce("Connected again; the page is up to date.");
                self.changed();
            }
        }

        /// The browser's own retry has a fixed pause and gives up on an error status, so we do it ourselves:
        /// 1 s, 2 s, 4 s … 60 s, each up to half longer at random, so that not all come back at once.
        fn lost(self) {
            if self.live.link.try_get_untracked() == Some(Link::Open) {
                self.announce("Connection lost. What is shown may be out of date; trying again.");
            }
            self.live.link.try_set(Link::Lost);
            self.close();
            let n = self.failures.try_get_value().unwrap_or(0);
            let _ = self.failures.try_set_value(n.saturating_add(1));
            let base = (1000_u32 << n.min(6)).min(60_000);
            let pause = f64::from(base) * (1.0 + js_sys::Math::random() / 2.0);
            let handle = set_timeout_with_handle(
                move || {
                    let _ = self.retry.try_set_value(None);
                    if self.live.paused.try_get_untracked() == Some(false) {
                        self.open();
                    }
                },
                Duration::from_millis(pause as u64),
            );
            let _ = self.retry.try_set_value(handle.ok());
        }

        fn announce(self, text: &str) {
            if let Some(Announcer(line)) = self.announcer {
                line.try_set(text.to_owned());
            }
        }
    }

    /// The browser's memory; a browser that forbids it simply forgets.
    fn storage() -> Option<JsValue> {
        js_sys::Reflect::get(&window(), &JsValue::from_str("localStorage")).ok().filter(JsValue::is_object)
    }

    fn remembered() -> bool {
        storage().and_then(|s| js_sys::Reflect::get(&s, &JsValue::from_str(KEY)).ok()).and_then(|v| v.as_string()).as_deref()
            == Some("paused")
    }

    fn remember(paused: bool) {
        if let Some(s) = storage() {
            let word = if paused { "paused" } else { "live" };
            let _ = js_sys::Reflect::set(&s, &JsValue::from_str(KEY), &JsValue::from_str(word));
        }
    }
}
