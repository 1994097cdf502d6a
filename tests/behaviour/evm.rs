//! The rail on a real chain: the same sentences on the sandbox and on anvil.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::B256;
use alloy::providers::Provider;
use bursar::domain::asset::Network;
use bursar::domain::money::Amount;
use bursar::edge::clock::SystemClock;
use bursar::edge::evm::{Evm, EvmSettler, Finality, SettlerConfig};
use bursar::ports::rail::{
    Evidence, Holding, NonceState, RailError, RefusedBy, Settlement, Settler,
};
use futures_util::future::join_all;

use crate::chain::{
    Chain, FUNDS, cancel, gas, key, now_s, payee, payer, settle_call, sign, stranger, transferCall,
};

/// Tells each sentence of both chains.
macro_rules! on_both_chains {
    ($($sentence:ident),* $(,)?) => {
        mod on_the_sandbox {
            $(#[tokio::test]
            async fn $sentence() {
                let chain = crate::chain::Chain::sandbox().await;
                super::$sentence(&chain).await;
                chain.stop().await;
            })*
        }
        mod on_anvil {
            $(#[tokio::test]
            async fn $sentence() {
                let Some(chain) = crate::chain::Chain::anvil().await else { return };
                super::$sentence(&chain).await;
                chain.stop().await;
            })*
        }
    };
}

pub(crate) use on_both_chains;

on_both_chains!(
    d05_an_authorization_settles_once_however_often_it_is_asked,
    d03_whoever_settles_first_the_payee_is_paid,
    d04_a_canceled_authorization_is_told_from_a_used_one,
    a_nonce_that_paid_somebody_else_is_no_payment,
    what_cannot_settle_is_refused_for_its_reason_and_costs_no_gas,
    d01_a_wallet_that_is_drained_after_verify_is_refused_at_settle,
    transfers_are_told_with_the_authorization_that_moved_them,
    k09_another_chain_genesis_or_token_is_refused_at_start,
    k07_an_empty_gas_account_stops_the_settler_before_it_starts,
);

fn assert_settled(settled: Settlement, by: B256, units: u128) {
    let Settlement::Settled { transaction, amount, moved_at_s } = settled else {
        panic!("{settled:?}")
    };
    assert_eq!((transaction, amount), (by, Amount::new(units)));
    assert!(moved_at_s.abs_diff(now_s()) < 600, "a block of now, by its own time");
}

async fn d05_an_authorization_settles_once_however_often_it_is_asked(chain: &Chain) {
    let evm = chain.evm().await;
    let settler = Arc::new(chain.settler(&evm).await);
    let authorization = chain.authorization(1_000, 1);
    assert_eq!(settler.verify(&authorization).await.unwrap(), Ok(()));
    let before = evm.find_nonce(&authorization.commitment).await.unwrap();
    assert_eq!(before.nonce, NonceState::Unused);

    let asked = (0..16).map(|_| {
        let settler = settler.clone();
        tokio::spawn(async move { settler.settle(&authorization).await.unwrap() })
    });
    let mut answers = Vec::new();
    for answer in asked.collect::<Vec<_>>() {
        answers.push(answer.await.unwrap());
    }
    let Settlement::Settled { transaction, amount, .. } = answers[0] else { panic!("{answers:?}") };
    assert_eq!(amount, Amount::new(1_000));
    assert!(answers.iter().all(|answer| *answer == answers[0]));

    let seen = evm.find_nonce(&authorization.commitment).await.unwrap();
    let NonceState::Used { transaction: used, amount: moved, block, .. } = seen.nonce else {
        panic!("{seen:?}")
    };
    assert_eq!((used, moved), (transaction, amount));
    let held = evm.balance(chain.asset(), payee()).await.unwrap();
    assert_eq!(held.amount, amount);
    assert!(held.block >= block);
    // Fifteen callers cost no gas: one transaction was made.
    assert_eq!(chain.client(gas()).get_transaction_count(gas().address()).await.unwrap(), 1);
}

async fn d03_whoever_settles_first_the_payee_is_paid(chain: &Chain) {
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let authorization = chain.authorization(500, 7);
    let theirs = chain.act(stranger(), settle_call(&authorization)).await;

    assert_settled(settler.settle(&authorization).await.unwrap(), theirs, 500);
    assert_eq!(settler.verify(&authorization).await.unwrap(), Ok(()));
    let seen = evm.find_nonce(&authorization.commitment).await.unwrap();
    assert!(matches!(seen.nonce, NonceState::Used { transaction, .. } if transaction == theirs));
    let held = evm.balance(chain.asset(), payee()).await.unwrap();
    assert_eq!(held.amount, Amount::new(500));
}

