//! Raw bytes to a transaction with a known sender. Needs no state, so callers do it themselves and
//! the EVM's thread does not pay for the signature.

use alloy::consensus::transaction::SignerRecoverable;
use alloy::consensus::{Transaction, TxEnvelope, TxType, transaction::Recovered};
use alloy::eips::eip2718::{Decodable2718, Eip2718Error};
use alloy::primitives::TxKind;
use revm::context::TxEnv;

use super::error::TxRefusal;

/// Decodes `raw` and recovers who signed it.
///
/// Legacy transactions, access lists and EIP-1559 are taken; each must name `chain_id`.
pub(super) fn decode(raw: &[u8], chain_id: u64) -> Result<Recovered<TxEnvelope>, TxRefusal> {
    let mut rest = raw;
    let transaction = match TxEnvelope::decode_2718(&mut rest) {
        Ok(transaction) if rest.is_empty() => transaction,
        // Type 0 stands for bytes that begin like no transaction at all.
        Err(Eip2718Error::UnexpectedType(kind)) if kind > 0 => {
            return Err(TxRefusal::Unsupported { kind });
        }
        Ok(_) | Err(_) => return Err(TxRefusal::Malformed),
    };
    match transaction.tx_type() {
        TxType::Legacy | TxType::Eip2930 | TxType::Eip1559 => {}
        other => return Err(TxRefusal::Unsupported { kind: other.into() }),
    }
    match transaction.chain_id() {
        Some(given) if given == chain_id => {}
        Some(given) => return Err(TxRefusal::OtherChain { given, ours: chain_id }),
        None => return Err(TxRefusal::Unprotected),
    }
    transaction.try_into_recovered().map_err(|_| TxRefusal::BadSignature)
}

/// The transaction as the EVM runs it.
pub(super) fn environment(transaction: &Recovered<TxEnvelope>) -> TxEnv {
    TxEnv {
        tx_type: transaction.tx_type().into(),
        caller: transaction.signer(),
        gas_limit: transaction.gas_limit(),
        gas_price: transaction.max_fee_per_gas(),
        kind: transaction.to().map_or(TxKind::Create, TxKind::Call),
        value: transaction.value(),
        data: transaction.input().clone(),
        nonce: transaction.nonce(),
        chain_id: transaction.chain_id(),
        access_list: transaction.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: transaction.max_priority_fee_per_gas(),
        ..TxEnv::default()
    }
}
