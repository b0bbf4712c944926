//! The lines of `edge_function_logs`: what each endpoint and each job came to, with the request id that joins them.
//!
//! Writing never waits: lines go into a bounded channel, and a task stores what gathered once a second. A flood does not
//! become a flood of rows: of each function and level so many lines a second are kept singly, the others are summed up in
//! one line whose `metadata.calls` says how many they were. What the database does not take is kept for the next second,
//! up to a bound; what is lost is counted in `assay_log_lines_dropped_total`.

use crate::meter::{LOG_LINES, LOG_LINES_DROPPED};
use crate::store::maintenance::{LogLine, write_log};
use sqlx::PgPool;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How often lines are stored.
const EVERY: Duration = Duration::from_secs(1);
/// Lines that may wait.
const WAITING: usize = 4_000;
/// Lines go into the database in parts with a rest in between, so that whoever else needs it waits for none of them long:
/// fifty lines in one go kept a core for up to 17 ms, beside deliveries that are answered in one.
const PARTS: usize = 10;
const PART: usize = 10;
const REST: Duration = Duration::from_millis(50);
/// Lines of a function and level that are kept singly in a second: what goes well, and what does not.
const SINGLY: [i64; 3] = [50, 200, 200];
/// Whose lines there are.
const FUNCTIONS: [&str; 4] = ["webhook-terra", "terra-webhook-test", "job-worker", "health-check"];

/// An answer's reason code, left in its extensions for the line about it.
#[derive(Debug, Clone, Copy)]
pub struct Said(pub &'static str);

/// Whose delivery was answered, left in the answer's extensions.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The person, where known.
    pub user_id: Option<String>,
    /// The delivery's row.
    pub delivery_id: uuid::Uuid,
}

/// How bad a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Info,
    /// Somebody else's mistake, or one that mends itself.
    Warn,
    /// Ours.
    Error,
}

impl Level {
    const ALL: [Level; 3] = [Level::Info, Level::Warn, Level::Error];

