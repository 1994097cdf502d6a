//! What may become of the fleet: policies, agents, wallets, delegations, pauses.

use std::collections::BTreeSet;

use alloy::primitives::Address;

use crate::domain::id::{AgentId, DelegationId, Name, WalletId};
use crate::domain::ledger::agent::{Agent, Delegation, Principal, TokenHash};
use crate::domain::ledger::budget::BudgetDef;
use crate::domain::ledger::command::Command;
use crate::domain::ledger::decide::holds::full;
use crate::domain::ledger::event::Event;
use crate::domain::ledger::rejection::Rejection;
use crate::domain::ledger::state::{DELEGATION_DEPTH_MAX, Ledger};
use crate::domain::ledger::wallet::Position;
use crate::domain::money::{Amount, Nano};
use crate::domain::time::Timestamp;

impl Ledger {
    pub(super) fn decide_fleet(
        &self,
        now: Timestamp,
        command: Command,
    ) -> Result<Event, Rejection> {
        match command {
            Command::PinRail { network, genesis } => match self.find_rail(network) {
                None => Ok(Event::RailPinned { network, genesis }),
                Some(pinned) if pinned == genesis => Err(Rejection::Unchanged),
                Some(pinned) => Err(Rejection::WrongGenesis { network, pinned, found: genesis }),
            },
            Command::ApplyPolicy { document, .. } if document == self.policy.document => {
                Err(Rejection::Unchanged)
            }
            Command::ApplyPolicy { budgets, document, reason, by } => {
                check_policy(&budgets)?;
                let version = self.policy.version.saturating_add(1);
                let budgets = self.caps.number(budgets);
                Ok(Event::PolicyApplied { version, budgets, document, reason, by })
            }
            Command::AddAgent { agent, by } => self.decide_add_agent(agent, by),
            Command::ReplaceToken { agent, token, by } => {
                let id = AgentId::named(&agent);
                self.find_agent(id).ok_or(Rejection::UnknownAgent(id))?;
                self.check_token(&token)?;
                Ok(Event::TokenReplaced { agent, token, by })
            }
            Command::OpenWallet { wallet, address } => self.decide_open_wallet(wallet, address),
            Command::SeeFunds { wallet, asset, entered, left, after, up_to } => {
                let found = self
                    .find_wallet(WalletId::named(&wallet))
                    .ok_or_else(|| Rejection::UnknownWallet(wallet.clone()))?;
                let position = found.find(asset).copied();
                let had = position.as_ref().map_or(Amount::ZERO, Position::owned);
                let fits = had.checked_add(entered).is_some_and(|sum| sum >= left);
                if !fits || entered > Amount::MAX {
                    return Err(Rejection::FundsBelowZero { wallet, had, left });
                }
                // Also where nothing foreign moved: a restart must not count our own payments again.
                let place = position.map(|position| position.up_to);
                if place != after || place.is_some_and(|place| up_to <= place) {
                    return Err(Rejection::Unchanged);
                }
                Ok(Event::FundsSeen { wallet, asset, entered, left, up_to })
            }
            Command::Delegate { parent, child, token, limit, until } => {
                self.decide_delegate(now, parent, child, token, Limit { limit, until })
            }
            Command::Pause { scope, reason, by } => {
                if self.pauses.get(&scope) == Some(&reason) {
                    return Err(Rejection::Unchanged);
                }
                Ok(Event::Paused { scope, reason, by })
            }
            Command::Resume { scope, by } => {
                if !self.pauses.contains_key(&scope) {
                    return Err(Rejection::Unchanged);
                }
                Ok(Event::Resumed { scope, by })
            }
            Command::SpendGas { network, amount, transaction } => {
                Ok(Event::GasSpent { network, amount, transaction })
            }
            other => unreachable!("decide passes the fleet's commands only, not {other:?}"),
        }
    }

    fn check_token(&self, token: &TokenHash) -> Result<(), Rejection> {
        if self.agents.find_token(token).is_some() { Err(Rejection::TokenTaken) } else { Ok(()) }
    }

    fn check_new_agent(&self, name: &Name, token: &TokenHash) -> Result<(), Rejection> {
        if self.find_agent(AgentId::named(name)).is_some() {
            return Err(Rejection::NameTaken(name.clone()));
        }
        self.check_token(token)?;
        if self.agents.len() >= self.bounds.agents_max {
            return Err(full("agents", self.bounds.agents_max));
        }
        Ok(())
    }

    fn decide_add_agent(&self, agent: Agent, by: Principal) -> Result<Event, Rejection> {
        self.check_new_agent(&agent.name, &agent.token)?;
        if self.find_wallet(agent.wallet_id()).is_none() {
            return Err(Rejection::UnknownWallet(agent.wallet));
        }
        // Only a delegation makes a sub-agent: its budget must exist first.
        let agent = Agent { delegation: None, ..agent };
        Ok(Event::AgentAdded { agent, by })
    }

    fn decide_open_wallet(&self, wallet: Name, address: Address) -> Result<Event, Rejection> {
        let id = WalletId::named(&wallet);
        match (self.find_wallet(id), self.find_wallet_at(address)) {
            (Some(found), _) if found.address == address => Err(Rejection::Unchanged),
            (Some(_), _) => Err(Rejection::NameTaken(wallet)),
            (None, Some(other)) => Err(Rejection::AddressTaken(other.name.clone())),
            (None, None) => Ok(Event::WalletOpened { wallet, address }),
        }
    }

    fn decide_delegate(
        &self,
        now: Timestamp,
        parent: AgentId,
        child: Name,
        token: TokenHash,
        limit: Limit,
    ) -> Result<Event, Rejection> {
        let found = self.find_agent(parent).ok_or(Rejection::UnknownAgent(parent))?;
        self.check_signing(parent)?;
        self.check_new_agent(&child, &token)?;
        if limit.limit.is_zero() || limit.limit > Nano::MAX {
            return Err(Rejection::NanoOutOfRange { nano: limit.limit });
        }
        let child_id = AgentId::named(&child);
        if limit.until <= now {
            return Err(Rejection::DelegationEnded { agent: child_id, ended: limit.until });
        }
        let mut depth = 1_usize;
        let mut next = found.delegation;
        while let Some(delegation) = next.and_then(|id| self.find_delegation(id)) {
            depth = depth.saturating_add(1);
            next = self.find_agent(delegation.parent).and_then(|agent| agent.delegation);
        }
        if depth > DELEGATION_DEPTH_MAX {
            let bound = u32::try_from(DELEGATION_DEPTH_MAX).unwrap_or(u32::MAX);
            return Err(Rejection::TooDeep { bound });
        }
        let delegation = DelegationId::of(&[parent.as_bytes(), child_id.as_bytes()]);
        let terms = Delegation { parent, child: child_id, limit: limit.limit, until: limit.until };
        Ok(Event::Delegated { delegation, terms, name: child, token })
    }
}

/// The configuration said all this with file and line; here it keeps out of the journal what `evolve`
/// could not count by.
fn check_policy(budgets: &[BudgetDef]) -> Result<(), Rejection> {
    let mut names = BTreeSet::new();
    for def in budgets {
        if !names.insert(&def.name) {
            return Err(Rejection::NameTaken(def.name.clone()));
        }
        if def.limit > Nano::MAX {
            return Err(Rejection::NanoOutOfRange { nano: def.limit });
        }
        let bad = |why| Rejection::BadWindow { budget: def.name.clone(), why };
        def.window.check().map_err(bad)?;
    }
    Ok(())
}

/// A delegated budget's bounds.
struct Limit {
    limit: Nano,
    until: Timestamp,
}
