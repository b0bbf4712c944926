//! Every SQL statement of the program, one file a table or topic; nobody else writes SQL.
//!
//! Three pools with three sets of rights. `service` belongs to a member of `service_role`: gateway and
//! workers. `web` belongs to a role that can only become `authenticated` or `anon`: whoever reads a person's
//! data for a request does it in [`Db::begin_as`], as the caller, so that a forgotten WHERE leaks nothing.
//! `owner` is for what only an owner may do: refreshing the view, partitions, VACUUM.

pub mod accounts;
pub mod advice;
pub mod api_keys;
pub mod arrivals;
pub mod audit;
mod bootstrap;
pub mod browse;
pub mod cache_reads;
pub mod calibration;
mod caller;
pub mod clients;
pub mod confidence;
mod connect;
pub mod connections;
pub mod dashboard;
pub mod dead_letters;
pub mod deliveries;
pub mod erase;
pub mod export;
pub mod findings;
pub mod health;
pub mod job_kinds;
pub mod job_lists;
pub mod jobs;
pub mod letter_lists;
pub mod limits;
pub mod live;
pub mod log_lists;
pub mod maintenance;
pub mod metrics;
mod migrate;
pub mod operations;
pub mod person_jobs;
pub mod persons;
#[cfg(test)]
mod privacy_tests;
pub mod raw;
pub mod read_api;
mod readable;
pub mod records;
pub mod replay;
pub mod retention;
#[cfg(test)]
mod rls_tests;
pub mod rollups;
pub mod roster;
#[cfg(test)]
mod scan_tests;
pub mod schedules;
pub mod series;
pub mod sessions;
pub mod shadow;
pub mod simulated;
pub mod source_choice;
pub mod source_ranks;
pub mod system_lists;
#[cfg(test)]
pub mod testing;
pub mod tombstones;
pub mod verify;
pub mod webhook_lists;
pub mod workers;

pub use bootstrap::bootstrap;
pub use caller::{Caller, Token};
pub use connect::{ConnectError, DatabaseUrl, may_pass};
pub use migrate::{MigrateError, ensure_logins, is_migrated, migrate, repair};

use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};
use std::time::Duration;

/// The pools of one process.
#[derive(Debug, Clone)]
pub struct Db {
    pub(crate) owner: PgPool,
    pub(crate) service: PgPool,
    pub(crate) web: PgPool,
    pub(crate) pulses: std::sync::Arc<arrivals::Lately>,
    pub(crate) renewal: std::sync::Arc<connect::Renewal>,
    /// Turns of downloads, each of which holds a connection of `web` as long as somebody reads it.
    pub(crate) downloads: std::sync::Arc<tokio::sync::Semaphore>,
}

/// Downloads at the same time: pages need the other connections.
const DOWNLOADS: usize = 3;

/// The connections of one pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolUse {
    /// Whose.
    pub name: &'static str,
    /// Open now.
    pub open: u32,
    /// Of them, unused.
    pub idle: u32,
    /// The most it may open.
    pub limit: u32,
}

impl PoolUse {
    fn of(name: &'static str, pool: &PgPool) -> Self {
        let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
        Self { name, open: pool.size(), idle, limit: pool.options().get_max_connections() }
    }
}

impl Db {
    /// The same for who works jobs: with at most `size` connections of their own to the service's role, which live on the
    /// jobs' threads.
    #[must_use]
    pub fn for_jobs(&self, size: u32) -> Self {
        let options = self.service.options().clone().max_connections(size);
        Self { service: options.connect_lazy_with((*self.service.connect_options()).clone()), ..self.clone() }
    }

    /// Has every connection of the pools made anew before it is used again. A column's type may have changed, and what a
    /// connection prepared before that fails for as long as it lives ("cached plan must not change result type").
    pub fn renew_connections(&self) {
        self.renewal.now();
    }

    /// The pool of gateway and workers.
    pub fn service(&self) -> &PgPool {
        &self.service
    }

    /// The pool for maintenance that needs ownership: at most two connections.
    pub fn owner(&self) -> &PgPool {
        &self.owner
    }

    /// A read-only transaction as `authenticated`, with the caller's token as its proof. Row-level security
    /// decides what it sees. One round trip.
    pub async fn begin_as(&self, caller: &Caller) -> sqlx::Result<Transaction<'static, Postgres>> {
        // A proof is hexadecimal by construction, so it cannot end the literal.
        let begin = format!("BEGIN READ ONLY; SET LOCAL ROLE authenticated; SET LOCAL assay.token = '{}'", caller.token().proof());
        self.web.begin_with(AssertSqlSafe(begin)).await
    }

    /// A read-only transaction as `anon`: the status page.
    pub async fn begin_anonymous(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.web.begin_with("BEGIN READ ONLY; SET LOCAL ROLE anon").await
    }

    /// A read-write transaction of the service. Writes for a person's action come here after they were authorised.
    pub async fn begin_service(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.service.begin().await
    }

    /// The same for work that may take so long: the server itself ends a statement that takes longer. Whoever stops waiting
    /// for a statement does not stop it, and the locks of its transaction would stay as long as it runs.
    pub async fn begin_service_within(&self, limit: Duration) -> sqlx::Result<Transaction<'static, Postgres>> {
        let milliseconds = limit.as_millis().clamp(1, i32::MAX as u128);
        self.service.begin_with(AssertSqlSafe(format!("BEGIN; SET LOCAL statement_timeout = {milliseconds}"))).await
    }

    /// How the pools stand, for `/metrics`.
    pub fn connections(&self) -> [PoolUse; 3] {
        [("web", &self.web), ("service", &self.service), ("owner", &self.owner)].map(|(name, pool)| PoolUse::of(name, pool))
    }

    /// How the service's pool stands, under another name.
    pub fn service_as(&self, name: &'static str) -> PoolUse {
        PoolUse::of(name, &self.service)
    }

    /// Closes all pools, waiting for what is checked out, but for ten seconds at most: somebody who downloads an export
    /// slowly must not keep the program from stopping.
    pub async fn close(&self) {
        self.close_within(Duration::from_secs(10)).await;
    }

    async fn close_within(&self, limit: Duration) {
        let closed = async { futures::join!(self.web.close(), self.service.close(), self.owner.close()) };
        if tokio::time::timeout(limit, closed).await.is_err() {
            tracing::warn!("connections to the database are still in use; they end with the process");
        }
    }
}

#[cfg(test)]
#[tokio::test]
#[allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
async fn a_connection_that_is_not_given_back_holds_up_the_close_for_its_time_only() {
    let t = testing::database().await;
    let held = t.db.service().acquire().await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(5), t.db.close_within(Duration::from_millis(100))).await;
    assert!(closed.is_ok() && t.db.service().is_closed() && t.db.web.is_closed());
    drop(held);
}
