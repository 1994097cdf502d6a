//! The rail behind a node that loses, delays, shortens or invents answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::transports::http::reqwest;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use bursar::domain::money::Amount;
use bursar::edge::clock::SystemClock;
use bursar::edge::evm::{Evm, EvmSettler, SettlerConfig};
use bursar::ports::rail::{Evidence, NonceState, RailError, Settlement, Settler};
use serde_json::{Value, json};

use crate::chain::{Chain, gas, payee, settle_call, stranger};

/// What the proxy does with one call.
pub enum Fault {
    /// The node's own answer.
    Pass,
    /// The node hears it, and its answer is lost.
    LoseAnswer,
    /// The node hears it, and this is answered.
    Answer(Value),
    /// The node does not hear it, and this error is answered.
    Refuse(i64, &'static str),
}

type Plan = Arc<Mutex<Box<dyn FnMut(&str, &Value) -> Fault + Send>>>;

#[derive(Clone)]
pub struct Proxy {
    upstream: String,
    plan: Plan,
}

impl Proxy {
    /// Puts a proxy before the chain; `chain.url` is the proxy's from here on.
    pub async fn before(chain: &mut Chain) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream =
            std::mem::replace(&mut chain.url, format!("http://{}", listener.local_addr().unwrap()));
        let plan: Plan = Arc::new(Mutex::new(Box::new(|_, _| Fault::Pass)));
        let proxy = Self { upstream, plan };
        let router = Router::new().route("/", post(pass_on)).with_state(proxy.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        proxy
    }

    pub fn plan(&self, plan: impl FnMut(&str, &Value) -> Fault + Send + 'static) {
        *self.plan.lock().unwrap() = Box::new(plan);
    }

    /// Does this to every call of `method`.
    fn always(&self, method: &'static str, fault: impl Fn() -> Fault + Send + 'static) {
        self.plan(move |asked, _| if asked == method { fault() } else { Fault::Pass });
    }

    /// Does this to the first call of `method`.
    fn once(&self, method: &'static str, fault: Fault) {
        let mut fault = Some(fault);
        self.plan(
            move |asked, _| {
                if asked == method { fault.take().unwrap_or(Fault::Pass) } else { Fault::Pass }
            },
        );
    }
}

/// Many questions in one message are each treated as one.
async fn pass_on(State(proxy): State<Proxy>, body: Bytes) -> (StatusCode, String) {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let Some(many) = asked.as_array() else { return pass_one(&proxy, &asked).await };
    let mut answers: Vec<Value> = Vec::new();
    let mut status = StatusCode::OK;
    for one in many {
        match pass_one(&proxy, one).await {
            (StatusCode::OK, answer) => answers.push(serde_json::from_str(&answer).unwrap()),
            (lost, _) => status = lost,
        }
    }
    (status, Value::from(answers).to_string())
}

async fn pass_one(proxy: &Proxy, asked: &Value) -> (StatusCode, String) {
    let fault = {
        let mut plan = proxy.plan.lock().unwrap();
        plan(asked["method"].as_str().unwrap(), &asked["params"])
    };
    if let Fault::Refuse(code, message) = fault {
        let error = json!({ "code": code, "message": message });
        let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "error": error });
        return (StatusCode::OK, answer.to_string());
    }
    let client = reqwest::Client::new();
    let sent = client.post(&proxy.upstream).header("content-type", "application/json");
    let sent = sent.body(asked.to_string()).send().await.unwrap();
    let answer = sent.text().await.unwrap();
    match fault {
        Fault::Pass | Fault::Refuse(..) => (StatusCode::OK, answer),
        Fault::LoseAnswer => (StatusCode::BAD_GATEWAY, String::new()),
        Fault::Answer(result) => {
            let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result });
            (StatusCode::OK, answer.to_string())
        }
    }
}

struct World {
    chain: Chain,
    proxy: Proxy,
    evm: Evm,
    settler: EvmSettler,
}