async fn d04_a_canceled_authorization_is_told_from_a_used_one(chain: &Chain) {
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let authorization = chain.authorization(500, 7);
    let canceled = chain.act(stranger(), cancel(&authorization.commitment)).await;

    let seen = evm.find_nonce(&authorization.commitment).await.unwrap();
    assert_eq!(seen.nonce, NonceState::Canceled { transaction: canceled });
    let refused = Settlement::Refused(RefusedBy::Canceled);
    assert_eq!(settler.settle(&authorization).await.unwrap(), refused);
    assert_eq!(settler.verify(&authorization).await.unwrap(), Err(RefusedBy::Canceled));
    let held = evm.balance(chain.asset(), payee()).await.unwrap();
    assert_eq!(held.amount, Amount::ZERO);
}

async fn a_nonce_that_paid_somebody_else_is_no_payment(chain: &Chain) {
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let ours = chain.authorization(500, 7);
    let mut theirs = ours.commitment;
    theirs.pay_to = stranger().address();
    chain.act(stranger(), settle_call(&sign(theirs, &payer()))).await;

    let refused = Settlement::Refused(RefusedBy::NonceUsed);
    assert_eq!(settler.settle(&ours).await.unwrap(), refused);
    let seen = evm.find_nonce(&ours.commitment).await.unwrap();
    assert!(matches!(seen.nonce, NonceState::Used { amount: Amount::ZERO, .. }));
    // The same nonce for less is not this payment either.
    let less = chain.authorization(400, 8);
    chain.act(stranger(), settle_call(&less)).await;
    let more = chain.authorization(401, 8);
    assert_eq!(settler.settle(&more).await.unwrap(), refused);
}

async fn what_cannot_settle_is_refused_for_its_reason_and_costs_no_gas(chain: &Chain) {
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let with = |change: &dyn Fn(&mut bursar::domain::commitment::Commitment)| {
        let mut commitment = chain.commitment(1_000, 1);
        change(&mut commitment);
        sign(commitment, &payer())
    };
    let cases = [
        (with(&|it| it.amount_max = Amount::new(FUNDS)), None),
        (with(&|it| it.amount_max = Amount::new(FUNDS + 1)), Some(RefusedBy::InsufficientFunds)),
        (with(&|it| it.valid_before_s = now_s() - 5), Some(RefusedBy::Expired)),
        (with(&|it| it.valid_after_s = now_s() + 60), Some(RefusedBy::NotYetValid)),
        (sign(chain.commitment(1_000, 1), &stranger()), Some(RefusedBy::BadSignature)),
    ];
    for (authorization, reason) in cases {
        let expected = reason.map_or(Ok(()), Err);
        assert_eq!(settler.verify(&authorization).await.unwrap(), expected);
        if let Some(reason) = reason {
            let refused = Settlement::Refused(reason);
            assert_eq!(settler.settle(&authorization).await.unwrap(), refused);
        }
    }
    assert_eq!(chain.client(gas()).get_transaction_count(gas().address()).await.unwrap(), 0);
    let other = bursar::ports::rail::Authorization {
        commitment: bursar::domain::commitment::Commitment {
            asset: bursar::domain::asset::Asset {
                network: Network::Eip155(8453),
                contract: chain.token,
            },
            ..chain.commitment(1, 1)
        },
        ..chain.authorization(1, 1)
    };
    let refused = settler.settle(&other).await.unwrap_err();
    assert!(matches!(refused, RailError::WrongChain { found: 8453, .. }));
}

async fn d01_a_wallet_that_is_drained_after_verify_is_refused_at_settle(chain: &Chain) {
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    // The payer needs gas of its own to run away with the money.
    let rich = stranger();
    let mut commitment = chain.commitment(1_000, 1);
    chain
        .act(
            rich.clone(),
            settle_call(&{
                let mut to_rich = chain.commitment(1_000, 99);
                to_rich.pay_to = rich.address();
                sign(to_rich, &payer())
            }),
        )
        .await;
    commitment.payer = rich.address();
    let authorization = sign(commitment, &rich);
    assert_eq!(settler.verify(&authorization).await.unwrap(), Ok(()));
    let away = transferCall { to: key(50).address(), value: alloy::primitives::U256::from(1) };
    chain.act(rich, away).await;
    let refused = Settlement::Refused(RefusedBy::InsufficientFunds);
    assert_eq!(settler.settle(&authorization).await.unwrap(), refused);
}

