//! Promises, proven on the real program: real processes, a real PostgreSQL, real HTTP. One binary, so that it links once.
//!
//! `make test` sets what these tests need: `ASSAY_TEST_DATABASE_URL` (a server of their own) and `ASSAY_BIN` (the
//! release build). Every database they touch is made by them and named `assay_test_…`.

#![cfg(feature = "ssr")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on must stop")]
#![allow(missing_docs, reason = "test names say it")]

mod attacks;
mod audited;
mod authorisation;
mod beginning;
mod bench;
mod broken;
mod chaos;
mod checklist;
mod cluster;
mod command_line;
mod connecting;
mod crowd;
mod decisions;
mod docs;
mod durability;
mod embedded;
mod hearing;
mod load;
mod logs;
mod many_nodes;
mod metrics;
mod outage;
mod packaging;
mod privacy;
mod process;
mod proxies;
mod read_api;
mod realtime;
mod soak;
mod suite;
mod switched_off;
mod visitors;
