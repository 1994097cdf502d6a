//! Puts the floors together into parts that run: a payer's node, a provider, a chain.
//!
//! Stands above every floor, beside the command, the agents and the tests, which all use it. It wires
//! and decides nothing; whoever starts a part owns it, and ends it by draining it.

mod chain;
mod facilitator;
mod payer;
mod provider;
mod purse;
mod till;
mod writer;

pub use chain::{
    RailPlan, SandboxChain, connect_rail, fund_over_rpc, reorganise_over_rpc, sandbox_assets,
    withdrawals,
};
pub use facilitator::{FacilitatorNode, FacilitatorPlan};
pub use payer::{NodePlan, PayerNode};
pub use provider::{PayTo, Provider, ProviderPlan};
pub use purse::{LocalPurse, PursePlan};
pub use till::{RouteTillPlan, Till, TillPlan};

use crate::domain::fault::{Class, Fault};
use crate::domain::ledger::Rejection;
use crate::edge::grpc::{ListenError, ServeError};
use crate::edge::sandbox::SandboxError;
use crate::ports::journal::JournalError;
use crate::ports::rail::RailError;
use crate::ports::settlements::SettlementsError;
use crate::runtime::operator::OperatorError;
use crate::runtime::treasury::Refused;

/// Why a part does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The journal cannot be read, or is somebody else's.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A rail does not answer, or is another than configured.
    #[error(transparent)]
    Rail(#[from] RailError),
    /// The sandbox does not start.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// An address is taken, or may not be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The file of what was settled cannot be opened.
    #[error(transparent)]
    Settlements(#[from] SettlementsError),
    /// The policy was refused.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The ledger refused what a start writes.
    #[error(transparent)]
    Ledger(#[from] Refused),
    /// The server does not serve.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The nonce secret is not the one that open payments were made with.
    #[error(
        "{open} payments are open that were made with another nonce secret: put the former secret back, \
         or wait with it until they are closed"
    )]
    LostSecret {
        /// How many.
        open: u64,
    },
    /// The system refuses.
    #[error("{what}: {problem}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// The system's words.
        problem: String,
    },
}

impl Fault for StartError {
    fn code(&self) -> &'static str {
        match self {
            Self::Journal(inner) => inner.code(),
            Self::Rail(inner) => inner.code(),
            Self::Sandbox(inner) => inner.code(),
            Self::Listen(inner) => inner.code(),
            Self::Settlements(inner) => inner.code(),
            Self::Operator(inner) => inner.code(),
            Self::Ledger(inner) => inner.code(),
            Self::Serve(inner) => inner.code(),
            Self::LostSecret { .. } => "node.lost_secret",
            Self::System { .. } => "node.system",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Rail(inner) => inner.class(),
            _ => Class::Final,
        }
    }
}

/// What a start writes may be there already: the same again changes nothing.
fn unless_unchanged<T>(executed: Result<T, Refused>) -> Result<(), Refused> {
    match executed {
        Ok(_) => Ok(()),
        Err(refused) if refused.rejection() == Some(&Rejection::Unchanged) => Ok(()),
        Err(refused) => Err(refused),
    }
}
