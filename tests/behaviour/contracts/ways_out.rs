//! The ways out of a channel: a refund where the receiver agrees, a withdrawal after the delay where it
//! does not. Neither gives back what was claimed.

use alloy::primitives::U256;
use alloy::sol_types::SolCall;
use bursar::domain::x402::batch::typed::{BATCH_SETTLEMENT, ChannelConfig, Refund};
use bursar::edge::evm::contracts::BatchSettlement;

use super::claims::signed_claim;
use super::scene::{DELAY_S, Scene, events, name, row, sign_batch, told_just};
use crate::chain::{Chain, FUNDS, gas, payee, payer, stranger};
use crate::evm::on_both_chains;

on_both_chains!(
    a_refund_gives_back_what_was_not_claimed_and_no_more,
    a_signed_refund_is_good_once,
    a_refund_of_nothing_uses_its_nonce_all_the_same,
    a_withdrawal_waits_out_the_delay,
    what_is_claimed_during_the_delay_is_not_withdrawn,
    a_withdrawal_is_the_payers_and_for_what_is_there,
    a_refund_shortens_a_withdrawal_and_never_its_delay,
    e20_a_channel_that_was_emptied_opens_again,
    claim_and_refund_go_together_or_not_at_all,
);

fn refund(config: &ChannelConfig, amount: u128) -> BatchSettlement::refundCall {
    BatchSettlement::refundCall { config: config.into(), amount }
}

fn signed_refund(
    config: &ChannelConfig,
    amount: u128,
    nonce: u64,
) -> BatchSettlement::refundWithSignatureCall {
    let nonce = U256::from(nonce);
    let content = Refund { channelId: name(config), nonce, amount };
    BatchSettlement::refundWithSignatureCall {
        config: config.into(),
        amount,
        nonce,
        receiverAuthorizerSignature: sign_batch(&gas(), &content),
    }
}

fn initiate(config: &ChannelConfig, amount: u128) -> BatchSettlement::initiateWithdrawCall {
    BatchSettlement::initiateWithdrawCall { config: config.into(), amount }
}

fn finalize(config: &ChannelConfig) -> BatchSettlement::finalizeWithdrawCall {
    BatchSettlement::finalizeWithdrawCall { config: config.into() }
}

async fn claim(scene: &Scene<'_>, config: &ChannelConfig, total: u128) {
    let call = signed_claim(&[(config, row(config, &stranger(), total, total))]);
    scene.send(&gas(), BATCH_SETTLEMENT, call).await;
}

async fn payers_money(scene: &Scene<'_>) -> u128 {
    scene.balance(scene.token(), payer().address()).await
}

async fn next_nonce(scene: &Scene<'_>, config: &ChannelConfig) -> U256 {
    let call = BatchSettlement::refundNonceCall { channelId: name(config) };
    scene.read(BATCH_SETTLEMENT, call).await
}

async fn a_refund_gives_back_what_was_not_claimed_and_no_more(chain: &Chain) {
    let scene = Scene::on(chain);
    let config = scene.open(1, 1_000).await;
    claim(&scene, &config, 100).await;
    for other in [stranger().address(), payer().address()] {
        let refused = BatchSettlement::NotAuthorizedToRefund {};
        scene.refused(other, BATCH_SETTLEMENT, refund(&config, 1), refused).await;
    }
    let none = BatchSettlement::ZeroRefund {};
    scene.refused(payee(), BATCH_SETTLEMENT, refund(&config, 0), none).await;

    let told = scene.send(&gas(), BATCH_SETTLEMENT, refund(&config, 300)).await;
    let given = BatchSettlement::Refunded {
        channelId: name(&config),
        sender: gas().address(),
        amount: 300,
    };
    told_just(&told, BATCH_SETTLEMENT, given);
    assert_eq!(scene.state(&config).await, (700, 100));
    assert_eq!(payers_money(&scene).await, FUNDS - 700);
    // More than is there is all that is there; the claimed part stays the receiver's.
    let told = scene.send(&gas(), BATCH_SETTLEMENT, refund(&config, u128::MAX)).await;
    let given: Vec<BatchSettlement::Refunded> = events(&told, BATCH_SETTLEMENT);
    assert_eq!(given[0].amount, 600);
    assert!(events::<BatchSettlement::ChannelClosed>(&told, BATCH_SETTLEMENT).is_empty());
    assert_eq!(scene.state(&config).await, (100, 100));
    assert_eq!(scene.balance(scene.token(), BATCH_SETTLEMENT).await, 100);
    // A voucher above it is worth nothing any more.
    let late = signed_claim(&[(&config, row(&config, &stranger(), 101, 101))]);
    let refused = BatchSettlement::ClaimExceedsBalance {};
    scene.refused(gas().address(), BATCH_SETTLEMENT, late, refused).await;
}

