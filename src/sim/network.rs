//! The network between payer and payee: letters that are lost, doubled, late, or go astray because a
//! process died.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use tokio::sync::{mpsc, oneshot};

use crate::domain::x402::wire::SettlementResponse;
use crate::ports::clock::Clock;
use crate::ports::paid_service::{
    Answer, Ask, Connector, PaidCall, PaidService, Piece, Quoted, ServiceError,
};
use crate::sim::clock::SimClock;
use crate::sim::fate::{Fate, Fault};

/// A letter takes up to this long, in milliseconds.
const WAY_MS_MAX: u64 = 80;

/// How much later a late answer is.
const LATE: Duration = Duration::from_secs(90);

/// Letters that may lie at a payee's door.
const LETTERS_MAX: usize = 4096;

/// An answer, whole.
struct Whole {
    content_type: String,
    model: String,
    settled: Option<SettlementResponse>,
    pieces: Vec<Result<Piece, ServiceError>>,
}

/// What is asked of the payee.
enum Letter {
    Quote(Ask, oneshot::Sender<Result<Quoted, ServiceError>>),
    Infer(Box<PaidCall>, oneshot::Sender<Result<Whole, ServiceError>>),
}

/// The way to the payee's door, whichever process stands behind it. Clones are the same way.
#[derive(Clone)]
pub struct Link {
    clock: SimClock,
    fate: Fate,
    door: Arc<Mutex<Option<mpsc::Sender<Letter>>>>,
    /// Letters so far, of both directions: who sees it stand still knows that nobody was woken.
    letters: Arc<AtomicU64>,
}

impl Link {
    /// A way to a door that is still closed.
    pub fn new(clock: SimClock, fate: Fate) -> Self {
        Self { clock, fate, door: Arc::default(), letters: Arc::default() }
    }

    /// Letters so far.
    pub fn letters(&self) -> u64 {
        self.letters.load(Ordering::Relaxed)
    }

    /// Closes the door: the process behind it died.
    pub fn close(&self) {
        *self.door.lock().expect("no holder of the door panics") = None;
    }

    /// Opens the door and answers, for as long as this is awaited.
    pub async fn serve(&self, service: Arc<dyn PaidService>) {
        let (sender, mut letters) = mpsc::channel(LETTERS_MAX);
        *self.door.lock().expect("no holder of the door panics") = Some(sender);
        while let Some(letter) = letters.recv().await {
            let (link, service) = (self.clone(), Arc::clone(&service));
            tokio::spawn(async move { link.answer(service.as_ref(), letter).await });
        }
    }

    async fn answer(&self, service: &dyn PaidService, letter: Letter) {
        // Whoever asked may have gone away: then nobody reads what is sent.
        match letter {
            Letter::Quote(ask, reply) => {
                let _ = reply.send(service.quote(ask).await);
            }
            Letter::Infer(call, reply) => {
                let answered = match service.infer(*call).await {
                    Ok(answer) => {
                        let Answer { content_type, model, settled, pieces } = answer;
                        let pieces = pieces.collect().await;
                        Ok(Whole { content_type, model, settled, pieces })
                    }
                    Err(error) => Err(error),
                };
                let _ = reply.send(answered);
            }
        }
        self.count();
    }

    fn count(&self) {
        self.letters.fetch_add(1, Ordering::Relaxed);
    }

    fn post(&self, letter: Letter) -> Result<(), ServiceError> {
        self.count();
        let door = self.door.lock().expect("no holder of the door panics").clone();
        let closed = || ServiceError::Unavailable("nobody is at the door".to_owned());
        door.ok_or_else(closed)?.try_send(letter).map_err(|_| closed())
    }

    async fn way(&self) {
        let until = self.clock.now().after(self.fate.millis(WAY_MS_MAX));
        self.clock.sleep_until(until).await;
    }

    /// Lost: the connection breaks, or nothing is ever heard again.
    async fn lose<T>(&self) -> Result<T, ServiceError> {
        if self.fate.below(2) == 0 {
            return Err(ServiceError::Unknown("the connection broke".to_owned()));
        }
        std::future::pending().await
    }

    async fn ask<T>(
        &self,
        letter: impl Fn(oneshot::Sender<Result<T, ServiceError>>) -> Letter,
    ) -> Result<T, ServiceError> {
        self.way().await;
        if self.fate.strikes(Fault::LostRequest) {
            return self.lose().await;
        }
        let (reply, answered) = oneshot::channel();
        self.post(letter(reply))?;
        if self.fate.strikes(Fault::DoubledRequest) {
            let (nobody, _) = oneshot::channel();
            self.post(letter(nobody))?;
        }
        let place = self.letters();
        let answer = match answered.await {
            Ok(answer) => answer,
            Err(_) => {
                // A dying process drops what it holds in an order of its scheduler's own. Who hears of
                // it first is decided here, by who wrote first.
                let turn = self.clock.now().after(Duration::from_nanos(place));
                self.clock.sleep_until(turn).await;
                Err(ServiceError::Unknown("the connection broke".to_owned()))
            }
        };
        self.way().await;
        if self.fate.strikes(Fault::LateReply) {
            self.clock.sleep_until(self.clock.now().after(LATE)).await;
        }
        if self.fate.strikes(Fault::LostReply) {
            return self.lose().await;
        }
        answer
    }
}

#[async_trait]
impl PaidService for Link {
    async fn quote(&self, ask: Ask) -> Result<Quoted, ServiceError> {
        self.ask(|reply| Letter::Quote(ask.clone(), reply)).await
    }

    async fn infer(&self, call: PaidCall) -> Result<Answer, ServiceError> {
        let whole = self.ask(|reply| Letter::Infer(Box::new(call.clone()), reply)).await?;
        let Whole { content_type, model, settled, pieces } = whole;
        Ok(Answer { content_type, model, settled, pieces: stream::iter(pieces).boxed() })
    }
}

#[async_trait]
impl Connector for Link {
    async fn connect(&self, _endpoint: &str) -> Result<Arc<dyn PaidService>, ServiceError> {
        Ok(Arc::new(self.clone()))
    }
}
