//! The listening socket, bound before anything else is started: a taken port must not cost a database start.

use std::net::{SocketAddr, TcpListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Binds it.
///
/// # Errors
/// A sentence: the port is taken, or the address is not ours.
pub async fn bind(addr: SocketAddr) -> Result<TcpListener, String> {
    // Tokio's has the options that servers need; the door's thread takes it over.
    let bound = tokio::net::TcpListener::bind(addr).await.and_then(tokio::net::TcpListener::into_std);
    bound.map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => format!("{addr} is taken by another program. Stop it, or set LEPTOS_SITE_ADDR to another port."),
        std::io::ErrorKind::PermissionDenied => {
            format!("{addr} may not be used by this user. Ports below 1024 need rights; set LEPTOS_SITE_ADDR.")
        }
        std::io::ErrorKind::AddrNotAvailable => format!("{addr} is not an address of this machine. Set LEPTOS_SITE_ADDR."),
        _ => format!("{addr} cannot be listened on: {e}. Set LEPTOS_SITE_ADDR."),
    })
}

/// SIGINT and SIGTERM, caught from when this is made: one that comes while the program is still starting is not lost,
/// and does not kill it either.
pub struct StopSignal(Option<[Signal; 2]>);

impl StopSignal {
    /// Catches them from now on.
    pub fn catch() -> Self {
        let caught = signal(SignalKind::interrupt()).and_then(|interrupt| Ok([interrupt, signal(SignalKind::terminate())?]));
        Self(caught.inspect_err(|error| tracing::error!(%error, "signals cannot be waited for; the program ends only by SIGKILL")).ok())
    }

    /// Completes at the first of either.
    pub async fn came(&mut self) {
        let Some([interrupt, terminate]) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

/// A token that is cancelled by the first of them.
pub fn cancelled_by_signal() -> CancellationToken {
    let (cancel, mut signals) = (CancellationToken::new(), StopSignal::catch());
    let token = cancel.clone();
    tokio::spawn(async move {
        signals.came().await;
        cancel.cancel();
    });
    token
}
