//! The signing client: keeps connections open, sends several at once, waits when told to, and counts.

use super::progress::{Progress, Summary};
use super::{FeedError, sign};
use crate::calibration::simulator::Delivery;
use futures::{Stream, StreamExt};
use reqwest::{StatusCode, header};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Where deliveries go and how they are signed.
#[derive(Clone)]
pub struct Target {
    /// Scheme, host and port: `http://127.0.0.1:3000`.
    pub address: String,
    /// The signing secret. Never shown.
    pub secret: String,
    /// How many deliveries are under way at once; at least 1.
    pub concurrency: usize,
    /// How often a delivery is tried before the feed gives up; at least 1.
    pub attempts: u32,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("address", &self.address)
            .field("concurrency", &self.concurrency)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// One delivery to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// `X-Terra-Trace-Id`.
    pub trace_id: String,
    /// `X-Terra-Ordering-Timestamp`, Unix milliseconds; `None`: the header is left out.
    pub ordering_ms: Option<i64>,
    /// The exact body.
    pub body: Vec<u8>,
}

impl From<Delivery> for Parcel {
    fn from(delivery: Delivery) -> Self {
        Self { trace_id: delivery.trace_id, ordering_ms: Some(delivery.ordering_ms), body: delivery.body }
    }
}

/// Sends deliveries to one server.
#[derive(Debug, Clone)]
pub struct Feeder {
    client: reqwest::Client,
    url: reqwest::Url,
    target: Arc<Target>,
}

/// The longest wait between two attempts.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a cancelled feed waits for what is under way.
const GRACE: Duration = Duration::from_secs(3);

impl Feeder {
    /// A client for a target. Errors: an address that is none, an empty secret.
    pub fn new(target: Target) -> Result<Self, FeedError> {
        if target.secret.is_empty() {
            return Err(FeedError::NoSecret);
        }
        let address = target.address.trim_end_matches('/');
        let url = reqwest::Url::parse(&format!("{address}/functions/v1/webhook-terra"))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| FeedError::Address(target.address.clone()))?;
        let client = reqwest::Client::builder()
            // Terra waits eight seconds; a laptop under load may need more.
            .timeout(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(target.concurrency.max(1))
            .tcp_nodelay(true)
            .no_proxy()
            .build()
            .map_err(|_| FeedError::Address(target.address.clone()))?;
        Ok(Self { client, url, target: Arc::new(target) })
    }

    /// Sends one delivery, again while the server is away or asks to wait (429, 503), and says how it was answered and
    /// how many attempts that took. Errors: refused signature; no answer after the target's attempts.
    pub async fn send(&self, parcel: &Parcel) -> Result<(StatusCode, u32), FeedError> {
        let attempts = self.target.attempts.max(1);
        let mut wait = Duration::from_millis(200);
        let mut cause = String::new();
        for attempt in 1..=attempts {
            match self.once(parcel).await {
                Ok((StatusCode::UNAUTHORIZED, _)) => return Err(FeedError::Refused(self.target.address.clone())),
                Ok((status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE), after)) => {
                    cause = format!("it answered {}", status.as_u16());
                    wait = after.unwrap_or(wait);
                }
                Ok((status, _)) => return Ok((status, attempt)),
                Err(error) => cause = why(&error),
            }
            if attempt < attempts {
                tokio::time::sleep(wait.min(PATIENCE)).await;
                wait = (wait * 2).min(PATIENCE);
            }
        }
        Err(FeedError::Unreachable { address: self.target.address.clone(), attempts, cause })
    }

    async fn once(&self, parcel: &Parcel) -> Result<(StatusCode, Option<Duration>), reqwest::Error> {
        let signature = sign(&self.target.secret, chrono::Utc::now().timestamp(), &parcel.body);
        let mut request = self
            .client
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("terra-signature", signature)
            .header("x-terra-trace-id", &parcel.trace_id);
        if let Some(ms) = parcel.ordering_ms {
            request = request.header("x-terra-ordering-timestamp", ms);
        }
        let response = request.body(parcel.body.clone()).send().await?;
        let status = response.status();
        let after = response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.trim().parse().ok()).map(Duration::from_secs);
        // Read to the end, so that the connection can be used again.
        response.bytes().await?;
        Ok((status, after))
    }

    /// Sends what a stream gives, several at once, and calls `done` with each tag in the stream's order once it was
    /// answered. Ends with the stream, with cancellation (what
    /// is under way has three seconds to arrive), or with the first error.
    pub(super) async fn feed<T: Send>(
        &self,
        parcels: impl Stream<Item = (T, Parcel)> + Send,
        progress: &Progress,
        cancel: &CancellationToken,
        mut done: impl FnMut(T) -> Result<(), FeedError> + Send,
    ) -> Result<(), FeedError> {
        let answers = parcels
            .take_until(cancel.cancelled())
            .map(|(tag, parcel)| async move { (tag, self.send(&parcel).await) })
            .buffered(self.target.concurrency.max(1));
        let mut answers = std::pin::pin!(answers);
        // Ctrl-C lets what is under way arrive, but does not wait out the attempts at a server that is gone.
        let mut impatience = std::pin::pin!(async {
            cancel.cancelled().await;
            tokio::time::sleep(GRACE).await;
        });
        loop {
            let next = tokio::select! {
                biased;
                next = answers.next() => next,
                () = &mut impatience => None,
            };
            let Some((tag, answer)) = next else { return Ok(()) };
            let (status, attempts) = answer?;
            progress.answered(status.as_u16(), attempts);
            done(tag)?;
        }
    }

    /// Sends deliveries as fast as they are taken; for tests and tools. See [`Feeder::send`] for errors.
    pub async fn send_all(
        &self,
        parcels: impl IntoIterator<Item = Parcel, IntoIter: Send>,
        cancel: &CancellationToken,
    ) -> Result<Summary, FeedError> {
        let progress = Progress::new(super::Show::Nothing, "sent", None);
        let stream = futures::stream::iter(parcels.into_iter().map(|parcel| ((), parcel)));
        self.feed(stream, &progress, cancel, |()| Ok(())).await?;
        Ok(progress.summary())
    }
}

/// The innermost cause: "Connection refused" instead of "error sending request for url".
fn why(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
