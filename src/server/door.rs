//! The door: one thread of its own accepts connections and looks at the first bytes of each.
//!
//! Probes ask how the program is when it is busy, and a supervisor that gets no answer in time restarts what was only
//! busy. So a connection that begins with a probe stays on the door's thread and is answered there from memory, whatever
//! the threads of pages and deliveries are doing; every other connection is handed to them. On a connection of a
//! prober anything else may be asked too: it is answered by the others.
//!
//! No connection stays for ever without asking anything: neither one that is silent nor one whose request has no end.

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    serve::Listener,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    time::Duration,
};
use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle},
    sync::{mpsc, oneshot},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service, ServiceExt as _};

/// What is answered at the door.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/functions/v1/health-check"];
/// So long a connection may be silent at first.
const SILENCE: Duration = Duration::from_secs(60);
/// So long the next request of a connection may take to come, up to the end of its head. Longer than the proxies before it
/// keep a connection that nobody uses (two minutes at most), so that none of them sends into one that is being closed.
const HEAD: Duration = Duration::from_secs(150);
/// Accepted connections that wait to be served.
const WAITING: usize = 1024;

/// Serves the application on the listener until `cancel`, with `front` before it for all but probes; done when the last
/// connection ended.
///
/// # Errors
/// A sentence when the door's thread cannot be started.
pub fn open<S: Serve>(listener: TcpListener, app: Router, front: S, cancel: CancellationToken) -> Result<impl Future<Output = ()>, String> {
    let failed = |e: io::Error| format!("the thread that answers probes could not be started: {e}.");
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let [(to_door, at_door), (to_others, others)] = std::array::from_fn(|_| mpsc::channel(WAITING));
    let at_the_door = answers(app, Handle::current());
    let (stop, closed) = (cancel.clone(), oneshot::channel());
    let thread = move || {
        runtime.block_on(async {
            let probes = serve(at_door, at_the_door, HEAD, stop.clone());
            let receive = stop.run_until_cancelled(receive(listener, to_door, to_others));
            if let (Some(Err(error)), ()) = tokio::join!(receive, probes) {
                tracing::error!(%error, "connections cannot be accepted");
            }
        });
        let _ = closed.0.send(()); // nobody waits any more: the program is ending
    };
    std::thread::Builder::new().name("door".into()).spawn(thread).map_err(failed)?;
    Ok(async move {
        serve(others, front, HEAD, cancel).await;
        let _ = closed.1.await;
    })
}

/// What answers requests.
pub trait Serve: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static {}
impl<S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static> Serve for S {}

/// Serves the connections that were looked at until `cancel`, then lets what is being answered come to its end.
async fn serve(mut streams: Handed, app: impl Serve, head: Duration, cancel: CancellationToken) {
    let open = TaskTracker::new();
    while let Some(Some((stream, peer))) = cancel.run_until_cancelled(streams.recv()).await {
        if let Ok(stream) = TcpStream::from_std(stream) {
            open.spawn(connection(stream, peer, app.clone(), head, cancel.clone()));
        }
    }
    cancel.cancelled().await; // where the door was closed by a fault, whoever is connected is still served
    open.close();
    open.wait().await;
}

/// Answers the requests of one connection, one after the other.
async fn connection(stream: TcpStream, peer: SocketAddr, app: impl Serve, head: Duration, cancel: CancellationToken) {
    let _ = stream.set_nodelay(true); // answers are written whole; without it they come a little later
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        app.clone().oneshot(request)
    });
    let served = http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(head).serve_connection(TokioIo::new(stream), answer);
    let mut served = pin!(served);
    if cancel.run_until_cancelled(served.as_mut()).await.is_none() {
        served.as_mut().graceful_shutdown();
        let _ = served.await; // broken off by its other side: nobody to tell
    }
}

/// A connection that was looked at, and whose it is.
type Connected = (std::net::TcpStream, SocketAddr);
type Handed = mpsc::Receiver<Connected>;
type Hand = mpsc::Sender<Connected>;

/// Accepts for ever.
async fn receive(listener: TcpListener, to_door: Hand, to_others: Hand) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, peer) = Listener::accept(&mut listener).await; // it waits a while where descriptors are used up
        let (to_door, to_others) = (to_door.clone(), to_others.clone());
        tokio::spawn(async move {
            let Ok(Ok(probe)) = tokio::time::timeout(SILENCE, begins_with_a_probe(&stream)).await else { return };
            let Ok(stream) = stream.into_std() else { return };
            let hand = if probe { to_door } else { to_others };
            let _ = hand.send((stream, peer)).await; // or the door is closed
        });
    }
}

/// Looks at the first bytes and leaves them where they are.
async fn begins_with_a_probe(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; 64];
    let n = stream.peek(&mut first).await?;
    Ok(is_probe(first.get(..n).unwrap_or_default()))
}

fn is_probe(request: &[u8]) -> bool {
    let line = request.strip_prefix(b"GET ").or_else(|| request.strip_prefix(b"HEAD "));
    line.is_some_and(|rest| PROBES.iter().any(|path| rest.strip_prefix(path.as_bytes()).is_some_and(|r| r.starts_with(b" "))))
}

