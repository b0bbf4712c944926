//! Figures over millions of rows, kept for a while: never read more than a tenth of the time. A cheap figure is read
//! anew for each page; a dear one is shown as it was while a single task reads it again.

use std::{
    collections::HashMap,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// Up to this, waiting for the new figure is better than showing the old one.
const CHEAP: Duration = Duration::from_millis(40);
/// Different questions kept at once.
const KEPT: usize = 200;

struct Kept<T> {
    value: T,
    read_at: Instant,
    cost: Duration,
    reading: bool,
}

/// Answers by question.
pub(super) struct Fresh<T> {
    kept: Arc<Mutex<HashMap<String, Kept<T>>>>,
}

impl<T: Clone + Send + 'static> Fresh<T> {
    pub(super) fn new() -> Self {
        Self { kept: Arc::default() }
    }

    /// The answer to `key`, read with `read` when there is none, it is cheap, or it is time.
    pub(super) async fn get<F, E>(&self, key: String, read: impl FnOnce() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        E: Send + 'static,
    {
        {
            let mut kept = self.kept.lock().await;
            if let Some(old) = kept.get_mut(&key).filter(|k| k.cost >= CHEAP) {
                if !old.reading && old.read_at.elapsed() > old.cost * 10 {
                    old.reading = true;
                    let (store, key, future) = (Arc::clone(&self.kept), key.clone(), read());
                    tokio::spawn(async move {
                        let begun = Instant::now();
                        let answer = future.await;
                        let mut kept = store.lock().await;
                        if let Ok(value) = answer {
                            kept.insert(key, Kept { value, read_at: Instant::now(), cost: begun.elapsed(), reading: false });
                        } else if let Some(old) = kept.get_mut(&key) {
                            // What is shown stays; a later page tries again.
                            (old.read_at, old.reading) = (Instant::now(), false);
                        }
                    });
                }
                return Ok(old.value.clone());
            }
        }
        let begun = Instant::now();
        let value = read().await?;
        let mut kept = self.kept.lock().await;
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key, Kept { value: value.clone(), read_at: Instant::now(), cost: begun.elapsed(), reading: false });
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn dear_figures_are_shown_old_while_one_task_reads_them_again() {
        let fresh = Fresh::<u32>::new();
        static READS: AtomicU32 = AtomicU32::new(0);
        let read = || async {
            tokio::time::sleep(Duration::from_millis(60)).await;
            Ok::<_, ()>(READS.fetch_add(1, Ordering::SeqCst))
        };
        assert_eq!(fresh.get("k".into(), read).await, Ok(0));
        let begun = Instant::now();
        for _ in 0..50 {
            assert_eq!(fresh.get("k".into(), read).await, Ok(0));
        }
        assert!(begun.elapsed() < Duration::from_millis(60), "served from memory");
        assert_eq!(READS.load(Ordering::SeqCst), 1);
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(fresh.get("k".into(), read).await, Ok(0), "old, and a new reading begins");
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(fresh.get("k".into(), read).await, Ok(1));
    }

    #[tokio::test]
    async fn cheap_figures_and_failures_are_never_kept() {
        let fresh = Fresh::<u32>::new();
        assert_eq!(fresh.get("k".into(), || async { Ok::<_, ()>(1) }).await, Ok(1));
        assert_eq!(fresh.get("k".into(), || async { Ok::<_, ()>(2) }).await, Ok(2));
        assert_eq!(fresh.get("k".into(), || async { Err("away") }).await, Err("away"));
    }
}
