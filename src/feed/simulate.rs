//! `assay simulate` and the demo: a simulated world through the real endpoint, first its history as fast as the server
//! takes it, then life as it goes on.

use super::progress::Progress;
use super::{FeedError, Feeder, Parcel, Show, Summary, Target};
use crate::calibration::simulator::World;
use crate::model::Instant;
use chrono::{Days, Utc};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The command line of `simulate`.
#[derive(Debug, Clone, clap::Args)]
pub struct SimulateArgs {
    /// How many persons
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub clients: u32,
    /// How many days of history
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    pub days: u32,
    /// Which world; the same number gives the same persons and days
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Where to send [default: the address this configuration listens on]
    #[arg(long, value_name = "URL")]
    pub address: Option<String>,
    /// The signing secret [default: the first of TERRA_SIGNING_SECRETS, or the generated one]
    #[arg(long, value_name = "SECRET")]
    pub secret: Option<String>,
    /// How many are under way at once
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub concurrency: usize,
    /// Stop after the history instead of going on live
    #[arg(long)]
    pub history_only: bool,
    /// Send no history, only what comes from now on
    #[arg(long, conflicts_with = "history_only")]
    pub live_only: bool,
    /// Remove every simulated person and their data instead of sending any
    #[arg(long)]
    pub clear: bool,
}

/// What a simulation does.
#[derive(Debug, Clone)]
pub struct SimulateOptions {
    /// How many persons.
    pub clients: u32,
    /// How many days of history, the last of them yesterday.
    pub days: u32,
    /// Which world.
    pub seed: u64,
    /// Where to.
    pub target: Target,
    /// Whether the history is sent.
    pub history: bool,
    /// Of the history, only what was due after this: for a demo that starts again.
    pub since: Option<Instant>,
    /// Whether it goes on live afterwards, until cancelled.
    pub live: bool,
    /// Where progress is shown.
    pub show: Show,
}

impl SimulateArgs {
    /// Options with what the configuration knows: its own address and secret. `clear` is the caller's to act on.
    pub fn options(self, address: &str, secret: &str) -> SimulateOptions {
        SimulateOptions {
            clients: self.clients,
            days: self.days,
            seed: self.seed,
            target: Target {
                address: self.address.unwrap_or_else(|| address.to_owned()),
                secret: self.secret.unwrap_or_else(|| secret.to_owned()),
                concurrency: self.concurrency.max(1),
                attempts: 8,
            },
            history: !self.live_only,
            since: None,
            live: !self.history_only,
            show: Show::Terminal,
        }
    }
}

impl SimulateOptions {
    /// The demo's world: 40 persons, 90 days, seed 1, progress in the log. The endpoint may not be up yet, so it is
    /// tried for longer.
    pub fn demo(address: &str, secret: &str) -> Self {
        Self {
            clients: 40,
            days: 90,
            seed: 1,
            target: Target { address: address.to_owned(), secret: secret.to_owned(), concurrency: 16, attempts: 20 },
            history: true,
            since: None,
            live: true,
            show: Show::Log,
        }
    }

    /// The world these options describe as of a moment: its history ends with the day before.
    pub fn world(&self, now: Instant) -> World {
        let today = now.date_naive();
        World::new(self.seed, self.clients, self.days, today.checked_sub_days(Days::new(1)).unwrap_or(today))
    }
}

/// Sends the history up to now and then, if asked, what comes as it comes. Returns when the history is sent (without
/// `live`) or when cancelled; the summary counts everything. While live, a server that is away for a time is waited
/// for. Errors: refused signature; during the history, an unreachable server.
pub async fn simulate(options: SimulateOptions, cancel: CancellationToken) -> Result<Summary, FeedError> {
    let feeder = Feeder::new(options.target.clone())?;
    let now = Utc::now();
    let world = options.world(now);
    let history = if options.history { fill(&options, &feeder, &world, now, &cancel).await? } else { Summary::default() };
    if !options.live || cancel.is_cancelled() {
        return Ok(history);
    }
    if options.history {
        say(options.show, &format!("history sent: {history}; now live"));
    }
    // A log that gains a line every ten seconds for ever helps nobody.
    let show = if options.show == Show::Log { Show::Nothing } else { options.show };
    let progress = Progress::new(show, "live:", None);
    live(&feeder, &world, now, &progress, &cancel).await?;
    Ok(history.and(&progress.finish()))
}

async fn fill(
    options: &SimulateOptions,
    feeder: &Feeder,
    world: &World,
    now: Instant,
    cancel: &CancellationToken,
) -> Result<Summary, FeedError> {
    let since = options.since.unwrap_or(Instant::UNIX_EPOCH);
    let total = world.due_between(since, now) as u64;
    let progress = Progress::new(options.show, "simulated", Some(total));
    let parcels = futures::stream::iter(world.deliveries_between(since, now).map(|delivery| ((), Parcel::from(delivery))));
    let outcome = feeder.feed(parcels, &progress, cancel, |()| Ok(())).await;
    let summary = progress.finish();
    outcome.map(|()| summary)
}

async fn live(feeder: &Feeder, world: &World, now: Instant, progress: &Progress, cancel: &CancellationToken) -> Result<(), FeedError> {
    for delivery in world.live(now) {
        let wait = (delivery.at - Utc::now()).to_std().unwrap_or(Duration::ZERO);
        let parcel = Parcel::from(delivery);
        let send = async {
            tokio::time::sleep(wait).await;
            loop {
                match feeder.send(&parcel).await {
                    // A demo outlives a server's restart.
                    Err(FeedError::Unreachable { .. }) => tracing::warn!("the simulated delivery found no server; trying on"),
                    answer => break answer,
                }
            }
        };
        match cancel.run_until_cancelled(send).await {
            None => return Ok(()),
            Some(answer) => {
                let (status, attempts) = answer?;
                progress.answered(status.as_u16(), attempts);
            }
        }
    }
    Ok(())
}

fn say(show: Show, line: &str) {
    match show {
        Show::Terminal => eprintln!("{line}"),
        Show::Log => tracing::info!(state = line, "simulation"),
        Show::Nothing => {}
    }
}
