//! `assay replay FILE…`: recorded deliveries through the real endpoint, with their trace ids and ordering timestamps.

use super::lines::Lines;
use super::progress::Progress;
use super::state::State;
use super::{FeedError, Feeder, Parcel, Show, Summary, Target};
use crate::calibration::simulator::rng::{Rng, word};
use futures::{Stream, StreamExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The command line of `replay`.
#[derive(Debug, Clone, clap::Args)]
pub struct ReplayArgs {
    /// Files of recorded deliveries, one JSON object a line; `.gz` is unpacked
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where to send [default: the address this configuration listens on]
    #[arg(long, value_name = "URL")]
    pub address: Option<String>,
    /// The signing secret [default: the first of TERRA_SIGNING_SECRETS, or the generated one]
    #[arg(long, value_name = "SECRET")]
    pub secret: Option<String>,
    /// At most so many deliveries a second
    #[arg(long, value_name = "N")]
    pub rate: Option<f64>,
    /// Send in an order shuffled by this seed (reads all files into memory)
    #[arg(long, value_name = "SEED", num_args = 0..=1, default_missing_value = "1")]
    pub shuffle: Option<u64>,
    /// Send each delivery so many times
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub repeat: u32,
    /// How many are under way at once
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub concurrency: usize,
    /// Begin anew instead of going on where the last replay of these files stopped
    #[arg(long)]
    pub restart: bool,
}

/// What a replay does.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// What to send, in this order.
    pub files: Vec<PathBuf>,
    /// Where to.
    pub target: Target,
    /// Deliveries a second at most; above 0.
    pub rate: Option<f64>,
    /// Seed of a shuffled order.
    pub shuffle: Option<u64>,
    /// How often each is sent; 0 counts as 1.
    pub repeat: u32,
    /// The state file; `None`: not resumable.
    pub resume: Option<PathBuf>,
    /// Where progress is shown.
    pub show: Show,
}

impl ReplayArgs {
    /// Options with what the configuration knows: its own address and secret, and the data directory for the state
    /// file. Errors: a rate that is no rate; a state file that cannot be removed on `--restart`.
    pub fn options(self, address: &str, secret: &str, data_dir: &Path) -> Result<ReplayOptions, FeedError> {
        if self.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            return Err(FeedError::Option("--rate must be a number above 0".into()));
        }
        let resume = data_dir.join("replay-state.json");
        if self.restart
            && let Err(error) = std::fs::remove_file(&resume)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(FeedError::State { path: resume.display().to_string(), cause: error.to_string() });
        }
        Ok(ReplayOptions {
            files: self.files,
            target: Target {
                address: self.address.unwrap_or_else(|| address.to_owned()),
                secret: self.secret.unwrap_or_else(|| secret.to_owned()),
                concurrency: self.concurrency.max(1),
                attempts: 8,
            },
            rate: self.rate,
            shuffle: self.shuffle,
            repeat: self.repeat,
            resume: Some(resume),
            show: Show::Terminal,
        })
    }
}

/// Where a parcel stands, so that the state can say how far the replay came.
#[derive(Debug, Clone)]
enum Place {
    /// A line of a file.
    Line(Arc<str>, u64),
    /// A position in a shuffled order.
    Step(u64),
    /// One of several copies; only the last counts.
    Copy,
}

/// Sends the files and gives the account. Lines that are no delivery are named with file and line, and skipped.
/// A replay that was cancelled or killed goes on where it stopped; after one that was finished the next begins anew
/// (the server sees duplicates).
/// Errors: unreadable file, unreachable server, refused signature, unusable state file.
pub async fn replay(options: ReplayOptions, cancel: CancellationToken) -> Result<Summary, FeedError> {
    let feeder = Feeder::new(options.target.clone())?;
    for path in &options.files {
        // Before the first delivery goes out: a mistyped name must not leave half of a replay.
        Lines::open(path, 0)?;
    }
    let state = State::load(options.resume.as_deref())?;
    let progress = Progress::new(options.show, "replayed", None);
    let first_error = Arc::new(Mutex::new(None));
    let key = shuffle_key(&options);
    let source: Box<dyn Iterator<Item = (Place, Parcel)> + Send> = match options.shuffle {
        Some(seed) => Box::new(shuffled(&options, seed, &state, &key, &progress)?),
        None => Box::new(in_order(&options, &state, &progress, &first_error)),
    };
    let parcels = paced(source, options.rate);
    let state = Mutex::new(state);
    let note = |place: Place| {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        match place {
            Place::Copy => Ok(()),
            Place::Line(file, number) => state.note(|done| {
                done.lines.insert(file.to_string(), number);
            }),
            Place::Step(step) => state.note(|done| {
                done.shuffled.insert(key.clone(), step);
            }),
        }
    };
    let outcome = feeder.feed(parcels, &progress, &cancel, note).await;
    let unread = first_error.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    if outcome.is_ok() && unread.is_none() && !cancel.is_cancelled() {
        // Finished: the next replay of these files is a new one.
        for path in &options.files {
            state.done.lines.remove(file_key(&options, path).as_ref());
        }
        state.done.shuffled.remove(&key);
    }
    // Whatever ended it, what was answered stays done.
    let saved = state.save();
    let summary = progress.finish();
    outcome.and(saved)?;
    unread.map_or(Ok(summary), Err)
}