    const fn word(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Line {
    /// How bad.
    pub level: Level,
    /// The endpoint, or `job-worker`.
    pub function: &'static str,
    /// For people; no bodies, no addresses.
    pub message: String,
    /// What else is known: ids, statuses.
    pub metadata: serde_json::Value,
    /// The request at the edge.
    pub request_id: Option<String>,
    /// The person, by pseudonym.
    pub user_id: Option<String>,
    /// How long it took.
    pub took: Duration,
}

struct Budget {
    left: AtomicI64,
    more: AtomicU64,
    more_ms: AtomicU64,
}

struct Logbook {
    sender: mpsc::Sender<Line>,
    budgets: [[Budget; 3]; FUNCTIONS.len()],
}

static BOOK: OnceLock<Logbook> = OnceLock::new();

/// Starts the task that stores lines. Before it, and in tools, lines go nowhere. The task ends with `cancel`, after it
/// stored what it had.
pub fn start(pool: PgPool, cancel: CancellationToken) -> tokio::task::JoinHandle<()> {
    let (book, receiver) = Logbook::new();
    let _ = BOOK.set(book); // a process has one
    tokio::spawn(async move {
        if let Some(book) = BOOK.get() {
            book.store_for_ever(pool, receiver, cancel).await;
        }
    })
}

/// Writes a line, made only if it is kept singly. Never waits.
pub fn write(function: &'static str, level: Level, took: Duration, line: impl FnOnce() -> Line) {
    if let Some(book) = BOOK.get() {
        book.write(function, level, took, line);
    }
}

fn ms(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

impl Logbook {
    fn new() -> (Self, mpsc::Receiver<Line>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let budgets = std::array::from_fn(|_| {
            SINGLY.map(|left| Budget { left: AtomicI64::new(left), more: AtomicU64::new(0), more_ms: AtomicU64::new(0) })
        });
        (Self { sender, budgets }, receiver)
    }

    fn write(&self, function: &'static str, level: Level, took: Duration, line: impl FnOnce() -> Line) {
        let place = FUNCTIONS.iter().position(|f| *f == function).and_then(|f| self.budgets.get(f)?.get(level as usize));
        let Some(budget) = place else { return };
        if budget.left.fetch_sub(1, Ordering::Relaxed) <= 0 {
            budget.more.fetch_add(1, Ordering::Relaxed);
            budget.more_ms.fetch_add(ms(took), Ordering::Relaxed);
        } else if self.sender.try_send(line()).is_err() {
            LOG_LINES_DROPPED.add(1);
        }
    }

    /// One line for what was not kept singly, and a fresh allowance.
    fn summed_up(&self) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for (function, levels) in FUNCTIONS.iter().zip(&self.budgets) {
            for ((level, budget), allowance) in Level::ALL.iter().zip(levels).zip(SINGLY) {
                budget.left.store(allowance, Ordering::Relaxed);
                let more = budget.more.swap(0, Ordering::Relaxed);
                let total = budget.more_ms.swap(0, Ordering::Relaxed);
                if more > 0 {
                    lines.push(LogLine {
                        level: level.word(),
                        function,
                        message: format!("{more} more in this second, summed up"),
                        metadata: serde_json::json!({ "calls": more }).to_string(),
                        request_id: None,
                        user_id: None,
                        duration_ms: i32::try_from(total / more).unwrap_or(i32::MAX),
                    });
                }
            }
        }
        lines
    }

    async fn store_for_ever(&self, pool: PgPool, mut receiver: mpsc::Receiver<Line>, cancel: CancellationToken) {
        let mut lines: Vec<LogLine> = Vec::new();
        let mut next = Instant::now() + EVERY;
        loop {
            let last = tokio::time::timeout_at(next.into(), cancel.cancelled()).await.is_ok();
            next = Instant::now() + EVERY; // storing takes its rests, and an allowance is for a second
            self.store(&pool, &mut receiver, &mut lines).await;
            if last {
                return;
            }
        }
    }

    async fn store(&self, pool: &PgPool, receiver: &mut mpsc::Receiver<Line>, lines: &mut Vec<LogLine>) {
        while let Ok(line) = receiver.try_recv() {
            lines.push(LogLine {
                level: line.level.word(),
                function: line.function,
                message: line.message,
                metadata: line.metadata.to_string(),
                request_id: line.request_id,
                user_id: line.user_id,
                duration_ms: i32::try_from(ms(line.took)).unwrap_or(i32::MAX),
            });
        }
        lines.extend(self.summed_up());
        let part = lines.len().div_ceil(PARTS).max(PART);
        while !lines.is_empty() {
            let some = part.min(lines.len());
            match tokio::time::timeout(Duration::from_secs(5), write_log(pool, lines.get(..some).unwrap_or_default())).await {
                Ok(Ok(())) => LOG_LINES.add(some as u64),
                Ok(Err(sqlx::Error::Database(error))) => {
                    tracing::warn!(
                        code = error.code().as_deref().unwrap_or_default(),
                        lines = some,
                        "log lines were refused by the database"
                    );
                    LOG_LINES_DROPPED.add(some as u64);
                }
                _ => {
                    let over = lines.len().saturating_sub(WAITING);
                    LOG_LINES_DROPPED.add(over as u64);
                    lines.drain(..over);
                    return;
                }
            }
            lines.drain(..some);
            if !lines.is_empty() {
                tokio::time::sleep(REST).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    use super::*;
    use crate::store::testing::database;

    fn line(n: usize) -> Line {
        Line {
            level: Level::Info,
            function: "webhook-terra",
            message: "accepted".into(),
            metadata: serde_json::json!({ "status": 200 }),
            request_id: Some(format!("request-{n}")),
            user_id: Some("p-1".into()),
            took: Duration::from_millis(10),
        }
    }

    #[tokio::test]
    async fn a_flood_becomes_some_lines_and_one_that_counts_the_rest_and_the_statistics_count_them_all() {
        let t = database().await;
        let (book, mut receiver) = Logbook::new();
        for n in 0..1_000 {
            book.write("webhook-terra", Level::Info, Duration::from_millis(10), || line(n));
        }
        let mut lines = Vec::new();
        book.store(t.db.service(), &mut receiver, &mut lines).await;
        assert!(lines.is_empty());
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM edge_function_logs").fetch_one(t.db.owner()).await.unwrap();
        assert_eq!(rows, 51);
        let found: i64 = sqlx::query_scalar("SELECT count(*) FROM edge_function_logs WHERE request_id = 'request-7' AND user_id = 'p-1'")
            .fetch_one(t.db.owner())
            .await
            .unwrap();
        assert_eq!(found, 1);
        let (calls, mean): (i64, f64) =
            sqlx::query_as("SELECT invocations, avg_duration_ms FROM edge_function_performance").fetch_one(t.db.owner()).await.unwrap();
        assert_eq!((calls, mean.round()), (1_000, 10.0));
        crate::store::maintenance::roll_up_logs(&mut t.db.service().acquire().await.unwrap()).await.unwrap();
        let rolled: i64 = sqlx::query_scalar("SELECT count FROM log_rollups").fetch_one(t.db.owner()).await.unwrap();
        assert_eq!(rolled, 1_000);
        // The next second has an allowance of its own.
        book.write("webhook-terra", Level::Info, Duration::ZERO, || line(0));
        assert_eq!(receiver.len(), 1);
    }

    #[tokio::test]
    async fn a_line_that_is_refused_takes_only_its_own_part_with_it() {
        let t = database().await;
        let (book, mut receiver) = Logbook::new();
        let mut lines: Vec<LogLine> = (0..3 * PART)
            .map(|n| LogLine {
                level: if n == PART { "unheard of" } else { "info" },
                function: "webhook-terra",
                message: n.to_string(),
                metadata: "{}".into(),
                request_id: None,
                user_id: None,
                duration_ms: 1,
            })
            .collect();
        book.store(t.db.service(), &mut receiver, &mut lines).await;
        assert!(lines.is_empty());
        let kept: Vec<i32> =
            sqlx::query_scalar("SELECT message::int4 FROM edge_function_logs ORDER BY 1").fetch_all(t.db.owner()).await.unwrap();
        let part = PART as i32;
        assert_eq!(kept, (0..part).chain(2 * part..3 * part).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_the_database_does_not_take_is_kept_within_a_bound_and_writing_never_waits() {
        let t = database().await;
        let (book, mut receiver) = Logbook::new();
        book.write("job-worker", Level::Warn, Duration::ZERO, || line(1));
        t.db.close().await;
        let mut lines = Vec::new();
        book.store(t.db.service(), &mut receiver, &mut lines).await;
        assert_eq!(lines.len(), 1, "kept for the next try");
        book.write("nobody's", Level::Info, Duration::ZERO, || line(2));
        assert!(receiver.is_empty(), "an unknown function has no lines");
    }
}
