//! The task that owns the ledger.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};

use crate::domain::id::{Name, PaymentId};
use crate::domain::ledger::channel::ChannelCommand;
use crate::domain::ledger::hold::VoidProof;
use crate::domain::ledger::{Command, Event, Ledger, Refusal, Rejection};
use crate::ports::clock::Clock;
use crate::ports::journal::{Entry, Journal, JournalError};
use crate::runtime::meters::{Meters, Phase};
use crate::runtime::treasury::releasing::{Release, Unsynced};
use crate::runtime::treasury::snapshots::Snapshots;
use crate::runtime::treasury::{BATCH_MAX, Done, Look, Refused, Request};

/// Owns the ledger. [`TreasuryTask::run`] has to be awaited for anything to happen; dropping it is a
/// crash, and loses nothing that was acknowledged.
pub struct TreasuryTask {
    pub(super) ledger: Ledger,
    pub(super) head: u64,
    pub(super) snapshots: Snapshots,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) peeks: mpsc::Receiver<Look>,
    /// Payments that the signer was told of: they cannot be voided as never signed.
    pub(super) released: HashSet<PaymentId>,
    pub(super) unsynced: Unsynced,
    pub(super) stopped: Arc<Mutex<Option<String>>>,
    pub(super) meters: Arc<Meters>,
}

/// What waits for a batch to be durable.
#[allow(clippy::large_enum_variant, reason = "moved once within a batch: a box each costs more")]
enum Waiting {
    Executed { done: Done, answer: oneshot::Sender<Result<Done, Refused>> },
    Refused { refused: Refused, answer: oneshot::Sender<Result<Done, Refused>> },
    Looked { look: Look },
    Released(Release),
}

/// Commands that were decided together, and become durable together.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    waiting: Vec<Waiting>,
    /// Whether someone in it looks at the ledger once it is durable, or signs what is in it: then nothing may
    /// be decided before, for what is looked at has to be durable.
    looks: bool,
}

impl TreasuryTask {
    /// Serves until every handle is dropped, or a write fails.
    pub async fn run(mut self) {
        let (mut next, mut asked) = (Batch::default(), Vec::new());
        loop {
            if next.waiting.is_empty() {
                // Each arm may be dropped and lose nothing.
                tokio::select! {
                    biased;
                    () = self.snapshots.kept() => continue,
                    Some(look) = self.peeks.recv() => {
                        look(&self.ledger);
                        continue;
                    }
                    taken = self.requests.recv_many(&mut asked, BATCH_MAX) => if taken == 0 {
                        return self.snapshots.finish().await;
                    },
                }
                self.decide(&mut asked, &mut next);
            }
            let Batch { entries, mut waiting, looks } = std::mem::take(&mut next);
            if planted!("answered_before_durable") {
                self.answer(std::mem::take(&mut waiting));
            }
            if let Some(last) = entries.last().map(|entry| entry.seq) {
                // A snapshot is of what is durable, too.
                let looks = looks && !planted!("released_before_durable");
                let ahead = !looks && !self.snapshots.is_due(self.head);
                if let Err(problem) = self.append(entries, ahead.then_some(&mut next)).await
                    && !planted!("goes_on_after_a_failed_sync")
                {
                    // The ledger in memory is ahead of what is known to be durable: nobody may look at
                    // it or ask it anything again. Dropping the receiver refuses everybody.
                    let problem = problem.to_string();
                    tracing::error!(problem, "treasury stopped");
                    *self.stopped.lock().expect("no holder of the reason panics") = Some(problem);
                    return;
                }
                self.unsynced.synced(last);
            }
            self.answer(waiting);
            if next.waiting.is_empty() {
                self.snapshots.begin(self.head, &self.ledger, &self.journal);
            }
        }
    }

