//! What can go wrong on the sandbox. Values only; the words of JSON-RPC are in `rpc`.

use std::sync::Arc;

use alloy::eips::BlockId;
use alloy::primitives::{Address, B256, Bytes};
use revm::context::result::{HaltReason, InvalidTransaction};

use crate::domain::fault::{Class, Fault};

/// Why the sandbox did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SandboxError {
    /// The file holds another chain.
    #[error("the file holds the chain {stored}, not {given}")]
    OtherChain {
        /// In the file.
        stored: u64,
        /// As asked.
        given: u64,
    },
    /// The file began from another genesis: other wallets, other amounts or another time.
    #[error("the file holds the genesis {stored}, not {given}")]
    OtherGenesis {
        /// In the file.
        stored: B256,
        /// As asked.
        given: B256,
    },
    /// The file is not a sandbox's, or of another format.
    #[error("the file has the format {found}, this program reads {known}")]
    OtherFormat {
        /// In the file.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Another process, or another sandbox of this one, has the file open.
    #[error("the file is open elsewhere")]
    InUse,
    /// Reading or writing failed. After a failed write nothing is answered any more.
    #[error("the sandbox's file failed: {0}")]
    Store(Arc<StoreError>),
    /// The transaction was refused; nothing was mined.
    #[error("the transaction was refused: {0}")]
    Refused(TxRefusal),
    /// The call reverted.
    #[error("the call reverted")]
    Reverted {
        /// What the contract returned.
        output: Bytes,
    },
    /// The call ran into a wall of the EVM, such as its gas limit.
    #[error("the call was stopped: {reason}")]
    Halted {
        /// By what.
        reason: HaltReason,
    },
    /// There is no such block.
    #[error("there is no block {at}")]
    NoBlock {
        /// As asked.
        at: BlockId,
    },
    /// A final block is not taken back.
    #[error("{blocks} blocks cannot be taken back: all but the newest {depth} are final")]
    FinalBlock {
        /// As asked.
        blocks: u64,
        /// How many are not final.
        depth: u64,
    },
    /// A log query over more blocks than one answer may look at.
    #[error("the query covers {blocks} blocks of the {blocks_max} that one may cover")]
    RangeTooWide {
        /// As asked.
        blocks: u64,
        /// At most.
        blocks_max: u64,
    },
    /// A log query with more results than one answer may hold.
    #[error("the query has more than {logs_max} results")]
    TooManyLogs {
        /// At most.
        logs_max: usize,
    },
    /// The faucet gives native units with the token, and one of the two overflowed.
    #[error("the faucet cannot give {to} that much")]
    FaucetRefused {
        /// To whom.
        to: Address,
    },
    /// Too many callers wait already.
    #[error("{waiting_max} jobs wait for the sandbox already")]
    Busy {
        /// At most.
        waiting_max: usize,
    },
    /// The sandbox has shut down.
    #[error("the sandbox has shut down")]
    Stopped,
}

/// Why a transaction was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TxRefusal {
    /// Not the bytes of a transaction.
    #[error("it cannot be decoded")]
    Malformed,
    /// A kind that this chain does not run (blobs, delegations).
    #[error("transactions of type {kind} are not supported")]
    Unsupported {
        /// The EIP-2718 type.
        kind: u8,
    },
    /// Signed without a chain id, so that it could be replayed elsewhere.
    #[error("only replay-protected transactions are taken")]
    Unprotected,
    /// Signed for another chain.
    #[error("it is signed for the chain {given}, not {ours}")]
    OtherChain {
        /// As signed.
        given: u64,
        /// This chain.
        ours: u64,
    },
    /// No account could have made the signature.
    #[error("its signature is invalid")]
    BadSignature,
    /// It is in a block already.
    #[error("it is mined already")]
    Known,
    /// The EVM's own rules refuse it (nonce, funds, gas).
    #[error("{0}")]
    Invalid(InvalidTransaction),
}

/// What went wrong with the file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite failed.
    #[error("{0}")]
    Sqlite(#[source] rusqlite::Error),
    /// A block does not decode, or is not what its hash says.
    #[error("block {number} is damaged")]
    Damaged {
        /// Which block.
        number: u64,
    },
    /// An account's code is missing.
    #[error("the code {hash} is missing")]
    NoCode {
        /// Its hash.
        hash: B256,
    },
    /// The EVM failed on a transaction that is neither valid nor invalid.
    #[error("the EVM failed")]
    Evm,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl revm::database_interface::DBErrorMarker for StoreError {}

impl From<StoreError> for SandboxError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl Fault for SandboxError {
    fn code(&self) -> &'static str {
        match self {
            Self::OtherChain { .. } => "sandbox.other_chain",
            Self::OtherGenesis { .. } => "sandbox.other_genesis",
            Self::OtherFormat { .. } => "sandbox.other_format",
            Self::InUse => "sandbox.in_use",
            Self::Store(_) => "sandbox.store",
            Self::Refused(_) => "sandbox.refused",
            Self::Reverted { .. } => "sandbox.reverted",
            Self::Halted { .. } => "sandbox.halted",
            Self::NoBlock { .. } => "sandbox.no_block",
            Self::FinalBlock { .. } => "sandbox.final_block",
            Self::RangeTooWide { .. } => "sandbox.range_too_wide",
            Self::TooManyLogs { .. } => "sandbox.too_many_logs",
            Self::FaucetRefused { .. } => "sandbox.faucet_refused",
            Self::Busy { .. } => "sandbox.busy",
            Self::Stopped => "sandbox.stopped",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::OtherChain { .. }
            | Self::OtherGenesis { .. }
            | Self::OtherFormat { .. }
            | Self::Refused(_)
            | Self::Reverted { .. }
            | Self::Halted { .. }
            | Self::NoBlock { .. }
            | Self::FinalBlock { .. }
            | Self::RangeTooWide { .. }
            | Self::TooManyLogs { .. }
            | Self::FaucetRefused { .. } => Class::Final,
            Self::InUse | Self::Busy { .. } => Class::Later,
            // The block may have reached the disk although its sync failed.
            Self::Store(_) | Self::Stopped => Class::InDoubt,
        }
    }
}
