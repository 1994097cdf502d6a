//! What is signed for a channel, as EIP-712 has it, and where the contracts are.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use alloy::primitives::aliases::U40;
use alloy::primitives::{Address, B256, U256, address};
use alloy::sol_types::{Eip712Domain, SolStruct};

use crate::domain::asset::Network;
use crate::domain::channel::{ChannelId, ChannelTerms};

/// The contract that holds the channels, at the same address on every chain.
pub const BATCH_SETTLEMENT: Address = address!("4020074e9dF2ce1deE5A9C1b5c3f541D02a10003");

/// What brings deposits by EIP-3009, at the same address on every chain.
pub const ERC3009_COLLECTOR: Address = address!("4020806089470a89826cB9fB1f4059150b550004");

/// What brings deposits by Permit2, at the same address on every chain.
pub const PERMIT2_COLLECTOR: Address = address!("4020425FAf3B746C082C2f942b4E5159887B0005");

/// How long a channel may make its payer wait for what was not claimed, in seconds: 15 minutes to 30
/// days.
pub const WITHDRAW_DELAY_S: RangeInclusive<u64> = 900..=2_592_000;

alloy::sol! {
    /// Who may do what in one channel; [`channel_id`] is its name, so that none of it can change.
    /// `payerAuthorizer` signs vouchers, or the payer itself where it is zero;
    /// `receiverAuthorizer` signs claims and refunds; `withdrawDelay` is in seconds.
    #[derive(Debug, PartialEq, Eq)]
    struct ChannelConfig {
        address payer;
        address payerAuthorizer;
        address receiver;
        address receiverAuthorizer;
        address token;
        uint40 withdrawDelay;
        bytes32 salt;
    }

    /// By the payer's authorizer: so much may be claimed in all, in atomic units, since the channel
    /// began. It has no time limit.
    #[derive(Debug, PartialEq, Eq)]
    struct Voucher {
        bytes32 channelId;
        uint128 maxClaimableAmount;
    }

    /// By the receiver's authorizer: so many atomic units go back to the payer. `nonce` is the
    /// channel's next, and is used even where nothing is left to give back.
    #[derive(Debug, PartialEq, Eq)]
    struct Refund {
        bytes32 channelId;
        uint256 nonce;
        uint128 amount;
    }

    /// One channel in a claim: what was charged in all, in atomic units, of what the voucher allows.
    #[derive(Debug, PartialEq, Eq)]
    struct ClaimEntry {
        bytes32 channelId;
        uint128 maxClaimableAmount;
        uint128 totalClaimed;
    }

    /// By the receiver's authorizer: all channels of one claim, in its order.
    #[derive(Debug, PartialEq, Eq)]
    struct ClaimBatch {
        ClaimEntry[] claims;
    }
}

/// The contract's EIP-712 domain on `network`.
pub fn batch_domain(network: Network) -> Eip712Domain {
    Eip712Domain::new(
        Some(Cow::Borrowed("x402 Batch Settlement")),
        Some(Cow::Borrowed("1")),
        Some(U256::from(network.chain_id())),
        Some(BATCH_SETTLEMENT),
        None,
    )
}

/// A channel's name on `network`: the EIP-712 digest of its config.
pub fn channel_id(config: &ChannelConfig, network: Network) -> B256 {
    config.eip712_signing_hash(&batch_domain(network))
}

/// A channel's name, by its terms.
pub fn id_of(terms: &ChannelTerms) -> ChannelId {
    ChannelId(channel_id(&config_of(terms), terms.asset.network))
}

/// A channel's terms as the contract has them. A delay that does not fit is far above the contract's
/// bound, and stays so.
pub fn config_of(terms: &ChannelTerms) -> ChannelConfig {
    ChannelConfig {
        payer: terms.payer,
        payerAuthorizer: terms.payer_authorizer,
        receiver: terms.receiver,
        receiverAuthorizer: terms.receiver_authorizer,
        token: terms.asset.contract,
        withdrawDelay: U40::saturating_from(terms.withdraw_delay_s),
        salt: terms.salt,
    }
}
