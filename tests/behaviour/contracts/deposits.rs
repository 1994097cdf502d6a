//! Deposits: the payer's signed word brings just so much into just that channel, once.

use alloy::primitives::{Address, B256, U256};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{Eip712Domain, eip712_domain};
use bursar::domain::asset::Network;
use bursar::domain::x402::batch::funding::{
    DepositWitness, PermitWitnessTransferFrom, TokenPermissions,
};
use bursar::domain::x402::batch::typed::{
    BATCH_SETTLEMENT, ChannelConfig, ERC3009_COLLECTOR, PERMIT2_COLLECTOR,
};
use bursar::domain::x402::permit2::{PERMIT2, permit2_domain};
use bursar::edge::evm::contracts::{
    BatchSettlement, Collector, EIP2612Permit, ExactProxy, Permit2, permit2_collector_data,
};

use super::scene::{Erc20, SILENT, Scene, events, init, name, sign, told_just};
use crate::chain::{Chain, FUNDS, gas, payer, stranger};
use crate::evm::on_both_chains;

on_both_chains!(
    a_deposit_by_eip_3009_opens_a_channel_and_the_next_one_adds,
    a_deposit_by_permit2_needs_no_eip_3009,
    a_deposit_by_permit2_may_bring_its_own_permit,
    a_deposit_is_for_one_channel_and_for_one_amount,
    only_the_settlement_may_collect,
    a_channel_that_makes_no_sense_is_not_opened,
    c12_money_that_did_not_come_is_not_counted,
    a_channel_holds_no_more_than_it_can_count,
);

async fn a_deposit_by_eip_3009_opens_a_channel_and_the_next_one_adds(chain: &Chain) {
    let scene = Scene::on(chain);
    let config = scene.channel(1);
    let first = scene.deposit(&config, 700, 1);
    let told = scene.send(&stranger(), BATCH_SETTLEMENT, first.clone()).await;
    let opened: Vec<BatchSettlement::ChannelCreated> = events(&told, BATCH_SETTLEMENT);
    assert_eq!(opened.len(), 1);
    assert_eq!((opened[0].channelId, &opened[0].config), (name(&config), &(&config).into()));
    let added = BatchSettlement::Deposited {
        channelId: name(&config),
        sender: stranger().address(),
        amount: 700,
        newBalance: 700,
    };
    told_just(&told, BATCH_SETTLEMENT, added);

    let told = scene.send(&gas(), BATCH_SETTLEMENT, scene.deposit(&config, 300, 2)).await;
    assert!(events::<BatchSettlement::ChannelCreated>(&told, BATCH_SETTLEMENT).is_empty());
    assert_eq!(scene.state(&config).await, (1_000, 0));
    assert_eq!(scene.balance(scene.token(), BATCH_SETTLEMENT).await, 1_000);
    assert_eq!(scene.balance(scene.token(), ERC3009_COLLECTOR).await, 0);
    assert_eq!(scene.balance(scene.token(), payer().address()).await, FUNDS - 1_000);

    let again = "FiatTokenV2: authorization is used or canceled";
    scene.refused_saying(stranger().address(), BATCH_SETTLEMENT, first, again).await;
}

/// A deposit by the payer's word to Permit2.
async fn by_permit2(
    scene: &Scene<'_>,
    (payer, config): (&PrivateKeySigner, &ChannelConfig),
    amount: u128,
    nonce: u64,
    sponsored: Option<&EIP2612Permit>,
) -> BatchSettlement::depositCall {
    let (nonce, deadline) = (U256::from(nonce), U256::from(scene.now().await + 600));
    let content = PermitWitnessTransferFrom {
        permitted: TokenPermissions { token: config.token, amount: U256::from(amount) },
        spender: PERMIT2_COLLECTOR,
        nonce,
        deadline,
        witness: DepositWitness { channelId: name(config) },
    };
    let signature = sign(payer, &content, &permit2_domain(Network::SANDBOX));
    BatchSettlement::depositCall {
        config: config.into(),
        amount,
        collector: PERMIT2_COLLECTOR,
        collectorData: permit2_collector_data(nonce, deadline, &signature, sponsored),
    }
}