async fn a_signed_refund_is_good_once(chain: &Chain) {
    let scene = Scene::on(chain);
    let config = scene.open(1, 1_000).await;
    let anyone = stranger().address();
    let call = signed_refund(&config, 250, 0);
    let digest = BatchSettlement::getRefundDigestCall {
        channelId: name(&config),
        nonce: U256::ZERO,
        amount: 250,
    };
    let told = scene.read(BATCH_SETTLEMENT, digest).await;
    let signature =
        alloy::primitives::Signature::from_raw(&call.receiverAuthorizerSignature).unwrap();
    assert_eq!(signature.recover_address_from_prehash(&told).unwrap(), gas().address());

    let nonce = || BatchSettlement::InvalidRefundNonce {};
    scene.refused(anyone, BATCH_SETTLEMENT, signed_refund(&config, 250, 1), nonce()).await;
    let mut more = call.clone();
    more.amount = 251;
    let wrong = BatchSettlement::InvalidSignature {};
    scene.refused(anyone, BATCH_SETTLEMENT, more, wrong).await;
    scene.send(&stranger(), BATCH_SETTLEMENT, call.clone()).await;
    assert_eq!(scene.state(&config).await, (750, 0));
    scene.refused(anyone, BATCH_SETTLEMENT, call, nonce()).await;
    // A refund without a signature uses up the nonce too.
    let queued = signed_refund(&config, 250, 1);
    scene.send(&gas(), BATCH_SETTLEMENT, refund(&config, 1)).await;
    scene.refused(anyone, BATCH_SETTLEMENT, queued, nonce()).await;
    assert_eq!(next_nonce(&scene, &config).await, U256::from(2));
    let none = BatchSettlement::ZeroRefund {};
    scene.refused(anyone, BATCH_SETTLEMENT, signed_refund(&config, 0, 2), none).await;
}

async fn a_refund_of_nothing_uses_its_nonce_all_the_same(chain: &Chain) {
    let scene = Scene::on(chain);
    let config = scene.open(1, 500).await;
    claim(&scene, &config, 500).await;
    let call = signed_refund(&config, 500, 0);
    let told = scene.send(&stranger(), BATCH_SETTLEMENT, call.clone()).await;
    assert!(told.logs().is_empty());
    assert_eq!(next_nonce(&scene, &config).await, U256::from(1));
    // Else the next deposit could be given back by the old word.
    scene.send(&gas(), BATCH_SETTLEMENT, scene.deposit(&config, 500, 2)).await;
    let used = BatchSettlement::InvalidRefundNonce {};
    scene.refused(stranger().address(), BATCH_SETTLEMENT, call, used).await;
}

