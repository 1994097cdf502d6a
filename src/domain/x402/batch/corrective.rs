//! How a payee says that a channel stands, where it refuses a voucher's sum, and what a payer may
//! believe of it.
//!
//! Source: x402 scheme `batch-settlement` on EVM, state recovery; threats.md E10 to E13.

use alloy::primitives::Signature;
use serde_json::Value;

use crate::domain::channel::{Ceiling, ChannelId, ChannelTerms};
use crate::domain::money::Amount;
use crate::domain::x402::batch::read::{authorizer_of, voucher_digest};
use crate::domain::x402::batch::state::{ChannelState, VoucherState};
use crate::domain::x402::batch::typed::batch_domain;
use crate::domain::x402::signature::{from_text, is_signed_by};
use crate::domain::x402::wire::PaymentRequired;

/// What a payee says of a channel.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// What it has charged in all.
    pub charged: Amount,
    /// The newest voucher that it holds: the proof.
    pub voucher: Option<(Amount, Signature)>,
}

/// What a payer knows of a channel by itself.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct OwnView {
    /// What was charged in all, without what is in doubt.
    pub charged: Amount,
    /// What may have been charged in all: the last voucher's sum while its call's charge is not known.
    pub charged_max: Amount,
    /// The highest sum ever signed.
    pub ceiling: Amount,
    /// Whether its calls may go on credit: then no voucher need prove what it let be charged.
    pub on_credit: bool,
}

/// What a payer makes of a correction.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Belief {
    /// So much was charged in all: proven, or no more than is known.
    Charged(Amount),
    /// The payee holds a voucher of ours that we do not know: our memory is older than that.
    Newer {
        /// What was charged in all.
        charged: Amount,
        /// What the voucher says.
        ceiling: Amount,
    },
    /// The payee knows of less than was charged: its memory is older.
    Older,
    /// It says more than it can prove, or than it said before.
    Unproven,
}

/// What an offer says of `channel`; nothing where it says nothing of it, or not in its form.
pub fn read_correction(offer: &PaymentRequired, channel: ChannelId) -> Option<Correction> {
    let accepts = offer.accepts.iter();
    accepts.filter_map(|accept| read_extra(accept.extra.as_ref()?, channel)).next()
}

fn read_extra(extra: &serde_json::Map<String, Value>, channel: ChannelId) -> Option<Correction> {
    let state: ChannelState = serde_json::from_value(extra.get("channelState")?.clone()).ok()?;
    if state.channel_id != channel.to_string() {
        return None;
    }
    let charged = state.charged_cumulative_amount?.parse().ok()?;
    let voucher = extra.get("voucherState").and_then(|voucher| {
        let voucher: VoucherState = serde_json::from_value(voucher.clone()).ok()?;
        let ceiling = voucher.signed_max_claimable?.parse().ok()?;
        Some((ceiling, from_text(&voucher.signature?)?))
    });
    Some(Correction { charged, voucher })
}

/// What a payer makes of what a payee says: the figure counts where it is no news, or where a voucher of
/// the payer's own session key covers it.
pub fn believe(correction: &Correction, terms: &ChannelTerms, own: &OwnView) -> Belief {
    let Correction { charged, voucher } = *correction;
    if charged < own.charged {
        return Belief::Older;
    }
    // By the chain, or by what was said before, it is known: nothing has to be proven.
    if charged == own.charged {
        return Belief::Charged(charged);
    }
    let channel = crate::domain::x402::batch::typed::id_of(terms);
    let separator = batch_domain(terms.asset.network).separator();
    let proven = voucher.filter(|(amount, signature)| {
        let digest = voucher_digest(separator, &Ceiling { channel, amount: *amount });
        charged <= *amount && is_signed_by(authorizer_of(terms), digest, signature)
    });
    match proven {
        Some((ceiling, _)) if ceiling > own.ceiling => Belief::Newer { charged, ceiling },
        Some(_) if charged <= own.charged_max => Belief::Charged(charged),
        // No more than the last call may cost, which was held and asked for without a voucher.
        None if own.on_credit && charged <= own.charged_max => Belief::Charged(charged),
        Some(_) | None => Belief::Unproven,
    }
}
