//! One side in a runtime of its own, which can die without a word.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// A runtime of its own for one side, so that it can die without a word.
pub fn apart() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub fn within<T>(apart: &Runtime, work: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| apart.block_on(work))
}

/// Everything that runs there is gone at whatever it was doing, and its connections with it.
pub fn crash(apart: Runtime) {
    tokio::task::block_in_place(|| apart.shutdown_timeout(Duration::from_secs(10)));
}
