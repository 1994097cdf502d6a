//! A client that pays: a request that is answered with an offer is paid, and made once more.
//!
//! The offer is a stranger's word. It has to be for the origin that was called, and what may be signed of
//! it is the payer's policy and registry to say. One request is one payment: asked again by its name it
//! shows the very same authorization. It follows no redirects, because what a request carries is meant
//! for one origin, and it connects to nothing that its reach does not let it.

mod error;
mod kept;
mod origin;
mod purse;
mod secured;

pub use error::FetchError;
pub use origin::{Origin, OriginError, Reach};
pub use purse::{PayerPurse, Signed, Unpaid};
pub use secured::Secured;

use kept::KeptOffers;
use secured::Asked;

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::B256;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, TRANSFER_ENCODING};
use axum::http::{Method, StatusCode};
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::first::{self, FirstPayment};
use super::header::{
    self, HeaderError, PAYMENT_REQUIRED, PAYMENT_SIGNATURE, X_PAYMENT, X_PAYMENT_RESPONSE,
};
use super::limits::{PAYMENT_TEXT_MAX, SETTLEMENT_TEXT_MAX};
use super::sell::Version;
use crate::domain::id::{PaymentId, RequestId};
use crate::domain::x402::PaymentError;
use crate::domain::x402::error::Message;
use crate::domain::x402::offer::HeardOffer;
use crate::domain::x402::read::{OBJECT_LEN_MAX, parse_settlement};
use crate::domain::x402::wire::SettlementResponse;
use crate::runtime::payer::{OfferedPreview, PayError};

/// The scheme by which a channel pays.
const BY_CHANNEL: &str = "batch-settlement";

/// Longest body that is sent, in bytes.
pub const SENT_LEN_MAX: usize = 16 * 1024 * 1024;

/// Longest answer that is read, in bytes.
pub const READ_LEN_MAX: usize = 64 * 1024 * 1024;

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How long a whole exchange may take: a payee settles before it answers.
const EXCHANGE_MAX: Duration = Duration::from_secs(180);

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCall {
    /// The caller's name for it: the same again is the same payment.
    pub request: Option<RequestId>,
    /// How.
    pub method: Method,
    /// Where.
    pub url: String,
    /// With which headers; none of a payment.
    pub headers: HeaderMap,
    /// With which body.
    pub body: Bytes,
}

/// An answer, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// What was paid for it, if anything was.
    pub paid: Option<Paid>,
}

impl Fetched {
    /// Whether its payee says that it took what it was paid.
    fn is_settled(&self) -> bool {
        let said = self.paid.as_ref().and_then(|paid| paid.settlement.as_ref());
        said.is_some_and(|said| said.success)
    }
}

/// What was paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    /// The payment.
    pub payment: PaymentId,
    /// What the payee says of the settlement, where it says it legibly.
    pub settlement: Option<SettlementResponse>,
}

/// An offer as it came.
struct Offered {
    offer: HeardOffer,
    version: Version,
}

/// What came of the first try.
enum First {
    Answered(Box<Fetched>),
    Asked(Box<Offered>),
}

/// A client that never pays: for what costs nothing and is read within a bound.
pub struct Plain {
    http: reqwest::Client,
    reach: Reach,
}

impl Plain {
    /// Connects to nothing beyond `reach`.
    pub fn new(reach: Reach) -> Self {
        Self { http: http_within(&reach), reach }
    }

    /// Reads what is at `url`, at most `len_max` bytes of it.
    ///
    /// # Errors
    /// What happened, where nobody answered whole.
    pub async fn get(&self, url: &str, len_max: usize) -> Result<Fetched, String> {
        Origin::of(url, &self.reach).map_err(|error| error.to_string())?;
        let (method, headers, body) = (Method::GET, HeaderMap::new(), Bytes::new());
        exchange(&self.http, &self.reach, Asked { method, url, headers, body }, len_max).await
    }
}

