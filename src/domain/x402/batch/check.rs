//! Every check of a payer's word about a channel that needs no chain.
//!
//! Source: x402 scheme `batch-settlement` on EVM, server rules 2 and 3, facilitator rules 1 to 11;
//! threats.md E01 to E06.

use alloy::primitives::{Address, B256, Signature, U256};
use alloy::sol_types::SolStruct;

use crate::domain::channel::{ChannelId, ChannelTerms, Incoming};
use crate::domain::commitment::{Scheme, TransferMethod};
use crate::domain::money::Amount;
use crate::domain::x402::batch::code::BatchCode;
use crate::domain::x402::batch::funding::{by_permit2, by_token, deposit_nonce};
use crate::domain::x402::batch::permitted::{movement, with_permit};
use crate::domain::x402::batch::read::{
    BatchWord, DepositWord, VoucherWord, read_batch, voucher_digest,
};
use crate::domain::x402::batch::taken::{Signer, Taken};
use crate::domain::x402::batch::typed::WITHDRAW_DELAY_S;
use crate::domain::x402::check::{CLOCK_SKEW_MAX_S, Demand, SETTLE_MARGIN_S, find_accepted};
use crate::domain::x402::digest::signing_hash;
use crate::domain::x402::error::PaymentError;
use crate::domain::x402::requirements::Requirement;
use crate::domain::x402::signature::is_signed_by;
use crate::domain::x402::token::TokenDomain;
use crate::domain::x402::wire::{PaymentPayload, X402_VERSION};

/// A word that is as good as it can be seen to be without the payee's memory and the chain.
#[derive(Copy, Clone, Debug)]
pub struct CheckedWord<'a, S = Signature> {
    /// What it says.
    pub word: BatchWord<S>,
    /// By which of the offered ways.
    pub requirement: &'a Requirement<'a>,
}

/// The word of a payment that meets `demand`: what remains is the payee's memory (what was charged),
/// and the chain's to say (what lies in the channel).
///
/// # Errors
/// The first [`PaymentError`] in the order of cost; the voucher's signature is looked at whatever its
/// sum is, and last (threats.md E03).
pub fn check_batch<'a, S: Taken>(
    payload: &PaymentPayload,
    demand: &Demand<'a>,
) -> Result<CheckedWord<'a, S>, PaymentError> {
    if payload.x402_version != X402_VERSION {
        return Err(PaymentError::Version { found: Some(payload.x402_version.into()) });
    }
    let requirement = find_accepted(payload, demand.offered)?;
    if payload.resource.as_ref().is_some_and(|resource| resource.url != demand.resource) {
        return Err(PaymentError::Resource);
    }
    let mut word = read_batch::<S>(&payload.payload, requirement.pay_by.asset.network)?;
    check_terms(&word.terms, requirement)?;
    if let Some(deposit) = word.deposit.take() {
        check_method(deposit.method, requirement.pay_by.method)?;
        let deposit = match deposit.method.is_permit2() {
            true => with_permit(payload, &word.terms, word.channel, deposit)?,
            false => deposit,
        };
        word.deposit = Some(check_deposit(&word, deposit, requirement, demand.now_s)?);
    }
    let voucher = check_voucher(&word.terms, word.voucher, requirement.token)?;
    Ok(CheckedWord { word: BatchWord { voucher, ..word }, requirement })
}

/// The same of a voucher that came without its channel's terms, which are known: they have to be those
/// of one of the offered ways, and the voucher's signature has to be good.
///
/// # Errors
/// The first [`PaymentError`]: that of the last way whose terms are not the channel's.
pub fn check_word<'a>(
    word: BatchWord,
    demand: &Demand<'a>,
) -> Result<CheckedWord<'a>, PaymentError> {
    let checked = check_known(word, demand)?;
    check_voucher(&word.terms, word.voucher, checked.requirement.token)?;
    Ok(checked)
}

/// The same where the voucher is one that was checked before: who names it is looked up in the payee's
/// memory.
///
/// # Errors
/// As [`check_word`], but for the signature.
pub fn check_known<'a>(
    word: BatchWord,
    demand: &Demand<'a>,
) -> Result<CheckedWord<'a>, PaymentError> {
    let mut wrong = PaymentError::NotOffered;
    for requirement in demand.offered {
        match check_terms(&word.terms, requirement) {
            Ok(()) => return Ok(CheckedWord { word, requirement }),
            Err(error) => wrong = error,
        }
    }
    Err(wrong)
}

pub(super) fn check_terms(
    terms: &ChannelTerms,
    requirement: &Requirement<'_>,
) -> Result<(), PaymentError> {
    let way = &requirement.pay_by;
    let Scheme::BatchSettlement(offer) = way.scheme else { return Err(PaymentError::Scheme) };
    let wrong = if terms.asset != way.asset {
        BatchCode::Token
    } else if terms.receiver != way.pay_to {
        BatchCode::Receiver
    } else if terms.receiver_authorizer != offer.receiver_authorizer {
        BatchCode::ReceiverAuthorizer
    } else if !WITHDRAW_DELAY_S.contains(&terms.withdraw_delay_s) {
        BatchCode::DelayRange
    } else if terms.withdraw_delay_s != offer.withdraw_delay_s {
        BatchCode::WithdrawDelay
    } else {
        return Ok(());
    };
    Err(PaymentError::Batch(wrong))
}

