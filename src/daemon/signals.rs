//! What other processes tell the daemon by signals: end (SIGTERM, SIGINT), or look at the files again (SIGHUP).
//!
//! Listened to before the lock is taken: whoever finds our lock held may send SIGHUP, whose default is the end.

use std::io::IsTerminal;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A clean end.
    Stop,
    /// A look at settings, files and our own name, now.
    Look,
}

/// The signals that are listened to.
pub struct Signals {
    #[cfg(unix)]
    term: tokio::signal::unix::Signal,
    #[cfg(unix)]
    int: tokio::signal::unix::Signal,
    #[cfg(unix)]
    hup: tokio::signal::unix::Signal,
    /// Run by hand on a terminal, whose end is ours.
    on_terminal: bool,
}

impl Signals {
    /// Listens from now on. Must be called within a tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// The operating system's.
    pub fn listen() -> std::io::Result<Self> {
        #[cfg(unix)]
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            #[cfg(unix)]
            term: signal(SignalKind::terminate())?,
            #[cfg(unix)]
            int: signal(SignalKind::interrupt())?,
            #[cfg(unix)]
            hup: signal(SignalKind::hangup())?,
            on_terminal: std::io::stdin().is_terminal(),
        })
    }

    /// The next one.
    #[cfg(unix)]
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.term.recv() => Signal::Stop,
            _ = self.int.recv() => Signal::Stop,
            _ = self.hup.recv() => if self.on_terminal { Signal::Stop } else { Signal::Look },
        }
    }

    /// The next one.
    #[cfg(not(unix))]
    pub async fn next(&mut self) -> Signal {
        let _ = self.on_terminal;
        if tokio::signal::ctrl_c().await.is_err() {
            tracing::error!("Ctrl-C cannot be received; stop with: agentctl daemon stop");
            std::future::pending().await
        }
        Signal::Stop
    }
}
