//! The administrator's pages. Of the dashboard, `dashboard` is the view, `overview` what it
//! shows, `load` where that comes from, `actions` what its buttons do. The lists
//! share one view, `screen`; `lists` fills it, `search` reads what was typed, and the `deeds` are what buttons do.

mod actions;
mod dashboard;
mod deeds;
mod job_deeds;
mod kind_deeds;
mod letter_deeds;
#[cfg(feature = "ssr")]
mod lists;
#[cfg(feature = "ssr")]
mod load;
mod overview;
mod registry_deeds;
mod screen;
#[cfg(feature = "ssr")]
mod search;
mod trainer_deeds;
mod webhook_deeds;

pub use actions::{CancelOperation, RecalculateAll, RetryFailedJobs, cancel_operation, recalculate_all, retry_failed_jobs};
pub use dashboard::Dashboard;
pub use deeds::{schedule_deed, set_advanced};
pub use job_deeds::{act_on_job, act_on_jobs};
pub use kind_deeds::{limit_kind, pause_kind};
pub use letter_deeds::{discard_group, redrive_group, stop_operation};
pub use overview::*;
pub use registry_deeds::{drop_shadow, promote_shadow, reset_registry, run_calibration, set_registry, start_shadow};
pub use screen::{Screen, load_screen};
pub use trainer_deeds::{assign_clients, unassign_client};
pub use webhook_deeds::{replay_deliveries, replay_delivery, send_test_event};