async fn world() -> World {
    let mut chain = Chain::sandbox().await;
    let proxy = Proxy::before(&mut chain).await;
    let evm = chain.evm().await;
    let config = SettlerConfig { wait_max: Duration::from_millis(300), ..Default::default() };
    let settler =
        EvmSettler::start(&evm, Arc::new(gas()), Arc::new(SystemClock), config).await.unwrap();
    World { chain, proxy, evm, settler }
}

impl World {
    async fn paid(&self) -> Amount {
        self.proxy.plan(|_, _| Fault::Pass);
        self.evm.balance(self.chain.asset(), payee()).await.unwrap().amount
    }
}

#[tokio::test]
async fn k01_a_lost_answer_to_the_sending_is_not_a_lost_payment() {
    let world = world().await;
    let authorization = world.chain.authorization(1_000, 1);
    world.proxy.once("eth_sendRawTransaction", Fault::LoseAnswer);
    let settled = world.settler.settle(&authorization).await.unwrap();
    assert!(matches!(settled, Settlement::Settled { .. }));
    assert_eq!(world.settler.settle(&authorization).await.unwrap(), settled);
    assert_eq!(world.paid().await, Amount::new(1_000));
}

#[tokio::test]
async fn k02_errors_after_our_own_success_are_taken_for_perhaps() {
    let world = world().await;
    let words = ["already known", "replacement transaction underpriced"];
    for (nonce, message) in (1..).zip(words) {
        let authorization = world.chain.authorization(1_000, nonce);
        // Not heard at all, whatever it says: so it is unknown, and settles when asked again.
        world.proxy.once("eth_sendRawTransaction", Fault::Refuse(-32000, message));
        let unknown = world.settler.settle(&authorization).await.unwrap();
        assert!(matches!(unknown, Settlement::Unknown { transaction: Some(_) }));
        let settled = world.settler.settle(&authorization).await.unwrap();
        assert!(matches!(settled, Settlement::Settled { .. }));
    }
    // Heard, mined, and then told as too low: by a node in front of another.
    let authorization = world.chain.authorization(1_000, 9);
    let mut sent = 0;
    world.proxy.plan(move |method, _| match method {
        "eth_sendRawTransaction" => {
            sent += 1;
            if sent == 1 { Fault::Refuse(-32000, "nonce too low") } else { Fault::Pass }
        }
        _ => Fault::Pass,
    });
    let settled = world.settler.settle(&authorization).await.unwrap();
    assert!(matches!(settled, Settlement::Settled { .. }));
    assert_eq!(world.paid().await, Amount::new(3_000));
}

#[tokio::test]
async fn a_gas_account_that_others_use_too_finds_its_nonce_again() {
    let world = world().await;
    let first = world.chain.authorization(1, 1);
    assert!(matches!(world.settler.settle(&first).await.unwrap(), Settlement::Settled { .. }));
    // Somebody else spends from the same account.
    let other = world.chain.authorization(1, 2);
    world.chain.act(gas(), settle_call(&other)).await;
    let third = world.chain.authorization(1, 3);
    assert!(matches!(world.settler.settle(&third).await.unwrap(), Settlement::Settled { .. }));
}

#[tokio::test]
async fn d07_a_receipt_that_never_comes_is_unknown_and_never_an_error() {
    let world = world().await;
    let authorization = world.chain.authorization(1_000, 1);
    world.proxy.always("eth_getTransactionReceipt", || Fault::Answer(Value::Null));
    let unknown = world.settler.settle(&authorization).await.unwrap();
    let Settlement::Unknown { transaction: Some(hash) } = unknown else { panic!("{unknown:?}") };
    world.proxy.plan(|_, _| Fault::Pass);
    let settled = world.settler.settle(&authorization).await.unwrap();
    assert!(matches!(
        settled,
        Settlement::Settled { transaction, amount, .. }
            if (transaction, amount) == (hash, Amount::new(1_000))
    ));
    assert_eq!(world.paid().await, Amount::new(1_000));
}

