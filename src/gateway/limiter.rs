//! The rate limiter of webhook, login and API: GCRA, shared by all nodes, and no request waits for the database.
//!
//! Each node decides from memory. Of what it knows to be left of a key's allowance it may spend half before it has to
//! settle with the shared table `rate_limits`, in the background; settling adds what it spent and learns what others
//! spent. So the rate holds over all nodes; only within the moment between two settlements can nodes together admit
//! more than a burst, and what they admitted too much is then missing to all of them.
//!
//! The table's word counts: after `TRUNCATE rate_limits` everybody has a full allowance again, within about a second.
//! Without the table or the database, each node goes on limiting by itself: neither open nor closed.

use super::gcra::{self, Quota, Verdict};
use crate::store::limits::{Spent, settle};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sqlx::PgPool;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const SHARDS: usize = 16;
/// Keys remembered at once; further ones share a key of their policy until others are forgotten.
const MAX_KEYS: usize = 100_000;
/// What a key has to settle is kept for this long after it limits nobody any more: without the table, or the database,
/// it could not be forgotten else.
const UNSETTLED: Duration = Duration::from_secs(5 * 60);
/// Keys settled in one statement.
const MAX_SETTLED: usize = 5_000;
/// How often spent allowances are settled when nothing is urgent.
const CALM: Duration = Duration::from_millis(200);
/// How soon a key is settled that has spent its lease; requests of this moment are settled together.
const URGENT: Duration = Duration::from_millis(10);
/// How often the table is asked about keys that are near their limit but send nothing.
const WATCH: Duration = Duration::from_secs(1);

/// A limit: so many requests in a window, by whatever the key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Its name in headers and in the table: lower-case letters and dashes.
    pub name: &'static str,
    /// Requests a window.
    pub quota: u32,
    /// The window.
    pub window: Duration,
}

impl Policy {
    /// Deliveries whose signature is missing, malformed, stale or wrong, by address.
    pub const UNSIGNED: Policy = Policy { name: "unsigned", quota: 100, window: Duration::from_secs(60) };
    /// Attempts to log in, by address and by account.
    pub const LOGIN: Policy = Policy { name: "login", quota: 10, window: Duration::from_secs(60) };
    /// Calls of the API, by key or session.
    pub const API: Policy = Policy { name: "api", quota: 600, window: Duration::from_secs(60) };

    /// Validly signed deliveries, by sender.
    pub const fn sender(quota_a_minute: u32) -> Policy {
        Policy { name: "sender", quota: quota_a_minute, window: Duration::from_secs(60) }
    }

    const fn arithmetic(&self) -> Quota {
        Quota::new(self.quota, self.window.as_micros() as u64)
    }
}

/// What the limiter says of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// By which limit.
    pub policy: Policy,
    /// How many more would be admitted now.
    pub remaining: u32,
    /// When the allowance is whole again.
    pub reset: Duration,
    /// `None`: admitted. Else refused, and after this long it would be admitted.
    pub retry_after: Option<Duration>,
}

impl Decision {
    /// Whether the request may go on.
    pub const fn is_allowed(&self) -> bool {
        self.retry_after.is_none()
    }

    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers), and `Retry-After` when refused.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(3);
        let Policy { name, quota, window } = self.policy;
        let mut put = |header: HeaderName, text: String| {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(header, value);
            }
        };
        put(HeaderName::from_static("ratelimit-policy"), format!("\"{name}\";q={quota};w={}", window.as_secs()));
        put(HeaderName::from_static("ratelimit"), format!("\"{name}\";r={};t={}", self.remaining, whole_seconds(self.reset)));
        if let Some(wait) = self.retry_after {
            put(header::RETRY_AFTER, whole_seconds(wait).max(1).to_string());
        }
        headers
    }

    /// The answer to a refused request: 429 with `application/problem+json`.
    pub fn problem(&self) -> Response {
        let wait = whole_seconds(self.retry_after.unwrap_or_default()).max(1);
        let Policy { name, quota, window } = self.policy;
        let body = serde_json::json!({
            "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "title": "Too many requests",
            "status": 429,
            "detail": format!("The limit \"{name}\" admits {quota} requests in {} seconds. Try again in {wait} s.", window.as_secs()),
            "violated-policies": [name],
        });
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        (StatusCode::TOO_MANY_REQUESTS, self.headers(), [kind], body.to_string()).into_response()
    }
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_micros().div_ceil(1_000_000) as u64
}

