//! The sandbox's public face, and the one thread behind it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use alloy::consensus::transaction::Recovered;
use alloy::consensus::{Transaction, TxEnvelope};
use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::rpc::types::TransactionRequest;
use tokio::sync::oneshot;

use super::block;
use super::chain::Chain;
use super::error::SandboxError;
use super::genesis::Genesis;
use super::store::Place;
use super::transaction;

/// The clock that blocks are stamped by: seconds since the epoch.
pub type NowSeconds = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How many jobs may wait for the thread.
const WAITING_MAX: usize = 4096;

/// How many of them it takes at once, and so how many transactions share a block.
const BATCH_MAX: usize = 256;

/// How often the thread looks at the clock when nothing is asked of it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

type Look = Box<dyn FnOnce(&mut Chain, u64) + Send>;

enum Job {
    Transact { transaction: Box<Recovered<TxEnvelope>>, answer: oneshot::Sender<Answer> },
    Look(Look),
}

type Answer = Result<B256, SandboxError>;

/// A transaction that was mined, and the gas that it used.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct GasUsed {
    /// Who sent it, and paid for it.
    pub from: Address,
    /// Which account or contract it called; `None` where it made one.
    pub to: Option<Address>,
    /// How much.
    pub gas: u64,
}

/// A sandbox chain. Clones are the same chain; it stops when the last one goes.
#[derive(Clone)]
pub struct Sandbox {
    thread: Arc<Thread>,
    chain_id: u64,
    genesis_hash: B256,
}

impl Sandbox {
    /// Opens the chain at `place`, and begins it with `genesis` where there is none. Blocks take
    /// their time from `now_seconds`, and an empty one is mined for each second in which nothing
    /// else was.
    ///
    /// # Errors
    /// [`SandboxError::OtherChain`], [`SandboxError::OtherGenesis`] where the file began otherwise;
    /// [`SandboxError::OtherFormat`] where it is not a sandbox's; [`SandboxError::InUse`] where
    /// somebody has it open; [`SandboxError::Store`] where it cannot be read or is damaged;
    /// [`SandboxError::Reverted`] where the genesis gives away more than the token can count.
    pub fn open(
        place: &Place,
        genesis: &Genesis,
        now_seconds: NowSeconds,
    ) -> Result<Self, SandboxError> {
        let chain = Chain::open(place, genesis)?;
        let (chain_id, genesis_hash) = (chain.chain_id(), chain.genesis_hash());
        let (jobs, waiting) = sync_channel(WAITING_MAX);
        let thread = thread::Builder::new()
            .name("sandbox".to_owned())
            .spawn(move || Worker { chain, now_seconds }.work(&waiting))
            .map_err(|_| SandboxError::Stopped)?;
        let thread = Arc::new(Thread { jobs: Some(jobs), thread: Mutex::new(Some(thread)) });
        Ok(Self { thread, chain_id, genesis_hash })
    }

    /// The EIP-155 chain id.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The hash of block 0: which sandbox this is.
    pub fn genesis_hash(&self) -> B256 {
        self.genesis_hash
    }

    /// Mines a signed transaction (EIP-2718 bytes), and returns when its block is durable. Its
    /// receipt says whether it succeeded.
    ///
    /// # Errors
    /// [`SandboxError::Refused`] where it cannot be mined; [`SandboxError::Busy`];
    /// [`SandboxError::Store`] and [`SandboxError::Stopped`] leave open whether it was.
    pub async fn send_raw(&self, raw: &[u8]) -> Result<B256, SandboxError> {
        let transaction =
            Box::new(transaction::decode(raw, self.chain_id).map_err(SandboxError::Refused)?);
        let (answer, answered) = oneshot::channel();
        self.thread.ask(Job::Transact { transaction, answer })?;
        answered.await.map_err(|_| SandboxError::Stopped)?
    }

    /// Runs a call after block `at` and answers what it returned; nothing is kept.
    ///
    /// # Errors
    /// [`SandboxError::Reverted`], [`SandboxError::Halted`], [`SandboxError::NoBlock`].
    pub async fn call(
        &self,
        request: TransactionRequest,
        at: BlockId,
    ) -> Result<Bytes, SandboxError> {
        self.look(move |chain, _| chain.call(request, chain.number(at)?)).await
    }

    /// Gives `to` so many atomic units of the token more, and native units for gas. Answers the
    /// transaction that minted, once it is durable.
    ///
    /// # Errors
    /// [`SandboxError::FaucetRefused`] where the token cannot count that many.
    pub async fn fund(&self, to: Address, amount: U256) -> Result<B256, SandboxError> {
        self.look(move |chain, now_s| chain.fund(to, amount, now_s)).await
    }

