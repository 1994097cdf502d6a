//! One paid request: from its payment header to the payee, and back as status and headers.
//!
//! The payee knows one resource of its own; a door shows the URL that was called in its place, in offers
//! and in what payers repeat. Nothing here decides what is owed: an offer, a refusal and a settlement are
//! the payee's, said in the version of the protocol that the payer speaks.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt};
use serde_json::{Map, Value};

use super::echo::{self, Echo};
use super::first::FirstPayment;
use super::header::Payment;
use super::refuse;
use super::tell;
use crate::domain::x402::offer_receipt::{self, OfferPayload};
use crate::domain::x402::wire::{PaymentPayload, PaymentRequired, Resource};
use crate::domain::x402::{PaymentCode, identifier};
use crate::ports::paid_service::{
    Answer, Closing, PaidCall, PaidService, Piece, Pieces, ServiceError,
};
use crate::ports::signer::ServiceSigner;

/// Longest answer that is given whole, in bytes.
pub const WHOLE_ANSWER_LEN_MAX: usize = 4 * 1024 * 1024;

/// How long a signed offer stands, in seconds.
const OFFER_LIFE_S: u64 = 300;

/// Which version of the protocol a payer speaks.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// Offers in the body, `X-PAYMENT`.
    First,
    /// Offers in a header, `PAYMENT-SIGNATURE`.
    Second,
}

/// What a request is for, as its payer is shown it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The URL that was called.
    pub url: String,
    /// For people.
    pub description: Option<String>,
    /// What the answer is.
    pub mime_type: Option<String>,
    /// What is declared beside the payee's own extensions: `bazaar`, for one.
    pub declared: Arc<Map<String, Value>>,
}

/// Turns an answer's bytes, which the payee's engine made, into a response.
pub type Unfold = fn(content_type: &str, body: Bytes) -> Response;

/// A door at which a payee sells.
#[derive(Clone)]
pub struct PaidDoor {
    payee: Arc<dyn PaidService>,
    resource: Arc<str>,
    signer: Option<(Arc<dyn ServiceSigner>, Arc<dyn crate::ports::clock::Clock>)>,
    wants_name: bool,
    /// What offers say of payers' names.
    names: Value,
}

impl PaidDoor {
    /// A door at which `payee` sells, whose own name for what it sells is `resource`.
    pub fn new(payee: Arc<dyn PaidService>, resource: &str) -> Self {
        let names = identifier::declared(false);
        Self { payee, resource: resource.into(), signer: None, wants_name: false, names }
    }

    /// The same, that signs offers and receipts in the form that strangers verify.
    pub fn signing(
        mut self,
        signer: Arc<dyn ServiceSigner>,
        clock: Arc<dyn crate::ports::clock::Clock>,
    ) -> Self {
        self.signer = Some((signer, clock));
        self
    }

    /// The same, that takes no payment without a name of the payer's (`payment-identifier`).
    pub fn wanting_names(mut self) -> Self {
        self.wants_name = true;
        self.names = identifier::declared(true);
        self
    }

    /// Says what `call` costs: the answer to a request without a payment.
    pub async fn ask(&self, shown: &Shown, call: PaidCall) -> Response {
        match self.find_offer(call).await {
            Ok(offer) => refuse::offer(&self.dress(offer, shown), Version::Second, None),
            Err(error) => self.refuse(error, shown, Version::Second, &call_network(None)),
        }
    }

