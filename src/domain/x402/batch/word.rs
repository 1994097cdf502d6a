//! What a payer sends with a call that a channel pays, and what a payee says of the channel.

use alloy::primitives::Signature;
use serde_json::{Map, Value};

use crate::domain::channel::{Ceiling, ChannelId, ChannelTerms};
use crate::domain::money::Amount;
use crate::domain::x402::batch::deposit::{Deposit, DepositAuthorization, Erc3009Deposit};
use crate::domain::x402::batch::payload::{
    BatchPayload, Channel, DepositPayload, SignedVoucher, VoucherPayload,
};
use crate::domain::x402::batch::permitted;
use crate::domain::x402::batch::read::DepositWord;
use crate::domain::x402::batch::state::{BatchResponse, ChannelState};
use crate::domain::x402::signature::to_text;
use crate::domain::x402::wire::SettlementResponse;

/// The payload of a call: a voucher, with a deposit where one is due.
pub fn payload(
    terms: &ChannelTerms,
    ceiling: &Ceiling,
    signature: &Signature,
    deposit: Option<&DepositWord>,
) -> Map<String, Value> {
    let channel_config = channel(terms);
    let voucher = SignedVoucher {
        channel_id: ceiling.channel.to_string(),
        max_claimable_amount: ceiling.amount.to_string(),
        signature: to_text(signature),
    };
    let payload = match deposit {
        None => BatchPayload::Voucher(VoucherPayload { channel_config, voucher }),
        Some(deposit) => {
            let authorization = authorization(terms, ceiling.channel, deposit);
            let deposit = Deposit { amount: deposit.amount.to_string(), authorization };
            BatchPayload::Deposit(DepositPayload { channel_config, voucher, deposit })
        }
    };
    match serde_json::to_value(&payload) {
        Ok(Value::Object(map)) => map,
        _ => unreachable!("a payload has text keys and no failing values"),
    }
}

fn authorization(
    terms: &ChannelTerms,
    channel: ChannelId,
    deposit: &DepositWord,
) -> DepositAuthorization {
    if deposit.method.is_permit2() {
        let by = permitted::write(terms, channel, deposit);
        return DepositAuthorization::Permit2Authorization(by);
    }
    DepositAuthorization::Erc3009Authorization(Erc3009Deposit {
        valid_after: "0".to_owned(),
        valid_before: deposit.valid_before_s.to_string(),
        salt: deposit.salt.to_string(),
        signature: to_text(&deposit.signature),
    })
}

/// A channel's terms as JSON has them.
pub fn channel(terms: &ChannelTerms) -> Channel {
    Channel {
        payer: terms.payer.to_string(),
        payer_authorizer: terms.payer_authorizer.to_string(),
        receiver: terms.receiver.to_string(),
        receiver_authorizer: terms.receiver_authorizer.to_string(),
        token: terms.asset.contract.to_string(),
        withdraw_delay: terms.withdraw_delay_s,
        salt: terms.salt.to_string(),
    }
}

/// What a payee says of a call that a channel paid: `state` is the channel's afterwards. A deposit
/// that came with it names its transaction.
pub fn response(
    terms: &ChannelTerms,
    charged: Amount,
    state: ChannelState,
    deposit: Option<(String, Amount)>,
) -> SettlementResponse {
    let extra =
        BatchResponse { charged_amount: Some(charged.to_string()), channel_state: Some(state) };
    let extra = match serde_json::to_value(&extra) {
        Ok(Value::Object(map)) => map,
        _ => unreachable!("a channel's state has text keys and no failing values"),
    };
    let (transaction, amount) =
        deposit.map_or_else(Default::default, |(hash, amount)| (hash, amount.to_string()));
    SettlementResponse {
        success: true,
        error_reason: None,
        payer: Some(terms.payer.to_string()),
        transaction,
        network: terms.asset.network.to_string(),
        amount: Some(amount),
        extensions: None,
        extra: Some(extra),
    }
}

