//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends the process at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Exit;
use super::failure::Failure;
use super::up::system;

/// Both signals. Caught from when this is made, so that none is missed between a banner and the wait.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Catches them from now on.
    pub fn catch() -> Result<Self, Failure> {
        let caught = |kind| {
            signal(kind).map_err(|problem| system("catching the signals that end it", &problem))
        };
        let (interrupt, terminate) =
            (caught(SignalKind::interrupt())?, caught(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate })
    }

    /// Returns at the first; from then on another one ends the process.
    pub async fn wait(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            std::process::exit(i32::from(Exit::Interrupted.code()));
        });
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
