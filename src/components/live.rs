//! Live updates: the server says *that* something changed, and the page decides when it asks again; it is told at most
//! twice a second. Paused by the reader, and by itself while the tab is hidden. A lost connection is said in words, tried
//! again with growing pauses, and followed by a full refresh; that the session ended is said, and nothing tried any more.
//! Without JavaScript there is a link to reload.

use super::parts::login_address;
use leptos::prelude::*;
use leptos_router::hooks::use_location;

/// How the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Not tried yet, or on its way.
    Connecting,
    /// News arrive.
    Open,
    /// Lost; being tried again.
    Lost,
    /// The server answered, but gave no news: the page finds out why by asking for itself. Being tried again.
    Refused,
    /// The session has ended.
    Ended,
}

/// The topics of news that a page is concerned by.
pub type Topics = &'static [&'static str];

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

/// How much the news told of so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// As [`Live::version`].
    pub version: u32,
    /// As [`Live::changes`].
    pub changes: u32,
}

impl Live {
    /// What was told until now.
    pub fn told(&self) -> Told {
        Told { version: self.version.get_untracked(), changes: self.changes.get_untracked() }
    }
}

/// One polite line for screen readers, in the page from the start.
#[derive(Clone, Copy)]
pub struct Announcer(pub RwSignal<String>);

impl Announcer {
    /// Says something, if an announcer is there.
    pub fn say(text: &str) {
        if let Some(announcer) = use_context::<Self>() {
            announcer.tell(text);
        }
    }

    fn tell(self, text: &str) {
        let _ = self.0.try_update(|line| *line = anew(line, text));
    }
}

/// The words for the line after others. The same words again would change nothing in the page, and nothing would be read
/// out: every second time a space that nobody sees stands behind them.
fn anew(before: &str, text: &str) -> String {
    if before == text { format!("{text}\u{a0}") } else { text.to_owned() }
}

/// Starts live updates for the page that calls it, which is about a person or (empty) nobody in particular; they end with it.
pub fn use_live(topics: Memo<Topics>, about: Memo<String>) -> Live {
    let live =
        Live { version: RwSignal::new(0), changes: RwSignal::new(0), paused: RwSignal::new(false), link: RwSignal::new(Link::Connecting) };
    #[cfg(feature = "hydrate")]
    browser::start(live, topics, about);
    #[cfg(not(feature = "hydrate"))]
    let _ = (topics, about);
    live
}

