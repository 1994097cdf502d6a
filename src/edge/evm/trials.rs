//! Tries calls out without sending them, those of many callers in one message: while one message is under
//! way, what comes in waits for the next.

use std::sync::Arc;

use alloy::primitives::{Address, Bytes};
use alloy::rpc::types::TransactionRequest;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};

use super::node::{BATCH_LEN, Node, Trouble};
use super::sender::Call;

/// How many may wait; whoever comes next waits for a place.
const WAITING_MAX: usize = 4096;

/// How many messages are under way at a time: one is answered while the next is written.
const MESSAGES_MAX: usize = 2;

struct Trial {
    request: TransactionRequest,
    answer: oneshot::Sender<Result<(), Trouble>>,
}

/// Tries calls out as one account.
pub(super) struct Trials {
    from: Address,
    line: mpsc::Sender<Trial>,
}

impl Trials {
    pub(super) fn start(node: Arc<Node>, from: Address) -> Self {
        let (line, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(work(node, waiting));
        Self { from, line }
    }

    /// Runs `call` on the newest block, with at most so much gas, and forgets what it did.
    pub(super) async fn run(&self, call: &Call, gas_max: Option<u64>) -> Result<(), Trouble> {
        let request = TransactionRequest { gas: gas_max, ..call.request().from(self.from) };
        let (answer, answered) = oneshot::channel();
        let stopped = || Trouble::Silent("trying calls out has stopped".to_owned());
        self.line.send(Trial { request, answer }).await.map_err(|_| stopped())?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }
}

async fn work(node: Arc<Node>, mut waiting: mpsc::Receiver<Trial>) {
    let mut messages = FuturesUnordered::new();
    let mut some = Vec::new();
    loop {
        tokio::select! {
            biased;
            Some(()) = messages.next(), if !messages.is_empty() => {}
            count = waiting.recv_many(&mut some, BATCH_LEN), if messages.len() < MESSAGES_MAX => {
                if count == 0 {
                    break;
                }
                messages.push(try_out(&node, std::mem::take(&mut some)));
            }
        }
    }
    while messages.next().await.is_some() {}
}

async fn try_out(node: &Node, trials: Vec<Trial>) {
    let asked: Vec<_> = trials.iter().map(|trial| (trial.request.clone(), "latest")).collect();
    let answers = node.ask_each::<_, Bytes>("eth_call", &asked).await;
    match answers {
        Ok(answers) => {
            for (trial, answer) in trials.into_iter().zip(answers) {
                // Whoever asked may have gone.
                drop(trial.answer.send(answer.map(drop)));
            }
        }
        Err(trouble) => {
            for trial in trials {
                drop(trial.answer.send(Err(trouble.clone())));
            }
        }
    }
}