/// The application on the door's thread: probes here, all else on the threads of the others.
fn answers(app: Router, others: Handle) -> Router {
    app.layer(middleware::from_fn(move |request: Request, next: Next| {
        let others = others.clone();
        async move {
            if PROBES.contains(&request.uri().path()) {
                return next.run(request).await;
            }
            let answered: Result<Response, _> = others.spawn(next.run(request)).await;
            answered.unwrap_or_else(|_| StatusCode::SERVICE_UNAVAILABLE.into_response()) // the program is ending
        }
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    use super::*;
    use axum::routing::{get, post};
    use std::time::Instant;

    fn thread_name() -> String {
        std::thread::current().name().unwrap_or_default().to_owned()
    }

    /// An application whose answers say on which thread they were made; its address, and its end.
    fn application(cancel: &CancellationToken) -> (String, tokio::task::JoinHandle<()>) {
        let app = Router::new()
            .route("/healthz", get(async || thread_name()))
            .route("/page", get(async || thread_name()))
            .route("/sum", post(async |body: String| body.len().to_string()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        (address, tokio::spawn(open(listener, app.clone(), app, cancel.clone()).unwrap()))
    }

    #[test]
    fn only_whole_paths_of_probes_are_probes() {
        for line in ["GET /healthz HTTP/1.1\r\n", "HEAD /readyz HTTP/1.1\r\n", "GET /functions/v1/health-check HTTP/1.1"] {
            assert!(is_probe(line.as_bytes()), "{line}");
        }
        for line in ["", "GET /healthzz HTTP/1.1", "POST /healthz HTTP/1.1", "GET /", "PRI * HTTP/2.0", "\u{16}\u{3}\u{1}"] {
            assert!(!is_probe(line.as_bytes()), "{line}");
        }
    }

    /// Half a request line, a head without an end, a connection that asks nothing more: all are closed; a body may take longer.
    #[tokio::test]
    async fn a_connection_whose_next_request_does_not_come_is_closed() {
        use std::io::{Read, Write};
        const LIMIT: Duration = Duration::from_millis(300);
        let cancel = CancellationToken::new();
        let app = Router::new().route("/sum", post(async |body: String| body.len().to_string()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (hand, streams) = mpsc::channel(8);
        let server = tokio::spawn(serve(streams, app, LIMIT, cancel.clone()));
        let connect = async || {
            let mine = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (theirs, peer) = listener.accept().unwrap();
            theirs.set_nonblocking(true).unwrap();
            hand.send((theirs, peer)).await.unwrap();
            mine.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            mine
        };
        const WHOLE: &str = "POST /sum HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n";
        for (said, then, answered) in [("POS", "", ""), ("POST /sum HTTP/1.1\r\nhost: x\r\n", "", ""), (WHOLE, "ok", "\r\n\r\n2")] {
            let mut stream = connect().await;
            let read = tokio::task::spawn_blocking(move || {
                stream.write_all(said.as_bytes()).unwrap();
                std::thread::sleep(if then.is_empty() { Duration::ZERO } else { LIMIT * 2 });
                stream.write_all(then.as_bytes()).unwrap();
                let (begun, mut text) = (Instant::now(), String::new());
                stream.read_to_string(&mut text).map(|_| (text, begun.elapsed()))
            });
            let (text, took) = read.await.unwrap().unwrap(); // closed by the server
            assert!(text.ends_with(answered) && took >= LIMIT / 2, "{said:?}: {text:?} after {took:?}");
        }
        cancel.cancel();
        tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_probe_is_answered_at_the_door_while_every_other_thread_is_busy_and_all_else_is_not() {
        let cancel = CancellationToken::new();
        let (address, server) = application(&cancel);
        let client = reqwest::Client::new(); // one connection, kept alive
        let text = async |path: &str| client.get(format!("{address}{path}")).send().await.unwrap().text().await.unwrap();
        assert_eq!(text("/healthz").await, "door");
        assert_ne!(text("/page").await, "door", "asked on the prober's connection, answered by the others");
        let long = "x".repeat(300_000);
        assert_eq!(client.post(format!("{address}/sum")).body(long).send().await.unwrap().text().await.unwrap(), "300000");
        // The only other thread is blocked; the probe comes from a thread of its own.
        let url = address.clone();
        let prober = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                let begun = Instant::now();
                let said = reqwest::get(format!("{url}/healthz")).await.unwrap().text().await.unwrap();
                (said, begun.elapsed())
            })
        });
        tokio::spawn(async { std::thread::sleep(Duration::from_secs(2)) }).await.unwrap();
        let (said, took) = prober.join().unwrap();
        assert!(said == "door" && took < Duration::from_secs(1), "{said} after {took:?}");
        cancel.cancel();
        drop(client);
        tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap();
        assert!(reqwest::get(format!("{address}/healthz")).await.is_err(), "closed");
    }
}