    /// Blocks are final only once `depth` others stand on them; at first each is at once.
    ///
    /// # Errors
    /// [`SandboxError::Busy`], [`SandboxError::Stopped`].
    pub async fn final_after(&self, depth: u64) -> Result<(), SandboxError> {
        let look = move |chain: &mut Chain, _| {
            chain.final_after(depth);
            Ok(())
        };
        self.look(look).await
    }

    /// Takes the newest `blocks` back and mines others: with what was in them where `again`, the last
    /// block's first, else without. Answers the transactions that were in them.
    ///
    /// # Errors
    /// [`SandboxError::FinalBlock`] where one of them is final.
    pub async fn reorganise(&self, blocks: u64, again: bool) -> Result<Vec<B256>, SandboxError> {
        self.look(move |chain, now_s| chain.reorganise(blocks, again, now_s)).await
    }

    /// What every transaction after block `after` used, in the chain's order.
    ///
    /// # Errors
    /// [`SandboxError::Store`], [`SandboxError::Stopped`], [`SandboxError::Busy`].
    pub async fn used_after(&self, after: u64) -> Result<Vec<GasUsed>, SandboxError> {
        let look = move |chain: &mut Chain, _| {
            let mut used = Vec::new();
            let newest = chain.head().number;
            chain.scan(after.saturating_add(1), newest, |row| {
                let block = block::from_row(&row, Default::default())?;
                used.extend(block.mined.iter().map(|mined| GasUsed {
                    from: mined.transaction.signer(),
                    to: mined.transaction.to(),
                    gas: mined.outcome.gas_used,
                }));
                Ok(())
            })?;
            Ok(used)
        };
        self.look(look).await
    }

    /// Runs `look` on the chain's thread.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Chain, u64) -> Result<T, SandboxError> + Send + 'static,
    ) -> Result<T, SandboxError> {
        let (answer, answered) = oneshot::channel();
        // Whoever asked may be gone by now.
        let look = move |chain: &mut Chain, now_s| drop(answer.send(look(chain, now_s)));
        self.thread.ask(Job::Look(Box::new(look)))?;
        answered.await.map_err(|_| SandboxError::Stopped)?
    }
}

/// The thread's handle: dropped, it closes the queue and waits for the thread to empty it.
struct Thread {
    jobs: Option<SyncSender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Thread {
    fn ask(&self, job: Job) -> Result<(), SandboxError> {
        let jobs = self.jobs.as_ref().ok_or(SandboxError::Stopped)?;
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => SandboxError::Busy { waiting_max: WAITING_MAX },
            TrySendError::Disconnected(_) => SandboxError::Stopped,
        })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.jobs = None;
        let thread = self.thread.get_mut().map(Option::take);
        if let Ok(Some(thread)) = thread {
            // A panic there was reported by the panic hook already.
            drop(thread.join());
        }
    }
}

/// What the thread owns.
struct Worker {
    chain: Chain,
    now_seconds: NowSeconds,
}

impl Worker {
    /// Works until nobody can ask any more, or until a write failed: those who still wait are told
    /// that the sandbox has stopped.
    fn work(mut self, waiting: &Receiver<Job>) {
        while !self.chain.is_broken() {
            let first = match waiting.recv_timeout(LOOK_EVERY) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let more = first.is_some().then(|| waiting.try_iter().take(BATCH_MAX));
            let (mut transactions, mut looks) = (Vec::new(), Vec::new());
            for job in first.into_iter().chain(more.into_iter().flatten()) {
                match job {
                    Job::Transact { transaction, answer } => {
                        transactions.push((transaction, answer));
                    }
                    Job::Look(look) => looks.push(look),
                }
            }
            self.transact(transactions);
            for look in looks {
                if !self.chain.is_broken() {
                    look(&mut self.chain, (self.now_seconds)());
                }
            }
            self.keep_pace();
        }
        tracing::error!("sandbox stopped: its file failed");
    }

    fn transact(&mut self, jobs: Vec<(Box<Recovered<TxEnvelope>>, oneshot::Sender<Answer>)>) {
        if jobs.is_empty() {
            return;
        }
        let (transactions, answers): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|(transaction, answer)| (*transaction, answer)).unzip();
        // Whoever asked may be gone by now, so a failure to answer is none of ours.
        match self.chain.mine(transactions, (self.now_seconds)()) {
            Ok(outcomes) => {
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    drop(answer.send(outcome.map_err(SandboxError::Refused)));
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for answer in answers {
                    drop(answer.send(Err(SandboxError::Store(error.clone()))));
                }
            }
        }
    }

    /// Mines an empty block where the clock is past the head.
    fn keep_pace(&mut self) {
        let now_s = (self.now_seconds)();
        if !self.chain.is_broken()
            && now_s > self.chain.head().timestamp
            && let Err(error) = self.chain.mine_empty(now_s)
        {
            tracing::error!(%error, "empty block not written");
        }
    }
}
