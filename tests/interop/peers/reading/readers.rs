//! What is read: documents as our code makes them, our reader and theirs, and what each understands.

use alloy::primitives::{Address, B256, Signature, U256, address};
use bursar::domain::commitment::{Authorization, Commitment, Scheme, TransferMethod};
use bursar::domain::money::Amount;
use bursar::domain::quote::PayBy;
use bursar::domain::x402::error::Message;
use bursar::domain::x402::payload::{payment_payload, read_authorization};
use bursar::domain::x402::permit::spender;
use bursar::domain::x402::read::{
    parse_asked, parse_payment_payload, parse_payment_required, parse_settlement,
};
use bursar::domain::x402::requirements::{Requirement, read_requirements};
use bursar::domain::x402::wire::{
    AskedPayment, PaymentPayload, PaymentRequired, PaymentRequirements, Resource,
    SettlementResponse,
};
use bursar::domain::x402::{PaymentError, TokenDomains};
use bursar::edge::http::first::{FirstPayment, FirstRequired, parse_payment, parse_required};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use x402_chain_eip155::chain::{ChecksummedAddress, Eip155ChainReference, permit2};
use x402_chain_eip155::v1_eip155_exact::types as first;
use x402_chain_eip155::v2_eip155_exact::types as exact;
use x402_chain_eip155::v2_eip155_upto::types as upto;
use x402_types::chain::ChainId;
use x402_types::proto::{OriginalJson, v1, v2};

use crate::chain::{assets, usdc};

const PAYER: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
const PAY_TO: Address = address!("3C44CdDdB6a900fa2b585dd299e03d12FA4293BC");
const FACILITATOR: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");

/// What a document says of money, word by word, however it was spelt.
pub type Meaning = Vec<String>;

/// What is read.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Payment(Way),
    Offer(Way),
    FirstPayment,
    FirstOffer,
    Asked(Way),
    Settlement,
}

/// How it is paid.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Way {
    Eip3009,
    Permit2,
    Upto,
}

impl Kind {
    pub const ALL: [Self; 12] = [
        Self::Payment(Way::Eip3009),
        Self::Payment(Way::Permit2),
        Self::Payment(Way::Upto),
        Self::Offer(Way::Eip3009),
        Self::Offer(Way::Permit2),
        Self::Offer(Way::Upto),
        Self::FirstPayment,
        Self::FirstOffer,
        Self::Asked(Way::Eip3009),
        Self::Asked(Way::Permit2),
        Self::Asked(Way::Upto),
        Self::Settlement,
    ];

    /// One as our code makes it.
    pub fn document(self) -> Value {
        let offer = offer(Way::Eip3009);
        let made = match self {
            Self::Payment(way) => serde_json::to_value(payment(way)),
            Self::Offer(way) => serde_json::to_value(self::offer(way)),
            Self::FirstPayment => serde_json::to_value(FirstPayment::of(&payment(Way::Eip3009))),
            Self::FirstOffer => serde_json::to_value(FirstRequired::of(&offer)),
            Self::Asked(way) => serde_json::to_value(AskedPayment {
                x402_version: 2,
                payment_payload: payment(way),
                payment_requirements: requirements(way),
            }),
            Self::Settlement => serde_json::to_value(settlement()),
        };
        made.unwrap()
    }

    pub fn ours(self, text: &[u8]) -> Result<Meaning, PaymentError> {
        match self {
            Self::Payment(_) => paid(&parse_payment_payload(text)?),
            Self::Offer(_) => offered(&parse_payment_required(text)?),
            Self::FirstPayment => paid(&parse_payment(text)?.to_second(&offer(Way::Eip3009))?),
            Self::FirstOffer => offered(&parse_required(text)?.to_second()),
            Self::Asked(_) => asked(text),
            Self::Settlement => parse_settlement(text).map(|said| settled(&said)),
        }
    }

