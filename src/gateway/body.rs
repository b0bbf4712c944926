//! Reading a request's body with bounds: in size, in time, and in memory over all requests together.

use axum::body::{Body, Bytes};
use flate2::bufread::MultiGzDecoder;
use http_body_util::BodyExt;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// The largest body, as sent and after decompression. Terra's chunks have at most 10 MB.
pub const MAX_BODY: usize = 16 << 20;

/// Bodies up to here are small; the last quarter of the budget is theirs. A few large ones that arrive slowly, signed or
/// not, must not keep out everybody else's.
const SMALL: usize = 256 << 10;

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// Longer than allowed, as sent or after decompression.
    TooLarge,
    /// Too many bytes of other requests are in memory.
    NoMemory,
    /// It did not arrive in time.
    TooSlow,
    /// The connection broke, or its framing is wrong.
    Broken,
    /// Said to be gzip, but is not.
    NotGzip,
}

/// Bytes that bodies of all requests may occupy together.
#[derive(Debug, Clone)]
pub struct Budget {
    used: Arc<AtomicUsize>,
    /// Of them, those of callers in doubt.
    doubted: Arc<AtomicUsize>,
    limit: usize,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(limit: usize) -> Self {
        Self { used: Arc::default(), doubted: Arc::default(), limit }
    }

    /// Holds nothing yet.
    pub fn hold(&self) -> Held {
        Held { budget: self.clone(), doubted: false, bytes: 0 }
    }

    /// As [`Budget::hold`], for a caller who used up what strangers may do: all of those have a quarter together, so that
    /// bodies that never come to their end cannot keep out whoever signs.
    pub fn hold_in_doubt(&self) -> Held {
        Held { budget: self.clone(), doubted: true, bytes: 0 }
    }

    /// Bytes held now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    doubted: bool,
    bytes: usize,
}

