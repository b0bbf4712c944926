#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot prepare must stop")]

use super::*;
use crate::store::testing::database;

/// So slow that nothing is refilled while a test runs, on however busy a machine.
const HOURLY: Policy = Policy { name: "unsigned", quota: 100, window: Duration::from_secs(100 * 3600) };

fn admitted(limiter: &Limiter, key: &str, requests: u32, now: Instant) -> u32 {
    (0..requests).filter(|_| limiter.check(&HOURLY, key, now).is_allowed()).count() as u32
}

/// Requests of `keys` different callers, one each.
fn flood(limiter: &Limiter, keys: usize, now: Instant) {
    for n in 0..keys {
        limiter.check(&Policy::UNSIGNED, &n.to_string(), now);
    }
}

fn kept(limiter: &Limiter) -> usize {
    limiter.inner.shards.iter().map(|s| s.lock().unwrap().len()).sum()
}

#[test]
fn headers_say_the_policy_what_is_left_and_the_true_wait() {
    let limiter = Limiter::alone();
    let now = Instant::now();
    let minute = |key: &str, now| limiter.check(&Policy::UNSIGNED, key, now);
    let first = minute("a", now).headers();
    assert_eq!(first.get("ratelimit-policy").unwrap(), "\"unsigned\";q=100;w=60");
    assert_eq!(first.get("ratelimit").unwrap(), "\"unsigned\";r=99;t=1");
    assert!(first.get("retry-after").is_none());
    assert_eq!((0..300).filter(|_| minute("a", now).is_allowed()).count(), 99);
    let refused = minute("a", now);
    assert_eq!(refused.headers().get("ratelimit").unwrap(), "\"unsigned\";r=0;t=60");
    // Not the whole window (weak point 54): the next token comes after 0.6 s.
    assert_eq!(refused.retry_after, Some(Duration::from_millis(600)));
    assert_eq!(refused.headers().get("retry-after").unwrap(), "1");
    assert_eq!(refused.problem().status(), 429);
    assert_eq!(refused.problem().headers().get("content-type").unwrap(), "application/problem+json");
    assert_eq!((0..9).filter(|_| minute("a", now + Duration::from_millis(600)).is_allowed()).count(), 1);
}

/// Weak point 51: one caller's window must not delete another's state. Weak point 52: keys are apart.
#[test]
fn callers_and_policies_do_not_touch_each_other() {
    let limiter = Limiter::alone();
    let now = Instant::now();
    assert_eq!(admitted(&limiter, "a", 200, now), 100);
    let short = Policy { name: "short", quota: 1, window: Duration::from_secs(1) };
    assert!(limiter.check(&short, "b", now).is_allowed());
    assert_eq!(admitted(&limiter, "a", 1, now), 0);
    assert_eq!(admitted(&limiter, "b", 200, now), 100);
}

/// Weak point 50: twenty parallel callers passed 105 of 100, others died with an error that meant "allowed".
#[test]
fn twenty_parallel_callers_pass_exactly_a_hundred() {
    let limiter = Limiter::alone();
    let now = Instant::now();
    let passed: u32 = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..20).map(|_| scope.spawn(|| admitted(&limiter, "a", 50, now))).collect();
        callers.into_iter().map(|c| c.join().expect("no caller dies")).sum()
    });
    assert_eq!(passed, 100);
}

#[test]
fn a_flood_of_addresses_does_not_grow_memory_without_bound() {
    let limiter = Limiter::alone();
    let now = Instant::now();
    flood(&limiter, 150_000, now);
    assert!(kept(&limiter) <= MAX_KEYS + SHARDS, "{}", kept(&limiter));
    // Whoever was there before the flood is still known, and newcomers are limited together.
    assert_eq!(limiter.check(&Policy::UNSIGNED, "0", now).remaining, 98);
    assert!(!limiter.check(&Policy::UNSIGNED, "a newcomer", now).is_allowed());
    // When those have become idle, newcomers have their own allowance again, though nothing could be settled.
    assert_eq!(limiter.check(&Policy::UNSIGNED, "a newcomer", now + Duration::from_secs(120)).remaining, 99);
    assert!(limiter.inner.shard("unsigned:a newcomer").contains_key("unsigned:a newcomer"));
}

/// With `rate_limits` dropped every settlement fails and is put back; the keys were then never forgotten.
#[test]
fn what_cannot_be_settled_is_forgotten_some_minutes_after_it_limits_nobody() {
    let limiter = Limiter::alone();
    let start = Instant::now();
    let emission = Duration::from_millis(600);
    flood(&limiter, 10, start);
    let failing = |after: Duration| {
        let now = limiter.inner.micros(start + after);
        let spent = limiter.inner.take_spent(now);
        spent.iter().for_each(|s| limiter.inner.put_back(s, now));
        spent.len()
    };
    assert_eq!(failing(Duration::from_secs(1)), 10);
    assert_eq!(failing(UNSETTLED), 10, "a database that is away for a moment loses nothing");
    assert_eq!(failing(UNSETTLED + emission), 0);
    assert_eq!(kept(&limiter), 0);
}

