//! Hands in the transactions of one gas account, many of them under way at once, and watches for their
//! receipts.
//!
//! One task owns the account's nonces. Each transaction takes the lowest that is free, and keeps it until it,
//! or another of the same nonce, is mined:
//!
//! - what was sent together goes in one message, and all receipts are looked for in one message;
//! - what the node has lost is handed in again, the same bytes; what is stuck is made dearer, under the
//!   same nonce, so that one of its prices at most is ever mined;
//! - a nonce that nothing is to be sent under any more, below others that are, is filled by a transaction
//!   of nothing;
//! - whoever waits is answered when enough blocks stand on the receipt, or when its patience ends; what is
//!   under way stays so.

mod look;
mod send;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{B256, Bytes};
use tokio::sync::{mpsc, oneshot};

use crate::domain::time::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::rail::RailError;

use super::config::SettlerConfig;
use super::fees::{Fees, FeesPaid};
use super::node::Node;
use super::sender::{Call, LOOK_FIRST, Outcome};
use super::settler::GasSigner;

/// How many transactions may be under way. A node that mines none is given no more.
pub(super) const UNDER_WAY_MAX: usize = 64;

/// How often one transaction is sent anew for a reason that a new nonce or a new price cures.
const TRIES_MAX: u32 = 3;

/// How often one of them is made dearer.
const PRICES_MAX: usize = 8;

/// How long a price of gas is taken to hold.
const FEES_FRESH: Duration = Duration::from_secs(5);

/// How long the node may have a transaction before it is looked whether it still has.
const PUSH_EVERY: Duration = Duration::from_secs(2);

/// How long the next transaction to be mined may wait before it is made dearer whatever gas costs now.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// How often a nonce may be found used without a receipt of ours before it is given up.
const GONE_MAX: u32 = 2;

/// Letters that wait at most.
const LETTERS_MAX: usize = 1024;

/// A transaction to be sent.
struct Letter {
    call: Call,
    gas_limit: u64,
    answer: oneshot::Sender<Result<Outcome, RailError>>,
}

/// A question for a transaction that may be under way.
struct Question {
    name: B256,
    answer: oneshot::Sender<Option<Outcome>>,
}

/// Who waits for a transaction, and until when.
struct Waiter {
    until: Timestamp,
    answer: Answer,
}

enum Answer {
    ToLetter(oneshot::Sender<Result<Outcome, RailError>>),
    ToQuestion(oneshot::Sender<Option<Outcome>>),
}

impl Waiter {
    /// Whoever waits may have gone.
    fn tell(self, outcome: Outcome) {
        match self.answer {
            Answer::ToLetter(answer) => drop(answer.send(Ok(outcome))),
            Answer::ToQuestion(answer) => drop(answer.send(Some(outcome))),
        }
    }
}

/// A transaction that was sent and not yet seen deep enough in the chain.
struct Pending {
    /// `None` where it only fills a nonce.
    call: Option<Call>,
    nonce: u64,
    gas_limit: u64,
    fees: Fees,
    raw: Bytes,
    /// One for each price it was sent at; at most one of them is ever mined.
    hashes: Vec<B256>,
    /// When it was sent at its newest price.
    sent_at: Timestamp,
    /// How often its nonce was found used without a receipt of ours.
    gone: u32,
    waiters: Vec<Waiter>,
}

/// Sends letters.
#[derive(Clone)]
pub(super) struct Post {
    letters: mpsc::Sender<Letter>,
    questions: mpsc::Sender<Question>,
    node: Arc<Node>,
}

impl Post {
    /// Takes up sending from `signer`'s account, until every [`Post`] is gone.
    pub(super) fn open(
        node: Arc<Node>,
        signer: GasSigner,
        clock: Arc<dyn Clock>,
        config: SettlerConfig,
        fees_paid: FeesPaid,
    ) -> Self {
        let (letters, to_send) = mpsc::channel(LETTERS_MAX);
        let (questions, asked) = mpsc::channel(LETTERS_MAX);
        let now = clock.now();
        let postman = Postman {
            node: node.clone(),
            signer,
            clock,
            config,
            fees_paid,
            pending: Vec::new(),
            next_nonce: None,
            free: BTreeSet::new(),
            fees: None,
            pause: LOOK_FIRST,
            looked_at: now,
            pushed_at: now,
        };
        tokio::spawn(postman.work(to_send, asked));
        Self { letters, questions, node }
    }

