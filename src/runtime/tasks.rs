//! Tasks that somebody owns: none moves money detached, all can be drained, and dropping the owner
//! aborts them, which is what a crash does.

use std::future::Future;
use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;

/// Tasks under one owner; clones share them, and the last clone's drop aborts what still runs.
#[derive(Clone, Default)]
pub struct Tasks(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    running: JoinSet<()>,
    closed: bool,
}

impl Tasks {
    /// Starts `task`, unless the owner is closed already. Whether it was started.
    pub fn start(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let mut state = self.0.lock().expect("no holder of the tasks panics");
        if state.closed {
            return false;
        }
        // What has ended is forgotten here, so that the set is bounded by what runs.
        while state.running.try_join_next().is_some() {}
        state.running.spawn(task);
        true
    }

    /// How many run.
    pub fn running(&self) -> usize {
        let mut state = self.0.lock().expect("no holder of the tasks panics");
        while state.running.try_join_next().is_some() {}
        state.running.len()
    }

    /// Starts no more, and waits for what runs. Cancel-safe: what still runs stays owned.
    pub async fn drain(&self) {
        self.0.lock().expect("no holder of the tasks panics").closed = true;
        let tasks = self.clone();
        std::future::poll_fn(move |context| {
            let mut state = tasks.0.lock().expect("no holder of the tasks panics");
            loop {
                match state.running.poll_join_next(context) {
                    std::task::Poll::Ready(Some(_)) => {}
                    std::task::Poll::Ready(None) => return std::task::Poll::Ready(()),
                    std::task::Poll::Pending => return std::task::Poll::Pending,
                }
            }
        })
        .await;
    }
}
