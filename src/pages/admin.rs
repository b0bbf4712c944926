//! The administrator's pages. `dashboard` is the view, `overview` what it shows, `load` where that comes from.

mod actions;
mod dashboard;
#[cfg(feature = "ssr")]
mod fresh;
#[cfg(feature = "ssr")]
mod load;
mod overview;

pub use actions::{CancelOperation, RecalculateAll, RetryFailedJobs, cancel_operation, recalculate_all, retry_failed_jobs};
pub use dashboard::Dashboard;
pub use overview::*;
