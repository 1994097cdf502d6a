//! What a payer says while an answer flows, on its way: in its order, each for a while, and now and then
//! nothing any more, told or not.

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::mpsc;

use crate::ports::paid_service::{Said, Saying};
use crate::sim::fate::Fault;
use crate::sim::network::Link;

/// Words that may be on their way.
const WORDS_MAX: usize = 64;

/// What arrives at the payee's.
pub struct Heard {
    link: Link,
    place: u64,
    words: mpsc::Receiver<Said>,
}

impl Link {
    /// Lets the payer's process say it.
    pub(super) fn tell(&self, mut saying: Saying) -> Heard {
        let (sender, words) = mpsc::channel(WORDS_MAX);
        let link = self.clone();
        tokio::spawn(async move {
            while let Some(word) = saying.next().await {
                link.way().await;
                if link.fate.strikes(Fault::BrokenStream) {
                    if link.fate.below(2) == 0 {
                        break;
                    }
                    std::future::pending::<()>().await;
                }
                if sender.send(word).await.is_err() {
                    break;
                }
                link.count();
            }
            drop(sender);
            link.count();
        });
        Heard { link: self.clone(), place: self.place(), words }
    }
}

/// What the payee hears of it.
pub(super) fn hearing(heard: Option<Heard>) -> Saying {
    stream::unfold(heard, |heard| async move {
        let mut heard = heard?;
        match heard.words.recv().await {
            Some(word) => Some((word, Some(heard))),
            None => {
                heard.link.turn(heard.place).await;
                None
            }
        }
    })
    .boxed()
}
