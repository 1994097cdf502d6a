//! Orders, prices, quotes and counter-offers.

use super::{
    Malformed, address, asset, bounded, parse, parse_some, read, read_all, signature,
    signature_bytes, time, time_to_pb,
};
use crate::domain::commitment::{ChannelOffer, Scheme, TransferMethod};
use crate::domain::money::Amount;
use crate::domain::negotiation::{CounterOffer, Verdict};
use crate::domain::order::{Maxima, Order, Units};
use crate::domain::quote::{PayBy, PriceTerms, Quote, SignedQuote, Standing, Stride};
use crate::domain::x402::read::URL_LEN_MAX;
use crate::edge::grpc::limits::PAY_BY_MAX;
use crate::edge::grpc::pb;
use crate::ports::paid_service::{Ask, Quoted};

impl From<&Order> for pb::Order {
    fn from(order: &Order) -> Self {
        Self {
            capability: order.capability.to_string(),
            model: order.model.as_ref().map(ToString::to_string),
            input_max: order.input_max.0,
            output_max: order.output_max.0,
            bytes_max: order.maxima.bytes,
            compute_ms_max: order.maxima.compute_ms,
            stored_max: order.maxima.stored,
        }
    }
}

impl TryFrom<pb::Order> for Order {
    type Error = Malformed;

    fn try_from(order: pb::Order) -> Result<Self, Malformed> {
        Ok(Self {
            capability: parse(&order.capability, "capability")?,
            model: parse_some(order.model.as_deref(), "model")?,
            input_max: Units(order.input_max),
            output_max: Units(order.output_max),
            maxima: Maxima {
                bytes: order.bytes_max,
                compute_ms: order.compute_ms_max,
                stored: order.stored_max,
            },
        })
    }
}

impl From<&PriceTerms> for pb::PriceTerms {
    fn from(terms: &PriceTerms) -> Self {
        Self {
            flat: terms.flat.to_string(),
            per_1k_input: terms.per_1k_input.to_string(),
            per_1k_output: terms.per_1k_output.to_string(),
            per_gb: some(terms.per_gb),
            per_gb_stored: some(terms.per_gb_stored),
            per_s: some(terms.per_s),
        }
    }
}

impl TryFrom<pb::PriceTerms> for PriceTerms {
    type Error = Malformed;

    fn try_from(terms: pb::PriceTerms) -> Result<Self, Malformed> {
        Ok(Self {
            flat: parse(&terms.flat, "flat")?,
            per_1k_input: parse(&terms.per_1k_input, "per_1k_input")?,
            per_1k_output: parse(&terms.per_1k_output, "per_1k_output")?,
            per_gb: maybe(terms.per_gb, "per_gb")?,
            per_gb_stored: maybe(terms.per_gb_stored, "per_gb_stored")?,
            per_s: maybe(terms.per_s, "per_s")?,
        })
    }
}

/// A part of a price, where it has it.
fn some(part: Amount) -> Option<String> {
    (!part.is_zero()).then(|| part.to_string())
}

/// A part of a price; nothing is written by leaving it out, and in no other way.
fn maybe(part: Option<String>, field: &str) -> Result<Amount, Malformed> {
    let Some(text) = part else { return Ok(Amount::ZERO) };
    let part: Amount = parse(&text, field)?;
    if part.is_zero() {
        return Err(Malformed::new(field, "is 0: what costs nothing is left out"));
    }
    Ok(part)
}

impl From<&Standing> for pb::Standing {
    fn from(standing: &Standing) -> Self {
        Self { payer: standing.payer.to_string(), free_left: standing.free_left }
    }
}

impl TryFrom<pb::Standing> for Standing {
    type Error = Malformed;

    fn try_from(standing: pb::Standing) -> Result<Self, Malformed> {
        Ok(Self { payer: address(&standing.payer, "payer")?, free_left: standing.free_left })
    }
}

