//! `bursar facilitator` as payees elsewhere see it: JSON over HTTP, the same over gRPC, settled on a chain.
//! Row ids are those of the threat model.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, U256};
use alloy::providers::Provider;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::transports::http::reqwest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bursar::domain::asset::AssetRegistry;
use bursar::domain::commitment::{Commitment, Scheme, TransferMethod};
use bursar::domain::money::Amount;
use bursar::domain::policy::Rates;
use bursar::domain::quote::PayBy;
use bursar::domain::x402::payload::payment_payload;
use bursar::domain::x402::requirements::Requirement;
use bursar::domain::x402::{TokenDomain, TokenDomains};
use bursar::edge::clock::SystemClock;
use bursar::edge::evm::{Evm, EvmSettler};
use bursar::edge::grpc::{Address as At, Listener, Reach, connect_one, pb};
use bursar::node::{FacilitatorNode, FacilitatorPlan};
use bursar::ports::rail::Evidence;
use bursar::ports::signer::authorize;
use bursar::runtime::facilitator::{PAYER_RATES, Rail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::chain::{Chain, gas, now_s, payee, payer};
use crate::contracts::scene::Scene;
use crate::evm::on_both_chains;

on_both_chains!(
    an_exact_payment_is_verified_and_settled_and_told_once,
    d05_of_many_settles_at_once_one_is_told_that_it_paid,
    what_others_accept_wrongly_is_refused_by_the_specifications_code,
    version_1_is_understood_and_answered_in_its_own_words,
    an_upto_payment_settles_for_its_charge_and_for_no_second_one,
    what_was_told_is_remembered_over_a_restart,
);

pub struct World<'c> {
    chain: &'c Chain,
    evm: Evm,
    folder: TempDir,
    pub node: FacilitatorNode,
    pub client: reqwest::Client,
}

async fn start(
    chain: &Chain,
    evm: &Evm,
    folder: &TempDir,
    settler: EvmSettler,
    payer_rates: Rates,
    own: BTreeSet<Address>,
) -> FacilitatorNode {
    let settler = Arc::new(settler);
    let listener = Listener::bind(&At::Tcp(([127, 0, 0, 1], 0).into()), "a test").await.unwrap();
    FacilitatorNode::start(FacilitatorPlan {
        settlements: folder.path().join("settlements.db"),
        rails: vec![Rail { settler, evidence: Arc::new(evm.clone()) }],
        assets: AssetRegistry::new(chain.config().assets),
        payer_rates,
        own,
        registry: None,
        listener,
        clock: Arc::new(SystemClock),
    })
    .unwrap()
}

impl<'c> World<'c> {
    pub async fn on(chain: &'c Chain) -> Self {
        let evm = chain.evm().await;
        let settler = chain.settler(&evm).await;
        Self::by(chain, evm, settler).await
    }

    /// The same, where it settles by `settler`.
    pub async fn by(chain: &'c Chain, evm: Evm, settler: EvmSettler) -> Self {
        Self::within(chain, evm, settler, PAYER_RATES).await
    }

    /// The same, where one payer's payments are looked into so fast.
    pub async fn within(
        chain: &'c Chain,
        evm: Evm,
        settler: EvmSettler,
        payer_rates: Rates,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let node = start(chain, &evm, &folder, settler, payer_rates, BTreeSet::new()).await;
        Self { chain, evm, folder, node, client: reqwest::Client::new() }
    }

    /// The same, where these payees sell from the same gas account.
    pub async fn beside(chain: &'c Chain, own: BTreeSet<Address>) -> Self {
        let (folder, evm) = (tempfile::tempdir().unwrap(), chain.evm().await);
        let settler = chain.settler(&evm).await;
        let node = start(chain, &evm, &folder, settler, PAYER_RATES, own).await;
        Self { chain, evm, folder, node, client: reqwest::Client::new() }
    }

