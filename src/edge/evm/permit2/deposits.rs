//! Deposits that Permit2 brought: the calls of the contract that holds channels in what was sent, held
//! against its own events, one for one. An event names the channel and the amount, so that each has to fit
//! its call.

use std::collections::BTreeSet;

use alloy::primitives::{Address, Bytes, U256};
use alloy::rpc::types::TransactionReceipt;
use alloy::sol_types::{SolCall, SolValue};

use crate::domain::asset::Network;
use crate::domain::x402::batch::typed::{
    BATCH_SETTLEMENT, ChannelConfig, PERMIT2_COLLECTOR, channel_id,
};

use super::super::abi;
use super::super::contracts::{self, BatchSettlement};
use super::super::read::decode;
use super::Spent;

/// What a receipt says that came into channels, by whichever collector.
pub(super) fn deposited(
    receipt: &TransactionReceipt,
) -> impl Iterator<Item = BatchSettlement::Deposited> {
    let logs = receipt.logs().iter().map(|log| &log.inner);
    logs.filter(|log| log.address == BATCH_SETTLEMENT).filter_map(decode)
}

/// What came in by Permit2 in a transaction; nothing where its deposits are not those that were asked.
pub(super) fn filled(receipt: &TransactionReceipt, input: &Bytes, network: Network) -> Vec<Spent> {
    let told: Vec<_> = deposited(receipt).collect();
    if told.is_empty() || !receipt.status() {
        return Vec::new();
    }
    let asked = asked_in(input);
    let is_told = |(call, event): (&BatchSettlement::depositCall, &BatchSettlement::Deposited)| {
        let channel = channel_id(&ChannelConfig::from(&call.config), network);
        (channel, call.amount) == (event.channelId, event.amount)
    };
    if asked.len() != told.len() || !asked.iter().zip(&told).all(is_told) {
        return Vec::new();
    }
    let mut taken = BTreeSet::new();
    let ours = asked.iter().filter(|call| call.collector == PERMIT2_COLLECTOR);
    ours.filter_map(|call| spent(receipt, call, &mut taken)).collect()
}

fn asked_in(input: &Bytes) -> Vec<BatchSettlement::depositCall> {
    let at = |start| {
        let rest: &[u8] = input.get(start..)?;
        let is_it = rest.starts_with(&BatchSettlement::depositCall::SELECTOR);
        is_it.then(|| BatchSettlement::depositCall::abi_decode(rest).ok())?
    };
    (0..input.len()).filter_map(at).collect()
}

/// The nonce that a deposit used, and its own transfer: each is one deposit's.
fn spent(
    receipt: &TransactionReceipt,
    call: &BatchSettlement::depositCall,
    taken: &mut BTreeSet<usize>,
) -> Option<Spent> {
    let contracts::ChannelConfig { payer, token, .. } = call.config;
    let (nonce, ..) = <(U256, U256, Bytes, Bytes)>::abi_decode_params(&call.collectorData).ok()?;
    let moved = receipt.logs().iter().enumerate().find_map(|(place, log)| {
        let is_free = log.address() == token && !taken.contains(&place);
        let moved = is_free.then(|| decode::<abi::Transfer>(&log.inner))??;
        let fits = (moved.from, moved.to) == (payer, BATCH_SETTLEMENT)
            && moved.value == U256::from(call.amount);
        fits.then_some((place, moved.value))
    });
    taken.extend(moved.map(|(place, _)| place));
    let to: Address = BATCH_SETTLEMENT;
    Some(Spent { owner: payer, token, nonce: nonce.into(), to, moved })
}