    pub fn theirs(self, text: &[u8]) -> Result<Meaning, String> {
        match self {
            Self::Payment(_) => their_payment(text),
            Self::Offer(_) => their_offer(text),
            Self::FirstPayment => {
                let read: first::PaymentPayload = parse(text)?;
                Ok(eip3009(by_name(&read.network)?, &read.payload))
            }
            Self::FirstOffer => {
                let read: v1::PaymentRequired<OriginalJson> = parse(text)?;
                let way = read.accepts.first().ok_or("nothing accepted")?;
                let way = first::PaymentRequirements::try_from(way).map_err(|e| e.to_string())?;
                let (network, amount) = (by_name(&way.network)?, way.max_amount_required);
                Ok(offer_words(network, amount, way.asset, way.pay_to, way.max_timeout_seconds))
            }
            Self::Asked(_) => their_asked(text),
            Self::Settlement => match parse(text)? {
                v2::SettleResponse::Success { payer, transaction, network } => {
                    Ok(vec!["true".to_owned(), network, transaction, payer])
                }
                v2::SettleResponse::Error { network, .. } => Ok(vec!["false".to_owned(), network]),
            },
        }
    }
}

fn way_of(way: Way) -> PayBy {
    let scheme = match way {
        Way::Upto => Scheme::Upto { facilitator: FACILITATOR },
        Way::Eip3009 | Way::Permit2 => Scheme::Exact,
    };
    let method = match way {
        Way::Eip3009 => TransferMethod::Eip3009,
        Way::Permit2 | Way::Upto => TransferMethod::Permit2,
    };
    PayBy { scheme, method, asset: usdc(), pay_to: PAY_TO, timeout_s: 60 }
}

fn requirements(way: Way) -> PaymentRequirements {
    let tokens = TokenDomains::new(&assets());
    let token = tokens.find(usdc()).unwrap();
    Requirement { pay_by: way_of(way), amount: Amount::new(1_000), token }.to_wire()
}

fn resource() -> Resource {
    Resource {
        url: "http://127.0.0.1:8403/echo/echo-1".to_owned(),
        description: Some("echo by echo-1".to_owned()),
        mime_type: Some("text/plain".to_owned()),
        ..Resource::default()
    }
}

fn offer(way: Way) -> PaymentRequired {
    PaymentRequired {
        x402_version: 2,
        error: Some("PAYMENT-SIGNATURE header is required".to_owned()),
        resource: resource(),
        accepts: vec![requirements(way)],
        extensions: Some(Map::from_iter([("bazaar".to_owned(), json!({ "info": {} }))])),
    }
}

fn payment(way: Way) -> PaymentPayload {
    let pay_by = way_of(way);
    let commitment = Commitment {
        scheme: pay_by.scheme,
        method: pay_by.method,
        asset: pay_by.asset,
        payer: PAYER,
        pay_to: PAY_TO,
        amount_max: Amount::new(1_000),
        valid_after_s: 0,
        valid_before_s: 1_740_672_154,
        nonce: B256::repeat_byte(0xa7),
    };
    let signature = Signature::new(U256::from(7), U256::from(9), true);
    let authorization = Authorization { commitment, signature };
    let extensions = Some(Map::from_iter([("bazaar".to_owned(), json!({ "info": {} }))]));
    payment_payload(Some(resource()), requirements(way), &authorization, extensions, None)
}

fn settlement() -> SettlementResponse {
    SettlementResponse {
        success: true,
        error_reason: None,
        payer: Some(PAYER.to_string()),
        transaction: B256::repeat_byte(0xb3).to_string(),
        network: "eip155:84532".to_owned(),
        amount: Some("1000".to_owned()),
        extra: None,
        extensions: None,
    }
}

fn settled(said: &SettlementResponse) -> Meaning {
    let network = said.network.clone();
    match said.success {
        false => vec!["false".to_owned(), network],
        true => {
            let payer = said.payer.clone().unwrap_or_default();
            vec!["true".to_owned(), network, said.transaction.clone(), payer]
        }
    }
}