async fn a_withdrawal_waits_out_the_delay(chain: &Chain) {
    let scene = Scene::on(chain);
    let config = scene.open(1, 1_000).await;
    let told = scene.send(&stranger(), BATCH_SETTLEMENT, initiate(&config, 1_000)).await;
    let (amount, since) = scene.pending(&config).await;
    assert_eq!(amount, 1_000);
    let asked: Vec<BatchSettlement::WithdrawInitiated> = events(&told, BATCH_SETTLEMENT);
    assert_eq!((asked[0].channelId, asked[0].amount), (name(&config), 1_000));
    assert_eq!(asked[0].finalizeAfter.to::<u64>(), since + DELAY_S);

    chain.pass(DELAY_S - 100).await;
    let early = BatchSettlement::WithdrawDelayNotElapsed {};
    scene.refused(stranger().address(), BATCH_SETTLEMENT, finalize(&config), early).await;
    chain.pass(160).await;
    let told = scene.send(&stranger(), BATCH_SETTLEMENT, finalize(&config)).await;
    let taken = BatchSettlement::WithdrawFinalized {
        channelId: name(&config),
        sender: stranger().address(),
        amount: 1_000,
    };
    told_just(&told, BATCH_SETTLEMENT, taken);
    assert_eq!(events::<BatchSettlement::ChannelClosed>(&told, BATCH_SETTLEMENT).len(), 1);
    // To the payer, though its authorizer called.
    assert_eq!(payers_money(&scene).await, FUNDS);
    assert_eq!((scene.state(&config).await, scene.pending(&config).await), ((0, 0), (0, 0)));
    let none = BatchSettlement::WithdrawalNotPending {};
    scene.refused(stranger().address(), BATCH_SETTLEMENT, finalize(&config), none).await;
}

async fn what_is_claimed_during_the_delay_is_not_withdrawn(chain: &Chain) {
    let scene = Scene::on(chain);
    let (some, all) = (scene.open(1, 1_000).await, scene.open(2, 1_000).await);
    for config in [&some, &all] {
        scene.send(&stranger(), BATCH_SETTLEMENT, initiate(config, 1_000)).await;
    }
    claim(&scene, &some, 400).await;
    claim(&scene, &all, 1_000).await;
    chain.pass(DELAY_S + 60).await;
    for (config, left, claimed) in [(&some, 600, 400), (&all, 0, 1_000)] {
        let told = scene.send(&stranger(), BATCH_SETTLEMENT, finalize(config)).await;
        let taken: Vec<BatchSettlement::WithdrawFinalized> = events(&told, BATCH_SETTLEMENT);
        assert_eq!(taken[0].amount, left);
        assert!(events::<BatchSettlement::ChannelClosed>(&told, BATCH_SETTLEMENT).is_empty());
        assert_eq!(scene.state(config).await, (claimed, claimed));
        assert_eq!(scene.pending(config).await, (0, 0));
    }
    assert_eq!(payers_money(&scene).await, FUNDS - 1_400);
    let settle = BatchSettlement::settleCall { receiver: payee(), token: scene.token() };
    scene.send(&stranger(), BATCH_SETTLEMENT, settle).await;
    assert_eq!(scene.balance(scene.token(), payee()).await, 1_400);
    assert_eq!(scene.balance(scene.token(), BATCH_SETTLEMENT).await, 0);
}

async fn a_withdrawal_is_the_payers_and_for_what_is_there(chain: &Chain) {
    let scene = Scene::on(chain);
    let config = scene.open(1, 1_000).await;
    claim(&scene, &config, 100).await;
    let (owner, key) = (payer().address(), stranger().address());
    for other in [gas().address(), payee()] {
        let refused = BatchSettlement::InvalidChannel {};
        scene.refused(other, BATCH_SETTLEMENT, initiate(&config, 1), refused).await;
        let refused = BatchSettlement::NotAuthorizedToFinalizeWithdraw {};
        scene.refused(other, BATCH_SETTLEMENT, finalize(&config), refused).await;
    }
    let none = BatchSettlement::NothingToWithdraw {};
    scene.refused(key, BATCH_SETTLEMENT, initiate(&config, 0), none).await;
    let much = || BatchSettlement::WithdrawAmountExceedsAvailable {};
    scene.refused(key, BATCH_SETTLEMENT, initiate(&config, 901), much()).await;
    // Nobody can start the clock of a channel before there is money in it.
    scene.refused(key, BATCH_SETTLEMENT, initiate(&scene.channel(9), 1), much()).await;
    let none = BatchSettlement::WithdrawalNotPending {};
    scene.refused(owner, BATCH_SETTLEMENT, finalize(&config), none).await;

    assert!(scene.ask(owner, BATCH_SETTLEMENT, &initiate(&config, 900)).await.is_ok());
    scene.send(&stranger(), BATCH_SETTLEMENT, initiate(&config, 900)).await;
    let twice = BatchSettlement::WithdrawalAlreadyPending {};
    scene.refused(owner, BATCH_SETTLEMENT, initiate(&config, 1), twice).await;
    // A new deposit neither stops it nor joins it.
    scene.send(&gas(), BATCH_SETTLEMENT, scene.deposit(&config, 500, 2)).await;
    assert_eq!(scene.pending(&config).await.0, 900);
    chain.pass(DELAY_S + 60).await;
    scene.send(&stranger(), BATCH_SETTLEMENT, finalize(&config)).await;
    assert_eq!(scene.state(&config).await, (600, 100));
}

