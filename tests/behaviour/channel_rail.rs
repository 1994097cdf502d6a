//! Channels on a real chain: the same sentences on the sandbox and on anvil.

use std::sync::Arc;
use std::time::Duration;

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, U256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolCall, SolStruct, eip712_domain};
use bursar::domain::asset::Network;
use bursar::domain::channel::{ChannelId, ChannelTerms};
use bursar::domain::commitment::{AuthorizationKey, TransferMethod};
use bursar::domain::money::Amount;
use bursar::domain::x402::batch::funding::{ReceiveWithAuthorization, deposit_nonce};
use bursar::domain::x402::batch::typed::{BATCH_SETTLEMENT, ERC3009_COLLECTOR, config_of, id_of};
use bursar::edge::clock::SystemClock;
use bursar::edge::evm::contracts::BatchSettlement::finalizeWithdrawCall;
use bursar::edge::evm::{Evm, EvmSettler, Finality, SettlerConfig};
use bursar::ports::channel_rail::{
    CLAIM_ROWS_MAX, ChannelEvidence, ChannelSettler, ChannelSight, ClaimRow, ClaimSettlement,
    Depth, PendingWithdrawal, SignedDeposit, Withdrawals,
};
use bursar::ports::rail::{Evidence, RailError, RefusedBy, Settlement};

use crate::chain::{Chain, FUNDS, gas, now_s, payee, payer, stranger, voucher_by};
use crate::evm::on_both_chains;

on_both_chains!(
    a_deposit_arrives_once_though_it_is_asked_for_many_times,
    a_deposit_that_cannot_arrive_is_refused_for_its_reason_and_costs_no_gas,
    a_deposit_that_somebody_else_brought_is_in,
    e17_poisoned_rows_are_found_and_the_others_are_claimed,
    e18_what_is_claimed_is_swept_at_once_and_only_once,
    a_claim_that_is_asked_twice_is_made_once,
    what_is_not_claimed_is_given_back_after_the_last_claim,
    a_withdrawal_ends_after_its_delay_and_spares_what_was_claimed,
    many_channels_are_seen_on_one_block,
    money_that_comes_back_is_told_with_its_channel_and_a_deposit_with_its_authorization,
);

/// The shortest delay that a channel may have.
const DELAY_S: u64 = 900;

/// How far a chain's blocks may be ahead of the clock, in seconds.
const SLACK_S: u64 = 60;

/// A channel of the payer's: the stranger signs its vouchers, the gas account its claims.
fn terms(chain: &Chain, salt: u64) -> ChannelTerms {
    ChannelTerms {
        asset: chain.asset(),
        payer: payer().address(),
        payer_authorizer: stranger().address(),
        receiver: payee(),
        receiver_authorizer: gas().address(),
        withdraw_delay_s: DELAY_S,
        salt: B256::from(U256::from(salt)),
    }
}

pub fn deposit(terms: ChannelTerms, amount: u128, salt: u64) -> SignedDeposit {
    deposit_by(terms, amount, salt, now_s() + 600, &payer())
}

pub fn deposit_by(
    terms: ChannelTerms,
    amount: u128,
    salt: u64,
    valid_before_s: u64,
    signer: &PrivateKeySigner,
) -> SignedDeposit {
    let content = ReceiveWithAuthorization {
        from: terms.payer,
        to: ERC3009_COLLECTOR,
        value: U256::from(amount),
        validAfter: U256::ZERO,
        validBefore: U256::from(valid_before_s),
        nonce: deposit_nonce(id_of(&terms).0, U256::from(salt)),
    };
    let domain = eip712_domain! {
        name: "USDC",
        version: "2",
        chain_id: Network::SANDBOX.chain_id(),
        verifying_contract: terms.asset.contract,
    };
    let signature = signer.sign_hash_sync(&content.eip712_signing_hash(&domain)).unwrap();
    let (amount, salt) = (Amount::new(amount), B256::from(U256::from(salt)));
    let method = TransferMethod::Eip3009;
    SignedDeposit { terms, amount, method, valid_before_s, salt, signature }
}

/// A voucher of the stranger's, that so much is claimed of.
pub fn row(terms: ChannelTerms, ceiling: u128, total: u128) -> ClaimRow {
    row_by(terms, ceiling, total, &stranger())
}

