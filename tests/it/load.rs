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
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(status) = whole(&self.buffer)? {
                return Ok(status);
            }
        }
    }
}

/// The status of an answer that has come to its end.
fn whole(answer: &[u8]) -> std::io::Result<Option<u16>> {
    let broken = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(answer.get(..end).unwrap_or_default()).map_err(|_| broken())?;
    let length: usize = head
        .lines()
        .find_map(|line| line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(broken)?;
    let status = head.get(9..12).and_then(|s| s.parse().ok()).ok_or_else(broken)?;
    Ok((answer.len() >= end + 4 + length).then_some(status))
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
    let gap = Duration::from_secs_f64(1.0 / rate);
    tokio::task::spawn_blocking(move || Loop::new(address, connections).and_then(|l| l.run(gap, requests)).unwrap()).await.unwrap()
}

/// How late a request may be sent and an answer noticed: fewer wake-ups than one for each leave the cores to what is measured.
const TICK: Duration = Duration::from_micros(250);
/// Terra's patience: what is not answered so long after the last request was not taken.
const PATIENCE: Duration = Duration::from_secs(8);

/// One thread that wakes every [`TICK`], reads what was answered and sends what is due. A runtime with a task for each connection
/// cost as much processor time a request as half of the server's.
struct Loop {
    address: SocketAddr,
    poll: mio::Poll,
    lines: Vec<Line>,
    /// Connections without a request, the last used on top.
    free: Vec<usize>,
    outcome: Outcome,
}

/// A connection of the open loop.
struct Line {
    stream: mio::net::TcpStream,
    /// The request under way: when it was due, and what of it was not yet taken by the socket.
    asked: Option<(Instant, Vec<u8>, usize)>,
    answer: Vec<u8>,
}

impl Loop {
    fn new(address: SocketAddr, connections: usize) -> std::io::Result<Self> {
        let mut this = Self { address, poll: mio::Poll::new()?, lines: Vec::new(), free: Vec::new(), outcome: Outcome::default() };
        for n in 0..connections {
            let line = this.open(n)?;
            this.lines.push(line);
            this.free.push(n);
        }
        Ok(this)
    }

    fn open(&self, n: usize) -> std::io::Result<Line> {
        let stream = std::net::TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        self.poll.registry().register(&mut stream, mio::Token(n), mio::Interest::READABLE | mio::Interest::WRITABLE)?;
        Ok(Line { stream, asked: None, answer: Vec::with_capacity(2048) })
    }

    fn run(mut self, gap: Duration, requests: VecDeque<Vec<u8>>) -> std::io::Result<Outcome> {
        std::thread::sleep(Duration::from_millis(300)); // connections stand before the first request is due
        let (started, mut at) = (Instant::now(), Instant::now());
        let mut events = mio::Events::with_capacity(1024);
        let mut requests = requests.into_iter().map(|request| {
            at += gap;
            (at, request)
        });
        let (mut next, mut due) = (requests.next(), VecDeque::new());
        let mut last = started;
        loop {
            self.poll.poll(&mut events, Some(Duration::ZERO))?;
            for event in &events {
                self.look(event.token().0);
            }
            let now = Instant::now();
            while let Some(request) = next.take_if(|(at, _)| *at <= now) {
                last = request.0;
                due.push_back(request);
                next = requests.next();
            }
            while !due.is_empty()
                && let Some(n) = self.free.pop()
            {
                self.lines[n].asked = due.pop_front().map(|(at, request)| (at, request, 0));
                self.look(n);
            }
            let idle = due.is_empty() && self.free.len() == self.lines.len();
            match &next {
                Some((at, _)) if idle => std::thread::sleep(at.saturating_duration_since(now).max(TICK)),
                None if idle || now > last + PATIENCE => break,
                _ => std::thread::sleep(TICK),
            }
        }
        self.outcome.unsent = due.len() as u64;
        self.outcome.failed += (self.lines.len() - self.free.len()) as u64; // never answered
        self.outcome.span = started.elapsed();
        self.outcome.took.sort_unstable();
        Ok(self.outcome)
    }

    /// Sends and reads what the connection allows now.
    fn look(&mut self, n: usize) {
        let line = &mut self.lines[n];
        match line.go_on() {
            Ok(None) => {}
            Ok(Some((status, took))) => {
                self.outcome.add(status, took);
                self.free.push(n);
            }
            Err(_) => {
                let asked = line.asked.is_some();
                if let Ok(fresh) = self.open(n) {
                    self.lines[n] = fresh;
                }
                if asked {
                    self.outcome.failed += 1;
                    self.free.push(n);
                }
            }
        }
    }
}

impl Line {
    /// The answer's status and how long it took, once it is whole.
    fn go_on(&mut self) -> std::io::Result<Option<(u16, Duration)>> {
        use std::io::{ErrorKind, Read, Write};
        if let Some((_, request, sent)) = &mut self.asked {
            while *sent < request.len() {
                match self.stream.write(&request[*sent..]) {
                    Ok(n) => *sent += n,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) => return Err(e),
                }
            }
        }
        let mut part = [0; 4096];
        loop {
            match self.stream.read(&mut part) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.answer.extend_from_slice(&part[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        let Some(status) = whole(&self.answer)? else { return Ok(None) };
        self.answer.clear();
        let (at, ..) = self.asked.take().ok_or(ErrorKind::InvalidData)?; // an answer nobody asked for
        Ok(Some((status, at.elapsed())))
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