fn paid(payment: &PaymentPayload) -> Result<Meaning, PaymentError> {
    let Authorization { commitment, signature } = read_authorization(payment)?;
    let said = &commitment;
    let mut words = vec![said.asset.network.to_string()];
    let (amount, nonce) = (U256::from(said.amount_max.get()), said.nonce);
    let before_s = said.valid_before_s;
    match said.method.is_permit2() {
        false => words.extend(eip3009_words(
            (said.payer, said.pay_to),
            (amount, nonce),
            (said.valid_after_s, before_s),
        )),
        true => words.extend(permit2_words(
            (said.payer, said.pay_to, said.asset.contract, spender(said.scheme)),
            (amount, U256::from_be_bytes(nonce.0)),
            (said.valid_after_s, before_s - 1),
        )),
    }
    words.push(alloy::primitives::hex::encode(signature.as_bytes()));
    Ok(words)
}

fn offered(offer: &PaymentRequired) -> Result<Meaning, PaymentError> {
    let field = PaymentError::Field { message: Message::Required, field: "accepts" };
    required(offer.accepts.first().ok_or(field)?)
}

fn required(wire: &PaymentRequirements) -> Result<Meaning, PaymentError> {
    let (way, amount) = read_requirements(wire, Message::Required)?;
    let (network, amount) = (way.asset.network.to_string(), U256::from(amount.get()));
    Ok(offer_words(network, amount, way.asset.contract, way.pay_to, way.timeout_s))
}

