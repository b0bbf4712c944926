//! Recorded deliveries, one JSON object a line: `{"trace_id", "ordering_ms", "body"}`; files ending in `.gz` are
//! unpacked on the way.

use super::{FeedError, Parcel};
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// The longest line taken: Terra's bodies stay below 10 MB.
const LONGEST: u64 = 32 << 20;

#[derive(Deserialize)]
struct Recorded<'a> {
    trace_id: String,
    #[serde(default)]
    ordering_ms: Option<i64>,
    /// Kept byte for byte: what is signed is what was recorded.
    #[serde(borrow)]
    body: &'a RawValue,
}

/// One line of a file, counted from 1.
#[derive(Debug)]
pub(super) struct Line {
    /// Its number.
    pub number: u64,
    /// The delivery, or why it is none.
    pub parcel: Result<Parcel, String>,
}

/// Reads a file's lines one after the other, after skipping some.
pub(super) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    number: u64,
    buffer: Vec<u8>,
}

fn parse(line: &[u8]) -> Result<Parcel, String> {
    let recorded: Recorded<'_> = serde_json::from_slice(line).map_err(|error| {
        let cause = error.to_string();
        format!("not a recorded delivery ({})", cause.split(" at line ").next().unwrap_or(&cause))
    })?;
    if recorded.trace_id.is_empty() || !recorded.trace_id.bytes().all(|b| (0x21..0x7f).contains(&b)) {
        return Err("trace_id cannot be sent as a header".into());
    }
    if !recorded.body.get().starts_with('{') {
        return Err("body is not a JSON object".into());
    }
    Ok(Parcel { trace_id: recorded.trace_id, ordering_ms: recorded.ordering_ms, body: recorded.body.get().as_bytes().to_vec() })
}

impl Lines {
    /// Opens a file and skips `done` lines.
    pub(super) fn open(path: &Path, done: u64) -> Result<Self, FeedError> {
        let file = File::open(path).map_err(|cause| FeedError::File { path: path.display().to_string(), cause })?;
        let packed = path.extension().is_some_and(|ext| ext.eq_ignore_ascii_case("gz"));
        let reader: Box<dyn BufRead + Send> =
            if packed { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(BufReader::new(file)) };
        let mut lines = Self { path: path.to_owned(), reader, number: 0, buffer: Vec::new() };
        while lines.number < done && lines.fill()? {}
        Ok(lines)
    }

    /// Reads the next line into the buffer; false at the end. A line beyond the longest is cut, and so is no JSON.
    fn fill(&mut self) -> Result<bool, FeedError> {
        self.buffer.clear();
        let failed = |cause| FeedError::File { path: self.path.display().to_string(), cause };
        let read = (&mut self.reader).take(LONGEST).read_until(b'\n', &mut self.buffer).map_err(failed)?;
        self.number += u64::from(read > 0);
        if read as u64 == LONGEST && self.buffer.last() != Some(&b'\n') {
            // The rest of the line must not be taken for another one.
            let mut rest = Vec::new();
            while (&mut self.reader).take(LONGEST).read_until(b'\n', &mut rest).map_err(failed)? > 0 && rest.last() != Some(&b'\n') {
                rest.clear();
            }
        }
        Ok(read > 0)
    }

    /// The next line that is not blank; `None` at the end.
    pub(super) fn next_line(&mut self) -> Result<Option<Line>, FeedError> {
        while self.fill()? {
            let text = self.buffer.trim_ascii();
            if !text.is_empty() {
                return Ok(Some(Line { number: self.number, parcel: parse(text) }));
            }
        }
        Ok(None)
    }
}
