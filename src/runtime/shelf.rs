//! Answers on their way into the archive: found from the moment that they are put here, so that nobody
//! has to wait until they are written. A crash loses what lies here, and no money with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::domain::time::Timestamp;
use crate::ports::archive::{AnswerKey, Archive, KeptAnswer};

/// Answers that wait at most; beyond them whoever brings one waits until it is written.
const WAITING_MAX: usize = 4096;

/// The shelf before one archive.
pub struct Shelf {
    archive: Arc<dyn Archive>,
    waiting: Mutex<HashMap<AnswerKey, (KeptAnswer, Timestamp)>>,
}

impl Shelf {
    /// An empty one.
    pub fn new(archive: Arc<dyn Archive>) -> Self {
        Self { archive, waiting: Mutex::default() }
    }

    /// Puts an answer here; whoever does writes it by [`Shelf::write`] later. Waits only where too many
    /// lie here already.
    pub async fn put(&self, key: AnswerKey, answer: KeptAnswer, at: Timestamp) {
        let full = {
            let mut waiting = self.waiting.lock().expect("no holder of the shelf panics");
            if waiting.len() < WAITING_MAX {
                waiting.insert(key, (answer, at));
                return;
            }
            answer
        };
        self.archive.keep_answer(key, full, at).await;
    }

    /// Writes what was put here as `key`, if it lies here still.
    pub async fn write(&self, key: AnswerKey) {
        let waiting = self.lookup(key);
        let Some((answer, at)) = waiting else { return };
        self.archive.keep_answer(key, answer, at).await;
        self.waiting.lock().expect("no holder of the shelf panics").remove(&key);
    }

    /// The answer, here or in the archive.
    pub async fn find(&self, key: AnswerKey) -> Option<KeptAnswer> {
        match self.lookup(key) {
            Some((answer, _)) => Some(answer),
            None => self.archive.find_answer(key).await,
        }
    }

    fn lookup(&self, key: AnswerKey) -> Option<(KeptAnswer, Timestamp)> {
        self.waiting.lock().expect("no holder of the shelf panics").get(&key).cloned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use crate::domain::id::PaymentId;
    use crate::domain::order::Usage;
    use crate::ports::archive::MemoryArchive;

    #[tokio::test]
    async fn an_answer_is_found_before_and_after_it_is_written() {
        let archive = Arc::new(MemoryArchive::default());
        let shelf = Shelf::new(archive.clone());
        let key = AnswerKey::Bought(PaymentId::from_bytes([1; 16]));
        let answer = KeptAnswer {
            content_type: "text/plain".to_owned(),
            model: "m".to_owned(),
            body: Some("words".into()),
            usage: Usage::default(),
            receipt: None,
            charge: None,
        };
        shelf.put(key, answer.clone(), Timestamp::ZERO).await;
        assert_eq!(
            (shelf.find(key).await, archive.find_answer(key).await),
            (Some(answer.clone()), None)
        );
        shelf.write(key).await;
        assert!(shelf.lookup(key).is_none(), "it lies there no more");
        assert_eq!(
            (shelf.find(key).await, archive.find_answer(key).await),
            (Some(answer.clone()), Some(answer))
        );
    }
}
