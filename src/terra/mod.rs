//! What Terra says, in our words: a webhook's bytes become an [`Event`], an event becomes [`Record`]s, and the
//! records of a day become the day's values.
//!
//! Everything here is a pure function: no clock, no database, no randomness. Three promises hold for any bytes:
//! nothing panics; a value is never altered, only converted as [`fields::TABLE`] says; what could not be used is named
//! in a finding instead of being guessed. Reading is tolerant field by field, so a wrong type costs that field alone.
//!
//! [`Record`]: crate::model::Record

mod body;
mod checks;
mod coverage;
pub mod day;
mod envelope;
mod event;
pub mod fields;
mod merge;
mod no_use;
mod normalise;
pub mod providers;
mod reader;
mod text;
pub mod time;

pub use day::{DayReading, day_readings, day_values};
pub use envelope::{Envelope, envelope};
pub use event::{Event, EventKind, Invalid, TerraUser, parse};
pub use merge::{Stamp, StoredRecord, StoredValue, merge};
pub use no_use::NoUse;
pub use normalise::{Normalised, normalise};
pub use text::{MAX_TERRA_ID, MAX_USER_ID};

#[cfg(test)]
mod tests;
