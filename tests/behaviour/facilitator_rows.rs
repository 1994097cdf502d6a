//! What strangers send to a facilitator that answers everybody. Row ids are those of the threat model.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy::primitives::B256;
use bursar::domain::commitment::{Scheme, TransferMethod};
use bursar::domain::policy::Rates;
use bursar::edge::clock::SystemClock;
use bursar::edge::evm::{EvmSettler, SettlerConfig};
use serde_json::{Value, json};

use crate::chain::{Chain, gas, stranger};
use crate::evm_faults::{Fault, Proxy};
use crate::facilitator::{World, asked, exact, exact_of};

/// `good` with something else at `path`.
fn with(good: &Value, path: &str, value: Value) -> Value {
    let mut bad = good.clone();
    *bad.pointer_mut(path).unwrap() = value;
    bad
}

/// The same word with its last digit another one.
fn other_digit(word: &Value) -> Value {
    let word = word.as_str().unwrap();
    let (front, last) = word.split_at(word.len() - 1);
    json!(format!("{front}{}", if last == "1" { "2" } else { "1" }))
}

/// How often the node is asked anything.
pub fn count(proxy: &Proxy) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&count);
    proxy.plan(move |_, _| {
        counting.fetch_add(1, Ordering::SeqCst);
        Fault::Pass
    });
    count
}

async fn assert_refused(world: &World<'_>, bad: &Value) {
    let (_, verified) = world.ask("/verify", bad).await;
    assert_eq!(verified["isValid"], false, "{bad}");
    let (_, settled) = world.ask("/settle", bad).await;
    assert_eq!(settled["success"], false, "{bad}");
}

#[tokio::test]
async fn a01_t10_what_is_wrong_in_itself_costs_the_chain_one_question_for_each_payer() {
    let mut chain = Chain::sandbox().await;
    let proxy = Proxy::before(&mut chain).await;
    let world = World::on(&chain).await;
    let upto = Scheme::Upto { facilitator: gas().address() };
    let table = [
        (
            exact(&chain, 1_000, 1),
            "authorization",
            &["from", "to", "value", "validAfter", "validBefore", "nonce"][..],
        ),
        (
            asked(&chain, Scheme::Exact, TransferMethod::Permit2, 1_000, 2),
            "permit2Authorization",
            &["from", "permitted/amount", "nonce", "deadline", "witness/to"],
        ),
        (
            asked(&chain, upto, TransferMethod::Permit2, 1_000, 3),
            "permit2Authorization",
            &["from", "permitted/amount", "nonce", "deadline", "witness/to", "witness/facilitator"],
        ),
    ];
    let questions = count(&proxy);
    for (good, part, fields) in table {
        let signed = "/paymentPayload/payload/signature";
        assert_refused(&world, &with(&good, signed, other_digit(good.pointer(signed).unwrap())))
            .await;
        for field in fields {
            let path = format!("/paymentPayload/payload/{part}/{field}");
            let other = other_digit(good.pointer(&path).unwrap());
            assert_refused(&world, &with(&good, &path, other)).await;
        }
    }
    // Whether the two payers that were named are contracts, which may sign as they like.
    assert_eq!(questions.load(Ordering::SeqCst), 2);
    assert_eq!(world.paid().await, 0);
}

#[tokio::test]
async fn a09_a_payment_of_one_scheme_under_the_name_of_another_is_refused() {
    let chain = Chain::sandbox().await;
    let world = World::on(&chain).await;
    let upto = Scheme::Upto { facilitator: gas().address() };
    let kinds = [
        exact(&chain, 1_000, 1),
        asked(&chain, Scheme::Exact, TransferMethod::Permit2, 1_000, 2),
        asked(&chain, upto, TransferMethod::Permit2, 1_000, 3),
    ];
    for (one, named) in kinds.iter().enumerate() {
        for (other, paid) in kinds.iter().enumerate() {
            if one != other {
                let paid = paid["paymentPayload"]["payload"].clone();
                assert_refused(&world, &with(named, "/paymentPayload/payload", paid)).await;
            }
        }
        let channel = with(named, "/paymentPayload/accepted/scheme", json!("batch-settlement"));
        let channel = with(&channel, "/paymentRequirements/scheme", json!("batch-settlement"));
        assert_refused(&world, &channel).await;
    }
    assert_eq!(world.paid().await, 0);
}