pub fn row_by(terms: ChannelTerms, ceiling: u128, total: u128, by: &PrivateKeySigner) -> ClaimRow {
    let signature = voucher_by(&terms, ceiling, by).into();
    ClaimRow { terms, ceiling: Amount::new(ceiling), signature, total: Amount::new(total) }
}

/// Opens a channel with so much in it.
async fn open(chain: &Chain, settler: &EvmSettler, salt: u64, amount: u128) -> ChannelTerms {
    let terms = terms(chain, salt);
    settled(settler.deposit(&deposit(terms, amount, 1)).await.unwrap(), amount);
    terms
}

/// The transaction, of a settlement of just this much.
pub fn settled(settlement: Settlement, units: u128) -> B256 {
    let Settlement::Settled { transaction, amount, .. } = settlement else {
        panic!("{settlement:?}")
    };
    assert_eq!(amount, Amount::new(units));
    transaction
}

pub async fn sight(evm: &Evm, terms: &ChannelTerms) -> ChannelSight {
    evm.look(&[id_of(terms)], Depth::Newest).await.unwrap().seen[0]
}

pub fn state(balance: u128, claimed: u128) -> ChannelSight {
    let (balance, claimed) = (Amount::new(balance), Amount::new(claimed));
    ChannelSight { balance, claimed, withdrawal: None, refund_nonce: 0 }
}

pub async fn owned(chain: &Chain, evm: &Evm, holder: Address) -> u128 {
    evm.balance(chain.asset(), holder).await.unwrap().amount.get()
}

/// How many transactions the gas account has made.
pub async fn sent(chain: &Chain) -> u64 {
    chain.client(gas()).get_transaction_count(gas().address()).await.unwrap()
}

/// Another settler of the same account, as after a crash: it remembers nothing.
async fn anew(chain: &Chain, evm: &Evm, settler: EvmSettler) -> EvmSettler {
    settler.stop(Duration::from_secs(1)).await;
    chain.settler(evm).await
}

async fn a_deposit_arrives_once_though_it_is_asked_for_many_times(chain: &Chain) {
    let evm = chain.evm().await;
    let settler = Arc::new(chain.settler(&evm).await);
    let terms = terms(chain, 1);
    let first = deposit(terms, 1_000, 1);
    let asked = (0..8).map(|_| {
        let settler = settler.clone();
        tokio::spawn(async move { settler.deposit(&first).await.unwrap() })
    });
    let mut answers = Vec::new();
    for answer in asked.collect::<Vec<_>>() {
        answers.push(answer.await.unwrap());
    }
    let transaction = settled(answers[0], 1_000);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(sent(chain).await, 1);
    let settler = anew(chain, &evm, Arc::into_inner(settler).unwrap()).await;
    assert_eq!(settled(settler.deposit(&first).await.unwrap(), 1_000), transaction);
    assert_eq!(sight(&evm, &terms).await, state(1_000, 0));
    assert_eq!(owned(chain, &evm, payer().address()).await, FUNDS - 1_000);
    // Another salt is more money.
    let more = settler.deposit(&deposit(terms, 500, 2)).await.unwrap();
    assert_ne!(settled(more, 500), transaction);
    assert_eq!(sight(&evm, &terms).await, state(1_500, 0));
}

async fn a_deposit_that_cannot_arrive_is_refused_for_its_reason_and_costs_no_gas(chain: &Chain) {
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let (ours, before) = (terms(chain, 1), now_s() + 600);
    let hasty = ChannelTerms { withdraw_delay_s: DELAY_S - 1, ..ours };
    let cases = [
        (deposit(ours, FUNDS + 1, 1), RefusedBy::InsufficientFunds),
        (deposit_by(ours, 10, 1, now_s() - 5, &payer()), RefusedBy::Expired),
        (deposit_by(ours, 10, 1, before, &stranger()), RefusedBy::BadSignature),
        (SignedDeposit { terms: terms(chain, 2), ..deposit(ours, 10, 1) }, RefusedBy::BadSignature),
        (deposit(hasty, 10, 1), RefusedBy::Reverted),
        (deposit(ours, 0, 1), RefusedBy::Reverted),
    ];
    for (deposit, reason) in cases {
        assert_eq!(settler.deposit(&deposit).await.unwrap(), Settlement::Refused(reason));
    }
    assert_eq!(sent(chain).await, 0);
    let mut elsewhere = deposit(ours, 10, 1);
    elsewhere.terms.asset.network = Network::Eip155(8453);
    let refused = settler.deposit(&elsewhere).await.unwrap_err();
    assert!(matches!(refused, RailError::WrongChain { found: 8453, .. }));
}

