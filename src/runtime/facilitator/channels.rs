//! Payments by `batch-settlement`: deposits, vouchers and refunds of payers, and what payees let be claimed, paid
//! out and given back. Where a channel names this facilitator as its receiver's authorizer, it needs no other
//! word: it sends as that.
//!
//! Source: x402 scheme `batch-settlement` on EVM, facilitator interface and rules 1 to 11.

use std::sync::Arc;

use alloy::primitives::{Address, B256};
use serde_json::{Map, Value};

use crate::domain::asset::{Asset, Network};
use crate::domain::channel::{ChannelId, ChannelTerms, SignedRefund};
use crate::domain::commitment::{PayerWord, TransferMethod};
use crate::domain::money::Amount;
use crate::domain::x402::PaymentCode;
use crate::domain::x402::batch::check::check_batch;
use crate::domain::x402::batch::code::BatchCode;
use crate::domain::x402::batch::permitted::movement;
use crate::domain::x402::batch::read::{BatchWord, DepositWord, VoucherWord, voucher_digest};
use crate::domain::x402::batch::refund::{RefundWord, check_refund, is_refund};
use crate::domain::x402::batch::relayed::{
    Relayed, RelayedClaim, RelayedRefund, check_relayed, read_relayed,
};
use crate::domain::x402::batch::state::ChannelState;
use crate::domain::x402::batch::typed::batch_domain;
use crate::domain::x402::check::Demand;
use crate::domain::x402::error::PaymentError;
use crate::domain::x402::facilitate::{Step, requirement_of};
use crate::domain::x402::wire::{
    PaymentPayload, PaymentRequirements, SettlementResponse, VerifyResponse,
};
use crate::ports::channel_rail::{
    ChannelSettler, ChannelSight, ContractDeposit, Depth, SignedDeposit,
};
use crate::ports::rail::{NonceState, RailError, RefusedBy, Settlement};

use super::answer::{Answer, Refusal, Standing};
use super::{Facilitator, Rail};

/// The scheme's name.
pub(super) const SCHEME: &str = "batch-settlement";

/// A payer's word about a channel.
struct Word {
    terms: ChannelTerms,
    channel: ChannelId,
    voucher: VoucherWord<PayerWord>,
    /// Whether it asks for what was not charged, and so has to say no more than was claimed.
    is_refund: bool,
    deposit: Option<DepositWord<PayerWord>>,
}

impl Facilitator {
    /// Whether a deposit, a voucher or a refund is good, by the chain's newest block.
    pub(super) async fn verify_channel(
        &self,
        payload: &PaymentPayload,
        requirements: &PaymentRequirements,
    ) -> Result<Answer<VerifyResponse>, Refusal> {
        let word = self.read_word(payload, requirements)?;
        let _admission = self.admit(Step::Verify, word.terms.payer)?;
        let payer = Some(word.terms.payer);
        let (rail, settler) = self.channels(word.terms.asset.network)?;
        check_vouched(settler.as_ref(), &word.terms, &word.voucher).await?;
        let sight = look(rail, word.channel, payer).await?;
        let coming = match &word.deposit {
            None => Amount::ZERO,
            Some(deposit) => coming(rail, settler.as_ref(), &word, deposit).await?,
        };
        let balance = sight.balance.checked_add(coming).unwrap_or(Amount::ZERO);
        let ceiling = word.voucher.ceiling.amount;
        let wrong = if balance.is_zero() {
            BatchCode::ChannelNotFound
        } else if ceiling > balance {
            BatchCode::ExceedsBalance
        } else if ceiling < sight.claimed || (ceiling == sight.claimed && !word.is_refund) {
            BatchCode::BelowClaimed
        } else {
            let body = VerifyResponse {
                is_valid: true,
                invalid_reason: None,
                invalid_message: None,
                payer: payer.map(|payer| payer.to_string()),
                extra: Some(to_map(&state_of(word.channel, &sight))),
            };
            return Ok(Answer { body, standing: Standing::Said });
        };
        Err(Refusal::new(PaymentCode::Batch(wrong), payer))
    }

