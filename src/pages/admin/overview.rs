//! What the dashboard shows, as text and paths: made on the server, drawn as it is.

use crate::{
    components::{Bar, BarRow, Moment, Plot},
    pages::clients::Person,
};

/// A running or just ended recalculation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationView {
    /// Names it when it is stopped.
    pub id: String,
    /// Its state's word.
    pub state: String,
    /// 0–100; 100 only at the end.
    pub percent: u32,
    /// `12 of 40 people`.
    pub done: String,
    /// `25 per second`; empty before there is one.
    pub rate: String,
    /// `about 20 s left`, or how long it took.
    pub left: String,
    /// How many failed; empty when none.
    pub failed: String,
    /// Who started it.
    pub started_by: String,
    /// When.
    pub started: Moment,
    /// Why it failed.
    pub error: String,
}

/// Something to look at, with what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertView {
    /// `bad`, `warn`, `note` or `good`.
    pub tone: String,
    /// What is the matter.
    pub text: String,
    /// Where to mend it; empty when there is nothing to do.
    pub href: String,
    /// What is found there.
    pub action: String,
}

/// Jobs of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindRow {
    /// Kind of job.
    pub kind: String,
    /// Waiting, leased, dead, done.
    pub counts: [String; 4],
}

/// A recent job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRow {
    /// Its page.
    pub href: String,
    /// Kind of job.
    pub kind: String,
    /// Its state's word.
    pub state: String,
    /// When it was made.
    pub created: Moment,
    /// How long it ran.
    pub took: String,
    /// Attempts so far.
    pub attempts: String,
    /// Why it failed.
    pub error: String,
}

/// A provider's connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderRow {
    /// In addresses.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Working, silent and broken connections.
    pub counts: [String; 3],
    /// The newest data of any of them.
    pub last_data: Option<Moment>,
    /// `ok`, `degraded`, `error`.
    pub state: String,
}

/// One check of the health snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckRow {
    /// Its name.
    pub name: String,
    /// ok, degraded, error.
    pub state: String,
}

/// Everything on the dashboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// When this was read.
    pub taken: Moment,
    /// Nothing ever arrived.
    pub empty: bool,
    /// Persons who are made up, with their verb: `12 people are`; empty: nobody is.
    pub simulated: String,
    /// Whether the advanced parts are shown.
    pub advanced: bool,
    /// The newest recalculation.
    pub operation: Option<OperationView>,
    /// Worst first.
    pub alerts: Vec<AlertView>,
    /// Waiting, leased, dead.
    pub queue: [String; 3],
    /// Whether any job is dead: what Retry Failed Jobs is for.
    pub failed_jobs: i64,
    /// How long the oldest due job has waited.
    pub oldest: String,
    /// Average confidence of seven days.
    pub average: Option<i32>,
    /// `12,345 scored values of 40 people`.
    pub average_of: String,
    /// Accepted, duplicates, refused.
    pub webhooks: [String; 3],
    /// Share of accepted deliveries that did not fail.
    pub success: String,
    /// What that rests on.
    pub success_of: String,
    /// healthy, degraded, unhealthy, unknown.
    pub health: String,
    /// Worst first.
    pub checks: Vec<CheckRow>,
    /// When health was last checked.
    pub checked: Option<Moment>,
    /// Best tier first, Unknown last.
    pub tiers: Vec<BarRow>,
    /// Confidence over time.
    pub plot: Plot,
    /// Metrics to choose from: key, name.
    pub metrics: Vec<(String, String)>,
    /// Reads answered from the cache.
    pub hit_rate: String,
    /// What that rests on.
    pub hit_of: String,
    /// Values newer than their score.
    pub stale: String,
    /// When a score was last written.
    pub newest_score: Option<Moment>,
    /// Jobs by kind.
    pub kinds: Vec<KindRow>,
    /// The newest jobs.
    pub jobs: Vec<JobRow>,
    /// Accepted deliveries by minute.
    pub arrivals: Bar,
    /// Their sum.
    pub arrivals_sum: String,
    /// By name.
    pub providers: Vec<ProviderRow>,
    /// Names of the key metrics.
    pub columns: Vec<String>,
    /// Least trusted first.
    pub people: Vec<Person>,
}
