//! Compares our connections with Terra's, in case an event of theirs never reached us.
//!
//! Terra's list of users shows where the two may differ; each such connection is then asked for by itself, and only that
//! answer changes anything. An event that is newer than the question always wins. A connection that Terra cannot answer for is passed
//! over and counted; it keeps none behind it.

use super::{Nothing, same, text};
use crate::jobs::{Claimed, Ctx, JobKind, Outcome};
use crate::model::Source;
use crate::outbound::{Client, RemoteUser, TerraError, UserInfo};
use crate::store::connections::{self, ConnectionState, Known};
use crate::store::{raw, tombstones};
use chrono::{DateTime, Utc};
use serde_json::json;
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// Connections read at once.
const PAGE: i64 = 1000;
/// Pages of Terra's list that are followed: half a million users.
const PAGES: u32 = 1000;
/// Our clock and Terra's may differ by so much; an event of the last minute is believed before the comparison.
const MARGIN_MS: i64 = 60_000;
/// After so many faults in a row it is not the connections: Terra is away.
const AWAY: u32 = 5;

/// Compares our connections with Terra's.
pub struct Reconcile {
    client: Option<Client>,
}

impl Reconcile {
    /// With the client of Terra's REST side; `None`: it is not configured, and there is nothing to compare with.
    pub const fn new(client: Option<Client>) -> Self {
        Self { client }
    }
}

impl JobKind for Reconcile {
    const NAME: &'static str = "reconcile";
    const PRIORITY: i16 = 6;
    const MAX_ATTEMPTS: i32 = 3;
    const TIMEOUT: Duration = Duration::from_secs(1800);
    const SLOW: bool = true;
    type Payload = Nothing;

    async fn run_batch(&self, ctx: &Ctx, jobs: &[Claimed<Nothing>]) -> Result<Vec<Outcome>, String> {
        let Some(client) = &self.client else {
            return Ok(same(jobs, Outcome::DoneWith(json!({ "skipped": "Terra's REST side is not configured." }))));
        };
        let Some(job) = jobs.first() else { return Ok(Vec::new()) };
        match compare(ctx, job, client).await? {
            Ok(figures) => Ok(same(jobs, Outcome::DoneWith(figures))),
            Err(Stopped::Terra(TerraError::Limited(wait))) => Ok(same(jobs, Outcome::Snooze(wait))),
            Err(Stopped::Terra(error)) if error.may_pass() => Ok(same(jobs, Outcome::Retry(error.to_string()))),
            Err(Stopped::Terra(error)) => Ok(same(jobs, Outcome::Dead(error.to_string()))),
            Err(Stopped::Unanswered(unanswered, why)) => {
                let why = format!("Terra answered for none of {unanswered} connections about which we may differ. Of the last: {why}");
                Ok(same(jobs, Outcome::Retry(why)))
            }
            Err(Stopped::Lost) => Ok(same(jobs, Outcome::Lost)),
            Err(Stopped::Asked) => Ok(same(jobs, Outcome::Snooze(Duration::ZERO))),
        }
    }
}

enum Stopped {
    Terra(TerraError),
    /// So many were asked about, and none could be compared; why not the last of them.
    Unanswered(u32, TerraError),
    /// The job is not ours any more.
    Lost,
    /// The worker shuts down.
    Asked,
}

/// Whom a question that failed is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    /// All connections: those behind it would fail alike.
    All,
    /// A fault at Terra or with this connection; those behind it show which.
    Either,
    /// This connection only.
    One,
}

impl About {
    const fn of(error: &TerraError) -> Self {
        match error {
            TerraError::Settings(_) | TerraError::Refused(_) | TerraError::Limited(_) | TerraError::TooWide => Self::All,
            // Also no answer in time: Terra may be waiting for this one's provider.
            TerraError::Unreachable(_) | TerraError::Faulty(_) => Self::Either,
            TerraError::Unknown | TerraError::Answered { .. } | TerraError::Unreadable(_) => Self::One,
        }
    }
}

/// What one connection is to become.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    terra_user_id: String,
    state: &'static str,
    reason: Option<&'static str>,
    /// What Terra says of it; `None`: it does not know it.
    user: Option<RemoteUser>,
    /// When Terra was asked, less the margin.
    asked_ms: i64,
}