    /// Puts a deposit in; claims, pays out or gives back for a payee.
    pub(super) async fn settle_channel(
        &self,
        payload: &PaymentPayload,
        requirements: &PaymentRequirements,
    ) -> Result<Answer<SettlementResponse>, Refusal> {
        if payload.payload.get("type").and_then(Value::as_str) == Some("deposit") {
            return self.deposit(payload, requirements).await;
        }
        let refuse = |error: PaymentError| Refusal::of(&error, None);
        let network = requirements.network.parse::<Network>();
        let network = network.map_err(|_| refuse(PaymentError::Network))?;
        let (rail, settler) = self.channels(network)?;
        let relayed = read_relayed(&payload.payload, network).map_err(refuse)?;
        match check_relayed(relayed, Some(settler.authorizer())).map_err(refuse)? {
            Relayed::Claim(claim) => self.claim(settler.as_ref(), &claim, network).await,
            Relayed::Settle { receiver, asset } => {
                self.check_asset(asset)?;
                pay_out(settler.as_ref(), receiver, asset).await
            }
            Relayed::Refund(refund) => {
                self.check_asset(refund.wish.terms.asset)?;
                let wish = &refund.wish;
                // Its payee keeps vouchers that nobody has claimed yet, and did not say that they may go.
                if refund.signature.is_none() && self.own.contains(&wish.terms.receiver) {
                    let code = PaymentCode::Batch(BatchCode::Authorizer);
                    return Err(Refusal::new(code, Some(wish.terms.payer)));
                }
                let _admission = self.admit(Step::Settle, wish.terms.payer)?;
                check_vouched(settler.as_ref(), &wish.terms, &wish.voucher).await?;
                give_back(rail, settler.as_ref(), &refund).await
            }
        }
    }

    fn read_word(
        &self,
        payload: &PaymentPayload,
        requirements: &PaymentRequirements,
    ) -> Result<Word, Refusal> {
        let read = || {
            let requirement = requirement_of(&payload.accepted, &self.tokens)?;
            if !requirement.is_accepted(requirements) {
                return Err(PaymentError::NotOffered);
            }
            let resource = payload.resource.as_ref().map_or("", |resource| &resource.url);
            let (offered, now_s) = ([requirement], self.clock.now().as_secs());
            let demand = Demand { resource, offered: &offered, now_s };
            if is_refund(payload) {
                let RefundWord { terms, channel, voucher, .. } = check_refund(payload, &demand)?;
                return Ok(Word { terms, channel, voucher, is_refund: true, deposit: None });
            }
            let BatchWord { terms, channel, voucher, deposit } =
                check_batch(payload, &demand)?.word;
            Ok(Word { terms, channel, voucher, is_refund: false, deposit })
        };
        read().map_err(|error: PaymentError| Refusal::of(&error, None))
    }

    fn channels(&self, network: Network) -> Result<(&Rail, Arc<dyn ChannelSettler>), Refusal> {
        let found = self.rail(network).and_then(|rail| {
            let settler = Arc::clone(&rail.settler).channels().ok_or(PaymentError::Scheme)?;
            Ok((rail, settler))
        });
        found.map_err(|error| Refusal::of(&error, None))
    }

    fn check_asset(&self, asset: Asset) -> Result<(), Refusal> {
        match self.tokens.find(asset) {
            Some(_) => Ok(()),
            None => Err(Refusal::of(&PaymentError::UnknownAsset(asset), None)),
        }
    }

