//! Who pays for a client's calls.

use std::sync::Arc;

use alloy::primitives::B256;
use async_trait::async_trait;
use tonic::Status;

use super::engine::{CAPABILITY, name_of};
use crate::domain::id::{AgentId, Name, RequestId};
use crate::domain::money::Nano;
use crate::domain::x402::wire::{PaymentPayload, PaymentRequired, SettlementResponse};
use crate::edge::grpc::convert::Malformed;
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::runtime::payer::{OfferedCall, Payer};

/// A call that was answered with an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpaid {
    /// The caller's name for it, where it gave one: the same again is the same payment.
    pub request: Option<RequestId>,
    /// Where it was made: `host:port`.
    pub authority: String,
    /// Which method: `/package.Service/Method`.
    pub path: String,
    /// The digest of its message.
    pub message: B256,
    /// The offer.
    pub offer: PaymentRequired,
}

/// A payment that goes with the call.
pub struct Signed {
    /// What is shown to the payee.
    pub payload: PaymentPayload,
    /// Has to be told what the payee said of the settlement. Dropped untold, the outcome is open.
    pub conclude: Box<dyn FnOnce(Option<SettlementResponse>) + Send + Sync>,
}

/// Pays for calls.
#[async_trait]
pub trait Purse: Send + Sync {
    /// Pays an offer, or says why not.
    ///
    /// # Errors
    /// The status that the caller gets instead of an answer.
    async fn pay(&self, call: Unpaid) -> Result<Signed, Status>;
}

/// Pays by a [`Payer`] in this process, within the budgets of one agent.
pub struct PayerPurse {
    /// Who pays.
    pub payer: Payer,
    /// For whom.
    pub agent: AgentId,
    /// In which session.
    pub session: Option<Name>,
    /// Only up to this price a call.
    pub price_max: Option<Nano>,
    /// The time, for request ids.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for request ids.
    pub entropy: Arc<dyn Entropy>,
}

impl PayerPurse {
    fn new_request(&self) -> RequestId {
        let mut random = [0; 10];
        self.entropy.fill(&mut random);
        RequestId::new(self.clock.now().as_millis(), random)
    }
}

#[async_trait]
impl Purse for PayerPurse {
    async fn pay(&self, call: Unpaid) -> Result<Signed, Status> {
        let provider = provider_of(&call.authority).map_err(|error| Status::from(&error))?;
        let offered = OfferedCall {
            agent: self.agent,
            request: call.request.unwrap_or_else(|| self.new_request()),
            session: self.session.clone(),
            resource: format!("grpc://{}{}", call.authority, call.path),
            provider,
            capability: CAPABILITY.parse().expect("a literal name"),
            model: name_of(&call.path),
            message: call.message,
            price_max: self.price_max,
            offer: call.offer.into(),
        };
        let paid = self.payer.pay_offer(offered).await;
        let (payload, paid) = paid.map_err(|error| Status::from(&error))?;
        Ok(Signed { payload, conclude: Box::new(move |word| paid.conclude(word)) })
    }
}

/// An authority as policies name providers: `127.0.0.1:50051`, `example.com:443`, `v6-::1:50051`.
fn provider_of(authority: &str) -> Result<Name, Malformed> {
    let bare = match authority.strip_prefix('[') {
        Some(rest) => format!("v6-{}", rest.replacen(']', "", 1)),
        None => authority.to_owned(),
    };
    bare.parse().map_err(|error| Malformed::new("authority", error))
}
