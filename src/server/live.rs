//! Live events: what PostgreSQL announces on `assay_live`, fanned out to the open pages of this node.
//!
//! An event says what changed and how much, never whose value became what: the page then asks again, with its own
//! eyes. A trainer hears only of the persons assigned to them. A reader that falls behind is told to resync, and all are
//! when this node listens anew after its connection was lost. What was announced while a page was on its way to its reader
//! is said first. The workers hear who is being looked at.

use crate::{
    model::Role,
    store::{Caller, Db, live::Listening},
};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{self, Stream};
use serde::Deserialize;
use std::{
    collections::{HashSet, VecDeque},
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// So often the session of an open page is looked up again.
const CHECKED_EVERY: Duration = Duration::from_secs(20);
/// A page is on its way to its reader, until its stream is open, for at most so long.
const ON_ITS_WAY: Duration = Duration::from_secs(20);
/// At most so many announcements are remembered for such pages.
const REMEMBERED: usize = 1024;
/// A page about nobody in particular shows all of a trainer's persons, where there are at most so many.
const SHOWN: usize = 50;
/// Longer ids are nobody's.
const LONGEST_ID: usize = 512;
/// What this node announces by itself: something may have been missed.
const RESYNC: &str = r#"{"topic": "resync", "everybody": true}"#;

/// What is announced. `users` lists the persons concerned; nobody: it concerns administrators.
#[derive(Debug, Clone, Deserialize)]
pub struct News {
    /// `scores`, `jobs`, `operation`, `deliveries` or `resync`.
    pub topic: String,
    /// The persons concerned.
    #[serde(default)]
    pub users: Vec<String>,
    /// Whether so many are concerned that nobody is named.
    #[serde(default)]
    pub everybody: bool,
    /// How many things changed.
    #[serde(default)]
    pub n: i64,
}

/// The fan-out of this process.
#[derive(Clone)]
pub struct Live {
    sender: broadcast::Sender<Arc<News>>,
    recent: Arc<Mutex<VecDeque<(Instant, Arc<News>)>>>,
    cancel: CancellationToken,
}

impl Live {
    /// Starts listening; reconnects by itself, and ends with `cancel`.
    pub fn spawn(db: Db, cancel: CancellationToken) -> Self {
        let (sender, _) = broadcast::channel(1024);
        let live = Self { sender, recent: Arc::default(), cancel };
        let task = live.clone();
        tokio::spawn(async move { task.cancel.run_until_cancelled(task.follow(&db)).await });
        live
    }

    /// Listens, again and again. What is announced while nobody listens is lost, and the pages that are open do not see it:
    /// their own streams held. So they are told to look again.
    async fn follow(&self, db: &Db) {
        let mut first = true;
        loop {
            match Listening::begin(db).await {
                Ok(session) => {
                    if !first {
                        self.publish(RESYNC);
                    }
                    session.hear(|news| self.publish(news)).await;
                    tracing::warn!("live events: the connection was lost; trying again");
                }
                Err(error) => tracing::warn!(%error, "live events: there is no connection; trying again"),
            }
            first = false;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn publish(&self, payload: &str) {
        if let Ok(news) = serde_json::from_str::<News>(payload).map(Arc::new) {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            while recent.len() >= REMEMBERED || recent.front().is_some_and(|(at, _)| at.elapsed() > ON_ITS_WAY) {
                recent.pop_front();
            }
            recent.push_back((Instant::now(), Arc::clone(&news)));
            let _ = self.sender.send(news); // nobody listening is no error
        }
    }

    /// A reader from now on, and what was announced in the time before.
    fn subscribe(&self, before: Duration) -> (broadcast::Receiver<Arc<News>>, Vec<Arc<News>>) {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = recent.iter().filter(|(at, _)| at.elapsed() <= before.min(ON_ITS_WAY)).map(|(_, news)| Arc::clone(news)).collect();
        (self.sender.subscribe(), missed) // under the lock: nothing falls between the two
    }

    /// The event stream of a page that was asked for `age` ago and is `about` a person, or about nobody in particular. Ends when the session ends, which its last event says, when
    /// the process stops, or when the reader goes.
    pub fn stream(
        &self,
        caller: Caller,
        db: Db,
        age: Duration,
        about: String,
    ) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
        let (news, missed) = self.subscribe(age);
        let state = Some((news, missed, Listener { caller, db, about, clients: None, checked: None }, self.cancel.clone()));
        let events = stream::unfold(state, |state| async move {
            let (mut news, mut missed, mut listener, cancel) = state?;
            loop {
                match listener.session().await {
                    Session::Holds => {}
                    Session::Ended => return Some((Ok(Event::default().event("ended").data("{}")), None)),
                    Session::Unknown => return None,
                }
                if let Some(event) = listener.first_of(&mut missed) {
                    return Some((Ok(event), Some((news, missed, listener, cancel))));
                }
                let next = tokio::select! {
                    () = cancel.cancelled() => return None,
                    next = tokio::time::timeout(CHECKED_EVERY, news.recv()) => next,
                };
                let event = match next {
                    Err(_) => continue, // quiet: look whether the session still holds
                    Ok(Ok(news)) => match listener.share(&news) {
                        Some(n) => event(&news.topic, n),
                        None => continue,
                    },
                    Ok(Err(broadcast::error::RecvError::Lagged(_))) => Event::default().event("resync").data("{}"),
                    Ok(Err(broadcast::error::RecvError::Closed)) => return None,
                };
                return Some((Ok(event), Some((news, missed, listener, cancel))));
            }
        });
        Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
    }
}

fn event(topic: &str, n: i64) -> Event {
    Event::default().event(topic).data(format!("{{\"n\":{n}}}"))
}

/// What is known of a listener's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Session {
    Holds,
    Ended,
    /// It could not be looked up, and never was.
    Unknown,
}

/// One open page: whose it is, and whom that account may hear of.
struct Listener {
    caller: Caller,
    db: Db,
    about: String,
    clients: Option<HashSet<String>>,
    checked: Option<tokio::time::Instant>,
}

impl Listener {
    /// The session and the assignments are looked up again from time to time.
    async fn session(&mut self) -> Session {
        if self.checked.is_some_and(|at| at.elapsed() < CHECKED_EVERY) {
            return Session::Holds;
        }
        match crate::store::live::clients_of(&self.db, &self.caller).await {
            Ok(Some(clients)) => {
                self.clients = Some(clients);
                self.checked = Some(tokio::time::Instant::now());
                // Where it is not heard, the page's scores come in the usual order.
                if let Err(error) = crate::store::live::watching(&self.db, &self.shown()).await {
                    tracing::debug!(%error, "the workers were not told of an open page");
                }
                Session::Holds
            }
            Ok(None) => Session::Ended,
            Err(_) if self.clients.is_some() => Session::Holds,
            Err(_) => Session::Unknown,
        }
    }

    /// The persons whose scores the page shows.
    fn shown(&self) -> Vec<&str> {
        let Some(mine) = &self.clients else { return Vec::new() };
        let about = self.about.as_str();
        match about.is_empty() {
            true if mine.len() <= SHOWN => mine.iter().map(String::as_str).filter(|id| id.len() <= LONGEST_ID).collect(),
            false if about.len() <= LONGEST_ID && (self.caller.role == Role::Admin || mine.contains(about)) => vec![about],
            _ => Vec::new(),
        }
    }

    /// One event for all of a topic's that the page missed; `None` when there are no more.
    fn first_of(&self, missed: &mut Vec<Arc<News>>) -> Option<Event> {
        missed.retain(|news| self.share(news).is_some());
        let topic = missed.first()?.topic.clone();
        let n = missed.iter().filter(|news| news.topic == topic).filter_map(|news| self.share(news)).sum();
        missed.retain(|news| news.topic != topic);
        Some(event(&topic, n))
    }

    /// How much of it concerns the reader; `None`: nothing. A trainer learns nothing of others' persons, not even how many.
    fn share(&self, news: &News) -> Option<i64> {
        let of_persons = matches!(news.topic.as_str(), "scores" | "deliveries");
        if of_persons && !self.about.is_empty() && !news.everybody && !news.users.contains(&self.about) {
            return None; // the page is about somebody else
        }
        if self.caller.role == Role::Admin {
            return Some(news.n);
        }
        let mine = self.clients.as_ref()?;
        let named = news.users.iter().filter(|user| mine.contains(*user)).count() as i64;
        (named > 0 || news.everybody && !mine.is_empty()).then_some(named)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
mod tests {
    use super::*;
    use crate::store::{DatabaseUrl, Token, testing};
    use axum::response::IntoResponse;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_page_whose_session_has_ended_is_told_so_and_hears_nothing_else() {
        let t = testing::database().await;
        let live = Live { sender: broadcast::channel(8).0, recent: Arc::default(), cancel: CancellationToken::new() };
        live.publish(r#"{"topic": "jobs", "n": 3}"#);
        let nobody = Caller::new(uuid::Uuid::nil(), Role::Admin, String::new(), String::new(), Token::from_bytes([7; 32]));
        let answer = live.stream(nobody, t.db.clone(), Duration::from_secs(5), String::new()).into_response();
        let told = tokio::time::timeout(Duration::from_secs(5), answer.into_body().collect()).await.unwrap().unwrap().to_bytes();
        assert_eq!(String::from_utf8_lossy(&told), "event: ended\ndata: {}\n\n");
    }

    fn listener(db: &Db, role: Role, about: &str, mine: Option<&[&str]>) -> Listener {
        let caller = Caller::new(uuid::Uuid::nil(), role, String::new(), String::new(), Token::from_bytes([7; 32]));
        let clients = mine.map(|mine| mine.iter().map(|id| (*id).to_owned()).collect());
        Listener { caller, db: db.clone(), about: about.to_owned(), clients, checked: None }
    }

    /// Pools that never connect: what is decided here is decided without asking.
    fn away() -> Db {
        DatabaseUrl::parse("postgres://assay_owner:x@127.0.0.1:1/nothing").unwrap().pools(1, 1)
    }

    fn news(topic: &str, users: &[&str], everybody: bool, n: i64) -> News {
        News { topic: topic.to_owned(), users: users.iter().map(|id| (*id).to_owned()).collect(), everybody, n }
    }

    #[tokio::test]
    async fn a_trainer_hears_of_their_own_persons_and_learns_nothing_of_others() {
        let db = away();
        // Whom they may hear of, whom it concerns, whether everybody; what they hear.
        type Case<'c> = (Option<&'c [&'c str]>, &'c [&'c str], bool, Option<i64>);
        let cases: [Case<'_>; 9] = [
            (Some(&["a", "b"]), &["a"], false, Some(1)),
            (Some(&["a", "b"]), &["c"], false, None),
            (Some(&["a", "b"]), &["c", "a", "d", "b"], false, Some(2)),
            (Some(&["a", "b"]), &[], false, None),
            (Some(&["a", "b"]), &[], true, Some(0)),
            (Some(&[]), &["c"], false, None),
            (Some(&[]), &[], true, None),
            (None, &["a"], false, None),
            (None, &[], true, None),
        ];
        for (mine, users, everybody, heard) in cases {
            let news = news("scores", users, everybody, 9);
            assert_eq!(listener(&db, Role::Trainer, "", mine).share(&news), heard, "{mine:?} {news:?}");
            assert_eq!(listener(&db, Role::Admin, "", mine).share(&news), Some(9), "{news:?}");
        }
    }

    #[tokio::test]
    async fn a_page_about_one_person_hears_of_no_other() {
        let db = away();
        for role in [Role::Admin, Role::Trainer] {
            let heard = |topic, users: &[&str], everybody| {
                listener(&db, role, "a", Some(&["a", "b"])).share(&news(topic, users, everybody, 1)).is_some()
            };
            assert!(heard("deliveries", &["b", "a"], false) && heard("scores", &[], true), "{role:?}");
            assert!(!heard("deliveries", &["b"], false) && !heard("scores", &["b"], false), "{role:?}");
        }
        assert!(listener(&db, Role::Admin, "a", None).share(&news("jobs", &[], false, 1)).is_some());
    }

    #[tokio::test]
    async fn what_a_trainer_missed_is_said_once_a_topic_and_is_theirs() {
        let db = away();
        let announced: [(&str, &[&str], i64); 5] =
            [("scores", &["a"], 4), ("scores", &["c"], 5), ("jobs", &[], 6), ("deliveries", &["c", "b"], 7), ("scores", &["b", "c"], 8)];
        let said = async |role| {
            let listener = listener(&db, role, "", Some(&["a", "b"]));
            let mut missed = announced.map(|(topic, users, n)| Arc::new(news(topic, users, false, n))).to_vec();
            let events: Vec<_> = std::iter::from_fn(|| listener.first_of(&mut missed)).map(Ok::<_, Infallible>).collect();
            let body = Sse::new(stream::iter(events)).into_response().into_body().collect().await.unwrap().to_bytes();
            String::from_utf8_lossy(&body).into_owned()
        };
        let event = |topic, n| format!("event: {topic}\ndata: {{\"n\":{n}}}\n\n");
        assert_eq!(said(Role::Trainer).await, event("scores", 2) + &event("deliveries", 1));
        assert_eq!(said(Role::Admin).await, event("scores", 17) + &event("jobs", 6) + &event("deliveries", 7));
    }

    #[tokio::test]
    async fn a_page_shows_the_person_it_is_about_or_a_trainers_few_and_never_somebody_elses() {
        let t = testing::database().await;
        let shown = |role, about: &str, mine: &[&str]| {
            let mut shown: Vec<String> = listener(&t.db, role, about, Some(mine)).shown().into_iter().map(str::to_owned).collect();
            shown.sort();
            shown
        };
        assert_eq!(shown(Role::Trainer, "a", &["a", "b"]), ["a"]);
        assert_eq!(shown(Role::Trainer, "c", &["a", "b"]), Vec::<String>::new());
        assert_eq!(shown(Role::Trainer, "", &["a", "b"]), ["a", "b"]);
        assert_eq!(shown(Role::Admin, "c", &[]), ["c"]);
        assert_eq!(shown(Role::Admin, "", &[]), Vec::<String>::new());
        let many: Vec<String> = (0..=SHOWN).map(|n| n.to_string()).collect();
        assert_eq!(shown(Role::Trainer, "", &many.iter().map(String::as_str).collect::<Vec<_>>()), Vec::<String>::new());
    }

    #[tokio::test]
    async fn after_a_lost_connection_open_pages_are_told_to_look_again_and_hear_what_comes() {
        let t = testing::database().await;
        let cancel = CancellationToken::new();
        let live = Live::spawn(t.db.clone(), cancel.clone());
        let (mut news, _) = live.subscribe(Duration::ZERO);
        let listening = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%' AND state = 'idle'";
        let mut pid: Option<i32> = None;
        for _ in 0..200 {
            pid = sqlx::query_scalar(listening).fetch_optional(t.db.service()).await.unwrap();
            if pid.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let ended: bool = sqlx::query_scalar("SELECT pg_terminate_backend($1)").bind(pid.unwrap()).fetch_one(t.db.service()).await.unwrap();
        assert!(ended);
        let heard = tokio::time::timeout(Duration::from_secs(10), news.recv()).await.unwrap().unwrap();
        assert_eq!((heard.topic.as_str(), heard.everybody), ("resync", true));
        let announce = r#"SELECT pg_notify('assay_live', '{"topic": "jobs", "n": 1}')"#;
        sqlx::query(announce).execute(t.db.service()).await.unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(10), news.recv()).await.unwrap().unwrap();
        assert_eq!((heard.topic.as_str(), heard.n), ("jobs", 1));
        cancel.cancel();
    }

    #[test]
    fn what_was_announced_while_a_page_was_on_its_way_is_not_lost_and_what_came_before_is_not_said() {
        let live = Live { sender: broadcast::channel(8).0, recent: Arc::default(), cancel: CancellationToken::new() };
        for (topic, ago) in [("jobs", 15), ("scores", 1)] {
            let at = Instant::now().checked_sub(Duration::from_secs(ago)).unwrap();
            live.recent.lock().unwrap().push_back((at, Arc::new(news(topic, &[], false, 2))));
        }
        let topics = |age| live.subscribe(Duration::from_millis(age)).1.iter().map(|n| n.topic.clone()).collect::<Vec<_>>();
        assert_eq!(topics(0), Vec::<String>::new());
        assert_eq!(topics(8_000), ["scores"]);
        assert_eq!(topics(20_000), ["jobs", "scores"]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let live = Live { sender: broadcast::channel(8).0, recent: Arc::default(), cancel: CancellationToken::new() };
        for _ in 0..=REMEMBERED {
            live.publish(r#"{"topic": "jobs", "n": 1}"#);
        }
        assert_eq!(live.subscribe(ON_ITS_WAY).1.len(), REMEMBERED);
    }
}