    async fn deposit(
        &self,
        payload: &PaymentPayload,
        requirements: &PaymentRequirements,
    ) -> Result<Answer<SettlementResponse>, Refusal> {
        let word = self.read_word(payload, requirements)?;
        let _admission = self.admit(Step::Settle, word.terms.payer)?;
        let payer = Some(word.terms.payer);
        let (rail, settler) = self.channels(word.terms.asset.network)?;
        let Some(deposit) = word.deposit else {
            return Err(Refusal::new(PaymentCode::Batch(BatchCode::PayloadType), payer));
        };
        check_vouched(settler.as_ref(), &word.terms, &word.voucher).await?;
        let settled = match by_whom(word.terms, &deposit) {
            Filling::Key(signed) => settler.deposit(&signed).await,
            Filling::Contract(said) => settler.deposit_of_contract(&said).await,
        };
        let settled = settled.map_err(|error| trouble(&error, payer))?;
        let by_permit2 = deposit.method.is_permit2();
        let moved = moved(settled, BatchCode::DepositFailed, payer);
        let (transaction, amount) = moved.map_err(|refusal| in_words_of(by_permit2, refusal))?;
        let sight = look(rail, word.channel, payer).await?;
        let state = Some(state_of(word.channel, &sight));
        Ok(done(payer, &requirements.network, transaction, amount.to_string(), state))
    }

    async fn claim(
        &self,
        settler: &dyn ChannelSettler,
        claim: &RelayedClaim,
        network: Network,
    ) -> Result<Answer<SettlementResponse>, Refusal> {
        for row in &claim.rows {
            self.check_asset(row.terms.asset)?;
        }
        let claimed = match &claim.signature {
            Some(signature) => settler.claim_signed(&claim.rows, signature).await,
            None => settler.claim(&claim.rows).await,
        };
        let claimed = claimed.map_err(|error| trouble(&error, None))?;
        if claimed.claimed.len() == claim.rows.len() {
            let network = network.to_string();
            return Ok(done(None, &network, claimed.transaction, String::new(), None));
        }
        let code = match (claimed.poisoned.is_empty(), claimed.transaction) {
            (false, _) => PaymentCode::Batch(BatchCode::ClaimSimulation),
            (true, Some(_)) => PaymentCode::Pending,
            (true, None) => PaymentCode::Batch(BatchCode::ClaimTransaction),
        };
        Err(Refusal { transaction: claimed.transaction, ..Refusal::new(code, None) })
    }
}

async fn pay_out(
    settler: &dyn ChannelSettler,
    receiver: Address,
    asset: Asset,
) -> Result<Answer<SettlementResponse>, Refusal> {
    let network = asset.network.to_string();
    let swept = settler.sweep(receiver, asset).await.map_err(|error| trouble(&error, None))?;
    let Some(swept) = swept else {
        return Ok(done(None, &network, None, Amount::ZERO.to_string(), None));
    };
    let (transaction, amount) = moved(swept, BatchCode::SettleTransaction, None)?;
    Ok(done(None, &network, transaction, amount.to_string(), None))
}

async fn give_back(
    rail: &Rail,
    settler: &dyn ChannelSettler,
    refund: &RelayedRefund,
) -> Result<Answer<SettlementResponse>, Refusal> {
    let (terms, channel) = (refund.wish.terms, refund.wish.channel);
    let (payer, row) = (Some(terms.payer), refund.claims.rows.first());
    // Its nonce is what tells one refund from the next, so that none is made twice.
    let sight = look(rail, channel, payer).await?;
    if sight.refund_nonce != refund.nonce || refund.claims.rows.len() > 1 {
        return Err(Refusal::new(PaymentCode::Batch(BatchCode::RefundSimulation), payer));
    }
    let given = match (refund.signature, refund.claims.signature) {
        (Some(signature), claim) => {
            let (amount, nonce) = (refund.amount, refund.nonce);
            let signed = SignedRefund { terms, amount, nonce, signature };
            settler.give_back_signed(&signed, row.zip(claim.as_ref())).await
        }
        (None, _) => settler.give_back(&terms, row, refund.amount).await,
    };
    let given = given.map_err(|error| trouble(&error, payer))?;
    let (transaction, amount) = moved(given, BatchCode::RefundTransaction, payer)?;
    let sight = look(rail, channel, payer).await?;
    let state = Some(state_of(channel, &sight));
    let network = terms.asset.network.to_string();
    Ok(done(payer, &network, transaction, amount.to_string(), state))
}

