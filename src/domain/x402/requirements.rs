//! What is asked: typed requirements, their form on the wire, and whether what a payer accepted is
//! what was offered.

use alloy::primitives::Address;
use serde_json::{Map, Value};

use crate::domain::asset::Asset;
use crate::domain::commitment::{ChannelOffer, Scheme, TransferMethod};
use crate::domain::money::Amount;
use crate::domain::order::Order;
use crate::domain::pricing::price;
use crate::domain::quote::{PayBy, Quote};
use crate::domain::x402::code::PaymentCode;
use crate::domain::x402::error::{Message, PaymentError};
use crate::domain::x402::identifier;
use crate::domain::x402::sponsoring;
use crate::domain::x402::token::{TokenDomain, TokenDomains};
use crate::domain::x402::wire::{PaymentRequired, PaymentRequirements, Resource, X402_VERSION};

/// What a gRPC resource is served as.
pub const GRPC_MIME_TYPE: &str = "application/grpc";

/// The key of `extra` that says how the asset is moved.
const METHOD_KEY: &str = "assetTransferMethod";

/// The keys of `extra` that say on what terms a channel is taken. Source: x402 scheme
/// `batch-settlement` on EVM.
const AUTHORIZER_KEY: &str = "receiverAuthorizer";
const DELAY_KEY: &str = "withdrawDelay";
const DEPOSIT_KEY: &str = "minDeposit";

/// The key of `extra` that says who alone may settle. Source: x402 scheme `upto` on EVM.
const FACILITATOR_KEY: &str = "facilitatorAddress";

/// One way to pay, for one amount, in a token whose domain is pinned.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Requirement<'a> {
    /// How, in what, to whom, within which time.
    pub pay_by: PayBy,
    /// How much, in atomic units.
    pub amount: Amount,
    /// The token's own EIP-712 domain.
    pub token: &'a TokenDomain,
}

impl<'a> Requirement<'a> {
    /// The ways in which `order` may be paid by `quote`, in the payee's order of preference: those in
    /// registered assets. `None` where the price does not fit.
    pub fn of_quote(quote: &Quote, order: &Order, tokens: &'a TokenDomains) -> Option<Vec<Self>> {
        let amount = price(&quote.terms, order)?;
        let find =
            |way: &PayBy| tokens.find(way.asset).map(|token| Self { pay_by: *way, amount, token });
        Some(quote.pay_by.iter().filter_map(find).collect())
    }

    /// Its form on the wire. Source: x402 v2 section 5.1.2; scheme `exact` on EVM section 1.
    pub fn to_wire(&self) -> PaymentRequirements {
        let mut extra = Map::new();
        if self.token.is_named() {
            extra.insert("name".to_owned(), Value::from(self.token.name()));
            extra.insert("version".to_owned(), Value::from(self.token.version()));
        }
        match self.pay_by.scheme {
            Scheme::Upto { facilitator } => {
                let facilitator = Value::from(facilitator.to_string());
                extra.insert(FACILITATOR_KEY.to_owned(), facilitator);
            }
            Scheme::Exact | Scheme::BatchSettlement(_) if self.pay_by.method.is_permit2() => {
                let method = Value::from(self.pay_by.method.as_str());
                extra.insert(METHOD_KEY.to_owned(), method);
            }
            Scheme::Exact | Scheme::BatchSettlement(_) => {}
        }
        if let Scheme::BatchSettlement(offer) = self.pay_by.scheme {
            let authorizer = offer.receiver_authorizer.to_string();
            extra.insert(AUTHORIZER_KEY.to_owned(), Value::from(authorizer));
            extra.insert(DELAY_KEY.to_owned(), Value::from(offer.withdraw_delay_s));
            extra.insert(DEPOSIT_KEY.to_owned(), Value::from(offer.deposit_min.to_string()));
        }
        PaymentRequirements {
            scheme: self.pay_by.scheme.as_str().to_owned(),
            network: self.pay_by.asset.network.to_string(),
            amount: self.amount.to_string(),
            asset: self.pay_by.asset.contract.to_string(),
            pay_to: self.pay_by.pay_to.to_string(),
            max_timeout_seconds: self.pay_by.timeout_s,
            extra: Some(extra),
        }
    }

    /// Whether `accepted` is this requirement: every core field the same, and in `extra` at least what
    /// was offered. Addresses are compared as bytes. Source: threats.md A10, A28.
    pub fn is_accepted(&self, accepted: &PaymentRequirements) -> bool {
        let asset = self.pay_by.asset;
        accepted.scheme == self.pay_by.scheme.as_str()
            && accepted.network.parse() == Ok(asset.network)
            && accepted.amount.parse() == Ok(self.amount)
            && read_address(&accepted.asset) == Some(asset.contract)
            && read_address(&accepted.pay_to) == Some(self.pay_by.pay_to)
            && accepted.max_timeout_seconds == self.pay_by.timeout_s
            && accepted.extra.as_ref().is_some_and(|extra| self.is_own_domain(extra))
    }

