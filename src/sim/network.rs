//! The network between payer and payee: letters that are lost, doubled, late, or go astray because a
//! process died.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::{mpsc, oneshot};

use crate::domain::id::PaymentId;
use crate::domain::order::Units;
use crate::domain::x402::batch::read::{CreditWord, VoucherWord};
use crate::domain::x402::identifier::find_payment;
use crate::domain::x402::wire::SettlementResponse;
use crate::ports::clock::Clock;
use crate::ports::paid_service::{
    Answer, Ask, Connector, PaidCall, PaidService, Piece, Quoted, Saying, ServiceError,
};
use crate::sim::clock::SimClock;
use crate::sim::fate::{Fate, Fault};
use crate::sim::flowing::{Heard, hearing};
use crate::sim::oracle::Oracle;

/// A letter takes up to this long, in milliseconds.
const WAY_MS_MAX: u64 = 80;

/// How much later a late answer is.
const LATE: Duration = Duration::from_secs(90);

/// Letters that may lie at a payee's door.
const LETTERS_MAX: usize = 4096;

/// Pieces of an answer that may be on their way.
const PIECES_MAX: usize = 64;

/// An answer's head; the rest comes piece by piece.
struct Head {
    content_type: String,
    model: String,
    settled: Option<SettlementResponse>,
    pieces: mpsc::Receiver<Result<Piece, ServiceError>>,
}

/// What is asked of the payee.
enum Letter {
    Quote(Ask, oneshot::Sender<Result<Quoted, ServiceError>>),
    Infer(Box<PaidCall>, By, oneshot::Sender<Result<Head, ServiceError>>),
}

/// What pays for a call.
enum By {
    /// What it carries.
    Payment,
    /// The same, and what its payer says while the answer flows; nothing where it comes a second time.
    Flow(Option<Heard>),
    /// A voucher, as peers say it.
    Voucher(VoucherWord),
    /// None yet.
    Credit(CreditWord),
}

/// The way to the payee's door, whichever process stands behind it. Clones are the same way.
#[derive(Clone)]
pub struct Link {
    clock: SimClock,
    pub(super) fate: Fate,
    oracle: Oracle,
    door: Arc<Mutex<Option<mpsc::Sender<Letter>>>>,
    /// Letters so far, of both directions: who sees it stand still knows that nobody was woken.
    letters: Arc<AtomicU64>,
    /// Whether both sides say vouchers as peers do.
    brief: bool,
}

