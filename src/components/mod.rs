//! The parts pages are made of. They hold no data of their own: values come in ready to show, made into text on
//! the server (`text`), so that server and browser render the same bytes and the browser needs no formatting code.

mod badge;
mod chart;
mod flash;
mod live;
pub mod menu;
mod parts;
mod placed;
#[cfg(feature = "ssr")]
pub mod preferences;
mod script;
mod table;
pub mod text;

pub use badge::{BadgeMark, ScoreBadge, StateChip};
pub use chart::{Bar, BarChart, BarRow, LineChart, Plot, ShareBars, Spark, Sparkline, bars, line, twin};
pub use flash::Flash;
pub use live::{Announcer, Link, Live, LiveControl, Told, Topics, use_live};
pub use parts::{Alert, ConfirmBox, Empty, Moment, Panel, Progress, Simulated, Stat, TimeStamp, Trouble, set_status};
pub use placed::Placed;
pub use script::busy;
pub use table::{Pager, ScrollTable};
