//! The door: one thread of its own accepts connections and looks at the first bytes of each.
//!
//! Probes ask how the program is when it is busy, and a supervisor that gets no answer in time restarts what was only
//! busy. So a connection that begins with a probe stays on the door's thread and is answered there from memory, whatever
//! the threads of pages and deliveries are doing; every other connection is handed to them. On a connection of a
//! prober anything else may be asked too: it is answered by the others.

use axum::{
    Router, ServiceExt,
    extract::Request,
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    serve::{Listener, ListenerExt},
};
use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle},
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;
use tower::Service;

/// What is answered at the door.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/functions/v1/health-check"];
/// So long a connection may be silent at first.
const SILENCE: Duration = Duration::from_secs(60);
/// Accepted connections that wait to be served.
const WAITING: usize = 1024;

/// Connections that were looked at.
struct Handed {
    streams: mpsc::Receiver<(std::net::TcpStream, SocketAddr)>,
    address: SocketAddr,
}

impl Listener for Handed {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        while let Some((stream, peer)) = self.streams.recv().await {
            if let Ok(stream) = TcpStream::from_std(stream) {
                return (stream, peer);
            }
        }
        std::future::pending().await // the door is closed; whoever serves is told to stop by its token
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Serves the application on the listener until `cancel`, with `front` before it for all but probes; done when the last
/// connection ended.
///
/// # Errors
/// A sentence when the door's thread cannot be started.
pub fn open<S: Serve>(listener: TcpListener, app: Router, front: S, cancel: CancellationToken) -> Result<impl Future<Output = ()>, String> {
    let failed = |e: io::Error| format!("the thread that answers probes could not be started: {e}.");
    let address = listener.local_addr().map_err(failed)?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let [(to_door, at_door), (to_others, others)] = std::array::from_fn(|_| mpsc::channel(WAITING));
    let at_the_door = answers(app, Handle::current());
    let (stop, closed) = (cancel.clone(), oneshot::channel());
    let thread = move || {
        runtime.block_on(async {
            let probes = serve(Handed { streams: at_door, address }, at_the_door, stop.clone());
            let receive = stop.run_until_cancelled(receive(listener, to_door, to_others));
            if let (Some(Err(error)), ()) = tokio::join!(receive, probes) {
                tracing::error!(%error, "connections cannot be accepted");
            }
        });
        let _ = closed.0.send(()); // nobody waits any more: the program is ending
    };
    std::thread::Builder::new().name("door".into()).spawn(thread).map_err(failed)?;
    Ok(async move {
        serve(Handed { streams: others, address }, front, cancel).await;
        let _ = closed.1.await;
    })
}

/// What answers requests.
pub trait Serve: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static {}
impl<S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static> Serve for S {}

async fn serve(streams: Handed, app: impl Serve, cancel: CancellationToken) {
    let streams = streams.tap_io(|stream| {
        let _ = stream.set_nodelay(true); // answers are written whole; without it they come a little later
    });
    let stop = async move { cancel.cancelled().await };
    let _ = axum::serve(streams, ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(app))
        .with_graceful_shutdown(stop)
        .await;
}

type Hand = mpsc::Sender<(std::net::TcpStream, SocketAddr)>;

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