    /// A question that is not asked yet.
    pub fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        let asked = self.client.post(format!("{}{path}", self.node.url));
        asked.header("content-type", "application/json").body(body.to_string())
    }

    pub async fn ask(&self, path: &str, body: &Value) -> (u16, Value) {
        let sent = self.post(path, body).send().await.unwrap();
        let status = sent.status().as_u16();
        (status, serde_json::from_slice(&sent.bytes().await.unwrap()).unwrap())
    }

    /// Settles, and gives out what is said of the payment's extensions.
    pub async fn settle_told(&self, body: &Value) -> Option<Value> {
        let sent = self.post("/settle", body).send().await.unwrap();
        let word = sent.headers().get("EXTENSION-RESPONSES").cloned();
        let settled: Value = serde_json::from_slice(&sent.bytes().await.unwrap()).unwrap();
        assert_eq!(settled["success"], true, "{settled}");
        let word = STANDARD.decode(word?.as_bytes()).unwrap();
        Some(serde_json::from_slice(&word).unwrap())
    }

    pub async fn paid(&self) -> u128 {
        self.evm.balance(self.chain.asset(), payee()).await.unwrap().amount.get()
    }

    /// How many settlements its journal has in the end.
    pub async fn written_down(self) -> i64 {
        self.node.drain().await;
        let file = rusqlite::Connection::open(self.folder.path().join("settlements.db")).unwrap();
        // Its writer closes it on a thread of its own.
        file.busy_timeout(Duration::from_secs(60)).unwrap();
        file.query_row("SELECT count(*) FROM settlements", [], |row| row.get(0)).unwrap()
    }

    async fn restart(self) -> Self {
        let Self { chain, evm, folder, node, client } = self;
        node.drain().await;
        let settler = chain.settler(&evm).await;
        let node = start(chain, &evm, &folder, settler, PAYER_RATES, BTreeSet::new()).await;
        Self { chain, evm, folder, node, client }
    }
}

/// What a payee sends on: a payment of `amount` that its payer signed for just that.
pub fn asked(
    chain: &Chain,
    scheme: Scheme,
    method: TransferMethod,
    amount: u128,
    nonce: u64,
) -> Value {
    asked_of(chain, (&payer(), payee()), (scheme, method), amount, nonce)
}

/// The same of somebody else.
fn asked_of(
    chain: &Chain,
    (payer, pay_to): (&PrivateKeySigner, Address),
    (scheme, method): (Scheme, TransferMethod),
    amount: u128,
    nonce: u64,
) -> Value {
    let tokens = TokenDomains::new(&AssetRegistry::new(chain.config().assets));
    let token: &TokenDomain = tokens.find(chain.asset()).unwrap();
    let pay_by = PayBy { scheme, method, asset: chain.asset(), pay_to, timeout_s: 300 };
    let requirement = Requirement { pay_by, amount: Amount::new(amount), token };
    let commitment = Commitment {
        scheme,
        method,
        payer: payer.address(),
        pay_to,
        valid_before_s: now_s() + 300,
        nonce: B256::from(U256::from(nonce) << 200),
        ..chain.commitment(amount, 0)
    };
    let sign = |digest| payer.sign_hash_sync(&digest).unwrap();
    let (commitment, signature) = authorize(commitment, token, sign);
    let authorization = bursar::ports::rail::Authorization { commitment, signature };
    let accepted = requirement.to_wire();
    let paid = payment_payload(None, accepted.clone(), &authorization, None, None);
    json!({ "x402Version": 2, "paymentPayload": paid, "paymentRequirements": accepted })
}

pub fn exact(chain: &Chain, amount: u128, nonce: u64) -> Value {
    exact_of(chain, &payer(), amount, nonce)
}

/// The same to somebody else.
pub fn exact_to(chain: &Chain, pay_to: Address, amount: u128, nonce: u64) -> Value {
    let by = (Scheme::Exact, TransferMethod::Eip3009);
    asked_of(chain, (&payer(), pay_to), by, amount, nonce)
}

pub fn exact_of(chain: &Chain, payer: &PrivateKeySigner, amount: u128, nonce: u64) -> Value {
    asked_of(chain, (payer, payee()), (Scheme::Exact, TransferMethod::Eip3009), amount, nonce)
}