impl From<&PayBy> for pb::PayBy {
    fn from(way: &PayBy) -> Self {
        let scheme = match way.scheme {
            Scheme::Exact => pb::Scheme::Exact,
            Scheme::BatchSettlement(_) => pb::Scheme::BatchSettlement,
            Scheme::Upto { .. } => pb::Scheme::Upto,
        };
        let method = match way.method {
            TransferMethod::Eip3009 => pb::TransferMethod::Eip3009,
            TransferMethod::Permit2 => pb::TransferMethod::Permit2,
            TransferMethod::Permit2Sponsored | TransferMethod::Permit2By(_) => {
                pb::TransferMethod::Permit2Sponsored
            }
        };
        Self {
            scheme: scheme.into(),
            method: method.into(),
            asset: way.asset.to_string(),
            pay_to: way.pay_to.to_string(),
            timeout_s: way.timeout_s,
            channel: match way.scheme {
                Scheme::BatchSettlement(offer) => Some((&offer).into()),
                Scheme::Exact | Scheme::Upto { .. } => None,
            },
            facilitator: match way.scheme {
                Scheme::Upto { facilitator } => facilitator.to_string(),
                Scheme::Exact | Scheme::BatchSettlement(_) => String::new(),
            },
        }
    }
}

impl From<&ChannelOffer> for pb::ChannelOffer {
    fn from(offer: &ChannelOffer) -> Self {
        Self {
            receiver_authorizer: offer.receiver_authorizer.to_string(),
            withdraw_delay_s: offer.withdraw_delay_s,
            deposit_min: offer.deposit_min.to_string(),
        }
    }
}

impl TryFrom<pb::ChannelOffer> for ChannelOffer {
    type Error = Malformed;

    fn try_from(offer: pb::ChannelOffer) -> Result<Self, Malformed> {
        Ok(Self {
            receiver_authorizer: address(&offer.receiver_authorizer, "receiver_authorizer")?,
            withdraw_delay_s: offer.withdraw_delay_s,
            deposit_min: parse(&offer.deposit_min, "deposit_min")?,
        })
    }
}

impl TryFrom<pb::PayBy> for PayBy {
    type Error = Malformed;

    fn try_from(way: pb::PayBy) -> Result<Self, Malformed> {
        let scheme = match way.scheme() {
            pb::Scheme::Exact => Scheme::Exact,
            pb::Scheme::BatchSettlement => {
                Scheme::BatchSettlement(read(way.channel.clone(), "channel")?)
            }
            pb::Scheme::Upto => {
                Scheme::Upto { facilitator: address(&way.facilitator, "facilitator")? }
            }
            pb::Scheme::Unspecified => {
                return Err(Malformed::new(
                    "scheme",
                    "names no scheme that is known here: exact, upto, batch-settlement",
                ));
            }
        };
        let method = match way.method() {
            pb::TransferMethod::Eip3009 => TransferMethod::Eip3009,
            pb::TransferMethod::Permit2 => TransferMethod::Permit2,
            pb::TransferMethod::Permit2Sponsored => TransferMethod::Permit2Sponsored,
            pb::TransferMethod::Unspecified => {
                return Err(Malformed::new(
                    "method",
                    "names no method that is known here: eip3009, permit2, permit2 sponsored",
                ));
            }
        };
        Ok(Self {
            scheme,
            method,
            asset: asset(&way.asset, "asset")?,
            pay_to: address(&way.pay_to, "pay_to")?,
            timeout_s: way.timeout_s,
        })
    }
}

impl From<Stride> for pb::Stride {
    fn from(stride: Stride) -> Self {
        let Stride { output, bytes, compute_ms } = stride;
        Self { output: output.0, bytes, compute_ms }
    }
}

impl From<pb::Stride> for Stride {
    fn from(stride: pb::Stride) -> Self {
        let pb::Stride { output, bytes, compute_ms } = stride;
        Self { output: Units(output), bytes, compute_ms }
    }
}

impl From<&Quote> for pb::Quote {
    fn from(quote: &Quote) -> Self {
        Self {
            provider: quote.provider.to_string(),
            resource: quote.resource.clone(),
            capability: quote.capability.to_string(),
            model: quote.model.to_string(),
            terms: Some((&quote.terms).into()),
            pay_by: quote.pay_by.iter().map(Into::into).collect(),
            output_max: quote.output_max,
            valid_until: Some(time_to_pb(quote.valid_until)),
            rounds: u32::from(quote.rounds),
            standing: quote.standing.as_ref().map(Into::into),
            stride: quote.stride.map(Into::into),
        }
    }
}

