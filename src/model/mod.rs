//! The words every room uses: metrics, sources, readings, badges, job states.
//!
//! Pure values without I/O, safe for the browser: no `usize`, no secrets, no clock. Everything above
//! (`terra`, `quality`, `store`, pages) imports from here; this room imports nothing of ours.

mod badge;
mod email;
mod finding;
mod job;
mod metric;
mod place;
mod reading;
mod source;

pub use badge::Badge;
pub use email::looks_like_email;
#[cfg(test)]
pub(crate) use email::tests::IDS as IDS_AND_EMAILS;
pub use finding::{Finding, FindingKind};
pub use job::{HealthStatus, JobState, Role};
pub use metric::{Category, Metric};
pub use place::place;
pub use reading::{Coverage, DayValue, Device, Instant, Model, Ordering, Origin, Record, UploadKind};
pub use source::Source;
