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
    /// An authorizer's word is missing where it is needed, or somebody else's.
    Authorizer,
    /// Nothing lies in that channel.
    ChannelNotFound,
    /// A claim is not in its form.
    ClaimPayload,
    /// The contract would not take the claim.
    ClaimSimulation,
    /// The claim was sent, and failed.
    ClaimTransaction,
    /// A wish for a refund is not in its form.
    RefundPayload,
    /// A refund of no amount.
    RefundAmount,
    /// Nothing is left to give back.
    RefundNoBalance,
    /// The contract would not take the refund, as for a nonce that was used up.
    RefundSimulation,
    /// The refund was sent, and failed.
    RefundTransaction,
    /// A wish for a sweep is not in its form.
    SettlePayload,
    /// The contract would not take the sweep.
    SettleSimulation,
    /// The sweep was sent, and failed.
    SettleTransaction,
    /// Nothing was claimed that is not paid out.
    NothingToSettle,
    /// The chain could not be read.
    Rpc,
    /// The deposit is not by Permit2, as was asked.
    Permit2Required,
    /// The deposit is not by EIP-3009, as was asked.
    Erc3009Required,
    /// The deposit by Permit2 is not signed by the payer.
    Permit2Signature,
    /// The deposit by Permit2 is for another spender.
    Permit2Spender,
    /// The deposit by Permit2 is of another amount.
    Permit2Amount,
    /// The deposit by Permit2 is over, or nearly, or lies too far ahead.
    Permit2Deadline,
    /// The payer has not allowed Permit2 to move the token.
    Permit2Allowance,
    /// The permit at the token is not in its form.
    PermitFormat,
    /// The permit at the token is of another amount.
    PermitAmount,
    /// The permit is at another token.
    PermitAsset,
    /// The permit at the token is somebody else's.
    PermitOwner,
    /// The permit at the token is for somebody else.
    PermitSpender,
    /// The permit at the token is over, or nearly.
    PermitDeadline,
    /// The permit at the token is not signed by the payer.
    PermitSignature,
}

/// Every code with its name.
const NAMES: [(BatchCode, &str); 49] = {
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
        (Authorizer, "invalid_batch_settlement_evm_authorizer_address_mismatch"),
        (ChannelNotFound, "invalid_batch_settlement_evm_channel_not_found"),
        (ClaimPayload, "invalid_batch_settlement_evm_claim_payload"),
        (ClaimSimulation, "invalid_batch_settlement_evm_claim_simulation_failed"),
        (ClaimTransaction, "invalid_batch_settlement_evm_claim_transaction_failed"),
        (RefundPayload, "invalid_batch_settlement_evm_refund_payload"),
        (RefundAmount, "invalid_batch_settlement_evm_refund_amount_invalid"),
        (RefundNoBalance, "invalid_batch_settlement_evm_refund_no_balance"),
        (RefundSimulation, "invalid_batch_settlement_evm_refund_simulation_failed"),
        (RefundTransaction, "invalid_batch_settlement_evm_refund_transaction_failed"),
        (SettlePayload, "invalid_batch_settlement_evm_settle_payload"),
        (SettleSimulation, "invalid_batch_settlement_evm_settle_simulation_failed"),
        (SettleTransaction, "invalid_batch_settlement_evm_settle_transaction_failed"),
        (NothingToSettle, "invalid_batch_settlement_evm_nothing_to_settle"),
        (Rpc, "invalid_batch_settlement_evm_rpc_read_failed"),
        (Permit2Required, "invalid_batch_settlement_evm_permit2_authorization_required"),
        (Erc3009Required, "invalid_batch_settlement_evm_erc3009_authorization_required"),
        (Permit2Signature, "invalid_batch_settlement_evm_permit2_invalid_signature"),
        (Permit2Spender, "invalid_batch_settlement_evm_permit2_invalid_spender"),
        (Permit2Amount, "invalid_batch_settlement_evm_permit2_amount_mismatch"),
        (Permit2Deadline, "invalid_batch_settlement_evm_permit2_deadline_expired"),
        (Permit2Allowance, "invalid_batch_settlement_evm_permit2_allowance_required"),
        (PermitFormat, "invalid_batch_settlement_evm_eip2612_invalid_format"),
        (PermitAmount, "invalid_batch_settlement_evm_eip2612_amount_mismatch"),
        (PermitAsset, "invalid_batch_settlement_evm_eip2612_asset_mismatch"),
        (PermitOwner, "invalid_batch_settlement_evm_eip2612_owner_mismatch"),
        (PermitSpender, "invalid_batch_settlement_evm_eip2612_spender_mismatch"),
        (PermitDeadline, "invalid_batch_settlement_evm_eip2612_deadline_expired"),
        (PermitSignature, "invalid_batch_settlement_evm_eip2612_invalid_signature"),
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
