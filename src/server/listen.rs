//! The listening socket, bound before anything else is started: a taken port must not cost a database start.

use super::start_error::StartError;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A signal so soon after the first is the first once more: a terminal tells the whole group, and whoever started us may
/// hand it on.
const ECHO: Duration = Duration::from_millis(500);

/// Binds it.
///
/// # Errors
/// A sentence: the port is taken, or the address is not ours. It may become ours when the network is up.
pub async fn bind(addr: SocketAddr) -> Result<TcpListener, StartError> {
    // Tokio's has the options that servers need; the door's thread takes it over.
    let bound = tokio::net::TcpListener::bind(addr).await.and_then(tokio::net::TcpListener::into_std);
    bound.map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("{addr} is taken by another program. Stop it, or set LEPTOS_SITE_ADDR to another port.").into()
        }
        std::io::ErrorKind::PermissionDenied => {
            format!("{addr} may not be used by this user. Ports below 1024 need rights; set LEPTOS_SITE_ADDR.").into()
        }
        std::io::ErrorKind::AddrNotAvailable => StartError::later(format!(
            "{addr} is not an address of this machine, or not yet. Set LEPTOS_SITE_ADDR, or start again when the network is up."
        )),
        _ => format!("{addr} cannot be listened on: {e}. Set LEPTOS_SITE_ADDR.").into(),
    })
}

/// What a shell says of a command that was interrupted.
const INTERRUPTED: i32 = 130;

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

    /// After the first: completes at the next one, by which somebody says that they do not want to wait.
    pub async fn again(&mut self) {
        let end = tokio::time::Instant::now() + ECHO;
        while tokio::time::timeout_at(end, self.came()).await.is_ok() {}
        self.came().await;
    }
}

/// A token that is cancelled by the first of them. A second one ends the program at once: it waits for something.
pub fn cancelled_by_signal() -> CancellationToken {
    let (cancel, mut signals) = (CancellationToken::new(), StopSignal::catch());
    let token = cancel.clone();
    tokio::spawn(async move {
        signals.came().await;
        cancel.cancel();
        signals.again().await;
        end_at_once();
    });
    token
}

fn end_at_once() {
    std::process::exit(INTERRUPTED);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot prepare must stop")]
    use super::*;
    use rustix::process::{Signal, getpid, kill_process};

    #[tokio::test]
    async fn a_second_signal_is_heard_but_not_the_echo_of_the_first() {
        // Two others, or nothing but SIGKILL would end the tests from here on.
        let caught = [SignalKind::user_defined1(), SignalKind::user_defined2()].map(|kind| signal(kind).unwrap());
        let mut signals = StopSignal(Some(caught));
        let send = |which| kill_process(getpid(), which).unwrap();
        send(Signal::USR1);
        signals.came().await;
        send(Signal::USR2);
        let echo = tokio::time::timeout(ECHO * 2, signals.again()).await;
        assert!(echo.is_err(), "an echo is no second signal");
        let later = async {
            tokio::time::sleep(ECHO * 2).await;
            send(Signal::USR1);
        };
        let ((), heard) = futures::join!(later, tokio::time::timeout(Duration::from_secs(5), signals.again()));
        heard.unwrap();
    }
}
