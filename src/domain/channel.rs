//! Channels as both sides and the rail name them: money that lies in a contract, and is drawn by
//! vouchers.
//!
//! Source: x402 scheme `batch-settlement` on EVM.

use std::fmt;

use alloy::primitives::{Address, B256, Signature};
use serde::{Deserialize, Serialize};

use crate::domain::asset::Asset;
use crate::domain::commitment::{PayerWord, TransferMethod};
use crate::domain::money::{Amount, Nano};

/// A channel's name on the rail: the EIP-712 digest of its terms, chain and contract included, so that
/// no two channels anywhere share it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChannelId(pub B256);

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Who may do what in a channel. None of it changes in its life.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChannelTerms {
    /// What lies in it.
    pub asset: Asset,
    /// Whose money it is.
    pub payer: Address,
    /// Who signs vouchers: a key; the zero address where the payer's account answers for them.
    pub payer_authorizer: Address,
    /// Who is paid.
    pub receiver: Address,
    /// Who signs claims and refunds.
    pub receiver_authorizer: Address,
    /// How long the payer waits for what was not claimed, in seconds.
    pub withdraw_delay_s: u64,
    /// Tells the channels of the same two sides apart.
    pub salt: B256,
}

/// What a voucher says: so much may be claimed in all, in atomic units, since the channel began.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ceiling {
    /// In which channel.
    pub channel: ChannelId,
    /// How much in all.
    pub amount: Amount,
}

/// Money on its way into a channel: signed, and able to arrive once.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Deposit {
    /// How much.
    pub amount: Amount,
    /// The same in the unit of account: what it counts in channel caps.
    pub nano: Nano,
    /// The nonce of its authorization on the rail.
    pub nonce: B256,
    /// What the nonce was made of, with the channel's name; at Permit2 the nonce itself.
    pub salt: B256,
    /// It arrives strictly before, in seconds since the epoch by the chain's clock.
    pub valid_before_s: u64,
}

/// A deposit, and how the rail moves it: all that a signature for it covers.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Incoming {
    /// How much, by which nonce.
    pub deposit: Deposit,
    /// By which word of the payer.
    pub method: TransferMethod,
}

impl Deposit {
    /// The same, moved in this way.
    pub const fn by(self, method: TransferMethod) -> Incoming {
        Incoming { deposit: self, method }
    }
}

/// A voucher to claim.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimRow {
    /// Of which channel.
    pub terms: ChannelTerms,
    /// What the voucher says.
    pub ceiling: Amount,
    /// By the payer's authorizer, or by the payer where there is none.
    pub signature: PayerWord,
    /// What was charged in all: at most what the voucher says.
    pub total: Amount,
}

/// A receiver's word that so much of what was not claimed goes back to a channel's payer.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SignedRefund {
    /// Of which channel.
    pub terms: ChannelTerms,
    /// At most so much.
    pub amount: Amount,
    /// The channel's next: used up by whichever refund comes first.
    pub nonce: u64,
    /// By the receiver's authorizer.
    pub signature: Signature,
}
