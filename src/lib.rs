//! Assay tells trainers and administrators how far each number from a wearable can be trusted, and runs the
//! pipeline behind it. One crate, two builds: `ssr` is the server, `hydrate` the WebAssembly of its pages.
//!
//! This is the table of rooms, and the only list of what belongs to the server alone. Arrows run one way:
//! pages → features → store → PostgreSQL; `model`, `terra` and `quality` import nothing above them.
#![recursion_limit = "512"]

pub mod app;
pub mod components;
pub mod error;
pub mod model;
pub mod pages;

#[cfg(feature = "ssr")]
pub mod access;
#[cfg(feature = "ssr")]
pub mod api;
#[cfg(feature = "ssr")]
pub mod calibration;
#[cfg(feature = "ssr")]
pub mod feed;
#[cfg(feature = "ssr")]
pub mod gateway;
#[cfg(feature = "ssr")]
pub mod health;
#[cfg(feature = "ssr")]
pub mod ingest;
#[cfg(feature = "ssr")]
pub mod jobs;
#[cfg(feature = "ssr")]
pub mod logbook;
#[cfg(feature = "ssr")]
pub mod meter;
#[cfg(feature = "ssr")]
pub mod outbound;
#[cfg(feature = "ssr")]
pub mod quality;
#[cfg(feature = "ssr")]
pub mod rescore;
#[cfg(feature = "ssr")]
pub mod server;
#[cfg(feature = "ssr")]
pub mod store;
#[cfg(feature = "ssr")]
pub mod terra;

/// Called by the page's script: takes over the HTML that the server sent.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    console_error_panic_hook::set_once();
    leptos::mount::hydrate_body(app::App);
}
