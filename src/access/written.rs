//! Files that are written while they are sent: a reader that is slow holds two parts of one, not the file, and one that
//! leaves ends the work.

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use tokio::sync::mpsc::{Sender, channel};

/// A piece of a file, or why it breaks off.
pub(crate) type Part = Result<Bytes, std::io::Error>;

/// A CSV file that `write` sends part by part.
pub(crate) fn csv<W, F>(name: &str, write: W) -> Response
where
    W: FnOnce(Sender<Part>) -> F,
    F: Future<Output = sqlx::Result<()>> + Send + 'static,
{
    file(name, "text/csv; charset=utf-8", write)
}

/// A file that `write` sends part by part. Its name names no person: downloads lie around.
pub(crate) fn file<W, F>(name: &str, kind: &'static str, write: W) -> Response
where
    W: FnOnce(Sender<Part>) -> F,
    F: Future<Output = sqlx::Result<()>> + Send + 'static,
{
    let (send, mut receive) = channel(2);
    let work = write(send.clone());
    tokio::spawn(async move {
        if let Err(error) = work.await {
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