/// A channel whose payer is the stranger, in another token.
fn stranger_channel(scene: &Scene<'_>, token: Address) -> ChannelConfig {
    ChannelConfig { payer: stranger().address(), token, ..scene.channel(1) }
}

async fn a_deposit_by_permit2_needs_no_eip_3009(chain: &Chain) {
    let scene = Scene::on(chain);
    let token = scene.deploy_token("PlainToken", U256::from(5_000)).await;
    let approve = Erc20::approveCall { spender: PERMIT2, value: U256::from(5_000) };
    scene.send(&stranger(), token, approve).await;
    let config = stranger_channel(&scene, token);
    let call = by_permit2(&scene, (&stranger(), &config), 800, 1, None).await;
    scene.send(&gas(), BATCH_SETTLEMENT, call.clone()).await;
    assert_eq!(scene.state(&config).await, (800, 0));
    assert_eq!(scene.balance(token, BATCH_SETTLEMENT).await, 800);
    let used = Permit2::InvalidNonce {};
    scene.refused(gas().address(), BATCH_SETTLEMENT, call, used).await;

    let elsewhere = ChannelConfig { salt: B256::ZERO, ..stranger_channel(&scene, token) };
    let mut call = by_permit2(&scene, (&stranger(), &config), 800, 2, None).await;
    call.config = (&elsewhere).into();
    let wrong = Permit2::InvalidSigner {};
    scene.refused(gas().address(), BATCH_SETTLEMENT, call, wrong).await;
}

async fn a_deposit_by_permit2_may_bring_its_own_permit(chain: &Chain) {
    let scene = Scene::on(chain);
    let token = scene.deploy_token("PermitToken", U256::from(5_000)).await;
    let domain: Eip712Domain = eip712_domain! {
        name: "Permit Token", version: "1",
        chain_id: Network::SANDBOX.chain_id(), verifying_contract: token,
    };
    let config = stranger_channel(&scene, token);
    let payer = (&stranger(), &config);
    let deadline = scene.now().await + 600;
    let permit = scene.permit(token, &domain, &stranger(), U256::from(900), deadline).await;
    let without = by_permit2(&scene, payer, 900, 1, None).await;
    let from = gas().address();
    scene.refused_saying(from, BATCH_SETTLEMENT, without, "TRANSFER_FROM_FAILED").await;
    let other = by_permit2(&scene, payer, 899, 1, Some(&permit)).await;
    let mismatch = Collector::Permit2612AmountMismatch {};
    scene.refused(from, BATCH_SETTLEMENT, other, mismatch).await;

    let call = by_permit2(&scene, payer, 900, 1, Some(&permit)).await;
    scene.send(&gas(), BATCH_SETTLEMENT, call).await;
    assert_eq!(scene.state(&config).await, (900, 0));
    // The permit was used; where the allowance is there, it is not missed.
    let approve = Erc20::approveCall { spender: PERMIT2, value: U256::MAX };
    scene.send(&stranger(), token, approve).await;
    let call = by_permit2(&scene, payer, 900, 2, Some(&permit)).await;
    let told = scene.send(&gas(), BATCH_SETTLEMENT, call).await;
    let failed: Vec<ExactProxy::EIP2612PermitFailedWithData> = events(&told, PERMIT2_COLLECTOR);
    assert_eq!((failed.len(), failed[0].owner), (1, stranger().address()));
    assert_eq!(scene.state(&config).await, (1_800, 0));
}

async fn a_deposit_is_for_one_channel_and_for_one_amount(chain: &Chain) {
    let scene = Scene::on(chain);
    let config = scene.channel(1);
    let changes: [fn(&mut BatchSettlement::depositCall); 5] = [
        |call| call.amount += 1,
        |call| call.config.salt = B256::ZERO,
        |call| call.config.receiver = stranger().address(),
        |call| call.config.payerAuthorizer = gas().address(),
        |call| call.config.payer = stranger().address(),
    ];
    for change in changes {
        let mut call = scene.deposit(&config, 700, 1);
        change(&mut call);
        let words = "FiatTokenV2: invalid signature";
        scene.refused_saying(stranger().address(), BATCH_SETTLEMENT, call, words).await;
    }
}

