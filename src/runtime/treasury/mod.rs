//! The treasury: the only writer of the ledger.
//!
//! One task owns it: it takes up to [`BATCH_MAX`] commands, decides and evolves each in the order they
//! came, appends all events as one durable batch, then answers each. No answer that depends on a write
//! leaves before its sync succeeded; after a failed one the treasury refuses everything and never goes
//! on. It will never sign, call a service or ask a rail.

mod recover;
mod releasing;
mod snapshots;
mod task;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::{RwLock, mpsc, oneshot};

use crate::domain::channel::ChannelId;
use crate::domain::fault::{Class, Fault};
use crate::domain::id::PaymentId;
use crate::domain::ledger::budget::BudgetCheck;
use crate::domain::ledger::{self, Bounds, Command, Event, Ledger, Rejection};
use crate::domain::time::Timestamp;
use crate::ports::clock::Clock;
use crate::ports::holds::{Holds, NotSignable, Permit, Released, ReleasedDeposit, ReleasedVoucher};
use crate::ports::journal::{Journal, JournalError};
use crate::runtime::meters::Meters;

pub use task::TreasuryTask;

use releasing::{Release, Unsynced};

/// Commands in one durable batch at most.
pub const BATCH_MAX: usize = 1024;

/// Commands that may wait at most; beyond that callers wait for their turn to ask.
const QUEUE_MAX: usize = 8192;

/// A command that was done, durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The entry it became.
    pub seq: u64,
    /// When, by ledger time.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
    /// What every budget said, where budgets were asked.
    pub checks: Vec<BudgetCheck>,
}

/// A command that was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The ledger refused it, and nothing changed.
    #[error("{}", .0.rejection)]
    Rejected(Box<ledger::Refusal>),
    /// The treasury has stopped, after a failed write or because the process ends. What was asked is
    /// not acknowledged and never will be.
    #[error("the treasury has stopped: {problem}")]
    Stopped {
        /// Why.
        problem: String,
    },
}

impl Refused {
    /// The ledger's reason, where it was the ledger that refused.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Rejected(refusal) => Some(&refusal.rejection),
            Self::Stopped { .. } => None,
        }
    }
}

impl Fault for Refused {
    fn code(&self) -> &'static str {
        match self {
            Self::Rejected(refusal) => refusal.rejection.code(),
            Self::Stopped { .. } => "treasury.stopped",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Rejected(refusal) => refusal.rejection.class(),
            Self::Stopped { .. } => Class::Later,
        }
    }
}

/// What is asked of the task.
enum Request {
    Execute { command: Command, answer: oneshot::Sender<Result<Done, Refused>> },
    Read { look: Look },
    Release(Release),
}

/// A look at the ledger.
type Look = Box<dyn FnOnce(&Ledger) + Send>;

/// The look, and where what it sees comes out.
fn looking<R: Send + 'static>(
    look: impl FnOnce(&Ledger) -> R + Send + 'static,
) -> (Look, oneshot::Receiver<R>) {
    let (answer, answered) = oneshot::channel();
    let look = Box::new(move |ledger: &Ledger| {
        // A caller that has gone away needs no answer.
        let _ = answer.send(look(ledger));
    });
    (look, answered)
}

/// How a treasury is opened.
#[derive(Copy, Clone, Debug)]
pub struct Settings {
    /// How much the ledger holds at most.
    pub bounds: Bounds,
    /// This process's number: higher at each start, so that a hold knows whose it is.
    pub boot: u64,
    /// A snapshot is kept once that many entries were appended since the last, or more after a long one.
    pub snapshot_every: u64,
}

/// A handle to the treasury; clones ask the same one.
#[derive(Clone)]
pub struct Treasury {
    requests: mpsc::Sender<Request>,
    peeks: mpsc::Sender<Look>,
    boot: u64,
    /// Read by whoever signs, written by whoever pauses. It guards a moment, not data.
    signing: Arc<RwLock<()>>,
    stopped: Arc<Mutex<Option<String>>>,
    meters: Arc<Meters>,
}

