//! What has to be true of whatever a crash left.

use std::path::Path;
use std::sync::Arc;

use bursar::domain::ledger::{Bounds, Ledger};
use bursar::edge::journal::{Options, Store};
use bursar::ports::journal::{Entry, Journal};
use bursar::runtime::treasury::Treasury;

use super::work::{clock, settings};

/// The whole history, as it was written when nothing crashed.
pub struct Truth {
    entries: Vec<Entry>,
    runtime: tokio::runtime::Runtime,
}

impl Truth {
    /// Reads the journal at `path`.
    pub fn read(path: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = Store::open(path, Options::default()).unwrap();
        let entries = runtime.block_on(store.read(0, u32::MAX)).unwrap();
        Self { entries, runtime }
    }

    /// The last entry's place.
    pub fn end(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The journal at `path` opens, holds what was answered for and nothing that was never written,
    /// and gives the ledger that its entries give. Returns how much it holds, or what is wrong.
    pub fn check(&self, path: &Path, acked: u64) -> Result<u64, String> {
        let store = Store::open(path, Options::default());
        let store = store.map_err(|error| format!("it does not open: {error}"))?;
        let end = store.end();
        if end < acked {
            return Err(format!("{acked} were answered for, and {end} are there"));
        }
        let store: Arc<dyn Journal> = Arc::new(store);
        let read = self.runtime.block_on(store.read(0, u32::MAX));
        let read = read.map_err(|error| format!("it does not read: {error}"))?;
        if self.entries.get(..read.len()) != Some(read.as_slice()) {
            return Err("it holds what was never written".to_owned());
        }
        let mut folded = Ledger::new(Bounds::default());
        read.iter().for_each(|entry| folded.evolve(entry.at, &entry.event));
        let opened = self.runtime.block_on(async {
            let (treasury, task) = Treasury::open(store, clock(), settings(2)).await.unwrap();
            let running = tokio::spawn(task.run());
            let ledger = treasury.read(Ledger::clone).await.unwrap();
            drop(treasury);
            running.await.unwrap();
            ledger
        });
        if opened == folded {
            Ok(end)
        } else {
            Err("its snapshot and its tail give another ledger".to_owned())
        }
    }
}
