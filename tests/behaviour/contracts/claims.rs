//! Claims and settlements: the receiver takes what the payer's vouchers allow, and no unit more.

use alloy::primitives::{Address, U256};
use bursar::domain::x402::batch::typed::{BATCH_SETTLEMENT, ChannelConfig, ClaimBatch, ClaimEntry};
use bursar::edge::evm::contracts::{BatchSettlement, VoucherClaim};

use super::scene::{
    AGREEABLE, REFUSING, SILENT, Scene, events, init, name, row, sign_batch, told_just,
};
use crate::chain::{Chain, gas, payee, payer, stranger};
use crate::evm::on_both_chains;

on_both_chains!(
    a_voucher_is_claimed_by_the_receivers_side_up_to_its_sum,
    one_word_claims_many_channels_and_anybody_may_bring_it,
    a_claim_that_comes_again_does_nothing,
    nobody_claims_more_than_was_signed_or_is_there,
    a_batch_is_claimed_as_it_was_signed_or_not_at_all,
    a_payer_without_an_authorizer_signs_itself,
    a_receiver_that_is_a_contract_signs_by_its_own_word,
    what_was_claimed_is_paid_once_and_from_all_channels,
);

fn claim(rows: &[VoucherClaim]) -> BatchSettlement::claimCall {
    BatchSettlement::claimCall { voucherClaims: rows.to_vec() }
}

/// The same rows, with the word of their authorizer.
pub fn signed_claim(
    rows: &[(&ChannelConfig, VoucherClaim)],
) -> BatchSettlement::claimWithSignatureCall {
    let entry = |(config, row): &(&ChannelConfig, VoucherClaim)| ClaimEntry {
        channelId: name(config),
        maxClaimableAmount: row.voucher.maxClaimableAmount,
        totalClaimed: row.totalClaimed,
    };
    let content = ClaimBatch { claims: rows.iter().map(entry).collect() };
    BatchSettlement::claimWithSignatureCall {
        voucherClaims: rows.iter().map(|(_, row)| row.clone()).collect(),
        authorizerSignature: sign_batch(&gas(), &content),
    }
}

async fn earned(scene: &Scene<'_>, receiver: Address) -> (u128, u128) {
    let call = BatchSettlement::receiversCall { receiver, token: scene.token() };
    let state = scene.read(BATCH_SETTLEMENT, call).await;
    (state.totalClaimed, state.totalSettled)
}

async fn a_voucher_is_claimed_by_the_receivers_side_up_to_its_sum(chain: &Chain) {
    let scene = Scene::on(chain);
    let config = scene.open(1, 1_000).await;
    let part = claim(&[row(&config, &stranger(), 500, 200)]);
    let told = scene.send(&gas(), BATCH_SETTLEMENT, part).await;
    let claimed = BatchSettlement::Claimed {
        channelId: name(&config),
        sender: gas().address(),
        claimAmount: 200,
        newTotalClaimed: 200,
    };
    told_just(&told, BATCH_SETTLEMENT, claimed);
    assert_eq!(scene.state(&config).await, (1_000, 200));
    // The rest of the same voucher, then a newer one.
    scene.send(&gas(), BATCH_SETTLEMENT, claim(&[row(&config, &stranger(), 500, 500)])).await;
    scene.send(&gas(), BATCH_SETTLEMENT, claim(&[row(&config, &stranger(), 1_000, 1_000)])).await;
    assert_eq!(scene.state(&config).await, (1_000, 1_000));
    assert_eq!(earned(&scene, payee()).await, (1_000, 0));

    let next = claim(&[row(&scene.open(2, 10).await, &stranger(), 10, 1)]);
    assert!(scene.ask(payee(), BATCH_SETTLEMENT, &next).await.is_ok());
    for other in [stranger().address(), payer().address()] {
        let refused = BatchSettlement::NotAuthorizedToClaim {};
        scene.refused(other, BATCH_SETTLEMENT, next.clone(), refused).await;
    }
}

async fn one_word_claims_many_channels_and_anybody_may_bring_it(chain: &Chain) {
    let scene = Scene::on(chain);
    let mut configs = Vec::new();
    for salt in 1..=5 {
        configs.push(scene.open(salt, 1_000).await);
    }
    let rows: Vec<_> = configs
        .iter()
        .zip(1_u128..)
        .map(|(config, n)| (config, row(config, &stranger(), 1_000, n * 10)))
        .collect();
    let call = signed_claim(&rows);
    let digest =
        BatchSettlement::getClaimBatchDigestCall { voucherClaims: call.voucherClaims.clone() };
    let told = scene.read(BATCH_SETTLEMENT, digest).await;
    let signature = alloy::primitives::Signature::from_raw(&call.authorizerSignature).unwrap();
    assert_eq!(signature.recover_address_from_prehash(&told).unwrap(), gas().address());

    let told = scene.send(&stranger(), BATCH_SETTLEMENT, call).await;
    assert_eq!(events::<BatchSettlement::Claimed>(&told, BATCH_SETTLEMENT).len(), 5);
    for (config, n) in configs.iter().zip(1_u128..) {
        assert_eq!(scene.state(config).await, (1_000, n * 10));
    }
    assert_eq!(earned(&scene, payee()).await, (150, 0));
}