/// What a node knows of one key. Times are microseconds since the limiter started.
#[derive(Debug, Clone, Copy)]
struct Entry {
    tat: u64,
    quota: Quota,
    /// Admitted and refused since the last settlement.
    admitted: u32,
    refused: u32,
    /// When the first of the admitted was.
    since: u64,
    /// How many it may admit before it has to settle.
    lease: u32,
    settled: u64,
}

impl Entry {
    /// Whether it limits somebody at `now`, or did within `unsettled` and has something to settle.
    fn is_needed(&self, now: u64, unsettled: Duration) -> bool {
        let waits = self.admitted > 0 || self.refused > 0;
        self.tat > now || (waits && self.tat.saturating_add(unsettled.as_micros() as u64) > now)
    }
}

type Shard = HashMap<String, Entry>;

struct Inner {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    start: Instant,
    urgent: Notify,
    shared: AtomicBool,
}

/// The limiter of one process. Cheap to clone.
#[derive(Clone)]
pub struct Limiter {
    inner: Arc<Inner>,
    stop: CancellationToken,
}

impl Limiter {
    /// Starts it, with the task that settles with the shared table.
    pub fn start(pool: PgPool) -> Self {
        let limiter = Self::alone();
        tokio::spawn(limiter.inner.clone().settle_for_ever(pool, limiter.stop.clone()));
        limiter
    }

    /// One that shares nothing: for tests, and for tools without a database.
    pub fn alone() -> Self {
        let inner = Inner {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            start: Instant::now(),
            urgent: Notify::new(),
            shared: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner), stop: CancellationToken::new() }
    }

    /// Counts one request of `key` against `policy` and decides. Never waits.
    pub fn check(&self, policy: &Policy, key: &str, now: Instant) -> Decision {
        let inner = &*self.inner;
        let (quota, now) = (policy.arithmetic(), inner.micros(now));
        let (name, mut shard) = inner.place(policy, key, now);
        let fresh = Entry { tat: 0, quota, admitted: 0, refused: 0, since: now, lease: quota.burst / 2, settled: now };
        let entry = shard.entry(name).or_insert(fresh);
        entry.quota = quota;
        let retry_after = match gcra::decide(entry.tat, now, quota) {
            Verdict::Admit(next) => {
                entry.tat = next;
                if entry.admitted == 0 {
                    entry.since = now;
                }
                entry.admitted += 1;
                if entry.admitted >= entry.lease.max(1) {
                    inner.urgent.notify_one();
                }
                None
            }
            Verdict::Refuse(wait) => {
                entry.refused = entry.refused.saturating_add(1);
                crate::meter::LIMITED.of(policy.name).add(1);
                Some(Duration::from_micros(wait))
            }
        };
        let reset = Duration::from_micros(entry.tat.saturating_sub(now));
        Decision { policy: *policy, remaining: quota.remaining(entry.tat, now), reset, retry_after }
    }

    /// Whether a request of `key` would be refused now. Counts nothing.
    pub fn is_used_up(&self, policy: &Policy, key: &str, now: Instant) -> bool {
        let (name, now) = (format!("{}:{key}", policy.name), self.inner.micros(now));
        let tat = self.inner.shard(&name).get(&name).map(|entry| entry.tat);
        tat.is_some_and(|tat| matches!(gcra::decide(tat, now, policy.arithmetic()), Verdict::Refuse(_)))
    }

    /// Whether the last settlement with the shared table worked.
    pub fn is_shared(&self) -> bool {
        self.inner.shared.load(Ordering::Relaxed)
    }

    /// Stops settling. Checks go on, by this node alone.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

impl Inner {
    fn micros(&self, now: Instant) -> u64 {
        // An hour ahead, so that ages can be subtracted.
        now.saturating_duration_since(self.start).as_micros() as u64 + 3_600_000_000
    }