impl TryFrom<pb::Quote> for Quote {
    type Error = Malformed;

    fn try_from(quote: pb::Quote) -> Result<Self, Malformed> {
        Ok(Self {
            provider: parse(&quote.provider, "provider")?,
            resource: bounded(quote.resource, URL_LEN_MAX, "resource")?,
            capability: parse(&quote.capability, "capability")?,
            model: parse(&quote.model, "model")?,
            terms: read(quote.terms, "terms")?,
            pay_by: read_all(quote.pay_by, PAY_BY_MAX, "pay_by")?,
            output_max: quote.output_max,
            valid_until: time(quote.valid_until, "valid_until")?,
            rounds: round(quote.rounds, "rounds")?,
            standing: quote.standing.map(|it| read(Some(it), "standing")).transpose()?,
            stride: quote.stride.map(Into::into),
        })
    }
}

impl From<&SignedQuote> for pb::SignedQuote {
    fn from(signed: &SignedQuote) -> Self {
        Self {
            quote: Some((&signed.quote).into()),
            service_key: signed.service_key.to_string(),
            signature: signature_bytes(&signed.signature),
        }
    }
}

impl TryFrom<pb::SignedQuote> for SignedQuote {
    type Error = Malformed;

    fn try_from(signed: pb::SignedQuote) -> Result<Self, Malformed> {
        Ok(Self {
            quote: read(signed.quote, "quote")?,
            service_key: address(&signed.service_key, "service_key")?,
            signature: signature(&signed.signature, "signature")?,
        })
    }
}

impl From<&CounterOffer> for pb::CounterOffer {
    fn from(counter: &CounterOffer) -> Self {
        Self {
            terms: Some((&counter.terms).into()),
            volume: counter.volume,
            round: u32::from(counter.round),
        }
    }
}

impl TryFrom<pb::CounterOffer> for CounterOffer {
    type Error = Malformed;

    fn try_from(counter: pb::CounterOffer) -> Result<Self, Malformed> {
        Ok(Self {
            terms: read(counter.terms, "terms")?,
            volume: counter.volume,
            round: round(counter.round, "round")?,
        })
    }
}

impl From<&Ask> for pb::QuoteRequest {
    fn from(ask: &Ask) -> Self {
        Self {
            order: Some((&ask.order).into()),
            counter: ask.counter.as_ref().map(Into::into),
            payer: ask.payer.map(|payer| payer.to_string()),
        }
    }
}

impl TryFrom<pb::QuoteRequest> for Ask {
    type Error = Malformed;

    fn try_from(request: pb::QuoteRequest) -> Result<Self, Malformed> {
        Ok(Self {
            order: read(request.order, "order")?,
            counter: request.counter.map(|counter| read(Some(counter), "counter")).transpose()?,
            payer: request.payer.map(|payer| address(&payer, "payer")).transpose()?,
        })
    }
}

impl From<&Quoted> for pb::QuoteResponse {
    fn from(quoted: &Quoted) -> Self {
        let verdict = match quoted.verdict {
            Verdict::List => pb::Verdict::List,
            Verdict::Accepted => pb::Verdict::Accepted,
            Verdict::Countered => pb::Verdict::Countered,
            Verdict::Floor => pb::Verdict::Floor,
        };
        Self { quote: Some((&quoted.quote).into()), verdict: verdict.into() }
    }
}

impl TryFrom<pb::QuoteResponse> for Quoted {
    type Error = Malformed;

    fn try_from(response: pb::QuoteResponse) -> Result<Self, Malformed> {
        let verdict = match response.verdict() {
            pb::Verdict::List => Verdict::List,
            pb::Verdict::Accepted => Verdict::Accepted,
            pb::Verdict::Countered => Verdict::Countered,
            pb::Verdict::Floor => Verdict::Floor,
            pb::Verdict::Unspecified => {
                return Err(Malformed::new("verdict", "names no verdict that is known here"));
            }
        };
        Ok(Self { quote: read(response.quote, "quote")?, verdict })
    }
}

fn round(value: u32, field: &str) -> Result<u8, Malformed> {
    u8::try_from(value).map_err(|_| Malformed::new(field, "expected at most 255"))
}
