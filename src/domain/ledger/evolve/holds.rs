//! Payments as they happen: the only code that moves a budget's or a wallet's numbers.

use crate::domain::id::PaymentId;
use crate::domain::ledger::account::{Account, Change};
use crate::domain::ledger::event::Event;
use crate::domain::ledger::hold::{CaptureProof, Held, Hold, HoldState};
use crate::domain::ledger::requests::{Remembered, RequestState};
use crate::domain::ledger::state::Ledger;
use crate::domain::ledger::window::Bounds;
use crate::domain::money::{Amount, Nano};
use crate::domain::time::Timestamp;

impl Ledger {
    pub(super) fn evolve_payment(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::Held(held) => self.place(at, held),
            Event::Doubted { payment } => {
                let hold = self.holds.get_mut(payment).expect("a doubted payment is open");
                assert_eq!(hold.state, HoldState::Signable, "doubt comes once");
                hold.state = HoldState::Unknown;
            }
            Event::Captured { payment, amount, nano, transaction, proof, .. } => {
                let hold = self.holds.get(payment).expect("a captured payment is open").clone();
                assert!(
                    !matches!(hold.state, HoldState::Captured { .. }),
                    "a payment settles at most once"
                );
                self.capture(at, &hold, *amount, *nano);
                match proof {
                    CaptureProof::Chain(_) => {
                        self.holds.remove(payment);
                    }
                    CaptureProof::Receipt => {
                        let open = self.holds.get_mut(payment).expect("looked up above");
                        let (amount, nano, transaction) = (*amount, *nano, *transaction);
                        open.state = HoldState::Captured { amount, nano, transaction };
                    }
                }
            }
            Event::PaymentVerified { payment, .. } => {
                let hold = self.holds.remove(payment).expect("a verified payment is open");
                assert!(
                    matches!(hold.state, HoldState::Captured { .. }),
                    "only a capture is verified"
                );
            }
            Event::Voided { payment, .. } | Event::Expired { payment, .. } => {
                self.give_back(at, *payment);
            }
            Event::CaptureReversed { payment, captured, nano, .. } => {
                let hold = self.holds.remove(payment).expect("a reversed payment is open");
                let HoldState::Captured { amount, .. } = hold.state else {
                    panic!("only a capture is reversed");
                };
                assert_eq!(amount, captured.amount, "a reversal takes back just the capture");
                self.seats(at, &hold.held, Change::Reverse(*nano));
                self.move_funds(&hold.held, |position| {
                    position.paid = minus(position.paid, amount);
                });
                self.free_request(&hold.held);
            }
            _ => unreachable!("evolve passes payments' events only"),
        }
    }

    fn place(&mut self, at: Timestamp, held: &Held) {
        self.seats(at, held, Change::Hold(held.nano));
        self.check_caps(at, held);
        self.move_funds(held, |position| {
            position.held = plus(position.held, held.commitment.amount_max);
            assert!(position.held <= position.owned(), "no wallet holds more than it owns");
        });
        let remembered = Remembered {
            payment: held.payment,
            fingerprint: held.fingerprint,
            state: RequestState::Taken,
        };
        self.requests.take(held.agent, held.request, remembered);
        self.requests.forget(at, self.bounds.request_memory, self.bounds.requests_max);
        let hold = Hold { held: held.clone(), placed_at: at, state: HoldState::Signable };
        let former = self.holds.insert(held.payment, hold);
        assert!(former.is_none(), "one payment, one hold");
    }

    fn capture(&mut self, at: Timestamp, hold: &Hold, amount: Amount, nano: Nano) {
        let held = &hold.held;
        assert!(amount <= held.commitment.amount_max, "no capture exceeds its hold");
        assert!(nano <= held.nano, "no capture exceeds its hold");
        self.seats(at, held, Change::Capture { held: held.nano, spent: nano });
        self.move_funds(held, |position| {
            position.held = minus(position.held, held.commitment.amount_max);
            position.paid = plus(position.paid, amount);
        });
    }

    fn give_back(&mut self, at: Timestamp, payment: PaymentId) {
        let hold = self.holds.remove(&payment).expect("what is given back was open");
        assert!(
            !matches!(hold.state, HoldState::Captured { .. }),
            "what was captured is not given back as a hold"
        );
        self.seats(at, &hold.held, Change::Release(hold.held.nano));
        self.move_funds(&hold.held, |position| {
            position.held = minus(position.held, hold.held.commitment.amount_max);
        });
        self.free_request(&hold.held);
    }

    /// The next attempt at the request may be made: this one ended unpaid, by evidence.
    fn free_request(&mut self, held: &Held) {
        self.requests.free(held.agent, held.request, held.attempt.saturating_add(1));
    }

    /// Changes every seat of a hold: all of them, in the windows that they took.
    fn seats(&mut self, at: Timestamp, held: &Held, change: Change) {
        for seat in &held.seats {
            let bounds = Bounds { from: seat.from, until: seat.until };
            // The definition outlives the policy that named it, so the window is known for life.
            let window = self.caps.window(seat.account.budget);
            let account = self.accounts.entry(seat.account).or_insert_with(|| Account::new(bounds));
            account.change(window, bounds, at, change);
        }
    }

    /// Invariant I1: what was just held fits under every cap in force.
    fn check_caps(&self, at: Timestamp, held: &Held) {
        for seat in &held.seats {
            let check =
                self.check(seat.account, Nano::ZERO, at).expect("a seat's account is known");
            let counted = check.spent.checked_add(check.held).expect("counted under a cap");
            assert!(counted <= check.limit, "a hold was placed above the cap of {}", check.budget);
        }
    }

    fn move_funds(
        &mut self,
        held: &Held,
        change: impl FnOnce(&mut crate::domain::ledger::wallet::Position),
    ) {
        let wallet = self.wallets.get_mut(&held.wallet).expect("a hold's wallet is open");
        change(wallet.position_mut(held.commitment.asset));
    }
}

fn plus(amount: Amount, more: Amount) -> Amount {
    amount.checked_add(more).expect("amounts are bounded when they enter the ledger")
}

fn minus(amount: Amount, less: Amount) -> Amount {
    amount.checked_sub(less).expect("what is taken away was put there by the same hold")
}
