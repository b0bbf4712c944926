//! What one worker does for all: rescue, schedules, counts, adding up the scores, taking dead rows out.
//!
//! The lead is a row with a term and an end. A leader trusts it for a shorter time than it was given, measured from
//! before it asked, so its clock need not agree with anybody's. Nothing depends on there being only one: each duty is a
//! statement that two may run at once, and does its effect once.

use super::{schedule, tidy::Tidy};
use crate::store::{
    Db,
    jobs::counts,
    maintenance, operations,
    rollups::{self, Window},
    schedules, workers,
};
use sqlx::PgConnection;
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

const DUTY: &str = "jobs";
const TICK: Duration = Duration::from_secs(1);
const TERM: Duration = Duration::from_secs(5);
/// After so many ticks the hot part is read as a whole once, for what hand-written SQL left behind.
const SWEEP: u64 = 600;
/// Batches rescued in one tick.
const RESCUES: i64 = 200;

struct Lead {
    me: Uuid,
    term: Option<i64>,
    /// Whether the program's schedules are still to be written down.
    unseeded: bool,
    /// Workers that were not there at the last tick. One that is missing twice is dead; once may be a reconnection.
    missing: HashSet<Uuid>,
    ticks: u64,
}

pub(super) async fn run(db: Db, me: Uuid, seeds: bool, cancel: CancellationToken, here: watch::Receiver<bool>) {
    let mut lead = Lead::new(me, seeds);
    let mut adding: Option<tokio::task::JoinHandle<()>> = None;
    let tidy = Arc::new(tokio::sync::Mutex::new(Tidy::default()));
    loop {
        let called = *here.borrow();
        if called && let Err(e) = lead.round(&db).await {
            warn!(error = %e, "a duty of the lead failed; it is tried again");
        }
        // Beside the other duties: over millions of scores it takes seconds.
        if lead.term.is_some() && adding.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
            adding = Some(tokio::spawn(add_up(db.clone())));
        }
        if lead.term.is_some()
            && let Ok(mut tidy) = Arc::clone(&tidy).try_lock_owned()
        {
            let db = db.clone();
            tokio::spawn(async move { tidy.round(&db).await });
        }
        let wait = if *here.borrow() { TICK } else { TICK / 10 };
        if tokio::time::timeout(wait, cancel.cancelled()).await.is_ok() {
            break;
        }
    }
    lead.resign(&db).await;
}

/// The duties once, if nobody leads: for whoever works only when called.
pub(super) async fn once(db: &Db, me: Uuid, seeds: bool) -> sqlx::Result<()> {
    let mut lead = Lead::new(me, seeds);
    lead.round(db).await?;
    if !lead.missing.is_empty() {
        tokio::time::sleep(TICK).await;
        lead.round(db).await?;
    }
    if lead.term.is_some() {
        add_up(db.clone()).await;
    }
    lead.resign(db).await;
    Ok(())
}

/// What the dashboard says of all scores, where it is time; open dashboards hear of it.
async fn add_up(db: Db) {
    let work = async {
        let mut changed = 0;
        for window in [Window::Week, Window::Quarter, Window::Roster] {
            changed += rollups::roll_up_when_due(db.service(), window).await?.unwrap_or(0);
        }
        if changed > 0 {
            maintenance::announce(&mut *db.service().acquire().await?, "scores", &[], changed).await?;
        }
        Ok::<(), sqlx::Error>(())
    };
    if let Err(e) = work.await {
        warn!(error = %e, "the scores could not be added up; the dashboard shows what it knew");
    }
}

impl Lead {
    fn new(me: Uuid, seeds: bool) -> Self {
        Self { me, term: None, unseeded: seeds, missing: HashSet::new(), ticks: 0 }
    }

    async fn round(&mut self, db: &Db) -> sqlx::Result<()> {
        let mut conn = db.service().acquire().await?;
        if self.unseeded {
            schedules::seed(&mut conn, &schedule::seeds()).await?;
            self.unseeded = false;
        }
        self.tick(&mut conn).await
    }

    async fn resign(&self, db: &Db) {
        if self.term.is_some() {
            let resigned = async { workers::resign(&mut *db.service().acquire().await?, DUTY, self.me).await };
            if let Err(e) = resigned.await {
                warn!(error = %e, "the lead could not be given up; its term ends by itself");
            }
        }
    }

    async fn tick(&mut self, conn: &mut PgConnection) -> sqlx::Result<()> {
        let asked = Instant::now();
        let term = workers::lead(conn, DUTY, self.me, TERM).await?;
        if term != self.term {
            match term {
                Some(term) => info!(term, "this worker leads"),
                None => info!("this worker does not lead any more"),
            }
            (self.term, self.ticks) = (term, 0);
            self.missing.clear();
        }
        if term.is_none() {
            return Ok(());
        }
        let trusted = || asked.elapsed() < TERM / 2;
        self.rescue(conn).await?;
        if trusted() {
            maintenance::skip_refresh_without_news(conn).await?;
            let fired = schedules::fire_due(conn).await?;
            if !fired.is_empty() {
                info!(schedules = ?fired, "schedules fired");
            }
        }
        if trusted() {
            // Once a second at most, and only when something moved.
            if counts::fold(conn, Some(counts::A_TURN)).await? > 0 {
                maintenance::announce(conn, "jobs", &[], 1).await?;
            }
        }
        if self.ticks.is_multiple_of(SWEEP) && trusted() {
            let adopted = workers::adopt_orphans(conn).await?;
            let mended = counts::recount(conn).await?;
            let abandoned = operations::end_abandoned(conn).await?;
            if adopted + mended + abandoned > 0 {
                warn!(adopted, mended, abandoned, "jobs, counts or operations were changed by hand; put right");
            }
        }
        self.ticks += 1;
        Ok(())
    }

    async fn rescue(&mut self, conn: &mut PgConnection) -> sqlx::Result<()> {
        let absent: HashSet<Uuid> = workers::absent(conn).await?.into_iter().filter(|id| *id != self.me).collect();
        let dead: Vec<Uuid> = absent.intersection(&self.missing).copied().collect();
        self.missing = absent;
        let (batches, back) = workers::rescue(conn, &dead, RESCUES).await?;
        crate::meter::RESCUED.add(back.pending + back.failed + back.closed);
        if batches > 0 {
            warn!(workers = dead.len(), batches, pending = back.pending, failed = back.failed, "jobs of dead workers were given back");
        }
        Ok(())
    }
}