async fn compare(ctx: &Ctx, job: &Claimed<Nothing>, client: &Client) -> Result<Result<serde_json::Value, Stopped>, String> {
    let theirs = match listed(client).await {
        Ok(users) => users,
        Err(error) => return Ok(Err(Stopped::Terra(error))),
    };
    let ours = all_known(ctx).await?;
    let (mut changed, mut asked, mut unanswered, mut faults) = (0, 0, 0, 0);
    let mut last = None;
    let mut waiting: VecDeque<(&str, bool)> = doubtful(&ours, &theirs).into_iter().map(|id| (id, false)).collect();
    while let Some((id, again)) = waiting.pop_front() {
        if ctx.stop.is_cancelled() {
            return Ok(Err(Stopped::Asked));
        }
        let asked_ms = Utc::now().timestamp_millis() - MARGIN_MS;
        let said = match client.user_info(id).await {
            Ok(said) => said,
            Err(error) => {
                let about = About::of(&error);
                faults = if about == About::Either { faults + 1 } else { 0 };
                if about == About::All || faults >= AWAY {
                    return Ok(Err(Stopped::Terra(error)));
                }
                if about == About::Either && !again {
                    waiting.push_back((id, true)); // a fault may have passed when the others were asked
                } else {
                    unanswered += 1;
                    last = Some(error);
                }
                continue;
            }
        };
        (asked, faults) = (asked + 1, 0);
        let Some((state, reason)) = verdict(ours.get(id), said.as_ref()) else { continue };
        let user = said.map(|info| info.user).filter(usable);
        match apply(ctx, job, &Change { terra_user_id: id.to_owned(), state, reason, user, asked_ms }).await? {
            Some(done) => changed += u32::from(done),
            None => return Ok(Err(Stopped::Lost)),
        }
    }
    if let Some(why) = last {
        tracing::warn!(asked, unanswered, %why, "Terra could not answer for some connections; they are as before");
        if asked == 0 {
            return Ok(Err(Stopped::Unanswered(unanswered, why)));
        }
    }
    Ok(Ok(json!({
        "connections": ours.len(), "at_terra": theirs.len(), "asked": asked, "changed": changed, "unanswered": unanswered,
    })))
}

/// Everybody Terra has for us, by Terra's id.
async fn listed(client: &Client) -> Result<BTreeMap<String, RemoteUser>, TerraError> {
    let mut users = BTreeMap::new();
    let mut next = Some(0);
    while let Some(page) = next.filter(|page| *page < PAGES) {
        let answer = client.subscriptions(page).await?;
        users.extend(answer.users.into_iter().filter(usable).map(|user| (user.user_id.clone(), user)));
        next = answer.next;
    }
    Ok(users)
}

async fn all_known(ctx: &Ctx) -> Result<BTreeMap<String, Known>, String> {
    let mut conn = ctx.db.service().acquire().await.map_err(text)?;
    let mut all = BTreeMap::new();
    let mut after = String::new();
    loop {
        let page = connections::known(&mut conn, &after, PAGE).await.map_err(text)?;
        let Some(last) = page.last() else { return Ok(all) };
        after.clone_from(&last.terra_user_id);
        all.extend(page.into_iter().map(|known| (known.terra_user_id.clone(), known)));
    }
}

/// Ids that the database can hold.
fn usable(user: &RemoteUser) -> bool {
    let good = |text: &str, max: usize| !text.is_empty() && !text.contains('\0') && text.chars().nth(max).is_none();
    good(&user.user_id, crate::terra::MAX_TERRA_ID)
        && user.reference_id.as_deref().is_none_or(|id| id.is_empty() || good(id, crate::terra::MAX_USER_ID))
}

fn is_active(state: &str) -> bool {
    matches!(state, "active" | "reauthorised")
}

/// The connections about which the two sides may differ.
fn doubtful<'a>(ours: &'a BTreeMap<String, Known>, theirs: &'a BTreeMap<String, RemoteUser>) -> Vec<&'a str> {
    let mut ids: Vec<&str> = Vec::new();
    for (id, known) in ours {
        let differs = match theirs.get(id) {
            // Terra's list does not say whether an error has passed.
            Some(user) => {
                is_active(&known.state) != (user.active != Some(false)) || (known.user_id.is_none() && user.reference_id.is_some())
            }
            None => is_active(&known.state) || known.state == "error",
        };
        if differs {
            ids.push(id);
        }
    }
    // Without a reference it would be nobody's; the first delivery makes it as well.
    ids.extend(theirs.iter().filter(|(id, user)| !ours.contains_key(*id) && user.reference_id.is_some()).map(|(id, _)| id.as_str()));
    ids
}

