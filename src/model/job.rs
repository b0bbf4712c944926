//! States of jobs and of the system's health.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The word as stored and shown.
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
            /// The value of a word.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some($name::$variant),)+ _ => None }
            }
        }
    };
}

words! {
    /// Where a job is in its life. `background_jobs` holds the first three, history the last two.
    JobState {
        /// Waiting for its time and a worker.
        Pending = "pending",
        /// Leased by a worker.
        Processing = "processing",
        /// Out of attempts, or failed for good; a dead letter was written.
        Failed = "failed",
        /// Done.
        Completed = "completed",
        /// Stopped by a person.
        Cancelled = "cancelled",
    }
}

words! {
    /// How the system is, worst last.
    HealthStatus {
        /// All checks passed.
        Healthy = "healthy",
        /// It works, something needs a look.
        Degraded = "degraded",
        /// It does not do its work.
        Unhealthy = "unhealthy",
    }
}

words! {
    /// What an account may do.
    Role {
        /// Sees and does everything.
        Admin = "admin",
        /// Sees the clients assigned to it.
        Trainer = "trainer",
    }
}