async fn transfers_are_told_with_the_authorization_that_moved_them(chain: &Chain) {
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let start = evm.balance(chain.asset(), payee()).await.unwrap().block;
    let mut expected = Vec::new();
    for nonce in 1..=5_u64 {
        let authorization = chain.authorization(u128::from(nonce) * 10, nonce);
        let settled = settler.settle(&authorization).await.unwrap();
        let Settlement::Settled { transaction, amount, .. } = settled else {
            panic!("{settled:?}")
        };
        expected.push((transaction, amount, Some(authorization.commitment.key())));
    }
    for holder in [payer().address(), payee()] {
        let seen = evm.transfers(chain.asset(), holder, start).await.unwrap();
        let told: Vec<_> =
            seen.moved.iter().map(|one| (one.transaction, one.amount, one.key)).collect();
        assert_eq!(told, expected);
        assert!(seen.moved.iter().all(|one| one.from == payer().address() && one.to == payee()));
        // From where this ended, there is nothing new.
        let more = evm.transfers(chain.asset(), holder, seen.up_to).await.unwrap();
        assert!(more.moved.is_empty() && more.up_to >= seen.up_to);
    }
    let Holding { amount, .. } = evm.balance(chain.asset(), payee()).await.unwrap();
    assert_eq!(amount, Amount::new(150));
}

async fn k09_another_chain_genesis_or_token_is_refused_at_start(chain: &Chain) {
    let mut config = chain.config();
    config.network = Network::Eip155(8453);
    let refused = Evm::connect(&config).await.err().unwrap();
    assert!(matches!(refused, RailError::WrongChain { found: 31_337, .. }));

    // O02: the sections of known networks, before the node of another chain.
    for name in ["base", "base-sepolia", "ethereum", "polygon"] {
        let known = bursar::edge::config::Known::by_name(name).unwrap();
        let mut config = chain.config();
        config.network = known.network;
        let refused = Evm::connect(&config).await.err().unwrap();
        assert!(matches!(refused, RailError::WrongChain { found: 31_337, .. }), "{name}");
    }

    let mut config = chain.config();
    config.genesis = Some(B256::ZERO);
    let refused = Evm::connect(&config).await.err().unwrap();
    assert!(matches!(refused, RailError::WrongGenesis { expected: B256::ZERO, .. }));
    config.genesis = Some(chain.evm().await.genesis());
    assert!(Evm::connect(&config).await.is_ok());

    let changes: [fn(&mut bursar::domain::asset::AssetInfo); 4] = [
        |info| info.eip712_name = "USD Coin".to_owned(),
        |info| info.eip712_version = "1".to_owned(),
        |info| info.decimals = 18,
        |info| info.asset.contract = payee(),
    ];
    for change in changes {
        let mut config = chain.config();
        change(&mut config.assets[0]);
        let refused = Evm::connect(&config).await.err().unwrap();
        assert!(
            matches!(refused, RailError::WrongAsset { asset } if asset == config.assets[0].asset)
        );
    }
}

async fn k07_an_empty_gas_account_stops_the_settler_before_it_starts(chain: &Chain) {
    let evm = chain.evm().await;
    let poor = Arc::new(key(77));
    let account = poor.address();
    let refused =
        EvmSettler::start(&evm, poor, Arc::new(SystemClock), SettlerConfig::default()).await;
    assert!(matches!(refused.err().unwrap(), RailError::GasEmpty { account: told, balance: 0, .. }
        if told == account));
    let dear = SettlerConfig { fee_wei_max: 1, ..Default::default() };
    let refused = EvmSettler::start(&evm, Arc::new(gas()), Arc::new(SystemClock), dear).await;
    assert!(matches!(refused.err().unwrap(), RailError::FeesTooHigh { fee_wei_max: 1, .. }));
}

#[tokio::test]
async fn d07_what_is_not_mined_in_time_is_unknown_and_settles_later_with_one_transfer() {
    let Some(chain) = Chain::anvil().await else { return };
    chain.ask_node("evm_setAutomine", serde_json::json!([false])).await;
    let evm = chain.evm().await;
    let config = SettlerConfig { wait_max: Duration::from_millis(200), ..Default::default() };
    let settler =
        EvmSettler::start(&evm, Arc::new(gas()), Arc::new(SystemClock), config).await.unwrap();
    let authorization = chain.authorization(1_000, 1);
    let unknown = settler.settle(&authorization).await.unwrap();
    let Settlement::Unknown { transaction: Some(first) } = unknown else { panic!("{unknown:?}") };
    // Nothing is in a block, so nothing is used; and nothing has expired either.
    let seen = evm.find_nonce(&authorization.commitment).await.unwrap();
    assert_eq!(seen.nonce, NonceState::Unused);

    chain.ask_node("anvil_mine", serde_json::json!([])).await;
    let settled = settler.settle(&authorization).await.unwrap();
    assert_settled(settled, first, 1_000);
    let held = evm.balance(chain.asset(), payee()).await.unwrap();
    assert_eq!(held.amount, Amount::new(1_000));
    chain.stop().await;
}

