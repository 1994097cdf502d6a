//! What was used: by an agent of ours, or by somebody who bought of us. Counts no money; who asks for
//! the usage of a group, an agent or a provider is answered from these.

use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};

use crate::domain::asset::Asset;
use crate::domain::id::{AgentId, Fingerprint, Name, PaymentId, RequestId};
use crate::domain::ledger::event::Event;
use crate::domain::ledger::rejection::Rejection;
use crate::domain::ledger::requests::{Remembered, RequestState};
use crate::domain::ledger::state::Ledger;
use crate::domain::money::Amount;
use crate::domain::order::Usage;
use crate::domain::time::Timestamp;

/// One call, by what it used.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Metered {
    /// On which side, and whose.
    pub whose: Whose,
    /// Who sold.
    pub provider: Name,
    /// What kind of work.
    pub capability: Name,
    /// With which model.
    pub model: Name,
    /// What was used, by the payee's meter.
    pub usage: Usage,
    /// Bytes that the payee keeps for it: those of the request's body, where storage is priced.
    pub stored: u64,
    /// In what it is paid, and on which network.
    pub asset: Asset,
    /// What was charged; nothing for a free call.
    pub amount: Amount,
    /// The transfer, where one is known.
    pub transaction: Option<B256>,
}

/// Which side's usage it is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Whose {
    /// An agent of ours bought it.
    Bought {
        /// Who.
        agent: AgentId,
        /// The payment; a free call has its name without one.
        payment: PaymentId,
        /// For which request.
        request: RequestId,
        /// What the request says, for a free call: no hold remembers it, so that this does.
        free: Option<Fingerprint>,
    },
    /// It was sold, and paid or owed.
    Sold {
        /// Who bought it, by its key on the rail.
        payer: Address,
        /// The payer's name for the payment, where it gave one.
        payment: Option<PaymentId>,
        /// Whether the ware has tiers, so that the calls of a key are counted.
        tiered: bool,
    },
    /// It was given away, by a grant.
    Granted {
        /// To whom, by its key on the rail.
        payer: Address,
        /// The payer's name for the call.
        payment: PaymentId,
    },
}

impl Ledger {
    /// Usage is a fact: only that of nobody is refused.
    pub(super) fn decide_meter(&self, metered: Box<Metered>) -> Result<Event, Rejection> {
        match metered.whose {
            Whose::Bought { agent, .. } if self.find_agent(agent).is_none() => {
                Err(Rejection::UnknownAgent(agent))
            }
            Whose::Granted { payer, payment } if !self.grants.is_owed(payer, payment) => {
                Err(Rejection::UnknownGrant(payment))
            }
            _ => Ok(Event::UsageMetered(metered)),
        }
    }

    /// Whether `request` is of a time in which it would be remembered at `now`.
    pub fn may_remember(&self, now: Timestamp, request: RequestId) -> bool {
        let (from, to) = self.requests.span(now, self.bounds.request_memory);
        let made_at = request.made_at_ms().map(Timestamp::from_millis);
        made_at.is_some_and(|made_at| (from..=to).contains(&made_at))
    }

    pub(super) fn evolve_metered(&mut self, at: Timestamp, metered: &Metered) {
        match metered.whose {
            Whose::Bought { agent, payment, request, free: Some(fingerprint) } => {
                let remembered = Remembered { payment, fingerprint, state: RequestState::Taken };
                self.requests.take(agent, request, remembered);
                self.requests.forget(at, self.bounds.request_memory, self.bounds.requests_max);
            }
            Whose::Sold { payer, tiered: true, .. } => self.grants.count_call(payer),
            Whose::Granted { payer, payment } => self.grants.serve(payer, payment),
            Whose::Bought { free: None, .. } | Whose::Sold { .. } => {}
        }
    }
}
