//! Evolves: an event in, and the ledger is as if it had always been so. Cannot fail.
//!
//! What would be an error here is a bug in `decide` or a journal that is not ours, and going on would
//! be worse than stopping: the invariants below stay on in release builds.

mod claims;
mod holds;

use crate::domain::id::{AgentId, WalletId};
use crate::domain::ledger::agent::Agent;
use crate::domain::ledger::event::Event;
use crate::domain::ledger::state::{Ledger, Policy};
use crate::domain::time::Timestamp;

impl Ledger {
    /// Makes `event` true as of `at`. Invariants I1, I3, I5, I8 and I18 of the threat model are
    /// checked on the way.
    pub fn evolve(&mut self, at: Timestamp, event: &Event) {
        assert!(at > self.now, "ledger time strictly increases");
        self.now = at;
        self.books.post(event);
        match event {
            Event::RailPinned { network, genesis } => {
                self.rails.insert(*network, *genesis);
            }
            Event::PolicyApplied { version, budgets, document, .. } => {
                assert!(*version > self.policy.version, "policy versions only grow");
                self.policy = Policy { version: *version, document: document.clone() };
                self.caps.apply(budgets);
            }
            Event::AgentAdded { agent, .. } => self.agents.add(agent.clone(), &self.wallets),
            Event::TokenReplaced { agent, token, .. } => {
                self.agents.replace_token(AgentId::named(agent), *token);
            }
            Event::WalletOpened { wallet, address } => {
                self.wallets.open(wallet.clone(), *address);
            }
            Event::FundsSeen { wallet, asset, entered, left, up_to } => {
                let id = WalletId::named(wallet);
                let found = self.wallets.find_mut(id).expect("funds are seen in known wallets");
                let position = found.position_mut(*asset);
                position.entered =
                    position.entered.checked_add(*entered).expect("amounts are bounded");
                position.left = position.left.checked_add(*left).expect("amounts are bounded");
                position.up_to = position.up_to.max(*up_to);
            }
            Event::Delegated { delegation, terms, name, token } => {
                let parent = self.find_agent(terms.parent).expect("a delegation has a parent");
                let child = Agent {
                    name: name.clone(),
                    role: parent.role.clone(),
                    group: parent.group.clone(),
                    wallet: parent.wallet.clone(),
                    token: *token,
                    delegation: Some(*delegation),
                };
                self.delegations.insert(*delegation, terms.clone());
                self.agents.add(child, &self.wallets);
            }
            Event::Paused { scope, reason, .. } => {
                self.pauses.insert(scope.clone(), reason.clone());
            }
            Event::Resumed { scope, .. } => {
                self.pauses.remove(scope);
            }
            Event::GasSpent { .. } => {}
            Event::Channel(event) => self.evolve_channel(at, event),
            Event::Tab(event) => self.evolve_tab(at, event),
            Event::UsageMetered(metered) => self.evolve_metered(at, metered),
            Event::Granted(grant) => self.evolve_granted(at, grant),
            credit @ (Event::ServedOnCredit { .. } | Event::CreditPaid { .. }) => {
                self.evolve_credit(credit);
            }
            payment @ (Event::Held(_)
            | Event::Doubted { .. }
            | Event::Captured { .. }
            | Event::PaymentVerified { .. }
            | Event::Voided { .. }
            | Event::Expired { .. }
            | Event::CaptureReversed { .. }
            | Event::PaymentClosed(_)) => self.evolve_payment(at, payment),
            claim @ (Event::Accepted(_)
            | Event::ClaimDoubted { .. }
            | Event::ClaimCharged { .. }
            | Event::ClaimSettled { .. }
            | Event::Served { .. }
            | Event::ClaimReleased { .. }
            | Event::ClaimDied { .. }
            | Event::RefundBegun { .. }
            | Event::Refunded { .. }) => self.evolve_claim(at, claim),
        }
    }
}
