//! Runs one transaction or one call in the EVM, and says what came of it in our words.

use std::sync::Arc;

use alloy::primitives::{Address, Bytes, TxKind};
use alloy::rpc::types::TransactionRequest;
use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction};
use revm::context::{BlockEnv, CfgEnv, Context, TxEnv};
use revm::primitives::hardfork::SpecId;
use revm::{Database, ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainContext, MainnetEvm};

use super::block::GAS_MAX;
use super::error::{SandboxError, StoreError, TxRefusal};
use super::state::View;

/// The EVM over a view of the state.
pub(super) type Evm<'a> = MainnetEvm<revm::handler::MainnetContext<View<'a>>>;

/// How an attempt to run a transaction can fail without a result.
pub(super) enum Failure {
    /// The rules of the chain refuse the transaction; the state is unchanged.
    Refused(InvalidTransaction),
    /// The file failed, or the EVM did.
    Broken(StoreError),
}

impl From<Failure> for SandboxError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(reason) => Self::Refused(TxRefusal::Invalid(reason)),
            Failure::Broken(error) => Self::Store(Arc::new(error)),
        }
    }
}

impl From<EVMError<StoreError>> for Failure {
    fn from(error: EVMError<StoreError>) -> Self {
        match error {
            EVMError::Transaction(reason) => Self::Refused(reason),
            EVMError::Database(error) => Self::Broken(error),
            EVMError::Header(_) | EVMError::Custom(_) | EVMError::CustomAny(_) => {
                Self::Broken(StoreError::Evm)
            }
        }
    }
}

pub(super) fn evm(view: View<'_>, block: BlockEnv, chain_id: u64) -> Evm<'_> {
    let mut rules = CfgEnv::new_with_spec(SpecId::CANCUN);
    rules.chain_id = chain_id;
    Context::mainnet().with_db(view).with_block(block).with_cfg(rules).build_mainnet()
}

/// Runs a transaction and keeps what it changed in the view.
pub(super) fn run(evm: &mut Evm<'_>, transaction: TxEnv) -> Result<ExecutionResult, Failure> {
    Ok(evm.transact_commit(transaction)?)
}

/// Runs a call and forgets what it changed.
pub(super) fn try_out(evm: &mut Evm<'_>, call: TxEnv) -> Result<ExecutionResult, Failure> {
    Ok(evm.transact(call)?.result)
}

/// What a call asks for, with the gaps filled: any sender may be named, and gas is free, so `evm`
/// must have been made for a block whose gas costs nothing.
pub(super) fn fill_call(
    evm: &mut Evm<'_>,
    request: TransactionRequest,
    chain_id: u64,
) -> Result<TxEnv, StoreError> {
    let caller = request.from.unwrap_or(Address::ZERO);
    let nonce = evm.ctx.journaled_state.database.basic(caller)?.map_or(0, |info| info.nonce);
    Ok(TxEnv {
        caller,
        gas_limit: request.gas.unwrap_or(GAS_MAX).min(GAS_MAX),
        kind: request.to.unwrap_or(TxKind::Create),
        value: request.value.unwrap_or_default(),
        data: request.input.into_input().unwrap_or_default(),
        nonce,
        chain_id: Some(chain_id),
        tx_type: u8::from(request.access_list.is_some()),
        access_list: request.access_list.unwrap_or_default(),
        ..TxEnv::default()
    })
}

/// The output of a call that succeeded.
pub(super) fn output(result: ExecutionResult) -> Result<Bytes, SandboxError> {
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(SandboxError::Reverted { output }),
        ExecutionResult::Halt { reason, .. } => Err(SandboxError::Halted { reason }),
    }
}