    fn is_own_domain(&self, extra: &Map<String, Value>) -> bool {
        let is = |key: &str, text: &str| extra.get(key).and_then(Value::as_str) == Some(text);
        let is_named = is("name", self.token.name()) && is("version", self.token.version());
        let said = method(extra, self.pay_by.scheme.as_str());
        (is_named || !self.token.is_named())
            && said.is_some_and(|said| said.as_str() == self.pay_by.method.as_str())
            && match self.pay_by.scheme {
                Scheme::Exact => true,
                Scheme::Upto { facilitator } => find_facilitator(extra) == Some(facilitator),
                Scheme::BatchSettlement(offer) => channel_offer(extra).is_some_and(|found| {
                    found.receiver_authorizer == offer.receiver_authorizer
                        && found.withdraw_delay_s == offer.withdraw_delay_s
                }),
            }
    }
}

/// What a payer is told that it has to pay; `error` says why its payment did not do. `None` where the
/// quote gives the order no price or no way to pay in a registered asset.
pub fn payment_required(
    quote: &Quote,
    order: &Order,
    tokens: &TokenDomains,
    error: Option<PaymentCode>,
) -> Option<PaymentRequired> {
    let ways = Requirement::of_quote(quote, order, tokens).filter(|ways| !ways.is_empty())?;
    let resource = Resource {
        url: quote.resource.clone(),
        description: Some(format!("{} by {}", quote.capability, quote.model)),
        mime_type: Some(GRPC_MIME_TYPE.to_owned()),
        ..Resource::default()
    };
    let mut extensions =
        Map::from_iter([(identifier::KEY.to_owned(), identifier::declared(false))]);
    if ways.iter().any(|way| way.pay_by.method == TransferMethod::Permit2Sponsored) {
        extensions.insert(sponsoring::KEY.to_owned(), sponsoring::declared());
    }
    Some(PaymentRequired {
        x402_version: X402_VERSION,
        error: error.map(|code| code.as_str().to_owned()),
        resource,
        accepts: ways.iter().map(Requirement::to_wire).collect(),
        extensions: Some(extensions),
    })
}

/// Requirements as they came, typed: nothing of `extra` but how the asset is moved, because a token's
/// name and version are pinned and not asked of a stranger.
///
/// # Errors
/// [`PaymentError::Scheme`] and [`PaymentError::Network`] for what is not known here,
/// [`PaymentError::Field`] for another spelling, [`PaymentError::Zero`], [`PaymentError::Timeout`].
pub fn read_requirements(
    wire: &PaymentRequirements,
    message: Message,
) -> Result<(PayBy, Amount), PaymentError> {
    let field = |field| PaymentError::Field { message, field };
    let scheme = match wire.scheme.as_str() {
        "exact" => Scheme::Exact,
        "upto" => {
            let facilitator = wire.extra.as_ref().and_then(find_facilitator);
            Scheme::Upto { facilitator: facilitator.ok_or(field("extra"))? }
        }
        "batch-settlement" => {
            let offer = wire.extra.as_ref().and_then(channel_offer).ok_or(field("extra"))?;
            Scheme::BatchSettlement(offer)
        }
        _ => return Err(PaymentError::Scheme),
    };
    let network = wire.network.parse().map_err(|_| PaymentError::Network)?;
    let none = Map::new();
    let method = method(wire.extra.as_ref().unwrap_or(&none), &wire.scheme);
    let method = method.ok_or(PaymentError::Scheme)?;
    let amount: Amount = wire.amount.parse().map_err(|_| field("amount"))?;
    let contract = read_address(&wire.asset).ok_or(field("asset"))?;
    let pay_to = read_address(&wire.pay_to).ok_or(field("payTo"))?;
    if amount.is_zero() {
        return Err(PaymentError::Zero);
    }
    if wire.max_timeout_seconds == 0 {
        return Err(PaymentError::Timeout { found: 0 });
    }
    let asset = Asset { network, contract };
    Ok((PayBy { scheme, method, asset, pay_to, timeout_s: wire.max_timeout_seconds }, amount))
}

/// Who alone may settle, by what `extra` says.
fn find_facilitator(extra: &Map<String, Value>) -> Option<Address> {
    read_address(extra.get(FACILITATOR_KEY)?.as_str()?)
}

/// On what terms a channel is taken, by what `extra` says.
fn channel_offer(extra: &Map<String, Value>) -> Option<ChannelOffer> {
    let deposit_min = match extra.get(DEPOSIT_KEY) {
        None => Amount::ZERO,
        Some(least) => least.as_str()?.parse().ok()?,
    };
    Some(ChannelOffer {
        receiver_authorizer: read_address(extra.get(AUTHORIZER_KEY)?.as_str()?)?,
        withdraw_delay_s: extra.get(DELAY_KEY)?.as_u64()?,
        deposit_min,
    })
}

/// How the asset is moved, by what `extra` says, and by EIP-3009 where it says nothing. `upto` goes by
/// Permit2 whatever it says, which alone moves less than was signed: payees of x402-rs put the method of
/// their token's own into every offer. Source: x402 scheme `upto` on EVM.
fn method(extra: &Map<String, Value>, scheme: &str) -> Option<TransferMethod> {
    let said = match extra.get(METHOD_KEY).map(Value::as_str) {
        None | Some(Some("eip3009")) => TransferMethod::Eip3009,
        Some(Some("permit2")) => TransferMethod::Permit2,
        Some(_) => return None,
    };
    Some(if scheme == "upto" { TransferMethod::Permit2 } else { said })
}

/// An address by its text, in either case: `0x` and 40 hexadecimal digits.
pub(super) fn read_address(text: &str) -> Option<Address> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 40)?;
    let mut bytes = [0; 20];
    alloy::primitives::hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(Address::from(bytes))
}
