//! A payee that settles by facilitators elsewhere, and what it makes of those that lie, stall or say nothing:
//! real sockets, the chain as the only witness. Row ids are those of the threat model.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use bursar::domain::asset::AssetRegistry;
use bursar::domain::money::Amount;
use bursar::edge::clock::SystemClock;
use bursar::edge::http::remote::{RemoteFacilitators, RemotePlan};
use bursar::ports::rail::{Authorization, Evidence, RailError, RefusedBy, Settlement, Settler};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;

use crate::chain::{Chain, payee, settle_call, stranger};

/// What a fake facilitator does with one request to settle.
#[derive(Clone)]
enum Act {
    /// Says this.
    Say(u16, String),
    /// Settles it as anybody may, and says this.
    SettleAndSay(Box<Authorization>, u16, String),
}

#[derive(Clone)]
struct Fake {
    url: String,
    acts: Arc<Mutex<VecDeque<Act>>>,
    heard: Arc<Mutex<Vec<Value>>>,
    chain: Arc<Chain>,
    verdict: Arc<Mutex<(u16, String)>>,
}

impl Fake {
    async fn on(chain: &Arc<Chain>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let valid = (200, json!({ "isValid": true }).to_string());
        let fake = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            acts: Arc::default(),
            heard: Arc::default(),
            chain: Arc::clone(chain),
            verdict: Arc::new(Mutex::new(valid)),
        };
        let router = Router::new()
            .route("/supported", get(supported))
            .route("/verify", post(verify))
            .route("/settle", post(settle))
            .with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        fake
    }

    fn next(&self, act: Act) {
        self.acts.lock().unwrap().push_back(act);
    }

    fn heard(&self) -> usize {
        self.heard.lock().unwrap().len()
    }
}

async fn supported() -> String {
    let kinds = json!([{ "x402Version": 2, "scheme": "exact", "network": "eip155:31337" }]);
    json!({ "kinds": kinds, "extensions": [], "signers": {} }).to_string()
}

async fn verify(State(fake): State<Fake>, _body: Bytes) -> (StatusCode, String) {
    let (status, text) = fake.verdict.lock().unwrap().clone();
    (StatusCode::from_u16(status).unwrap(), text)
}

async fn settle(State(fake): State<Fake>, body: Bytes) -> (StatusCode, String) {
    fake.heard.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
    let act = fake.acts.lock().unwrap().pop_front();
    let act = act.unwrap_or(Act::Say(500, String::new()));
    let (status, text) = match act {
        Act::Say(status, text) => (status, text),
        Act::SettleAndSay(authorization, status, text) => {
            fake.chain.act(stranger(), settle_call(&authorization)).await;
            (status, text)
        }
    };
    (StatusCode::from_u16(status).unwrap(), text)
}

/// Hears whatever comes and answers nothing, until the task is ended.
async fn mute() -> (String, JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let hears = async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // Hung up on once something of it was read.
            let _ = stream.read(&mut [0; 1024]).await;
        }
    };
    (url, tokio::spawn(hears))
}

async fn rail(chain: &Chain, urls: Vec<String>) -> RemoteFacilitators {
    let plan = RemotePlan {
        urls,
        assets: AssetRegistry::new(chain.config().assets),
        evidence: Arc::new(chain.evm().await),
        clock: Arc::new(SystemClock),
        answer_within: Duration::from_secs(5),
        look_for: Duration::from_millis(20),
    };
    RemoteFacilitators::connect(plan).await.unwrap()
}

async fn paid(chain: &Chain) -> u128 {
    chain.evm().await.balance(chain.asset(), payee()).await.unwrap().amount.get()
}

const UNKNOWN: Settlement = Settlement::Unknown { transaction: None };

fn success(hash: &str) -> String {
    json!({ "success": true, "transaction": hash, "network": "eip155:31337" }).to_string()
}

fn failure(reason: &str) -> String {
    json!({ "success": false, "errorReason": reason, "transaction": "", "network": "eip155:31337" })
        .to_string()
}

#[tokio::test]
async fn a_facilitator_that_settles_is_believed_because_the_chain_shows_it() {
    let chain = Arc::new(Chain::sandbox().await);
    let fake = Fake::on(&chain).await;
    let rail = rail(&chain, vec![fake.url.clone()]).await;
    let authorization = chain.authorization(1_000, 1);
    assert_eq!(rail.verify(&authorization).await.unwrap(), Ok(()));
    fake.next(Act::SettleAndSay(Box::new(authorization), 200, success("0x00")));
    let settled = rail.settle(&authorization).await.unwrap();
    assert!(matches!(settled, Settlement::Settled { amount, .. } if amount == Amount::new(1_000)));
    // Asked again, nobody has to hear of it a second time.
    assert_eq!(rail.settle(&authorization).await.unwrap(), settled);
    assert_eq!((fake.heard(), paid(&chain).await), (1, 1_000));
    // What it was sent is x402's, with the payer's signature in it.
    let heard = fake.heard.lock().unwrap()[0].clone();
    assert_eq!(heard["paymentRequirements"]["amount"], "1000");
    assert_eq!(heard["paymentPayload"]["payload"]["authorization"]["value"], "1000");
}