/// What clients that pay have in common: their connections, and what was offered to them lately.
#[derive(Clone)]
pub struct Connector {
    http: reqwest::Client,
    reach: Reach,
    kept: Arc<KeptOffers>,
}

impl Connector {
    /// Connects to nothing beyond `reach`.
    ///
    /// # Panics
    /// Where the system has no randomness to start a client with.
    pub fn new(reach: Reach) -> Self {
        Self { http: http_within(&reach), reach, kept: Arc::default() }
    }

    /// A client that pays from `purse`.
    pub fn payer(&self, purse: PayerPurse) -> HttpPayer {
        HttpPayer { by: self.clone(), purse }
    }
}

/// A client that pays from one purse.
#[derive(Clone)]
pub struct HttpPayer {
    by: Connector,
    purse: PayerPurse,
}

impl HttpPayer {
    /// Pays from `purse`, and connects to nothing beyond `reach`.
    ///
    /// # Panics
    /// Where the system has no randomness to start a client with.
    pub fn new(purse: PayerPurse, reach: Reach) -> Self {
        Connector::new(reach).payer(purse)
    }

    /// Makes a request, and pays for it where it has to be paid and the policy allows it. What a channel has
    /// paid lately is paid at once, unless the call has a name: that stands for one payment.
    ///
    /// # Errors
    /// [`FetchError`]. A status that refuses the request is an answer like any other.
    pub async fn fetch(&self, call: HttpCall) -> Result<Fetched, FetchError> {
        let origin = self.check(&call).await?;
        let first = match self.pay_again(&call, &origin).await? {
            Some(first) => first,
            None => self.first(&call, &origin).await?,
        };
        let Offered { offer, version } = match first {
            First::Answered(fetched) => return Ok(*fetched),
            First::Asked(offered) => *offered,
        };
        let heard = self.purse.clock.now();
        let signed = self.purse.pay(unpaid(&call, &origin, offer.clone())).await?;
        let by_channel = signed.payload.accepted.scheme == BY_CHANNEL;
        let fetched = self.pay(&call, &origin, signed, version).await?;
        if by_channel && fetched.is_settled() {
            self.by.kept.keep(self.purse.agent, &call, offer, heard);
        }
        Ok(fetched)
    }