/// Each shard had a shared key of its own: the limit was as many times too high, and the settlement of all failed.
#[test]
fn newcomers_to_full_shards_share_one_key_that_is_settled_once() {
    let limiter = Limiter::alone();
    let start = Instant::now();
    flood(&limiter, 112_000, start);
    let (inner, now) = (&limiter.inner, limiter.inner.micros(start));
    let mut shared = Vec::new();
    loop {
        let spent = inner.take_spent(now);
        if spent.is_empty() {
            break;
        }
        shared.extend(spent.into_iter().filter(|s| s.key == "unsigned:other"));
    }
    let [once] = shared.as_slice() else { panic!("{shared:?}") };
    assert_eq!(once.admitted, 100);
    assert!(once.refused > 10_000, "{once:?}");
    // A failed settlement is put back where it was, and the table's word is heard.
    inner.put_back(once, now);
    assert_eq!(inner.take_spent(now), shared);
    assert!(!limiter.check(&Policy::UNSIGNED, "a newcomer", start).is_allowed());
    inner.learn("unsigned:other", now, 0);
    assert_eq!(limiter.check(&Policy::UNSIGNED, "a newcomer", start).remaining, 99);
}

#[tokio::test]
async fn two_nodes_share_one_allowance() {
    let t = database().await;
    let (a, b) = (Limiter::alone(), Limiter::alone());
    let pool = t.db.service();
    let now = Instant::now();
    assert_eq!(admitted(&a, "x", 60, now), 60);
    a.inner.settle_once(pool).await.unwrap();
    assert_eq!(admitted(&b, "x", 1, Instant::now()), 1);
    b.inner.settle_once(pool).await.unwrap();
    let rest = admitted(&b, "x", 100, Instant::now());
    assert_eq!(rest, 39);
    b.inner.settle_once(pool).await.unwrap();
    // The first node learns of it when it settles its next request.
    assert_eq!(admitted(&a, "x", 1, Instant::now()), 1, "it knew of 60");
    a.inner.settle_once(pool).await.unwrap();
    assert_eq!(admitted(&a, "x", 10, Instant::now()), 0);
    let (count, refused): (i64, i64) =
        sqlx::query_as("SELECT count, refused FROM rate_limits WHERE key = 'unsigned:x'").fetch_one(pool).await.unwrap();
    assert_eq!((count, refused), (101, 61));
}

#[tokio::test]
async fn truncate_clean_up_and_a_dropped_table_are_harmless() {
    let t = database().await;
    let limiter = Limiter::alone();
    let (pool, owner) = (t.db.service(), t.db.owner());
    assert_eq!(admitted(&limiter, "x", 200, Instant::now()), 100);
    limiter.inner.settle_once(pool).await.unwrap();
    assert_eq!(admitted(&limiter, "x", 5, Instant::now()), 0);
    // cleanup_rate_limits() forgives nobody who is limited now.
    sqlx::query("SELECT cleanup_rate_limits()").execute(owner).await.unwrap();
    limiter.inner.settle_once(pool).await.unwrap();
    assert_eq!(admitted(&limiter, "x", 5, Instant::now()), 0);
    // TRUNCATE does: that is what the checklist uses it for.
    sqlx::query("TRUNCATE rate_limits").execute(owner).await.unwrap();
    limiter.inner.settle_once(pool).await.unwrap();
    assert_eq!(admitted(&limiter, "x", 200, Instant::now()), 100);
    // Without the table the node limits by itself and loses no debt.
    sqlx::query("DROP TABLE rate_limits CASCADE").execute(owner).await.unwrap();
    assert!(limiter.inner.settle_once(pool).await.is_err());
    assert_eq!(admitted(&limiter, "x", 5, Instant::now()), 0);
    sqlx::query("SELECT cleanup_rate_limits()").execute(owner).await.unwrap();
    crate::store::repair(&t.url).await.unwrap();
    limiter.inner.settle_once(pool).await.unwrap();
    assert_eq!(admitted(&limiter, "x", 5, Instant::now()), 0);
    let count: i64 = sqlx::query_scalar("SELECT count FROM rate_limits").fetch_one(pool).await.unwrap();
    assert_eq!(count, 100);
}

#[tokio::test]
async fn the_background_task_settles_by_itself() {
    let t = database().await;
    let limiter = Limiter::start(t.db.service().clone());
    admitted(&limiter, "x", 90, Instant::now());
    let mut count = 0_i64;
    for _ in 0..100 {
        count = sqlx::query_scalar("SELECT coalesce(sum(count), 0)::int8 FROM rate_limits").fetch_one(t.db.owner()).await.unwrap();
        if count == 90 && limiter.is_shared() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(count, 90);
    assert!(limiter.is_shared());
    limiter.stop();
}