async fn an_exact_payment_is_verified_and_settled_and_told_once(chain: &Chain) {
    let world = World::on(chain).await;
    let supported = world.client.get(format!("{}/supported", world.node.url)).send().await.unwrap();
    let supported: Value = serde_json::from_slice(&supported.bytes().await.unwrap()).unwrap();
    let account = gas().address().to_string();
    assert_eq!(supported["kinds"][0]["network"], "eip155:31337");
    assert_eq!(supported["kinds"][1]["extra"]["facilitatorAddress"], account.as_str());
    assert_eq!(supported["kinds"][2]["extra"]["receiverAuthorizer"], account.as_str());
    assert_eq!(supported["signers"], json!({ "eip155:*": [account] }));

    let asked = exact(chain, 1_000, 1);
    let (status, verified) = world.ask("/verify", &asked).await;
    assert_eq!((status, &verified["isValid"]), (200, &json!(true)), "{verified}");
    assert_eq!(verified["payer"], payer().address().to_string());
    let (status, settled) = world.ask("/settle", &asked).await;
    assert_eq!((status, &settled["success"]), (200, &json!(true)), "{settled}");
    assert_eq!(settled["network"], "eip155:31337");
    assert_eq!(settled["amount"], "1000");
    let hash = settled["transaction"].as_str().unwrap().to_owned();

    // A payee that serves by these words alone must not serve twice.
    let (_, again) = world.ask("/settle", &asked).await;
    assert_eq!(again["success"], false);
    assert_eq!(again["errorReason"], "invalid_exact_evm_nonce_already_used");
    assert_eq!(again["transaction"], hash.as_str());
    let (_, again) = world.ask("/verify", &asked).await;
    assert_eq!(again["isValid"], false);
    assert_eq!(again["invalidReason"], "invalid_exact_evm_nonce_already_used");
    assert_eq!(world.paid().await, 1_000);

    // The same over gRPC.
    let channel = connect_one(&world.node.url, Reach::Loopback).await.unwrap();
    let mut client = pb::facilitator_service_client::FacilitatorServiceClient::new(channel);
    let asked = exact(chain, 500, 2);
    let bytes = |key: &str| bytes::Bytes::from(asked[key].to_string());
    let (payload, requirements) = (bytes("paymentPayload"), bytes("paymentRequirements"));
    let request = pb::VerifyPaymentRequest {
        payment_payload: payload.clone(),
        payment_requirements: requirements.clone(),
    };
    assert!(client.verify_payment(request).await.unwrap().into_inner().is_valid);
    let request =
        pb::SettlePaymentRequest { payment_payload: payload, payment_requirements: requirements };
    assert!(client.settle_payment(request.clone()).await.unwrap().into_inner().success);
    let again = client.settle_payment(request).await.unwrap().into_inner();
    assert_eq!(again.error_reason, "invalid_exact_evm_nonce_already_used");
    assert_eq!(world.paid().await, 1_500);
    let kinds = client.get_supported(pb::GetSupportedRequest {}).await.unwrap().into_inner().kinds;
    assert_eq!(kinds[0].scheme, "exact");
}

async fn d05_of_many_settles_at_once_one_is_told_that_it_paid(chain: &Chain) {
    let world = World::on(chain).await;
    let sent = chain.client(gas()).get_transaction_count(gas().address()).await.unwrap();
    let asked = exact(chain, 700, 1);
    let answers = futures_util::future::join_all((0..16).map(|_| world.ask("/settle", &asked)));
    let mut told = 0;
    for (_, answer) in answers.await {
        if answer["success"] == true {
            told += 1;
        } else {
            let reason = answer["errorReason"].as_str().unwrap();
            let known = ["duplicate_settlement", "invalid_exact_evm_nonce_already_used"];
            assert!(known.contains(&reason), "{answer}");
        }
    }
    assert_eq!((told, world.paid().await), (1, 700));
    let now = chain.client(gas()).get_transaction_count(gas().address()).await.unwrap();
    assert_eq!(now, sent + 1);
}

async fn what_others_accept_wrongly_is_refused_by_the_specifications_code(chain: &Chain) {
    let world = World::on(chain).await;
    let good = exact(chain, 1_000, 1);
    let with = |path: &str, value: Value| {
        let mut bad = good.clone();
        *bad.pointer_mut(path).unwrap() = value;
        bad
    };
    let both = |field: &str, value: Value| {
        let mut bad = with(&format!("/paymentRequirements/{field}"), value.clone());
        *bad.pointer_mut(&format!("/paymentPayload/accepted/{field}")).unwrap() = value;
        bad
    };
    let other = Address::repeat_byte(9).to_string();
    let table = [
        // More was signed than is asked.
        (both("amount", json!("999")), "invalid_exact_evm_payload_authorization_value_mismatch"),
        (both("amount", json!("1001")), "invalid_exact_evm_payload_authorization_value_mismatch"),
        (
            with("/paymentPayload/accepted/amount", json!("1")),
            "invalid_exact_evm_payload_authorization_value_mismatch",
        ),
        (both("extra/name", json!("USD Coin")), "invalid_payment_requirements"),
        (both("extra/version", json!("1")), "invalid_payment_requirements"),
        (both("asset", json!(other)), "invalid_payment_requirements"),
        (both("payTo", json!(other)), "invalid_exact_evm_payload_recipient_mismatch"),
        (with("/paymentRequirements/payTo", json!(other)), "invalid_payment_requirements"),
        (both("network", json!("eip155:1")), "invalid_payment_requirements"),
        (with("/paymentRequirements/network", json!("eip155:1")), "invalid_network"),
        (both("scheme", json!("deferred")), "unsupported_scheme"),
        (
            with("/paymentPayload/payload/authorization/nonce", json!(B256::repeat_byte(3))),
            "invalid_exact_evm_payload_signature",
        ),
        (
            with("/paymentPayload/payload/authorization/validBefore", json!("1700000000")),
            "invalid_exact_evm_payload_authorization_valid_before",
        ),
    ];
    for (bad, code) in table {
        let (_, verified) = world.ask("/verify", &bad).await;
        assert_eq!(verified["isValid"], false, "{bad}");
        assert_eq!(verified["invalidReason"], code, "{bad}");
        let (_, settled) = world.ask("/settle", &bad).await;
        assert_eq!((&settled["success"], &settled["errorReason"]), (&json!(false), &json!(code)));
        assert_eq!(settled["transaction"], "");
    }
    // What does not read is said so, in the same shape.
    for bad in [json!({}), json!([]), json!({ "x402Version": 7 }), json!({ "x402Version": 2 })] {
        let (status, verified) = world.ask("/verify", &bad).await;
        assert_eq!((status, &verified["isValid"]), (400, &json!(false)), "{bad}");
    }
    let poor = exact(chain, 5_000_000, 9);
    let (_, verified) = world.ask("/verify", &poor).await;
    assert_eq!(verified["invalidReason"], "insufficient_funds");
    assert_eq!(world.paid().await, 0);
}

