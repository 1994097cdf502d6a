//! What is under way and ends once, for many who wait for its end: they hear of it in the order in which
//! they began to wait.
//!
//! Not tokio's `watch`: it draws by a random number of its own who of them hears first, and nothing in the
//! runtime is drawn but by entropy.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Whoever carries what is under way. It has landed once this says so, or the last clone is dropped.
#[derive(Clone)]
pub struct UnderWay(Arc<Owner>);

struct Owner(Landing);

/// Tells that it has landed. Clones tell the same.
#[derive(Clone)]
pub struct Landing(Arc<Semaphore>);

impl UnderWay {
    /// Begins, and gives what its end is heard by.
    pub fn begin() -> (Self, Landing) {
        let landing = Landing(Arc::new(Semaphore::new(0)));
        (Self(Arc::new(Owner(landing.clone()))), landing)
    }

    /// Ends it; once is enough.
    pub fn land(&self) {
        self.0.0.0.close();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.0.close();
    }
}

impl Landing {
    /// Waits until it has landed. May be dropped, and loses nothing.
    pub async fn wait(&self) {
        // There is never anything to acquire: this ends as it is closed.
        let _ = self.0.acquire().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::FutureExt;

    use super::*;

    /// Who hears of it: the places of 16 in the order in which they were woken.
    async fn heard_after(end: impl FnOnce(UnderWay)) -> Vec<usize> {
        let (under_way, landing) = UnderWay::begin();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let waiting = (0..16).map(|place| {
            let (landing, heard) = (landing.clone(), Arc::clone(&heard));
            tokio::spawn(async move {
                landing.wait().await;
                heard.lock().expect("no holder panics").push(place);
            })
        });
        let waiting: Vec<_> = waiting.collect();
        tokio::task::yield_now().await;
        assert!(heard.lock().expect("no holder panics").is_empty());
        end(under_way);
        for task in waiting {
            task.await.expect("nobody panics");
        }
        landing.wait().await;
        heard.lock().expect("no holder panics").clone()
    }

    /// A seed of the simulator was now one run and now another: two calls with one payment had waited for a
    /// third, and either came first.
    #[tokio::test]
    async fn who_waited_longest_hears_first() {
        let in_order: Vec<usize> = (0..16).collect();
        assert_eq!(heard_after(|under_way| under_way.land()).await, in_order);
        assert_eq!(heard_after(drop).await, in_order);
    }

    #[tokio::test]
    async fn it_lands_with_the_last_of_its_clones() {
        let (under_way, landing) = UnderWay::begin();
        drop(under_way.clone());
        assert_eq!(landing.wait().now_or_never(), None);
        drop(under_way);
        landing.wait().await;
    }
}
