//! Files that are written while they are sent: a reader that is slow holds two parts of one, not the file, and one that
//! leaves ends the work. Each holds a connection that pages need too, so only a few are written at once, and none for ever.

use crate::store::Db;
use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use std::time::Duration;
use tokio::sync::{
    OwnedSemaphorePermit,
    mpsc::{Sender, channel},
};

/// A piece of a file, or why it breaks off.
pub(crate) type Part = Result<Bytes, std::io::Error>;

/// Longer takes no download: who reads so slowly has gone, or holds up others.
const WHOLE: Duration = Duration::from_secs(600);

/// Leave to write one file.
pub(crate) type Turn = OwnedSemaphorePermit;

/// A turn, or the answer when there is none left just now.
#[allow(clippy::result_large_err, reason = "the error is the answer itself, made once")]
pub(crate) fn turn(db: &Db) -> Result<Turn, Response> {
    db.downloads.clone().try_acquire_owned().map_err(|_| {
        let detail = "Several downloads are running. Try again when one of them has ended.";
        let mut answer = super::problem(StatusCode::SERVICE_UNAVAILABLE, "Busy", detail);
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
        answer
    })
}

/// A CSV file that `write` sends part by part.
pub(crate) fn csv<W, F>(turn: Turn, name: &str, write: W) -> Response
where
    W: FnOnce(Sender<Part>) -> F,
    F: Future<Output = sqlx::Result<()>> + Send + 'static,
{
    file(turn, name, "text/csv; charset=utf-8", write)
}

/// A file that `write` sends part by part. Its name names no person: downloads lie around.
pub(crate) fn file<W, F>(turn: Turn, name: &str, kind: &'static str, write: W) -> Response
where
    W: FnOnce(Sender<Part>) -> F,
    F: Future<Output = sqlx::Result<()>> + Send + 'static,
{
    let (send, mut receive) = channel(2);
    let work = write(send.clone());
    tokio::spawn(async move {
        let done = tokio::time::timeout(WHOLE, work).await.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
        drop(turn); // before whoever reads learns that it is over, and asks for the next
        if let Err(error) = done {
            tracing::error!(%error, "a download broke off");
            // The body ends with an error, so that half a file is not taken for a whole one.
            let _ = send.send(Err(std::io::Error::other("the database went away"))).await;
        }
    });
    // Compression asks again after the end, so the stream must bear that: `unfold` would panic.
    let body = futures::stream::poll_fn(move |context| receive.poll_recv(context));
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, Body::from_stream(body)).into_response()
}
