//! Pages that are read, not operated: tables, drawings, links and forms. The server makes their HTML, with the same
//! `view!` macro as everywhere, and all that the browser has of them is this file: it asks for the page of its address
//! and puts it in place. A new page costs the browser nothing.
//!
//! The overview and one person's pages are kept up to date by themselves, and so is what is followed, such as a log or
//! something that goes on; not while the reader is at work in their rows. When something of a list changed, the page says
//! so and waits, so that no row moves under the reader. A page that cannot be had anew stays, with the reason above it.

use crate::{
    components::{Alert, Announcer, Link, Live, LiveControl, Placed, Told, Topics, Trouble, busy, use_live},
    error::{AppError, ErrorKind},
};
use leptos::{
    prelude::*,
    server::codee::{Decoder, Encoder, string::JsonSerdeCodec},
};
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_url};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is followed is read anew after this time, and so is what had to wait for the reader.
const AGAIN: Duration = Duration::from_secs(2);
/// Between two announcements of news that wait lies at least so much time, in milliseconds.
#[cfg(feature = "hydrate")]
const SAID_AT_MOST_EVERY: f64 = 30_000.0;

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

    /// All but its HTML.
    fn bare(&self) -> Self {
        Self { title: self.title.clone(), html: String::new(), taken: self.taken.clone(), follow: self.follow }
    }
}

type Answer = Result<Made, AppError>;

/// What is known of the last request for the page.
#[derive(Debug, Clone, Default)]
struct Asked {
    /// What was told when it was asked; absent: the answer is there. Until then nothing is asked again: over a slow
    /// connection no answer would ever be waited for.
    told: Option<Told>,
    /// Whether the reader asked, who wants to see what changed whatever moves by it.
    by_hand: bool,
    /// The address that was last answered; absent: what stands here came with the document.
    of: Option<Address>,
    /// Whether that answer came while the reader was at work, so that what was shown stays.
    late: bool,
}

/// How a page travels inside its document: without the HTML, which stands there already.
struct Bare;

impl Encoder<Answer> for Bare {
    type Error = <JsonSerdeCodec as Encoder<Answer>>::Error;
    type Encoded = String;

