//! What a payer signs for a deposit, as EIP-712 has it.

use alloy::primitives::{B256, U256, keccak256};

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
