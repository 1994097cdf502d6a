//! What the official clients signed settles on the sandbox's contracts, unchanged.

use alloy::primitives::{Address, Bytes, U256};
use bursar::domain::x402::batch::deposit::DepositAuthorization;
use bursar::domain::x402::batch::payload::{BatchPayload, Channel};
use bursar::domain::x402::batch::typed::{
    BATCH_SETTLEMENT, ChannelConfig, ERC3009_COLLECTOR, PERMIT2_COLLECTOR,
};
use bursar::domain::x402::permit2::{EXACT_PROXY, Eip2612Sponsoring, Permit2Payload, Permitted};
use bursar::domain::x402::upto::{UPTO_PROXY, UptoPayload};
use bursar::edge::evm::contracts::{
    BatchSettlement, EIP2612Permit, ExactProxy, ExactWitness, PermitTransferFrom, TokenPermissions,
    UptoProxy, UptoWitness, Voucher, VoucherClaim, erc3009_collector_data, permit2_collector_data,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::scene::{Scene, name};
use crate::chain::{Chain, gas, payee, stranger};

const WRITTEN: &str = include_str!("../../vectors/x402-schemes.json");

fn vectors() -> Value {
    serde_json::from_str(WRITTEN).unwrap()
}

fn payload<T: DeserializeOwned>(case: &Value) -> T {
    serde_json::from_value(case["payload"].clone()).unwrap()
}

fn parse<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn permit(permitted: &Permitted, nonce: &str, deadline: &str) -> PermitTransferFrom {
    let permitted =
        TokenPermissions { token: parse(&permitted.token), amount: parse(&permitted.amount) };
    PermitTransferFrom { permitted, nonce: parse(nonce), deadline: parse(deadline) }
}

fn sponsored(case: &Value) -> EIP2612Permit {
    let info = case["extensions"]["eip2612GasSponsoring"]["info"].clone();
    let info: Eip2612Sponsoring = serde_json::from_value(info).unwrap();
    let signature: alloy::primitives::Signature = parse(&info.signature);
    EIP2612Permit {
        value: parse(&info.amount),
        deadline: parse(&info.deadline),
        r: signature.r().into(),
        s: signature.s().into(),
        v: if signature.v() { 28 } else { 27 },
    }
}

fn config(channel: &Channel) -> ChannelConfig {
    ChannelConfig {
        payer: parse(&channel.payer),
        payerAuthorizer: parse(&channel.payer_authorizer),
        receiver: parse(&channel.receiver),
        receiverAuthorizer: parse(&channel.receiver_authorizer),
        token: parse(&channel.token),
        withdrawDelay: channel.withdraw_delay.try_into().unwrap(),
        salt: parse(&channel.salt),
    }
}

#[tokio::test]
async fn a_payment_by_exact_settles_with_its_sponsored_permit() {
    let chain = Chain::sandbox().await;
    let scene = Scene::on(&chain);
    let case = &vectors()["exact"];
    let Permit2Payload { signature, permit2_authorization: told } = payload(case);
    let call = ExactProxy::settleWithPermitCall {
        permit2612: sponsored(case),
        permit: permit(&told.permitted, &told.nonce, &told.deadline),
        owner: parse(&told.from),
        witness: ExactWitness {
            to: parse(&told.witness.to),
            validAfter: parse(&told.witness.valid_after),
        },
        signature: parse(&signature),
    };
    scene.send(&stranger(), EXACT_PROXY, call).await;
    assert_eq!(scene.balance(scene.token(), payee()).await, 1_000);
    chain.stop().await;
}

#[tokio::test]
async fn a_payment_by_upto_settles_for_what_was_used() {
    let chain = Chain::sandbox().await;
    let scene = Scene::on(&chain);
    let case = &vectors()["upto"];
    let UptoPayload { signature, permit2_authorization: told } = payload(case);
    let call = UptoProxy::settleWithPermitCall {
        permit2612: sponsored(case),
        permit: permit(&told.permitted, &told.nonce, &told.deadline),
        amount: U256::from(421),
        owner: parse(&told.from),
        witness: UptoWitness {
            to: parse(&told.witness.to),
            facilitator: parse(&told.witness.facilitator),
            validAfter: parse(&told.witness.valid_after),
        },
        signature: parse(&signature),
    };
    scene.send(&gas(), UPTO_PROXY, call).await;
    assert_eq!(scene.balance(scene.token(), payee()).await, 421);
    chain.stop().await;
}

/// The deposit that a client sent, as a facilitator brings it.
fn deposit_call(case: &Value) -> (ChannelConfig, BatchSettlement::depositCall) {
    let BatchPayload::Deposit(told) = payload(case) else { panic!("{case}") };
    let (collector, data) = match &told.deposit.authorization {
        DepositAuthorization::Erc3009Authorization(told) => {
            let signature: Bytes = parse(&told.signature);
            let (after, before) = (parse(&told.valid_after), parse(&told.valid_before));
            let data = erc3009_collector_data(after, before, parse(&told.salt), &signature);
            (ERC3009_COLLECTOR, data)
        }
        DepositAuthorization::Permit2Authorization(told) => {
            let signature: Bytes = parse(&told.signature);
            let (nonce, deadline) = (parse(&told.nonce), parse(&told.deadline));
            let data = permit2_collector_data(nonce, deadline, &signature, Some(&sponsored(case)));
            (PERMIT2_COLLECTOR, data)
        }
    };
    assert_eq!(data, parse::<Bytes>(case["collectorData"].as_str().unwrap()));
    let config = config(&told.channel_config);
    let call = BatchSettlement::depositCall {
        config: (&config).into(),
        amount: parse(&told.deposit.amount),
        collector,
        collectorData: data,
    };
    (config, call)
}

#[tokio::test]
async fn deposits_vouchers_claims_and_refunds_go_through() {
    let chain = Chain::sandbox().await;
    let scene = Scene::on(&chain);
    let vectors = vectors();
    let (config, call) = deposit_call(&vectors["deposit"]);
    scene.send(&gas(), BATCH_SETTLEMENT, call).await;
    let (same, call) = deposit_call(&vectors["depositPermit2"]);
    scene.send(&gas(), BATCH_SETTLEMENT, call).await;
    assert_eq!(name(&config), name(&same));
    assert_eq!(scene.state(&config).await, (20_000, 0));

    let BatchPayload::Claim(told) = payload(&vectors["claim"]) else { panic!() };
    // The second row's channel was never opened: its money comes by a deposit of our own.
    let second = self::config(&told.claims[1].voucher.channel);
    scene.send(&gas(), BATCH_SETTLEMENT, scene.deposit(&second, 5_000, 1)).await;
    let rows = told.claims.iter().map(|claim| VoucherClaim {
        voucher: Voucher {
            channel: (&self::config(&claim.voucher.channel)).into(),
            maxClaimableAmount: parse(&claim.voucher.max_claimable_amount),
        },
        signature: parse(&claim.signature),
        totalClaimed: parse(&claim.total_claimed),
    });
    let call = BatchSettlement::claimWithSignatureCall {
        voucherClaims: rows.collect(),
        authorizerSignature: parse(&told.claim_authorizer_signature.unwrap()),
    };
    scene.send(&stranger(), BATCH_SETTLEMENT, call).await;
    assert_eq!(scene.state(&config).await, (20_000, 900));
    assert_eq!(scene.state(&second).await, (5_000, 2_000));

    let token: Address = scene.token();
    let settle = BatchSettlement::settleCall { receiver: payee(), token };
    scene.send(&stranger(), BATCH_SETTLEMENT, settle).await;
    assert_eq!(scene.balance(token, payee()).await, 2_900);
    chain.stop().await;
}