async fn a_deposit_that_somebody_else_brought_is_in(chain: &Chain) {
    let evm = chain.evm().await;
    let theirs = {
        let config = SettlerConfig::default();
        EvmSettler::start(&evm, Arc::new(stranger()), Arc::new(SystemClock), config).await.unwrap()
    };
    let first = deposit(terms(chain, 1), 1_000, 1);
    let transaction = settled(theirs.deposit(&first).await.unwrap(), 1_000);
    let settler = chain.settler(&evm).await;
    assert_eq!(settled(settler.deposit(&first).await.unwrap(), 1_000), transaction);
    assert_eq!(sent(chain).await, 0);
}

async fn e17_poisoned_rows_are_found_and_the_others_are_claimed(chain: &Chain) {
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let mut rows = Vec::new();
    for salt in 0..12 {
        rows.push(row(open(chain, &settler, salt, 100).await, 60, 50));
    }
    let all = rows.clone();
    rows[2] = row_by(rows[2].terms, 60, 50, &payer());
    rows[3] = row(rows[3].terms, 60, 61);
    rows[7] = row(rows[7].terms, 200, 101);
    rows[11] = row(ChannelTerms { receiver_authorizer: payee(), ..rows[11].terms }, 60, 50);
    let before = sent(chain).await;
    let done = settler.claim(&rows).await.unwrap();
    assert_eq!(done.poisoned, [2, 3, 7, 11]);
    assert_eq!(done.claimed, [0, 1, 4, 5, 6, 8, 9, 10]);
    assert!(done.transaction.is_some());
    assert_eq!(sent(chain).await - before, 1);
    for (place, row) in all.iter().enumerate() {
        let claimed = if done.claimed.contains(&place) { 50 } else { 0 };
        assert_eq!(sight(&evm, &row.terms).await, state(100, claimed));
    }
    // With the right vouchers the rest is claimed, and nothing but the rest.
    let done = settler.claim(&all).await.unwrap();
    assert_eq!((done.poisoned.len(), done.claimed.len()), (0, 12));
    assert_eq!(sent(chain).await - before, 2);
    // Only poison costs nothing.
    let none = settler.claim(&[row_by(all[0].terms, 60, 60, &payer())]).await.unwrap();
    assert_eq!(none, ClaimSettlement { transaction: None, claimed: vec![], poisoned: vec![0] });
    assert_eq!(sent(chain).await - before, 2);
}

async fn e18_what_is_claimed_is_swept_at_once_and_only_once(chain: &Chain) {
    let evm = chain.evm().await;
    let settler = Arc::new(chain.settler(&evm).await);
    let terms = open(chain, &settler, 1, 1_000).await;
    assert_eq!(settler.sweep(payee(), chain.asset()).await.unwrap(), None);
    for round in 1..=5 {
        let claim = settler.claim(&[row(terms, 1_000, round * 100)]).await.unwrap();
        assert_eq!(claim.claimed, [0]);
        let swept = settler.sweep(payee(), chain.asset()).await.unwrap().unwrap();
        settled(swept, 100);
        assert_eq!(settler.sweep(payee(), chain.asset()).await.unwrap(), None);
        assert_eq!(owned(chain, &evm, payee()).await, round * 100);
    }
    // Nor do both wait for each other, or sweep twice, when they come together.
    let last = row(terms, 1_000, 1_000);
    let (claim, first, second) = tokio::join!(
        settler.claim(std::slice::from_ref(&last)),
        settler.sweep(payee(), chain.asset()),
        settler.sweep(payee(), chain.asset()),
    );
    assert_eq!(claim.unwrap().claimed, [0]);
    let swept = [first.unwrap(), second.unwrap()];
    assert_eq!(swept.iter().flatten().count(), 1);
    assert_eq!(owned(chain, &evm, payee()).await, 1_000);
}