/// What a connection's state should be after Terra's answer; `None`: as it is.
fn verdict(ours: Option<&Known>, said: Option<&UserInfo>) -> Option<(&'static str, Option<&'static str>)> {
    let state = ours.map_or("", |known| known.state.as_str());
    let owned = ours.is_some_and(|known| known.user_id.is_some());
    match said {
        None if is_active(state) || state == "error" => Some(("deauthorised", Some("Terra does not know this connection any more."))),
        None => None,
        Some(info) if info.is_alive() => (!is_active(state) || (!owned && info.user.reference_id.is_some())).then_some(("active", None)),
        Some(_) if is_active(state) => Some(("error", Some("Terra gets no data for this connection."))),
        Some(_) => None,
    }
}

/// Writes one change; whether it was one still. `None`: the job is not ours any more.
async fn apply(ctx: &Ctx, job: &Claimed<Nothing>, change: &Change) -> Result<Option<bool>, String> {
    let mut tx = ctx.begin().await.map_err(text)?;
    if ctx.lock_ours(&mut tx, &[job.id]).await.map_err(text)?.is_empty() {
        return Ok(None);
    }
    let provider = change.user.as_ref().map_or_else(|| Source::from_provider(""), |user| Source::from_provider(&user.provider));
    let rows = connections::lock(&mut tx, &[(change.terra_user_id.clone(), provider.as_str().to_owned())]).await.map_err(text)?;
    let reference = change.user.as_ref().and_then(|user| user.reference_id.as_deref());
    let buried = tombstones::among(&mut tx, reference.as_slice(), &[&change.terra_user_id]).await.map_err(text)?;
    if buried != tombstones::Erased::default() {
        return Ok(Some(false)); // erased here, not yet gone there; nothing of this transaction stays
    }
    let Some(before) = rows.into_iter().find(|row| row.terra_user_id == change.terra_user_id) else { return Ok(Some(false)) };
    let Some(after) = changed(&before, change, provider.as_str(), Utc::now()) else { return Ok(Some(false)) };
    let persons: Vec<String> = after.user_id.iter().cloned().collect();
    connections::lock_persons(&mut tx, &persons).await.map_err(text)?;
    connections::write(&mut tx, &[&after], &[]).await.map_err(text)?;
    if before.user_id.is_none() {
        let found: Vec<(String, String)> = persons
            .iter()
            .flat_map(|user| after.former_ids.iter().chain([&after.terra_user_id]).map(|id| (id.clone(), user.clone())))
            .collect();
        raw::give_to(&mut tx, &found).await.map_err(text)?;
    }
    tx.commit().await.map_err(text)?;
    Ok(Some(true))
}

/// The row after Terra's answer; `None`: an event that is newer than the question has spoken, or nothing differs.
fn changed(before: &ConnectionState, change: &Change, provider: &str, now: DateTime<Utc>) -> Option<ConnectionState> {
    if before.state_ordering_ms > change.asked_ms {
        return None;
    }
    let mut after = before.clone();
    if let Some(user) = &change.user {
        after.user_id = after.user_id.or_else(|| user.reference_id.clone().filter(|id| !id.is_empty()));
        after.scopes = user.scopes.as_ref().map(|scopes| scopes.chars().filter(|c| !c.is_control()).take(2000).collect()).or(after.scopes);
        if after.provider == "unknown" {
            provider.clone_into(&mut after.provider);
        }
    }
    let same_state = before.state == change.state || (is_active(&before.state) && is_active(change.state));
    if !same_state || before.state_ordering_ms == 0 {
        change.state.clone_into(&mut after.state);
        after.reason = change.reason.map(str::to_owned);
        after.state_at = now;
        after.state_ordering_ms = change.asked_ms;
        after.state_trace_id.clear(); // an event of the same millisecond is newer
    }
    (after != *before).then_some(after)
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