    /// Pays by an offer that a channel has paid before; nothing, where there is none that would do.
    async fn pay_again(
        &self,
        call: &HttpCall,
        origin: &Origin,
    ) -> Result<Option<First>, FetchError> {
        let now = self.purse.clock.now();
        let known = self.by.kept.find(self.purse.agent, call, now);
        let Some(offer) = known.filter(|_| call.request.is_none()) else { return Ok(None) };
        let signed = match self.purse.pay(unpaid(call, origin, offer)).await {
            Ok(signed) => signed,
            // Nothing is held, and what it costs now is not known.
            Err(PayError::TooDear { .. } | PayError::NoQuote { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let fetched = self.pay(call, origin, signed, Version::Second).await?;
        if fetched.status == StatusCode::PAYMENT_REQUIRED {
            self.by.kept.give_up(self.purse.agent, call, now);
        }
        read_first(fetched, origin).map(Some)
    }

    /// What a request would cost, and what would be decided; `None` where nothing is asked. Nothing is
    /// held or signed.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn preview(&self, call: HttpCall) -> Result<Option<OfferedPreview>, FetchError> {
        let origin = self.check(&call).await?;
        match self.first(&call, &origin).await? {
            First::Answered(_) => Ok(None),
            First::Asked(offered) => {
                let unpaid = unpaid(&call, &origin, offered.offer);
                Ok(Some(self.purse.preview(unpaid).await?))
            }
        }
    }

    /// Whom the call is for, where it may be made. Whom a role lets nothing be bought of is not even asked:
    /// an agent that has no way to a server gets none through whoever pays for it.
    async fn check(&self, call: &HttpCall) -> Result<Origin, FetchError> {
        let origin = check_call(call, &self.by.reach)?;
        match self.purse.find_denial(&origin, &call.method).await? {
            Some(denial) => Err(FetchError::Denied(denial)),
            None => Ok(origin),
        }
    }

    async fn first(&self, call: &HttpCall, origin: &Origin) -> Result<First, FetchError> {
        let unreachable = |problem: String| {
            let origin = origin.clone();
            FetchError::Unreachable { origin, problem }
        };
        let fetched = self.exchange(call, None).await.map_err(unreachable)?;
        read_first(fetched, origin)
    }

    /// Shows a payment, once.
    async fn pay(
        &self,
        call: &HttpCall,
        origin: &Origin,
        signed: Signed,
        version: Version,
    ) -> Result<Fetched, FetchError> {
        let payment = signed.payment;
        let (origin, doubt) =
            (origin.clone(), |origin, problem| FetchError::InDoubt { payment, origin, problem });
        let Some(shown) = show(&signed, version) else {
            return Err(doubt(origin, "its version of the protocol has no words for it".into()));
        };
        let fetched = match self.exchange(call, Some(shown)).await {
            Ok(fetched) => fetched,
            // Dropped unconcluded: the outcome is open until the chain speaks.
            Err(problem) => return Err(doubt(origin, problem)),
        };
        let settlement = find_settlement(&fetched.headers);
        match &settlement {
            Some(said) => signed.conclude(Some(said.clone())),
            None if is_refusal(fetched.status) => signed.conclude_refused(),
            None => signed.conclude(None),
        }
        Ok(Fetched { paid: Some(Paid { payment, settlement }), ..fetched })
    }

    async fn exchange(&self, call: &HttpCall, shown: Option<Shown>) -> Result<Fetched, String> {
        let mut headers = call.headers.clone();
        if let Some((name, value)) = shown {
            headers.insert(name, value);
        }
        let (method, body) = (call.method.clone(), call.body.clone());
        let asked = Asked { method, url: &call.url, headers, body };
        exchange(&self.by.http, &self.by.reach, asked, READ_LEN_MAX).await
    }
}

fn http_within(reach: &Reach) -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .dns_resolver(origin::Names::new(reach))
        .connect_timeout(CONNECT_MAX)
        .timeout(EXCHANGE_MAX)
        .build()
        .expect("a client without TLS needs nothing of the system")
}

/// Makes one request, by TLS where its URL says so, and reads the answer whole.
async fn exchange(
    http: &reqwest::Client,
    reach: &Reach,
    asked: Asked<'_>,
    len_max: usize,
) -> Result<Fetched, String> {
    if let Reach::Secured(secured) = reach
        && Origin::named_by(asked.url).is_ok_and(|origin| origin.is_secured())
    {
        return secured.exchange(asked, len_max).await;
    }
    let request = http.request(asked.method, asked.url).headers(asked.headers);
    let sent = request.body(asked.body).send().await;
    // Its own words may have the URL with its query in them.
    let mut response = sent.map_err(|error| error.without_url().to_string())?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = BytesMut::new();
    loop {
        let chunk = response.chunk().await;
        match chunk.map_err(|error| error.without_url().to_string())? {
            Some(chunk) if body.len().saturating_add(chunk.len()) <= len_max => {
                body.extend_from_slice(&chunk);
            }
            Some(_) => return Err(format!("the answer has more than {len_max} bytes")),
            None => break,
        }
    }
    Ok(Fetched { status, headers, body: body.freeze(), paid: None })
}

type Shown = (axum::http::HeaderName, axum::http::HeaderValue);

/// A payment as it is shown in its payee's version.
fn show(signed: &Signed, version: Version) -> Option<Shown> {
    let mut headers = HeaderMap::new();
    match version {
        Version::Second => {
            let payload = &signed.payload;
            header::put(&mut headers, PAYMENT_SIGNATURE, payload, PAYMENT_TEXT_MAX).ok()?;
        }
        Version::First => {
            let payment = FirstPayment::of(&signed.payload)?;
            header::put(&mut headers, X_PAYMENT, &payment, PAYMENT_TEXT_MAX).ok()?;
        }
    }
    let (name, mut value) = headers.into_iter().next()?;
    value.set_sensitive(true);
    name.map(|name| (name, value))
}

/// A status by which a payee says that it took nothing.
fn is_refusal(status: StatusCode) -> bool {
    status.is_client_error()
}

fn check_call(call: &HttpCall, reach: &Reach) -> Result<Origin, FetchError> {
    for (name, text) in [(&PAYMENT_SIGNATURE, "payment-signature"), (&X_PAYMENT, "x-payment")] {
        if call.headers.contains_key(name) {
            return Err(FetchError::OwnPayment(text));
        }
    }
    for (name, text) in [
        (&HOST, "host"),
        (&CONTENT_LENGTH, "content-length"),
        (&TRANSFER_ENCODING, "transfer-encoding"),
    ] {
        if call.headers.contains_key(name) {
            return Err(FetchError::OwnPayment(text));
        }
    }
    if call.body.len() > SENT_LEN_MAX {
        return Err(FetchError::BodyTooLong { len: call.body.len() });
    }
    Ok(Origin::of(&call.url, reach)?)
}

/// An answer, or an offer.
fn read_first(fetched: Fetched, origin: &Origin) -> Result<First, FetchError> {
    if fetched.status != StatusCode::PAYMENT_REQUIRED {
        return Ok(First::Answered(Box::new(fetched)));
    }
    let wrong = |error| FetchError::Offer { origin: origin.clone(), error };
    Ok(match find_offer(&fetched).map_err(wrong)? {
        Some(offered) => First::Asked(Box::new(offered)),
        None => First::Answered(Box::new(fetched)),
    })
}

/// The offer in a 402: in its header, or else in its body, where version 1 has it.
fn find_offer(fetched: &Fetched) -> Result<Option<Offered>, HeaderError> {
    if let Some(offer) = header::find_offer(&fetched.headers)? {
        return Ok(Some(Offered { offer: offer.into(), version: Version::Second }));
    }
    if fetched.body.len() > OBJECT_LEN_MAX {
        return Ok(None);
    }
    match first::parse_required(&fetched.body) {
        Ok(required) => {
            let offer = required.to_second().into();
            Ok(Some(Offered { offer, version: Version::First }))
        }
        // A 402 that says nothing of x402 is an answer like any other.
        Err(PaymentError::Version { .. } | PaymentError::Malformed { .. }) => Ok(None),
        Err(error) => Err(HeaderError::Unreadable { name: PAYMENT_REQUIRED, error }),
    }
}

/// What a payee says of the settlement, in either version. x402-rs tells payers of version 1 under the name of
/// version 2, and calls the network by version 1's.
fn find_settlement(headers: &HeaderMap) -> Option<SettlementResponse> {
    let said = header::find_settlement(headers).or_else(|| {
        let text = header::find_one(headers, &X_PAYMENT_RESPONSE).ok()??;
        let (name, message) = (&X_PAYMENT_RESPONSE, Message::Settlement);
        let json = header::decode(name, text, SETTLEMENT_TEXT_MAX, message).ok()?;
        parse_settlement(&json).ok()
    });
    said.map(first::settlement_to_second)
}

fn unpaid(call: &HttpCall, origin: &Origin, offer: HeardOffer) -> Unpaid {
    let mut hash = Sha256::new();
    let content_type = call.headers.get(CONTENT_TYPE).map_or(&[][..], |value| value.as_bytes());
    for part in [call.url.as_bytes(), content_type, &call.body] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    Unpaid {
        request: call.request,
        origin: origin.clone(),
        method: call.method.clone(),
        message: B256::from(<[u8; 32]>::from(hash.finalize())),
        offer,
    }
}