async fn a_claim_that_is_asked_twice_is_made_once(chain: &Chain) {
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let rows = [
        row(open(chain, &settler, 1, 100).await, 80, 70),
        row(open(chain, &settler, 2, 100).await, 80, 80),
    ];
    let first = settler.claim(&rows).await.unwrap();
    assert_eq!(first.claimed, [0, 1]);
    let before = sent(chain).await;
    let settler = anew(chain, &evm, settler).await;
    let again = settler.claim(&rows).await.unwrap();
    assert_eq!((again.transaction, again.claimed), (None, vec![0, 1]));
    assert_eq!(sent(chain).await, before);
    // An older voucher takes nothing back.
    let older = settler.claim(&[row(rows[0].terms, 60, 60)]).await.unwrap();
    assert_eq!((older.transaction, older.claimed), (None, vec![0]));
    assert_eq!(sight(&evm, &rows[0].terms).await, state(100, 70));
    // Rows beyond the bound wait for the next claim.
    let many = vec![rows[0].clone(); CLAIM_ROWS_MAX + 1];
    assert_eq!(settler.claim(&many).await.unwrap().claimed.len(), CLAIM_ROWS_MAX);
}

async fn what_is_not_claimed_is_given_back_after_the_last_claim(chain: &Chain) {
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let terms = open(chain, &settler, 1, 1_000).await;
    let all = Amount::new(u128::MAX);
    let part = settler.give_back(&terms, None, Amount::new(100)).await.unwrap();
    settled(part, 100);
    let last = row(terms, 500, 400);
    let given = settler.give_back(&terms, Some(&last), all).await.unwrap();
    let transaction = settled(given, 500);
    assert_eq!(sight(&evm, &terms).await, ChannelSight { refund_nonce: 2, ..state(400, 400) });
    assert_eq!(owned(chain, &evm, payer().address()).await, FUNDS - 400);
    // Asked again, after a crash, it tells what was done.
    let before = sent(chain).await;
    let settler = anew(chain, &evm, settler).await;
    let again = settler.give_back(&terms, Some(&last), all).await.unwrap();
    assert_eq!(settled(again, 500), transaction);
    assert_eq!(sent(chain).await, before);
    settled(settler.sweep(payee(), chain.asset()).await.unwrap().unwrap(), 400);
    // A voucher that the contract does not take gives nothing back either.
    let other = open(chain, &settler, 2, 10).await;
    let forged = row_by(other, 5, 5, &payer());
    let refused = Settlement::Refused(RefusedBy::Reverted);
    assert_eq!(settler.give_back(&other, Some(&forged), all).await.unwrap(), refused);
    assert_eq!(sight(&evm, &other).await, state(10, 0));
    // Where nothing is left because all of it was claimed, there is nothing to tell.
    settler.claim(&[row(other, 10, 10)]).await.unwrap();
    let refused = Settlement::Refused(RefusedBy::InsufficientFunds);
    assert_eq!(settler.give_back(&other, None, all).await.unwrap(), refused);
}

async fn a_withdrawal_ends_after_its_delay_and_spares_what_was_claimed(chain: &Chain) {
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let terms = open(chain, &settler, 1, 1_000).await;
    let theirs = {
        let config = SettlerConfig::default();
        EvmSettler::open(&evm, Arc::new(stranger()), Arc::new(SystemClock), config)
    };
    // Only the payer's side may.
    let refused = Settlement::Refused(RefusedBy::BadSignature);
    assert_eq!(settler.begin(&terms).await.unwrap(), refused);
    let early = Settlement::Refused(RefusedBy::NotYetValid);
    assert_eq!(theirs.finish(&terms).await.unwrap(), early);
    let begun = settled(theirs.begin(&terms).await.unwrap(), 1_000);
    assert_eq!(settled(theirs.begin(&terms).await.unwrap(), 1_000), begun);
    let seen = sight(&evm, &terms).await;
    let PendingWithdrawal { amount, requested_at_s } = seen.withdrawal.unwrap();
    assert_eq!(amount, Amount::new(1_000));
    assert_eq!(seen.withdrawable_at_s(DELAY_S), Some(requested_at_s + DELAY_S));
    assert_eq!(theirs.finish(&terms).await.unwrap(), early);
    // Meanwhile the payee takes what is its own.
    assert_eq!(settler.claim(&[row(terms, 300, 300)]).await.unwrap().claimed, [0]);
    chain.pass(DELAY_S + SLACK_S).await;
    let out = settled(theirs.finish(&terms).await.unwrap(), 700);
    assert_eq!(settled(theirs.finish(&terms).await.unwrap(), 700), out);
    assert_eq!(sight(&evm, &terms).await, state(300, 300));
    assert_eq!(owned(chain, &evm, payer().address()).await, FUNDS - 300);
    let none = Settlement::Refused(RefusedBy::InsufficientFunds);
    assert_eq!(theirs.begin(&terms).await.unwrap(), none);
}

