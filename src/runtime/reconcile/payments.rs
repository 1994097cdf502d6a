//! What the chain says of one payment, and what the ledger makes of it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::domain::id::PaymentId;
use crate::domain::ledger::Command;
use crate::domain::ledger::hold::{CaptureProof, FinalBlock, HoldState, VoidProof};
use crate::ports::rail::{Evidence, NonceState, RailError, Sighting, Transfer};
use crate::runtime::reconcile::{Open, Reconciler, Round};
use crate::runtime::treasury::Refused;

/// Open payments that the chain is asked about in one round at most, oldest first.
const PAYMENTS_MAX: usize = 512;

/// How long past its time limit an open payment is before somebody is woken.
const ALARM_AGE: Duration = Duration::from_secs(600);

impl Reconciler {
    /// Closes a payment whose transfer was seen on a final block.
    pub(super) async fn close_by_transfer(
        &self,
        rail: &dyn Evidence,
        open: &Open,
        transfer: &Transfer,
        round: &mut Round,
    ) -> Result<(), Refused> {
        let closed = match rail.find_nonce(&open.commitment).await {
            Ok(sighting) => {
                let seen = Seen { open, block: final_block(&sighting) };
                self.close(seen.paid(transfer.transaction, transfer.amount), round).await?
            }
            Err(_) => false,
        };
        // Its transfer is not seen again: the rail did not say which block that was, or its receipt was
        // booked a moment ago, and what closes it now is another word.
        if !closed {
            self.passed.lock().expect("no holder of the passed panics").insert(open.payment);
        }
        Ok(())
    }

    /// Which of `open` were passed; the others that were are open no more.
    fn passed(&self, open: &[Open]) -> BTreeSet<PaymentId> {
        let mut passed = self.passed.lock().expect("no holder of the passed panics");
        if !passed.is_empty() {
            let open: BTreeSet<PaymentId> = open.iter().map(|open| open.payment).collect();
            passed.retain(|payment| open.contains(payment));
        }
        passed.clone()
    }

    /// Looks at the open payments that the followed transfers did not close, once their time limit
    /// may have passed, and at those whose transfers were passed. A payment that is being made right now
    /// closes by its receipt and its transfer; asking about each of them would cost a call a payment for
    /// nothing.
    pub(super) async fn look_at_open(
        &self,
        rail: &dyn Evidence,
        round: &mut Round,
    ) -> Result<Result<(), RailError>, Refused> {
        let open = self.open_payments(rail.network()).await?;
        round.open = round.open.saturating_add(u64::try_from(open.len()).unwrap_or(u64::MAX));
        let now_s = self.clock.now().as_secs();
        let passed = self.passed(&open);
        let due = |open: &&Open| {
            now_s >= open.commitment.valid_before_s || passed.contains(&open.payment)
        };
        for open in open.iter().filter(due).take(PAYMENTS_MAX) {
            let sighting = match rail.find_nonce(&open.commitment).await {
                Ok(sighting) => sighting,
                Err(problem) => return Ok(Err(problem)),
            };
            let overdue_s = now_s.saturating_sub(open.commitment.valid_before_s);
            if overdue_s > ALARM_AGE.as_secs() {
                tracing::error!(payment = %open.payment, overdue_s, "payment still open");
            }
            if let Some(command) = self.conclude(open, &sighting).await? {
                let _ = self.close(command, round).await?;
            }
        }
        Ok(Ok(()))
    }

    /// The table of threats.md 5.4, row "exact EIP-3009".
    async fn conclude(&self, open: &Open, sighting: &Sighting) -> Result<Option<Command>, Refused> {
        let payment = open.payment;
        let seen = Seen { open, block: final_block(sighting) };
        let block = seen.block;
        let over = sighting.block_time_s >= open.commitment.valid_before_s;
        Ok(match (sighting.nonce, open.state) {
            (NonceState::UsedWithoutTrace, _) if planted!("no_trace_is_no_payment") => {
                Some(Command::Expire { payment, block })
            }
            (NonceState::Unused, _) => over.then_some(Command::Expire { payment, block }),
            (NonceState::Used { transaction, amount, block: height, .. }, _) => {
                // Only what the followed transfers have passed: else they would count it again, as
                // money that left by no payment of ours.
                let followed = self.followed(open, height).await?;
                followed.then(|| seen.paid(transaction, amount))
            }
            (NonceState::Canceled { .. }, HoldState::Captured { .. }) => {
                over.then_some(Command::Expire { payment, block })
            }
            (NonceState::Canceled { transaction }, HoldState::Signable | HoldState::Unknown) => {
                let proof = VoidProof::Canceled { transaction, block };
                Some(Command::Void { payment, proof, boot: self.treasury.boot() })
            }
            // Absence of logs is not evidence: it stays held, counts as spent, and is asked again.
            (NonceState::UsedWithoutTrace, _) => None,
        })
    }

    async fn followed(&self, open: &Open, height: u64) -> Result<bool, Refused> {
        let (asset, payer) = (open.commitment.asset, open.commitment.payer);
        self.treasury
            .read(move |ledger| {
                let wallet = ledger.find_wallet_at(payer);
                let position = wallet.and_then(|wallet| wallet.find(asset));
                position.is_some_and(|position| position.up_to >= height)
            })
            .await
    }

    /// Whether `command` closed it.
    async fn close(&self, command: Command, round: &mut Round) -> Result<bool, Refused> {
        match self.treasury.execute(command).await {
            Ok(_) => {
                round.closed = round.closed.saturating_add(1);
                round.open = round.open.saturating_sub(1);
                Ok(true)
            }
            Err(refused @ Refused::Stopped { .. }) => Err(refused),
            Err(refused @ Refused::Rejected(_)) => {
                // Somebody was faster, or the chain shows something else than the books: the next
                // round looks again, and nothing was changed.
                tracing::warn!(%refused, "payment not closed");
                Ok(false)
            }
        }
    }
}

/// A payment and the final block that speaks of it.
struct Seen<'a> {
    open: &'a Open,
    block: FinalBlock,
}

impl Seen<'_> {
    /// The block shows that the payment moved its money.
    fn paid(
        &self,
        transaction: alloy::primitives::B256,
        amount: crate::domain::money::Amount,
    ) -> Command {
        let (payment, block) = (self.open.payment, self.block);
        match self.open.state {
            HoldState::Captured { .. } => Command::Verify { payment, transaction, amount, block },
            HoldState::Signable | HoldState::Unknown => {
                let proof = CaptureProof::Chain(block);
                Command::Capture { payment, amount, transaction, proof }
            }
        }
    }
}

const fn final_block(sighting: &Sighting) -> FinalBlock {
    FinalBlock { hash: sighting.block, time_s: sighting.block_time_s }
}