#[tokio::test]
async fn a08_a28_one_network_has_one_name_and_one_address_many_spellings() {
    let chain = Chain::sandbox().await;
    let world = World::on(&chain).await;
    let good = exact(&chain, 1_000, 1);
    let both = |field: &str, change: &dyn Fn(&str) -> String| {
        let mut changed = good.clone();
        for part in ["/paymentRequirements/", "/paymentPayload/accepted/"] {
            let value = changed.pointer_mut(&format!("{part}{field}")).unwrap();
            *value = json!(change(value.as_str().unwrap()));
        }
        changed
    };
    for field in ["asset", "payTo"] {
        let lower = both(field, &|text| text.to_lowercase());
        let (_, verified) = world.ask("/verify", &lower).await;
        assert_eq!(verified["isValid"], true, "{field}: {verified}");
        assert_refused(&world, &both(field, &|text| text.replacen("0x", "0X", 1))).await;
    }
    for network in ["EIP155:31337", "eip155:031337", "eip155:0x7a69", "eip155:84532", "eip155:"] {
        let named = both("network", &|_| network.to_owned());
        let (_, verified) = world.ask("/verify", &named).await;
        let reason = verified["invalidReason"].as_str().unwrap();
        let known = ["invalid_network", "invalid_payment_requirements"];
        assert!(known.contains(&reason), "{network}: {verified}");
    }
    assert_eq!(world.paid().await, 0);
}

#[tokio::test]
async fn t05_what_is_too_long_is_said_so_in_the_same_shape() {
    let chain = Chain::sandbox().await;
    let world = World::on(&chain).await;
    let mut long = exact(&chain, 1_000, 1);
    long["paymentPayload"]["extensions"] = json!({ "padding": "a".repeat(300 * 1024) });
    let (status, verified) = world.ask("/verify", &long).await;
    assert_eq!((status, &verified["isValid"]), (413, &json!(false)));
    assert_eq!(verified["invalidReason"], "invalid_payload");
    let (status, settled) = world.ask("/settle", &long).await;
    assert_eq!((status, &settled["success"]), (413, &json!(false)));
    assert_eq!(settled["errorReason"], "invalid_payload");
}

#[tokio::test]
async fn what_a_page_in_a_browser_may_send_unasked_is_refused_in_the_same_shape() {
    let chain = Chain::sandbox().await;
    let world = World::on(&chain).await;
    let payment = exact(&chain, 1_000, 1);
    for kind in [Some("text/plain"), Some("application/x-www-form-urlencoded"), None] {
        for path in ["/verify", "/settle"] {
            let url = format!("{}{path}", world.node.url);
            let mut asked = world.client.post(url).body(payment.to_string().into_bytes());
            if let Some(kind) = kind {
                asked = asked.header("content-type", kind);
            }
            let told = asked.send().await.unwrap();
            assert_eq!(told.status().as_u16(), 415, "{kind:?}");
            let told: Value = serde_json::from_slice(&told.bytes().await.unwrap()).unwrap();
            let reason = told.get("invalidReason").or(told.get("errorReason"));
            assert_eq!(reason, Some(&json!("invalid_payload")));
        }
    }
    assert_eq!(world.paid().await, 0);
}

#[tokio::test]
async fn t10_who_has_no_money_leaves_nothing_written_down() {
    let chain = Chain::sandbox().await;
    let world = World::on(&chain).await;
    for nonce in 1..=20 {
        let poor = exact_of(&chain, &stranger(), 1_000, nonce);
        let (_, settled) = world.ask("/settle", &poor).await;
        assert_eq!(settled["errorReason"], "insufficient_funds", "{settled}");
    }
    let paid = exact(&chain, 1_000, 21);
    let (_, settled) = world.ask("/settle", &paid).await;
    assert_eq!(settled["success"], true, "{settled}");
    assert_eq!(world.written_down().await, 1);
}