#[tokio::test]
async fn k13_logs_that_are_missing_prove_nothing() {
    let world = world().await;
    let authorization = world.chain.authorization(1_000, 1);
    world.chain.act(stranger(), settle_call(&authorization)).await;
    world.proxy.always("eth_getLogs", || Fault::Answer(json!([])));
    let seen = world.evm.find_nonce(&authorization.commitment).await.unwrap();
    assert_eq!(seen.nonce, NonceState::UsedWithoutTrace);
    // The payee learns the same: neither paid nor unpaid.
    let unknown = world.settler.settle(&authorization).await.unwrap();
    assert_eq!(unknown, Settlement::Unknown { transaction: None });
    assert!(world.settler.verify(&authorization).await.is_err());

    world.proxy.always("eth_getTransactionReceipt", || Fault::Answer(Value::Null));
    let seen = world.evm.find_nonce(&authorization.commitment).await.unwrap();
    assert_eq!(seen.nonce, NonceState::UsedWithoutTrace);
}

#[tokio::test]
async fn a_node_that_takes_only_narrow_ranges_is_asked_in_narrow_ranges() {
    let world = world().await;
    let mut authorization = world.chain.authorization(1_000, 1);
    world.chain.act(stranger(), settle_call(&authorization)).await;
    for nonce in 2..40 {
        authorization = world.chain.authorization(1, nonce);
        world.settler.settle(&authorization).await.unwrap();
    }
    world.proxy.plan(|method, params| {
        if method != "eth_getLogs" {
            return Fault::Pass;
        }
        let block = |name: &str| {
            let number = params[0][name].as_str().unwrap().trim_start_matches("0x");
            u64::from_str_radix(number, 16).unwrap()
        };
        if block("toBlock") - block("fromBlock") < 4 {
            Fault::Pass
        } else {
            Fault::Refuse(-32005, "exceed maximum block range: 4")
        }
    });
    let first = world.chain.authorization(1_000, 1);
    let seen = world.evm.find_nonce(&first.commitment).await.unwrap();
    assert!(matches!(seen.nonce, NonceState::Used { amount, .. } if amount == Amount::new(1_000)));
    let moved = world.evm.transfers(world.chain.asset(), payee(), 0).await.unwrap().moved;
    assert_eq!(moved.len(), 39);
}

#[tokio::test]
async fn k16_logs_that_were_not_asked_for_are_nonsense_and_no_evidence() {
    let world = world().await;
    let ours = world.chain.authorization(1_000, 1);
    let theirs = world.chain.authorization(1_000, 2);
    world.chain.act(stranger(), settle_call(&theirs)).await;
    world.chain.act(stranger(), crate::chain::cancel(&ours.commitment)).await;
    let theirs = theirs.commitment.nonce;
    // The node answers another nonce's logs: the question is put in other words on the way.
    let (upstream, token) = (world.proxy.upstream.clone(), world.chain.token);
    let client = reqwest::Client::new();
    let query = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": [
        { "address": token, "fromBlock": "0x0", "topics": [null, null, theirs] }] });
    let answer = client.post(upstream).body(query.to_string()).send().await.unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let logs = answer["result"].clone();
    assert_eq!(logs.as_array().unwrap().len(), 1);
    world.proxy.always("eth_getLogs", move || Fault::Answer(logs.clone()));
    let refused = world.evm.find_nonce(&ours.commitment).await.unwrap_err();
    assert!(matches!(refused, RailError::Malformed { .. }));
}

