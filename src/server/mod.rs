//! The process: command line, configuration, database, router, live events, start and stop.
//!
//! `run::serve` starts the parts in order and stops them in the reverse order; `router::build` is the one list of
//! what answers under which path.

pub mod calibrate;
pub mod cli;
pub mod config;
mod connect;
pub mod context;
pub mod database;
mod door;
pub mod embedded;
pub mod failure;
mod frame;
mod leptos_options;
mod listen;
pub mod live;
mod login;
mod memory;
mod metrics;
pub mod paths;
mod preferences;
#[cfg(test)]
mod reference;
pub mod router;
pub mod run;
mod simulation;
mod start_error;
mod telemetry;
mod threads;
pub mod verify;

use crate::{access::site::Site, gateway::Gateway, health::Monitor, store::Db};
use std::sync::Arc;

/// What the running process offers to pages and endpoints.
pub struct Services {
    /// The pools.
    pub db: Db,
    /// Those of the worker, where one runs in this process.
    pub jobs_db: Option<Db>,
    /// The configuration, secrets redacted in every print.
    pub config: config::Config,
    /// The last health snapshot.
    pub monitor: Monitor,
    /// Live events.
    pub live: live::Live,
    /// Deliveries, and the rate limiter that login and API share.
    pub gateway: Arc<Gateway>,
    /// Which origins are ours, and whether cookies travel over https.
    pub site: Site,
    /// Terra's REST side; `None`: not configured, so no connect links and no backfill.
    pub terra: Option<crate::outbound::Client>,
    /// What jobs there are, for the endpoint that drains by hand.
    pub kinds: crate::jobs::Kinds,
}
