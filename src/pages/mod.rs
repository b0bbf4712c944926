//! One file a screen: its server functions, which parse, authorise in their first line and call the rooms below,
//! and its view. What goes to the browser is narrow and already text (`components::text`).

pub mod admin;
pub mod clients;
pub mod errors;
pub mod login;
pub mod made;
pub mod session;
#[cfg(feature = "ssr")]
mod status;