impl Link {
    /// A way to a door that is still closed.
    pub fn new(clock: SimClock, fate: Fate, oracle: Oracle, brief: bool) -> Self {
        Self { clock, fate, oracle, door: Arc::default(), letters: Arc::default(), brief }
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
                self.count();
            }
            Letter::Infer(call, by, reply) => {
                let flows = matches!(by, By::Flow(_));
                let answered = match by {
                    By::Payment => service.infer(*call).await,
                    By::Flow(heard) => service.flow(*call, hearing(heard)).await,
                    By::Voucher(word) => service.infer_by_word(*call, word).await,
                    By::Credit(word) => service.infer_on_credit(*call, word).await,
                };
                match answered {
                    Ok(answer) => self.stream(answer, flows, reply).await,
                    Err(error) => {
                        let _ = reply.send(Err(error));
                        self.count();
                    }
                }
            }
        }
    }

    /// Sends an answer's pieces as they come.
    async fn stream(
        &self,
        answer: Answer,
        flows: bool,
        reply: oneshot::Sender<Result<Head, ServiceError>>,
    ) {
        let Answer { content_type, model, settled, mut pieces } = answer;
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        let _ = reply.send(Ok(Head { content_type, model, settled, pieces: receiver }));
        self.count();
        while let Some(mut piece) = pieces.next().await {
            self.lie(&mut piece);
            if let Ok(Piece::Done(closing)) = &piece
                && let Some(receipt) = &closing.receipt
                && let Some(payment) = receipt.receipt.payment
            {
                self.oracle.check_served(payment);
            }
            let gone = sender.send(piece).await.is_err();
            self.count();
            // Who is paid as the answer flows sees that nobody reads it any more.
            if gone && flows {
                return;
            }
        }
    }

    /// A payee that charges by channel says another charge than it made, or more used than it was.
    fn lie(&self, piece: &mut Result<Piece, ServiceError>) {
        let closing = match piece {
            Ok(Piece::Done(closing) | Piece::Cut(closing)) => closing,
            Ok(Piece::Used(used)) => {
                if self.fate.strikes(Fault::Lied) {
                    used.output = Units(used.output.0.saturating_mul(10));
                }
                return;
            }
            Ok(Piece::Chunk(_)) | Err(_) => return,
        };
        let Some(extra) = closing.response.extra.as_mut() else { return };
        if extra.contains_key("chargedAmount") && self.fate.strikes(Fault::Lied) {
            extra.insert("chargedAmount".to_owned(), "1000000".into());
        }
    }

    pub(super) fn count(&self) {
        self.letters.fetch_add(1, Ordering::Relaxed);
    }

    fn post(&self, letter: Letter) -> Result<(), ServiceError> {
        self.count();
        let door = self.door.lock().expect("no holder of the door panics").clone();
        let closed = || ServiceError::Unavailable("nobody is at the door".to_owned());
        door.ok_or_else(closed)?.try_send(letter).map_err(|_| closed())
    }

    pub(super) async fn way(&self) {
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

    /// A dying process drops what it holds in an order of its scheduler's own. Who hears of it first is
    /// decided here, by who wrote first.
    pub(super) async fn turn(&self, place: u64) {
        let turn = self.clock.now().after(Duration::from_nanos(place));
        self.clock.sleep_until(turn).await;
    }

    /// The pieces as they arrive: one after another, each on its way for a while, and now and then
    /// none any more.
    fn arriving(
        &self,
        pieces: mpsc::Receiver<Result<Piece, ServiceError>>,
        payment: Option<PaymentId>,
    ) -> BoxStream<'static, Result<Piece, ServiceError>> {
        let (link, place) = (self.clone(), self.place());
        let arriving = Arriving { link, place, pieces, payment, ended: false };
        stream::unfold(arriving, |mut arriving| async move {
            let piece = arriving.next().await?;
            Some((piece, arriving))
        })
        .boxed()
    }

    /// A place among those who wait: no two have the same.
    pub(super) fn place(&self) -> u64 {
        self.count();
        self.letters()
    }

    async fn call(
        &self,
        call: PaidCall,
        by: impl Fn() -> By + Send,
    ) -> Result<Answer, ServiceError> {
        let payment = call.payment.as_ref().and_then(|it| find_payment(it).ok().flatten());
        let head = self.ask(|reply| Letter::Infer(Box::new(call.clone()), by(), reply)).await?;
        let Head { content_type, model, settled, pieces } = head;
        Ok(Answer { content_type, model, settled, pieces: self.arriving(pieces, payment) })
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
                self.turn(place).await;
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
        self.call(call, || By::Payment).await
    }

    async fn flow(&self, call: PaidCall, saying: Saying) -> Result<Answer, ServiceError> {
        let heard = Mutex::new(Some(self.tell(saying)));
        self.call(call, || By::Flow(heard.lock().expect("nobody panics with it in hand").take()))
            .await
    }

    fn takes_words(&self) -> bool {
        self.brief
    }

    async fn infer_by_word(
        &self,
        call: PaidCall,
        word: VoucherWord,
    ) -> Result<Answer, ServiceError> {
        self.call(call, || By::Voucher(word)).await
    }

    async fn infer_on_credit(
        &self,
        call: PaidCall,
        word: CreditWord,
    ) -> Result<Answer, ServiceError> {
        self.call(call, || By::Credit(word)).await
    }
}

/// An answer on its way.
struct Arriving {
    link: Link,
    place: u64,
    pieces: mpsc::Receiver<Result<Piece, ServiceError>>,
    payment: Option<PaymentId>,
    ended: bool,
}

impl Arriving {
    async fn next(&mut self) -> Option<Result<Piece, ServiceError>> {
        if self.ended {
            return None;
        }
        let Some(piece) = self.pieces.recv().await else {
            // No last piece came: the process behind it died.
            self.ended = true;
            self.link.turn(self.place).await;
            return None;
        };
        self.ended = matches!(piece, Ok(Piece::Done(_) | Piece::Cut(_)) | Err(_));
        self.link.way().await;
        if self.link.fate.strikes(Fault::BrokenStream) {
            self.ended = true;
            return match self.link.fate.below(3) {
                0 => None,
                1 => Some(Err(ServiceError::Unknown("the stream broke".to_owned()))),
                _ => std::future::pending().await,
            };
        }
        if let (Some(payment), Ok(Piece::Chunk(chunk))) = (self.payment, &piece) {
            self.link.oracle.see_arrive(payment, chunk.len());
        }
        Some(piece)
    }
}

#[async_trait]
impl Connector for Link {
    async fn connect(&self, _endpoint: &str) -> Result<Arc<dyn PaidService>, ServiceError> {
        Ok(Arc::new(self.clone()))
    }
}