#[tokio::test]
async fn a22_no_lie_about_a_transaction_is_taken_for_a_payment() {
    let chain = Arc::new(Chain::sandbox().await);
    let fake = Fake::on(&chain).await;
    let rail = rail(&chain, vec![fake.url.clone()]).await;
    // Real transactions that are not this payment: another nonce, another amount, another payment to the
    // same payee.
    let other = chain.act(stranger(), settle_call(&chain.authorization(1_000, 100))).await;
    let less = chain.act(stranger(), settle_call(&chain.authorization(1, 101))).await;
    let before = paid(&chain).await;
    let with = |more: Value| {
        let mut said: Value = serde_json::from_str(&success(&other.to_string())).unwrap();
        said.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        said.to_string()
    };
    let lies = [
        success(&format!("0x{}", "ab".repeat(32))),
        success(&other.to_string()),
        success(&less.to_string()),
        success(""),
        success("0x"),
        with(json!({ "amount": "1000", "payer": chain.commitment(1, 1).payer.to_string() })),
        with(json!({ "amount": "999999" })),
        with(json!({ "network": "eip155:1" })),
        with(json!({ "payer": payee().to_string() })),
    ];
    for (nonce, lie) in (1..).zip(lies) {
        let authorization = chain.authorization(1_000, nonce);
        fake.next(Act::Say(200, lie.clone()));
        assert_eq!(rail.settle(&authorization).await.unwrap(), UNKNOWN, "{lie}");
    }
    assert_eq!(paid(&chain).await, before);
}

/// What a facilitator may answer, and none of it says what happened.
fn answers() -> Vec<(u16, String)> {
    let said = |value: Value| value.to_string();
    let mut all: Vec<(u16, String)> = [
        said(json!({ "success": false })),
        said(json!({ "success": "true" })),
        said(json!({ "success": 1 })),
        said(json!({ "success": null })),
        said(json!({ "success": [] })),
        said(json!({ "Success": true })),
        said(json!({})),
        said(json!([])),
        said(json!(null)),
        said(json!(true)),
        said(json!("success")),
        String::new(),
        "<html><body>success: true</body></html>".to_owned(),
        "{\"success\":true".to_owned(),
        "{\"success\":false,\"success\":true}".to_owned(),
        "success".to_owned(),
        failure("insufficient_funds"),
        failure("invalid_exact_evm_insufficient_balance"),
        failure("settlement_pending"),
        failure("duplicate_settlement"),
        failure("unexpected_error"),
        failure("invalid_exact_evm_nonce_already_used"),
        failure("invalid_signature"),
        failure("something that nobody knows"),
        format!("{{\"success\":false,\"more\":\"{}\"}}", "x".repeat(70_000)),
    ]
    .map(|text| (200, text))
    .to_vec();
    all.extend([
        (500, success(&format!("0x{}", "cd".repeat(32)))),
        (502, "Bad Gateway".to_owned()),
        (402, failure("invalid_payload")),
        (307, String::new()),
        (429, said(json!({ "error": "slow down" }))),
    ]);
    all
}

#[tokio::test]
async fn a23_d07_whatever_is_answered_only_the_chain_says_what_happened() {
    let chain = Arc::new(Chain::sandbox().await);
    let fake = Fake::on(&chain).await;
    let rail = rail(&chain, vec![fake.url.clone()]).await;
    let answers = answers();
    assert_eq!(answers.len(), 30);
    let mut moved = 0;
    for (nonce, (status, text)) in (1..).zip(answers) {
        // Nothing was sent: nobody knows, and it is neither paid nor failed.
        let kept = chain.authorization(10, nonce);
        fake.next(Act::Say(status, text.clone()));
        assert_eq!(rail.settle(&kept).await.unwrap(), UNKNOWN, "{status} {text}");
        // It was sent, and the same is said: it is paid.
        let sent = chain.authorization(10, nonce + 1_000);
        fake.next(Act::SettleAndSay(Box::new(sent), status, text.clone()));
        let settled = rail.settle(&sent).await.unwrap();
        assert!(matches!(settled, Settlement::Settled { .. }), "{status} {text}: {settled:?}");
        moved += 10;
    }
    assert_eq!(paid(&chain).await, moved);
}

#[tokio::test]
async fn d07_what_was_called_failed_and_is_sent_later_is_paid_and_only_once() {
    let chain = Arc::new(Chain::sandbox().await);
    let fake = Fake::on(&chain).await;
    let rail = rail(&chain, vec![fake.url.clone()]).await;
    let authorization = chain.authorization(10, 1);
    fake.next(Act::Say(200, failure("insufficient_funds")));
    assert_eq!(rail.settle(&authorization).await.unwrap(), UNKNOWN);
    chain.act(stranger(), settle_call(&authorization)).await;
    let settled = rail.settle(&authorization).await.unwrap();
    assert!(matches!(settled, Settlement::Settled { .. }));
    assert_eq!((fake.heard(), paid(&chain).await), (1, 10));
}

