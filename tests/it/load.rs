//! A load generator for the webhook: keep-alive connections, requests built and signed beforehand, one thread.
//!
//! Two ways to drive it. [`saturate`] keeps every connection busy, as `pgbench` does. [`open_loop`] sends at a fixed
//! rate, whatever the answers do, and measures each answer from the moment its request was due: a server that stalls
//! is charged for everything that should have been sent meanwhile (no coordinated omission).

use hmac::{Hmac, KeyInit, Mac};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What came of a run.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Answers with 200.
    pub accepted: u64,
    /// Answers with 503: not taken, to be sent again.
    pub unavailable: u64,
    /// Anything else, and connections that broke.
    pub failed: u64,
    /// Requests that were due but never sent, because no connection was free.
    pub unsent: u64,
    /// From due to answered, sorted.
    pub took: Vec<Duration>,
    /// From the first request to the last answer.
    pub span: Duration,
}

impl Outcome {
    /// Accepted a second.
    pub fn rate(&self) -> f64 {
        self.accepted as f64 / self.span.as_secs_f64().max(1e-9)
    }

    /// A quantile of the answers' times in milliseconds.
    pub fn quantile(&self, q: f64) -> f64 {
        let last = self.took.len().saturating_sub(1);
        self.took.get((last as f64 * q).round() as usize).copied().unwrap_or_default().as_secs_f64() * 1e3
    }

    fn add(&mut self, status: u16, took: Duration) {
        match status {
            200 => self.accepted += 1,
            503 => self.unavailable += 1,
            _ => self.failed += 1,
        }
        self.took.push(took);
    }
}

/// Distinct signed requests made from `bodies` (JSON objects), ready to be written to a socket. A signature holds for
/// five minutes.
pub fn requests(bodies: &[String], secret: &str, tag: &str, n: usize) -> VecDeque<Vec<u8>> {
    let t = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let now_ms = t * 1000;
    (0..n)
        .map(|i| {
            let template = bodies.get(i % bodies.len()).map_or("{}", String::as_str);
            // One more member makes each body another one.
            let body = template.replacen('{', &format!("{{\"load\":\"{tag}-{i}\","), 1);
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
            mac.update(format!("{t}.").as_bytes());
            mac.update(body.as_bytes());
            let signature = hex::encode(mac.finalize().into_bytes());
            format!(
                "POST /functions/v1/webhook-terra HTTP/1.1\r\nhost: assay\r\ncontent-type: application/json\r\nuser-agent: load\r\ndev-id: bench\r\n\
                 terra-signature: t={t},v1={signature}\r\nx-terra-trace-id: {tag}-{i:08}-4000-8000-000000000000\r\n\
                 x-terra-ordering-timestamp: {now_ms}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes()
        })
        .collect()
}

/// A keep-alive connection: one request at a time.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(2048) })
    }

    /// The answer's status; its body is read and thrown away.
    async fn send(&mut self, request: &[u8]) -> std::io::Result<u16> {
        let broken = || std::io::Error::from(std::io::ErrorKind::InvalidData);
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(self.buffer.get(..end).unwrap_or_default()).map_err(|_| broken())?;
            let length: usize = head
                .lines()
                .find_map(|line| line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")))
                .and_then(|(_, value)| value.trim().parse().ok())
                .ok_or_else(broken)?;
            let status = head.get(9..12).and_then(|s| s.parse().ok()).ok_or_else(broken)?;
            while self.buffer.len() < end + 4 + length {
                if self.stream.read_buf(&mut self.buffer).await? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
            return Ok(status);
        }
    }
}

/// Keeps `connections` busy until `span` is over or the requests are used up.
pub async fn saturate(address: SocketAddr, connections: usize, span: Duration, requests: VecDeque<Vec<u8>>) -> Outcome {
    let (requests, started) = (Arc::new(Mutex::new(requests)), Instant::now());
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            let requests = Arc::clone(&requests);
            tokio::spawn(async move {
                let mut outcome = Outcome::default();
                let Ok(mut connection) = Connection::open(address).await else {
                    outcome.failed += 1;
                    return outcome;
                };
                while started.elapsed() < span {
                    let Some(request) = requests.lock().unwrap().pop_front() else { break };
                    let asked = Instant::now();
                    match connection.send(&request).await {
                        Ok(status) => outcome.add(status, asked.elapsed()),
                        Err(_) => {
                            outcome.failed += 1;
                            break;
                        }
                    }
                }
                outcome.span = started.elapsed();
                outcome
            })
        })
        .collect();
    collect(tasks).await
}

/// Sends `rate` requests a second for as long as there are requests, each at its own time, over at most `connections`
/// connections. A request that finds none free waits for one, and that wait is part of its time.
pub async fn open_loop(address: SocketAddr, connections: usize, rate: f64, requests: VecDeque<Vec<u8>>) -> Outcome {
    let (free, due) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(Mutex::new(VecDeque::<(Instant, Vec<u8>)>::new())));
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            let (free, due) = (Arc::clone(&free), Arc::clone(&due));
            tokio::spawn(async move {
                let mut outcome = Outcome::default();
                let Ok(mut connection) = Connection::open(address).await else {
                    outcome.failed += 1;
                    return outcome;
                };
                // A permit is a request that is due; the semaphore closes after the last.
                while let Ok(permit) = free.acquire().await {
                    permit.forget();
                    let Some((at, request)) = due.lock().unwrap().pop_front() else { continue };
                    match connection.send(&request).await {
                        Ok(status) => outcome.add(status, at.elapsed()),
                        Err(_) => {
                            outcome.failed += 1;
                            match Connection::open(address).await {
                                Ok(fresh) => connection = fresh,
                                Err(_) => break,
                            }
                        }
                    }
                }
                outcome
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await; // connections stand before the first request is due
    let started = Instant::now();
    let gap = Duration::from_secs_f64(1.0 / rate);
    let clock = std::thread::spawn({
        let (free, due) = (Arc::clone(&free), Arc::clone(&due));
        move || ring(started, gap, requests, &free, &due)
    });
    while !clock.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Eight seconds are Terra's patience; whatever is still waiting then was not taken.
    let end = Instant::now() + Duration::from_secs(8);
    while !due.lock().unwrap().is_empty() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let unsent = std::mem::take(&mut *due.lock().unwrap()).len() as u64;
    free.close();
    let mut outcome = collect(tasks).await;
    outcome.unsent = unsent;
    outcome.span = started.elapsed();
    outcome
}

/// How late a request may be sent: fewer wake-ups than one for each leave the cores to what is measured.
const TICK: Duration = Duration::from_micros(250);

/// Makes each request due at its own time, on a thread of its own: the runtime's timer knows milliseconds only, would send a
/// millisecond's requests at once, and charge the server for the time that they waited here.
fn ring(
    started: Instant,
    gap: Duration,
    requests: VecDeque<Vec<u8>>,
    free: &tokio::sync::Semaphore,
    due: &Mutex<VecDeque<(Instant, Vec<u8>)>>,
) {
    let mut at = started;
    for request in requests {
        at += gap;
        let wait = at.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait.max(TICK));
        }
        due.lock().unwrap().push_back((at, request));
        free.add_permits(1);
    }
}

async fn collect(tasks: Vec<tokio::task::JoinHandle<Outcome>>) -> Outcome {
    let mut whole = Outcome::default();
    for task in tasks {
        let Ok(part) = task.await else { continue };
        whole.accepted += part.accepted;
        whole.unavailable += part.unavailable;
        whole.failed += part.failed;
        whole.span = whole.span.max(part.span);
        whole.took.extend(part.took);
    }
    whole.took.sort_unstable();
    whole
}