    /// Appends, and meanwhile decides what comes into `next`: it waits for its own append after this
    /// one, so that it is never durable where this is not.
    async fn append(
        &mut self,
        entries: Vec<Entry>,
        mut next: Option<&mut Batch>,
    ) -> Result<(), JournalError> {
        let (journal, meters) = (Arc::clone(&self.journal), Arc::clone(&self.meters));
        let clock = Arc::clone(&self.clock);
        let append = journal.append(entries.into());
        let mut append = std::pin::pin!(meters.time(Phase::Sync, clock.as_ref(), append));
        let mut asked = Vec::new();
        loop {
            let batch = next.take_if(|batch| batch.waiting.len() < BATCH_MAX);
            let taken = batch.as_ref().map_or(BATCH_MAX, |batch| batch.waiting.len());
            let room = BATCH_MAX.saturating_sub(taken);
            // Each arm may be dropped and lose nothing: the append goes on, and nothing was taken.
            let taken = tokio::select! {
                biased;
                appended = &mut append => return appended,
                Some(look) = self.peeks.recv() => {
                    look(&self.ledger);
                    next = batch;
                    continue;
                }
                taken = self.requests.recv_many(&mut asked, room), if room > 0 => taken,
            };
            let Some(batch) = batch.filter(|_| taken > 0) else { return append.await };
            self.decide(&mut asked, batch);
            next = Some(batch);
        }
    }

    /// Decides and evolves each command in order. Refusals wait with the rest: they may rest on
    /// what an earlier command did that is not durable yet.
    fn decide(&mut self, asked: &mut Vec<Request>, batch: &mut Batch) {
        self.ledger.look_ahead(asked.iter().filter_map(|request| match request {
            Request::Execute { command, .. } => Some(command),
            Request::Read { .. } | Request::Release(_) => None,
        }));
        for request in asked.drain(..) {
            batch.waiting.push(match request {
                Request::Execute { command, answer } => match self.execute(command) {
                    Ok((entry, done)) => {
                        batch.entries.push(entry);
                        Waiting::Executed { done, answer }
                    }
                    Err(refusal) => {
                        let refused = Refused::Rejected(Box::new(refusal));
                        Waiting::Refused { refused, answer }
                    }
                },
                Request::Read { look } => {
                    batch.looks = true;
                    Waiting::Looked { look }
                }
                Request::Release(release) if self.is_durable(&release) => {
                    self.release(release);
                    continue;
                }
                Request::Release(release) => {
                    batch.looks = true;
                    Waiting::Released(release)
                }
            });
        }
    }

    fn execute(&mut self, command: Command) -> Result<(Entry, Done), Refusal> {
        if let Command::Void { payment, proof: VoidProof::NeverSigned, .. }
        | Command::Channel(ChannelCommand::Void { payment, .. }) = &command
            && self.released.contains(payment)
            && !planted!("signed_hold_voided")
        {
            let (payment, state, asked) = (*payment, "released to the signer", "voided");
            return Err(Rejection::WrongState { payment, state, asked }.into());
        }
        // Ledger time never stands still or turns back, whatever the wall clock does.
        let at = match planted!("ledger_time_turns_back") {
            true => self.clock.now(),
            false => self.clock.now().max(self.ledger.now().next()),
        };
        let decided = self.ledger.decide(at, command)?;
        self.meters.happened(&decided.event, self.role_of(&decided.event));
        self.ledger.evolve(at, &decided.event);
        self.forget_released(&decided.event);
        self.head = self.head.checked_add(1).expect("2^64 entries are never written");
        self.unsynced.note(self.head, &decided.event);
        let entry = Entry { seq: self.head, at, event: decided.event.clone() };
        let done = Done { seq: self.head, at, event: decided.event, checks: decided.checks };
        Ok((entry, done))
    }

    fn answer(&mut self, waiting: Vec<Waiting>) {
        // A caller that has gone away needs no answer: every send below may fail for that reason only.
        for waiting in waiting {
            match waiting {
                Waiting::Executed { done, answer } => {
                    let _ = answer.send(Ok(done));
                }
                Waiting::Refused { refused, answer } => {
                    let _ = answer.send(Err(refused));
                }
                Waiting::Looked { look } => look(&self.ledger),
                Waiting::Released(release) => self.release(release),
            }
        }
    }

    /// Whose money an event spends, by role.
    fn role_of(&self, event: &Event) -> Option<&Name> {
        if let Event::Channel(event) = event {
            return Some(&self.ledger.find_channel(event.channel())?.opened.role);
        }
        let payment = match event {
            Event::Captured { payment, .. } | Event::CaptureReversed { payment, .. } => *payment,
            Event::PaymentClosed(closed) => closed.payment,
            _ => return None,
        };
        let hold = self.ledger.find_hold(payment)?;
        Some(&self.ledger.find_agent(hold.held.agent)?.role)
    }
}