async fn version_1_is_understood_and_answered_in_its_own_words(chain: &Chain) {
    let world = World::on(chain).await;
    let two = exact(chain, 1_000, 1);
    let terms = &two["paymentRequirements"];
    // The chain of the tests has no name in version 1, so that only the reading is told from here.
    let one = json!({
        "x402Version": 1,
        "paymentPayload": { "x402Version": 1, "scheme": "exact", "network": "base-sepolia",
            "payload": two["paymentPayload"]["payload"] },
        "paymentRequirements": { "scheme": "exact", "network": "base-sepolia",
            "maxAmountRequired": "1000", "resource": "http://127.0.0.1/", "description": "",
            "mimeType": "", "payTo": terms["payTo"], "maxTimeoutSeconds": 300,
            "asset": terms["asset"], "extra": terms["extra"] },
    });
    let (status, settled) = world.ask("/settle", &one).await;
    assert_eq!((status, &settled["success"]), (200, &json!(false)), "{settled}");
    // Understood as Base Sepolia, where this facilitator has no such token.
    assert_eq!(settled["errorReason"], "invalid_payment_requirements");
    assert_eq!(settled["network"], "base-sepolia");
    let mut unknown = one;
    for part in ["paymentPayload", "paymentRequirements"] {
        unknown[part]["network"] = json!("nowhere");
    }
    let (_, verified) = world.ask("/verify", &unknown).await;
    assert_eq!(verified["invalidReason"], "invalid_network");
}

async fn an_upto_payment_settles_for_its_charge_and_for_no_second_one(chain: &Chain) {
    Scene::on(chain).payer_allows_permit2().await;
    let world = World::on(chain).await;
    let upto = Scheme::Upto { facilitator: gas().address() };
    let charged = |mut asked: Value, amount: &str| {
        asked["paymentRequirements"]["amount"] = json!(amount);
        asked
    };
    let first = asked(chain, upto, TransferMethod::Permit2, 2_000, 1);
    let (_, verified) = world.ask("/verify", &first).await;
    assert_eq!(verified["isValid"], true, "{verified}");
    let (_, above) = world.ask("/settle", &charged(first.clone(), "2001")).await;
    assert_eq!(above["errorReason"], "invalid_upto_evm_payload_settlement_exceeds_amount");
    let (_, settled) = world.ask("/settle", &charged(first.clone(), "150")).await;
    assert_eq!((&settled["success"], &settled["amount"]), (&json!(true), &json!("150")));
    assert_eq!(world.paid().await, 150);

    // A charge of nothing leaves no trace on the chain, and is over all the same.
    let second = asked(chain, upto, TransferMethod::Permit2, 2_000, 2);
    let (_, settled) = world.ask("/settle", &charged(second.clone(), "0")).await;
    assert_eq!((&settled["success"], &settled["transaction"]), (&json!(true), &json!("")));
    for path in ["/verify", "/settle"] {
        let (_, again) = world.ask(path, &second).await;
        assert!(again["isValid"] == false || again["success"] == false, "{again}");
    }
    assert_eq!(world.paid().await, 150);

    // For another facilitator.
    let other = Scheme::Upto { facilitator: Address::repeat_byte(5) };
    let theirs = asked(chain, other, TransferMethod::Permit2, 2_000, 3);
    let (_, verified) = world.ask("/verify", &theirs).await;
    assert_eq!(verified["invalidReason"], "upto_facilitator_mismatch");
}

async fn what_was_told_is_remembered_over_a_restart(chain: &Chain) {
    let world = World::on(chain).await;
    let asked = exact(chain, 300, 1);
    let (_, settled) = world.ask("/settle", &asked).await;
    assert_eq!(settled["success"], true);
    let world = world.restart().await;
    let (_, again) = world.ask("/settle", &asked).await;
    assert_eq!(again["errorReason"], "invalid_exact_evm_nonce_already_used");
    assert_eq!(again["transaction"], settled["transaction"]);
    assert_eq!(world.paid().await, 300);
}