impl Held {
    /// Takes more, or nothing.
    fn grow(&mut self, more: usize) -> Result<(), BodyError> {
        let small = self.bytes.saturating_add(more) <= SMALL;
        let limit = if small { self.budget.limit } else { self.budget.limit / 4 * 3 };
        take(&self.budget.used, more, limit)?;
        if self.doubted && take(&self.budget.doubted, more, self.budget.limit / 4).is_err() {
            self.budget.used.fetch_sub(more, Ordering::Relaxed);
            return Err(BodyError::NoMemory);
        }
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
        if self.doubted {
            self.budget.doubted.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// Takes all of it, or nothing.
fn take(used: &AtomicUsize, more: usize, limit: usize) -> Result<(), BodyError> {
    if used.fetch_add(more, Ordering::Relaxed).saturating_add(more) <= limit {
        return Ok(());
    }
    used.fetch_sub(more, Ordering::Relaxed);
    Err(BodyError::NoMemory)
}

/// Reads a body of at most `limit` bytes, until `deadline`. A body of one frame is not copied.
pub async fn read(mut body: Body, limit: usize, held: &mut Held, deadline: Instant) -> Result<Bytes, BodyError> {
    let reading = async {
        let (mut first, mut rest): (Option<Bytes>, Vec<u8>) = (None, Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
            let length = first.as_ref().map_or(rest.len(), Bytes::len);
            if length + data.len() > limit {
                return Err(BodyError::TooLarge);
            }
            held.grow(data.len())?;
            match first.take() {
                None if rest.is_empty() => first = Some(data),
                None => rest.extend_from_slice(&data),
                Some(start) => {
                    rest.reserve(start.len() + data.len());
                    rest.extend_from_slice(&start);
                    rest.extend_from_slice(&data);
                }
            }
        }
        Ok(first.unwrap_or_else(|| rest.into()))
    };
    tokio::time::timeout_at(deadline.into(), reading).await.unwrap_or(Err(BodyError::TooSlow))
}

/// Undoes gzip. The guard against bombs: no more than [`MAX_BODY`] bytes are ever made, and they count to the budget.
pub fn gunzip(bytes: &[u8], held: &mut Held) -> Result<Bytes, BodyError> {
    let mut out = Vec::new();
    let mut reader = MultiGzDecoder::new(bytes);
    let mut chunk = vec![0; 64 << 10];
    loop {
        let n = reader.read(&mut chunk).map_err(|_| BodyError::NotGzip)?;
        let Some(data) = chunk.get(..n).filter(|d| !d.is_empty()) else { break };
        if out.len() + n > MAX_BODY {
            return Err(BodyError::TooLarge);
        }
        held.grow(n)?;
        out.extend_from_slice(data);
    }
    Ok(out.into())
}

/// Reads on and throws away, so that a caller who still sends sees the answer instead of a broken connection.
pub async fn drain(mut body: Body) {
    let rest = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > 4 * MAX_BODY {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(5), rest).await; // whoever takes longer is cut off
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(200)
    }

    fn chunks(parts: &[&'static str]) -> Body {
        Body::from_stream(futures::stream::iter(
            parts.iter().map(|p| Ok::<_, std::io::Error>(Bytes::from_static(p.as_bytes()))).collect::<Vec<_>>(),
        ))
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn bodies_are_read_whole_and_memory_is_given_back() {
        let budget = Budget::new(10);
        let mut held = budget.hold();
        assert_eq!(read(chunks(&["ab", "", "cd", "e"]), 5, &mut held, soon()).await.unwrap(), "abcde");
        assert_eq!(budget.used(), 5);
        assert_eq!(read(chunks(&["123456"]), 6, &mut budget.hold(), soon()).await, Err(BodyError::NoMemory));
        drop(held);
        assert_eq!(budget.used(), 0);
        assert_eq!(read(chunks(&["ab", "cd"]), 3, &mut budget.hold(), soon()).await, Err(BodyError::TooLarge));
        assert_eq!(read(Body::empty(), 3, &mut budget.hold(), soon()).await.unwrap(), "");
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(read(never, 3, &mut budget.hold(), Instant::now() + Duration::from_millis(10)).await, Err(BodyError::TooSlow));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn large_bodies_leave_room_for_small_ones() {
        let budget = Budget::new(8 * SMALL);
        let mut large: Vec<Held> = (0..3).map(|_| budget.hold()).collect();
        for held in &mut large {
            assert_eq!(held.grow(2 * SMALL), Ok(()));
        }
        assert_eq!(budget.hold().grow(SMALL + 1), Err(BodyError::NoMemory));
        assert_eq!(large.first_mut().unwrap().grow(1), Err(BodyError::NoMemory));
        let mut small = budget.hold();
        assert_eq!(small.grow(SMALL), Ok(()));
        assert_eq!(small.grow(1), Err(BodyError::NoMemory), "it is not small any more");
        assert_eq!(budget.used(), 7 * SMALL);
    }

    #[test]
    fn callers_in_doubt_share_a_quarter_and_the_rest_is_left_to_others() {
        let budget = Budget::new(8 * SMALL);
        let (mut one, mut two) = (budget.hold_in_doubt(), budget.hold_in_doubt());
        assert_eq!((one.grow(SMALL), two.grow(SMALL)), (Ok(()), Ok(())));
        assert_eq!(budget.hold_in_doubt().grow(1), Err(BodyError::NoMemory));
        assert_eq!(budget.used(), 2 * SMALL, "what was refused is not held");
        assert_eq!(budget.hold().grow(4 * SMALL), Ok(()), "whoever is not in doubt has the rest");
        drop(one);
        assert_eq!(budget.hold_in_doubt().grow(SMALL), Ok(()), "given back");
        drop(two);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn gzip_is_undone_and_a_bomb_does_not_go_off() {
        let budget = Budget::new(64 << 20);
        assert_eq!(gunzip(&gzip(b"{\"a\":1}"), &mut budget.hold()).unwrap(), "{\"a\":1}");
        let bomb = gzip(&vec![b' '; MAX_BODY + 1]);
        assert!(bomb.len() < 20_000);
        assert_eq!(gunzip(&bomb, &mut budget.hold()), Err(BodyError::TooLarge));
        let whole = gzip(b"{\"a\":1}");
        assert_eq!(gunzip(&whole[..whole.len() - 3], &mut budget.hold()), Err(BodyError::NotGzip));
        assert_eq!(gunzip(b"{}", &mut budget.hold()), Err(BodyError::NotGzip));
        assert_eq!(gunzip(&whole, &mut Budget::new(3).hold()), Err(BodyError::NoMemory));
        assert_eq!(budget.used(), 0);
    }
}
