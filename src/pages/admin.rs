//! The administrator's pages. Of the dashboard, `dashboard` is the view, `overview` what it
//! shows, `load` where that comes from, `actions` what its buttons do. The lists
//! share one shape, `screen`, and one `view`; `lists` fills it, `search` reads what was typed, and the `deeds` are what buttons do.

mod actions;
#[cfg(feature = "ssr")]
mod alerts;
#[cfg(feature = "ssr")]
mod dashboard;
mod deeds;
mod job_deeds;
mod kind_deeds;
mod letter_deeds;
#[cfg(feature = "ssr")]
mod lists;
#[cfg(feature = "ssr")]
mod load;
#[cfg(feature = "ssr")]
mod overview;
mod registry_deeds;
#[cfg(feature = "ssr")]
mod screen;
#[cfg(feature = "ssr")]
mod search;
mod trainer_deeds;
#[cfg(feature = "ssr")]
mod view;
mod webhook_deeds;

pub use actions::{CancelOperation, RecalculateAll, RetryFailedJobs, cancel_operation, recalculate_all, retry_failed_jobs};
pub use deeds::{schedule_deed, set_advanced};
pub use job_deeds::{act_on_chosen, act_on_job, act_on_jobs};
pub use kind_deeds::{limit_kind, pause_kind};
pub use letter_deeds::{discard_group, redrive_group, redrive_letter, redrive_letters, stop_operation};
#[cfg(feature = "ssr")]
use overview::*;
pub use registry_deeds::{drop_shadow, promote_shadow, reset_registry, run_calibration, set_registry, start_shadow};
pub use trainer_deeds::{assign_clients, unassign_client};
pub use webhook_deeds::{replay_deliveries, replay_delivery, send_test_event};

/// The dashboard, the page of a list, or of one thing of it.
#[cfg(feature = "ssr")]
pub(super) async fn page(list: &str, id: &str, query: &str) -> Result<super::made::Made, crate::error::AppError> {
    use leptos::prelude::RenderHtml;
    if list.is_empty() {
        return dashboard::page(query).await;
    }
    let shown = lists::load(list, id, query).await?;
    let taken = shown.taken.as_ref().map(|m| m.text.clone()).unwrap_or_default();
    let follow = shown.follow || shown.running.iter().any(|r| r.state == "running");
    let title = lists::title(list, id);
    Ok(super::made::Made { title: title.into(), html: view::shown(list, shown).to_html(), taken, follow })
}
