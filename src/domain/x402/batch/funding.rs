//! What a payer signs for a deposit, as EIP-712 has it.

use alloy::primitives::{Address, B256, U256, keccak256};

use crate::domain::channel::{ChannelId, Deposit};
use crate::domain::x402::batch::typed::{ERC3009_COLLECTOR, PERMIT2_COLLECTOR};

alloy::sol! {
    /// By EIP-3009, in the token's own domain: `to` is the collector, `value` in atomic units,
    /// `nonce` what [`deposit_nonce`] gives. Both ends of the validity are exclusive.
    #[derive(Debug, PartialEq, Eq)]
    struct ReceiveWithAuthorization {
        address from;
        address to;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }

    /// Which token, and how much of it, in atomic units.
    #[derive(Debug, PartialEq, Eq)]
    struct TokenPermissions {
        address token;
        uint256 amount;
    }

    /// The channel that the money is for.
    #[derive(Debug, PartialEq, Eq)]
    struct DepositWitness {
        bytes32 channelId;
    }

    /// By Permit2, in its domain; `spender` is the collector, `deadline` is inclusive.
    #[derive(Debug, PartialEq, Eq)]
    struct PermitWitnessTransferFrom {
        TokenPermissions permitted;
        address spender;
        uint256 nonce;
        uint256 deadline;
        DepositWitness witness;
    }
}

/// The EIP-3009 nonce of a deposit: it binds the money to one channel. `salt` tells the deposits of
/// one channel apart.
pub fn deposit_nonce(channel_id: B256, salt: U256) -> B256 {
    keccak256([channel_id, B256::from(salt)].concat())
}

/// What `payer` signs for a deposit into `channel` by EIP-3009.
pub fn by_token(payer: Address, channel: ChannelId, deposit: &Deposit) -> ReceiveWithAuthorization {
    ReceiveWithAuthorization {
        from: payer,
        to: ERC3009_COLLECTOR,
        value: U256::from(deposit.amount.get()),
        validAfter: U256::ZERO,
        validBefore: U256::from(deposit.valid_before_s),
        nonce: deposit_nonce(channel.0, U256::from_be_bytes(deposit.salt.0)),
    }
}

/// What a payer signs for a deposit of `token` into `channel` by Permit2.
pub fn by_permit2(
    token: Address,
    channel: ChannelId,
    deposit: &Deposit,
) -> PermitWitnessTransferFrom {
    PermitWitnessTransferFrom {
        permitted: TokenPermissions { token, amount: U256::from(deposit.amount.get()) },
        spender: PERMIT2_COLLECTOR,
        nonce: deposit.nonce.into(),
        deadline: U256::from(deposit_deadline_s(deposit.valid_before_s)),
        witness: DepositWitness { channelId: channel.0 },
    }
}

/// The last second in which a deposit by Permit2 holds: a deadline is inclusive, a time limit of ours is
/// not.
pub const fn deposit_deadline_s(valid_before_s: u64) -> u64 {
    valid_before_s.saturating_sub(1)
}