async fn only_the_settlement_may_collect(chain: &Chain) {
    let scene = Scene::on(chain);
    let config = scene.channel(1);
    let deposit = scene.deposit(&config, 700, 1);
    for collector in [ERC3009_COLLECTOR, PERMIT2_COLLECTOR] {
        let call = Collector::collectCall {
            payer: config.payer,
            token: config.token,
            amount: U256::from(700),
            channelId: name(&config),
            collectorData: deposit.collectorData.clone(),
        };
        let refused = Collector::OnlyX402BatchSettlement {};
        scene.refused(stranger().address(), collector, call, refused).await;
        let home = scene.read(collector, Collector::x402BatchSettlementCall {}).await;
        assert_eq!(home, BATCH_SETTLEMENT);
    }
}

async fn a_channel_that_makes_no_sense_is_not_opened(chain: &Chain) {
    let scene = Scene::on(chain);
    let from = gas().address();
    let none = BatchSettlement::ZeroDeposit {};
    scene.refused(from, BATCH_SETTLEMENT, scene.deposit(&scene.channel(1), 0, 1), none).await;
    let mut call = scene.deposit(&scene.channel(1), 1, 1);
    call.collector = Address::ZERO;
    scene.refused(from, BATCH_SETTLEMENT, call, BatchSettlement::InvalidCollector {}).await;
    let changes: [fn(&mut ChannelConfig); 4] = [
        |config| config.payer = Address::ZERO,
        |config| config.receiver = Address::ZERO,
        |config| config.receiverAuthorizer = Address::ZERO,
        |config| config.token = Address::ZERO,
    ];
    for change in changes {
        let mut config = scene.channel(1);
        change(&mut config);
        let call = scene.deposit(&config, 1, 1);
        scene.refused(from, BATCH_SETTLEMENT, call, BatchSettlement::InvalidChannel {}).await;
    }
    for (delay, fits) in [(899_u64, false), (900, true), (2_592_000, true), (2_592_001, false)] {
        let config = ChannelConfig { withdrawDelay: delay.try_into().unwrap(), ..scene.channel(1) };
        let call = scene.deposit(&config, 1, 1);
        if fits {
            assert!(scene.ask(from, BATCH_SETTLEMENT, &call).await.is_ok());
        } else {
            let refused = BatchSettlement::WithdrawDelayOutOfRange {};
            scene.refused(from, BATCH_SETTLEMENT, call, refused).await;
        }
    }
}

async fn c12_money_that_did_not_come_is_not_counted(chain: &Chain) {
    let scene = Scene::on(chain);
    let mut call = scene.deposit(&scene.channel(1), 700, 1);
    // Money of others is there already: it must not be taken for this deposit.
    scene.open(2, 5_000).await;
    call.collector = scene.deploy(init(&SILENT)).await;
    let refused = BatchSettlement::DepositCollectionFailed {};
    scene.refused(stranger().address(), BATCH_SETTLEMENT, call, refused).await;
    assert_eq!(scene.state(&scene.channel(1)).await, (0, 0));
}

async fn a_channel_holds_no_more_than_it_can_count(chain: &Chain) {
    let scene = Scene::on(chain);
    let token = scene.deploy_token("PermitToken", U256::MAX).await;
    let approve = Erc20::approveCall { spender: PERMIT2, value: U256::MAX };
    scene.send(&stranger(), token, approve).await;
    let config = stranger_channel(&scene, token);
    let call = by_permit2(&scene, (&stranger(), &config), u128::MAX, 1, None).await;
    scene.send(&gas(), BATCH_SETTLEMENT, call).await;
    let more = by_permit2(&scene, (&stranger(), &config), 1, 2, None).await;
    let full = BatchSettlement::DepositOverflow {};
    scene.refused(gas().address(), BATCH_SETTLEMENT, more, full).await;
    assert_eq!(scene.state(&config).await, (u128::MAX, 0));
}