/// A file's name in the state: with the server it goes to, and absolute, so that it is the same from any working
/// directory.
fn file_key(options: &ReplayOptions, path: &Path) -> Arc<str> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    format!("{} to {}", path.display(), options.target.address).into()
}

fn shuffle_key(options: &ReplayOptions) -> String {
    let files: Vec<_> = options.files.iter().map(|path| file_key(options, path).to_string()).collect();
    format!("seed {} × {} of {}", options.shuffle.unwrap_or_default(), options.repeat.max(1), files.join(", "))
}

/// Line after line, file after file. A read error ends the stream and is kept for the end.
fn in_order<'a>(
    options: &'a ReplayOptions,
    state: &State,
    progress: &'a Progress,
    failed: &'a Mutex<Option<FeedError>>,
) -> impl Iterator<Item = (Place, Parcel)> + Send + 'a {
    let files: Vec<(PathBuf, Arc<str>, u64)> = options
        .files
        .iter()
        .map(|path| {
            let key = file_key(options, path);
            let done = state.done.lines.get(key.as_ref()).copied().unwrap_or(0);
            if done > 0 {
                progress.note(&format!("{}: going on after line {done} (--restart begins anew)", path.display()));
            }
            (path.clone(), key, done)
        })
        .collect();
    let repeat = options.repeat.max(1);
    files.into_iter().flat_map(move |(path, key, done)| {
        let mut lines = match Lines::open(&path, done) {
            Ok(lines) => Some(lines),
            Err(error) => {
                keep(failed, error);
                None
            }
        };
        std::iter::from_fn(move || {
            loop {
                match lines.as_mut()?.next_line() {
                    Ok(Some(line)) => match line.parcel {
                        Ok(parcel) => return Some((Place::Line(key.clone(), line.number), parcel)),
                        Err(why) => progress.skipped(&format!("{}:{}", path.display(), line.number), &why),
                    },
                    Ok(None) => return None,
                    Err(error) => {
                        keep(failed, error);
                        return None;
                    }
                }
            }
        })
        .flat_map(move |(place, parcel)| copies(place, parcel, repeat))
    })
}

fn keep(failed: &Mutex<Option<FeedError>>, error: FeedError) {
    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
}

/// A parcel as often as asked; its place is done with the last.
fn copies(place: Place, parcel: Parcel, repeat: u32) -> impl Iterator<Item = (Place, Parcel)> + Send {
    (1..=repeat).map(move |copy| (if copy == repeat { place.clone() } else { Place::Copy }, parcel.clone()))
}

/// All deliveries of all files, copies included, in the order of a seed; those already done are left out.
fn shuffled(
    options: &ReplayOptions,
    seed: u64,
    state: &State,
    key: &str,
    progress: &Progress,
) -> Result<impl Iterator<Item = (Place, Parcel)> + Send + use<>, FeedError> {
    let mut parcels: Vec<Arc<Parcel>> = Vec::new();
    for path in &options.files {
        let mut lines = Lines::open(path, 0)?;
        while let Some(line) = lines.next_line()? {
            match line.parcel {
                Ok(parcel) => {
                    let parcel = Arc::new(parcel);
                    parcels.extend((0..options.repeat.max(1)).map(|_| parcel.clone()));
                }
                Err(why) => progress.skipped(&format!("{}:{}", path.display(), line.number), &why),
            }
        }
    }
    // Fisher–Yates.
    let mut r = Rng::keyed(seed, &[word("shuffle")]);
    for at in (1..parcels.len()).rev() {
        parcels.swap(at, r.below(at as u64 + 1) as usize);
    }
    let done = state.done.shuffled.get(key).copied().unwrap_or(0);
    if done > 0 {
        progress.note(&format!("going on after {done} of {} shuffled deliveries (--restart begins anew)", parcels.len()));
    }
    Ok((1_u64..).zip(parcels).skip(done as usize).map(|(step, parcel)| (Place::Step(step), Parcel::clone(&parcel))))
}

/// The same items, no faster than the rate.
fn paced<T: Send>(source: impl Iterator<Item = T> + Send, rate: Option<f64>) -> impl Stream<Item = T> + Send {
    let began = Instant::now();
    futures::stream::iter(source.enumerate()).then(move |(count, item)| async move {
        if let Some(rate) = rate {
            tokio::time::sleep_until(began + Duration::from_secs_f64(count as f64 / rate)).await;
        }
        item
    })
}
