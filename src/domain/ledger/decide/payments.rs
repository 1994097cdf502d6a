//! What may become of a hold: taken, given back, or in doubt. Time alone never gives anything back.

use alloy::primitives::B256;

use crate::domain::commitment::Scheme;
use crate::domain::id::PaymentId;
use crate::domain::ledger::event::Event;
use crate::domain::ledger::hold::{CaptureProof, Closed, FinalBlock, Hold, HoldState, VoidProof};
use crate::domain::ledger::rejection::Rejection;
use crate::domain::ledger::state::Ledger;
use crate::domain::money::{Amount, Money, Nano};

impl Ledger {
    fn open(&self, payment: PaymentId) -> Result<&Hold, Rejection> {
        self.find_hold(payment).ok_or(Rejection::UnknownPayment(payment))
    }

    pub(super) fn decide_doubt(&self, payment: PaymentId) -> Result<Event, Rejection> {
        match self.open(payment)?.state {
            HoldState::Signable => Ok(Event::Doubted { payment }),
            HoldState::Unknown => Err(Rejection::Unchanged),
            state @ HoldState::Captured { .. } => Err(wrong(payment, state, "doubted")),
        }
    }

    pub(super) fn decide_capture(
        &self,
        payment: PaymentId,
        amount: Amount,
        transaction: B256,
        proof: CaptureProof,
    ) -> Result<Event, Rejection> {
        let hold = self.open(payment)?;
        if let HoldState::Captured { .. } = hold.state {
            return Err(wrong(payment, hold.state, "captured"));
        }
        check_amount(hold, amount)?;
        let nano = counted_nano(hold, amount);
        let held = match (proof, hold.held.commitment.scheme) {
            // A receipt is the payee's word, and its signature takes up to the maximum all the same.
            (CaptureProof::Receipt, Scheme::Upto { .. }) if !planted!("receipt_frees_the_rest") => {
                Money { amount, ..hold.money() }
            }
            (CaptureProof::Receipt | CaptureProof::Chain(_), _) => hold.money(),
        };
        Ok(Event::Captured { payment, amount, nano, transaction, proof, held })
    }

    pub(super) fn decide_verify(
        &self,
        payment: PaymentId,
        transaction: B256,
        moved: Amount,
        block: FinalBlock,
    ) -> Result<Event, Rejection> {
        let hold = self.open(payment)?;
        match hold.state {
            HoldState::Captured { amount, nano, .. } if has_maximum(hold) => {
                check_amount(hold, moved)?;
                Ok(closed(hold, (amount, nano), (moved, Some(transaction)), block))
            }
            HoldState::Captured { amount, .. } if amount == moved => {
                Ok(Event::PaymentVerified { payment, transaction, block })
            }
            HoldState::Captured { amount, .. } => {
                Err(Rejection::AmountMismatch { claimed: amount, moved })
            }
            HoldState::Signable | HoldState::Unknown => Err(wrong(payment, hold.state, "verified")),
        }
    }

    pub(super) fn decide_void(
        &self,
        payment: PaymentId,
        proof: VoidProof,
        boot: u64,
    ) -> Result<Event, Rejection> {
        let hold = self.open(payment)?;
        let held = hold.money();
        match (proof, hold.state) {
            // Only the process that placed a hold can know that its signer never saw it; the treasury
            // adds that it did not release it.
            (VoidProof::NeverSigned, HoldState::Signable)
                if hold.held.boot == boot || planted!("void_after_a_restart") =>
            {
                Ok(Event::Voided { payment, proof, held })
            }
            (VoidProof::Canceled { .. }, HoldState::Signable | HoldState::Unknown) => {
                Ok(Event::Voided { payment, proof, held })
            }
            (VoidProof::NeverSigned | VoidProof::Canceled { .. }, state) => {
                Err(wrong(payment, state, "voided"))
            }
        }
    }

    pub(super) fn decide_expire(
        &self,
        payment: PaymentId,
        block: FinalBlock,
    ) -> Result<Event, Rejection> {
        let hold = self.open(payment)?;
        let valid_before_s = hold.held.commitment.valid_before_s;
        // Source: EIP-3009: a transfer needs block time < validBefore, so at validBefore it is over.
        if block.time_s < valid_before_s && !planted!("hold_released_on_timeout") {
            let block_time_s = block.time_s;
            return Err(Rejection::StillLive { payment, valid_before_s, block_time_s });
        }
        let held = hold.money();
        Ok(match hold.state {
            HoldState::Signable | HoldState::Unknown => Event::Expired { payment, block, held },
            HoldState::Captured { amount, nano, .. } if has_maximum(hold) => {
                closed(hold, (amount, nano), (Amount::ZERO, None), block)
            }
            HoldState::Captured { amount, nano, .. } => {
                let captured = Money { amount, asset: held.asset };
                Event::CaptureReversed { payment, block, captured, nano }
            }
        })
    }
}

fn has_maximum(hold: &Hold) -> bool {
    matches!(hold.held.commitment.scheme, Scheme::Upto { .. })
}

/// What the rail's last word makes of a capture, whatever the payee's word was.
fn closed(
    hold: &Hold,
    (captured, captured_nano): (Amount, Nano),
    (moved, transaction): (Amount, Option<B256>),
    block: FinalBlock,
) -> Event {
    let money = hold.money();
    let rest = money.amount.checked_sub(captured).expect("no capture exceeds its hold");
    let rest_nano = hold.held.nano.checked_sub(captured_nano).expect("no capture exceeds its hold");
    Event::PaymentClosed(Box::new(Closed {
        payment: hold.held.payment,
        transaction,
        block,
        captured: Money { amount: captured, ..money },
        captured_nano,
        moved,
        moved_nano: counted_nano(hold, moved),
        rest,
        rest_nano,
    }))
}

/// `exact` takes just what was authorized; no scheme takes more.
fn check_amount(hold: &Hold, amount: Amount) -> Result<(), Rejection> {
    let authorized = hold.held.commitment.amount_max;
    let fits = match hold.held.commitment.scheme {
        Scheme::Exact if planted!("exact_takes_less") => amount <= authorized,
        Scheme::Exact => amount == authorized,
        Scheme::Upto { .. } => amount <= authorized || planted!("capture_above_the_maximum"),
        // A voucher's call is taken by its channel, and never as a hold of its own.
        Scheme::BatchSettlement(_) => false,
    };
    if fits {
        Ok(())
    } else {
        let payment = hold.held.payment;
        Err(Rejection::ExceedsHold { payment, authorized, asked: amount })
    }
}

/// What a capture counts in budgets: the hold's worst case in the share that was taken, rounded up.
fn counted_nano(hold: &Hold, amount: Amount) -> Nano {
    let max = hold.held.commitment.amount_max;
    if amount == max {
        return hold.held.nano;
    }
    let share = u128::from(hold.held.nano.get())
        .checked_mul(amount.get())
        .map(|product| match planted!("share_rounded_down") {
            true => product.checked_div(max.get().max(1)).unwrap_or(0),
            false => product.div_ceil(max.get().max(1)),
        })
        .and_then(|share| u64::try_from(share).ok());
    share.map_or(hold.held.nano, |share| Nano::new(share).min(hold.held.nano))
}

fn wrong(payment: PaymentId, state: HoldState, asked: &'static str) -> Rejection {
    Rejection::WrongState { payment, state: state.as_str(), asked }
}