async fn a_refund_shortens_a_withdrawal_and_never_its_delay(chain: &Chain) {
    let scene = Scene::on(chain);
    let config = scene.open(1, 1_000).await;
    scene.send(&stranger(), BATCH_SETTLEMENT, initiate(&config, 800)).await;
    let (_, since) = scene.pending(&config).await;
    scene.send(&gas(), BATCH_SETTLEMENT, refund(&config, 1)).await;
    assert_eq!(scene.pending(&config).await, (799, since));
    chain.pass(DELAY_S + 60).await;
    scene.send(&stranger(), BATCH_SETTLEMENT, finalize(&config)).await;
    assert_eq!(scene.state(&config).await, (200, 0));

    scene.send(&stranger(), BATCH_SETTLEMENT, initiate(&config, 150)).await;
    scene.send(&gas(), BATCH_SETTLEMENT, refund(&config, 150)).await;
    assert_eq!(scene.pending(&config).await, (0, 0));
    assert_eq!(scene.state(&config).await, (50, 0));
    let none = BatchSettlement::WithdrawalNotPending {};
    scene.refused(payer().address(), BATCH_SETTLEMENT, finalize(&config), none).await;
}

async fn e20_a_channel_that_was_emptied_opens_again(chain: &Chain) {
    let scene = Scene::on(chain);
    let config = scene.open(1, 1_000).await;
    let told = scene.send(&gas(), BATCH_SETTLEMENT, refund(&config, 1_000)).await;
    let closed: Vec<BatchSettlement::ChannelClosed> = events(&told, BATCH_SETTLEMENT);
    assert_eq!((closed.len(), closed[0].channelId), (1, name(&config)));
    assert_eq!(scene.balance(scene.token(), BATCH_SETTLEMENT).await, 0);
    let told = scene.send(&gas(), BATCH_SETTLEMENT, scene.deposit(&config, 10, 1)).await;
    assert_eq!(events::<BatchSettlement::ChannelCreated>(&told, BATCH_SETTLEMENT).len(), 1);
    // The nonce goes on: what was signed for the first life is not good for the second.
    let used = BatchSettlement::InvalidRefundNonce {};
    let old = signed_refund(&config, 10, 0);
    scene.refused(stranger().address(), BATCH_SETTLEMENT, old, used).await;
}

async fn claim_and_refund_go_together_or_not_at_all(chain: &Chain) {
    let scene = Scene::on(chain);
    let config = scene.open(1, 1_000).await;
    let both = |refunded| BatchSettlement::multicallCall {
        data: vec![
            signed_claim(&[(&config, row(&config, &stranger(), 300, 300))]).abi_encode().into(),
            signed_refund(&config, refunded, 0).abi_encode().into(),
        ],
    };
    let none = BatchSettlement::ZeroRefund {};
    scene.refused(stranger().address(), BATCH_SETTLEMENT, both(0), none).await;
    assert_eq!(scene.state(&config).await, (1_000, 0));
    scene.send(&stranger(), BATCH_SETTLEMENT, both(700)).await;
    assert_eq!(scene.state(&config).await, (300, 300));
    assert_eq!(payers_money(&scene).await, FUNDS - 300);
    // Whoever calls through it is still whoever it was.
    let data = vec![refund(&config, 1).abi_encode().into()];
    let refused = BatchSettlement::NotAuthorizedToRefund {};
    let through = BatchSettlement::multicallCall { data };
    scene.refused(stranger().address(), BATCH_SETTLEMENT, through, refused).await;
}