    /// Sends `call` and awaits it; where one of its name is under way, awaits that.
    ///
    /// # Errors
    /// [`RailError`] only where nothing was sent.
    pub(super) async fn send(&self, call: Call, gas_limit: u64) -> Result<Outcome, RailError> {
        let (answer, answered) = oneshot::channel();
        let stopped = || RailError::Unreachable {
            network: self.node.network(),
            problem: "the sender has stopped".to_owned(),
        };
        let sent = self.letters.send(Letter { call, gas_limit, answer }).await;
        sent.map_err(|_| stopped())?;
        answered.await.unwrap_or(Ok(Outcome::Unseen(None)))
    }

    /// What came of the transaction with this name that is under way; it is handed in once more.
    pub(super) async fn follow(&self, name: B256) -> Option<Outcome> {
        let (answer, answered) = oneshot::channel();
        self.questions.send(Question { name, answer }).await.ok()?;
        answered.await.ok()?
    }
}

/// The one task that owns an account's nonces.
struct Postman {
    node: Arc<Node>,
    signer: GasSigner,
    clock: Arc<dyn Clock>,
    config: SettlerConfig,
    fees_paid: FeesPaid,
    /// In the order of their nonces.
    pending: Vec<Pending>,
    next_nonce: Option<u64>,
    /// Below the next one, and used by nothing that was sent.
    free: BTreeSet<u64>,
    fees: Option<(Timestamp, Fees)>,
    pause: Duration,
    looked_at: Timestamp,
    pushed_at: Timestamp,
}

impl Postman {
    async fn work(
        mut self,
        mut letters: mpsc::Receiver<Letter>,
        mut questions: mpsc::Receiver<Question>,
    ) {
        let mut some = Vec::new();
        loop {
            let room = UNDER_WAY_MAX.saturating_sub(self.pending.len());
            // Where nobody waits for any of them, the node mines none, and there is no use in waiting.
            let hopeless =
                room == 0 && self.pending.iter().all(|pending| pending.waiters.is_empty());
            let clock = Arc::clone(&self.clock);
            let look_at = self.looked_at.after(self.pause);
            tokio::select! {
                biased;
                Some(question) = questions.recv() => self.follow(question).await,
                count = letters.recv_many(&mut some, room.max(1)), if room > 0 || hopeless => {
                    if count == 0 {
                        break;
                    }
                    let letters = std::mem::take(&mut some);
                    if hopeless {
                        self.refuse(letters);
                    } else {
                        self.send(letters).await;
                    }
                }
                () = clock.sleep_until(look_at), if !self.pending.is_empty() => self.look().await,
            }
        }
    }

    fn refuse(&self, letters: Vec<Letter>) {
        for letter in letters {
            let problem = format!("{UNDER_WAY_MAX} transactions wait to be mined");
            let refused = RailError::Unreachable { network: self.node.network(), problem };
            drop(letter.answer.send(Err(refused)));
        }
    }

    async fn follow(&mut self, Question { name, answer }: Question) {
        let named = |pending: &Pending| pending.call.as_ref().is_some_and(|call| call.name == name);
        let Some(place) = self.pending.iter().position(named) else {
            drop(answer.send(None));
            return;
        };
        self.send_again(place).await;
        let waiter = self.waiter(Answer::ToQuestion(answer));
        if let Some(pending) = self.pending.get_mut(place) {
            pending.waiters.push(waiter);
        }
        self.look_soon();
    }

    fn waiter(&self, answer: Answer) -> Waiter {
        Waiter { until: self.clock.now().after(self.config.wait_max), answer }
    }

    /// Something was sent just now: it may be mined at once.
    fn look_soon(&mut self) {
        (self.pause, self.looked_at) = (LOOK_FIRST, self.clock.now());
    }
}
