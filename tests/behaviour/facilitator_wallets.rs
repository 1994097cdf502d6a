//! Payers that are contracts, as a facilitator takes them: the wallet is asked, and believed as long as it says
//! so. Row ids are those of the threat model.

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, U256, b256, hex};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::{SolCall, SolValue};
use bursar::domain::asset::AssetRegistry;
use bursar::domain::commitment::{Authorization, Commitment, Scheme, TransferMethod};
use bursar::domain::money::Amount;
use bursar::domain::quote::PayBy;
use bursar::domain::x402::TokenDomains;
use bursar::domain::x402::payload::payment_payload;
use bursar::domain::x402::permit2::PERMIT2;
use bursar::domain::x402::requirements::Requirement;
use serde_json::{Value, json};

use crate::chain::{Chain, artifact_code, gas, now_s, payee, payer, settle_call, sign, stranger};
use crate::evm::on_both_chains;
use crate::facilitator::World;

on_both_chains!(
    a_wallet_that_is_a_contract_pays_by_either_method,
    a13_a_wallet_that_changes_its_mind_pays_nothing_and_is_believed_no_more,
    a13_a_wallet_that_denies_its_word_in_a_block_costs_one_transaction,
    a12_nothing_is_called_that_a_signature_says,
    a_forged_word_of_a_wallet_does_not_stand_in_its_way,
);

alloy::sol! {
    function approve(address spender, uint256 value) external returns (bool);
    function act(address to, bytes data) external;
    function close() external;
    function waver(bool wavering) external;
    function want(uint256 greed) external;
}

/// What a signature ends with that says how to make its wallet. Source: EIP-6492.
pub const WRAPPED: B256 = b256!("6492649264926492649264926492649264926492649264926492649264926492");

pub const EXACT: (Scheme, TransferMethod) = (Scheme::Exact, TransferMethod::Eip3009);
pub const PERMIT2_EXACT: (Scheme, TransferMethod) = (Scheme::Exact, TransferMethod::Permit2);

/// Sends as the wallets' owner.
pub async fn send(chain: &Chain, request: TransactionRequest) -> Option<Address> {
    let sent = chain.client(stranger()).send_transaction(request).await.unwrap();
    let receipt = sent.get_receipt().await.unwrap();
    assert!(receipt.status());
    receipt.contract_address
}

/// Has `wallet`'s owner tell it something.
pub async fn tell(chain: &Chain, wallet: Address, what: &impl SolCall) {
    let request = TransactionRequest::default().with_to(wallet).with_input(what.abi_encode());
    send(chain, request).await;
}

/// A wallet of the stranger's key with ten thousand in it, of which Permit2 may move all.
pub async fn wallet(chain: &Chain) -> Address {
    numbered_wallet(chain, 999).await
}

/// The same, one of several.
pub async fn numbered_wallet(chain: &Chain, number: u64) -> Address {
    let code = artifact_code("KeyWallet", "bytecode");
    let code = [code.as_ref(), &stranger().address().abi_encode()].concat();
    let wallet = send(chain, TransactionRequest::default().with_deploy_code(code)).await.unwrap();
    let funds = Commitment { pay_to: wallet, ..chain.commitment(10_000, number) };
    chain.act(stranger(), settle_call(&sign(funds, &payer()))).await;
    let approved = approveCall { spender: PERMIT2, value: U256::MAX }.abi_encode();
    let act = actCall { to: chain.token, data: approved.into() }.abi_encode();
    send(chain, TransactionRequest::default().with_to(wallet).with_input(act)).await;
    wallet
}

/// A payment of `payer`'s, by the word of a key.
pub fn asked(
    chain: &Chain,
    (payer, signer): (Address, &PrivateKeySigner),
    (scheme, method): (Scheme, TransferMethod),
    amount: u128,
    nonce: u64,
) -> Value {
    let tokens = TokenDomains::new(&AssetRegistry::new(chain.config().assets));
    let token = tokens.find(chain.asset()).unwrap();
    let pay_by = PayBy { scheme, method, asset: chain.asset(), pay_to: payee(), timeout_s: 300 };
    let accepted = Requirement { pay_by, amount: Amount::new(amount), token }.to_wire();
    let commitment = Commitment {
        scheme,
        method,
        payer,
        valid_before_s: now_s() + 300,
        nonce: B256::from(U256::from(nonce) << 200),
        ..chain.commitment(amount, 0)
    };
    let signature = signer.sign_hash_sync(&token.authorization_digest(&commitment)).unwrap();
    let authorization = Authorization { commitment, signature };
    let paid = payment_payload(None, accepted.clone(), &authorization, None, None);
    json!({ "x402Version": 2, "paymentPayload": paid, "paymentRequirements": accepted })
}

pub fn with_signature(mut payment: Value, signature: &[u8]) -> Value {
    payment["paymentPayload"]["payload"]["signature"] = json!(hex::encode_prefixed(signature));
    payment
}

