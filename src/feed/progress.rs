//! What the person at the terminal sees while deliveries go out, and the account at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Show {
    /// On standard error: one line that renews itself on a terminal, a line every few seconds otherwise.
    #[default]
    Terminal,
    /// In the process's log, every ten seconds.
    Log,
    /// Nowhere.
    Nothing,
}

/// The account of a feed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Summary {
    /// Answers by HTTP status.
    pub statuses: BTreeMap<u16, u64>,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Lines that were no delivery.
    pub skipped: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Summary {
    /// Deliveries that were answered.
    pub fn sent(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Deliveries a second; 0 for no time.
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.sent() as f64 / seconds } else { 0.0 }
    }

    /// Both accounts in one, one after the other.
    #[must_use]
    pub fn and(mut self, later: &Summary) -> Summary {
        for (status, count) in &later.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.retries += later.retries;
        self.skipped += later.skipped;
        self.elapsed += later.elapsed;
        self
    }

    /// Deliveries answered with anything but 2xx.
    pub fn failed(&self) -> u64 {
        self.statuses.iter().filter(|(status, _)| !(200..300).contains(*status)).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} deliveries in {:.1} s ({:.0} a second)", self.sent(), self.elapsed.as_secs_f64(), self.rate())?;
        for (status, count) in &self.statuses {
            write!(f, "; {status}: {count}")?;
        }
        if self.retries > 0 {
            write!(f, "; {} more attempts", self.retries)?;
        }
        if self.skipped > 0 {
            write!(f, "; {} lines skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Inner {
    show: Show,
    what: &'static str,
    total: Option<u64>,
    began: Instant,
    tally: Mutex<(Summary, Instant, bool)>,
}

/// Counts and shows. Clones share one count.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<Inner>);

impl Progress {
    /// `what` is the word before the numbers; `total`, where known, gives a percentage.
    pub(super) fn new(show: Show, what: &'static str, total: Option<u64>) -> Self {
        let began = Instant::now();
        Self(Arc::new(Inner { show, what, total, began, tally: Mutex::new((Summary::default(), began, false)) }))
    }

    fn with<R>(&self, act: impl FnOnce(&mut (Summary, Instant, bool)) -> R) -> R {
        act(&mut self.0.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One more was answered.
    pub(super) fn answered(&self, status: u16, attempts: u32) {
        let line = self.with(|(summary, shown, lines)| {
            *summary.statuses.entry(status).or_default() += 1;
            summary.retries += u64::from(attempts.saturating_sub(1));
            let every = match self.0.show {
                Show::Nothing => return None,
                Show::Log => Duration::from_secs(10),
                Show::Terminal if std::io::stderr().is_terminal() => Duration::from_millis(150),
                Show::Terminal => Duration::from_secs(3),
            };
            if shown.elapsed() < every {
                return None;
            }
            *shown = Instant::now();
            *lines = true;
            summary.elapsed = self.0.began.elapsed();
            Some(self.line(summary))
        });
        if let Some(line) = line {
            self.say(&line);
        }
    }

    fn line(&self, summary: &Summary) -> String {
        let sent = summary.sent();
        let share = self
            .0
            .total
            .filter(|total| *total > 0)
            .map_or_else(String::new, |total| format!(" of {total} ({:.0} %)", 100.0 * sent as f64 / total as f64));
        let failed = if summary.failed() > 0 { format!(", {} not accepted", summary.failed()) } else { String::new() };
        format!("{} {sent}{share}, {:.0} a second{failed}", self.0.what, summary.rate())
    }

    fn say(&self, line: &str) {
        match self.0.show {
            Show::Nothing => {}
            Show::Log => tracing::info!(progress = line, "feeding deliveries"),
            Show::Terminal => {
                let mut err = std::io::stderr().lock();
                // Nothing can be done about a standard error that is gone.
                let _ = if err.is_terminal() { write!(err, "\r\x1b[K{line}") } else { writeln!(err, "{line}") };
                let _ = err.flush();
            }
        }
    }

    /// A line of input was no delivery. Says so with its place.
    pub(super) fn skipped(&self, place: &str, why: &str) {
        self.with(|(summary, _, _)| summary.skipped += 1);
        self.note(&format!("{place}: skipped, {why}"));
    }

    /// A sentence on a line of its own.
    pub(super) fn note(&self, sentence: &str) {
        match self.0.show {
            Show::Nothing => {}
            Show::Log => tracing::warn!(note = sentence, "feeding deliveries"),
            Show::Terminal => {
                let mut err = std::io::stderr().lock();
                let clear = if err.is_terminal() { "\r\x1b[K" } else { "" };
                let _ = writeln!(err, "{clear}{sentence}");
            }
        }
    }

    /// The account so far.
    pub(super) fn summary(&self) -> Summary {
        let elapsed = self.0.began.elapsed();
        self.with(|(summary, _, _)| Summary { elapsed, ..summary.clone() })
    }

    /// Ends the renewing line, so that what follows stands on a line of its own.
    pub(super) fn finish(&self) -> Summary {
        let summary = self.summary();
        let pending = self.with(|(_, _, lines)| std::mem::take(lines));
        if pending && self.0.show == Show::Terminal && std::io::stderr().is_terminal() {
            self.say(&self.line(&summary));
            let _ = writeln!(std::io::stderr());
        }
        summary
    }
}