#[tokio::test]
async fn k12_a_receipt_without_the_transfer_is_no_payment() {
    let world = world().await;
    let authorization = world.chain.authorization(1_000, 1);
    // A node that says "status 1" and shows nothing: the chain itself is asked, and it knows better.
    let bare = |hash: &Value| {
        json!({ "transactionHash": hash, "transactionIndex": "0x0", "status": "0x1", "type": "0x2",
            "blockHash": format!("0x{}", "11".repeat(32)), "blockNumber": "0x1", "gasUsed": "0x1",
            "cumulativeGasUsed": "0x1", "effectiveGasPrice": "0x1", "logs": [],
            "logsBloom": format!("0x{}", "00".repeat(256)),
            "from": gas().address(), "to": payee(), "contractAddress": null })
    };
    world.proxy.plan(move |method, params| match method {
        "eth_getTransactionReceipt" => Fault::Answer(bare(&params[0])),
        _ => Fault::Pass,
    });
    let unknown = world.settler.settle(&authorization).await.unwrap();
    assert!(matches!(unknown, Settlement::Unknown { .. }), "{unknown:?}");
    world.proxy.plan(|_, _| Fault::Pass);
    let settled = world.settler.settle(&authorization).await.unwrap();
    assert!(matches!(settled, Settlement::Settled { .. }), "{settled:?}");
}

#[tokio::test]
async fn k09_a_chain_that_changes_behind_the_url_gives_no_more_evidence() {
    let world = world().await;
    let commitment = world.chain.commitment(1_000, 1);
    world.proxy.always("eth_chainId", || Fault::Answer(json!("0x1")));
    let refused = world.evm.find_nonce(&commitment).await.unwrap_err();
    assert!(matches!(refused, RailError::WrongChain { found: 1, .. }));

    let other = Chain::sandbox().await;
    let client = reqwest::Client::new();
    let first = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber",
        "params": ["latest", false] });
    let answer = client.post(&other.url).body(first.to_string()).send().await.unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let mut block = answer["result"].clone();
    block["hash"] = json!(format!("0x{}", "22".repeat(32)));
    world.proxy.plan(move |method, params| match method {
        "eth_getBlockByNumber" if params[0] == "0x0" => Fault::Answer(block.clone()),
        _ => Fault::Pass,
    });
    let refused = world.evm.balance(world.chain.asset(), payee()).await.unwrap_err();
    assert!(matches!(refused, RailError::WrongGenesis { .. }));
}

#[tokio::test]
async fn t11_before_anything_is_sent_silence_is_an_error_and_moves_nothing() {
    let world = world().await;
    let authorization = world.chain.authorization(1_000, 1);
    for method in ["eth_call", "eth_getTransactionCount", "eth_maxPriorityFeePerGas"] {
        world.proxy.always(method, || Fault::LoseAnswer);
        let refused = world.settler.settle(&authorization).await.unwrap_err();
        assert!(matches!(refused, RailError::Unreachable { .. }), "{method}: {refused}");
    }
    world.proxy.always("eth_sendRawTransaction", || {
        Fault::Refuse(-32000, "insufficient funds for gas * price + value")
    });
    let refused = world.settler.settle(&authorization).await.unwrap_err();
    assert!(matches!(refused, RailError::GasEmpty { .. }));
    world.proxy.always("eth_sendRawTransaction", || Fault::Refuse(-32000, "invalid sender"));
    let refused = world.settler.settle(&authorization).await.unwrap_err();
    assert!(matches!(refused, RailError::Unreachable { .. }));
    assert_eq!(world.paid().await, Amount::ZERO);
    // A contract that answers nothing is not read as "unused".
    world.proxy.always("eth_call", || Fault::Answer(json!("0x")));
    let refused = world.evm.find_nonce(&authorization.commitment).await.unwrap_err();
    assert!(matches!(refused, RailError::Malformed { .. }));
}

#[tokio::test]
async fn k07_a_gas_account_that_runs_dry_stops_quoting() {
    let world = world().await;
    world.settler.check_ready().await.unwrap();
    world.proxy.always("eth_getBalance", || Fault::Answer(json!("0x1")));
    let config = SettlerConfig::default();
    let refused =
        EvmSettler::start(&world.evm, Arc::new(gas()), Arc::new(SystemClock), config).await;
    assert!(matches!(refused.err().unwrap(), RailError::GasEmpty { balance: 1, .. }));
}
