//! Who pays for a client's requests.

use std::sync::Arc;

use alloy::primitives::B256;
use axum::http::Method;

use super::origin::Origin;
use crate::domain::id::{AgentId, Name, PaymentId, RequestId};
use crate::domain::money::Nano;
use crate::domain::policy::{Denial, List};
use crate::domain::x402::PaymentError;
use crate::domain::x402::offer::HeardOffer;
use crate::domain::x402::wire::{PaymentPayload, SettlementResponse};
use crate::ports::clock::Clock;
use crate::ports::entropy::Entropy;
use crate::runtime::payer::{
    OfferedCall, OfferedPayment, OfferedPreview, PayError, Payer, QuoteProblem,
};

/// What every request is bought as, for policies.
const CAPABILITY: &str = "http.call";

/// A request that was answered with an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpaid {
    /// The caller's name for it, where it gave one: the same again is the same payment.
    pub request: Option<RequestId>,
    /// Where it was made.
    pub origin: Origin,
    /// How.
    pub method: Method,
    /// The digest of its URL, content type and body.
    pub message: B256,
    /// The offer.
    pub offer: HeardOffer,
}

/// A payment that goes with the request. Dropped unconcluded, its outcome is open.
pub struct Signed {
    /// Which.
    pub payment: PaymentId,
    /// What is shown to the payee.
    pub payload: PaymentPayload,
    paid: OfferedPayment,
}

impl Signed {
    /// Ends it by what the payee says of the settlement.
    pub fn conclude(self, said: Option<SettlementResponse>) {
        self.paid.conclude(said);
    }

    /// Ends it where the payee says that it took nothing.
    pub fn conclude_refused(self) {
        self.paid.conclude_refused();
    }
}

/// Pays by a [`Payer`] in this process, within the budgets of one agent.
#[derive(Clone)]
pub struct PayerPurse {
    /// Who pays.
    pub payer: Payer,
    /// For whom.
    pub agent: AgentId,
    /// In which session.
    pub session: Option<Name>,
    /// Only up to this price a request.
    pub price_max: Option<Nano>,
    /// The time, for request ids.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for request ids.
    pub entropy: Arc<dyn Entropy>,
}

impl PayerPurse {
    /// Why the agent's role does not let a request be made, whatever it would cost; nothing where it does.
    ///
    /// # Errors
    /// [`PayError`] where there is no such agent or role.
    pub async fn find_denial(
        &self,
        origin: &Origin,
        method: &Method,
    ) -> Result<Option<Denial>, PayError> {
        let (capability, model, provider) = (capability(), model_of(method), provider_of(origin));
        let found = [
            (List::Capabilities, &capability),
            (List::Models, &model),
            (List::Providers, &provider),
        ];
        self.payer.find_denial(self.agent, &found).await
    }

    /// Pays an offer, or says why not.
    ///
    /// # Errors
    /// [`PayError`]; without a payment in it nothing was held.
    pub async fn pay(&self, unpaid: Unpaid) -> Result<Signed, PayError> {
        let (payload, paid) = self.payer.pay_offer(self.offered(unpaid)?).await?;
        Ok(Signed { payment: paid.payment, payload, paid })
    }

    /// What paying an offer would cost, and what would be decided.
    ///
    /// # Errors
    /// [`PayError`].
    pub async fn preview(&self, unpaid: Unpaid) -> Result<OfferedPreview, PayError> {
        self.payer.preview_offer(self.offered(unpaid)?).await
    }

    /// The offer has to be for the origin that was called; which path of it that origin names is its own
    /// affair, because no signature covers it. Source: threats.md G06, G08.
    fn offered(&self, unpaid: Unpaid) -> Result<OfferedCall, PayError> {
        let provider = provider_of(&unpaid.origin);
        let offered_by = Origin::named_by(&unpaid.offer.resource.url);
        if offered_by.as_ref() != Ok(&unpaid.origin) {
            let problem = QuoteProblem::Offer(PaymentError::Resource);
            return Err(PayError::NoQuote { provider, problem });
        }
        Ok(OfferedCall {
            agent: self.agent,
            request: unpaid.request.unwrap_or_else(|| self.new_request()),
            session: self.session.clone(),
            resource: unpaid.offer.resource.url.clone(),
            provider,
            capability: capability(),
            model: model_of(&unpaid.method),
            message: unpaid.message,
            price_max: self.price_max,
            offer: unpaid.offer,
        })
    }

    fn new_request(&self) -> RequestId {
        let mut random = [0; 10];
        self.entropy.fill(&mut random);
        RequestId::new(self.clock.now().as_millis(), random)
    }
}

fn capability() -> Name {
    CAPABILITY.parse().expect("a literal name")
}

/// A method as policies name models.
fn model_of(method: &Method) -> Name {
    method.as_str().parse().unwrap_or_else(|_| "other".parse().expect("a literal name"))
}

fn provider_of(origin: &Origin) -> Name {
    let name = origin.provider();
    name.parse().unwrap_or_else(|_| named_by_digest(&name))
}

/// A host too long for a name is named by its digest: cut short it could be another's.
fn named_by_digest(host: &str) -> Name {
    let digest = crate::domain::id::Fingerprint::of(&[host.as_bytes()]);
    digest.to_string().parse().expect("an id's text is a name")
}
