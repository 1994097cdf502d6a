//! Deposits by Permit2 on a real chain, by an allowance or by the payer's own permit, and what the chain shows
//! of them. The same sentences on the sandbox and on anvil. Row ids are those of the threat model.

use alloy::primitives::{B256, U256};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use bursar::domain::channel::{ChannelTerms, Deposit};
use bursar::domain::commitment::{TokenPermit, TransferMethod};
use bursar::domain::id::{Name, WalletId};
use bursar::domain::ledger::channel::Opened;
use bursar::domain::money::{Amount, Nano};
use bursar::domain::x402::TokenDomain;
use bursar::domain::x402::batch::permitted::movement;
use bursar::domain::x402::batch::typed::{
    BATCH_SETTLEMENT, ERC3009_COLLECTOR, PERMIT2_COLLECTOR, config_of, id_of,
};
use bursar::domain::x402::permit2::PERMIT2;
use bursar::edge::evm::Evm;
use bursar::edge::evm::contracts::{
    BatchSettlement, erc3009_collector_data, permit2_collector_data,
};
use bursar::ports::channel_rail::{ChannelSettler, SignedDeposit};
use bursar::ports::holds::{Permit, ReleasedDeposit};
use bursar::ports::rail::{Evidence, NonceState, RefusedBy, Settlement};
use bursar::ports::signer::fill;

use crate::chain::{Chain, FUNDS, gas, now_s, payer, stranger};
use crate::channel_rail::{deposit, sent, settled, sight, state};
use crate::contracts::scene::Scene;
use crate::evm::on_both_chains;
use crate::permit2::{give_payer_gas, invalidateUnorderedNoncesCall};

on_both_chains!(
    a_deposit_by_permit2_arrives_once_and_its_nonce_says_so,
    a_permit_that_comes_with_a_deposit_gives_the_allowance,
    a_deposit_that_permit2_cannot_move_is_refused_for_its_reason_and_costs_no_gas,
    a21_an_invalidated_nonce_never_fills_a_channel,
    deposits_in_one_transaction_are_told_apart_whoever_sent_them,
);

fn terms(chain: &Chain, salt: u64) -> ChannelTerms {
    ChannelTerms {
        asset: chain.asset(),
        payer: payer().address(),
        payer_authorizer: stranger().address(),
        receiver: crate::chain::payee(),
        receiver_authorizer: gas().address(),
        withdraw_delay_s: 900,
        salt: B256::from(U256::from(salt)),
    }
}

/// A deposit as a payer of ours signs it.
pub fn by_permit2(
    terms: ChannelTerms,
    amount: u128,
    nonce: u64,
    method: TransferMethod,
) -> SignedDeposit {
    signed_by(&payer(), terms, amount, nonce, method, now_s() + 600)
}

pub fn signed_by(
    signer: &PrivateKeySigner,
    terms: ChannelTerms,
    amount: u128,
    nonce: u64,
    method: TransferMethod,
    valid_before_s: u64,
) -> SignedDeposit {
    // The nonces of a payer are spread over words, as drawn ones are.
    let nonce = B256::from(U256::from(nonce) << 200);
    let (amount, nano) = (Amount::new(amount), Nano::ONE);
    let deposit = Deposit { amount, nano, nonce, salt: nonce, valid_before_s };
    let name = |text: &str| text.parse::<Name>().unwrap();
    let opened = Opened {
        id: id_of(&terms),
        terms,
        wallet: WalletId::named(&name("main")),
        role: name("role"),
        provider: name("echo"),
    };
    let (incoming, permit) = (deposit.by(method), Permit::default());
    let released = ReleasedDeposit { opened, incoming, permit };
    let token = TokenDomain::of(&crate::permit2::info(terms.asset));
    let word = fill(&released, &token, |digest| signer.sign_hash_sync(&digest).unwrap());
    SignedDeposit::of(terms, &word)
}

async fn seen(evm: &Evm, deposit: &SignedDeposit) -> NonceState {
    let incoming = deposit.word().incoming(id_of(&deposit.terms));
    evm.find_nonce(&movement(&deposit.terms, &incoming)).await.unwrap().nonce
}