    /// Serves `call` for `payment`; an answer leaves after it was settled.
    pub async fn sell(
        &self,
        payment: Payment,
        shown: &Shown,
        call: PaidCall,
        unfold: Unfold,
    ) -> Response {
        let (version, network) = match &payment {
            Payment::Second(payment) => (Version::Second, call_network(Some(payment))),
            Payment::First(payment) => (Version::First, first_network(payment)),
        };
        // What came of a settlement stands in a header: before the first chunk it is known of `exact` alone.
        let streamed = call.streamed && payment.is_exact();
        let call = PaidCall { streamed, ..call };
        let asked = PaidCall { body: Bytes::new(), ..call.clone() };
        let sold = async {
            let payment = self.read(payment, shown, &call).await?;
            let is_named = matches!(identifier::find_name(&payment), Ok(Some(_)));
            let call = PaidCall { payment: Some(payment), ..call };
            match self.payee.infer(call).await {
                // It paid for another request. A name for two is the payer's mistake and a conflict
                // (threats.md A25); otherwise this request is simply not paid (A06).
                Err(ServiceError::Bound) if !is_named => {
                    let offer = self.find_offer(asked).await.map_err(Refused::Service)?;
                    Err(Refused::Said(Box::new(offer), PaymentCode::Payload.as_str()))
                }
                sold => sold.map_err(Refused::Service),
            }
        };
        match sold.await {
            Ok(Answer { settled: Some(said), content_type, pieces, .. }) if streamed => {
                let mut response = tell::private(flowing(&content_type, pieces));
                tell::settled(response.headers_mut(), &said, version);
                response
            }
            Ok(answer) => self.give(answer, shown, version, &network, unfold).await,
            Err(Refused::Service(ServiceError::Engine(
                crate::ports::engine::EngineError::Declined { answer },
            ))) => tell::private(unfold("", answer)),
            Err(Refused::Service(error)) => self.refuse(error, shown, version, &network),
            Err(Refused::Said(offer, words)) => {
                let offer = PaymentRequired { error: Some(words.to_owned()), ..*offer };
                refuse::offer(&self.dress(offer, shown), version, None)
            }
            Err(Refused::Nameless) => refuse::nameless(),
        }
    }

    /// The payment as the payee reads it: what was shown is taken back.
    async fn read(
        &self,
        payment: Payment,
        shown: &Shown,
        call: &PaidCall,
    ) -> Result<PaymentPayload, Refused> {
        let payment = match payment {
            Payment::Second(payment) => *payment,
            Payment::First(payment) => {
                // It does not say what it accepted: that is found among what is offered now.
                let offer = self.find_offer(call.clone()).await.map_err(Refused::Service)?;
                let code = |error: crate::domain::x402::PaymentError| error.wire().as_str();
                return payment
                    .to_second(&offer)
                    .map_err(|error| Refused::Said(Box::new(offer.clone()), code(error)));
            }
        };
        let declared = |key: &str| match key {
            identifier::KEY => Some(&self.names),
            key => shown.declared.get(key),
        };
        match echo::check(declared, payment.extensions.as_ref()) {
            Echo::Same => {}
            Echo::Changed => {
                let offer = self.find_offer(call.clone()).await.map_err(Refused::Service)?;
                return Err(Refused::Said(Box::new(offer), echo::MISMATCH));
            }
        }
        if self.wants_name && !matches!(identifier::find_name(&payment), Ok(Some(_))) {
            return Err(Refused::Nameless);
        }
        let resource = payment.resource.map(|resource| match resource.url == shown.url {
            true => Resource { url: self.resource.to_string(), ..resource },
            // Something else was paid for: the payee says so.
            false => resource,
        });
        Ok(PaymentPayload { resource, ..payment })
    }

    async fn find_offer(&self, call: PaidCall) -> Result<PaymentRequired, ServiceError> {
        let unpaid = PaidCall { payment: None, body: Bytes::new(), ..call };
        match self.payee.infer(unpaid).await {
            Err(ServiceError::PaymentRequired(offer)) => Ok(*offer),
            Err(error) => Err(error),
            Ok(_) => Err(ServiceError::Unavailable("nothing is asked for it".to_owned())),
        }
    }

    /// An offer of the payee's as it is shown.
    fn dress(&self, offer: PaymentRequired, shown: &Shown) -> PaymentRequired {
        let Shown { url, description, mime_type, .. } = shown.clone();
        let description = description.or(offer.resource.description);
        let resource = Resource { url, description, mime_type, ..Resource::default() };
        let mut extensions = offer.extensions.unwrap_or_default();
        extensions.extend(shown.declared.as_ref().clone());
        extensions.insert(identifier::KEY.to_owned(), self.names.clone());
        if let Some((signer, clock)) = &self.signer {
            let valid_until = clock.now().as_secs().saturating_add(OFFER_LIFE_S);
            let sign = |(index, way)| {
                let offer = OfferPayload::of_wire(way, &resource.url, valid_until);
                signer.sign_offer(offer, u64::try_from(index).ok())
            };
            let signed: Vec<_> = offer.accepts.iter().enumerate().map(sign).collect();
            let key = offer_receipt::KEY.to_owned();
            extensions.insert(key, offer_receipt::offers_extension(&signed));
        }
        PaymentRequired { resource, extensions: Some(extensions), ..offer }
    }