pub fn signature(payment: &Value) -> Vec<u8> {
    hex::decode(payment["paymentPayload"]["payload"]["signature"].as_str().unwrap()).unwrap()
}

/// Refused as one whose signature is wrong, asked either way.
pub async fn assert_unsigned(world: &World<'_>, payment: &Value) {
    assert_refused(world, payment, "invalid_exact_evm_payload_signature").await;
}

/// Refused by this code, asked either way.
pub async fn assert_refused(world: &World<'_>, payment: &Value, code: &str) {
    let (_, verified) = world.ask("/verify", payment).await;
    assert_eq!((&verified["isValid"], &verified["invalidReason"]), (&json!(false), &json!(code)));
    let (_, settled) = world.ask("/settle", payment).await;
    assert_eq!((&settled["success"], &settled["errorReason"]), (&json!(false), &json!(code)));
}

async fn a_wallet_that_is_a_contract_pays_by_either_method(chain: &Chain) {
    let wallet = wallet(chain).await;
    let world = World::on(chain).await;
    let by_owner = (wallet, &stranger());
    for (nonce, by) in (1..).zip([EXACT, PERMIT2_EXACT]) {
        let payment = asked(chain, by_owner, by, 1_000, nonce);
        let (_, verified) = world.ask("/verify", &payment).await;
        assert_eq!(verified["isValid"], true, "{by:?}: {verified}");
        assert_eq!(verified["payer"], wallet.to_string());
        let (_, settled) = world.ask("/settle", &payment).await;
        assert_eq!((&settled["success"], &settled["amount"]), (&json!(true), &json!("1000")));
        let (_, again) = world.ask("/settle", &payment).await;
        assert_eq!(again["errorReason"], "invalid_exact_evm_nonce_already_used");
        assert_eq!(again["transaction"], settled["transaction"]);
    }
    assert_eq!(world.paid().await, 2_000);
    let poor = asked(chain, by_owner, EXACT, 9_000, 7);
    let (_, verified) = world.ask("/verify", &poor).await;
    assert_eq!(verified["invalidReason"], "insufficient_funds");
    // By another key's word, by none that a wallet reads, and of an address that is no wallet at all.
    assert_unsigned(&world, &asked(chain, (wallet, &payer()), EXACT, 100, 8)).await;
    let good = asked(chain, by_owner, EXACT, 100, 9);
    assert_unsigned(&world, &with_signature(good.clone(), &[7; 96])).await;
    assert_unsigned(&world, &asked(chain, (payer().address(), &stranger()), EXACT, 100, 10)).await;
    assert_eq!(world.paid().await, 2_000);
}

async fn a13_a_wallet_that_changes_its_mind_pays_nothing_and_is_believed_no_more(chain: &Chain) {
    let wallet = wallet(chain).await;
    let world = World::on(chain).await;
    let payment = asked(chain, (wallet, &stranger()), EXACT, 1_000, 1);
    let (_, verified) = world.ask("/verify", &payment).await;
    assert_eq!(verified["isValid"], true, "{verified}");
    tell(chain, wallet, &closeCall {}).await;
    let before = chain.client(gas()).get_transaction_count(gas().address()).await.unwrap();
    assert_unsigned(&world, &payment).await;
    let after = chain.client(gas()).get_transaction_count(gas().address()).await.unwrap();
    assert_eq!((world.paid().await, after), (0, before));
}

async fn a13_a_wallet_that_denies_its_word_in_a_block_costs_one_transaction(chain: &Chain) {
    let wallet = wallet(chain).await;
    let world = World::on(chain).await;
    let owned = || async { chain.client(gas()).get_balance(gas().address()).await.unwrap() };
    let sent =
        || async { chain.client(gas()).get_transaction_count(gas().address()).await.unwrap() };
    let pay = |nonce| asked(chain, (wallet, &stranger()), EXACT, 1_000, nonce);
    let good = pay(1);
    let (_, settled) = world.ask("/settle", &good).await;
    assert_eq!(settled["success"], true, "{settled}");
    tell(chain, wallet, &waverCall { wavering: true }).await;
    let (_, verified) = world.ask("/verify", &pay(2)).await;
    assert_eq!(verified["isValid"], true, "{verified}");
    let before = (sent().await, owned().await);
    // Refused and not pending: its transaction is there, and did nothing.
    let (_, settled) = world.ask("/settle", &pay(2)).await;
    let code = json!("invalid_transaction_state");
    assert_eq!((&settled["success"], &settled["errorReason"]), (&json!(false), &code));
    assert_eq!((sent().await, world.paid().await), (before.0 + 1, 1_000));
    let lost = before.1 - owned().await;
    assert!(lost > U256::ZERO);
    // Nothing more is lost to it for a while, by this payment or another, and what was paid stays so.
    for nonce in [2, 3] {
        assert_refused(&world, &pay(nonce), "invalid_transaction_state").await;
    }
    tell(chain, wallet, &waverCall { wavering: false }).await;
    assert_refused(&world, &pay(3), "invalid_transaction_state").await;
    assert_refused(&world, &good, "invalid_exact_evm_nonce_already_used").await;
    assert_eq!((sent().await, before.1 - owned().await), (before.0 + 1, lost));
}

