//! The webhook gateway: from Terra's request to a durable row and a job, and only then a 200.
//!
//! [`routes()`] is the way in; [`signature`] says whether a delivery is believed, [`admission`] what it is,
//! [`committer`] makes it durable together with others, [`limiter`] keeps floods out. What it promises:
//! - A 200 means that the delivery survives whatever happens next.
//! - A delivery that is signed is refused only when it cannot be stored; then it is a 503 at once.
//! - The same delivery is stored once, however often and however parallel it comes.

pub mod address;
pub mod admission;
mod answer;
pub mod body;
pub mod committer;
pub mod counters;
mod flush;
pub mod gcra;
pub mod limiter;
mod routes;
pub mod signature;
pub mod trial;
mod wake;

#[cfg(test)]
mod tests;

pub use address::Networks;
pub use committer::{Committer, CommitterSettings};
pub use counters::{Counters, Outcome};
pub use flush::Committed;
pub use limiter::{Decision, Limiter, Policy};
pub use routes::{WEBHOOK, routes};
pub use signature::Secrets;

use crate::store::{Db, deliveries};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the partitions of coming months are looked after.
const PARTITIONS_EVERY: Duration = Duration::from_secs(6 * 3600);

/// How the gateway is set up. No secret in it can be printed.
#[derive(Clone)]
pub struct GatewaySettings {
    /// Terra's signing secrets; empty: events are answered 503.
    pub secrets: Secrets,
    /// How far a signature's time may lie from now, in seconds, in both directions.
    pub tolerance: u32,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Networks,
    /// The only addresses deliveries are taken from; empty: all.
    pub allow_list: Networks,
    /// What callers may do who did not sign, or not well.
    pub unsigned: Policy,
    /// Validly signed deliveries a sender may send in a minute.
    pub sender_rate: u32,
    /// Bearer key of the test endpoint; `None`: only `authorise` opens it.
    pub service_key: Option<String>,
    /// A second way to open the test endpoint: says who is asking, when their request's headers prove it.
    pub authorise: Option<trial::Authorise>,
    /// Names this process in the counts.
    pub node: String,
    /// How much is gathered and held.
    pub committer: CommitterSettings,
    /// Bytes that bodies of all requests may occupy.
    pub max_memory: usize,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            secrets: Secrets::default(),
            tolerance: 300,
            trusted_proxies: Networks::default(),
            allow_list: Networks::default(),
            unsigned: Policy::UNSIGNED,
            sender_rate: 3_000_000,
            service_key: None,
            authorise: None,
            node: "local".into(),
            committer: CommitterSettings::default(),
            max_memory: 64 << 20,
        }
    }
}

impl fmt::Debug for GatewaySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewaySettings")
            .field("secrets", &self.secrets)
            .field("tolerance", &self.tolerance)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// The gateway of one process.
pub struct Gateway {
    settings: GatewaySettings,
    db: Db,
    committer: Committer,
    limiter: Limiter,
    counters: Arc<Counters>,
    budget: body::Budget,
    stop: CancellationToken,
}

impl Gateway {
    /// Starts it: the flushers, the limiter's and the counters' tasks. Does not wait for PostgreSQL.
    pub fn new(db: Db, settings: GatewaySettings) -> Arc<Self> {
        if settings.secrets.is_empty() {
            tracing::warn!("no signing secret is configured: every delivery is answered 503; set TERRA_SIGNING_SECRETS");
        }
        let pool = db.service().clone();
        let stop = CancellationToken::new();
        tokio::spawn(look_after_partitions(db.clone(), stop.clone()));
        Arc::new(Self {
            committer: Committer::start(&pool, settings.committer),
            limiter: Limiter::start(pool.clone()),
            counters: Counters::start(pool, settings.node.clone()),
            budget: body::Budget::new(settings.max_memory),
            settings,
            db,
            stop,
        })
    }

    /// The limiter, for the login and the API.
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Whether a secret is configured; without one the dashboard says why nothing arrives.
    pub fn can_verify(&self) -> bool {
        !self.settings.secrets.is_empty()
    }

    /// Answers since the start, by outcome.
    pub fn totals(&self) -> Vec<(Outcome, u64)> {
        self.counters.totals()
    }

    /// What the committer did, and what waits now.
    pub fn committer(&self) -> committer::Figures {
        self.committer.figures()
    }

    /// Bytes of bodies in memory now.
    pub fn memory(&self) -> usize {
        self.budget.used()
    }

    /// Takes nothing more, stores what was accepted, writes the counts. Call it after the server stopped listening.
    pub async fn shutdown(&self) {
        self.committer.shutdown().await;
        self.limiter.stop();
        self.counters.stop();
        self.counters.write(self.db.service()).await;
        self.stop.cancel();
    }
}

async fn look_after_partitions(db: Db, stop: CancellationToken) {
    loop {
        let pause = match deliveries::make_partitions(db.owner()).await {
            Ok(()) => PARTITIONS_EVERY,
            Err(error) => {
                tracing::warn!(%error, "the partitions of coming months could not be made; their rows go to the default partition");
                Duration::from_secs(60)
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