/// A deposit comes by the way that was offered, whatever else would move it.
fn check_method(found: TransferMethod, offered: TransferMethod) -> Result<(), PaymentError> {
    match (found.is_permit2(), offered.is_permit2()) {
        (true, false) => Err(PaymentError::Batch(BatchCode::Erc3009Required)),
        (false, true) => Err(PaymentError::Batch(BatchCode::Permit2Required)),
        (true, true) | (false, false) => Ok(()),
    }
}

fn check_deposit<S: Taken>(
    word: &BatchWord<S>,
    deposit: DepositWord<S>,
    requirement: &Requirement<'_>,
    now_s: u64,
) -> Result<DepositWord<S>, PaymentError> {
    let Scheme::BatchSettlement(offer) = requirement.pay_by.scheme else {
        return Err(PaymentError::Scheme);
    };
    if deposit.amount.is_zero() || deposit.amount < offer.deposit_min {
        return Err(PaymentError::Batch(BatchCode::DepositBelowMin));
    }
    let earliest_s = now_s.saturating_add(SETTLE_MARGIN_S);
    let latest_s =
        now_s.saturating_add(requirement.pay_by.timeout_s).saturating_add(CLOCK_SKEW_MAX_S);
    let (over, forged) = match deposit.method.is_permit2() {
        true => (BatchCode::Permit2Deadline, BatchCode::Permit2Signature),
        false => (BatchCode::DepositValidBefore, BatchCode::DepositSignature),
    };
    if !(earliest_s..=latest_s).contains(&deposit.valid_before_s) {
        return Err(PaymentError::Batch(over));
    }
    let (payer, incoming) = (word.terms.payer, deposit.incoming(word.channel));
    let digest = deposit_digest(requirement.token, word.channel, payer, &incoming);
    let signature = deposit.signature.signed_by(Signer::Account(payer), digest);
    let signature = signature.ok_or(PaymentError::Batch(forged))?;
    let deposit = DepositWord { signature, ..deposit };
    let TransferMethod::Permit2By(permit) = deposit.method else { return Ok(deposit) };
    if requirement.pay_by.method != TransferMethod::Permit2Sponsored {
        return Err(PaymentError::NotOffered);
    }
    if permit.deadline_s < earliest_s {
        return Err(PaymentError::Batch(BatchCode::PermitDeadline));
    }
    let moved = movement(&word.terms, &incoming);
    let digest = requirement.token.permit_digest(&moved, &permit);
    let is_own = permit.signature.is_some_and(|signed| is_signed_by(payer, digest, &signed));
    if is_own { Ok(deposit) } else { Err(PaymentError::Batch(BatchCode::PermitSignature)) }
}

/// The voucher, where it is signed by the payer's authorizer. A payee asks no contract: a channel whose payer
/// is one needs an authorizer that is a key there (threats.md E21).
pub(super) fn check_voucher<S: Taken>(
    terms: &ChannelTerms,
    voucher: VoucherWord<S>,
    token: &TokenDomain,
) -> Result<VoucherWord<S>, PaymentError> {
    let VoucherWord { ceiling, signature } = voucher;
    let digest = voucher_digest(token.batch_separator(), &ceiling);
    let signed = match planted!("voucher_signature_unchecked") {
        true => Some(signature),
        false => signature.signed_by(Signer::of_vouchers(terms), digest),
    };
    let signature = signed.ok_or(PaymentError::Batch(BatchCode::VoucherSignature))?;
    Ok(VoucherWord { ceiling, signature })
}

/// What a payer signs for a deposit: in the token's domain by EIP-3009, in Permit2's where that moves it.
pub fn deposit_digest(
    token: &TokenDomain,
    channel: ChannelId,
    payer: Address,
    incoming: &Incoming,
) -> B256 {
    let Incoming { deposit, method } = incoming;
    if method.is_permit2() {
        let message = by_permit2(token.asset().contract, channel, deposit);
        return signing_hash(token.permit2_separator(), message.eip712_hash_struct());
    }
    signing_hash(token.separator(), by_token(payer, channel, deposit).eip712_hash_struct())
}

/// The nonce by which the rail knows a deposit by EIP-3009.
pub fn nonce_of(channel: ChannelId, salt: B256) -> B256 {
    deposit_nonce(channel.0, U256::from_be_bytes(salt.0))
}

/// A deposit that was signed, as it is sent.
pub const fn deposit_word(incoming: &Incoming, signature: Signature) -> DepositWord {
    let Incoming { deposit, method } = *incoming;
    DepositWord {
        amount: deposit.amount,
        method,
        valid_before_s: deposit.valid_before_s,
        salt: deposit.salt,
        signature,
    }
}

/// What a payee knows of a channel: its memory, and the chain.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What was charged in all.
    pub charged: Amount,
    /// What lies in the channel, and what comes in with the word.
    pub balance: Amount,
    /// What was claimed in all.
    pub claimed: Amount,
}

/// Whether the voucher's sum is what a call for `price` has to say.
///
/// # Errors
/// [`BatchCode::Cumulative`], [`BatchCode::ExceedsBalance`], [`BatchCode::BelowClaimed`]. Equality is
/// never enough: each call says more than was charged (threats.md E02).
pub fn check_sum(ceiling: Amount, price: Amount, known: &Known) -> Result<(), PaymentError> {
    let said = known.charged.checked_add(price);
    let repeats = planted!("voucher_repeats") && ceiling == known.charged;
    let wrong = if said != Some(ceiling) && !repeats {
        BatchCode::Cumulative
    } else if ceiling > known.balance && !planted!("deposit_counted_unseen") {
        BatchCode::ExceedsBalance
    } else if ceiling <= known.claimed {
        BatchCode::BelowClaimed
    } else {
        return Ok(());
    };
    Err(PaymentError::Batch(wrong))
}
