//! Reading a payer's word about a channel: typed, checked in its form, and nothing more.
//!
//! Source: x402 scheme `batch-settlement` on EVM, payloads of type `deposit`, `voucher` and `refund`.

use alloy::primitives::{Address, B256, Signature};
use alloy::sol_types::SolStruct;
use serde_json::{Map, Value};

use crate::domain::asset::{Asset, Network};
use crate::domain::channel::{Ceiling, ChannelId, ChannelTerms, Deposit, Incoming};
use crate::domain::commitment::TransferMethod;
use crate::domain::money::{Amount, Nano};
use crate::domain::x402::batch::check::nonce_of;
use crate::domain::x402::batch::code::BatchCode;
use crate::domain::x402::batch::deposit::{self, DepositAuthorization};
use crate::domain::x402::batch::payload::{BatchPayload, Channel, SignedVoucher};
use crate::domain::x402::batch::permitted;
use crate::domain::x402::batch::taken::Taken;
use crate::domain::x402::batch::typed::id_of;
use crate::domain::x402::error::{Message, PaymentError};
use crate::domain::x402::payload::{read_hash, read_time};
use crate::domain::x402::requirements::read_address;

/// A voucher as it was signed; `S` is what is taken for a signature.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct VoucherWord<S = Signature> {
    /// What it says.
    pub ceiling: Ceiling,
    /// By the payer's authorizer, by its own word: not checked.
    pub signature: S,
}

/// What a payer says with a call on credit: no signature is made for it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct CreditWord {
    /// The channel's last voucher, which none but its payer and its payee know: it pays for nothing more.
    pub voucher: VoucherWord,
    /// What was charged in all before the call.
    pub charged: Amount,
}

/// A deposit's authorization as it was signed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct DepositWord<S = Signature> {
    /// How much.
    pub amount: Amount,
    /// By the token's own EIP-3009, or by Permit2, with the payer's permit at the token where one came.
    pub method: TransferMethod,
    /// Strictly before, in seconds since the epoch.
    pub valid_before_s: u64,
    /// What its nonce is made of, with the channel's name; at Permit2 the nonce itself.
    pub salt: B256,
    /// By the payer, by its own word: not checked.
    pub signature: S,
}

impl<S> DepositWord<S> {
    /// What it signs, for `channel`; what that counts in caps is the payer's own affair.
    pub fn incoming(&self, channel: ChannelId) -> Incoming {
        let &Self { amount, method, valid_before_s, salt, .. } = self;
        let nonce = if method.is_permit2() { salt } else { nonce_of(channel, salt) };
        Deposit { amount, nano: Nano::ZERO, nonce, salt, valid_before_s }.by(method)
    }
}

/// What a payer says with a call.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct BatchWord<S = Signature> {
    /// The channel's terms, as it says.
    pub terms: ChannelTerms,
    /// The name that follows from them.
    pub channel: ChannelId,
    /// Its voucher.
    pub voucher: VoucherWord<S>,
    /// What comes in first, where something does.
    pub deposit: Option<DepositWord<S>>,
}

/// The word in a payload of type `deposit` or `voucher`, on `network`.
///
/// # Errors
/// [`PaymentError::Field`] for a field that is missing, not in its one spelling, or unknown;
/// [`BatchCode::ChannelId`] where the voucher names another channel than its config.
pub fn read_batch<S: Taken>(
    payload: &Map<String, Value>,
    network: Network,
) -> Result<BatchWord<S>, PaymentError> {
    let wrong = PaymentError::Field { message: Message::Payload, field: "payload" };
    let read = serde_json::from_value(Value::Object(payload.clone())).map_err(|_| wrong)?;
    let (config, voucher, deposit) = match &read {
        BatchPayload::Deposit(with) => (&with.channel_config, &with.voucher, Some(&with.deposit)),
        BatchPayload::Voucher(with) => (&with.channel_config, &with.voucher, None),
        BatchPayload::Refund(_) | BatchPayload::Claim(_) | BatchPayload::Settle(_) => {
            return Err(field("payload.type"));
        }
    };
    let terms = read_terms(config, network)?;
    let channel = id_of(&terms);
    let voucher = read_voucher(voucher)?;
    if voucher.ceiling.channel != channel {
        return Err(PaymentError::Batch(BatchCode::ChannelId));
    }
    let deposit = deposit.map(|deposit| read_deposit(deposit, &terms, channel)).transpose()?;
    Ok(BatchWord { terms, channel, voucher, deposit })
}