async fn a12_nothing_is_called_that_a_signature_says(chain: &Chain) {
    let there = wallet(chain).await;
    let world = World::on(chain).await;
    let wrap = |payment: Value| {
        let call = approveCall { spender: stranger().address(), value: U256::MAX }.abi_encode();
        let inner = Bytes::from(signature(&payment));
        let wrapped = (chain.token, Bytes::from(call), inner).abi_encode_params();
        with_signature(payment, &[wrapped.as_slice(), WRAPPED.as_slice()].concat())
    };
    // A wallet that is there needs nobody to make it: what it is shown is the signature within.
    let payment = wrap(asked(chain, (there, &stranger()), EXACT, 1_000, 1));
    let (_, settled) = world.ask("/settle", &payment).await;
    assert_eq!(settled["success"], true, "{settled}");
    // One that is not there is not made, where nobody named what would make it.
    let nowhere = Address::repeat_byte(0x77);
    let payment = wrap(asked(chain, (nowhere, &stranger()), EXACT, 1, 2));
    assert_refused(&world, &payment, "eip6492_factory_not_allowed").await;
    let code = chain.client(stranger()).get_code_at(nowhere).await.unwrap();
    assert!(code.is_empty());
    assert_eq!(world.paid().await, 1_000);
}

async fn a_forged_word_of_a_wallet_does_not_stand_in_its_way(chain: &Chain) {
    let wallet = wallet(chain).await;
    let world = World::on(chain).await;
    let upto = (Scheme::Upto { facilitator: gas().address() }, TransferMethod::Permit2);
    let charged = |mut payment: Value, amount: &str| {
        payment["paymentRequirements"]["amount"] = json!(amount);
        payment
    };
    let good = asked(chain, (wallet, &stranger()), upto, 2_000, 1);
    let forged = with_signature(good.clone(), &[1; 65]);
    for amount in ["0", "1", "2000"] {
        let (_, refused) = world.ask("/settle", &charged(forged.clone(), amount)).await;
        assert_eq!(refused["success"], false, "{refused}");
    }
    let (_, settled) = world.ask("/settle", &charged(good, "150")).await;
    assert_eq!((&settled["success"], &settled["amount"]), (&json!(true), &json!("150")));
    assert_eq!(world.paid().await, 150);
}

/// The account of `key` runs a wallet's code from here on, as it may by EIP-7702. Only anvil lets itself be told.
async fn run_code(chain: &Chain, key: &PrivateKeySigner) {
    let code = artifact_code("KeyWallet", "bytecode");
    let code = [code.as_ref(), &key.address().abi_encode()].concat();
    let wallet = send(chain, TransactionRequest::default().with_deploy_code(code)).await.unwrap();
    let code = chain.client(stranger()).get_code_at(wallet).await.unwrap();
    chain.ask_node("anvil_setCode", json!([key.address(), code])).await;
}

/// What its code does: how much gas its word costs besides, and whether it denies in a block what it says before.
async fn behave(chain: &Chain, account: Address, greed: u64, wavering: bool) {
    // The layout of KeyWallet: two flags of a byte each in the first word, and the gas in the second.
    let flags = U256::from(u64::from(wavering) << 8);
    for (place, word) in [(0, flags), (1, U256::from(greed))] {
        let place = B256::from(U256::from(place));
        chain.ask_node("anvil_setStorageAt", json!([account, place, B256::from(word)])).await;
    }
}

#[tokio::test]
async fn a13_a_key_whose_account_runs_code_is_believed_and_bounded_as_a_contract_is() {
    let Some(chain) = Chain::anvil().await else { return };
    run_code(&chain, &payer()).await;
    let world = World::on(&chain).await;
    let sent =
        || async { chain.client(gas()).get_transaction_count(gas().address()).await.unwrap() };
    let pay = |nonce| asked(&chain, (payer().address(), &payer()), EXACT, 1_000, nonce);
    let (_, settled) = world.ask("/settle", &pay(1)).await;
    assert_eq!(settled["success"], true, "{settled}");

    behave(&chain, payer().address(), 3_000_000, false).await;
    let before = sent().await;
    assert_refused(&world, &pay(2), "invalid_transaction_state").await;
    assert_eq!(sent().await, before, "nobody pays for what its code burns");

    behave(&chain, payer().address(), 0, true).await;
    let (_, settled) = world.ask("/settle", &pay(3)).await;
    let code = json!("invalid_transaction_state");
    assert_eq!((&settled["success"], &settled["errorReason"]), (&json!(false), &code));
    for nonce in [3, 4] {
        assert_refused(&world, &pay(nonce), "invalid_transaction_state").await;
    }
    assert_eq!((sent().await, world.paid().await), (before + 1, 1_000));
    chain.stop().await;
}