async fn a_claim_that_comes_again_does_nothing(chain: &Chain) {
    let scene = Scene::on(chain);
    let (one, other) = (scene.open(1, 1_000).await, scene.open(2, 1_000).await);
    let old = row(&one, &stranger(), 300, 300);
    let call = signed_claim(&[(&one, old.clone())]);
    scene.send(&gas(), BATCH_SETTLEMENT, call.clone()).await;
    let told = scene.send(&stranger(), BATCH_SETTLEMENT, call).await;
    assert!(told.logs().is_empty());
    let less = row(&one, &stranger(), 300, 299);
    scene.send(&gas(), BATCH_SETTLEMENT, claim(&[less])).await;
    assert_eq!(scene.state(&one).await, (1_000, 300));
    assert_eq!(earned(&scene, payee()).await, (300, 0));
    // In a batch, an old voucher does not spoil a new one; the same row twice counts once.
    let new = row(&other, &stranger(), 70, 70);
    scene.send(&gas(), BATCH_SETTLEMENT, claim(&[old, new.clone(), new])).await;
    assert_eq!(earned(&scene, payee()).await, (370, 0));
}

async fn nobody_claims_more_than_was_signed_or_is_there(chain: &Chain) {
    let scene = Scene::on(chain);
    let config = scene.open(1, 1_000).await;
    let from = gas().address();
    let refused = async |row: VoucherClaim, reason: &[u8]| {
        let answer = scene.ask(from, BATCH_SETTLEMENT, &claim(&[row])).await;
        assert_eq!(answer.unwrap_err().as_ref(), reason);
    };
    use alloy::sol_types::SolError;
    let ceiling = BatchSettlement::ClaimExceedsCeiling {}.abi_encode();
    refused(row(&config, &stranger(), 500, 501), &ceiling).await;
    let balance = BatchSettlement::ClaimExceedsBalance {}.abi_encode();
    refused(row(&config, &stranger(), 2_000, 1_001), &balance).await;
    let never_opened = scene.channel(9);
    refused(row(&never_opened, &stranger(), 1, 1), &balance).await;
    let wrong = BatchSettlement::InvalidSignature {}.abi_encode();
    refused(row(&config, &gas(), 500, 500), &wrong).await;
    refused(row(&config, &payer(), 500, 500), &wrong).await;

    // Signed for less, or for another channel.
    let mut raised = row(&config, &stranger(), 500, 600);
    raised.voucher.maxClaimableAmount = 600;
    refused(raised, &wrong).await;
    let other = scene.open(2, 1_000).await;
    let mut moved = row(&config, &stranger(), 500, 500);
    moved.voucher.channel = (&other).into();
    refused(moved, &wrong).await;

    let mut short = row(&config, &stranger(), 500, 500);
    short.signature = vec![1, 2].into();
    let length = U256::from(2);
    let length = BatchSettlement::ECDSAInvalidSignatureLength { length }.abi_encode();
    refused(short, &length).await;
    let mut none = row(&config, &stranger(), 500, 500);
    none.signature = vec![0; 65].into();
    refused(none, &BatchSettlement::ECDSAInvalidSignature {}.abi_encode()).await;
    let mut high = row(&config, &stranger(), 500, 500);
    let mut twin = high.signature.to_vec();
    let order = U256::from_be_slice(&alloy::primitives::hex!(
        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
    ));
    let s = order - U256::from_be_slice(&twin[32..64]);
    twin[32..64].copy_from_slice(&s.to_be_bytes::<32>());
    twin[64] ^= 7;
    high.signature = twin.into();
    let high_s = BatchSettlement::ECDSAInvalidSignatureS { s: s.into() }.abi_encode();
    refused(high, &high_s).await;

    assert!(
        scene
            .ask(from, BATCH_SETTLEMENT, &claim(&[row(&config, &stranger(), 2_000, 1_000)]))
            .await
            .is_ok()
    );
}