async fn is_used(evm: &Evm, deposit: &SignedDeposit, by: B256) {
    match seen(evm, deposit).await {
        NonceState::Used { transaction, amount, .. } => {
            assert_eq!((transaction, amount), (by, deposit.amount));
        }
        other => panic!("{other:?}"),
    }
}

async fn a_deposit_by_permit2_arrives_once_and_its_nonce_says_so(chain: &Chain) {
    Scene::on(chain).payer_allows_permit2().await;
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let start = evm.balance(chain.asset(), payer().address()).await.unwrap().block;
    let before = sent(chain).await;
    let (terms, method) = (terms(chain, 1), TransferMethod::Permit2);
    let first = by_permit2(terms, 1_000, 1, method);
    assert_eq!(seen(&evm, &first).await, NonceState::Unused);
    let transaction = settled(settler.deposit(&first).await.unwrap(), 1_000);
    assert_eq!(settled(settler.deposit(&first).await.unwrap(), 1_000), transaction);
    // As after a crash: this one remembers nothing, and the chain tells it.
    settler.stop(std::time::Duration::from_secs(1)).await;
    let settler = chain.settler(&evm).await;
    assert_eq!(settled(settler.deposit(&first).await.unwrap(), 1_000), transaction);
    assert_eq!(sent(chain).await, before + 1);
    assert_eq!(sight(&evm, &terms).await, state(1_000, 0));
    is_used(&evm, &first, transaction).await;
    let more = by_permit2(terms, 500, 2, method);
    let second = settled(settler.deposit(&more).await.unwrap(), 500);
    is_used(&evm, &more, second).await;
    assert_eq!(sight(&evm, &terms).await, state(1_500, 0));
    // The payer's books find both by what moved them.
    let moved = evm.transfers(chain.asset(), payer().address(), start).await.unwrap().moved;
    let told: Vec<_> = moved.iter().map(|it| (it.to, it.amount.get(), it.key)).collect();
    let key = |deposit: &SignedDeposit| {
        let incoming = deposit.word().incoming(id_of(&terms));
        Some(movement(&terms, &incoming).key())
    };
    let expected = [(1_000, key(&first)), (500, key(&more))];
    assert_eq!(told, expected.map(|(amount, key)| (BATCH_SETTLEMENT, amount, key)));
}

async fn a_permit_that_comes_with_a_deposit_gives_the_allowance(chain: &Chain) {
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let terms = terms(chain, 1);
    for nonce in 0..2 {
        let permit = TokenPermit { nonce, deadline_s: now_s() + 599, signature: None };
        let deposit = by_permit2(terms, 700, 10 + nonce, TransferMethod::Permit2By(permit));
        let transaction = settled(settler.deposit(&deposit).await.unwrap(), 700);
        is_used(&evm, &deposit, transaction).await;
        let allowance = evm.allowance(chain.asset(), payer().address()).await.unwrap().unwrap();
        assert_eq!((allowance.amount, allowance.permit_nonce), (Amount::ZERO, Some(nonce + 1)));
    }
    assert_eq!(sight(&evm, &terms).await, state(1_400, 0));
    // A permit that was used gives nothing any more.
    let permit = TokenPermit { nonce: 0, deadline_s: now_s() + 599, signature: None };
    let stale = by_permit2(terms, 700, 20, TransferMethod::Permit2By(permit));
    let refused = settler.deposit(&stale).await.unwrap();
    assert_eq!(refused, Settlement::Refused(RefusedBy::AllowanceRequired));
}

