//! The administrator's pages. Of the dashboard, `dashboard` is the view, `overview` what it
//! shows, `load` where that comes from, `actions` what its buttons do; of the lists, `screen`, `lists` and `deeds`.

mod actions;
mod dashboard;
mod deeds;
#[cfg(feature = "ssr")]
mod fresh;
#[cfg(feature = "ssr")]
mod lists;
#[cfg(feature = "ssr")]
mod load;
mod overview;
mod screen;

pub use actions::{CancelOperation, RecalculateAll, RetryFailedJobs, cancel_operation, recalculate_all, retry_failed_jobs};
pub use dashboard::Dashboard;
pub use deeds::{discard_group, job_deed, redrive_group, schedule_deed, set_advanced};
pub use overview::*;
pub use screen::{Screen, load_screen};
