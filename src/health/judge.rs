//! What the numbers mean. Pure.

use super::disk::Room;
use super::storing::Storing;
use crate::model::HealthStatus;
use crate::store::health::Figures;
use serde::Serialize;

/// A round trip that takes longer is worth a look.
const SLOW_DATABASE_MS: f64 = 250.0;
/// Oldest ready job: beyond these the queue lags, or does not move.
const LAG_DEGRADED_S: f64 = 60.0;
const LAG_UNHEALTHY_S: f64 = 900.0;
/// The latest-values view older than this while there is news.
const VIEW_STALE_S: f64 = 900.0;
/// Less room than this on the disk is worth a look.
const LITTLE_ROOM: u64 = 1_000_000_000;

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Check {
    /// `ok`, `degraded` or `error`.
    pub status: &'static str,
    /// What it means and what to do, for people; empty when there is nothing to say.
    pub note: String,
}

impl Check {
    fn ok() -> Self {
        Self { status: "ok", note: String::new() }
    }
    fn noted(note: impl Into<String>) -> Self {
        Self { status: "ok", note: note.into() }
    }
    fn degraded(note: impl Into<String>) -> Self {
        Self { status: "degraded", note: note.into() }
    }
    fn error(note: impl Into<String>) -> Self {
        Self { status: "error", note: note.into() }
    }
    fn expect(holds: bool, otherwise: &str) -> Self {
        if holds { Self::ok() } else { Self::degraded(otherwise) }
    }
}

/// What only this node can know.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Local {
    /// Round trip to the database.
    pub database_latency_ms: f64,
    /// The disk of the data directory; `None`: it cannot be read.
    pub disk: Option<Room>,
    /// What its deliveries were answered.
    pub storing: Storing,
}

/// The worst of some words.
pub fn worst<'a>(words: impl Iterator<Item = &'a str>) -> HealthStatus {
    words
        .map(|w| match w {
            "ok" => HealthStatus::Healthy,
            "degraded" => HealthStatus::Degraded,
            _ => HealthStatus::Unhealthy,
        })
        .max()
        .unwrap_or(HealthStatus::Healthy)
}

/// Every check, worst first. Names are those of the health-check answer.
pub fn judge(f: &Figures, local: &Local) -> Vec<(&'static str, Check)> {
    let mut checks = vec![
        ("database", database(local)),
        ("jobWorker", workers(f)),
        ("queue", queue(f)),
        ("scheduler", scheduler(f)),
        ("webhooks", webhooks(f, local)),
        ("cache", Check::expect(f.cache_filled || !f.values_exist, "values are stored but none is scored: run Recalculate All")),
        ("deadLetters", dead_letters(f)),
        ("latestView", view(f)),
        ("rateLimits", Check::expect(f.rate_limits_exists, "rate_limits is missing; limits hold per process until assay migrate --repair")),
        (
            "deadLetterTrigger",
            Check::expect(f.trigger_exists, "the trigger on_max_retries_exceeded is missing: run assay migrate --repair"),
        ),
        ("disk", disk(local)),
    ];
    worst_first(&mut checks);
    checks
}

/// The same where figures could not be taken, which is a check of its own with the reason (`why`): by those known last, and
/// where there are none, by what needs none. Not to know of a worker is no proof that there is none.
pub(super) fn judge_by_known(known: Option<&Figures>, local: &Local, why: Option<&str>) -> Vec<(&'static str, Check)> {
    let mut checks = judge(known.unwrap_or(&Figures::default()), local);
    if known.is_none() {
        checks.retain(|(name, _)| ["database", "webhooks", "disk"].contains(name));
        checks.push(("jobWorker", Check::degraded("whether a worker is alive is not known")));
    }
    checks.extend(why.map(|why| ("figures", Check::degraded(format!("figures could not be taken: {why}")))));
    worst_first(&mut checks);
    checks
}

