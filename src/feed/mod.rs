//! Sending deliveries the way Terra does: signed, over HTTP, through the same door.
//!
//! Two drivers share one client: [`replay`] sends recorded deliveries from files, [`simulate`] those of a simulated
//! world. Neither knows the database; what they send is received, verified, stored and scored like anything else.
//! The clock and the network live here, the content comes from `crate::calibration::simulator` or from files.

mod client;
mod lines;
mod progress;
pub mod replay;
mod sign;
pub mod simulate;
mod state;

#[cfg(test)]
mod tests;

pub use client::{Feeder, Parcel, Target};
pub use progress::{Show, Summary};
pub use replay::{ReplayArgs, ReplayOptions, replay};
pub use sign::sign;
pub use simulate::{SimulateArgs, SimulateOptions, simulate};

/// What can stop a feed; each is one sentence for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The address is not one.
    #[error("`{0}` is not an address to send to: give something like http://127.0.0.1:3000")]
    Address(String),
    /// No secret to sign with.
    #[error("there is no signing secret: set TERRA_SIGNING_SECRETS to the one the server uses, or give --secret")]
    NoSecret,
    /// Nobody answers.
    #[error("{address} did not take a delivery after {attempts} attempts ({cause}): is the server running there?")]
    Unreachable {
        /// Where to.
        address: String,
        /// How often it was tried.
        attempts: u32,
        /// What happened last.
        cause: String,
    },
    /// The signature is refused.
    #[error("{0} refused the signature (401): the signing secret is not the server's, or the clocks differ")]
    Refused(String),
    /// A file cannot be read.
    #[error("{path} cannot be read: {cause}")]
    File {
        /// Which.
        path: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// The state file cannot be written or understood.
    #[error("the resume file {path} cannot be used ({cause}): mend or remove it")]
    State {
        /// Which.
        path: String,
        /// Why not.
        cause: String,
    },
    /// An option makes no sense.
    #[error("{0}")]
    Option(String),
}
