//! The error codes of scheme `batch-settlement`.
//!
//! Source: x402 scheme `batch-settlement` on EVM, error codes.

/// What was wrong with a word about a channel.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BatchCode {
    /// The voucher names another channel than its config.
    ChannelId,
    /// The channel pays somebody else.
    Receiver,
    /// The channel has another authorizer on the payee's side.
    ReceiverAuthorizer,
    /// The channel is in another token.
    Token,
    /// The channel has another withdrawal delay than was offered.
    WithdrawDelay,
    /// No channel may have that withdrawal delay.
    DelayRange,
    /// The voucher is not signed by the payer's authorizer.
    VoucherSignature,
    /// The voucher's sum is not what was charged and the price.
    Cumulative,
    /// The voucher's sum is above what lies in the channel.
    ExceedsBalance,
    /// The voucher's sum is not above what was claimed.
    BelowClaimed,
    /// Another call of the channel is being served.
    ChannelBusy,
    /// The deposit is not signed by the payer.
    DepositSignature,
    /// The deposit is smaller than was asked.
    DepositBelowMin,
    /// The deposit's time limit has passed, or nearly, or lies too far ahead.
    DepositValidBefore,
    /// The payer has less than the deposit.
    InsufficientBalance,
    /// The deposit did not arrive.
    DepositFailed,
    /// What was charged cannot be looked up now.
    StateUnavailable,
    /// No payload of that type is taken here.
    PayloadType,
    /// More was charged than the voucher says.
    ChargeExceeds,
    /// The config says nothing of a channel that is known.
    MissingChannel,
}

/// Every code with its name.
const NAMES: [(BatchCode, &str); 20] = {
    use BatchCode::*;
    [
        (ChannelId, "invalid_batch_settlement_evm_channel_id_mismatch"),
        (Receiver, "invalid_batch_settlement_evm_receiver_mismatch"),
        (ReceiverAuthorizer, "invalid_batch_settlement_evm_receiver_authorizer_mismatch"),
        (Token, "invalid_batch_settlement_evm_token_mismatch"),
        (WithdrawDelay, "invalid_batch_settlement_evm_withdraw_delay_mismatch"),
        (DelayRange, "invalid_batch_settlement_evm_withdraw_delay_out_of_range"),
        (VoucherSignature, "invalid_batch_settlement_evm_voucher_signature"),
        (Cumulative, "invalid_batch_settlement_evm_cumulative_amount_mismatch"),
        (ExceedsBalance, "invalid_batch_settlement_evm_cumulative_exceeds_balance"),
        (BelowClaimed, "invalid_batch_settlement_evm_cumulative_below_claimed"),
        (ChannelBusy, "invalid_batch_settlement_evm_channel_busy"),
        (DepositSignature, "invalid_batch_settlement_evm_receive_authorization_signature"),
        (DepositBelowMin, "invalid_batch_settlement_evm_deposit_below_min_deposit"),
        (DepositValidBefore, "invalid_batch_settlement_evm_payload_authorization_valid_before"),
        (InsufficientBalance, "invalid_batch_settlement_evm_insufficient_balance"),
        (DepositFailed, "invalid_batch_settlement_evm_deposit_transaction_failed"),
        (StateUnavailable, "invalid_batch_settlement_evm_verification_state_unavailable"),
        (PayloadType, "invalid_batch_settlement_evm_payload_type"),
        (ChargeExceeds, "invalid_batch_settlement_evm_charge_exceeds_signed_cumulative"),
        (MissingChannel, "invalid_batch_settlement_evm_missing_channel"),
    ]
};

impl BatchCode {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        let found = NAMES.iter().find(|(code, _)| *code == self);
        found.map(|(_, name)| *name).expect("every code has a name")
    }

    /// The code that is called `text`.
    pub fn from_text(text: &str) -> Option<Self> {
        NAMES.iter().find(|(_, name)| *name == text).map(|(code, _)| *code)
    }

    /// Every code.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(code, _)| *code)
    }
}
