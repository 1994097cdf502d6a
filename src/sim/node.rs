//! One process of the world: its tasks, run until none of them can go on. Dropping it is a crash.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use tokio::runtime::{Builder, Runtime};

#[derive(Default)]
struct Rest {
    reached: AtomicBool,
    waiting: Mutex<Option<Waker>>,
}

/// A process: a scheduler of one thread, without time and without I/O.
pub struct Node {
    runtime: Runtime,
    rest: Arc<Rest>,
}

impl Node {
    /// A process that does `main`.
    pub fn start(main: impl Future<Output = ()> + Send + 'static) -> Self {
        let rest = Arc::new(Rest::default());
        let reached = Arc::clone(&rest);
        let runtime = Builder::new_current_thread()
            .on_thread_park(move || {
                reached.reached.store(true, Ordering::SeqCst);
                let waiting = reached.waiting.lock().expect("no holder of the waker panics").take();
                if let Some(waker) = waiting {
                    waker.wake();
                }
            })
            .build()
            .expect("a scheduler without time and I/O needs nothing of the system");
        runtime.spawn(main);
        Self { runtime, rest }
    }

    /// Runs every task until all of them wait.
    pub fn run_ready(&self) {
        self.rest.reached.store(false, Ordering::SeqCst);
        self.runtime.block_on(std::future::poll_fn(|context| {
            if self.rest.reached.load(Ordering::SeqCst) {
                return Poll::Ready(());
            }
            let mut waiting = self.rest.waiting.lock().expect("no holder of the waker panics");
            *waiting = Some(context.waker().clone());
            Poll::Pending
        }));
    }
}