#[tokio::test]
async fn k06_a_transaction_that_became_too_cheap_is_sent_again_dearer_and_pays_once() {
    let Some(chain) = Chain::anvil().await else { return };
    chain.ask_node("evm_setAutomine", serde_json::json!([false])).await;
    let evm = chain.evm().await;
    let config = SettlerConfig { wait_max: Duration::from_millis(200), ..Default::default() };
    let settler =
        EvmSettler::start(&evm, Arc::new(gas()), Arc::new(SystemClock), config).await.unwrap();
    let authorization = chain.authorization(1_000, 1);
    let unknown = settler.settle(&authorization).await.unwrap();
    let Settlement::Unknown { transaction: Some(first) } = unknown else { panic!("{unknown:?}") };

    let dear = serde_json::json!(["0x174876e800"]);
    chain.ask_node("anvil_setNextBlockBaseFeePerGas", dear).await;
    chain.ask_node("anvil_mine", serde_json::json!([])).await;
    assert!(chain.client(gas()).get_transaction_receipt(first).await.unwrap().is_none());
    let unknown = settler.settle(&authorization).await.unwrap();
    assert!(
        matches!(unknown, Settlement::Unknown { transaction: Some(second) } if second != first)
    );
    chain.ask_node("anvil_mine", serde_json::json!([])).await;
    let settled = settler.settle(&authorization).await.unwrap();
    assert!(matches!(settled, Settlement::Settled { transaction, .. } if transaction != first));
    let held = evm.balance(chain.asset(), payee()).await.unwrap();
    assert_eq!(held.amount, Amount::new(1_000));
    chain.stop().await;
}

#[tokio::test]
async fn a_settlement_is_told_when_enough_blocks_stand_on_it_and_evidence_is_as_deep() {
    let chain = Chain::sandbox().await;
    let mut config = chain.config();
    config.finality = Finality::Depth(2);
    let evm = Evm::connect(&config).await.unwrap();
    let config = SettlerConfig { confirmations: 2, ..Default::default() };
    let settler =
        EvmSettler::start(&evm, Arc::new(gas()), Arc::new(SystemClock), config).await.unwrap();
    let authorization = chain.authorization(1_000, 1);
    let settled = settler.settle(&authorization).await.unwrap();
    let Settlement::Settled { transaction, .. } = settled else { panic!("{settled:?}") };
    let client = chain.client(gas());
    let receipt = client.get_transaction_receipt(transaction).await.unwrap().unwrap();
    assert!(client.get_block_number().await.unwrap() >= receipt.block_number.unwrap() + 2);
    let seen = evm.find_nonce(&authorization.commitment).await.unwrap();
    assert!(matches!(seen.nonce, NonceState::Used { .. }));
    settler.stop(Duration::from_secs(1)).await;
    chain.stop().await;
}

/// Nobody waits for what was mined and is forgotten, so that its nonces are missed by nobody either.
#[tokio::test]
async fn k03_after_blocks_were_forgotten_the_gas_account_sends_under_the_nonces_that_are_free_again()
 {
    let chain = Chain::sandbox().await;
    let evm = chain.evm().await;
    let settler = Arc::new(chain.settler(&evm).await);
    for nonce in 1..=3 {
        let settled = settler.settle(&chain.authorization(100, nonce)).await.unwrap();
        assert!(matches!(settled, Settlement::Settled { .. }));
    }
    chain.forget().await;
    let asked = (2..=6).map(|nonce| {
        let (settler, authorization) = (settler.clone(), chain.authorization(100, nonce));
        tokio::spawn(async move { settler.settle(&authorization).await.unwrap() })
    });
    for settled in join_all(asked).await {
        let settled = settled.unwrap();
        assert!(matches!(settled, Settlement::Settled { .. }), "{settled:?}");
    }
    let held = evm.balance(chain.asset(), payee()).await.unwrap();
    assert_eq!(held.amount, Amount::new(500));
    chain.stop().await;
}
