//! Payments as they happen: the only code that moves a budget's or a wallet's numbers.

use std::sync::Arc;

use crate::domain::id::{DelegationId, PaymentId};
use crate::domain::ledger::account::{Account, Change};
use crate::domain::ledger::agent::Delegation;
use crate::domain::ledger::budget::AccountKey;
use crate::domain::ledger::caps::Cap;
use crate::domain::ledger::event::Event;
use crate::domain::ledger::hold::{CaptureProof, Closed, Held, Hold, HoldState};
use crate::domain::ledger::requests::{Remembered, RequestState};
use crate::domain::ledger::state::{Ledger, current_bounds};
use crate::domain::ledger::wallet::Position;
use crate::domain::money::{Amount, Nano};
use crate::domain::time::Timestamp;

impl Ledger {
    pub(super) fn evolve_payment(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::Held(held) => self.place(at, held),
            Event::Doubted { payment } => {
                let hold = self.holds.find_mut(payment).expect("a doubted payment is open");
                assert_eq!(hold.state, HoldState::Signable, "doubt comes once");
                hold.state = HoldState::Unknown;
            }
            Event::Captured { payment, amount, nano, transaction, proof, held: freed } => {
                let hold = self.holds.find(payment).expect("a captured payment is open");
                assert!(
                    !matches!(hold.state, HoldState::Captured { .. }),
                    "a payment settles at most once"
                );
                let held = Arc::clone(&hold.held);
                match proof {
                    CaptureProof::Chain(_) => self.capture(at, &held, *amount, *nano),
                    CaptureProof::Receipt if freed.amount == held.commitment.amount_max => {
                        self.capture(at, &held, *amount, *nano);
                    }
                    CaptureProof::Receipt => self.capture_part(at, &held, *amount, *nano),
                }
                match proof {
                    CaptureProof::Chain(_) => {
                        self.holds.remove(payment);
                    }
                    CaptureProof::Receipt => {
                        let open = self.holds.find_mut(payment).expect("looked up above");
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
            Event::PaymentClosed(closed) => self.close(at, closed),
            _ => unreachable!("evolve passes payments' events only"),
        }
    }

    fn place(&mut self, at: Timestamp, held: &Arc<Held>) {
        self.take_seats(at, held);
        self.move_funds(held, |position| {
            position.held = plus(position.held, held.commitment.amount_max);
            let set_aside = plus(position.held, position.locked);
            assert!(set_aside <= position.owned(), "no wallet holds more than it owns");
        });
        self.remember_request(at, held);
        let hold = Hold { held: Arc::clone(held), placed_at: at, state: HoldState::Signable };
        self.holds.add(held.payment, hold);
    }

    pub(in crate::domain::ledger) fn remember_request(&mut self, at: Timestamp, held: &Held) {
        let remembered = Remembered {
            payment: held.payment,
            fingerprint: held.fingerprint,
            state: RequestState::Taken,
        };
        self.requests.take(held.agent, held.request, remembered);
        self.requests.forget(at, self.bounds.request_memory, self.bounds.requests_max);
    }

    fn capture(&mut self, at: Timestamp, held: &Held, amount: Amount, nano: Nano) {
        assert!(amount <= held.commitment.amount_max, "no capture exceeds its hold");
        assert!(nano <= held.nano, "no capture exceeds its hold");
        self.seats(at, held, Change::Capture { held: held.nano, spent: nano });
        self.move_funds(held, |position| {
            position.held = minus(position.held, held.commitment.amount_max);
            position.paid = plus(position.paid, amount);
        });
    }

    /// Takes what a receipt says; the rest of the maximum stays held.
    fn capture_part(&mut self, at: Timestamp, held: &Held, amount: Amount, nano: Nano) {
        assert!(amount <= held.commitment.amount_max, "no capture exceeds its hold");
        assert!(nano <= held.nano, "no capture exceeds its hold");
        self.seats(at, held, Change::Capture { held: nano, spent: nano });
        self.move_funds(held, |position| {
            position.held = minus(position.held, amount);
            position.paid = plus(position.paid, amount);
        });
    }

    /// What moved is spent, and what is left of the hold returns.
    fn close(&mut self, at: Timestamp, closed: &Closed) {
        let hold = self.holds.remove(&closed.payment).expect("a closed payment is open");
        let HoldState::Captured { amount, nano, .. } = hold.state else {
            panic!("only a capture is closed");
        };
        let held = &hold.held;
        assert_eq!(amount, closed.captured.amount, "what is closed is what was captured");
        assert!(closed.moved <= held.commitment.amount_max, "nothing above its maximum moves");
        assert!(closed.moved_nano <= held.nano, "nothing above its maximum moves");
        let (rest, moved) = (closed.rest_nano, closed.moved_nano);
        self.seats(at, held, Change::Close { rest, captured: nano, moved });
        self.move_funds(held, |position| {
            position.held = minus(position.held, closed.rest);
            position.paid = plus(minus(position.paid, amount), closed.moved);
        });
        if closed.is_unpaid() {
            self.free_request(held);
        }
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

    /// Takes every seat of a hold. Invariant I1: what was just held fits under every cap in force.
    pub(in crate::domain::ledger) fn take_seats(&mut self, at: Timestamp, held: &Held) {
        for seat in &held.seats {
            self.caps.see_window(seat);
            let terms = if seat.account.budget == AccountKey::DELEGATION {
                let delegation = DelegationId::from_bytes(seat.account.subject);
                self.delegations.get(&delegation).map(Delegation::terms)
            } else {
                self.caps.find_cap(seat.account.budget).map(Cap::terms)
            };
            let terms = terms.expect("a seat's budget is known");
            let first = || Account::new(seat.bounds());
            let account = self.accounts.find_or_insert(seat.account, first);
            account.change(terms.window, seat.bounds(), at, Change::Hold(held.nano));
            let bounds = current_bounds(Some(account), &terms, at);
            let tally = account.counted(terms.window, bounds, at);
            let counted = tally.spent.checked_add(tally.held).expect("counted under a cap");
            assert!(counted <= terms.limit, "a hold was placed above the cap of {}", terms.name);
        }
    }

    /// Changes every seat of a hold: all of them, in the windows that they took.
    pub(in crate::domain::ledger) fn seats(&mut self, at: Timestamp, held: &Held, change: Change) {
        for seat in &held.seats {
            // The definition outlives the policy that named it, so the window is known for life.
            let window = self.caps.window(seat.account.budget);
            let account = self.accounts.find_mut(&seat.account).expect("a hold's seats are known");
            account.change(window, seat.bounds(), at, change);
        }
    }

    fn move_funds(&mut self, held: &Held, change: impl FnOnce(&mut Position)) {
        let agent = self.agents.find(held.agent).expect("a hold's agent is known");
        assert_eq!(
            self.wallets.id_at(agent.wallet),
            held.wallet,
            "a hold is on its agent's wallet"
        );
        let wallet = self.wallets.at_mut(agent.wallet);
        change(wallet.position_mut(held.commitment.asset));
    }
}

fn plus(amount: Amount, more: Amount) -> Amount {
    amount.checked_add(more).expect("amounts are bounded when they enter the ledger")
}

fn minus(amount: Amount, less: Amount) -> Amount {
    amount.checked_sub(less).expect("what is taken away was put there by the same hold")
}
