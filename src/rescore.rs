//! From stored values to stored scores: loads what the scorer needs of some persons, scores, and writes what changed.
//!
//! The scorer itself is pure ([`crate::quality`]); this is its only way to the database. A span goes from the earliest
//! changed day to the last and has the days before it as context, so the result is that of scoring everything.

use crate::meter;
use crate::model::{Badge, DayValue, Metric, Source};
use crate::quality::{DAILY_LOOKBACK_DAYS, LOOKBACK_DAYS, Registry, Reviews, Score, explain, score_person};
use crate::store::advice::{self, AdviceRow};
use crate::store::confidence::{self, Context, Lookback, Span, Target};
use chrono::{Days, NaiveDate};
use sqlx::PgConnection;
use std::collections::BTreeMap;

pub use crate::store::confidence::registry;

/// Values loaded at once, roughly: keeps memory flat when all of a large history is scored.
const PERSONS_AT_ONCE: usize = 25;

/// Scores written at once: a statement's parameters lie in memory as a whole, beside the scores themselves.
const SCORES_AT_ONCE: usize = 2_000;

/// What a rescoring did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rescored {
    /// Values scored.
    pub scored: u64,
    /// Scores written or deleted because they differed.
    pub changed: u64,
}

/// Scores persons anew with the registry in force: each from the earliest day that changed, or, with `None`, from the
/// first. Returns how many scores were written or deleted.
///
/// # Errors
/// The database's.
pub async fn rescore_persons(conn: &mut PgConnection, persons: &[(String, Option<NaiveDate>)]) -> sqlx::Result<u64> {
    // First: a registry read before the wait could be an old one after it.
    lock(conn, persons).await?;
    let registry = registry(conn).await?;
    rescore_into(conn, Target::Cache, &registry, persons).await.map(|r| r.changed)
}

/// Scores one person anew from a day on.
///
/// # Errors
/// The database's.
pub async fn rescore_person(conn: &mut PgConnection, registry: &Registry, user_id: &str, since: NaiveDate) -> sqlx::Result<Rescored> {
    rescore_with(conn, registry, &[(user_id.to_owned(), Some(since))]).await
}

/// Scores persons anew under a registry.
///
/// # Errors
/// The database's.
pub async fn rescore_with(conn: &mut PgConnection, registry: &Registry, persons: &[(String, Option<NaiveDate>)]) -> sqlx::Result<Rescored> {
    lock(conn, persons).await?;
    rescore_into(conn, Target::Cache, registry, persons).await
}

/// Scores all of some persons' history into the shadow, beside what is in force.
///
/// # Errors
/// The database's.
pub async fn rescore_shadow(conn: &mut PgConnection, registry: &Registry, users: &[String]) -> sqlx::Result<Rescored> {
    let persons: Vec<(String, Option<NaiveDate>)> = users.iter().map(|u| (u.clone(), None)).collect();
    rescore_into(conn, Target::Shadow, registry, &persons).await
}

/// All at once and in order: two that took them part by part could wait for each other.
async fn lock(conn: &mut PgConnection, persons: &[(String, Option<NaiveDate>)]) -> sqlx::Result<()> {
    confidence::lock_scores(conn, &persons.iter().map(|(user, _)| user.as_str()).collect::<Vec<_>>()).await
}

