//! Live events: what PostgreSQL announces on `assay_live`, fanned out to the open pages of this node.
//!
//! An event says what changed and how much, never whose value became what: the page then asks again, with its own
//! eyes. A trainer hears only of the persons assigned to them. A reader that falls behind is told to resync.

use crate::{
    model::Role,
    store::{Caller, Db},
};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{self, Stream};
use serde::Deserialize;
use std::{collections::HashSet, convert::Infallible, sync::Arc, time::Duration};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// What is announced. `users` lists the persons concerned, where there are few; empty: it concerns administrators.
#[derive(Debug, Clone, Deserialize)]
pub struct News {
    /// `scores`, `jobs`, `operation` or `deliveries`.
    pub topic: String,
    /// The persons concerned.
    #[serde(default)]
    pub users: Vec<String>,
    /// How many things changed.
    #[serde(default)]
    pub n: i64,
}

/// The fan-out of this process.
#[derive(Clone)]
pub struct Live {
    sender: broadcast::Sender<Arc<News>>,
    cancel: CancellationToken,
}

impl Live {
    /// Starts listening; reconnects by itself, and ends with `cancel`.
    pub fn spawn(db: Db, cancel: CancellationToken) -> Self {
        let (sender, _) = broadcast::channel(1024);
        let live = Self { sender, cancel };
        let task = live.clone();
        tokio::spawn(async move {
            while !task.cancel.is_cancelled() {
                tokio::select! {
                    () = task.cancel.cancelled() => return,
                    result = crate::store::live::listen(&db, |news| task.publish(news)) => {
                        if let Err(error) = result {
                            tracing::warn!(%error, "live events: the connection was lost; trying again");
                        }
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        });
        live
    }

    fn publish(&self, payload: &str) {
        if let Ok(news) = serde_json::from_str::<News>(payload) {
            let _ = self.sender.send(Arc::new(news)); // nobody listening is no error
        }
    }

    /// The event stream of one page. Ends when the session ends, the process stops, or the reader goes.
    pub fn stream(&self, caller: Caller, db: Db) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
        let state = (self.sender.subscribe(), Listener { caller, db, clients: None, checked: None }, self.cancel.clone());
        let events = stream::unfold(state, |(mut news, mut listener, cancel)| async move {
            loop {
                if !listener.may_stay().await {
                    return None;
                }
                let next = tokio::select! {
                    () = cancel.cancelled() => return None,
                    next = tokio::time::timeout(Duration::from_secs(20), news.recv()) => next,
                };
                let event = match next {
                    Err(_) => continue, // quiet: look whether the session still holds
                    Ok(Ok(n)) if listener.concerns(&n) => Event::default().event(n.topic.as_str()).data(format!("{{\"n\":{}}}", n.n)),
                    Ok(Ok(_)) => continue,
                    Ok(Err(broadcast::error::RecvError::Lagged(_))) => Event::default().event("resync").data("{}"),
                    Ok(Err(broadcast::error::RecvError::Closed)) => return None,
                };
                return Some((Ok(event), (news, listener, cancel)));
            }
        });
        Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
    }
}

/// One open page: whose it is, and whom that account may hear of.
struct Listener {
    caller: Caller,
    db: Db,
    clients: Option<HashSet<String>>,
    checked: Option<tokio::time::Instant>,
}

impl Listener {
    /// Every 20 seconds the session and the assignments are looked up again.
    async fn may_stay(&mut self) -> bool {
        if self.checked.is_some_and(|at| at.elapsed() < Duration::from_secs(20)) {
            return true;
        }
        match crate::store::live::clients_of(&self.db, &self.caller).await {
            Ok(Some(clients)) => {
                self.clients = Some(clients);
                self.checked = Some(tokio::time::Instant::now());
                true
            }
            Ok(None) => false, // the session has ended
            Err(_) => self.clients.is_some(),
        }
    }

    fn concerns(&self, news: &News) -> bool {
        self.caller.role == Role::Admin || self.clients.as_ref().is_some_and(|mine| news.users.iter().any(|u| mine.contains(u)))
    }
}