/// As the facilitator's door does: a payment that says its version counts where the request says none.
fn asked(text: &[u8]) -> Result<Meaning, PaymentError> {
    let (mut object, said): (Value, Option<u64>) = parse_asked(text)?;
    let inner = object.pointer("/paymentPayload/x402Version").and_then(Value::as_u64);
    if said.or(inner) != Some(2) || inner != Some(2) {
        return Err(PaymentError::Version { found: said.or(inner) });
    }
    object["x402Version"] = json!(2);
    let read: Result<AskedPayment, _> = serde_json::from_value(object);
    let malformed = PaymentError::Malformed { message: Message::Asked, column: 0 };
    let asked = read.map_err(|_| malformed)?;
    if asked.payment_payload.accepted.scheme != asked.payment_requirements.scheme {
        return Err(PaymentError::Scheme);
    }
    let mut words = paid(&asked.payment_payload)?;
    words.extend(required(&asked.payment_requirements)?);
    Ok(words)
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

fn by_id(id: &ChainId) -> Result<String, String> {
    let read = Eip155ChainReference::try_from(id).map_err(|error| error.to_string())?;
    Ok(ChainId::from(read).to_string())
}

fn by_name(name: &str) -> Result<String, String> {
    by_id(&ChainId::from_network_name(name).ok_or("no such network")?)
}

/// By whichever of their schemes reads it, as where both are registered.
fn their_payment(text: &[u8]) -> Result<Meaning, String> {
    let exact = parse(text).and_then(|read| exact_words(&read));
    exact.or_else(|_| upto_words(&parse(text)?))
}

fn exact_words(read: &exact::PaymentPayload) -> Result<Meaning, String> {
    let network = by_id(&read.accepted.network)?;
    Ok(match &read.payload {
        exact::ExactEvmPayload::Eip3009(signed) => eip3009(network, signed),
        exact::ExactEvmPayload::Permit2(signed) => {
            permit2_of(network, signed, signed.permit_2_authorization.witness.to, {
                signed.permit_2_authorization.witness.valid_after.as_secs()
            })
        }
    })
}

fn upto_words(read: &upto::PaymentPayload) -> Result<Meaning, String> {
    let network = by_id(&read.accepted.network)?;
    let witness = &read.payload.permit_2_authorization.witness;
    Ok(permit2_of(network, &read.payload, witness.to, witness.valid_after.as_secs()))
}

fn their_offer(text: &[u8]) -> Result<Meaning, String> {
    let read: v2::PaymentRequired<OriginalJson> = parse(text)?;
    let way = read.accepts.first().ok_or("nothing accepted")?.0.get().as_bytes();
    let exact = parse(way).and_then(|read| exact_requirements(&read));
    exact.or_else(|_| upto_requirements(&parse(way)?))
}

fn exact_requirements(way: &exact::PaymentRequirements) -> Result<Meaning, String> {
    let (network, amount) = (by_id(&way.network)?, way.amount.into());
    Ok(offer_words(network, amount, way.asset.0, way.pay_to.0, way.max_timeout_seconds))
}

/// As their client does: who alone may settle is read when it signs.
fn upto_requirements(way: &upto::PaymentRequirements) -> Result<Meaning, String> {
    let extra = way.extra.as_ref().ok_or("no facilitator")?;
    upto::UptoSupportedExtra::<Address>::deserialize(extra).map_err(|error| error.to_string())?;
    let network = by_id(&way.network)?;
    Ok(offer_words(network, way.amount, way.asset.0, way.pay_to.0, way.max_timeout_seconds))
}

fn their_asked(text: &[u8]) -> Result<Meaning, String> {
    let exact = || -> Result<Meaning, String> {
        let read: exact::VerifyRequest = parse(text)?;
        let words = exact_words(&read.payment_payload)?;
        Ok([words, exact_requirements(&read.payment_requirements)?].concat())
    };
    exact().or_else(|_| {
        let read: upto::VerifyRequest = parse(text)?;
        let words = upto_words(&read.payment_payload)?;
        Ok([words, upto_requirements(&read.payment_requirements)?].concat())
    })
}

fn eip3009(network: String, read: &first::ExactEvmPayload) -> Meaning {
    let said = &read.authorization;
    let mut words = vec![network];
    let times = (said.valid_after.as_secs(), said.valid_before.as_secs());
    words.extend(eip3009_words((said.from, said.to), (said.value, said.nonce), times));
    words.push(alloy::primitives::hex::encode(&read.signature));
    words
}

fn permit2_of<W>(
    network: String,
    read: &permit2::Permit2Payload<W>,
    to: ChecksummedAddress,
    after_s: u64,
) -> Meaning {
    let said = &read.permit_2_authorization;
    let mut words = vec![network];
    words.extend(permit2_words(
        (said.from.0, to.0, said.permitted.token.0, said.spender.0),
        (said.permitted.amount, said.nonce),
        (after_s, said.deadline.as_secs()),
    ));
    words.push(alloy::primitives::hex::encode(&read.signature));
    words
}

fn eip3009_words(
    (from, to): (Address, Address),
    (value, nonce): (U256, B256),
    (after_s, before_s): (u64, u64),
) -> Meaning {
    let times = [after_s.to_string(), before_s.to_string()];
    [from.to_string(), to.to_string(), value.to_string(), nonce.to_string()]
        .into_iter()
        .chain(times)
        .collect()
}

fn permit2_words(
    parties: (Address, Address, Address, Address),
    (value, nonce): (U256, U256),
    (after_s, deadline_s): (u64, u64),
) -> Meaning {
    let (from, to, token, spender) = parties;
    let parties = [from, to, token, spender].map(|party| party.to_string());
    let numbers =
        [value.to_string(), nonce.to_string(), after_s.to_string(), deadline_s.to_string()];
    parties.into_iter().chain(numbers).collect()
}

fn offer_words(
    network: String,
    amount: U256,
    asset: Address,
    pay_to: Address,
    timeout_s: u64,
) -> Meaning {
    vec![network, amount.to_string(), asset.to_string(), pay_to.to_string(), timeout_s.to_string()]
}