async fn rescore_into(
    conn: &mut PgConnection,
    target: Target,
    registry: &Registry,
    persons: &[(String, Option<NaiveDate>)],
) -> sqlx::Result<Rescored> {
    let mut done = Rescored::default();
    let scored: Vec<&str> = registry.rules().iter().map(|r| r.metric.key()).collect();
    for some in persons.chunks(PERSONS_AT_ONCE) {
        // What the shadow says is not in force: it advises nobody.
        let mut advice = (target == Target::Cache).then(Vec::new);
        let mut scores = score_some(conn, registry, some, advice.as_mut()).await?;
        let flat: Vec<(&str, Score)> =
            scores.iter_mut().flat_map(|(user, scores)| std::mem::take(scores).into_iter().map(|s| (user.as_str(), s))).collect();
        done.scored += flat.len() as u64;
        let mut written = 0;
        for part in flat.chunks(SCORES_AT_ONCE) {
            written += confidence::upsert_scores(conn, target, part).await?;
        }
        done.changed += written;
        meter::SCORED.add(flat.len() as u64);
        meter::RESCORED.add(written);
        // What is tried beside the scorer in force is nobody's score.
        flat.iter().filter(|_| target == Target::Cache).for_each(|(_, score)| meter::SCORES_COMPUTED.observe(f64::from(score.score)));
        advice::put(conn, advice.unwrap_or_default()).await?;
        // Whoever deletes a value deletes its score; but while it was scored here, both may have gone. And a metric may be scored no longer.
        if target == Target::Cache {
            done.changed += confidence::delete_orphans(conn, some, &scored).await?;
        }
    }
    Ok(done)
}

/// The scores some persons would have under a registry, without writing any.
async fn score_some(
    conn: &mut PgConnection,
    registry: &Registry,
    persons: &[(String, Option<NaiveDate>)],
    mut advice: Option<&mut Vec<AdviceRow>>,
) -> sqlx::Result<BTreeMap<String, Vec<Score>>> {
    let users: Vec<&str> = persons.iter().map(|(user, _)| user.as_str()).collect();
    let extents = confidence::extents(conn, &users).await?;
    let mut spans: BTreeMap<&str, Span> = BTreeMap::new();
    for (user, since) in persons {
        let Some((first, last)) = extents.get(user) else { continue };
        let since = since.unwrap_or(*first).max(*first);
        // Only the earliest changed day is known; there may be later ones, so the span goes on to the last.
        let known = spans.entry(user).or_insert_with(|| Span { user_id: user.clone(), since, until: *last });
        known.since = known.since.min(since);
    }
    let spans: Vec<Span> = spans.into_values().collect();
    if spans.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut contexts = contexts(conn, registry, &spans).await?;
    let mut all = BTreeMap::new();
    for span in spans {
        let Context { values, reviews } = contexts.remove(&span.user_id).unwrap_or_default();
        let scores = score_person(&values, &reviews, registry, span.since..=span.until);
        if let Some(advice) = &mut advice {
            advice.extend(advise(&span.user_id, &values, &reviews, registry, &scores));
        }
        all.insert(span.user_id, scores);
        tokio::task::yield_now().await; // a probe or a delivery does not wait for a batch of persons
    }
    Ok(all)
}

async fn contexts(conn: &mut PgConnection, registry: &Registry, spans: &[Span]) -> sqlx::Result<BTreeMap<String, Context>> {
    let slow: Vec<&str> =
        registry.rules().iter().filter(|r| i64::from(r.baseline_days) > DAILY_LOOKBACK_DAYS).map(|r| r.metric.key()).collect();
    let lookback = Lookback { daily: DAILY_LOOKBACK_DAYS as i32, slow: LOOKBACK_DAYS as i32, slow_metrics: &slow };
    confidence::contexts(conn, spans, &lookback).await
}

/// What the scorer sees when it scores one day of a person: to explain a score. Read with the eyes of `conn`.
///
/// # Errors
/// The database's.
pub async fn context(conn: &mut PgConnection, registry: &Registry, user_id: &str, date: NaiveDate) -> sqlx::Result<Context> {
    let span = Span { user_id: user_id.to_owned(), since: date, until: date };
    Ok(contexts(conn, registry, &[span]).await?.remove(user_id).unwrap_or_default())
}

/// Scores from here on need no advice.
const GOOD_ENOUGH: i32 = 80;