fn worst_first(checks: &mut [(&'static str, Check)]) {
    checks.sort_by_key(|(_, c)| match c.status {
        "error" => 0,
        "degraded" => 1,
        _ => 2,
    });
}

fn database(local: &Local) -> Check {
    let ms = local.database_latency_ms;
    if ms > SLOW_DATABASE_MS { Check::degraded(format!("the database takes {ms:.0} ms to answer")) } else { Check::ok() }
}

fn workers(f: &Figures) -> Check {
    match f.workers_alive {
        0 => Check::error("no worker is alive: start one with ASSAY_ROLE=all or worker"),
        _ => Check::ok(),
    }
}

fn queue(f: &Figures) -> Check {
    match f.oldest_ready_s {
        Some(lag) if lag > LAG_UNHEALTHY_S => Check::error(format!("the oldest ready job waits for {lag:.0} s")),
        Some(lag) if lag > LAG_DEGRADED_S => Check::degraded(format!("the oldest ready job waits for {lag:.0} s")),
        // Somebody wants it so: it is said, and no fault.
        _ if !f.paused.is_empty() => Check::noted(format!("paused under /admin/kinds: {}", f.paused.join(", "))),
        _ => Check::ok(),
    }
}

fn scheduler(f: &Figures) -> Check {
    match (f.leader || !f.workers_settled, f.schedules_overdue) {
        (false, _) => Check::degraded("no worker leads: schedules do not fire and dead workers' jobs are not taken back"),
        (true, 0) => Check::ok(),
        (true, n) => Check::degraded(format!("{n} schedules are more than five minutes late")),
    }
}

fn webhooks(f: &Figures, local: &Local) -> Check {
    match local.storing {
        Storing::Failing => {
            return Check::error("deliveries are answered 503: the database does not store them; its log says why (a full disk?)");
        }
        Storing::Doubtful => return Check::degraded("some deliveries of the last minute were answered 503; they are sent again"),
        Storing::NoSecret => {
            return Check::degraded(
                "no signing secret is set, so every delivery is answered 503: set TERRA_SIGNING_SECRETS and start again",
            );
        }
        Storing::Well => {}
    }
    #[expect(clippy::cast_precision_loss, reason = "a share of two counts")]
    let failed_share = f.webhooks_failed as f64 / f.webhooks_accepted.max(f.webhooks_failed).max(1) as f64;
    if failed_share > 0.02 {
        Check::degraded(format!("{:.1} % of the deliveries of 24 h could not be used", failed_share * 100.0))
    } else {
        Check::ok()
    }
}

fn dead_letters(f: &Figures) -> Check {
    match f.dead_letters {
        None => Check::degraded("the table of dead letters is missing: run assay migrate --repair"),
        Some(0) => Check::ok(),
        Some(n) if n > 10_000 => Check::degraded("more than 10000 dead letters wait for a decision"),
        Some(n) => Check::degraded(format!("{n} dead letters wait for a decision")),
    }
}

fn view(f: &Figures) -> Check {
    match (f.view_exists, f.view_age_s) {
        (false, _) => Check::degraded("latest_unified_metrics is missing: run assay migrate --repair"),
        (true, Some(age)) if age > VIEW_STALE_S && f.view_behind => Check::degraded(format!("latest_unified_metrics is {age:.0} s behind")),
        _ => Check::ok(),
    }
}

fn disk(local: &Local) -> Check {
    match local.disk {
        None => Check::degraded("the room on the disk cannot be read"),
        Some(room) if room.free < LITTLE_ROOM => {
            Check::degraded(format!("only {} MB are free on the disk of the data directory", room.free / 1_000_000))
        }
        Some(_) => Check::ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        Figures {
            workers_alive: 1,
            leader: true,
            workers_settled: true,
            view_exists: true,
            rate_limits_exists: true,
            trigger_exists: true,
            dead_letters: Some(0),
            ..Figures::default()
        }
    }

    fn local() -> Local {
        Local { database_latency_ms: 0.3, disk: Some(Room { free: 50_000_000_000, total: 100_000_000_000 }), ..Local::default() }
    }

    fn status(f: &Figures, l: &Local) -> HealthStatus {
        worst(judge(f, l).iter().map(|(_, c)| c.status))
    }

    #[test]
    fn all_well_is_healthy_and_an_empty_system_is_well() {
        assert_eq!(status(&figures(), &local()), HealthStatus::Healthy);
    }

    #[test]
    fn each_fault_is_named_and_the_worst_comes_first() {
        use HealthStatus::{Degraded, Unhealthy};
        let cases: [(Figures, &str, HealthStatus); 12] = [
            (Figures { workers_alive: 0, ..figures() }, "jobWorker", Unhealthy),
            (Figures { oldest_ready_s: Some(61.0), ..figures() }, "queue", Degraded),
            (Figures { oldest_ready_s: Some(901.0), ..figures() }, "queue", Unhealthy),
            (Figures { leader: false, ..figures() }, "scheduler", Degraded),
            (Figures { schedules_overdue: 2, ..figures() }, "scheduler", Degraded),
            (Figures { values_exist: true, ..figures() }, "cache", Degraded),
            (Figures { dead_letters: None, ..figures() }, "deadLetters", Degraded),
            (Figures { dead_letters: Some(3), ..figures() }, "deadLetters", Degraded),
            (Figures { view_age_s: Some(2000.0), view_behind: true, ..figures() }, "latestView", Degraded),
            (Figures { rate_limits_exists: false, ..figures() }, "rateLimits", Degraded),
            (Figures { trigger_exists: false, ..figures() }, "deadLetterTrigger", Degraded),
            (Figures { webhooks_accepted: 100, webhooks_failed: 3, ..figures() }, "webhooks", Degraded),
        ];
        for (figures, name, expected) in cases {
            let checks = judge(&figures, &local());
            assert!(checks.first().is_some_and(|(first, c)| *first == name && !c.note.is_empty()), "{name}: {checks:?}");
            assert_eq!(worst(checks.iter().map(|(_, c)| c.status)), expected);
        }
        for (l, name) in [
            (Local { database_latency_ms: 300.0, ..local() }, "database"),
            (Local { disk: None, ..local() }, "disk"),
            (Local { disk: Some(Room { free: 10, total: 100 }), ..local() }, "disk"),
            (Local { storing: Storing::Failing, ..local() }, "webhooks"),
            (Local { storing: Storing::Doubtful, ..local() }, "webhooks"),
        ] {
            assert_eq!(judge(&figures(), &l).first().map(|(n, _)| *n), Some(name));
        }
        assert_eq!(status(&figures(), &Local { storing: Storing::Failing, ..local() }), Unhealthy);
    }

    #[test]
    fn a_paused_kind_is_said_and_is_no_fault() {
        let f = Figures { paused: vec!["vacuum".into()], ..figures() };
        let checks = judge(&f, &local());
        assert_eq!(worst(checks.iter().map(|(_, c)| c.status)), HealthStatus::Healthy);
        assert!(checks.iter().any(|(name, c)| *name == "queue" && c.note.contains("vacuum")), "{checks:?}");
        let behind = Figures { oldest_ready_s: Some(901.0), ..f };
        assert_eq!(status(&behind, &local()), HealthStatus::Unhealthy, "what is not paused still waits");
    }

    #[test]
    fn without_new_figures_the_known_ones_speak_and_without_any_nothing_is_made_up() {
        let names = |checks: &[(&'static str, Check)], status: &str| {
            checks.iter().filter(|(_, c)| c.status == status).map(|(n, _)| *n).collect::<Vec<_>>()
        };
        let known = judge_by_known(Some(&Figures { workers_alive: 0, ..figures() }), &local(), Some("read-only"));
        assert_eq!((names(&known, "error"), names(&known, "degraded")), (vec!["jobWorker"], vec!["figures"]));
        assert!(known.iter().any(|(_, c)| c.note == "figures could not be taken: read-only"), "{known:?}");
        let nothing = judge_by_known(None, &local(), Some("read-only"));
        assert_eq!((names(&nothing, "error"), names(&nothing, "degraded")), (vec![], vec!["jobWorker", "figures"]));
        assert_eq!(judge_by_known(Some(&figures()), &local(), None), judge(&figures(), &local()));
    }

    #[test]
    fn pending_deliveries_are_no_failures_an_old_view_without_news_is_well_and_a_new_worker_need_not_lead_yet() {
        assert_eq!(status(&Figures { leader: false, workers_settled: false, ..figures() }, &local()), HealthStatus::Healthy);
        let f = Figures { webhooks_accepted: 100, webhooks_failed: 0, view_age_s: Some(86_400.0), ..figures() };
        assert_eq!(status(&f, &local()), HealthStatus::Healthy);
    }
}