async fn many_channels_are_seen_on_one_block(chain: &Chain) {
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let funded = open(chain, &settler, 205, 42).await;
    let ids: Vec<ChannelId> = (0..250).map(|salt| id_of(&terms(chain, salt))).collect();
    let seen = evm.look(&ids, Depth::Final).await.unwrap();
    assert_eq!(seen.seen.len(), ids.len());
    for (id, sight) in ids.iter().zip(&seen.seen) {
        let expected = if *id == id_of(&funded) { state(42, 0) } else { state(0, 0) };
        assert_eq!(*sight, expected);
    }
    assert!(seen.height > 0 && seen.block_time_s.abs_diff(now_s()) < 600);
    assert!(evm.look(&[], Depth::Newest).await.unwrap().seen.is_empty());
}

async fn money_that_comes_back_is_told_with_its_channel_and_a_deposit_with_its_authorization(
    chain: &Chain,
) {
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let start = evm.balance(chain.asset(), payee()).await.unwrap().block;
    let first = deposit(terms(chain, 1), 100, 1);
    settled(settler.deposit(&first).await.unwrap(), 100);
    let second = deposit(terms(chain, 2), 50, 1);
    settled(settler.deposit(&second).await.unwrap(), 50);
    settler.claim(&[row(first.terms, 60, 60)]).await.unwrap();
    settled(settler.sweep(payee(), chain.asset()).await.unwrap().unwrap(), 60);
    let all = Amount::new(100);
    settled(settler.give_back(&first.terms, None, all).await.unwrap(), 40);
    let theirs = {
        let config = SettlerConfig::default();
        EvmSettler::open(&evm, Arc::new(stranger()), Arc::new(SystemClock), config)
    };
    settled(theirs.begin(&second.terms).await.unwrap(), 50);
    chain.pass(DELAY_S + SLACK_S).await;
    settled(theirs.finish(&second.terms).await.unwrap(), 50);
    let payer = payer().address();
    let key = |deposit: &SignedDeposit| {
        let salt = U256::from_be_bytes(deposit.salt.0);
        let nonce = deposit_nonce(id_of(&deposit.terms).0, salt);
        Some(AuthorizationKey { asset: chain.asset(), payer, nonce })
    };
    let (one, two) = (Some(id_of(&first.terms)), Some(id_of(&second.terms)));
    let seen = evm.transfers(chain.asset(), payer, start).await.unwrap();
    let told: Vec<_> =
        seen.moved.iter().map(|it| (it.from, it.to, it.amount.get(), it.key, it.channel)).collect();
    let expected = [
        (payer, ERC3009_COLLECTOR, 100, key(&first), None),
        (payer, ERC3009_COLLECTOR, 50, key(&second), None),
        (BATCH_SETTLEMENT, payer, 40, None, one),
        (BATCH_SETTLEMENT, payer, 50, None, two),
    ];
    assert_eq!(told, expected);
    // What was claimed comes from no one channel.
    let seen = evm.transfers(chain.asset(), payee(), start).await.unwrap();
    let told: Vec<_> = seen.moved.iter().map(|it| (it.amount.get(), it.channel)).collect();
    assert_eq!(told, [(60, None)]);
}

#[tokio::test]
async fn a_final_sight_lags_behind_the_newest() {
    let chain = Chain::sandbox().await;
    let mut config = chain.config();
    config.finality = Finality::Depth(2);
    let evm = Evm::connect(&config).await.unwrap();
    let settler = chain.settler(&evm).await;
    let terms = open(&chain, &settler, 1, 100).await;
    let (channel, newest) = ([id_of(&terms)], state(100, 0));
    assert_eq!(evm.look(&channel, Depth::Newest).await.unwrap().seen, [newest]);
    assert_eq!(evm.look(&channel, Depth::Final).await.unwrap().seen, [state(0, 0)]);
    chain.pass(1).await;
    chain.pass(1).await;
    assert_eq!(evm.look(&channel, Depth::Final).await.unwrap().seen, [newest]);
    chain.stop().await;
}