    fn encode(answer: &Answer) -> Result<String, Self::Error> {
        JsonSerdeCodec::encode(&answer.as_ref().map(Made::bare).map_err(AppError::clone))
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

    /// The person it is about; empty: nobody in particular.
    fn about(&self) -> String {
        if self.room == "clients" { self.words[0].clone() } else { String::new() }
    }

    /// What news concern it. Where none do, the page is as it was read, and listens to nothing.
    fn topics(&self) -> Topics {
        match (self.room, self.words[0].as_str()) {
            ("overview", _) => &["scores", "jobs", "operation", "deliveries"],
            ("clients", "") => &["scores"],
            ("clients", _) => &["scores", "deliveries"],
            ("admin", "jobs" | "dead-letters") => &["jobs", "operation"],
            ("admin", "webhooks") => &["deliveries", "operation"],
            ("admin", "logs") => &["deliveries", "jobs"],
            ("admin", "connections") => &["deliveries"],
            ("admin", "nodes" | "schedules" | "kinds") => &["jobs"],
            ("registry", _) => &["operation"],
            _ => &[],
        }
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

/// The page of the present address in a room.
#[component]
pub fn Page(
    /// Its room.
    room: &'static str,
) -> impl IntoView {
    let (params, url) = (use_params_map(), use_url());
    let address = Memo::new(move |_| {
        let params = params.read();
        let word = |names: &[&str]| names.iter().find_map(|n| params.get_str(n)).unwrap_or_default().to_owned();
        let words = [word(&["user_id", "list"]), word(&["metric", "id"]), word(&["day"])];
        Address { room, words, query: url.read().search().to_owned() }
    });
    let live = use_live(Memo::new(move |_| address.with(Address::topics)), Memo::new(move |_| address.with(Address::about)));
    let seen = RwSignal::new(0_u32);
    let asked = StoredValue::new(Asked::default());
    // What is shown, without its HTML, and why it could not be had anew: it stays then.
    let good = StoredValue::new(None::<(Address, Made, String)>);
    let ask = move |(of, _): (Address, u32)| {
        asked.update_value(|q| q.told = Some(live.told()));
        let [first, second, third] = of.words.clone();
        let page = load_page(of.room.to_owned(), first, second, third, of.query.clone());
        async move {
            let answer = page.await;
            // Whoever came to the rows meanwhile keeps them. By now the reader may have left the page altogether.
            let by_hand = asked.try_with_value(|q| q.by_hand).unwrap_or_default();
            let same = good.try_get_value().flatten().filter(|(there, ..)| *there == of);
            let kept = same.filter(|_| may_wait(&answer) && !by_hand && busy()).map(|(_, made, _)| made);
            let _ = asked.try_update_value(|q| (q.of, q.late) = (Some(of), kept.is_some()));
            kept.map_or(answer, Ok)
        }
    };
    let data = Resource::<Answer, Bare>::new_with_options(move || (address.get(), seen.get()), ask, false);
    let again = move |by_hand: bool| {
        let free = asked.try_update_value(|q| {
            q.by_hand |= by_hand;
            q.told.is_none()
        });
        if free == Some(true) {
            seen.update(|n| *n = n.wrapping_add(1));
        }
    };
    // Whether what is to be shown waits because the reader is at work.
    let waits = RwSignal::new(false);
    let news = keep_up(address, live, data, asked, waits, again);
    view! {
        <div class="page">
            <div class="news with-js">{news}</div>
            <Transition fallback=|| view! { <p class="soft loading">"Loading…"</p> }>
                {move || Suspend::new(async move {
                    let answer = data.await;
                    let here = answered(asked, address);
                    match answer {
                        Ok(made) => {
                            // What was put aside mended nothing of what is shown.
                            let late = asked.try_with_value(|q| q.late).unwrap_or_default();
                            let problem = good.get_value().filter(|_| late).map(|(.., problem)| problem).unwrap_or_default();
                            good.set_value(Some((here, made.bare(), problem.clone())));
                            shown(address, live, waits, made, problem)
                        }
                        Err(error) => match good.get_value() {
                            Some((of, made, _)) if of == here && passes(error.kind) => {
                                good.set_value(Some((of, made.clone(), error.message.clone())));
                                shown(address, live, waits, made, error.message)
                            }
                            _ => {
                                good.set_value(None);
                                view! { <Title text="Not shown"/><h1 class="sr-only">"This page is not shown"</h1><Trouble error/> }.into_any()
                            }
                        },
                    }
                })}
            </Transition>
        </div>
    }
    .into_any()
}

/// The address of the page that was answered last.
fn answered(asked: StoredValue<Asked>, address: Memo<Address>) -> Address {
    asked.try_with_value(|q| q.of.clone()).flatten().unwrap_or_else(|| address.get_untracked())
}

/// Whether an answer may wait until the reader is not at work: the page, or that it cannot be had just now; not that the session
/// has ended or that there is nothing to see any more.
fn may_wait(answer: &Answer) -> bool {
    answer.as_ref().map_or_else(|error| passes(error.kind) && error.kind != ErrorKind::Unauthenticated, |_| true)
}

/// Whether a page that was shown may stay in spite of an error: what is gone or forbidden may not.
fn passes(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::Forbidden | ErrorKind::NotFound)
}

/// A page, and why it could not be brought up to date; empty: it is.
fn shown(address: Memo<Address>, live: Live, waits: RwSignal<bool>, made: Made, problem: String) -> AnyView {
    let (topics, keeps_up) = address.with_untracked(|a| (a.topics(), a.keeps_up()));
    let rhythm = match (made.follow, keeps_up) {
        (true, _) => "updates every 2 s",
        (_, true) => "updates at once",
        _ => "updates on request",
    };
    let stale = (!problem.is_empty()).then(|| {
        let of = if made.taken.is_empty() { String::new() } else { format!("What you see is as of {}. ", made.taken) };
        view! { <Alert tone="bad">{of}{problem}</Alert> }
    });
    let control = (!topics.is_empty()).then(|| view! { <LiveControl live taken_at=made.taken rhythm waits/> });
    view! { <Title text=made.title/>{stale}{control}{Placed { html: made.html }.into_view()} }.into_any()
}

/// Asks for the page again when it may, and gives the button that offers what has to wait.
fn keep_up(
    address: Memo<Address>,
    live: Live,
    data: Resource<Answer, Bare>,
    asked: StoredValue<Asked>,
    waits: RwSignal<bool>,
    again: impl Fn(bool) + Copy + Send + Sync + 'static,
) -> impl Fn() -> Option<AnyView> {
    // The news that what is shown holds already.
    let held = RwSignal::new(Told::default());
    let follow = RwSignal::new(false);
    // Why the page could not be had anew, once that was said.
    let problem = StoredValue::new(String::new());
    // Of which page the last good answer was, and whether it was followed.
    Effect::new(move |before: Option<Option<(Address, bool)>>| {
        let answer = data.read();
        let Some(answer) = &*answer else { return None };
        let here = answered(asked, address);
        let answer_to = |q: &mut Asked| {
            q.by_hand = false;
            (q.told.take(), q.late)
        };
        let (told, late) = asked.try_update_value(answer_to).unwrap_or_default();
        let before = before.flatten().filter(|(of, _)| *of == here);
        match answer {
            // Nothing new is shown: what there is goes on waiting.
            Ok(_) if late => before,
            Ok(made) => {
                problem.set_value(String::new());
                held.set(told.unwrap_or_default());
                waits.set(false);
                follow.set(made.follow);
                if before.is_some_and(|(_, followed)| followed && !made.follow) {
                    Announcer::say("What was going on has ended.");
                }
                if live.link.get_untracked() == Link::Ended {
                    live.link.set(Link::Connecting);
                }
                Some((here, made.follow))
            }
            // It is asked for again, as long as it was followed or there are news.
            Err(error) => {
                if error.kind == ErrorKind::Unauthenticated {
                    live.link.set(Link::Ended);
                }
                if before.is_some() {
                    // Once, however often it is tried again.
                    if problem.get_value() != error.message {
                        Announcer::say(&error.message);
                        problem.set_value(error.message.clone());
                    }
                } else {
                    follow.set(false);
                }
                before
            }
        }
    });
    let by_itself = move || address.with(Address::keeps_up);
    let news = move || live.version.get() != held.get().version;
    Effect::new(move |_| {
        let (ended, news) = (live.link.get() == Link::Ended, news() && by_itself());
        if ended || live.paused.get() || !(news || follow.get()) {
            waits.set(false);
            return;
        }
        let ask = move || {
            let disturbs = busy();
            waits.set(disturbs);
            if !disturbs {
                again(false);
            }
        };
        if news {
            ask();
        }
        let timer = set_interval_with_handle(ask, AGAIN);
        on_cleanup(move || drop(timer.map(|t| t.clear())));
    });
    // A refusal of news does not say why; the page's own answer does.
    Effect::new(move |_| {
        if live.link.get() == Link::Refused {
            again(false);
        }
    });
    // What is offered: news, or a look at what is followed, of which nobody knows whether it changed.
    let offered = Memo::new(move |_| {
        let (news, follow) = (news(), follow.get());
        let there = if follow || by_itself() { waits.get() && (news || follow) } else { news };
        (there && live.link.get() != Link::Ended).then_some(news)
    });
    announce(offered);
    move || {
        offered.get().map(|news| {
            let n = move || live.changes.get().saturating_sub(held.get().changes);
            // The number is for the eye: said each time, it would speak without end.
            let count = move || (n() > 1).then(|| view! { <span class="soft" aria-hidden="true">{format!(" · {} changes", n())}</span> });
            let words = if news { "Something changed. Show it" } else { "Show what is new" };
            view! { <button class="quiet" type="button" on:click=move |_| again(true)>{words}{count}</button> }.into_any()
        })
    }
}

/// Says that news wait, now and then.
#[cfg(feature = "hydrate")]
fn announce(offered: Memo<Option<bool>>) {
    let said = StoredValue::new(0.0);
    Effect::new(move |_| {
        let now = js_sys::Date::now();
        if offered.get() == Some(true) && now - said.get_value() > SAID_AT_MOST_EVERY {
            said.set_value(now);
            Announcer::say("Something changed. A button above the page shows it.");
        }
    });
}

/// Nobody listens on the server.
#[cfg(not(feature = "hydrate"))]
fn announce(_: Memo<Option<bool>>) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(room: &'static str, first: &str) -> Address {
        Address { room, words: [first.into(), String::new(), String::new()], query: String::new() }
    }

    #[test]
    fn a_page_is_told_of_what_concerns_it_and_a_page_of_settings_of_nothing() {
        for still in ["settings", "trainers", "limits", "calibration"] {
            assert!(address("admin", still).topics().is_empty(), "{still}");
        }
        assert!(address("status", "").topics().is_empty());
        assert!(address("admin", "jobs").topics().contains(&"jobs") && !address("admin", "jobs").topics().contains(&"deliveries"));
        assert!(address("admin", "webhooks").topics().contains(&"deliveries") && !address("admin", "webhooks").topics().contains(&"jobs"));
        assert_eq!(address("clients", "").topics(), ["scores"]);
        // A person's page shows connections too, and what was delivered.
        assert_eq!(address("clients", "somebody").topics(), ["scores", "deliveries"]);
    }

    #[test]
    fn the_overview_and_one_person_keep_up_by_themselves_and_lists_wait() {
        assert!(address("overview", "").keeps_up() && address("clients", "somebody").keeps_up());
        assert!(!address("clients", "").keeps_up() && !address("admin", "jobs").keeps_up());
    }

    #[test]
    fn what_is_gone_or_forbidden_does_not_stay_on_the_screen() {
        assert!(passes(ErrorKind::Unavailable) && passes(ErrorKind::Unauthenticated) && passes(ErrorKind::Internal));
        assert!(!passes(ErrorKind::NotFound) && !passes(ErrorKind::Forbidden));
    }
}