/// What would raise the newest score of each key metric and source most, without words where nothing need be said. A
/// person's newest value is in every span, unless nothing before it changed; then what was said of it holds.
fn advise(user_id: &str, values: &[DayValue], reviews: &Reviews, registry: &Registry, scores: &[Score]) -> Vec<AdviceRow> {
    let mut newest: BTreeMap<(Metric, &Source), &Score> = BTreeMap::new();
    for score in scores.iter().filter(|s| Metric::KEY.contains(&s.metric)) {
        let kept = newest.entry((score.metric, &score.source)).or_insert(score);
        if score.date > kept.date {
            *kept = score;
        }
    }
    let low = |s: &Score| s.score < GOOD_ENOUGH;
    let from = newest.values().filter(|s| low(s)).map(|s| s.date - Days::new(LOOKBACK_DAYS as u64)).min();
    let recent: Vec<DayValue> = from.map_or_else(Vec::new, |from| values.iter().filter(|v| v.date >= from).cloned().collect());
    let row = |s: &Score| {
        let best = if low(s) { explain::best_advice(&recent, reviews, registry, s) } else { None };
        let (points, advice) = best.map_or_else(Default::default, |b| (b.points, b.text));
        AdviceRow {
            user_id: user_id.to_owned(),
            metric_name: s.metric.key().to_owned(),
            source: s.source.as_str().to_owned(),
            measurement_date: s.date,
            points,
            advice,
        }
    };
    newest.into_values().map(row).collect()
}

/// What another registry or scorer would change, before it is put to use.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Preview {
    /// Scores compared.
    pub compared: u64,
    /// How many scores would move by so many points: index 0 for −100 … index 200 for +100.
    pub moved: Vec<u64>,
    /// Persons with at least one badge that would change.
    pub persons: u64,
    /// From which badge to which, and how often.
    pub badges: BTreeMap<(Badge, Badge), u64>,
    /// The largest movements: score as stored, score as it would be.
    pub top: Vec<(String, Score, i32)>,
}

/// How many of the largest movements a preview names.
const TOP: usize = 20;

/// Scores persons under a registry without writing, and compares with what is stored. The same scorer under the same
/// registry gives an empty difference.
///
/// # Errors
/// The database's.
pub async fn preview(conn: &mut PgConnection, registry: &Registry, users: &[String]) -> sqlx::Result<Preview> {
    let mut preview = Preview { moved: vec![0; 201], ..Preview::default() };
    for some in users.chunks(PERSONS_AT_ONCE) {
        let persons: Vec<(String, Option<NaiveDate>)> = some.iter().map(|u| (u.clone(), None)).collect();
        for (user, scores) in score_some(conn, registry, &persons, None).await? {
            let dates = || scores.iter().map(|s| s.date);
            let (Some(first), Some(last)) = (dates().min(), dates().max()) else { continue };
            let stored = confidence::person_scores(conn, &user, first, last).await?;
            preview.compare(&user, stored.into_iter().map(|s| s.score).collect(), &scores);
        }
    }
    preview.top.sort_by_key(|(_, old, new)| std::cmp::Reverse((new - old.score).abs()));
    preview.top.truncate(TOP);
    Ok(preview)
}

impl Preview {
    fn compare(&mut self, user: &str, stored: Vec<Score>, new: &[Score]) {
        let mut stored: BTreeMap<_, Score> = stored.into_iter().map(|s| ((s.metric, s.source.clone(), s.date), s)).collect();
        let before = self.badges.values().sum::<u64>();
        for score in new {
            let Some(old) = stored.remove(&(score.metric, score.source.clone(), score.date)) else { continue };
            self.compared += 1;
            let by = score.score - old.score;
            if let Some(count) = usize::try_from(by + 100).ok().and_then(|i| self.moved.get_mut(i)) {
                *count += 1;
            }
            let badges = (Badge::of(Some(old.score)), Badge::of(Some(score.score)));
            if badges.0 != badges.1 {
                *self.badges.entry(badges).or_default() += 1;
            }
            if by != 0 {
                self.top.push((user.to_owned(), old, score.score));
            }
        }
        self.persons += u64::from(self.badges.values().sum::<u64>() > before);
        self.top.sort_by_key(|(_, old, new)| std::cmp::Reverse((new - old.score).abs()));
        self.top.truncate(TOP);
    }
}

#[cfg(test)]
mod bench;
#[cfg(test)]
mod tests;