impl Treasury {
    /// Reads the journal, and gives the handle and the task that has to be run for it to answer.
    ///
    /// # Errors
    /// [`JournalError`] where the journal cannot be read or is not whole.
    pub async fn open(
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Result<(Self, TreasuryTask), JournalError> {
        let recovered = recover::recover(journal.as_ref(), &settings).await?;
        let (requests, receiver) = mpsc::channel(QUEUE_MAX);
        let (peeks, to_peek) = mpsc::channel(QUEUE_MAX);
        let stopped = Arc::new(Mutex::new(None));
        let meters = Arc::<Meters>::default();
        let task = TreasuryTask {
            ledger: recovered.ledger,
            head: recovered.head,
            snapshots: recovered.snapshots,
            journal,
            clock,
            requests: receiver,
            peeks: to_peek,
            released: HashSet::new(),
            unsynced: Unsynced::default(),
            stopped: Arc::clone(&stopped),
            meters: Arc::clone(&meters),
        };
        let (boot, signing) = (settings.boot, Arc::default());
        Ok((Self { requests, peeks, boot, signing, stopped, meters }, task))
    }

    /// This process's number.
    pub const fn boot(&self) -> u64 {
        self.boot
    }

    /// What is counted of this ledger's payments.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Decides, makes durable, then answers.
    ///
    /// # Errors
    /// [`Refused`]; after [`Refused::Rejected`] nothing changed.
    pub async fn execute(&self, command: Command) -> Result<Done, Refused> {
        let (answer, answered) = oneshot::channel();
        let pauses = matches!(command, Command::Pause { .. });
        self.ask(Request::Execute { command, answer }).await?;
        let done = answered.await.map_err(|_| self.stopped())?;
        if pauses {
            // Every signature that was let through before the pause is made by then.
            drop(self.signing.write().await);
        }
        done
    }

    /// Looks at the ledger between batches: only at what is durable.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn read<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Ledger) -> R + Send + 'static,
    ) -> Result<R, Refused> {
        let (look, answered) = looking(look);
        self.ask(Request::Read { look }).await?;
        answered.await.map_err(|_| self.stopped())
    }

    /// Looks at the ledger at once, as it is decided: that may be ahead of what is durable. Only for what is
    /// decided again, by a command behind it, before anything comes of it.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub async fn peek<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Ledger) -> R + Send + 'static,
    ) -> Result<R, Refused> {
        let (look, answered) = looking(look);
        self.peeks.send(look).await.map_err(|_| self.stopped())?;
        answered.await.map_err(|_| self.stopped())
    }

    async fn ask(&self, request: Request) -> Result<(), Refused> {
        self.requests.send(request).await.map_err(|_| self.stopped())
    }

    fn stopped(&self) -> Refused {
        let problem = self.stopped.lock().expect("no holder of the reason panics").clone();
        Refused::Stopped { problem: problem.unwrap_or_else(|| "the process ends".to_owned()) }
    }
}

#[async_trait]
impl Holds for Treasury {
    async fn release(&self, payment: PaymentId) -> Result<Released, NotSignable> {
        // Taken before the ledger is asked: a pause that comes in between waits for this signature.
        let gate = Arc::clone(&self.signing).read_owned().await;
        let (answer, answered) = oneshot::channel();
        let asked = self.ask(Request::Release(Release::Hold { payment, answer })).await;
        asked.map_err(|_| NotSignable::Stopped)?;
        let (wallet, commitment) = answered.await.map_err(|_| NotSignable::Stopped)??;
        Ok(Released { wallet, commitment, permit: Permit::new(gate) })
    }

    async fn release_voucher(&self, payment: PaymentId) -> Result<ReleasedVoucher, NotSignable> {
        let gate = Arc::clone(&self.signing).read_owned().await;
        let (answer, answered) = oneshot::channel();
        let asked = self.ask(Request::Release(Release::Voucher { payment, answer })).await;
        asked.map_err(|_| NotSignable::Stopped)?;
        let (ceiling, asset) = answered.await.map_err(|_| NotSignable::Stopped)??;
        Ok(ReleasedVoucher { ceiling, asset, permit: Permit::new(gate) })
    }

    async fn release_charged(&self, channel: ChannelId) -> Result<ReleasedVoucher, NotSignable> {
        let gate = Arc::clone(&self.signing).read_owned().await;
        let (answer, answered) = oneshot::channel();
        let asked = self.ask(Request::Release(Release::Charged { channel, answer })).await;
        asked.map_err(|_| NotSignable::Stopped)?;
        let (ceiling, asset) = answered.await.map_err(|_| NotSignable::Stopped)??;
        Ok(ReleasedVoucher { ceiling, asset, permit: Permit::new(gate) })
    }

    async fn release_deposit(&self, channel: ChannelId) -> Result<ReleasedDeposit, NotSignable> {
        let gate = Arc::clone(&self.signing).read_owned().await;
        let (answer, answered) = oneshot::channel();
        let asked = self.ask(Request::Release(Release::Deposit { channel, answer })).await;
        asked.map_err(|_| NotSignable::Stopped)?;
        let (opened, incoming) = answered.await.map_err(|_| NotSignable::Stopped)??;
        Ok(ReleasedDeposit { opened, incoming, permit: Permit::new(gate) })
    }
}

#[cfg(test)]
mod tests;
