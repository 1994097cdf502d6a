//! The task that decides and writes for one ledger, as whoever started it sees it.

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::runtime::treasury::TreasuryTask;

use super::payer::end;

/// A ledger's writer, which ends with its last user, where its journal fails, or by a bug.
pub(super) struct Writer {
    task: JoinHandle<()>,
    running: watch::Receiver<()>,
}

impl Writer {
    pub fn start(task: TreasuryTask) -> Self {
        let (told, running) = watch::channel(());
        let task = tokio::spawn(async move {
            // Gone with the task, however that ends.
            let _told = told;
            task.run().await;
        });
        Self { task, running }
    }

    /// Returns once it has ended: from then on nothing can be held, bound or written.
    pub async fn ended(&self) {
        let mut running = self.running.clone();
        while running.changed().await.is_ok() {}
    }

    /// Ends it.
    pub async fn end(self) {
        end(self.task).await;
    }
}