/// Whether a payer that answers for its channel's vouchers itself says that this one is its own.
/// Source: x402 scheme `batch-settlement` on EVM, facilitator rule 6; threats.md E21.
async fn check_vouched(
    settler: &dyn ChannelSettler,
    terms: &ChannelTerms,
    voucher: &VoucherWord<PayerWord>,
) -> Result<(), Refusal> {
    if !terms.payer_authorizer.is_zero() {
        return Ok(());
    }
    let payer = Some(terms.payer);
    let separator = batch_domain(terms.asset.network).separator();
    let digest = voucher_digest(separator, &voucher.ceiling);
    let said = settler.vouches(terms.payer, digest, &voucher.signature).await;
    let said = said.map_err(|error| trouble(&error, payer))?;
    said.map_err(|_| Refusal::new(PaymentCode::Batch(BatchCode::VoucherSignature), payer))
}

/// A deposit, by whose word it is.
enum Filling {
    Key(SignedDeposit),
    Contract(ContractDeposit),
}

fn by_whom(terms: ChannelTerms, deposit: &DepositWord<PayerWord>) -> Filling {
    let DepositWord { amount, method, valid_before_s, salt, .. } = *deposit;
    match &deposit.signature {
        PayerWord::Key(signature) => {
            let signature = *signature;
            Filling::Key(SignedDeposit { terms, amount, method, valid_before_s, salt, signature })
        }
        PayerWord::Contract(shown) => {
            let signature = shown.clone();
            Filling::Contract(ContractDeposit {
                terms,
                amount,
                method,
                valid_before_s,
                salt,
                signature,
            })
        }
    }
}

/// What a deposit adds to what lies in its channel: nothing where it came in before. By the newest block, as a
/// settlement now would find it: what arrived a moment ago can be paid with.
async fn coming(
    rail: &Rail,
    settler: &dyn ChannelSettler,
    word: &Word,
    deposit: &DepositWord<PayerWord>,
) -> Result<Amount, Refusal> {
    let payer = Some(word.terms.payer);
    let commitment = movement(&word.terms, &deposit.incoming(word.channel));
    let seen = rail.evidence.find_nonce_now(&commitment).await;
    if seen.map_err(|error| trouble(&error, payer))?.nonce != NonceState::Unused {
        return Ok(Amount::ZERO);
    }
    if let Filling::Contract(said) = by_whom(word.terms, deposit) {
        // The whole of it is tried out, of which its money is a part.
        let verified = settler.verify_contract_deposit(&said).await;
        let verified = verified.map_err(|error| trouble(&error, payer))?;
        return verified.map(|()| deposit.amount).map_err(|reason| {
            let code = code_of(reason, BatchCode::DepositFailed);
            let refusal = Refusal::new(PaymentCode::Batch(code), payer);
            in_words_of(deposit.method.is_permit2(), refusal)
        });
    }
    let owned = rail.evidence.balance_now(word.terms.asset, word.terms.payer).await;
    if owned.map_err(|error| trouble(&error, payer))?.amount < deposit.amount {
        return Err(Refusal::new(PaymentCode::Batch(BatchCode::InsufficientBalance), payer));
    }
    // One that brings its own permit needs no allowance to stand.
    if deposit.method == TransferMethod::Permit2 {
        let allowed = rail.evidence.allowance(word.terms.asset, word.terms.payer).await;
        let allowed = allowed.map_err(|error| trouble(&error, payer))?;
        if allowed.is_some_and(|allowance| allowance.amount < deposit.amount) {
            return Err(Refusal::new(PaymentCode::Batch(BatchCode::Permit2Allowance), payer));
        }
    }
    Ok(deposit.amount)
}