/// Live or paused, and since when what is shown is true.
#[component]
pub fn LiveControl(
    /// The page's updates.
    live: Live,
    /// When the shown data were taken; empty while nothing is shown.
    taken_at: String,
    /// How the page keeps up, in words.
    rhythm: &'static str,
    /// Whether news wait until the reader is not at work. Of the whole page: what is made with one answer is gone with it.
    waits: RwSignal<bool>,
) -> impl IntoView {
    let state = move || match (live.paused.get(), live.link.get()) {
        (_, Link::Ended) => ("lost", "Your session has ended"),
        (true, _) => ("paused", "Paused"),
        (_, Link::Open) => ("open", "Live"),
        (_, Link::Connecting) => ("connecting", "Connecting"),
        (_, Link::Lost | Link::Refused) => ("lost", "Connection lost, trying again"),
    };
    let here = use_location();
    let login = move || {
        (live.link.get() == Link::Ended).then(|| {
            view! { <a class="with-js" rel="external" href=login_address(&here)>"Log in again"</a> }
        })
    };
    let taken = if taken_at.is_empty() { taken_at } else { format!("as of {taken_at}") };
    view! {
        <div class="live">
            <span class="live-link">
                <a class="without-js" rel="external" href="">"Reload"</a>
                <span class=move || format!("live-state with-js {}", state().0)>{move || state().1}</span>
            </span>
            {login}
            <span class="soft with-js">{move || if waits.get() { "waits while you are at work" } else { rhythm }}</span>
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
    use super::{Announcer, Link, Live, Topics};
    use leptos::leptos_dom::helpers::{TimeoutHandle, set_timeout_with_handle, window_event_listener_untyped};
    use leptos::prelude::*;
    use std::time::Duration;
    use wasm_bindgen::{JsCast, JsValue, closure::Closure};
    use web_sys::{EventSource, MessageEvent};

    const KEY: &str = "assay-live";
    /// All that the server says; `resync`: news were lost; `ended`: the session is over.
    const SAID: [&str; 6] = ["scores", "jobs", "operation", "deliveries", "resync", "ended"];
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
        topics: Memo<Topics>,
        about: Memo<String>,
        stream: StoredValue<Option<Stream>, LocalStorage>,
        refetch: StoredValue<Option<TimeoutHandle>, LocalStorage>,
        retry: StoredValue<Option<TimeoutHandle>, LocalStorage>,
        failures: StoredValue<u32>,
        fetched: StoredValue<f64>,
        announcer: Option<Announcer>,
    }

    pub(super) fn start(live: Live, topics: Memo<Topics>, about: Memo<String>) {
        let updates = Updates {
            live,
            topics,
            about,
            stream: StoredValue::new_local(None),
            refetch: StoredValue::new_local(None),
            retry: StoredValue::new_local(None),
            failures: StoredValue::new(0),
            fetched: StoredValue::new(0.0),
            announcer: use_context(),
        };
        let over = Memo::new(move |_| live.link.get() == Link::Ended);
        Effect::new(move |before: Option<(bool, String)>| {
            let about = about.get();
            if before.is_none() && remembered() {
                live.paused.set(true);
            }
            let paused = live.paused.get();
            if before.is_some() {
                remember(paused);
            }
            if paused || over.get() || topics.read().is_empty() {
                updates.close();
            } else {
                if before.as_ref().is_some_and(|(_, of)| *of != about) {
                    updates.close(); // the stream is about somebody else
                }
                updates.open();
                if before.is_some_and(|(paused, _)| paused) {
                    updates.changed();
                }
            }
            (paused, about)
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
        /// Whether the page at hand is concerned by a topic; `None`: by any at all.
        fn concerned(self, topic: Option<&str>) -> bool {
            self.topics.try_with_untracked(|topics| topic.map_or(!topics.is_empty(), |t| topics.contains(&t))).unwrap_or(false)
        }

        /// Tells the page; many calls within the time are one.
        fn changed(self) {
            if !self.concerned(None) || self.refetch.try_with_value(Option::is_some).unwrap_or(true) {
                return;
            }
            let quiet = Duration::from_millis((js_sys::Date::now() - self.fetched.try_get_value().unwrap_or(0.0)).max(0.0) as u64);
            let handle = set_timeout_with_handle(
                move || {
                    let _ = self.refetch.try_set_value(None);
                    let _ = self.fetched.try_set_value(js_sys::Date::now());
                    self.live.version.try_update(|v| *v = v.wrapping_add(1));
                },
                AT_MOST_EVERY.saturating_sub(quiet),
            );
            let _ = self.refetch.try_set_value(handle.ok());
        }

        fn open(self) {
            let over = self.live.link.try_get_untracked().is_none_or(|link| link == Link::Ended);
            if over || !self.concerned(None) || self.stream.try_with_value(Option::is_some).unwrap_or(true) {
                return;
            }
            // The server then says first what it announced since this document was asked for.
            let age = window().performance().map_or(0.0, |p| p.now());
            let about = js_sys::encode_uri_component(&self.about.try_get_untracked().unwrap_or_default());
            let Ok(source) = EventSource::new(&format!("/live?age={}&about={about}", age as u32)) else { return };
            let news = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
                match event.type_().as_str() {
                    "ended" => return self.ended(),
                    "resync" => {}
                    topic if self.concerned(Some(topic)) => {}
                    _ => return,
                }
                let text = event.data().as_string().unwrap_or_default();
                let n =
                    text.bytes().filter(u8::is_ascii_digit).fold(0_u32, |n, d| n.saturating_mul(10).saturating_add(u32::from(d - b'0')));
                self.live.changes.try_update(|all| *all = all.saturating_add(n));
                self.changed();
            });
            for name in SAID {
                let _ = source.add_event_listener_with_callback(name, news.as_ref().unchecked_ref());
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
            let was_lost = matches!(self.live.link.try_get_untracked(), Some(Link::Lost | Link::Refused));
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
            // The browser gives up by itself where an answer came that is no stream of news.
            let refused = self.stream.try_with_value(|s| s.as_ref().is_some_and(|s| s.source.ready_state() == EventSource::CLOSED));
            self.live.link.try_set(if refused == Some(true) { Link::Refused } else { Link::Lost });
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

        /// Nothing is tried any more: whoever logs in again comes back to a new document.
        fn ended(self) {
            self.live.link.try_set(Link::Ended);
            self.close();
            self.announce("Your session has ended. Log in again to go on where you are.");
        }

        fn announce(self, text: &str) {
            if let Some(announcer) = self.announcer {
                announcer.tell(text);
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

#[cfg(test)]
mod tests {
    use super::anew;

    #[test]
    fn the_same_words_again_are_another_line_and_read_the_same() {
        let first = anew("", "Something changed.");
        let again = anew(&first, "Something changed.");
        let third = anew(&again, "Something changed.");
        assert!(first != again && again != third, "{first:?} {again:?} {third:?}");
        for line in [first, again, third] {
            assert_eq!(line.trim_end(), "Something changed.");
        }
    }
}