#[tokio::test]
async fn a_deposit_that_is_not_mined_in_time_is_unknown_and_arrives_once() {
    let Some(chain) = Chain::anvil().await else { return };
    chain.ask_node("evm_setAutomine", serde_json::json!([false])).await;
    let evm = chain.evm().await;
    let config = SettlerConfig { wait_max: Duration::from_millis(200), ..Default::default() };
    let settler =
        EvmSettler::start(&evm, Arc::new(gas()), Arc::new(SystemClock), config).await.unwrap();
    let first = deposit(terms(&chain, 1), 1_000, 1);
    let unknown = settler.deposit(&first).await.unwrap();
    let Settlement::Unknown { transaction: Some(transaction) } = unknown else {
        panic!("{unknown:?}")
    };
    assert_eq!(settler.deposit(&first).await.unwrap(), unknown);
    chain.ask_node("anvil_mine", serde_json::json!([])).await;
    assert_eq!(settled(settler.deposit(&first).await.unwrap(), 1_000), transaction);
    assert_eq!(sight(&evm, &first.terms).await, state(1_000, 0));

    // The same of a claim: it is under way once, whatever is asked meanwhile.
    let rows = [row(first.terms, 300, 200), row(first.terms, 300, 300)];
    let unknown = settler.claim(&rows[..1]).await.unwrap();
    assert!(unknown.transaction.is_some() && unknown.claimed.is_empty());
    assert_eq!(settler.claim(&rows).await.unwrap(), unknown);
    chain.ask_node("anvil_mine", serde_json::json!([])).await;
    let next = settler.claim(&rows).await.unwrap();
    assert_eq!((next.claimed, next.poisoned.len()), (vec![0], 0));
    chain.ask_node("anvil_mine", serde_json::json!([])).await;
    let next = settler.claim(&rows).await.unwrap();
    assert_eq!(next.claimed, [0, 1]);
    chain.stop().await;
}

#[tokio::test]
async fn e16_a_withdrawal_that_lands_before_the_claim_costs_its_own_row_and_no_other() {
    let Some(chain) = Chain::anvil().await else { return };
    let evm = chain.evm().await;
    let config = SettlerConfig { wait_max: Duration::from_millis(500), ..Default::default() };
    let settler =
        EvmSettler::start(&evm, Arc::new(gas()), Arc::new(SystemClock), config).await.unwrap();
    let theirs = EvmSettler::open(&evm, Arc::new(stranger()), Arc::new(SystemClock), config);
    let leaving = open(&chain, &settler, 1, 100).await;
    let staying = open(&chain, &settler, 2, 100).await;
    settled(theirs.begin(&leaving).await.unwrap(), 100);
    chain.pass(DELAY_S + SLACK_S).await;

    chain.ask_node("evm_setAutomine", serde_json::json!([false])).await;
    let rows = [row(leaving, 80, 80), row(staying, 80, 80)];
    let unknown = settler.claim(&rows).await.unwrap();
    assert!(unknown.transaction.is_some() && unknown.claimed.is_empty());
    // The payer pays more for gas, and is in the block first.
    let tip = 100_000_000_000;
    let finish = TransactionRequest::default()
        .with_to(BATCH_SETTLEMENT)
        .with_input(finalizeWithdrawCall { config: (&config_of(&leaving)).into() }.abi_encode())
        .with_gas_limit(200_000)
        .with_max_priority_fee_per_gas(tip)
        .with_max_fee_per_gas(tip * 2);
    let sent = chain.client(stranger()).send_transaction(finish).await.unwrap();
    chain.ask_node("anvil_mine", serde_json::json!([])).await;
    chain.ask_node("evm_setAutomine", serde_json::json!([true])).await;
    assert!(sent.get_receipt().await.unwrap().status());
    let failed = chain.client(gas()).get_transaction_receipt(unknown.transaction.unwrap()).await;
    assert!(!failed.unwrap().unwrap().status());

    let done = settler.claim(&rows).await.unwrap();
    assert_eq!((done.claimed, done.poisoned), (vec![1], vec![0]));
    assert_ne!(done.transaction, unknown.transaction);
    settled(theirs.finish(&leaving).await.unwrap(), 100);
    assert_eq!(sight(&evm, &leaving).await, state(0, 0));
    assert_eq!(sight(&evm, &staying).await, state(100, 80));
    chain.stop().await;
}