    fn shard(&self, name: &str) -> MutexGuard<'_, Shard> {
        let number = self.hasher.hash_one(name) as usize % SHARDS;
        // A panic while the lock was held cannot leave an entry half written.
        self.shards[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name under which a request of `key` counts, and the shard of that name. A full shard takes no new keys.
    fn place(&self, policy: &Policy, key: &str, now: u64) -> (String, MutexGuard<'_, Shard>) {
        let name = format!("{}:{key}", policy.name);
        let mut shard = self.shard(&name);
        if shard.len() >= MAX_KEYS / SHARDS && !shard.contains_key(&name) {
            // Room for those who come is worth more than counts of those who are limited no more.
            shard.retain(|_, e| e.is_needed(now, Duration::ZERO));
            if shard.len() >= MAX_KEYS / SHARDS {
                // The shared key has one shard, as every key: it may be another one than this, or this.
                drop(shard);
                let shared = format!("{}:other", policy.name);
                let shard = self.shard(&shared);
                return (shared, shard);
            }
        }
        (name, shard)
    }

    async fn settle_for_ever(self: Arc<Self>, pool: PgPool, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.urgent.notified() => tokio::time::sleep(URGENT).await,
                () = tokio::time::sleep(CALM) => {}
            }
            if let Err(error) = self.settle_once(&pool).await {
                if self.shared.swap(false, Ordering::Relaxed) {
                    tracing::warn!(%error, "rate limits are not shared just now; this node limits by itself");
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(WATCH) => {}
                }
            } else {
                self.shared.store(true, Ordering::Relaxed);
            }
        }
    }

    async fn settle_once(&self, pool: &PgPool) -> sqlx::Result<()> {
        let sent = self.micros(Instant::now());
        let spent = self.take_spent(sent);
        if spent.is_empty() {
            return Ok(());
        }
        match settle(pool, &spent).await {
            Ok(times) => {
                for (name, ahead) in times {
                    self.learn(&name, sent, ahead);
                }
                Ok(())
            }
            Err(error) => {
                for s in spent {
                    self.put_back(&s, sent);
                }
                Err(error)
            }
        }
    }

    /// Takes out what has to be settled, and forgets keys that limit nobody.
    fn take_spent(&self, now: u64) -> Vec<Spent> {
        let mut spent = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, e| e.is_needed(now, UNSETTLED));
            for (name, e) in shard.iter_mut() {
                let watched =
                    e.quota.remaining(e.tat, now) <= e.quota.burst / 2 && now.saturating_sub(e.settled) >= WATCH.as_micros() as u64;
                if (e.admitted == 0 && e.refused == 0 && !watched) || spent.len() >= MAX_SETTLED {
                    continue;
                }
                spent.push(Spent {
                    key: name.clone(),
                    cost_us: i64::try_from(u64::from(e.admitted) * e.quota.emission).unwrap_or(i64::MAX),
                    age_us: if e.admitted > 0 { i64::try_from(now.saturating_sub(e.since)).unwrap_or(0) } else { 0 },
                    admitted: e.admitted.into(),
                    refused: e.refused.into(),
                });
                (e.admitted, e.refused, e.settled) = (0, 0, now);
            }
        }
        spent
    }

    /// The table says that at `sent` the key's time lay `ahead` of the clock. What was admitted meanwhile comes on top.
    fn learn(&self, name: &str, sent: u64, ahead: i64) {
        if let Some(e) = self.shard(name).get_mut(name) {
            let told = sent.saturating_add_signed(ahead);
            e.tat = told.max(if e.admitted > 0 { e.since } else { 0 }).saturating_add(u64::from(e.admitted) * e.quota.emission);
            e.lease = (e.quota.remaining(told, sent) / 2).max(1);
        }
    }

    fn put_back(&self, spent: &Spent, now: u64) {
        if let Some(e) = self.shard(&spent.key).get_mut(&spent.key) {
            e.admitted = e.admitted.saturating_add(u32::try_from(spent.admitted).unwrap_or(u32::MAX));
            e.refused = e.refused.saturating_add(u32::try_from(spent.refused).unwrap_or(u32::MAX));
            e.since = e.since.min(now.saturating_sub(u64::try_from(spent.age_us).unwrap_or(0)));
        }
    }
}

#[cfg(test)]
#[path = "limiter_tests.rs"]
mod tests;