/// What a payee says of a refund: `state` is the channel's afterwards.
pub fn refunded(
    terms: &ChannelTerms,
    state: ChannelState,
    transaction: String,
    amount: Amount,
) -> SettlementResponse {
    let extra = BatchResponse { charged_amount: None, channel_state: Some(state) };
    let extra = match serde_json::to_value(&extra) {
        Ok(Value::Object(map)) => map,
        _ => unreachable!("a channel's state has text keys and no failing values"),
    };
    SettlementResponse {
        success: true,
        error_reason: None,
        payer: Some(terms.payer.to_string()),
        transaction,
        network: terms.asset.network.to_string(),
        amount: Some(amount.to_string()),
        extensions: None,
        extra: Some(extra),
    }
}

/// What a payee says that a call cost, and what was charged in all after it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SaidCharge {
    /// The call.
    pub amount: Amount,
    /// In all.
    pub cumulative: Amount,
}

/// What a payee says to a peer of ours: the charge, and no more of the channel than its name.
pub fn brief(channel: ChannelId, said: SaidCharge) -> SettlementResponse {
    let state = ChannelState {
        channel_id: channel.to_string(),
        balance: String::new(),
        total_claimed: String::new(),
        withdraw_requested_at: 0,
        refund_nonce: String::new(),
        charged_cumulative_amount: Some(said.cumulative.to_string()),
    };
    let extra =
        BatchResponse { charged_amount: Some(said.amount.to_string()), channel_state: Some(state) };
    let extra = match serde_json::to_value(&extra) {
        Ok(Value::Object(map)) => map,
        _ => unreachable!("a channel's state has text keys and no failing values"),
    };
    SettlementResponse {
        success: true,
        error_reason: None,
        payer: None,
        transaction: String::new(),
        network: String::new(),
        amount: None,
        extensions: None,
        extra: Some(extra),
    }
}

/// The key of `extra` under which a payee says how much may be charged above the newest voucher.
const CREDIT_KEY: &str = "credit";

/// The same response, with what may be charged above the channel's newest voucher.
pub fn with_credit(mut response: SettlementResponse, credit: Amount) -> SettlementResponse {
    let extra = response.extra.get_or_insert_default();
    extra.insert(CREDIT_KEY.to_owned(), Value::from(credit.to_string()));
    response
}

/// What a response says may be charged above the channel's newest voucher, where it says so.
pub fn find_credit(response: &SettlementResponse) -> Option<Amount> {
    let extra = response.extra.as_ref().filter(|_| response.success)?;
    extra.get(CREDIT_KEY)?.as_str()?.parse().ok()
}

/// The channel and the charge that a response speaks of, where it does.
pub fn find_charge(response: &SettlementResponse) -> Option<(ChannelId, SaidCharge)> {
    let extra = response.extra.as_ref().filter(|_| response.success)?;
    let text = |value: Option<&Value>| value?.as_str().map(str::to_owned);
    let state = extra.get("channelState")?;
    let channel = ChannelId(text(state.get("channelId"))?.parse().ok()?);
    let cumulative = text(state.get("chargedCumulativeAmount"))?.parse().ok()?;
    let amount = text(extra.get("chargedAmount"))?.parse().ok()?;
    Some((channel, SaidCharge { amount, cumulative }))
}

/// What a response says of a call that `ceiling` was signed for; `None` where it does not say it, or
/// speaks of another channel.
pub fn read_response(response: &SettlementResponse, ceiling: &Ceiling) -> Option<SaidCharge> {
    if !response.success {
        return None;
    }
    let extra = Value::Object(response.extra.clone()?);
    let BatchResponse { charged_amount, channel_state } = serde_json::from_value(extra).ok()?;
    let state = channel_state?;
    if state.channel_id != ceiling.channel.to_string() {
        return None;
    }
    let cumulative = state.charged_cumulative_amount?.parse().ok()?;
    Some(SaidCharge { amount: charged_amount?.parse().ok()?, cumulative })
}
