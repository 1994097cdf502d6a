//! Version 1 of the protocol: its objects, its names of networks, and what they are in version 2.
//!
//! Version 1 has `exact` by EIP-3009 only, says a network by a name of its own, and its payment does not
//! repeat what it accepted: whoever reads one finds that among what is offered. Source: x402 version 1.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::domain::asset::Network;
use crate::domain::x402::PaymentError;
use crate::domain::x402::error::Message;
use crate::domain::x402::read::{ACCEPTS_MAX, parse_object};
use crate::domain::x402::wire::{
    PaymentPayload, PaymentRequired, PaymentRequirements, Resource, SettlementResponse,
    X402_VERSION,
};

/// The version.
pub const VERSION: u32 = 1;

/// The scheme that version 1 has.
const EXACT: &str = "exact";

/// Version 1's names of the networks that are spoken here, and their chain ids.
/// Source: x402 version 1, network identifiers; npm `x402`.
const NETWORKS: [(&str, u64); 11] = [
    ("base-sepolia", 84_532),
    ("base", 8453),
    ("avalanche-fuji", 43_113),
    ("avalanche", 43_114),
    ("sei", 1329),
    ("sei-testnet", 1328),
    ("polygon", 137),
    ("polygon-amoy", 80_002),
    ("abstract", 2741),
    ("abstract-testnet", 11_124),
    ("iotex", 4689),
];

/// A payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FirstPayment {
    /// Always 1.
    pub x402_version: u32,
    /// `exact`.
    pub scheme: String,
    /// By version 1's name.
    pub network: String,
    /// By scheme.
    pub payload: Map<String, Value>,
}

/// One way to pay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FirstRequirements {
    /// `exact`.
    pub scheme: String,
    /// By version 1's name.
    pub network: String,
    /// Atomic units, a decimal string.
    pub max_amount_required: String,
    /// What is sold, by its URL.
    pub resource: String,
    /// For people.
    #[serde(default, deserialize_with = "null_is_none")]
    pub description: String,
    /// What the answer is.
    #[serde(default, deserialize_with = "null_is_none")]
    pub mime_type: String,
    /// What goes in and comes out, where the payee says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Who is paid.
    pub pay_to: String,
    /// Longest life of an authorization.
    pub max_timeout_seconds: u64,
    /// The token contract.
    pub asset: String,
    /// The token's `name` and `version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
}

/// The body of a 402.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FirstRequired {
    /// Always 1.
    pub x402_version: u32,
    /// Why.
    #[serde(default, deserialize_with = "null_is_none")]
    pub error: String,
    /// How it may be paid.
    pub accepts: Vec<FirstRequirements>,
}

/// A text for people that is not there: x402-rs writes null for a type that it does not know.
fn null_is_none<'de, D: Deserializer<'de>>(reader: D) -> Result<String, D::Error> {
    Option::deserialize(reader).map(Option::unwrap_or_default)
}

/// The network of this name.
pub fn find_network(name: &str) -> Option<Network> {
    let (_, chain) = NETWORKS.iter().find(|(known, _)| *known == name)?;
    Some(Network::Eip155(*chain))
}

/// What version 1 calls the network of this CAIP-2 name.
pub fn name_of_network(network: &str) -> Option<&'static str> {
    let chain = network.parse::<Network>().ok()?.chain_id();
    NETWORKS.iter().find(|(_, known)| *known == chain).map(|(name, _)| *name)
}

/// A payment by its JSON.
///
/// # Errors
/// [`PaymentError`] for what is too large, too deep, ambiguous, of another version, or misshapen.
pub fn parse_payment(json: &[u8]) -> Result<FirstPayment, PaymentError> {
    parse_object(json, Message::Payload, Some(u64::from(VERSION)))
}

/// The body of a 402 by its JSON.
///
/// # Errors
/// As [`parse_payment`].
pub fn parse_required(json: &[u8]) -> Result<FirstRequired, PaymentError> {
    let read: FirstRequired = parse_object(json, Message::Required, Some(u64::from(VERSION)))?;
    let field = PaymentError::Field { message: Message::Required, field: "accepts" };
    let count = read.accepts.len();
    if count == 0 || count > ACCEPTS_MAX { Err(field) } else { Ok(read) }
}