async fn a_deposit_that_permit2_cannot_move_is_refused_for_its_reason_and_costs_no_gas(
    chain: &Chain,
) {
    let (evm, scene) = (chain.evm().await, Scene::on(chain));
    let settler = chain.settler(&evm).await;
    let (ours, method) = (terms(chain, 1), TransferMethod::Permit2);
    let before = sent(chain).await;
    let refused = settler.deposit(&by_permit2(ours, 10, 1, method)).await.unwrap();
    assert_eq!(refused, Settlement::Refused(RefusedBy::AllowanceRequired));
    assert_eq!(sent(chain).await, before);
    scene.payer_allows_permit2().await;
    let before = sent(chain).await;
    let over = signed_by(&payer(), ours, 10, 2, method, now_s() - 5);
    let until = now_s() + 600;
    let cases = [
        (by_permit2(ours, FUNDS + 1, 1, method), RefusedBy::InsufficientFunds),
        (over, RefusedBy::Expired),
        (signed_by(&stranger(), ours, 10, 3, method, until), RefusedBy::BadSignature),
        // A word for one channel fills no other.
        (
            SignedDeposit { terms: terms(chain, 2), ..by_permit2(ours, 10, 4, method) },
            RefusedBy::BadSignature,
        ),
    ];
    for (deposit, reason) in cases {
        assert_eq!(settler.deposit(&deposit).await.unwrap(), Settlement::Refused(reason));
    }
    assert_eq!(sent(chain).await, before);
}

async fn a21_an_invalidated_nonce_never_fills_a_channel(chain: &Chain) {
    let scene = Scene::on(chain);
    scene.payer_allows_permit2().await;
    give_payer_gas(chain).await;
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let deposit = by_permit2(terms(chain, 1), 500, 6, TransferMethod::Permit2);
    let nonce: U256 = deposit.salt.into();
    let (word, mask) = (nonce >> 8, U256::from(1) << nonce.byte(0));
    let call = invalidateUnorderedNoncesCall { wordPos: word, mask };
    let canceled = scene.send(&payer(), PERMIT2, call).await.transaction_hash;
    let refused = settler.deposit(&deposit).await.unwrap();
    assert_eq!(refused, Settlement::Refused(RefusedBy::Canceled));
    assert_eq!(seen(&evm, &deposit).await, NonceState::Canceled { transaction: canceled });
}

/// The call by which anybody may bring a deposit.
fn call_of(deposit: &SignedDeposit) -> BatchSettlement::depositCall {
    let signature = deposit.signature.as_bytes().into();
    let (before, salt) = (U256::from(deposit.valid_before_s), U256::from_be_bytes(deposit.salt.0));
    let (collector, data) = match deposit.method.is_permit2() {
        true => {
            let deadline = before - U256::from(1);
            (PERMIT2_COLLECTOR, permit2_collector_data(salt, deadline, &signature, None))
        }
        false => (ERC3009_COLLECTOR, erc3009_collector_data(U256::ZERO, before, salt, &signature)),
    };
    BatchSettlement::depositCall {
        config: (&config_of(&deposit.terms)).into(),
        amount: deposit.amount.get(),
        collector,
        collectorData: data,
    }
}

async fn deposits_in_one_transaction_are_told_apart_whoever_sent_them(chain: &Chain) {
    let scene = Scene::on(chain);
    scene.payer_allows_permit2().await;
    let (evm, method) = (chain.evm().await, TransferMethod::Permit2);
    // Two of one amount, so that nothing but their order tells their transfers apart; and one by the token.
    let first = by_permit2(terms(chain, 1), 300, 1, method);
    let second = by_permit2(terms(chain, 2), 300, 2, method);
    let by_token = deposit(terms(chain, 3), 300, 3);
    let absent = by_permit2(terms(chain, 1), 300, 4, method);
    let data = [&first, &by_token, &second].map(|one| call_of(one).abi_encode().into());
    let call = BatchSettlement::multicallCall { data: data.to_vec() };
    let told = scene.send(&stranger(), BATCH_SETTLEMENT, call).await.transaction_hash;
    for deposit in [&first, &second, &by_token] {
        is_used(&evm, deposit, told).await;
        assert_eq!(sight(&evm, &deposit.terms).await, state(300, 0));
    }
    assert_eq!(seen(&evm, &absent).await, NonceState::Unused);
    // Who settles it knows it for its own, though another sent it.
    let settler = chain.settler(&evm).await;
    assert_eq!(settled(settler.deposit(&second).await.unwrap(), 300), told);
}