async fn a_batch_is_claimed_as_it_was_signed_or_not_at_all(chain: &Chain) {
    let scene = Scene::on(chain);
    let (one, other) = (scene.open(1, 1_000).await, scene.open(2, 1_000).await);
    let rows =
        [(&one, row(&one, &stranger(), 500, 100)), (&other, row(&other, &stranger(), 500, 100))];
    let anyone = stranger().address();
    let wrong = || BatchSettlement::InvalidSignature {};
    let changes: [fn(&mut BatchSettlement::claimWithSignatureCall); 5] = [
        |call| {
            call.voucherClaims[1].totalClaimed = 500;
        },
        |call| call.voucherClaims.swap(0, 1),
        |call| drop(call.voucherClaims.pop()),
        |call| call.authorizerSignature = vec![0; 65].into(),
        |call| call.authorizerSignature = Default::default(),
    ];
    for change in changes {
        let mut call = signed_claim(&rows);
        change(&mut call);
        scene.refused(anyone, BATCH_SETTLEMENT, call, wrong()).await;
    }
    let mut call = signed_claim(&rows);
    call.voucherClaims[1].voucher.channel.receiverAuthorizer = stranger().address();
    let mixed = BatchSettlement::NotReceiverAuthorizer {};
    scene.refused(anyone, BATCH_SETTLEMENT, call, mixed).await;
    // One bad row, and none is claimed.
    let bad = [rows[0].clone(), (&other, row(&other, &gas(), 500, 100))];
    scene.refused(anyone, BATCH_SETTLEMENT, signed_claim(&bad), wrong()).await;

    let empty = || BatchSettlement::EmptyBatch {};
    scene.refused(gas().address(), BATCH_SETTLEMENT, claim(&[]), empty()).await;
    scene.refused(anyone, BATCH_SETTLEMENT, signed_claim(&[]), empty()).await;
    let mixed_receivers = [rows[0].1.clone(), {
        let mut theirs = scene.channel(3);
        theirs.receiver = stranger().address();
        theirs.receiverAuthorizer = stranger().address();
        row(&theirs, &stranger(), 1, 1)
    }];
    let refused = BatchSettlement::NotAuthorizedToClaim {};
    scene.refused(gas().address(), BATCH_SETTLEMENT, claim(&mixed_receivers), refused).await;
    assert_eq!((scene.state(&one).await.1, scene.state(&other).await.1), (0, 0));
}

async fn a_payer_without_an_authorizer_signs_itself(chain: &Chain) {
    let scene = Scene::on(chain);
    let config = ChannelConfig { payerAuthorizer: Address::ZERO, ..scene.channel(1) };
    scene.send(&gas(), BATCH_SETTLEMENT, scene.deposit(&config, 1_000, 0)).await;
    let wrong = || BatchSettlement::InvalidSignature {};
    let from = gas().address();
    let others = claim(&[row(&config, &stranger(), 100, 100)]);
    scene.refused(from, BATCH_SETTLEMENT, others, wrong()).await;
    let mut broken = row(&config, &payer(), 100, 100);
    broken.signature = vec![9; 64].into();
    scene.refused(from, BATCH_SETTLEMENT, claim(&[broken]), wrong()).await;
    scene.send(&gas(), BATCH_SETTLEMENT, claim(&[row(&config, &payer(), 100, 100)])).await;
    assert_eq!(scene.state(&config).await, (1_000, 100));
}

async fn a_receiver_that_is_a_contract_signs_by_its_own_word(chain: &Chain) {
    let scene = Scene::on(chain);
    let codes: [(&[u8], bool); 3] = [(&AGREEABLE, true), (&REFUSING, false), (&SILENT, false)];
    for (code, agrees) in codes {
        let receiver = scene.deploy(init(code)).await;
        let config = ChannelConfig { receiverAuthorizer: receiver, ..scene.channel(1) };
        scene.send(&gas(), BATCH_SETTLEMENT, scene.deposit(&config, 1_000, 0)).await;
        let mut call = signed_claim(&[(&config, row(&config, &stranger(), 100, 100))]);
        call.authorizerSignature = vec![1].into();
        if agrees {
            scene.send(&stranger(), BATCH_SETTLEMENT, call).await;
            assert_eq!(scene.state(&config).await, (1_000, 100));
        } else {
            let wrong = BatchSettlement::InvalidSignature {};
            scene.refused(stranger().address(), BATCH_SETTLEMENT, call, wrong).await;
        }
    }
}

async fn what_was_claimed_is_paid_once_and_from_all_channels(chain: &Chain) {
    let scene = Scene::on(chain);
    let (one, other) = (scene.open(1, 1_000).await, scene.open(2, 1_000).await);
    let settle = BatchSettlement::settleCall { receiver: payee(), token: scene.token() };
    let told = scene.send(&stranger(), BATCH_SETTLEMENT, settle.clone()).await;
    assert!(told.logs().is_empty());

    let rows = [row(&one, &stranger(), 300, 300), row(&other, &stranger(), 400, 400)];
    scene.send(&gas(), BATCH_SETTLEMENT, claim(&rows)).await;
    assert_eq!(scene.balance(scene.token(), payee()).await, 0);
    let told = scene.send(&stranger(), BATCH_SETTLEMENT, settle.clone()).await;
    let paid = BatchSettlement::Settled {
        receiver: payee(),
        token: scene.token(),
        sender: stranger().address(),
        amount: 700,
    };
    told_just(&told, BATCH_SETTLEMENT, paid);
    assert_eq!(scene.balance(scene.token(), payee()).await, 700);
    assert_eq!(earned(&scene, payee()).await, (700, 700));

    scene.send(&stranger(), BATCH_SETTLEMENT, settle.clone()).await;
    assert_eq!(scene.balance(scene.token(), payee()).await, 700);
    scene.send(&gas(), BATCH_SETTLEMENT, claim(&[row(&one, &stranger(), 301, 301)])).await;
    scene.send(&stranger(), BATCH_SETTLEMENT, settle).await;
    assert_eq!(scene.balance(scene.token(), payee()).await, 701);
    assert_eq!(scene.balance(scene.token(), BATCH_SETTLEMENT).await, 2_000 - 701);
}