#[tokio::test]
async fn d07_an_open_outcome_is_settlement_pending_and_asking_again_ends_it() {
    let mut chain = Chain::sandbox().await;
    let proxy = Proxy::before(&mut chain).await;
    let evm = chain.evm().await;
    let config = SettlerConfig { wait_max: Duration::from_millis(300), ..Default::default() };
    let settler = EvmSettler::start(&evm, Arc::new(gas()), Arc::new(SystemClock), config);
    let world = World::by(&chain, evm.clone(), settler.await.unwrap()).await;
    let payment = exact(&chain, 1_000, 1);
    // The node has it, and neither says so nor shows it.
    proxy.plan(|method, _| match method {
        "eth_sendRawTransaction" => Fault::LoseAnswer,
        "eth_getTransactionReceipt" => Fault::Answer(Value::Null),
        _ => Fault::Pass,
    });
    let (_, open) = world.ask("/settle", &payment).await;
    assert_eq!(open["success"], false);
    assert_eq!(open["errorReason"], "settlement_pending", "{open}");
    let hash = open["transaction"].as_str().unwrap();
    assert!(hash.parse::<B256>().is_ok(), "{open}");
    proxy.plan(|_, _| Fault::Pass);
    let (_, settled) = world.ask("/settle", &payment).await;
    assert_eq!((&settled["success"], &settled["transaction"]), (&json!(true), &json!(hash)));
    assert_eq!(world.paid().await, 1_000);
}

#[tokio::test]
async fn t10_who_asks_too_much_about_one_payer_is_told_when_to_ask_again_and_the_chain_is_not_asked()
 {
    let mut chain = Chain::sandbox().await;
    let proxy = Proxy::before(&mut chain).await;
    let evm = chain.evm().await;
    let settler = chain.settler(&evm).await;
    let rates = Rates { calls_per_minute: Some(3), ..Rates::default() };
    let world = World::within(&chain, evm, settler, rates).await;
    let payment = exact(&chain, 1_000, 1);
    for _ in 0..3 {
        let (status, verified) = world.ask("/verify", &payment).await;
        assert_eq!((status, &verified["isValid"]), (200, &json!(true)), "{verified}");
    }
    let questions = count(&proxy);
    let told = world.post("/verify", &payment).send().await.unwrap();
    assert_eq!(told.status().as_u16(), 429);
    let wait: u64 = told.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let told: Value = serde_json::from_slice(&told.bytes().await.unwrap()).unwrap();
    assert_eq!(
        (&told["isValid"], &told["invalidReason"]),
        (&json!(false), &json!("too_many_requests"))
    );
    assert_eq!(questions.load(Ordering::SeqCst), 0);
    // Somebody else is heard, and what was verified before can be settled.
    let (_, poor) = world.ask("/verify", &exact_of(&chain, &stranger(), 1_000, 2)).await;
    assert_eq!(poor["invalidReason"], "insufficient_funds");
    let (_, settled) = world.ask("/settle", &payment).await;
    assert_eq!(settled["success"], true, "{settled}");
    assert_eq!(world.paid().await, 1_000);
}

#[tokio::test]
async fn t11_where_the_chain_is_silent_nothing_is_said_of_the_payment() {
    let mut chain = Chain::sandbox().await;
    let proxy = Proxy::before(&mut chain).await;
    let world = World::on(&chain).await;
    let payment = exact(&chain, 1_000, 1);
    proxy.plan(|_, _| Fault::LoseAnswer);
    let (status, verified) = world.ask("/verify", &payment).await;
    assert_eq!((status, &verified["isValid"]), (503, &json!(false)));
    assert_eq!(verified["invalidReason"], "unexpected_verify_error");
    let (status, settled) = world.ask("/settle", &payment).await;
    assert_eq!((status, &settled["success"]), (503, &json!(false)));
    assert_eq!(settled["errorReason"], "unexpected_settle_error");
    // It was no refusal: asked again, it settles.
    proxy.plan(|_, _| Fault::Pass);
    let (_, settled) = world.ask("/settle", &payment).await;
    assert_eq!(settled["success"], true, "{settled}");
    assert_eq!(world.paid().await, 1_000);
}
