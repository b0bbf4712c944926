//! The listening socket, bound before anything else is started: a taken port must not cost a database start.

use std::net::{SocketAddr, TcpListener};

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

/// Completes at the first SIGINT or SIGTERM.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        tracing::error!("signals cannot be waited for; the program ends only by SIGKILL");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
