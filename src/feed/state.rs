//! How far a replay came, so that it can go on: a small file of lines done per file.

use super::FeedError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the file holds. In shuffled order lines done say nothing, so there it is the number of deliveries done in the
/// order that seed and files give.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Done {
    /// Lines done by file.
    #[serde(default)]
    pub lines: BTreeMap<String, u64>,
    /// Deliveries done by shuffle.
    #[serde(default)]
    pub shuffled: BTreeMap<String, u64>,
}

/// The state and its file. Without a file nothing is kept.
#[derive(Debug)]
pub(super) struct State {
    path: Option<PathBuf>,
    pub done: Done,
    unsaved: u32,
}

/// Written anew after so many deliveries; a kill in between sends these again, as duplicates.
const EVERY: u32 = 200;

impl State {
    /// Reads the state; a file that is not there yet is an empty state.
    pub(super) fn load(path: Option<&Path>) -> Result<Self, FeedError> {
        let done = match path.map(std::fs::read) {
            None => Done::default(),
            Some(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Done::default(),
            Some(Err(error)) => return Err(trouble(path, &error)),
            Some(Ok(bytes)) => serde_json::from_slice(&bytes).map_err(|error| trouble(path, &error))?,
        };
        Ok(Self { path: path.map(Path::to_owned), done, unsaved: 0 })
    }

    /// Notes progress, and writes it now and then.
    pub(super) fn note(&mut self, change: impl FnOnce(&mut Done)) -> Result<(), FeedError> {
        change(&mut self.done);
        self.unsaved += 1;
        if self.unsaved >= EVERY { self.save() } else { Ok(()) }
    }

    /// Writes the state beside the old one and puts it in its place in one step.
    pub(super) fn save(&mut self) -> Result<(), FeedError> {
        self.unsaved = 0;
        let Some(path) = self.path.as_deref() else { return Ok(()) };
        let write = || -> std::io::Result<()> {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let draft = path.with_extension("draft");
            std::fs::write(&draft, serde_json::to_vec_pretty(&self.done)?)?;
            std::fs::rename(&draft, path)
        };
        write().map_err(|error| trouble(Some(path), &error))
    }
}

fn trouble(path: Option<&Path>, cause: &dyn std::fmt::Display) -> FeedError {
    FeedError::State { path: path.map_or_else(String::new, |p| p.display().to_string()), cause: cause.to_string() }
}