    fn refuse(
        &self,
        error: ServiceError,
        shown: &Shown,
        version: Version,
        network: &str,
    ) -> Response {
        match error {
            ServiceError::PaymentRequired(offer) => {
                refuse::offer(&self.dress(*offer, shown), version, None)
            }
            ServiceError::SettlementFailed { offer, response } => {
                refuse::offer(&self.dress(*offer, shown), version, Some(&response))
            }
            error => refuse::other(&error, version, network),
        }
    }

    /// Gives a whole answer.
    async fn give(
        &self,
        answer: Answer,
        shown: &Shown,
        version: Version,
        network: &str,
        unfold: Unfold,
    ) -> Response {
        let content_type = answer.content_type.clone();
        match whole(answer).await {
            Ok((body, closing)) => {
                let mut response = tell::private(unfold(&content_type, body));
                let said = self.receipted(closing, shown);
                tell::settled(response.headers_mut(), &said, version);
                response
            }
            Err(error) => self.refuse(error, shown, version, network),
        }
    }

    /// What is said of the settlement, with a receipt that strangers verify.
    fn receipted(
        &self,
        closing: Closing,
        shown: &Shown,
    ) -> crate::domain::x402::wire::SettlementResponse {
        let mut said = closing.response;
        if let (Some((signer, _)), Some(receipt)) = (&self.signer, &closing.receipt)
            && said.success
        {
            let mut payload = offer_receipt::ReceiptPayload::of_receipt(&receipt.receipt);
            payload.resource_url.clone_from(&shown.url);
            let signed = offer_receipt::receipt_extension(&signer.sign_received(payload));
            let extensions = said.extensions.get_or_insert_default();
            extensions.insert(offer_receipt::KEY.to_owned(), signed);
        }
        said
    }
}

/// Why a request is not served.
enum Refused {
    Service(ServiceError),
    /// By an offer with these words.
    Said(Box<PaymentRequired>, &'static str),
    Nameless,
}

/// A whole answer.
pub(super) async fn whole(answer: Answer) -> Result<(Bytes, Closing), ServiceError> {
    let mut pieces = answer.pieces;
    let mut body = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        match piece? {
            Piece::Chunk(chunk) => {
                if body.len().saturating_add(chunk.len()) > WHOLE_ANSWER_LEN_MAX {
                    return Err(ServiceError::Due);
                }
                body.extend_from_slice(&chunk);
            }
            Piece::Done(closing) => return Ok((body.freeze(), *closing)),
            // Whole answers are paid as a whole: what is cut was served before, and is kept no more.
            Piece::Cut(_) => return Err(ServiceError::Due),
            Piece::Used(_) => {}
        }
    }
    Err(broken_off())
}

/// An answer that is settled, as it is made. Where it breaks off the body does too, and who paid asks
/// again with the same payment.
fn flowing(content_type: &str, pieces: Pieces) -> Response {
    let chunks = stream::unfold(Some(pieces), |pieces| async move {
        let mut pieces = pieces?;
        loop {
            return match pieces.next().await {
                Some(Ok(Piece::Chunk(chunk))) => Some((Ok(chunk), Some(pieces))),
                Some(Ok(Piece::Used(_))) => continue,
                Some(Ok(Piece::Done(_))) => None,
                Some(Ok(Piece::Cut(_))) => Some((Err(ServiceError::Due), None)),
                Some(Err(error)) => Some((Err(error), None)),
                None => Some((Err(broken_off()), None)),
            };
        }
    });
    tell::typed(content_type, Body::from_stream(chunks))
}

fn broken_off() -> ServiceError {
    ServiceError::Unknown("the answer broke off".to_owned())
}

/// The network that a payment says it is on, to be repeated where its outcome is open.
fn call_network(payment: Option<&PaymentPayload>) -> String {
    payment.map(|payment| payment.accepted.network.clone()).unwrap_or_default()
}

fn first_network(payment: &FirstPayment) -> String {
    let network = super::first::find_network(&payment.network);
    network.map(|network| network.to_string()).unwrap_or_default()
}
