//! What it costs: the gas of each step, and of one inference paid by voucher.

use bursar::domain::x402::batch::typed::{BATCH_SETTLEMENT, ChannelConfig};
use bursar::edge::evm::contracts::BatchSettlement;

use super::claims::signed_claim;
use super::scene::{Scene, row};
use crate::chain::{Chain, gas, payee, stranger};
use crate::evm::on_both_chains;

on_both_chains!(an_inference_by_voucher_costs_less_than_50_gas);

/// Vouchers of one channel between two claims: the last stands for all.
const VOUCHERS: u64 = 1_000;
const CHANNELS: u64 = 50;

async fn an_inference_by_voucher_costs_less_than_50_gas(chain: &Chain) {
    let scene = Scene::on(chain);
    let mut configs: Vec<ChannelConfig> = Vec::new();
    let mut table = Vec::new();
    for salt in 1..=CHANNELS {
        let config = scene.channel(salt);
        let told = scene.send(&gas(), BATCH_SETTLEMENT, scene.deposit(&config, 10_000, 0)).await;
        table.push(("deposit by EIP-3009, new channel", told.gas_used));
        configs.push(config);
    }
    table.drain(..table.len() - 1);
    let told = scene.send(&gas(), BATCH_SETTLEMENT, scene.deposit(&configs[0], 1, 1)).await;
    table.push(("deposit by EIP-3009, more", told.gas_used));

    let claim = async |configs: &[ChannelConfig], total| {
        let rows = configs.iter().map(|it| (it, row(it, &stranger(), total, total)));
        let call = signed_claim(&rows.collect::<Vec<_>>());
        scene.send(&stranger(), BATCH_SETTLEMENT, call).await.gas_used
    };
    let settle = async || {
        let call = BatchSettlement::settleCall { receiver: payee(), token: scene.token() };
        scene.send(&stranger(), BATCH_SETTLEMENT, call).await.gas_used
    };
    table.push(("claim of 1 channel, first", claim(&configs[..1], 1_000).await));
    table.push(("claim of 1 channel, later", claim(&configs[..1], 2_000).await));
    table.push(("settle, first", settle().await));
    table.push(("claim of 50 channels, first", claim(&configs, 3_000).await));
    settle().await;
    let (claimed, settled) = (claim(&configs, 4_000).await, settle().await);
    table.push(("claim of 50 channels, later", claimed));
    table.push(("settle, later", settled));
    let each = (claimed + settled).div_ceil(VOUCHERS * CHANNELS);
    table.push(("one inference of 1,000 a channel, claimed and settled", each));
    for (what, gas) in table {
        eprintln!("{gas:>9} gas  {what}");
    }
    assert!(each < 50);
}
