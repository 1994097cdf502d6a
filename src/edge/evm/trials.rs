//! Tries calls out without sending them, those of many callers in one message: while one message is under
//! way, what comes in waits for the next.
//!
//! What is the same whoever calls is tried out in one question for all of them, by a constructor that takes each
//! back before the next. Whatever does not go through there is asked about alone: it may have been the gas, and
//! the node's own word tells why.

use std::sync::Arc;

use alloy::primitives::{Address, Bytes, TxKind, U256};
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolValue;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};

use super::constructors::{TRIALS, with_code};
use super::node::{BATCH_LEN, Node, Trouble};
use super::sender::Call;

/// How many may wait; whoever comes next waits for a place.
const WAITING_MAX: usize = 4096;

/// How many messages are under way at a time: one is answered while the next is written.
const MESSAGES_MAX: usize = 2;

/// How many calls one question tries out: few enough for the gas and the length that nodes let a constructor
/// have. Source: EIP-3860.
const JOINED_MAX: usize = 64;

/// What a transaction uses beside the call that it makes, in gas, at most: where a call has no transaction of
/// its own, it must do with so much less.
const AROUND_GAS: u64 = 30_000;

alloy::sol! {
    /// As contracts/src/Trials.sol has it.
    struct Tried {
        address to;
        uint256 gasMax;
        bytes input;
    }
}

/// A call to be tried out.
pub(super) struct Trial {
    pub(super) call: Call,
    /// What it may use, in gas.
    pub(super) gas_max: u64,
    /// Whether it does the same whoever makes it.
    pub(super) by_anybody: bool,
}

impl Trial {
    fn request(&self, from: Address) -> TransactionRequest {
        TransactionRequest { gas: Some(self.gas_max), ..self.call.request().from(from) }
    }

    /// How it is tried out among others, where it can be.
    fn joined(&self) -> Option<Tried> {
        let TxKind::Call(to) = self.call.to else { return None };
        let gas_max = U256::from(self.gas_max.saturating_sub(AROUND_GAS));
        self.by_anybody.then(|| Tried { to, gasMax: gas_max, input: self.call.input.clone() })
    }
}

/// A trial, and who waits for it.
struct Asked {
    trial: Trial,
    answer: oneshot::Sender<Result<(), Trouble>>,
}

/// Tries calls out as one account.
pub(super) struct Trials {
    line: mpsc::Sender<Asked>,
}

impl Trials {
    pub(super) fn start(node: Arc<Node>, from: Address) -> Self {
        let (line, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(work(Desk { node, from }, waiting));
        Self { line }
    }

    /// Makes the call on the newest block, and forgets what it did.
    pub(super) async fn run(&self, trial: Trial) -> Result<(), Trouble> {
        let (answer, answered) = oneshot::channel();
        let stopped = || Trouble::Silent("trying calls out has stopped".to_owned());
        self.line.send(Asked { trial, answer }).await.map_err(|_| stopped())?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }
}

async fn work(desk: Desk, mut waiting: mpsc::Receiver<Asked>) {
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
                messages.push(desk.try_out(std::mem::take(&mut some)));
            }
        }
    }
    while messages.next().await.is_some() {}
}

struct Desk {
    node: Arc<Node>,
    from: Address,
}

impl Desk {
    async fn try_out(&self, trials: Vec<Asked>) {
        let (together, alone): (Vec<_>, Vec<_>) =
            trials.into_iter().partition(|asked| asked.trial.joined().is_some());
        let together = self.try_together(together);
        let (left, ()) = tokio::join!(together, self.try_alone(alone));
        self.try_alone(left).await;
    }

    /// Those that it is not known of that they go through.
    async fn try_together(&self, trials: Vec<Asked>) -> Vec<Asked> {
        let mut left = Vec::new();
        let mut trials = trials.into_iter().peekable();
        while trials.peek().is_some() {
            let some: Vec<Asked> = trials.by_ref().take(JOINED_MAX).collect();
            if some.len() < 2 {
                left.extend(some);
                continue;
            }
            let passed = self.pass(&some).await;
            for (asked, passed) in some.into_iter().zip(passed) {
                if passed {
                    // Whoever asked may have gone.
                    drop(asked.answer.send(Ok(())));
                } else {
                    left.push(asked);
                }
            }
        }
        left
    }

    /// Which of these go through; none where the node does not say.
    async fn pass(&self, trials: &[Asked]) -> Vec<bool> {
        let calls: Vec<Tried> = trials.iter().filter_map(|asked| asked.trial.joined()).collect();
        let input = with_code(&TRIALS, &(calls,).abi_encode_params());
        let mut request = TransactionRequest::default().from(self.from).input(input.into());
        request.to = Some(TxKind::Create);
        let said = self.node.ask::<_, Bytes>("eth_call", (request, "latest")).await;
        match said {
            Ok(said) if said.len() == trials.len() => said.iter().map(|word| *word == 1).collect(),
            Ok(_) | Err(_) => vec![false; trials.len()],
        }
    }

    async fn try_alone(&self, trials: Vec<Asked>) {
        if trials.is_empty() {
            return;
        }
        let ask = |asked: &Asked| (asked.trial.request(self.from), "latest");
        let asked: Vec<_> = trials.iter().map(ask).collect();
        match self.node.ask_each::<_, Bytes>("eth_call", &asked).await {
            Ok(answers) => {
                for (asked, answer) in trials.into_iter().zip(answers) {
                    drop(asked.answer.send(answer.map(drop)));
                }
            }
            Err(trouble) => {
                for asked in trials {
                    drop(asked.answer.send(Err(trouble.clone())));
                }
            }
        }
    }
}