#[tokio::test]
async fn a_payment_that_ended_unused_is_refused_by_the_chains_word() {
    let chain = Arc::new(Chain::sandbox().await);
    let fake = Fake::on(&chain).await;
    let rail = rail(&chain, vec![fake.url.clone()]).await;
    let authorization = chain.authorization(10, 1);
    fake.next(Act::Say(200, success("0x00")));
    assert_eq!(rail.settle(&authorization).await.unwrap(), UNKNOWN);
    chain.pass(601).await;
    let refused = Settlement::Refused(RefusedBy::Expired);
    assert_eq!(rail.settle(&authorization).await.unwrap(), refused);
}

#[tokio::test]
async fn another_facilitator_is_tried_only_where_nothing_was_heard_of_it() {
    let chain = Arc::new(Chain::sandbox().await);
    let (first, second) = (Fake::on(&chain).await, Fake::on(&chain).await);
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let urls = vec![nobody.clone(), first.url.clone(), second.url.clone()];
    let rail = rail(&chain, urls).await;
    // Nobody listens at the first address: the next one gets it.
    let authorization = chain.authorization(10, 1);
    first.next(Act::SettleAndSay(Box::new(authorization), 200, success("0x00")));
    assert!(matches!(rail.settle(&authorization).await.unwrap(), Settlement::Settled { .. }));
    // It was heard, and nothing came back: however often it is asked, no other hears of it.
    let authorization = chain.authorization(10, 2);
    for _ in 0..3 {
        first.next(Act::Say(502, String::new()));
        assert_eq!(rail.settle(&authorization).await.unwrap(), UNKNOWN);
    }
    assert_eq!((first.heard(), second.heard()), (4, 0));
    // Gone after it heard: what it may have is nobody else's, however often nobody is reached.
    let (mute, there) = mute().await;
    let rail = self::rail(&chain, vec![mute, second.url.clone()]).await;
    let authorization = chain.authorization(10, 3);
    assert_eq!(rail.settle(&authorization).await.unwrap(), UNKNOWN);
    there.abort();
    assert!(there.await.unwrap_err().is_cancelled());
    for _ in 0..3 {
        let refused = rail.settle(&authorization).await.unwrap_err();
        assert!(matches!(refused, RailError::Unreachable { .. }), "{refused}");
    }
    assert_eq!(second.heard(), 0);
    // Where nobody at all is there, nothing was sent, and that is no open outcome.
    let alone = RemotePlan {
        urls: vec![nobody],
        assets: AssetRegistry::new(chain.config().assets),
        evidence: Arc::new(chain.evm().await),
        clock: Arc::new(SystemClock),
        answer_within: Duration::from_secs(5),
        look_for: Duration::from_millis(20),
    };
    let refused = RemoteFacilitators::connect(alone).await.err().unwrap();
    assert!(matches!(refused, RailError::Unreachable { .. }));
}

#[tokio::test]
async fn three_vocabularies_say_the_same() {
    let chain = Arc::new(Chain::sandbox().await);
    let fake = Fake::on(&chain).await;
    let rail = rail(&chain, vec![fake.url.clone()]).await;
    let authorization = chain.authorization(10, 1);
    let table = [
        (RefusedBy::BadSignature, "invalid_exact_evm_payload_signature"),
        (RefusedBy::BadSignature, "invalid_exact_evm_signature"),
        (RefusedBy::BadSignature, "invalid_signature"),
        (RefusedBy::Expired, "invalid_exact_evm_payload_authorization_valid_before"),
        (RefusedBy::Expired, "invalid_payment_expired"),
        (RefusedBy::NotYetValid, "invalid_exact_evm_payload_authorization_valid_after"),
        (RefusedBy::NotYetValid, "invalid_payment_early"),
        (RefusedBy::InsufficientFunds, "insufficient_funds"),
        (RefusedBy::InsufficientFunds, "invalid_exact_evm_insufficient_balance"),
        (RefusedBy::AllowanceRequired, "PERMIT2_ALLOWANCE_REQUIRED"),
        (RefusedBy::AllowanceRequired, "permit2_allowance_required"),
        (RefusedBy::NonceUsed, "invalid_exact_evm_nonce_already_used"),
        (RefusedBy::Reverted, "a word that nobody knows"),
    ];
    for (expected, reason) in table {
        let said = json!({ "isValid": false, "invalidReason": reason }).to_string();
        *fake.verdict.lock().unwrap() = (400, said);
        assert_eq!(rail.verify(&authorization).await.unwrap(), Err(expected), "{reason}");
    }
    // What says nothing is no verdict.
    for text in ["", "{}", "{\"isValid\":\"true\"}", "{\"isValid\":1}", "<html>", "[true]"] {
        *fake.verdict.lock().unwrap() = (200, text.to_owned());
        let refused = rail.verify(&authorization).await.unwrap_err();
        assert!(matches!(refused, RailError::Unreachable { .. }), "{text}");
    }
}