pub(super) fn read_terms(config: &Channel, network: Network) -> Result<ChannelTerms, PaymentError> {
    let address = |text: &str, name| read_address(text).ok_or(field(name));
    let contract = address(&config.token, "payload.channelConfig.token")?;
    let payer = address(&config.payer, "payload.channelConfig.payer")?;
    let authorizer = address(&config.payer_authorizer, "payload.channelConfig.payerAuthorizer")?;
    Ok(ChannelTerms {
        asset: Asset { network, contract },
        payer,
        payer_authorizer: authorizer,
        receiver: address(&config.receiver, "payload.channelConfig.receiver")?,
        receiver_authorizer: address(
            &config.receiver_authorizer,
            "payload.channelConfig.receiverAuthorizer",
        )?,
        withdraw_delay_s: config.withdraw_delay,
        salt: read_hash(&config.salt).ok_or(field("payload.channelConfig.salt"))?,
    })
}

pub(super) fn read_voucher<S: Taken>(
    voucher: &SignedVoucher,
) -> Result<VoucherWord<S>, PaymentError> {
    let channel = read_hash(&voucher.channel_id).ok_or(field("payload.voucher.channelId"))?;
    let amount = voucher.max_claimable_amount.parse();
    let amount = amount.map_err(|_| field("payload.voucher.maxClaimableAmount"))?;
    let signature = S::read(&voucher.signature);
    let signature = signature.ok_or(PaymentError::Batch(BatchCode::VoucherSignature))?;
    Ok(VoucherWord { ceiling: Ceiling { channel: ChannelId(channel), amount }, signature })
}

fn read_deposit<S: Taken>(
    deposit: &deposit::Deposit,
    terms: &ChannelTerms,
    channel: ChannelId,
) -> Result<DepositWord<S>, PaymentError> {
    let amount = deposit.amount.parse().map_err(|_| field("payload.deposit.amount"))?;
    let by = match &deposit.authorization {
        DepositAuthorization::Erc3009Authorization(by) => by,
        DepositAuthorization::Permit2Authorization(by) => {
            return permitted::read(by, amount, terms, channel);
        }
    };
    let prefix = "payload.deposit.authorization.erc3009Authorization";
    if by.valid_after != "0" {
        return Err(field(prefix));
    }
    Ok(DepositWord {
        amount,
        method: TransferMethod::Eip3009,
        valid_before_s: read_time(&by.valid_before).ok_or(field(prefix))?,
        salt: read_hash(&by.salt).ok_or(field(prefix))?,
        signature: S::read(&by.signature)
            .ok_or(PaymentError::Batch(BatchCode::DepositSignature))?,
    })
}

const fn field(field: &'static str) -> PaymentError {
    PaymentError::Field { message: Message::Payload, field }
}

/// The address that a channel's vouchers are signed by; where the terms name none, the payer's.
pub fn authorizer_of(terms: &ChannelTerms) -> Address {
    if terms.payer_authorizer.is_zero() { terms.payer } else { terms.payer_authorizer }
}

/// What is signed for a voucher, in a domain that was hashed once.
pub fn voucher_digest(separator: B256, ceiling: &Ceiling) -> B256 {
    let voucher = super::typed::Voucher {
        channelId: ceiling.channel.0,
        maxClaimableAmount: ceiling.amount.get(),
    };
    crate::domain::x402::digest::signing_hash(separator, voucher.eip712_hash_struct())
}
