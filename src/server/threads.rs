//! Threads of the jobs' own. Normalising and scoring keep a thread for milliseconds at a time; on threads that they share
//! with deliveries, pages and probes, those would wait behind them. They also yield the processor to those.

use std::{io, sync::Once};
use tokio::runtime::{Builder, EnterGuard, Runtime};

/// How much the threads of the jobs yield: with this, they get a quarter of a core that others want as well.
const NICE: i32 = 5;

/// The runtime on which the worker and everything it starts run.
pub struct JobThreads(Option<Runtime>);

impl JobThreads {
    /// As many threads as there are cores.
    ///
    /// # Errors
    /// A sentence when the system gives none.
    pub fn start() -> Result<Self, String> {
        let failed = |e: io::Error| format!("the threads of the jobs could not be started: {e}.");
        Builder::new_multi_thread()
            .thread_name("jobs")
            .on_thread_start(yield_to_others)
            .enable_all()
            .build()
            .map(|r| Self(Some(r)))
            .map_err(failed)
    }

    /// What is spawned while the guard lives runs here.
    pub fn enter(&self) -> Option<EnterGuard<'_>> {
        self.0.as_ref().map(Runtime::enter)
    }
}

impl Drop for JobThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background(); // waiting for it is not allowed where others are served
        }
    }
}

/// Linux keeps a priority a thread; where that is refused, the thread stays as the others, and the log says so once.
fn yield_to_others() {
    static SAID: Once = Once::new();
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
        SAID.call_once(|| tracing::warn!(%error, "the jobs' threads may not yield: deliveries and pages may wait behind jobs"));
    }
}