async fn look(
    rail: &Rail,
    channel: ChannelId,
    payer: Option<Address>,
) -> Result<ChannelSight, Refusal> {
    let none = || Refusal::new(PaymentCode::Batch(BatchCode::Rpc), payer);
    let evidence = rail.evidence.channels().ok_or_else(none)?;
    let sights = evidence.look(&[channel], Depth::Newest).await;
    let sights = sights.map_err(|error| trouble(&error, payer))?;
    sights.seen.first().copied().ok_or_else(none)
}

fn state_of(channel: ChannelId, sight: &ChannelSight) -> ChannelState {
    ChannelState {
        channel_id: channel.to_string(),
        balance: sight.balance.to_string(),
        total_claimed: sight.claimed.to_string(),
        withdraw_requested_at: sight.withdrawal.map_or(0, |asked| asked.requested_at_s),
        refund_nonce: sight.refund_nonce.to_string(),
        charged_cumulative_amount: None,
    }
}

fn to_map(state: &ChannelState) -> Map<String, Value> {
    match serde_json::to_value(state) {
        Ok(Value::Object(map)) => map,
        _ => unreachable!("a channel's state has text keys and no failing values"),
    }
}

/// What moved, and by which transaction.
fn moved(
    settlement: Settlement,
    failed: BatchCode,
    payer: Option<Address>,
) -> Result<(Option<B256>, Amount), Refusal> {
    match settlement {
        Settlement::Settled { transaction, amount, .. } => Ok((Some(transaction), amount)),
        Settlement::Unknown { transaction } => {
            Err(Refusal { transaction, ..Refusal::new(PaymentCode::Pending, payer) })
        }
        Settlement::Refused(reason) => {
            Err(Refusal::new(PaymentCode::Batch(code_of(reason, failed)), payer))
        }
    }
}

/// The scheme's word for why something `failed`.
const fn code_of(reason: RefusedBy, failed: BatchCode) -> BatchCode {
    match (reason, failed) {
        (RefusedBy::InsufficientFunds, BatchCode::DepositFailed) => BatchCode::InsufficientBalance,
        (RefusedBy::AllowanceRequired, BatchCode::DepositFailed) => BatchCode::Permit2Allowance,
        (RefusedBy::InsufficientFunds, BatchCode::RefundTransaction) => BatchCode::RefundNoBalance,
        (RefusedBy::BadSignature, BatchCode::DepositFailed) => BatchCode::DepositSignature,
        (RefusedBy::Expired, BatchCode::DepositFailed) => BatchCode::DepositValidBefore,
        _ => failed,
    }
}

/// The same refusal of a deposit, in the words that the scheme has for its way.
fn in_words_of(by_permit2: bool, refusal: Refusal) -> Refusal {
    let code = match refusal.code {
        PaymentCode::Batch(BatchCode::DepositSignature) if by_permit2 => {
            BatchCode::Permit2Signature
        }
        PaymentCode::Batch(BatchCode::DepositValidBefore) if by_permit2 => {
            BatchCode::Permit2Deadline
        }
        _ => return refusal,
    };
    Refusal { code: PaymentCode::Batch(code), ..refusal }
}

fn trouble(error: &RailError, payer: Option<Address>) -> Refusal {
    tracing::warn!(%error, "channel's rail gave no answer");
    let refusal = Refusal::new(PaymentCode::Batch(BatchCode::Rpc), payer);
    Refusal { standing: Standing::Trouble, ..refusal }
}

fn done(
    payer: Option<Address>,
    network: &str,
    transaction: Option<B256>,
    amount: String,
    state: Option<ChannelState>,
) -> Answer<SettlementResponse> {
    let extra = state.map(|state| {
        let state = Value::Object(to_map(&state));
        Map::from_iter([("channelState".to_owned(), state)])
    });
    let body = SettlementResponse {
        success: true,
        error_reason: None,
        payer: payer.map(|payer| payer.to_string()),
        transaction: transaction.map(|hash| hash.to_string()).unwrap_or_default(),
        network: network.to_owned(),
        amount: Some(amount),
        extra,
        extensions: None,
    };
    Answer { body, standing: Standing::Said }
}