impl FirstRequirements {
    /// The same in version 2; `None` where its network has no name there.
    pub fn to_second(&self) -> Option<PaymentRequirements> {
        Some(PaymentRequirements {
            scheme: self.scheme.clone(),
            network: find_network(&self.network)?.to_string(),
            amount: self.max_amount_required.clone(),
            asset: self.asset.clone(),
            pay_to: self.pay_to.clone(),
            max_timeout_seconds: self.max_timeout_seconds,
            extra: self.extra.clone(),
        })
    }

    fn of(way: &PaymentRequirements, resource: &Resource) -> Option<Self> {
        if !is_speakable(way) {
            return None;
        }
        Some(Self {
            scheme: way.scheme.clone(),
            network: name_of_network(&way.network)?.to_owned(),
            max_amount_required: way.amount.clone(),
            resource: resource.url.clone(),
            description: resource.description.clone().unwrap_or_default(),
            mime_type: resource.mime_type.clone().unwrap_or_default(),
            output_schema: None,
            pay_to: way.pay_to.clone(),
            max_timeout_seconds: way.max_timeout_seconds,
            asset: way.asset.clone(),
            extra: way.extra.clone(),
        })
    }
}

impl FirstRequired {
    /// The part of an offer that version 1 can say; `None` where that is nothing.
    pub fn of(offer: &PaymentRequired) -> Option<Self> {
        let say = |way| FirstRequirements::of(way, &offer.resource);
        let accepts: Vec<_> = offer.accepts.iter().filter_map(say).collect();
        let error = offer.error.clone().unwrap_or_else(|| "X-PAYMENT header is required".into());
        (!accepts.is_empty()).then_some(Self { x402_version: VERSION, error, accepts })
    }

    /// The same in version 2, for a payer that called `url`: what is left out has no name there.
    pub fn to_second(&self) -> PaymentRequired {
        let first = self.accepts.first();
        let resource = Resource {
            url: first.map(|way| way.resource.clone()).unwrap_or_default(),
            description: first.map(|way| way.description.clone()),
            mime_type: first.map(|way| way.mime_type.clone()),
            ..Resource::default()
        };
        PaymentRequired {
            x402_version: X402_VERSION,
            error: Some(self.error.clone()).filter(|error| !error.is_empty()),
            resource,
            accepts: self.accepts.iter().filter_map(FirstRequirements::to_second).collect(),
            extensions: None,
        }
    }
}

impl FirstPayment {
    /// The same in version 2, accepting the first of what is offered that it can mean.
    ///
    /// # Errors
    /// [`PaymentError::Scheme`], [`PaymentError::Network`] where nothing that is offered fits.
    pub fn to_second(&self, offer: &PaymentRequired) -> Result<PaymentPayload, PaymentError> {
        if self.scheme != EXACT {
            return Err(PaymentError::Scheme);
        }
        let network = find_network(&self.network).ok_or(PaymentError::Network)?.to_string();
        let fits = |way: &&PaymentRequirements| is_speakable(way) && way.network == network;
        let accepted = offer.accepts.iter().find(fits).ok_or(PaymentError::Network)?;
        Ok(PaymentPayload {
            x402_version: X402_VERSION,
            resource: Some(offer.resource.clone()),
            accepted: accepted.clone(),
            payload: self.payload.clone(),
            extensions: None,
        })
    }

    /// A payment of version 2 as version 1 has it; `None` where it cannot say it.
    pub fn of(payment: &PaymentPayload) -> Option<Self> {
        is_speakable(&payment.accepted).then_some(())?;
        Some(Self {
            x402_version: VERSION,
            scheme: payment.accepted.scheme.clone(),
            network: name_of_network(&payment.accepted.network)?.to_owned(),
            payload: payment.payload.clone(),
        })
    }
}

/// A settlement with the network's name changed into version 1's, where it has one.
pub fn settlement_of(settlement: &SettlementResponse) -> SettlementResponse {
    let name = name_of_network(&settlement.network).unwrap_or(&settlement.network);
    SettlementResponse { network: name.to_owned(), ..settlement.clone() }
}

/// The same back.
pub fn settlement_to_second(settlement: SettlementResponse) -> SettlementResponse {
    let network = find_network(&settlement.network).map(|network| network.to_string());
    SettlementResponse { network: network.unwrap_or(settlement.network), ..settlement }
}

/// Whether version 1 has words for a way to pay: `exact` by EIP-3009.
fn is_speakable(way: &PaymentRequirements) -> bool {
    let method = way.extra.as_ref().and_then(|extra| extra.get("assetTransferMethod"));
    way.scheme == EXACT && method.is_none_or(|method| method == "eip3009")
}
